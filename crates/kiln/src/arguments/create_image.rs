//! What can be said about an image that is made here.

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct CreateImage {
    /// Such as ins-0b3kq81z
    #[arg(required_unless_present = "snapshots", conflicts_with = "snapshots")]
    pub(crate) instance: Option<String>,
    /// A data disk of the instance that is part of the image; can be given several times
    #[arg(long = "data-disk", value_name = "DISK", requires = "instance")]
    pub(crate) data_disks: Vec<String>,
    /// A snapshot instead of an instance; can be given several times, once of a system disk
    #[arg(long = "snapshot", value_name = "SNAPSHOT")]
    pub(crate) snapshots: Vec<String>,
    /// The image's name
    #[arg(long)]
    pub(crate) name: String,
    /// What there is to say about it
    #[arg(long, default_value = "")]
    pub(crate) description: String,
    /// Switch a running instance off first
    #[arg(long)]
    pub(crate) power_off: bool,
    /// Do not wait for the end of the task
    #[arg(long)]
    pub(crate) no_wait: bool,
}
