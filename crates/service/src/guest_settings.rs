//! Commands that change what an instance's guest is told, up to a whole new system.

use kiln_model::{ImageId, InstanceId, KeyPairId};

/// What a guest is told anew, or was told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub enum GuestCommand {
    ModifyKeyPairs(ModifyInstancesKeyPairs),
    ResetPassword(ResetInstancesPassword),
    ModifyAttribute(ModifyInstancesAttribute),
    DescribeAttributes { instances: Vec<InstanceId> },
    ResetInstance(ResetInstance),
}

impl GuestCommand {
    pub(crate) fn changes(&self) -> bool {
        !matches!(self, Self::DescribeAttributes { .. })
    }

    /// The action's name, and what it is done to.
    pub(crate) fn name_and_subject(&self) -> (&'static str, String) {
        let (name, instances) = match self {
            Self::ModifyKeyPairs(request) => (request.action(), &request.instances),
            Self::ResetPassword(request) => ("ResetInstancesPassword", &request.instances),
            Self::ModifyAttribute(request) => ("ModifyInstancesAttribute", &request.instances),
            Self::ResetInstance(request) => return ("ResetInstance", request.instance.to_string()),
            Self::DescribeAttributes { instances } => ("DescribeInstancesAttributes", instances),
        };
        (name, instances.iter().map(InstanceId::as_str).collect::<Vec<_>>().join(" "))
    }
}

/// Opens instances to key pairs, or closes them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct ModifyInstancesKeyPairs {
    pub instances: Vec<InstanceId>,
    pub key_pairs: Vec<KeyPairId>,
    /// Whether the instances are opened, to these key pairs only, or closed to these.
    pub associate: bool,
    /// Whether a running instance is restarted for it; it is refused otherwise.
    pub restart: bool,
}

impl ModifyInstancesKeyPairs {
    /// The name of the action.
    pub(crate) fn action(&self) -> &'static str {
        if self.associate { "AssociateInstancesKeyPairs" } else { "DisassociateInstancesKeyPairs" }
    }
}

/// Sets a password in instances' guests.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct ResetInstancesPassword {
    pub instances: Vec<InstanceId>,
    /// The default user where absent.
    pub user: Option<String>,
    pub password: String,
    /// Whether a running instance is restarted for it; it is refused otherwise.
    pub restart: bool,
}

/// Changes one thing about instances. What is absent stays.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct ModifyInstancesAttribute {
    pub instances: Vec<InstanceId>,
    pub name: Option<String>,
    pub user_data_base64: Option<String>,
    pub hostname: Option<String>,
    /// Whether running instances are restarted for a new host name; they have it after their next start otherwise.
    pub restart: bool,
}

/// Makes an instance's system disk anew. What is absent stays.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct ResetInstance {
    pub instance: InstanceId,
    /// The present one where absent.
    pub image: Option<ImageId>,
    pub hostname: Option<String>,
    pub password: Option<String>,
    pub key_pairs: Vec<KeyPairId>,
    pub user_data_base64: Option<String>,
    /// Whether the guest gets the image's components; where absent, guests of public images do.
    pub security_service: Option<bool>,
    /// The system disk's new size in GiB; never less than it has.
    pub system_disk_gib: Option<u64>,
}
