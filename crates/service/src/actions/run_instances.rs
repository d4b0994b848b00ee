//! RunInstances: launches instances from any image that the caller sees.

use std::sync::Arc;

use kiln_catalog::Tx;
use kiln_model::{
    BootMode, Components, DiskId, Image, Instance, InstanceId, InstanceState, InstanceType, LastOperation,
    LaunchSettings, Limits, OperationState, Region, TaskKind, Timestamp, Zone, ZoneId,
};

use super::client_tokens::Repeatable;
use super::launch_disks::{self, LaunchDisk};
use super::public_images::wanted_components;
use super::{commit_tasks, disks, tags};
use crate::machines::private_address;
use crate::{Answer, Caller, Refusal, RunInstances, Service, checks};

const MAX_COUNT: u32 = 100;
const MAX_NAME_CHARS: usize = 128;
const DEFAULT_NAME: &str = "Unnamed";
const GIB: u64 = 1 << 30;
const ACTION: &str = "RunInstances";

pub(super) async fn perform(
    service: &Arc<Service>,
    caller: &Caller,
    request: RunInstances,
) -> Result<Answer, Refusal> {
    let repeatable = Repeatable::new(ACTION, request.client_token.as_deref(), &request);
    repeatable.check("InvalidClientToken.TooLong")?;
    check_form(&request)?;
    let limits = service.limits_of(caller.account.uin).await?;
    let instance_type = instance_type(service, request.instance_type.as_deref())?;
    let zone = zone(service, caller, request.zone.as_ref())?;
    qemu_is_there(service).await?;
    let mut tx = service.catalog.write().await?;
    let reused = "InvalidParameterValue.ClientTokenReused";
    if let Some(launched) = repeatable.answered(&mut tx, caller, reused).await? {
        return Ok(Answer::Launched(launched));
    }
    let (image, _) = checks::visible_image(&mut tx, caller, &request.image).await?;
    checks::image_is_normal(&image)?;
    firmware_is_there(&image)?;
    let system_disk_bytes = system_disk_bytes(&image, &request)?;
    check_key_pairs(&mut tx, caller, &request).await?;
    let data_disks = launch_disks::plan(&mut tx, caller, &request, &image).await?;
    check_quota(&mut tx, caller, request.count, data_disks.len(), &limits).await?;
    if request.dry_run {
        return Ok(Answer::DryRunPassed);
    }
    let components = wanted_components(&mut tx, &image, request.security_service).await?;
    let mut launched = Vec::with_capacity(request.count as usize);
    for number in 1..=request.count {
        let instance = Launch {
            caller,
            request: &request,
            image: &image,
            zone,
            instance_type,
            system_disk_bytes,
            data_disks: &data_disks,
            components: &components,
        }
        .instance(&mut tx, number)
        .await?;
        launched.push(instance);
    }
    repeatable.remember(&mut tx, caller, &launched).await?;
    commit_tasks(service, tx).await?;
    Ok(Answer::Launched(launched))
}

/// That machines can be started at all.
pub(super) async fn qemu_is_there(service: &Service) -> Result<(), Refusal> {
    let found = service.machines.qemu().await;
    found.map(drop).map_err(|error| unavailable("ResourceUnavailable.Qemu", &error))
}

/// That what the image starts by is installed.
pub(super) fn firmware_is_there(image: &Image) -> Result<(), Refusal> {
    if image.facts.boot_mode == BootMode::Bios {
        return Ok(());
    }
    kiln_qemu::find_firmware().map(drop).map_err(|error| unavailable("ResourceUnavailable.Firmware", &error))
}

fn unavailable(code: &'static str, error: &kiln_qemu::Error) -> Refusal {
    Refusal::new(crate::RefusalKind::Unavailable, code, format!("{error}."))
}

fn check_form(request: &RunInstances) -> Result<(), Refusal> {
    if !(1..=MAX_COUNT).contains(&request.count) {
        return Err(Refusal::invalid(
            "InvalidParameterValue.Range",
            format!("InstanceCount is {}; it must be between 1 and {MAX_COUNT}.", request.count),
        ));
    }
    if let Some(name) = &request.name
        && name.chars().count() > MAX_NAME_CHARS
    {
        return Err(Refusal::invalid(
            "InvalidInstanceName.TooLong",
            format!("InstanceName has more than {MAX_NAME_CHARS} characters."),
        ));
    }
    if let Some(hostname) = &request.hostname {
        check_hostname(hostname)?;
    }
    if let Some(password) = &request.password {
        check_password(password, "LoginSettings.Password")?;
    }
    if let Some(encoded) = &request.user_data_base64 {
        check_user_data(encoded)?;
    }
    launch_disks::check_form(&request.data_disks)?;
    tags::check(&request.tags, &tags::CVM)
}

/// That user data are base64, and not too long.
pub(super) fn check_user_data(encoded: &str) -> Result<(), Refusal> {
    match kiln_qemu::seed::decode_user_data(encoded) {
        Ok(_) => Ok(()),
        Err(error) => Err(Refusal::invalid(
            "InvalidParameterValue.InvalidUserDataFormat",
            format!("UserData: {error}."),
        )),
    }
}

/// Host names by RFC 1123: labels of letters, digits and inner hyphens.
pub(super) fn check_hostname(hostname: &str) -> Result<(), Refusal> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if (2..=60).contains(&hostname.len()) && hostname.split('.').all(label) {
        return Ok(());
    }
    Err(Refusal::invalid(
        "InvalidHostName.Malformed",
        format!(
            "HostName {hostname:?} must be 2 to 60 letters, digits, hyphens and dots, without hyphens at a label's ends."
        ),
    ))
}

pub(super) fn check_password(password: &str, parameter: &str) -> Result<(), Refusal> {
    let kinds = [
        password.chars().any(|c| c.is_ascii_lowercase()),
        password.chars().any(|c| c.is_ascii_uppercase()),
        password.chars().any(|c| c.is_ascii_digit()),
        password.chars().any(|c| c.is_ascii_punctuation()),
    ];
    let printable = password.chars().all(|c| c.is_ascii_graphic());
    if (8..=30).contains(&password.len()) && printable && kinds.iter().filter(|kind| **kind).count() >= 2 {
        return Ok(());
    }
    Err(Refusal::invalid(
        "InvalidPassword",
        format!(
            "{parameter} must be 8 to 30 printable characters of at least two kinds: lower case, upper case, digits, \
             punctuation."
        ),
    ))
}

pub(super) fn instance_type<'a>(
    service: &'a Service,
    asked: Option<&str>,
) -> Result<&'a InstanceType, Refusal> {
    let types = &service.config.instance_types;
    let Some(asked) = asked else { return Ok(&types[0]) };
    types.iter().find(|known| known.name == asked).ok_or_else(|| {
        let names: Vec<_> = types.iter().map(|known| known.name.as_str()).collect();
        Refusal::invalid(
            "InvalidInstanceType.ValueNotSupported",
            format!("There is no instance type {asked:?} here. Use one of: {}.", names.join(", ")),
        )
    })
}

pub(super) fn zone<'a>(
    service: &'a Service,
    caller: &Caller,
    asked: Option<&ZoneId>,
) -> Result<&'a Zone, Refusal> {
    let region: &Region = service
        .region(&caller.region)
        .ok_or_else(|| Refusal::internal(format!("region {}", caller.region)))?;
    region.zones.iter().find(|zone| asked.is_none_or(|asked| zone.id == *asked)).ok_or_else(|| {
        let names: Vec<_> = region.zones.iter().map(|zone| zone.id.as_str()).collect();
        Refusal::invalid(
            "InvalidZone.MismatchRegion",
            format!(
                "Placement.Zone {} is not in {}. Use one of: {}.",
                asked.map(ToString::to_string).unwrap_or_default(),
                region.id,
                names.join(", ")
            ),
        )
    })
}

fn system_disk_bytes(image: &Image, request: &RunInstances) -> Result<u64, Refusal> {
    let Some(gib) = request.system_disk_gib else { return Ok(image.size_bytes) };
    disk_bytes_in_range(gib, image.size_bytes, &format!("image {}", image.id))
}

/// The bytes of a system disk that was asked for in GiB, where what it is for needs `least` bytes.
pub(super) fn disk_bytes_in_range(gib: u64, least: u64, what_for: &str) -> Result<u64, Refusal> {
    /// The largest disk that may be asked for, in GiB.
    const MAX_GIB: u64 = 2048;
    let bytes = gib.saturating_mul(GIB);
    if bytes < least || gib > MAX_GIB {
        return Err(Refusal::invalid(
            "InvalidParameterValue.Range",
            format!(
                "SystemDisk.DiskSize is {gib} GiB; for {what_for} it must be between {} and {MAX_GIB}.",
                least.div_ceil(GIB)
            ),
        ));
    }
    Ok(bytes)
}

async fn check_key_pairs(tx: &mut Tx, caller: &Caller, request: &RunInstances) -> Result<(), Refusal> {
    for id in &request.key_pairs {
        checks::own_key_pair(tx, caller, id).await?;
    }
    Ok(())
}

async fn check_quota(
    tx: &mut Tx,
    caller: &Caller,
    count: u32,
    disks_each: usize,
    limits: &Limits,
) -> Result<(), Refusal> {
    let new_disks = count.saturating_mul(u32::try_from(disks_each).unwrap_or(u32::MAX));
    disks::check_room(tx, caller, new_disks, limits, "ResourceInsufficient.CloudDiskUnavailable").await?;
    let used = tx.count_instances(caller.account.uin, &caller.region).await?;
    if used.saturating_add(count) <= limits.instances_per_region {
        return Ok(());
    }
    Err(Refusal::quota(
        "LimitExceeded.InstanceQuota",
        format!(
            "The limit of {} instances in {} would be passed: there are {used}, and {count} were asked for. Terminate \
             some that are not needed, or ask the operator for more.",
            limits.instances_per_region, caller.region
        ),
    ))
}

/// What the instances of one request have in common.
struct Launch<'a> {
    caller: &'a Caller,
    request: &'a RunInstances,
    image: &'a Image,
    zone: &'a Zone,
    instance_type: &'a InstanceType,
    system_disk_bytes: u64,
    data_disks: &'a [LaunchDisk],
    components: &'a Option<Components>,
}

impl Launch<'_> {
    /// Records an instance and the task that launches it.
    async fn instance(&self, tx: &mut Tx, number: u32) -> Result<InstanceId, Refusal> {
        let disk = self
            .image
            .system_disk()
            .ok_or_else(|| Refusal::internal(format!("image {} has no disk", self.image.id)))?;
        let id = InstanceId::random();
        let kind = TaskKind::LaunchInstance { instance: id.clone() };
        let task = super::enqueue(tx, self.caller, &self.caller.region, kind).await?;
        let ordinal = tx.allocate_ordinal().await?;
        let instance = Instance {
            id: id.clone(),
            region: self.caller.region.clone(),
            zone: self.zone.id.clone(),
            owner: self.caller.account.uin,
            name: self.numbered(self.request.name.as_deref().unwrap_or(DEFAULT_NAME), "", number),
            state: InstanceState::Pending,
            image: self.image.id.clone(),
            base_manifest: disk.manifest.clone(),
            system_disk: DiskId::random(),
            system_disk_bytes: self.system_disk_bytes,
            instance_type: self.instance_type.clone(),
            private_address: private_address(ordinal),
            ssh_port: None,
            ordinal,
            settings: LaunchSettings {
                hostname: match &self.request.hostname {
                    Some(hostname) => self.numbered(hostname, "-", number),
                    None => id.to_string(),
                },
                password: self.request.password.clone(),
                key_pairs: self.request.key_pairs.clone(),
                user_data_base64: self.request.user_data_base64.clone(),
                network_file_missing: None,
                components: self.components.clone(),
                change: None,
            },
            last_operation: LastOperation {
                action: ACTION.to_owned(),
                state: OperationState::Operating,
                request_id: self.caller.request_id.clone(),
                failure: None,
            },
            task: Some(task),
            created_at: Timestamp::now(),
        };
        tx.insert_instance(&instance).await?;
        launch_disks::insert(tx, self.caller, self.data_disks, &id, &self.zone.id).await?;
        tags::put(tx, self.caller, id.as_str(), &self.request.tags, &tags::CVM).await?;
        Ok(id)
    }

    /// A name, with a number behind it where one request launches several.
    fn numbered(&self, name: &str, separator: &str, number: u32) -> String {
        if self.request.count == 1 { name.to_owned() } else { format!("{name}{separator}{number}") }
    }
}
