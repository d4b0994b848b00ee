//! What a host name says: the bucket and the region, in COS's and in S3's forms, under any domain.

/// A host's bucket and region, as far as it names them.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct HostNames<'a> {
    pub bucket: Option<&'a str>,
    pub region: Option<&'a str>,
}

/// `<bucket>.cos.<region>.<domain>`, `cos.<region>.<domain>`, the same with `s3`, `service.cos.<domain>`; any other host
/// names nothing, and the bucket stands in the path.
pub fn names_of_host(host: &str) -> HostNames<'_> {
    let is_storage = |label: Option<&&str>| matches!(label, Some(&"cos" | &"s3"));
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let labels: Vec<&str> = name.split('.').collect();
    if is_storage(labels.first()) {
        HostNames { bucket: None, region: labels.get(1).copied() }
    } else if is_storage(labels.get(1)) && labels[0] != "service" {
        HostNames { bucket: Some(labels[0]), region: labels.get(2).copied() }
    } else {
        HostNames::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_name_buckets_and_regions() {
        let check =
            |host, bucket, region| assert_eq!(names_of_host(host), HostNames { bucket, region }, "{host}");
        check("a-1250000000.cos.ap-beijing.myqcloud.com", Some("a-1250000000"), Some("ap-beijing"));
        check("a-1250000000.s3.ap-beijing.example.org:5457", Some("a-1250000000"), Some("ap-beijing"));
        check("cos.ap-beijing.myqcloud.com", None, Some("ap-beijing"));
        check("service.cos.myqcloud.com", None, None);
        check("127.0.0.1:5457", None, None);
        check("localhost", None, None);
        check("objects.example.org", None, None);
    }
}
