//! What a host name says: the bucket and the region, in COS's and in S3's forms, under any domain.

use s3s::S3Result;
use s3s::host::{S3Host, VirtualHost};

/// A host's bucket and region, as far as it names them.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Named<'a> {
    pub(crate) bucket: Option<&'a str>,
    pub(crate) region: Option<&'a str>,
}

/// `<bucket>.cos.<region>.<domain>`, `cos.<region>.<domain>`, the same with `s3`, `service.cos.<domain>`; any other host
/// names nothing, and the bucket stands in the path.
pub(crate) fn parse(host: &str) -> Named<'_> {
    let is_storage = |label: Option<&&str>| matches!(label, Some(&"cos" | &"s3"));
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let labels: Vec<&str> = name.split('.').collect();
    if is_storage(labels.first()) {
        Named { bucket: None, region: labels.get(1).copied() }
    } else if is_storage(labels.get(1)) && labels[0] != "service" {
        Named { bucket: Some(labels[0]), region: labels.get(2).copied() }
    } else {
        Named::default()
    }
}

/// Tells s3s which bucket a host names.
pub(crate) struct Hosts;

impl S3Host for Hosts {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let found = VirtualHost::new(host);
        Ok(match parse(host).bucket {
            Some(bucket) => found.with_bucket(bucket),
            None => found,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_name_buckets_and_regions() {
        let check = |host, bucket, region| assert_eq!(parse(host), Named { bucket, region }, "{host}");
        check("a-1250000000.cos.ap-beijing.myqcloud.com", Some("a-1250000000"), Some("ap-beijing"));
        check("a-1250000000.s3.ap-beijing.example.org:5457", Some("a-1250000000"), Some("ap-beijing"));
        check("cos.ap-beijing.myqcloud.com", None, Some("ap-beijing"));
        check("service.cos.myqcloud.com", None, None);
        check("127.0.0.1:5457", None, None);
        check("localhost", None, None);
        check("objects.example.org", None, None);
    }
}
