//! The legacy API v2, at `/v2/index.php`: another signature's parameters, other names and another envelope for the same
//! use cases.
//!
//! ```text
//! HttpRequest ─► SignedRequest (HmacSHA1, HmacSHA256) ─► Action ─► Arguments ─► Commands ─► Answers ─► {"code": 0, …}
//! ```
//!
//! Not here: rules, except the narrower forms that this API has for names. Times are in UTC.

mod actions;
mod envelope;

pub(crate) use envelope::response;

use std::sync::atomic::{AtomicBool, Ordering};

use kiln_model::RegionId;
use kiln_service::{Answer, Caller, Command};
use tracing::Span;

use crate::envelope::Object;
use crate::error::{Error, shortened};
use crate::parameter;
use crate::server::{Admitted, Shared};
use crate::signed_request::Scheme;

/// Where it is answered.
pub(crate) const PATH: &str = "/v2/index.php";
/// The hosts of this API begin with one of these; an address has no such name.
const SERVICES: [&str; 2] = ["image", "cvm"];

/// A request that is being carried out, in as many commands as it takes.
struct Session<'a> {
    shared: &'a Shared,
    admitted: &'a Admitted<'a>,
    caller: Caller,
    remembered: AtomicBool,
}

impl Session<'_> {
    /// Carries out a command of the request.
    async fn perform(&self, command: Command) -> Result<Answer, Error> {
        if command.changes() && !self.remembered.swap(true, Ordering::Relaxed) {
            self.shared.refuse_replay(self.admitted)?;
        }
        self.shared.perform(self.caller.clone(), command).await
    }
}

/// Answers a request whose signer was proven.
pub(crate) async fn serve(shared: &Shared, admitted: &Admitted<'_>) -> Result<Object, Error> {
    let signed = &admitted.signed;
    if !matches!(signed.scheme, Scheme::Parameters { .. }) {
        return Err(Error::InvalidAuthorization("this API is signed by the parameter Signature"));
    }
    let service = signed.service(&admitted.http.host);
    let found = actions::ACTIONS.iter().find(|(name, ..)| *name == signed.action);
    let Some((name, action, parameters)) = found else {
        return Err(Error::InvalidAction {
            service: SERVICES.iter().find(|known| **known == service).unwrap_or(&"v2").to_string(),
            action: shortened(&signed.action),
        });
    };
    Span::current().record("action", name);
    let node = parameter::read_body(&admitted.http, signed).await?;
    let arguments = parameter::decode(parameters, node)?;
    let named = match action {
        actions::Action::SyncCvmImage => Some(arguments.required_text("srcRegion")?),
        _ => signed.region.clone(),
    };
    let region = region(shared, named.as_deref())?;
    let caller = Caller { region, ..admitted.caller.clone() };
    let session = Session { shared, admitted, caller, remembered: AtomicBool::new(false) };
    actions::perform(&session, *action, &arguments).await
}

/// A region by its short name, or by that of API 3.0.
fn region(shared: &Shared, named: Option<&str>) -> Result<RegionId, Error> {
    let named = named.ok_or_else(|| Error::MissingParameter("Region".to_owned()))?;
    let regions = shared.service.regions();
    let found = regions.iter().find(|region| region.short == named || region.id.as_str() == named);
    found.map(|region| region.id.clone()).ok_or_else(|| {
        let known: Vec<&str> = regions.iter().map(|region| region.short.as_str()).collect();
        Error::UnsupportedRegion { region: shortened(named), known: known.join(", ") }
    })
}
