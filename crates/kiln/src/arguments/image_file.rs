//! The parts of `kiln image` about files of this machine, for which no server is needed.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::Claim;

#[derive(Debug, Subcommand)]
pub(crate) enum ImageFileCommand {
    /// Inspect an image file on this machine as an import would; no server is needed
    Inspect(Inspect),
    /// Convert an image file on this machine into another format; no server is needed
    Convert(Convert),
}

#[derive(Debug, Args)]
pub(crate) struct Convert {
    /// The image file: raw, qcow2, VHD or VMDK, told by its content
    pub(crate) source: PathBuf,
    /// The file to make
    pub(crate) target: PathBuf,
    /// The format of the file to make
    #[arg(long, value_enum)]
    pub(crate) format: ImageFormat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ImageFormat {
    /// The disk's bytes, sparse
    Raw,
    /// QEMU's format
    Qcow2,
    /// QEMU's format, compressed by Zstandard
    Qcow2Zstd,
    /// VHD that grows with its content
    Vhd,
    /// VHD of the disk's full size, as Azure wants it
    VhdFixed,
    /// VMDK, compressed, as VMware imports it
    Vmdk,
}

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The image file: raw, qcow2, VHD or VMDK
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) claim: Claim,
    /// The policy to judge by
    #[arg(long, default_value = "guide", value_parser = ["guide", "modern"])]
    pub(crate) policy: String,
}
