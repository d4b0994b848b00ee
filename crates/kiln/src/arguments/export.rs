//! What can be said of an export.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The image
    pub(crate) image: String,
    /// The file to make on this machine; without it, --bucket says where the files go
    pub(crate) file: Option<PathBuf>,
    /// The format [default: by the file's name; raw into a bucket]
    #[arg(long, value_enum)]
    pub(crate) format: Option<ExportFormat>,
    /// The bucket; for a file of this machine it is made if need be [default: exports]
    #[arg(long)]
    pub(crate) bucket: Option<String>,
    /// What the names of the files in the bucket begin with
    #[arg(long)]
    pub(crate) prefix: Option<String>,
    /// Leave the data disks out; a file of this machine never has them
    #[arg(long)]
    pub(crate) only_system_disk: bool,
    /// Keep the object in the bucket after its download
    #[arg(long)]
    pub(crate) keep_object: bool,
    /// Do not wait for the end of the task
    #[arg(long, conflicts_with = "file")]
    pub(crate) no_wait: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ExportFormat {
    /// The disk's bytes
    Raw,
    /// QEMU's format
    Qcow2,
    /// VHD that grows with its content
    Vhd,
    /// VMDK, compressed, as VMware imports it
    Vmdk,
}
