//! Image exports: the disks of images over the Network Block Device protocol, for `qemu-img` and `nbdcopy`.
//!
//! The operator's socket lists every image under its identifier. Over TCP an export has a name that cannot be
//! guessed, which its holder got for an image that it sees; names end after a time, and nothing is listed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use kiln_model::{ImageId, ImageState};
use kiln_nbd::{Export, Exports, Listing, ResolveError};
use rand::Rng;

use crate::Service;

/// How long a TCP export's name can be used to connect.
const TOKEN_LIFE: Duration = Duration::from_secs(60 * 60);
/// The most names that are valid at once.
const MAX_TOKENS: usize = 10_000;

/// The names under which images are exported over TCP.
#[derive(Default)]
pub(crate) struct ExportTokens {
    valid: Mutex<HashMap<String, (ImageId, Instant)>>,
}

impl ExportTokens {
    /// A new name for an image; `None` where there are too many at the moment.
    pub(crate) fn issue(&self, image: &ImageId) -> Option<String> {
        let mut valid = self.valid.lock().unwrap_or_else(PoisonError::into_inner);
        valid.retain(|_, (_, issued)| issued.elapsed() < TOKEN_LIFE);
        if valid.len() >= MAX_TOKENS {
            return None;
        }
        let token = hex::encode(rand::rng().random::<[u8; 24]>());
        valid.insert(token.clone(), (image.clone(), Instant::now()));
        Some(token)
    }

    fn image(&self, token: &str) -> Option<ImageId> {
        let valid = self.valid.lock().unwrap_or_else(PoisonError::into_inner);
        valid.get(token).filter(|(_, issued)| issued.elapsed() < TOKEN_LIFE).map(|(image, _)| image.clone())
    }
}

async fn export_of(service: &Service, id: &ImageId) -> Result<Export, ResolveError> {
    let unavailable = |error: &dyn std::fmt::Display| {
        tracing::error!(image = %id, %error, "an export could not be opened");
        ResolveError::Unavailable
    };
    let mut tx = service.catalog.read().await.map_err(|error| unavailable(&error))?;
    let image = tx.image(id).await.map_err(|error| unavailable(&error))?;
    let image = image.filter(|image| image.state == ImageState::Normal).ok_or(ResolveError::Unknown)?;
    let disk = image.system_disk().ok_or(ResolveError::Unknown)?;
    let store = service.store(&image.region).ok_or(ResolveError::Unknown)?;
    let device = store.open_disk(&disk.manifest).await.map_err(|error| unavailable(&error))?;
    Ok(Export::new(Arc::new(device), format!("{id} {}", image.name)))
}

/// Every image, for whoever may open the socket.
pub(crate) struct OperatorExports(Weak<Service>);

impl OperatorExports {
    pub(crate) fn new(service: &Arc<Service>) -> Self {
        Self(Arc::downgrade(service))
    }
}

impl Exports for OperatorExports {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Export, ResolveError>> {
        Box::pin(async move {
            let service = self.0.upgrade().ok_or(ResolveError::Unavailable)?;
            let id = name.parse().map_err(|_| ResolveError::Unknown)?;
            export_of(&service, &id).await
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Listing, ResolveError>> {
        Box::pin(async move {
            let service = self.0.upgrade().ok_or(ResolveError::Unavailable)?;
            let names = async { service.catalog.read().await?.ready_image_ids().await };
            let ids = names.await.map_err(|_| ResolveError::Unavailable)?;
            Ok(Listing::Names(ids.iter().map(ToString::to_string).collect()))
        })
    }
}

/// The images whose names were asked for, for whoever has such a name.
pub(crate) struct TokenExports(Weak<Service>);

impl TokenExports {
    pub(crate) fn new(service: &Arc<Service>) -> Self {
        Self(Arc::downgrade(service))
    }
}

impl Exports for TokenExports {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Export, ResolveError>> {
        Box::pin(async move {
            let service = self.0.upgrade().ok_or(ResolveError::Unavailable)?;
            let id = service.export_tokens.image(name).ok_or(ResolveError::Unknown)?;
            export_of(&service, &id).await
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Listing, ResolveError>> {
        Box::pin(async { Ok(Listing::Refused) })
    }
}
