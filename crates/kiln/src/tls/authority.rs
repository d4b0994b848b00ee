//! Kiln's own certificate authority: a key and a certificate in the data directory, made once, and the certificates for
//! this server that it signs. Those are in memory only, so that their names follow the configuration.
//!
//! What is signed here is for servers, and for the names that are configured; the authority's key never leaves its file.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long clients need not be told of another authority.
const AUTHORITY_LIFETIME: Duration = DAY.saturating_mul(20 * 365);
/// How long a certificate is good for that is signed; a server that runs has a new one long before.
const CERTIFICATE_LIFETIME: Duration = DAY.saturating_mul(90);
/// When a running server takes a new one.
pub(crate) const RENEW_AFTER: Duration = DAY.saturating_mul(30);
/// How far the clocks of clients may be behind.
const BACKDATED: Duration = DAY;

/// A certificate authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as rustls takes them.
pub(crate) struct Signed {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl Authority {
    /// Where clients find the certificate that they trust.
    pub(crate) fn certificate_path(data_dir: &Path) -> PathBuf {
        data_dir.join("tls").join("authority.pem")
    }

    fn key_path(data_dir: &Path) -> PathBuf {
        data_dir.join("tls").join("authority-key.pem")
    }

    /// Opens the authority of a data directory, which is made where there is none.
    pub(crate) fn open(data_dir: &Path) -> Result<Self, String> {
        let (certificate, key) = (Self::certificate_path(data_dir), Self::key_path(data_dir));
        if !key.exists() {
            return Self::create(&certificate, &key);
        }
        let text = std::fs::read_to_string(&key).map_err(|error| format!("{}: {error}", key.display()))?;
        let pair = KeyPair::from_pem(&text).map_err(|error| {
            format!(
                "{}: {error}. Put the file back, or remove it for a new authority, which clients must then be told of",
                key.display()
            )
        })?;
        if !certificate.exists() {
            // A stop between the two files: the key is kept first.
            write_new(&certificate, &self_signed(&pair)?)?;
        }
        Ok(Self { issuer: Issuer::new(authority_params(&pair), pair) })
    }

    fn create(certificate: &Path, key: &Path) -> Result<Self, String> {
        let dir = key.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let pair = KeyPair::generate().map_err(|error| format!("making a key: {error}"))?;
        // One that is left without its key is of no use, and must not be taken for the new one's.
        match std::fs::remove_file(certificate) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(format!("{}: {error}", certificate.display()));
            }
            _ => {}
        }
        write_new(key, &pair.serialize_pem())?;
        write_new(certificate, &self_signed(&pair)?)?;
        Ok(Self { issuer: Issuer::new(authority_params(&pair), pair) })
    }

    /// Signs a certificate for a server of these host names and addresses.
    pub(crate) fn sign(&self, names: &[String]) -> Result<Signed, String> {
        let mut params = CertificateParams::new(names).map_err(|error| format!("tls.names: {error}"))?;
        params.distinguished_name = named("Kiln");
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        (params.not_before, params.not_after) = validity(CERTIFICATE_LIFETIME);
        let key = KeyPair::generate().map_err(|error| format!("making a key: {error}"))?;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .map_err(|error| format!("signing a certificate: {error}"))?;
        let key = PrivateKeyDer::try_from(key.serialize_der())?;
        Ok(Signed { chain: vec![certificate.der().clone()], key })
    }
}

fn self_signed(pair: &KeyPair) -> Result<String, String> {
    let certificate = authority_params(pair).self_signed(pair);
    Ok(certificate.map_err(|error| format!("signing the authority's certificate: {error}"))?.pem())
}

/// The same whenever it is asked for, but for the dates, so that what is signed later fits the certificate in the file.
fn authority_params(pair: &KeyPair) -> CertificateParams {
    let mut params = CertificateParams::default();
    let fingerprint = hex::encode(Sha256::digest(pair.der_bytes()));
    params.distinguished_name = named(&format!("Kiln authority {}", &fingerprint[..12]));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = validity(AUTHORITY_LIFETIME);
    params
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn validity(lifetime: Duration) -> (OffsetDateTime, OffsetDateTime) {
    let now = OffsetDateTime::now_utc();
    (now - BACKDATED, now + lifetime)
}

/// Writes a file whole or not at all, for its owner only.
fn write_new(path: &Path, text: &str) -> Result<(), String> {
    let unfinished = path.with_extension("pem.new");
    let written = || -> std::io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&unfinished, path)
    };
    written().map_err(|error| format!("{}: {error}", path.display()))
}

/// The names that a server has besides those that are configured: what this machine is called, and loopback.
pub(crate) fn own_names(listen: IpAddr) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if !node.is_empty() && node.is_ascii() {
        names.push(node);
    }
    if !listen.is_unspecified() {
        names.push(listen.to_string());
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_made_once_and_its_key_is_its_owners() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        let first = Authority::open(dir.path()).expect("a new one").issuer.key().serialize_pem();
        let again = Authority::open(dir.path()).expect("the same").issuer.key().serialize_pem();
        assert_eq!(first, again);
        let mode = std::fs::metadata(Authority::key_path(dir.path())).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_key_is_named_and_not_replaced() {
        let dir = tempfile::tempdir().expect("a directory");
        Authority::open(dir.path()).expect("a new one");
        std::fs::write(Authority::key_path(dir.path()), "no key").expect("writable");
        let error = Authority::open(dir.path()).err().expect("refused");
        assert!(error.contains("authority-key.pem"), "{error}");
    }
}
