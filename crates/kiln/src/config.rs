//! The configuration file: TOML, every key with a default, an unknown key an error. The documented example is
//! `example.toml` beside this file; a test holds it to the defaults.

mod file;
mod limits;
mod regions;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kiln_chunk_store::CollectionPolicy;
use kiln_model::{InstanceType, Limits, Money, Price};
use kiln_notify::{EmailConfig, SmsConfig};
use kiln_object_api::{AccountLimits, ObjectApiConfig};
use kiln_qemu::{AcceleratorChoice, Egress};
use kiln_service::policy::Policy;
use kiln_service::{
    CollectionConfig, InstanceConfig, InstanceNetwork, NotificationConfig, ObjectConfig, ServiceConfig,
};
use kiln_tencent_api::ApiConfig;

use self::file::{FileConfig, InstanceTypePart, NotificationsPart, ObjectsPart, TlsMode, TlsPart};
use crate::tls::{Files, Source};

/// The example that `kiln example-config` prints.
pub(crate) const EXAMPLE: &str = include_str!("example.toml");

/// The address that is listened on where nothing else is said.
pub(crate) const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5456);

/// Where the data are where nothing else is said.
pub(crate) const DEFAULT_DATA_DIR: &str = "kiln-data";

const GIB: f64 = (1u64 << 30) as f64;
const MIB: u64 = 1 << 20;

/// The configuration of a server, complete and checked.
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    /// Where the certificate comes from, where TLS is spoken.
    pub(crate) tls: Option<Source>,
    /// The same for buckets.
    pub(crate) objects_tls: Option<Source>,
    pub(crate) api: ApiConfig,
    pub(crate) objects: ObjectApiConfig,
    pub(crate) service: ServiceConfig,
}

/// What the command line and the environment say, which goes before the file.
pub(crate) struct Overrides {
    pub(crate) listen: Option<SocketAddr>,
    /// `--data-dir` or `KILN_DATA_DIR`.
    pub(crate) data_dir: Option<PathBuf>,
    /// `KILN_ACCEL`.
    pub(crate) accelerator: Option<String>,
    /// `PATH`.
    pub(crate) search_path: std::ffi::OsString,
}

/// Reads a configuration file, or takes the defaults where none is named.
pub(crate) fn load(file: Option<&Path>, overrides: Overrides) -> Result<Config, String> {
    let parsed = match file {
        None => FileConfig::default(),
        Some(path) => {
            let text =
                std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
            toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?
        }
    };
    complete(parsed, overrides)
}

/// The first of the users that nothing else has.
pub(crate) const FIRST_UID: u32 = 700_000;
/// This program, also after a newer one was put in its place: the two sides must be of one version.
pub(crate) const SELF: &str = "/proc/self/exe";

fn complete(file: FileConfig, overrides: Overrides) -> Result<Config, String> {
    let listen = overrides.listen.or(file.listen).unwrap_or(DEFAULT_LISTEN);
    let source = certificate(&file.tls)?;
    let buckets = objects(&file.objects, listen, file.tls.mode)?;
    let objects_tls = buckets.tls.then(|| source.clone());
    let tls = is_spoken(file.tls.mode, listen).then_some(source);
    let accelerator = overrides.accelerator.unwrap_or(file.instances.accelerator);
    let accelerator: AcceleratorChoice =
        accelerator.parse().map_err(|error| format!("accelerator: {error}"))?;
    let network = network(&file.instances.network)?;
    let data_dir = overrides.data_dir.or(file.data_dir).unwrap_or_else(|| DEFAULT_DATA_DIR.into());
    let data_dir =
        std::path::absolute(&data_dir).map_err(|error| format!("{}: {error}", data_dir.display()))?;
    let (regions, region_dirs) = regions::regions(file.regions, &data_dir)?;
    let service = ServiceConfig {
        data_dir,
        regions,
        region_dirs,
        instance_types: instance_types(file.instance_types)?,
        limits: Limits {
            requests_per_second: at_least("api.requests_per_second", file.api.requests_per_second, 1)?,
            ..limits::limits(&file.limits)?
        },
        transfer: kiln_transfer::Policy { allow_private: file.transfer.allow_private, ..Default::default() },
        copies_of_shared_images: file.sharing.allow_copies,
        import_policy: Policy::with_overrides(file.import.policy, &file.import.criteria)
            .map_err(|error| format!("import.criteria: {error}"))?,
        instances: InstanceConfig {
            accelerator,
            search_path: overrides.search_path,
            network,
            first_uid: at_least("instances.first_uid", file.instances.first_uid, 1000)?,
            power_off_grace: Duration::from_secs(file.instances.power_off_grace_seconds),
        },
        collection: CollectionConfig {
            policy: CollectionPolicy {
                min_age_ms: i64::from(file.collection.min_age_seconds) * 1000,
                grace_ms: i64::from(file.collection.grace_seconds) * 1000,
                max_share_percent: file.collection.max_share_percent.min(100),
                ..CollectionPolicy::default()
            },
            interval: Duration::from_secs(at_least(
                "collection.interval_seconds",
                file.collection.interval_seconds,
                1,
            )?),
        },
        notifications: notifications(file.notifications)?,
        nbd_tcp: file.nbd.listen,
        objects: buckets,
        helper: SELF.into(),
        chunk_cache_bytes: usize::try_from(file.store.cache_mib.saturating_mul(MIB)).unwrap_or(usize::MAX),
        image_workers: at_least("workers.images", file.workers.images, 1)?,
        instance_workers: at_least("workers.instances", file.workers.instances, 1)?,
    };
    regions::refuse_overlaps(&service)?;
    let api = ApiConfig {
        strict_replay: file.api.strict_replay,
        allow_unsigned_payload: file.api.allow_unsigned_payload,
        tls: tls.is_some(),
        ..ApiConfig::default()
    };
    let objects = object_api(file.objects)?;
    Ok(Config { listen, tls, objects_tls, api, objects, service })
}

fn notifications(part: NotificationsPart) -> Result<NotificationConfig, String> {
    let email = match (part.smtp, part.from) {
        (Some(smtp), Some(from)) => Some(EmailConfig { smtp, from }),
        (None, None) => None,
        _ => return Err("notifications: give both smtp and from, or neither".to_owned()),
    };
    let sms = part.sms_webhook.map(|webhook| SmsConfig { webhook, token: part.sms_token });
    Ok(NotificationConfig { email, sms })
}

/// Whether TLS is spoken at an address.
fn is_spoken(mode: TlsMode, listen: SocketAddr) -> bool {
    match mode {
        TlsMode::Auto => !listen.ip().is_loopback(),
        TlsMode::On => true,
        TlsMode::Off => false,
    }
}

/// Where the certificate comes from, where TLS is spoken.
fn certificate(part: &TlsPart) -> Result<Source, String> {
    match (part.certificate.clone(), part.key.clone()) {
        (Some(certificate), Some(key)) if part.names.is_empty() => {
            Ok(Source::Files(Files { certificate, key }))
        }
        (Some(_), Some(_)) => {
            Err("tls.names: the names of a certificate that is given by file are in it; leave them out"
                .to_owned())
        }
        (None, None) => Ok(Source::Authority { names: part.names.clone() }),
        _ => Err("tls: give both certificate and key, or neither".to_owned()),
    }
}

/// Where objects are served, unless it is said: beside the API.
fn objects(part: &ObjectsPart, api: SocketAddr, tls: TlsMode) -> Result<ObjectConfig, String> {
    let beside = SocketAddr::new(api.ip(), if api.port() == 0 { 0 } else { api.port().wrapping_add(1) });
    let address = part.listen.unwrap_or(beside);
    let account_gib = at_least("objects.account_gib", part.account_gib, 1)?;
    let upload_hours = at_least("objects.upload_hours", part.upload_hours, 1)?;
    Ok(ObjectConfig {
        address: Some(address),
        tls: is_spoken(tls, address),
        account_bytes: account_gib.saturating_mul(1 << 30),
        upload_age: Duration::from_secs(u64::from(upload_hours) * 3600),
    })
}

fn object_api(part: ObjectsPart) -> Result<ObjectApiConfig, String> {
    let is_origin = |text: &str| {
        url::Url::parse(text)
            .is_ok_and(|url| url.origin().is_tuple() && url.origin().ascii_serialization() == text)
    };
    if let Some(wrong) = part.allowed_origins.iter().find(|origin| !is_origin(origin)) {
        return Err(format!(
            "objects.allowed_origins: {wrong:?}: use a form such as https://console.example.org"
        ));
    }
    let account_limits = AccountLimits {
        requests_per_second: at_least("objects.requests_per_second", part.requests_per_second, 1)?,
        requests_at_once: at_least("objects.requests_at_once", part.requests_at_once, 1)?,
    };
    Ok(ObjectApiConfig { account_limits, allowed_origins: part.allowed_origins })
}

fn at_least<T: PartialOrd + std::fmt::Display>(key: &str, value: T, least: T) -> Result<T, String> {
    if value >= least { Ok(value) } else { Err(format!("{key} = {value}: it must be at least {least}")) }
}

fn network(text: &str) -> Result<InstanceNetwork, String> {
    match text {
        "isolated" => Ok(InstanceNetwork::User(Egress::Isolated)),
        "outbound" => Ok(InstanceNetwork::User(Egress::Outbound)),
        other => match other.strip_prefix("bridge:") {
            Some(bridge) if !bridge.is_empty() => Ok(InstanceNetwork::Bridge(bridge.to_owned())),
            _ => Err(format!(
                "instances.network = {other:?}: use \"isolated\", \"outbound\" or \"bridge:NAME\""
            )),
        },
    }
}

fn instance_types(parts: Option<Vec<InstanceTypePart>>) -> Result<Vec<InstanceType>, String> {
    let Some(parts) = parts else { return Ok(default_instance_types()) };
    if parts.is_empty() {
        return Err("instance_types: there must be at least one".to_owned());
    }
    parts
        .into_iter()
        .map(|part| {
            if part.vcpus == 0
                || part.vcpus > kiln_qemu::MAX_VCPUS
                || !(0.1..=4096.0).contains(&part.memory_gib)
            {
                return Err(format!("instance_types: {} has impossible vcpus or memory_gib", part.name));
            }
            let memory_bytes = (part.memory_gib * GIB) as u64 / MIB * MIB;
            let price = Price {
                per_hour: money(&part.name, part.per_hour)?,
                per_month: money(&part.name, part.per_month)?,
            };
            Ok(InstanceType { name: part.name, vcpus: part.vcpus, memory_bytes, price })
        })
        .collect()
}

fn money(instance_type: &str, units: f64) -> Result<Money, String> {
    Money::of_units(units).ok_or_else(|| {
        format!("instance_types: {instance_type} costs {units}: use an amount of 0 or more, to four places")
    })
}

fn default_instance_types() -> Vec<InstanceType> {
    let sizes = [
        ("S5.SMALL1", 1, 1),
        ("S5.SMALL2", 1, 2),
        ("S5.MEDIUM2", 2, 2),
        ("S5.MEDIUM4", 2, 4),
        ("S5.LARGE8", 4, 8),
        ("S5.2XLARGE16", 8, 16),
    ];
    let make = |(name, vcpus, gib): (&str, u32, u64)| InstanceType {
        name: name.to_owned(),
        vcpus,
        memory_bytes: gib << 30,
        price: Price::default(),
    };
    sizes.into_iter().map(make).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overrides() -> Overrides {
        Overrides { listen: None, data_dir: None, accelerator: None, search_path: "".into() }
    }

    #[test]
    fn the_example_says_the_defaults() {
        let example = toml::from_str(EXAMPLE).expect("the example is well formed");
        let example = complete(example, overrides()).expect("and valid");
        let default = complete(FileConfig::default(), overrides()).expect("the defaults are valid");
        assert_eq!(format!("{:?}", example.service), format!("{:?}", default.service));
        assert_eq!(example.listen, default.listen);
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        let error = toml::from_str::<FileConfig>("[api]\nstrict_reply = true").expect_err("a misspelt key");
        assert!(error.to_string().contains("strict_reply"), "{error}");
    }

    fn service(text: &str) -> Result<ServiceConfig, String> {
        let file = toml::from_str(text).map_err(|error| error.to_string())?;
        let data_dir = Some("/var/lib/kiln-data".into());
        complete(file, Overrides { data_dir, ..overrides() }).map(|config| config.service)
    }

    /// Two regions, `a` and `b`, and the directories that they name; an empty one is not named.
    fn two_regions(a: &str, b: &str) -> Result<ServiceConfig, String> {
        let region = |id: &str, dir: &str| {
            let data_dir = if dir.is_empty() { String::new() } else { format!("data_dir = {dir:?}") };
            format!(
                "[[regions]]\nid = {id:?}\nshort = {id:?}\nname = {id:?}\ncopying = true\n{data_dir}\n\
                 zones = [{{ id = \"{id}-1\", name = {id:?}, number = 1 }}]\n"
            )
        };
        service(&(region("a", a) + &region("b", b)))
    }

    #[test]
    fn the_data_of_a_region_are_where_it_says() {
        for (a, b, dirs) in [
            ("", "", ["/var/lib/kiln-data/regions/a", "/var/lib/kiln-data/regions/b"]),
            ("", "/srv/kiln-b", ["/var/lib/kiln-data/regions/a", "/srv/kiln-b"]),
            ("fast", "fast-b/", ["/var/lib/kiln-data/fast", "/var/lib/kiln-data/fast-b"]),
            ("regions/b", "regions/a", ["/var/lib/kiln-data/regions/b", "/var/lib/kiln-data/regions/a"]),
        ] {
            let service = two_regions(a, b).expect("they are apart");
            let found = service.regions.iter().map(|region| service.region_dir(&region.id));
            assert_eq!(found.collect::<Vec<_>>(), dirs.map(PathBuf::from), "{a:?}, {b:?}");
        }
    }

    #[test]
    fn the_data_of_a_region_are_apart_from_everything_else() {
        for (a, b, words) in [
            ("/srv/kiln", "/srv/kiln", "region a"),
            ("/srv/kiln", "/srv/kiln/./b/", "region a"),
            ("/srv/kiln/a", "/srv/kiln", "region a"),
            ("", "regions/a", "region a"),
            ("", "regions", "region a"),
            ("/var/lib/kiln-data/b", "b", "region a"),
            ("disks/a", "", "the data disks"),
            ("", "instances", "the instances"),
            ("run", "", "the sockets"),
            ("", "tls/b", "the authority"),
            (".", "", "the server's own data directory"),
            ("", "/var", "the server's own data directory"),
            ("", "/srv/../srv/b", "\"..\""),
        ] {
            let error = two_regions(a, b).expect_err("they are not apart");
            assert!(error.starts_with("regions: data_dir of "), "{a:?}, {b:?}: {error}");
            assert!(error.contains(words), "{a:?}, {b:?}: {error}");
        }
    }

    #[test]
    fn a_link_does_not_hide_that_two_regions_have_one_directory() {
        let home = tempfile::tempdir().expect("a directory");
        let [real, link] = ["real", "link"].map(|name| home.path().join(name));
        std::fs::create_dir(&real).expect("a directory");
        std::os::unix::fs::symlink(&real, &link).expect("a link");
        let text = |path: PathBuf| path.to_str().expect("plain").to_owned();
        let error = two_regions(&text(real), &text(link.join("b"))).expect_err("one is inside the other");
        assert!(error.contains("region a"), "{error}");
    }

    #[test]
    fn plain_http_stays_on_loopback_unless_it_is_asked_for() {
        let tls = |listen: &str, text: &str| {
            let listen = Some(listen.parse().expect("an address"));
            let file = toml::from_str(text).expect("well formed");
            let config = complete(file, Overrides { listen, ..overrides() })?;
            let address = config.service.objects.address.expect("objects are served");
            assert_eq!(config.objects_tls.is_some(), config.service.objects.tls);
            Ok::<_, String>((config.tls.is_some(), address.to_string(), config.objects_tls.is_some()))
        };
        let both = |spoken, objects: &str| Ok((spoken, objects.to_owned(), spoken));
        assert_eq!(tls("127.0.0.1:1", ""), both(false, "127.0.0.1:2"));
        assert_eq!(tls("[::1]:1", ""), both(false, "[::1]:2"));
        assert_eq!(tls("0.0.0.0:1", ""), both(true, "0.0.0.0:2"));
        assert_eq!(tls("127.0.0.1:1", "[tls]\nmode = \"on\""), both(true, "127.0.0.1:2"));
        assert_eq!(tls("0.0.0.0:1", "[tls]\nmode = \"off\""), both(false, "0.0.0.0:2"));
        let inside = "[objects]\nlisten = \"127.0.0.1:9\"";
        assert_eq!(tls("0.0.0.0:1", inside), Ok((true, "127.0.0.1:9".to_owned(), false)));
        let outside = "[objects]\nlisten = \"0.0.0.0:9\"";
        assert_eq!(tls("127.0.0.1:1", outside), Ok((false, "0.0.0.0:9".to_owned(), true)));
        assert!(tls("127.0.0.1:1", "[objects]\nallowed_origins = [\"https://a.example.org/\"]").is_err());
        assert!(tls("0.0.0.0:1", "[tls]\ncertificate = \"a.pem\"").is_err(), "its key is missing");
    }
}
