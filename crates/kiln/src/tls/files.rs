//! A certificate and a key in files that the operator keeps: read at the start, and again when they change.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::authority::Signed;

/// The two files.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Files {
    /// Reads both. The certificate's file holds the whole chain, the server's own first.
    pub(crate) fn read(&self) -> Result<Signed, String> {
        let about = |path: &Path, error: String| format!("{}: {error}", path.display());
        let chain: Vec<_> = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(|found| found.collect())
            .map_err(|error| about(&self.certificate, error.to_string()))?;
        if chain.is_empty() {
            return Err(about(
                &self.certificate,
                "there is no certificate in it; it must be in PEM form".to_owned(),
            ));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| {
            about(&self.key, format!("no private key in PEM form could be read: {error}"))
        })?;
        Ok(Signed { chain, key })
    }

    /// What changes when one of them is replaced.
    pub(crate) fn version(&self) -> Option<[(SystemTime, u64); 2]> {
        let version = |path: &Path| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        };
        Some([version(&self.certificate)?, version(&self.key)?])
    }
}
