//! TLS for the API: whose certificate is shown, and when another one takes its place.
//!
//! Not here: which listeners need TLS; the configuration decides that.

mod authority;
mod files;
mod listener;

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

pub(crate) use authority::Authority;
pub(crate) use files::Files;
pub(crate) use listener::TlsListener;

use authority::{RENEW_AFTER, Signed, own_names};

/// How often is looked whether files changed, or whether it is time for a new certificate.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// Where the server's certificate comes from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// Kiln's own authority signs it, for these host names and addresses and those that this machine has anyway.
    Authority { names: Vec<String> },
    /// The operator's files.
    Files(Files),
}

/// Shows the present certificate to every client, whatever host it asks for.
#[derive(Debug)]
struct Present(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Present {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Present {
    fn replace(&self, key: CertifiedKey) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
    }
}

/// The TLS side of a server that listens at `listen`; its certificate is renewed, or read again, while it runs.
///
/// # Errors
/// A sentence that names the file or the name that is wrong.
pub(crate) fn server_config(
    source: &Source,
    listen: IpAddr,
    data_dir: &Path,
) -> Result<Arc<ServerConfig>, String> {
    let provider = Arc::new(ring::default_provider());
    let present = match source {
        Source::Authority { names } => {
            let authority = Authority::open(data_dir)?;
            let mut all = own_names(listen);
            all.extend(names.iter().filter(|name| !all.contains(*name)).cloned().collect::<Vec<_>>());
            let present = present(&authority.sign(&all)?, &provider)?;
            tokio::spawn(renew(authority, all, Arc::clone(&provider), Arc::clone(&present)));
            present
        }
        Source::Files(files) => {
            let version = files.version();
            let present = present(&files.read()?, &provider).map_err(|error| {
                format!("{} and {}: {error}", files.certificate.display(), files.key.display())
            })?;
            tokio::spawn(follow(files.clone(), version, Arc::clone(&provider), Arc::clone(&present)));
            present
        }
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS: {error}"))?
        .with_no_client_auth()
        .with_cert_resolver(present);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn present(signed: &Signed, provider: &CryptoProvider) -> Result<Arc<Present>, String> {
    Ok(Arc::new(Present(RwLock::new(Arc::new(certified(signed, provider)?)))))
}

/// A certificate with its key, which must be its key.
fn certified(signed: &Signed, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    CertifiedKey::from_der(signed.chain.clone(), signed.key.clone_key(), provider)
        .map_err(|error| format!("the certificate cannot be used with this key: {error}"))
}

/// Signs a new certificate long before the present one ends.
async fn renew(
    authority: Authority,
    names: Vec<String>,
    provider: Arc<CryptoProvider>,
    present: Arc<Present>,
) {
    let mut signed_at = Instant::now();
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        if signed_at.elapsed() < RENEW_AFTER {
            continue;
        }
        match authority.sign(&names).and_then(|signed| certified(&signed, &provider)) {
            Ok(key) => {
                present.replace(key);
                signed_at = Instant::now();
                tracing::info!("the server's certificate was renewed");
            }
            Err(error) => tracing::error!(%error, "the server's certificate could not be renewed"),
        }
    }
}

/// Reads the files again when they changed; what cannot be used is said, and the earlier certificate goes on.
async fn follow(
    files: Files,
    mut seen: Option<[(std::time::SystemTime, u64); 2]>,
    provider: Arc<CryptoProvider>,
    present: Arc<Present>,
) {
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let version = files.version();
        if version == seen {
            continue;
        }
        seen = version;
        match files.read().and_then(|signed| certified(&signed, &provider)) {
            Ok(key) => {
                present.replace(key);
                tracing::info!(certificate = %files.certificate.display(), "the server's new certificate is used");
            }
            Err(error) => {
                tracing::error!(%error, "the server's new certificate cannot be used; the earlier one goes on");
            }
        }
    }
}
