//! `kiln catalog`.

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum CatalogCommand {
    /// List what a catalogue offers: the newest version of each image; no server is needed
    List {
        #[command(flatten)]
        source: CatalogSource,
        /// Only this release: its number, its code name or an alias; can be given several times
        #[arg(long = "release")]
        releases: Vec<String>,
    },
    /// Make the newest version of a catalogue's images public, where it is not yet (operator)
    Pull(Pull),
}

/// Which part of which catalogue.
#[derive(Debug, Clone, Args)]
pub(crate) struct CatalogSource {
    /// Where the catalogue is, such as https://cloud-images.ubuntu.com/releases
    pub(crate) url: String,
    /// What the images are compiled for, by the catalogue's own word
    #[arg(long, default_value = "amd64")]
    pub(crate) arch: String,
    /// Which of a release's variants, where there are several
    #[arg(long)]
    pub(crate) variant: Option<String>,
    /// Read a catalogue over plain HTTP from another machine: whoever is on the way decides what is in the images
    #[arg(long)]
    pub(crate) insecure: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Pull {
    #[command(flatten)]
    pub(crate) source: CatalogSource,
    /// The release: its number, its code name or an alias; can be given several times
    #[arg(long = "release", required = true)]
    pub(crate) releases: Vec<String>,
    /// A region that the images are copied to besides; can be given several times
    #[arg(long = "to")]
    pub(crate) to: Vec<String>,
    /// How many versions of each family stay public; older ones are withdrawn [default: all]
    #[arg(long)]
    pub(crate) keep: Option<usize>,
    /// What the images start by
    #[arg(long, default_value = "UEFI", value_parser = ["Legacy BIOS", "UEFI"])]
    pub(crate) boot_mode: String,
    /// The system, where the catalogue has another word for it
    #[arg(long)]
    pub(crate) os_type: Option<String>,
    /// Its version, where the catalogue does not say it
    #[arg(long)]
    pub(crate) os_version: Option<String>,
    /// Accept images without cloud-init
    #[arg(long)]
    pub(crate) force: bool,
    /// Go on, and look again after so many hours
    #[arg(long, value_name = "HOURS")]
    pub(crate) every: Option<u32>,
}
