//! Client tokens: a request that is repeated with the same token is answered as it was the first time.

use kiln_catalog::{ClientTokenUse, Tx};
use kiln_model::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Caller, Refusal};

const MAX_CHARS: usize = 64;

/// A request that may carry a token. What it asks for is told by its text.
pub(super) struct Repeatable<'a> {
    pub(super) action: &'static str,
    pub(super) token: Option<&'a str>,
    pub(super) digest: String,
}

impl<'a> Repeatable<'a> {
    pub(super) fn new(action: &'static str, token: Option<&'a str>, request: &impl std::fmt::Debug) -> Self {
        let digest = kiln_block::Digest::of(format!("{request:?}").as_bytes()).to_string();
        Self { action, token, digest }
    }

    /// The form of the token.
    pub(super) fn check(&self, code: &'static str) -> Result<(), Refusal> {
        if self.token.is_some_and(|token| token.chars().count() > MAX_CHARS) {
            return Err(Refusal::invalid(code, format!("ClientToken has more than {MAX_CHARS} characters.")));
        }
        Ok(())
    }

    /// What the first request with this token was answered.
    pub(super) async fn answered<T: DeserializeOwned>(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        reused: &'static str,
    ) -> Result<Option<T>, Refusal> {
        let Some(token) = self.token else { return Ok(None) };
        let Some(used) = tx.client_token(caller.account.uin, self.action, token).await? else {
            return Ok(None);
        };
        if used.request_digest != self.digest {
            return Err(Refusal::conflict(
                reused,
                "ClientToken was used for a different request. Use a new one for a new request.",
            ));
        }
        serde_json::from_value(used.answer).map(Some).map_err(Refusal::internal)
    }

    /// Keeps the answer, in the transaction that accepts the request.
    pub(super) async fn remember(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        answer: &impl Serialize,
    ) -> Result<(), Refusal> {
        let Some(token) = self.token else { return Ok(()) };
        let answer = serde_json::to_value(answer).map_err(Refusal::internal)?;
        let used = ClientTokenUse { request_digest: self.digest.clone(), answer, at: Timestamp::now() };
        Ok(tx.insert_client_token(caller.account.uin, self.action, token, &used).await?)
    }
}
