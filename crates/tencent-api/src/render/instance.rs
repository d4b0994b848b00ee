//! Instances, their states, and the ways to reach them.

use kiln_model::{Instance, InstanceState, OperationState};
use kiln_service::{Answer, SeenInstance};
use serde_json::{Value, json};

use super::disk::{self, DISK_TYPE};
use super::{gib, members, tag};
use crate::actions::Rendering;
use crate::envelope::Object;
use crate::error::Error;

/// The user that passwords and keys are for.
const LOGIN_USER: &str = "root";
const SSH_PORT: u16 = 22;

/// A list of instances.
pub(crate) fn list(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::Instances { instances, total } = rendering.answer else {
        return Err(Error::UnexpectedAnswer);
    };
    let instances: Vec<Value> = instances.iter().map(instance).collect();
    members(json!({"TotalCount": total, "InstanceSet": instances}))
}

/// The user data of instances.
pub(crate) fn attributes(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::InstancesAttributes(instances) = rendering.answer else {
        return Err(Error::UnexpectedAnswer);
    };
    let shapes: Vec<Value> = instances
        .iter()
        .map(|instance| {
            let user_data = instance.settings.user_data_base64.as_deref().unwrap_or_default();
            json!({"InstanceId": instance.id, "Attributes": {"UserData": user_data}})
        })
        .collect();
    members(json!({"InstanceSet": shapes}))
}

/// A list of instances by state only.
pub(crate) fn states(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::Instances { instances, total } = rendering.answer else {
        return Err(Error::UnexpectedAnswer);
    };
    let states: Vec<Value> = instances
        .iter()
        .map(|seen| json!({"InstanceId": seen.instance.id, "InstanceState": state_name(seen.instance.state)}))
        .collect();
    members(json!({"TotalCount": total, "InstanceStatusSet": states}))
}

/// The public `Instance`: what Kiln knows, and for what it has not, the value that says so.
fn instance(seen: &SeenInstance) -> Value {
    let mut shape = fixed_members();
    shape.extend(own_members(&seen.instance));
    shape.insert("OsName".to_owned(), seen.os_name.as_str().into());
    shape.insert("DataDisks".to_owned(), seen.data_disks.iter().map(disk::of_instance).collect());
    shape.insert("Uuid".to_owned(), seen.uuid.as_str().into());
    shape.insert("Tags".to_owned(), tag::of_resource(&seen.tags));
    Value::Object(shape)
}

fn own_members(instance: &Instance) -> Object {
    let operation = &instance.last_operation;
    let failure = operation.failure.as_ref().map(|failure| format!("{}: {}", failure.code, failure.message));
    // The API has no member for it; this is the one that people and clients read for what went wrong.
    let notice = || instance.settings.network_file_missing.clone();
    let shape = json!({
        "Placement": {"Zone": instance.zone, "ProjectId": 0},
        "InstanceId": instance.id,
        "InstanceType": instance.instance_type.name,
        "CPU": instance.instance_type.vcpus,
        "Memory": gib(instance.instance_type.memory_bytes),
        "InstanceName": instance.name,
        "SystemDisk": {
            "DiskType": DISK_TYPE,
            "DiskId": instance.system_disk,
            "DiskSize": gib(instance.system_disk_bytes),
            "Encrypt": false,
            "KmsKeyId": "",
        },
        "PrivateIpAddresses": [instance.private_address.to_string()],
        "ImageId": instance.image,
        "CreatedTime": instance.created_at.to_string(),
        "LoginSettings": {"KeyIds": instance.settings.key_pairs},
        "InstanceState": state_name(instance.state),
        "LatestOperation": operation.action,
        "LatestOperationState": match operation.state {
            OperationState::Operating => "OPERATING",
            OperationState::Success => "SUCCESS",
            OperationState::Failed => "FAILED",
        },
        "LatestOperationRequestId": operation.request_id,
        "LatestOperationErrorMsg": failure.or_else(notice),
        "HostName": instance.settings.hostname,
    });
    members(shape).unwrap_or_default()
}

/// What is the same for every instance.
fn fixed_members() -> Object {
    let shape = json!({
        "RestrictState": "NORMAL",
        "InstanceChargeType": "POSTPAID_BY_HOUR",
        "PublicIpAddresses": [],
        "InternetAccessible": {
            "InternetChargeType": "TRAFFIC_POSTPAID_BY_HOUR",
            "InternetMaxBandwidthOut": 0,
            "PublicIpAssigned": false,
        },
        "VirtualPrivateCloud": {"VpcId": "", "SubnetId": "", "AsVpcGateway": false},
        "RenewFlag": "",
        "ExpiredTime": "",
        "SecurityGroupIds": [],
        "StopChargingMode": "NOT_APPLICABLE",
        "DisasterRecoverGroupId": "",
        "DisasterRecoverGroupIds": [],
        "IPv6Addresses": [],
        "CamRoleName": "",
        "HpcClusterId": "",
        "RdmaIpAddresses": [],
        "DedicatedClusterId": "",
        "IsolatedSource": "NOTISOLATED",
        "LicenseType": "TencentCloud",
        "DisableApiTermination": false,
        "DefaultLoginUser": LOGIN_USER,
        "DefaultLoginPort": SSH_PORT,
    });
    members(shape).unwrap_or_default()
}

fn state_name(state: InstanceState) -> &'static str {
    match state {
        InstanceState::Pending => "PENDING",
        InstanceState::LaunchFailed => "LAUNCH_FAILED",
        InstanceState::Running => "RUNNING",
        InstanceState::Stopped => "STOPPED",
        InstanceState::Starting => "STARTING",
        InstanceState::Stopping => "STOPPING",
        InstanceState::Rebooting => "REBOOTING",
        InstanceState::Terminating => "TERMINATING",
        InstanceState::Terminated => "TERMINATED",
    }
}

/// How to reach a guest from the server's machine.
pub(crate) fn connection(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::Connection(connection) = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    members(json!({
        "SshPort": connection.ssh_port,
        "ConsoleSocket": connection.console_socket,
        "ConsoleTail": connection.console_tail,
    }))
}

/// Where a viewer finds the screen: at the host that the request came to.
pub(crate) fn screen(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::Screen { ticket } = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    let scheme = if rendering.reached.tls { "wss" } else { "ws" };
    let path = crate::screen::path(&ticket);
    members(json!({ "InstanceVncUrl": format!("{scheme}://{}{path}", rendering.reached.host) }))
}
