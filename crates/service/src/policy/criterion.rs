//! The closed list of what an image is judged by.

use serde::{Deserialize, Serialize};

/// A criterion. Its code is stable: reports are kept, and operators override by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say all")]
pub enum Criterion {
    FileFormat,
    VirtualSize,
    InspectionComplete,
    PartitionTable,
    PartitionTableIntact,
    Bootable,
    RootFileSystem,
    System,
    OsTypeAgrees,
    OsVersionAgrees,
    ArchitectureAgrees,
    Kernel,
    VirtioBlock,
    VirtioNet,
    CloudInit,
    OtherInterfaces,
    StaticIpv6,
    License,
    SshHostKeys,
    AuthorizedKeys,
    PrivateKeys,
    ShellHistories,
    CloudCredentials,
    PasswordHashes,
    MachineId,
}

impl Criterion {
    /// Its code, as reports and configuration write it.
    pub fn code(self) -> &'static str {
        match self {
            Self::FileFormat => "FileFormat",
            Self::VirtualSize => "VirtualSize",
            Self::InspectionComplete => "InspectionComplete",
            Self::PartitionTable => "PartitionTable",
            Self::PartitionTableIntact => "PartitionTableIntact",
            Self::Bootable => "Bootable",
            Self::RootFileSystem => "RootFileSystem",
            Self::System => "System",
            Self::OsTypeAgrees => "OsTypeAgrees",
            Self::OsVersionAgrees => "OsVersionAgrees",
            Self::ArchitectureAgrees => "ArchitectureAgrees",
            Self::Kernel => "Kernel",
            Self::VirtioBlock => "VirtioBlock",
            Self::VirtioNet => "VirtioNet",
            Self::CloudInit => "CloudInit",
            Self::OtherInterfaces => "OtherInterfaces",
            Self::StaticIpv6 => "StaticIpv6",
            Self::License => "License",
            Self::SshHostKeys => "SshHostKeys",
            Self::AuthorizedKeys => "AuthorizedKeys",
            Self::PrivateKeys => "PrivateKeys",
            Self::ShellHistories => "ShellHistories",
            Self::CloudCredentials => "CloudCredentials",
            Self::PasswordHashes => "PasswordHashes",
            Self::MachineId => "MachineId",
        }
    }

    /// What it looks at, as a heading.
    pub fn subject(self) -> &'static str {
        match self {
            Self::FileFormat => "file format",
            Self::VirtualSize => "virtual size",
            Self::InspectionComplete => "inspection",
            Self::PartitionTable => "partition table",
            Self::PartitionTableIntact => "state of the partition table",
            Self::Bootable => "boot loader",
            Self::RootFileSystem => "root file system",
            Self::System => "operating system",
            Self::OsTypeAgrees => "OsType",
            Self::OsVersionAgrees => "OsVersion",
            Self::ArchitectureAgrees => "Architecture",
            Self::Kernel => "kernel",
            Self::VirtioBlock => "virtio block driver",
            Self::VirtioNet => "virtio network driver",
            Self::CloudInit => "cloud-init",
            Self::OtherInterfaces => "network interfaces",
            Self::StaticIpv6 => "static IPv6",
            Self::License => "licence",
            Self::SshHostKeys => "SSH host keys",
            Self::AuthorizedKeys => "authorized keys",
            Self::PrivateKeys => "private keys",
            Self::ShellHistories => "shell histories",
            Self::CloudCredentials => "cloud credentials",
            Self::PasswordHashes => "password hashes",
            Self::MachineId => "machine-id",
        }
    }
}
