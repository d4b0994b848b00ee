//! Object storage over HTTP: an endpoint that clients of S3 and of COS use unmodified.
//!
//! ```text
//! HTTP ─► gate (COS's signature, COS's names) ─► s3s (AWS's signature, XML) ─► operations ─► Service
//!           └────► form (a form's signature, its policy) ────────────────────────────────────────┘
//! ```
//!
//! The crate s3s parses and renders S3's protocol and checks AWS's signatures. What COS does otherwise is translated in
//! `gate`, before and after it. Deliberately absent: rules. Whose a bucket is, what a key may be and how much an account
//! may store, the service decides; nothing here knows a file. Versions, ACLs and encryption are not
//! there, and whoever asks for them is refused (`absent`).

#![deny(unsafe_code)]

mod absent;
mod access;
mod acl;
mod bucket_operations;
mod checked_body;
mod cors;
mod cors_operations;
mod error;
mod fairness;
mod form;
mod gate;
mod host;
mod lingering;
mod object_operations;
mod patient;
mod post_policy;
mod s3;
mod serve;
mod upload_operations;
mod versions;

use std::sync::Arc;

use axum::Router;
use axum::error_handling::HandleError;
use axum::http::{Response, StatusCode};
use axum::middleware;
use kiln_service::Service;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::S3ServiceBuilder;
use s3s::{Body, HttpError};

use access::Access;
use fairness::Fairness;
use gate::Gate;
use s3::Endpoint;

pub use fairness::AccountLimits;
pub use serve::serve;
pub use upload_operations::CRC64_ETAG;

/// The longest document that a request may be: 10,000 parts with their checksums.
const MAX_XML_BYTES: usize = 4 << 20;

/// What the operator decides about the endpoint.
#[derive(Debug, Clone)]
pub struct ObjectApiConfig {
    /// What each account may ask for.
    pub account_limits: AccountLimits,
    /// Origins of pages that may use every bucket, besides those of the server's own host.
    pub allowed_origins: Vec<String>,
}

/// Answers for every bucket and object.
pub fn router(service: Arc<Service>, config: ObjectApiConfig) -> Router {
    let access =
        Access { service: Arc::clone(&service), fairness: Arc::new(Fairness::new(config.account_limits)) };
    let mut builder = S3ServiceBuilder::new(Endpoint { service: Arc::clone(&service) });
    let mut s3_config = S3Config::default();
    s3_config.xml_max_body_size = MAX_XML_BYTES;
    // The gate gives no form on; one that came would be held in memory.
    s3_config.post_object_max_file_size = 0;
    s3_config.form_max_field_size = 0;
    s3_config.form_max_fields_size = 0;
    s3_config.form_max_parts = 1;
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(s3_config))));
    builder.set_auth(access.clone());
    builder.set_access(access.clone());
    builder.set_host(host::Hosts);
    let s3 = HandleError::new(builder.build(), async |error: HttpError| {
        tracing::error!(?error, "a request for an object broke off");
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    });
    let gate = Gate { access, allowed_origins: config.allowed_origins.into() };
    Router::new().fallback_service(s3).layer(middleware::from_fn_with_state(gate, gate::pass))
}
