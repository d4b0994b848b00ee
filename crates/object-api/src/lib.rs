//! Object storage over HTTP: an endpoint that clients of S3 and of COS use unmodified.
//!
//! ```text
//! HTTP ─► gate (COS's signature, COS's names) ─► s3s (AWS's signature, XML) ─► operations ─► Service
//! ```
//!
//! The crate s3s parses and renders S3's protocol and checks AWS's signatures. What COS does otherwise is translated in
//! `gate`, before and after it. Deliberately absent: rules. Whose a bucket is, what a key may be and how much an account
//! may store, the service decides; nothing here knows a file. Versions, ACLs, encryption and forms (POST) are not there.

#![deny(unsafe_code)]

mod access;
mod bucket_operations;
mod checked_body;
mod error;
mod gate;
mod host;
mod object_operations;
mod s3;
mod serve;
mod upload_operations;

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
use gate::Gate;
use s3::Endpoint;

pub use serve::serve;

/// The longest document that a request may be: 10,000 parts with their checksums.
const MAX_XML_BYTES: usize = 4 << 20;

/// Answers for every bucket and object.
pub fn router(service: Arc<Service>) -> Router {
    let mut builder = S3ServiceBuilder::new(Endpoint { service: Arc::clone(&service) });
    let mut config = S3Config::default();
    config.xml_max_body_size = MAX_XML_BYTES;
    // The gate lets no form through; one that came would be held in memory.
    config.post_object_max_file_size = 0;
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
    builder.set_auth(Access { service: Arc::clone(&service) });
    builder.set_access(Access { service: Arc::clone(&service) });
    builder.set_host(host::Hosts);
    let s3 = HandleError::new(builder.build(), async |error: HttpError| {
        tracing::error!(?error, "a request for an object broke off");
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    });
    Router::new().fallback_service(s3).layer(middleware::from_fn_with_state(Gate::new(service), gate::pass))
}
