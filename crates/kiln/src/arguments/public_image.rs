//! The parts of `kiln image` about images for everybody.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum PublicImageCommand {
    /// Make an image public: a copy for everybody, in its own region and others (operator)
    Publish {
        /// The image
        image: String,
        /// A region in which it is to be public; can be given several times [default: its own]
        #[arg(long = "to")]
        to: Vec<String>,
        /// The public images' name, where it is to differ
        #[arg(long)]
        name: Option<String>,
        /// What there is to say about them, where it is to differ
        #[arg(long)]
        description: Option<String>,
        /// The family that they become the newest version of
        #[arg(long)]
        family: Option<String>,
        /// Do not wait for the end of the tasks
        #[arg(long)]
        no_wait: bool,
    },
    /// Take public images back; instances launched from them go on (operator)
    Withdraw {
        /// The images
        #[arg(required = true)]
        images: Vec<String>,
    },
    /// Show what guests of an image get at their first boot, or name it for a public image (operator)
    Components {
        /// The image
        image: String,
        /// A package to install; can be given several times
        #[arg(long = "package")]
        packages: Vec<String>,
        /// A file with a script to run
        #[arg(long)]
        script: Option<PathBuf>,
        /// Name nothing any more
        #[arg(long, conflicts_with_all = ["packages", "script"])]
        none: bool,
    },
    /// Set what an image adds to the price of an instance (operator)
    Fee {
        /// The image
        image: String,
        /// For each hour, such as 0.12
        #[arg(long)]
        per_hour: String,
        /// For each month, paid in advance
        #[arg(long)]
        per_month: String,
    },
}
