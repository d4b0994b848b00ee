//! Image exports: the disks of images over the Network Block Device protocol, for `qemu-img` and `nbdcopy`.
//!
//! The operator's socket lists every image under its identifier. Over TCP an export has a name that cannot be
//! guessed, which its holder got for an image that it sees; names end after a time, and nothing is listed.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::future::BoxFuture;
use kiln_model::{ImageId, ImageState};
use kiln_nbd::{Export, Exports, Listing, ResolveError};

use crate::Service;

/// How long a TCP export's name can be used to connect.
pub(crate) const EXPORT_LIFE: Duration = Duration::from_secs(60 * 60);

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
            let id = service.export_tickets.read(name).ok_or(ResolveError::Unknown)?;
            export_of(&service, &id).await
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Listing, ResolveError>> {
        Box::pin(async { Ok(Listing::Refused) })
    }
}
