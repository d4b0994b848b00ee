//! What RunInstances takes and means: the action with the most parameters, of which Kiln acts on some.
//!
//! What asks for something that Kiln has not is refused, so that nobody relies on it; what asks for what an instance
//! has anyway, or for a service that only watches it, passes.

use kiln_model::ZoneId;
use kiln_service::{Command, NewDataDisk, RunInstances};

use super::images::{IMAGE_ID, TAG_SPECIFICATION, tags};
use super::key_pairs::KEY_PAIR_ID;
use crate::error::Error;
use crate::parameter::{Arguments, Kind, Parameter, harmless, only, optional, refused, refused_as, required};

pub(super) const NO_NETWORKS: &str =
    "every instance is in the network that the server's configuration gives it";
pub(super) const NO_HOSTS: &str = "there are no dedicated hosts, clusters or groups; leave it out";
pub(super) const NO_ENCRYPTION: &str = "disks are not encrypted by the service";
const NO_ADDRESSES: &str = "instances get a private address only; leave it out";

pub(super) const PLACEMENT: &[Parameter] = &[
    required("Zone", Kind::Text),
    harmless("ProjectId", Kind::Integer),
    refused("HostIds", NO_HOSTS),
    refused("HostId", NO_HOSTS),
    refused("DedicatedResourcePackTenancy", NO_HOSTS),
    refused("DedicatedResourcePackIds", NO_HOSTS),
    refused("RackId", NO_HOSTS),
];

pub(super) const SYSTEM_DISK: &[Parameter] = &[
    // One kind of disk stands for all.
    harmless("DiskType", Kind::Text),
    refused("DiskId", "a system disk is always made anew; leave it out"),
    optional("DiskSize", Kind::Integer),
    refused("CdcId", NO_HOSTS),
    refused("DiskName", "disks have no names of their own; leave it out"),
    only("Encrypt", Kind::Flag, &["false"], NO_ENCRYPTION),
    refused("KmsKeyId", NO_ENCRYPTION),
];

pub(super) const DATA_DISKS: &[Parameter] = &[
    required("DiskSize", Kind::Integer),
    harmless("DiskType", Kind::Text),
    refused("DiskId", "a launch makes its data disks; attach one that there is with AttachDisks"),
    optional("DeleteWithInstance", Kind::Flag),
    optional("SnapshotId", Kind::Text),
    only("Encrypt", Kind::Flag, &["false"], NO_ENCRYPTION),
    refused("KmsKeyId", NO_ENCRYPTION),
    only("ThroughputPerformance", Kind::Integer, &["0"], "all disks are as fast as the host; leave it out"),
    refused("CdcId", NO_HOSTS),
    only("BurstPerformance", Kind::Flag, &["false"], "all disks are as fast as the host; leave it out"),
    optional("DiskName", Kind::Text),
];

fn data_disk(given: &Arguments) -> Result<NewDataDisk, Error> {
    Ok(NewDataDisk {
        name: given.text("DiskName"),
        size_gib: given.integer("DiskSize").unwrap_or_default(),
        snapshot: given.id("SnapshotId", "InvalidParameterValue.SnapshotIdMalformed")?,
        delete_with_instance: given.optional_flag("DeleteWithInstance").unwrap_or(true),
    })
}

pub(super) const PRIVATE_CLOUD: &[Parameter] = &[
    only("VpcId", Kind::Text, &["DEFAULT"], NO_NETWORKS),
    only("SubnetId", Kind::Text, &["DEFAULT"], NO_NETWORKS),
    only("AsVpcGateway", Kind::Flag, &["false"], NO_NETWORKS),
    refused("PrivateIpAddresses", NO_NETWORKS),
    only("Ipv6AddressCount", Kind::Integer, &["0"], NO_NETWORKS),
];

pub(super) const INTERNET: &[Parameter] = &[
    // Neither charged for nor shaped.
    harmless("InternetChargeType", Kind::Text),
    harmless("InternetMaxBandwidthOut", Kind::Integer),
    only("PublicIpAssigned", Kind::Flag, &["false"], NO_ADDRESSES),
    refused("BandwidthPackageId", NO_ADDRESSES),
    refused("InternetServiceProvider", NO_ADDRESSES),
    refused("IPv4AddressType", NO_ADDRESSES),
    refused("IPv6AddressType", NO_ADDRESSES),
    refused("AntiDDoSPackageId", NO_ADDRESSES),
];

pub(super) const LOGIN: &[Parameter] = &[
    optional("Password", Kind::Text),
    optional("KeyIds", Kind::Texts),
    // What is not set stays as the image has it.
    harmless("KeepImageLogin", Kind::TextFlag),
];

const ENABLED: &[Parameter] = &[harmless("Enabled", Kind::Flag)];
const SWITCH: &[Parameter] = &[optional("Enabled", Kind::Flag)];

pub(super) const ENHANCED: &[Parameter] = &[
    optional("SecurityService", Kind::Object(SWITCH)),
    harmless("MonitorService", Kind::Object(ENABLED)),
    harmless("AutomationService", Kind::Object(ENABLED)),
];

/// Whether the guest is to get what its image names for it, where that is said.
pub(super) fn security_service(arguments: &Arguments) -> Option<bool> {
    arguments.object("EnhancedService")?.object("SecurityService")?.optional_flag("Enabled")
}

pub(super) const RUN: &[Parameter] = &[
    only(
        "InstanceChargeType",
        Kind::Text,
        &["POSTPAID_BY_HOUR"],
        "nothing is charged in advance, and nothing is spot",
    ),
    refused("InstanceChargePrepaid", "nothing is charged in advance; leave it out"),
    optional("Placement", Kind::Object(PLACEMENT)),
    optional("InstanceType", Kind::Text),
    required("ImageId", Kind::Text),
    optional("SystemDisk", Kind::Object(SYSTEM_DISK)),
    optional("DataDisks", Kind::Objects(DATA_DISKS)),
    harmless("VirtualPrivateCloud", Kind::Object(PRIVATE_CLOUD)),
    harmless("InternetAccessible", Kind::Object(INTERNET)),
    optional("InstanceCount", Kind::Integer),
    // All are launched or none, which is at least this many.
    harmless("MinCount", Kind::Integer),
    optional("InstanceName", Kind::Text),
    optional("LoginSettings", Kind::Object(LOGIN)),
    refused_as(
        "SecurityGroupIds",
        "InvalidSecurityGroupId.NotFound",
        "there are no security groups, so they would protect nothing; leave it out",
    ),
    optional("EnhancedService", Kind::Object(ENHANCED)),
    optional("ClientToken", Kind::Text),
    optional("HostName", Kind::Text),
    refused("ActionTimer", "nothing ends an instance by time; leave it out"),
    refused("DisasterRecoverGroupIds", NO_HOSTS),
    optional("TagSpecification", Kind::Objects(TAG_SPECIFICATION)),
    refused("InstanceMarketOptions", "there are no spot instances; leave it out"),
    optional("UserData", Kind::Text),
    refused("Metadata", "instances get no metadata of their own; use UserData"),
    optional("DryRun", Kind::Flag),
    refused("CpuTopology", "an instance's processors are set by its type; leave it out"),
    refused("CamRoleName", "instances take no roles; leave it out"),
    refused("HpcClusterId", NO_HOSTS),
    refused("LaunchTemplate", "there are no launch templates; name what they would contain"),
    refused("DedicatedClusterId", NO_HOSTS),
    refused("ChcIds", NO_HOSTS),
    refused("PartitionNumber", NO_HOSTS),
    only("DisableApiTermination", Kind::Flag, &["false"], "instances are not protected from termination"),
    only("EnableJumboFrame", Kind::Flag, &["false"], NO_NETWORKS),
    refused("NetworkInterfaces", NO_NETWORKS),
];

pub(super) fn run(arguments: &Arguments) -> Result<Command, Error> {
    let login = arguments.object("LoginSettings");
    let key_pairs = login.map(|login| login.ids("KeyIds", KEY_PAIR_ID)).transpose()?;
    let zone = arguments.object("Placement").and_then(|placement| placement.text("Zone"));
    Ok(Command::RunInstances(RunInstances {
        image: arguments.required_id("ImageId", IMAGE_ID)?,
        // Zones have no form of their own; whether there is one of that name, the service looks up.
        zone: zone.map(ZoneId::from_trusted),
        instance_type: arguments.text("InstanceType"),
        count: arguments.optional_u32("InstanceCount")?.unwrap_or(1),
        name: arguments.text("InstanceName"),
        hostname: arguments.text("HostName"),
        password: login.and_then(|login| login.text("Password")),
        key_pairs: key_pairs.unwrap_or_default(),
        user_data_base64: arguments.text("UserData"),
        security_service: security_service(arguments),
        system_disk_gib: arguments.object("SystemDisk").and_then(|disk| disk.integer("DiskSize")),
        data_disks: arguments.objects("DataDisks").iter().map(data_disk).collect::<Result<_, _>>()?,
        tags: tags(arguments, "instance")?,
        client_token: arguments.text("ClientToken"),
        dry_run: arguments.flag("DryRun"),
    }))
}
