//! Tells s3s which bucket a host names.

use kiln_service::names_of_host;
use s3s::S3Result;
use s3s::host::{S3Host, VirtualHost};

/// Tells s3s which bucket a host names.
pub(crate) struct Hosts;

impl S3Host for Hosts {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let found = VirtualHost::new(host);
        Ok(match names_of_host(host).bucket {
            Some(bucket) => found.with_bucket(bucket),
            None => found,
        })
    }
}
