//! Which pages of other origins may use a bucket: read and set by its owner, asked for by whoever answers a browser.

use kiln_model::{BucketName, CORS_METHODS, CorsRule};

use super::{bucket_to_change, bucket_to_read};
use crate::{Caller, Refusal, Service, actions};

/// Rules of one bucket.
const MAX_RULES: usize = 100;
/// The bytes of all their texts.
const MAX_RULES_BYTES: usize = 64 << 10;

impl Service {
    /// The rules of one of the caller's buckets, in their order.
    ///
    /// # Errors
    /// A [`Refusal`].
    pub async fn bucket_cors(&self, caller: &Caller, bucket: &str) -> Result<Vec<CorsRule>, Refusal> {
        let mut tx = self.catalog.read().await?;
        let bucket = bucket_to_read(&mut tx, caller, bucket).await?;
        Ok(tx.bucket_cors(&bucket.name).await?)
    }

    /// Sets the rules of a bucket; no rules take them away.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing was changed.
    pub async fn set_bucket_cors(
        &self,
        caller: &Caller,
        bucket: &str,
        rules: &[CorsRule],
    ) -> Result<(), Refusal> {
        check_rules(rules)?;
        let mut tx = self.catalog.write().await?;
        let bucket = bucket_to_change(&mut tx, caller, bucket).await?;
        tx.set_bucket_cors(&bucket.name, rules).await?;
        let action = if rules.is_empty() { "DeleteBucketCors" } else { "PutBucketCors" };
        tx.append_operation(&actions::operation(caller, action, bucket.name.to_string())).await?;
        Ok(tx.commit().await?)
    }

    /// The rules of any bucket, for an answer to a browser, which asks before it signs; none where there is no bucket.
    ///
    /// # Errors
    /// Where the catalogue does not answer.
    pub async fn cors_rules_for_browsers(&self, bucket: &str) -> Result<Vec<CorsRule>, Refusal> {
        match bucket.parse::<BucketName>() {
            Ok(name) => Ok(self.catalog.read().await?.bucket_cors(&name).await?),
            Err(_) => Ok(Vec::new()),
        }
    }
}

fn check_rules(rules: &[CorsRule]) -> Result<(), Refusal> {
    let invalid = |message: String| Err(Refusal::invalid("InvalidRequest", message));
    if rules.len() > MAX_RULES {
        return invalid(format!("There are {} CORS rules; a bucket has {MAX_RULES} at most.", rules.len()));
    }
    let mut bytes = 0;
    for rule in rules {
        if rule.origins.is_empty() || rule.methods.is_empty() {
            return invalid("Every CORS rule must have an AllowedOrigin and an AllowedMethod.".to_owned());
        }
        if let Some(method) = rule.methods.iter().find(|method| !CORS_METHODS.contains(&method.as_str())) {
            let known = CORS_METHODS.join(", ");
            return invalid(format!("AllowedMethod {method:?} is not known. Use {known}."));
        }
        let patterns = rule.origins.iter().chain(&rule.headers);
        let texts = patterns.clone().chain(&rule.exposed_headers).chain(&rule.methods).chain(&rule.id);
        if let Some(text) = texts.clone().find(|text| !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)))
        {
            return invalid(format!("{text:?} has other characters than headers can have."));
        }
        if let Some(pattern) = patterns.clone().find(|pattern| pattern.matches('*').count() > 1) {
            return invalid(format!("{pattern:?} has more than one asterisk; one can stand for anything."));
        }
        bytes += texts.map(String::len).sum::<usize>();
    }
    if bytes > MAX_RULES_BYTES {
        return invalid(format!("The CORS rules have {bytes} bytes; {MAX_RULES_BYTES} are kept at most."));
    }
    Ok(())
}
