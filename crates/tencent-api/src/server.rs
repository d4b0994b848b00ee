//! The way of a request through the adapter, from HTTP to the service and back.
//!
//! Invariants: every request gets an answer in the envelope, with an identifier of its own; a request that reached the
//! service is carried through even where its sender hangs up; nothing of an unsigned request reaches the log but that
//! there was one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, Response};
use axum::routing::{any, get};
use kiln_model::{RegionId, Timestamp};
use kiln_service::{Answer, Caller, Command, KeyHolder, RateLimit, Refusal, RefusalKind, Service};
use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::{Instrument, Span, field};

use crate::actions::{self, Action, Reached, RegionUse, Rendering};
use crate::authentication;
use crate::envelope::{self, Object};
use crate::error::{Error, shortened};
use crate::http_request::{HttpRequest, has_large_body};
use crate::parameter;
use crate::replay::ReplayMemory;
use crate::screen::{self, Screens};
use crate::signed_request::SignedRequest;
use crate::v2;

/// How many requests are worked on at once; more wait. With the limits on bodies, this bounds the memory of requests.
const MAX_CONCURRENT_REQUESTS: usize = 256;
/// How many requests with large bodies are held at once: parsed, each takes a multiple of its length.
const MAX_LARGE_BODIES: usize = 4;
/// How long a request waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(30);

/// What the operator decides about the API.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// Refuses a changing request whose signature was seen before. Honest clients that do the same thing twice within
    /// a second are refused, too.
    pub strict_replay: bool,
    /// Accepts requests whose signature does not cover the body.
    pub allow_unsigned_payload: bool,
    /// Whether callers reach the API by TLS.
    pub tls: bool,
    /// What tells the time.
    pub clock: fn() -> Timestamp,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self { strict_replay: false, allow_unsigned_payload: false, tls: false, clock: Timestamp::now }
    }
}

/// The API of a service.
#[derive(Clone)]
pub struct Api {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) service: Arc<Service>,
    config: ApiConfig,
    rate_limit: RateLimit,
    replay_memory: ReplayMemory,
    pub(crate) screens: Arc<Screens>,
    turns: Semaphore,
    large_bodies: Semaphore,
}

impl Api {
    /// The API of `service`.
    pub fn new(service: Arc<Service>, config: ApiConfig) -> Self {
        let (rate_limit, replay_memory) = (RateLimit::default(), ReplayMemory::default());
        let (turns, large_bodies) =
            (Semaphore::new(MAX_CONCURRENT_REQUESTS), Semaphore::new(MAX_LARGE_BODIES));
        let screens = Arc::default();
        let shared = Shared { service, config, rate_limit, replay_memory, screens, turns, large_bodies };
        Self { shared: Arc::new(shared) }
    }
}

/// Which of the two APIs a request speaks.
#[derive(Clone, Copy)]
enum Generation {
    /// API 3.0.
    Present,
    /// The legacy API.
    V2,
}

/// Answers at `/`, in the legacy API at its own path, shows screens under theirs, and does nothing elsewhere.
pub fn router(api: Api) -> Router {
    let present = |State(api), request| answer(api, request, Generation::Present);
    let legacy = |State(api), request| answer(api, request, Generation::V2);
    Router::new()
        .route("/", any(present))
        .route(v2::PATH, any(legacy))
        .route(screen::PATH, get(screen::show))
        .with_state(api)
}

async fn answer(api: Api, request: Request<Body>, generation: Generation) -> Response<Body> {
    let request_id = uuid::Uuid::new_v4().to_string();
    let span = tracing::info_span!("api", %request_id, action = field::Empty, account = field::Empty);
    let started = Instant::now();
    async {
        let outcome = api.shared.serve(request, &request_id, generation).await;
        let code = outcome.as_ref().err().map_or("", Error::code);
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(code, duration_ms, "answered");
        match generation {
            Generation::Present => envelope::response(&request_id, outcome),
            Generation::V2 => v2::response(outcome),
        }
    }
    .instrument(span)
    .await
}

/// A request whose signer was proven, and has the turn to be worked on.
pub(crate) struct Admitted<'a> {
    pub(crate) http: HttpRequest,
    pub(crate) signed: SignedRequest,
    /// Who asks; in the default region, since none is looked for yet.
    pub(crate) caller: Caller,
    now: Timestamp,
    _places: (Option<SemaphorePermit<'a>>, SemaphorePermit<'a>),
}

impl Shared {
    async fn serve(
        &self,
        request: Request<Body>,
        request_id: &str,
        generation: Generation,
    ) -> Result<Object, Error> {
        let admitted = self.admit(request, request_id).await?;
        match generation {
            Generation::Present => self.serve_present(admitted).await,
            Generation::V2 => v2::serve(self, &admitted).await,
        }
    }

    async fn admit(&self, request: Request<Body>, request_id: &str) -> Result<Admitted<'_>, Error> {
        // A turn is taken when the request is there: a sender that never ends its own must not keep others waiting.
        let room = if has_large_body(&request) { Some(place(&self.large_bodies).await?) } else { None };
        let http = HttpRequest::read(request).await?;
        let turn = place(&self.turns).await?;
        let signed = SignedRequest::read(&http)?;
        let now = (self.config.clock)();
        let KeyHolder { key, account, sub_account, limits } = self.authenticate(&http, &signed, now).await?;
        Span::current().record("account", field::display(key.holder()));
        let limits = limits.unwrap_or(*self.service.default_limits());
        let per_second = limits.requests_per_second;
        if !self.rate_limit.admit(account.uin, per_second, now) {
            return Err(Error::RateLimited { per_second });
        }
        let (secret_id, region) = (signed.secret_id.clone(), self.service.default_region().clone());
        let caller = Caller { account, sub_account, secret_id, region, request_id: request_id.to_owned() };
        Ok(Admitted { http, signed, caller, now, _places: (room, turn) })
    }

    async fn serve_present(&self, admitted: Admitted<'_>) -> Result<Object, Error> {
        let (http, signed) = (&admitted.http, &admitted.signed);
        let service_name = signed.service(&http.host);
        let service_is_signed = signed.names_a_service();
        let version =
            signed.version.as_deref().ok_or_else(|| Error::MissingParameter("Version".to_owned()))?;
        let action = actions::find(service_name, service_is_signed, version, &signed.action)?;
        Span::current().record("action", action.name);
        let region = self.region(action, signed.region.as_deref())?;
        let arguments = parameter::decode(action.parameters, parameter::read_body(http, signed).await?)?;
        let command = (action.parse)(&arguments)?;
        if command.changes() {
            self.refuse_replay(&admitted)?;
        }
        let caller = Caller { region, ..admitted.caller };
        let answer = self.perform(caller.clone(), command).await?;
        let rendered = (action.render)(Rendering {
            answer,
            caller: &caller,
            arguments: &arguments,
            reached: Reached { host: &http.host, tls: self.config.tls },
        });
        if matches!(rendered, Err(Error::UnexpectedAnswer)) {
            tracing::error!("the service's answer is not one of this action");
        }
        rendered
    }

    /// Where replay protection is strict, refuses a changing request whose signature was used.
    pub(crate) fn refuse_replay(&self, admitted: &Admitted<'_>) -> Result<(), Error> {
        if !self.config.strict_replay {
            return Ok(());
        }
        let account = admitted.caller.account.uin;
        self.replay_memory.remember(account, &admitted.signed.signature, admitted.now)
    }

    async fn authenticate(
        &self,
        http: &HttpRequest,
        signed: &SignedRequest,
        now: Timestamp,
    ) -> Result<KeyHolder, Error> {
        let found = self.service.api_key(&signed.secret_id).await?;
        let key = found.as_ref().map(|holder| &holder.key);
        authentication::verify(http, signed, key, now, self.config.allow_unsigned_payload)?;
        found.ok_or(Error::SecretIdNotFound)
    }

    fn region(&self, action: &Action, named: Option<&str>) -> Result<RegionId, Error> {
        let regions = self.service.regions();
        let found = named.and_then(|named| regions.iter().find(|region| region.id.as_str() == named));
        match (found, named, action.region) {
            (Some(region), _, _) => Ok(region.id.clone()),
            (None, _, RegionUse::Unneeded) => Ok(self.service.default_region().clone()),
            (None, None, RegionUse::Needed) => Err(Error::MissingParameter("Region".to_owned())),
            (None, Some(named), RegionUse::Needed) => {
                let known: Vec<&str> = regions.iter().map(|region| region.id.as_str()).collect();
                Err(Error::UnsupportedRegion { region: shortened(named), known: known.join(", ") })
            }
        }
    }

    /// Carries a command out in a task of its own, which ends by itself where the sender hangs up.
    pub(crate) async fn perform(&self, caller: Caller, command: Command) -> Result<Answer, Error> {
        let service = Arc::clone(&self.service);
        let work = async move { service.perform(caller, command).await };
        match tokio::spawn(work.in_current_span()).await {
            Ok(outcome) => Ok(outcome?),
            Err(error) => {
                tracing::error!(%error, "a use case ended without an answer");
                Err(Error::UnexpectedAnswer)
            }
        }
    }
}

/// Waits for a place, for a while.
async fn place(places: &Semaphore) -> Result<SemaphorePermit<'_>, Error> {
    let place = tokio::time::timeout(TURN_TIMEOUT, places.acquire()).await;
    place.map_err(|_| busy())?.map_err(|_| busy())
}

fn busy() -> Error {
    Error::Refused(Refusal::new(
        RefusalKind::Unavailable,
        "InternalError",
        "The server has too much to do at this moment. Try again in a few seconds.",
    ))
}
