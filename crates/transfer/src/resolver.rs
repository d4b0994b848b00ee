//! Looking up names so that only checked addresses come out.
//!
//! The HTTP client connects to the addresses this hands out and looks nothing up itself, so a name server that
//! changes its answer between check and connection (DNS rebinding) gains nothing. IP addresses written in the URL
//! never come here: [`check_literal`] checks them.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures::future::BoxFuture;
use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::Host;

use crate::address::is_allowed;
use crate::{Error, Result, SourceUrl};

/// The most addresses of one name that are tried.
pub(crate) const MAX_ADDRESSES: usize = 16;

/// How a host name becomes addresses. The system's way by default; replaced in tests.
pub type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// The system's resolver: its hosts file, then its name servers.
pub(crate) fn system_lookup() -> Lookup {
    Arc::new(|host| {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    })
}

/// Why a name yields no address to connect to. Travels through the HTTP client as the cause of its error.
#[derive(Debug)]
pub(crate) enum LookupFailure {
    /// None of the name's addresses may be fetched from; the first of them.
    Refused(IpAddr),
    /// The name has no address, or could not be looked up.
    Failed(String),
}

impl fmt::Display for LookupFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(address) => write!(f, "{address} may not be fetched from"),
            Self::Failed(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for LookupFailure {}

/// A lookup of which only addresses that may be fetched from come out.
pub(crate) struct CheckedResolver {
    lookup: Lookup,
    allow_private: Arc<[IpNet]>,
}

impl CheckedResolver {
    pub(crate) fn new(lookup: Lookup, allow_private: Arc<[IpNet]>) -> Self {
        Self { lookup, allow_private }
    }
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let found = (self.lookup)(name.as_str().to_owned());
        let allow_private = self.allow_private.clone();
        Box::pin(async move {
            let addresses = match found.await {
                Ok(addresses) => addresses,
                Err(error) => return Err(LookupFailure::Failed(error.to_string()).into()),
            };
            let addresses = allowed_of(addresses, &allow_private)?;
            Ok(Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}

fn allowed_of(
    found: Vec<IpAddr>,
    allow_private: &[IpNet],
) -> std::result::Result<Vec<IpAddr>, LookupFailure> {
    let Some(&first) = found.first() else {
        return Err(LookupFailure::Failed("the name has no address".to_owned()));
    };
    let allowed: Vec<_> = found
        .into_iter()
        .map(|address| address.to_canonical())
        .filter(|address| is_allowed(*address, allow_private))
        .take(MAX_ADDRESSES)
        .collect();
    if allowed.is_empty() { Err(LookupFailure::Refused(first)) } else { Ok(allowed) }
}

/// Checks the host of a URL where it is an address. (`url` has turned decimal, octal and hexadecimal spellings
/// into plain addresses.)
pub(crate) fn check_literal(source: &SourceUrl, allow_private: &[IpNet]) -> Result<()> {
    let address: IpAddr = match source.host() {
        Host::Domain(_) => return Ok(()),
        Host::Ipv4(address) => address.into(),
        Host::Ipv6(address) => address.into(),
    };
    if is_allowed(address, allow_private) {
        return Ok(());
    }
    Err(Error::AddressRefused { host: source.host().to_string(), address })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_private_address_is_seen() {
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.0.0.1",
            "0177.0.0.1",
            "127.0.0.1.",
            "0",
            "①②⑦.⓪.⓪.①",
            "169.254.169.254",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::127.0.0.1]",
            "[64:ff9b::10.0.0.1]",
            "[fe80::1]",
        ] {
            let source = SourceUrl::parse(&format!("http://{host}/")).expect("a URL");
            let found = check_literal(&source, &[]);
            assert!(matches!(found, Err(Error::AddressRefused { .. })), "{host}: {found:?}");
        }
        let source = SourceUrl::parse("http://8.8.8.8/").expect("a URL");
        assert!(check_literal(&source, &[]).is_ok());
    }

    #[test]
    fn refused_addresses_are_left_out_and_none_left_is_an_error() {
        let public: IpAddr = "8.8.8.8".parse().expect("an address");
        let private: IpAddr = "10.0.0.1".parse().expect("an address");
        assert_eq!(allowed_of(vec![private, public], &[]).expect("one is left"), [public]);
        assert!(
            matches!(allowed_of(vec![private], &[]), Err(LookupFailure::Refused(found)) if found == private)
        );
        assert!(matches!(allowed_of(Vec::new(), &[]), Err(LookupFailure::Failed(_))));
        assert_eq!(allowed_of(vec![public; 100], &[]).expect("allowed").len(), MAX_ADDRESSES);
    }
}
