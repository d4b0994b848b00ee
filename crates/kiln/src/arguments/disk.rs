//! What can be said about disks and snapshots.

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum DiskCommand {
    /// Make data disks, which belong to no instance yet
    Create(CreateDisks),
    /// List your disks, system disks included
    List,
    /// Give data disks to an instance, running or not
    Attach {
        /// The instance
        instance: String,
        /// The disks
        #[arg(required = true)]
        disks: Vec<String>,
        /// Remove the disks when the instance is removed
        #[arg(long)]
        delete_with_instance: bool,
    },
    /// Take data disks from their instances; unmount them in running guests first
    Detach {
        /// The disks
        #[arg(required = true)]
        disks: Vec<String>,
    },
    /// Remove data disks that belong to no instance, with all that is on them
    Delete {
        /// The disks
        #[arg(required = true)]
        disks: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateDisks {
    /// The size in GiB; that of the snapshot where absent
    #[arg(long, required_unless_present = "snapshot")]
    pub(crate) size: Option<u64>,
    /// The snapshot that they begin as; empty where absent
    #[arg(long)]
    pub(crate) snapshot: Option<String>,
    /// What they are called
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// How many
    #[arg(long, short = 'n', default_value_t = 1)]
    pub(crate) count: u32,
    /// The zone of the instances that they are for; the region's first where absent
    #[arg(long)]
    pub(crate) zone: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Make a snapshot of a disk, whether its instance runs or not
    Create {
        /// The disk
        disk: String,
        /// What it is called
        #[arg(long)]
        name: Option<String>,
        /// Do not wait for the end of the task
        #[arg(long)]
        no_wait: bool,
    },
    /// List your snapshots, those of your images included
    List,
    /// Delete snapshots that no image is made of
    Delete {
        /// The snapshots
        #[arg(required = true)]
        snapshots: Vec<String>,
        /// Delete the images that are made of them as well
        #[arg(long)]
        with_images: bool,
    },
}
