//! What can be said on the command line. No meaning is given to anything here.

mod bucket;
mod catalog;
mod create_image;
mod disk;
mod export;
mod image_file;
mod market;
mod public_image;
mod usage;

use std::net::SocketAddr;
use std::path::PathBuf;

pub(crate) use bucket::{BucketCommand, ObjectCommand};
pub(crate) use catalog::{CatalogCommand, CatalogSource, Pull};
use clap::{Args, Parser, Subcommand, ValueEnum};
pub(crate) use create_image::CreateImage;
pub(crate) use disk::{CreateDisks, DiskCommand, SnapshotCommand};
pub(crate) use export::{Export, ExportFormat};
pub(crate) use image_file::{Convert, ImageFileCommand, ImageFormat, Inspect};
pub(crate) use market::{ListingState, MarketCommand, Submit};
pub(crate) use public_image::PublicImageCommand;
pub(crate) use usage::Usage;

use crate::account_arguments::{AccountCommand, Log};

/// Kiln, a self-hosted machine-image service that speaks the Tencent Cloud CVM API.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How the server is reached, and how it is answered to.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of all commands")]
pub(crate) struct Connection {
    /// Where the server listens, such as http://127.0.0.1:5456
    #[arg(long, global = true, env = "KILN_ENDPOINT")]
    pub(crate) endpoint: Option<String>,
    /// Where the server's buckets are, such as http://127.0.0.1:5457 [default: where the server says]
    #[arg(long, global = true, env = "KILN_OBJECTS_ENDPOINT")]
    pub(crate) objects_endpoint: Option<String>,
    /// The key that signs; without one, the data directory's credentials.json is used
    #[arg(long, global = true, env = "TENCENTCLOUD_SECRET_ID", hide_env_values = true)]
    pub(crate) secret_id: Option<String>,
    /// The secret half of the key (better given in the environment: arguments show in the process list)
    #[arg(long, global = true, env = "TENCENTCLOUD_SECRET_KEY", hide_env_values = true)]
    pub(crate) secret_key: Option<String>,
    /// The region to work in
    #[arg(long, short = 'r', global = true, env = "TENCENTCLOUD_REGION", default_value = "ap-guangzhou")]
    pub(crate) region: String,
    /// The certificate authority that the server is trusted by [default: the data directory's, where it has one]
    #[arg(long, global = true, env = "KILN_AUTHORITY")]
    pub(crate) authority: Option<PathBuf>,
    /// The server's data directory [default: the configuration's, or kiln-data]
    #[arg(long, global = true, env = "KILN_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The form of what is printed
    #[arg(long, short = 'o', global = true, value_enum, default_value_t = OutputForm::Table)]
    pub(crate) output: OutputForm,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputForm {
    /// Tables, for people
    Table,
    /// The API's answers, for programs
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server
    Serve(Serve),
    /// Kiln's own: works on the file systems of a disk that it serves at standard input
    #[command(hide = true)]
    Confined,
    /// Accounts, sub-accounts, keys, limits, the permission to import
    #[command(subcommand)]
    Account(AccountCommand),
    /// What you were told: imports, shares, decisions; also where it was sent nowhere
    Messages,
    /// The operation log: what was done in your name; for the operator, all
    Log(Log),
    /// Images
    #[command(subcommand)]
    Image(ImageWork),
    /// Catalogues of images (simplestreams), such as Ubuntu's, whose images become public ones
    #[command(subcommand)]
    Catalog(CatalogCommand),
    /// Buckets, where image files are put to be imported
    #[command(subcommand)]
    Bucket(BucketCommand),
    /// The objects in buckets
    #[command(subcommand)]
    Object(ObjectCommand),
    /// Instances
    #[command(subcommand)]
    Instance(InstanceCommand),
    /// Data disks
    #[command(subcommand)]
    Disk(DiskCommand),
    /// Snapshots of disks
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Public keys for logging in to instances
    #[command(subcommand)]
    KeyPair(KeyPairCommand),
    /// The marketplace: providers, and the images that they sell
    #[command(subcommand)]
    Market(MarketCommand),
    /// What a month cost, machine by machine and image by image; what a provider's images earned
    Usage(Usage),
    /// Long work: imports, image creation, copies, exports, snapshots, launches
    #[command(subcommand)]
    Task(TaskCommand),
    /// The regions' stores, on the server's own machine
    #[command(subcommand)]
    Store(StoreCommand),
    /// How clients trust the server's own certificate authority, on the server's own machine
    #[command(subcommand)]
    Tls(TlsCommand),
    /// Look for what is missing on this machine, and say what installs it
    Doctor,
    /// Print a configuration file with every key, its default and its meaning
    ExampleConfig,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The address to listen on [default: 127.0.0.1:5456]
    #[arg(long)]
    pub(crate) listen: Option<SocketAddr>,
    /// A configuration file; `kiln example-config` prints one
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
}

/// What is done to images: by a server, or to files of this machine without one.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageWork {
    #[command(flatten)]
    Service(ImageCommand),
    #[command(flatten)]
    Public(PublicImageCommand),
    #[command(flatten)]
    File(ImageFileCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// List the images you see
    List {
        /// Part of the name
        #[arg(long)]
        name: Option<String>,
        /// Only those of a type; can be given several times
        #[arg(long = "type", value_enum)]
        types: Vec<ImageType>,
    },
    /// Show one image
    Show {
        /// Such as img-3fa9k2lq
        image: String,
    },
    /// Show what an inspection found in an image: every criterion of the import policy
    Report {
        /// The image
        image: String,
    },
    /// Import an image file, from this machine or from a URL
    Import(Box<Import>),
    /// Make an image of an instance, or of snapshots
    Create(CreateImage),
    /// Copy an image to other regions; one that is shared with you to its own, where the operator allows it
    Copy {
        /// The image
        image: String,
        /// A destination region; can be given several times
        #[arg(long = "to", required = true)]
        to: Vec<String>,
        /// The copies' name, where it is to differ
        #[arg(long)]
        name: Option<String>,
        /// Do not wait for the end of the tasks
        #[arg(long)]
        no_wait: bool,
    },
    /// Share an image with accounts
    Share {
        /// The image
        image: String,
        /// Account numbers
        #[arg(required = true)]
        accounts: Vec<String>,
    },
    /// Stop sharing an image with accounts
    Unshare {
        /// The image
        image: String,
        /// Account numbers
        #[arg(required = true)]
        accounts: Vec<String>,
    },
    /// Delete images, all or none
    Delete {
        /// The images
        #[arg(required = true)]
        images: Vec<String>,
        /// Delete the snapshots that they were made of as well
        #[arg(long)]
        with_snapshots: bool,
    },
    /// Export an image as an image file, to this machine or into a bucket
    Export(Export),
    /// Print an NBD address at which qemu-img, nbdcopy and others read an image (operator; with --tcp, whoever sees it)
    ExportUrl {
        /// The image
        image: String,
        /// Over TCP, under a name that cannot be guessed, instead of the operator's socket
        #[arg(long)]
        tcp: bool,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ImageType {
    /// Your own
    Custom,
    /// Others', who share them with you
    Shared,
    /// The operator's, for everybody
    Public,
    /// Providers', for everybody at a price
    Market,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The image file: a file of this machine, which is uploaded first, or a URL (http, https or s3)
    pub(crate) source: String,
    /// The image's name
    #[arg(long)]
    pub(crate) name: String,
    /// What there is to say about it
    #[arg(long, default_value = "")]
    pub(crate) description: String,
    #[command(flatten)]
    pub(crate) claim: Claim,
    /// The family that it becomes the newest version of
    #[arg(long)]
    pub(crate) family: Option<String>,
    /// The SHA-256 that the file must have
    #[arg(long)]
    pub(crate) sha256: Option<String>,
    /// Make it public at once (operator)
    #[arg(long)]
    pub(crate) public: bool,
    /// The bucket that a file of this machine is uploaded to; it is made if need be
    #[arg(long, default_value = "imports")]
    pub(crate) bucket: String,
    /// Keep the uploaded file in the bucket after the import, under kept/
    #[arg(long)]
    pub(crate) keep_object: bool,
    /// Do not wait for the end of the task; an uploaded file stays in the bucket then
    #[arg(long)]
    pub(crate) no_wait: bool,
}

/// What is said of an image before anybody has looked into it.
#[derive(Debug, Args)]
pub(crate) struct Claim {
    /// The system: Debian, Ubuntu, CentOS, …
    #[arg(long)]
    pub(crate) os_type: String,
    /// Its version
    #[arg(long, default_value = "-")]
    pub(crate) os_version: String,
    /// What its programs are compiled for
    #[arg(long, default_value = "x86_64", value_parser = ["x86_64", "i386", "arm64"])]
    pub(crate) architecture: String,
    /// How it starts
    #[arg(long, default_value = "Legacy BIOS", value_parser = ["Legacy BIOS", "UEFI"])]
    pub(crate) boot_mode: String,
    /// Whose licence it runs under
    #[arg(long, default_value = "TencentCloud", value_parser = ["TencentCloud", "BYOL"])]
    pub(crate) license: String,
    /// Accept an image without cloud-init
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum InstanceCommand {
    /// Launch instances from an image
    Run(Run),
    /// List your instances
    List,
    /// Switch instances off
    Stop {
        /// The instances
        #[arg(required = true)]
        instances: Vec<String>,
        /// Without asking the guest
        #[arg(long)]
        force: bool,
    },
    /// Switch instances on
    Start {
        /// The instances
        #[arg(required = true)]
        instances: Vec<String>,
    },
    /// Restart instances
    Reboot {
        /// The instances
        #[arg(required = true)]
        instances: Vec<String>,
        /// Without asking the guest
        #[arg(long)]
        force: bool,
    },
    /// Make an instance's system disk anew, from its image or another; what is on it is lost
    Reset(Reset),
    /// Remove instances, their system disks, and the data disks that go with them
    Terminate {
        /// The instances
        #[arg(required = true)]
        instances: Vec<String>,
    },
    /// Print what the serial console said, and go on (on the server's own machine)
    Console {
        /// The instance
        instance: String,
        /// Print what there is and end
        #[arg(long)]
        no_follow: bool,
    },
    /// Offer the screen, keyboard and mouse to a VNC viewer of this machine
    Screen {
        /// The instance
        instance: String,
        /// The port of the loopback address that viewers connect to; a free one where it is 0
        #[arg(long, default_value_t = 5900)]
        port: u16,
    },
    /// Log in by SSH (on the server's own machine)
    Ssh {
        /// The instance
        instance: String,
        /// The user to log in as
        #[arg(long, short = 'l', default_value = "root")]
        user: String,
        /// What ssh is given besides: a command, options
        #[arg(last = true)]
        arguments: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Reset {
    /// The instance
    pub(crate) instance: String,
    /// The image; the instance's present one where absent
    #[arg(long)]
    pub(crate) image: Option<String>,
    /// A key pair whose public key the guest accepts; can be given several times
    #[arg(long = "key")]
    pub(crate) key_pairs: Vec<String>,
    /// The guest's root password, read from standard input
    #[arg(long)]
    pub(crate) password_stdin: bool,
    /// The system disk's new size in GiB
    #[arg(long)]
    pub(crate) disk: Option<u64>,
    /// Return once the request was accepted
    #[arg(long)]
    pub(crate) no_wait: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The image to launch from
    pub(crate) image: String,
    /// How many
    #[arg(long, short = 'n', default_value_t = 1)]
    pub(crate) count: u32,
    /// What they are called
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// The size of machine, such as S5.MEDIUM4
    #[arg(long = "type")]
    pub(crate) instance_type: Option<String>,
    /// A key pair whose public key the guest accepts; can be given several times
    #[arg(long = "key")]
    pub(crate) key_pairs: Vec<String>,
    /// The guest's root password, read from standard input
    #[arg(long)]
    pub(crate) password_stdin: bool,
    /// A file for cloud-init: cloud-config, a script, …
    #[arg(long)]
    pub(crate) user_data: Option<PathBuf>,
    /// The system disk's size in GiB
    #[arg(long)]
    pub(crate) disk: Option<u64>,
    /// The size in GiB of a data disk for each, which goes with it, and what it begins as, such as 20 or
    /// 20:snap-91kd03nm; can be given several times
    #[arg(long = "data-disk", value_name = "GIB[:SNAPSHOT]")]
    pub(crate) data_disks: Vec<String>,
    /// Whether guests get what the operator names for the image (kiln image components) [default: those of public images do]
    #[arg(long, value_name = "true|false")]
    pub(crate) security_service: Option<bool>,
    /// Do not wait until they run
    #[arg(long)]
    pub(crate) no_wait: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyPairCommand {
    /// Bring in a public key
    Import {
        /// Letters, digits and underscores
        #[arg(long)]
        name: String,
        /// The file with the public key, such as ~/.ssh/id_ed25519.pub
        file: PathBuf,
    },
    /// List your key pairs
    List,
    /// Delete key pairs; instances keep the keys they have
    Delete {
        /// The key pairs
        #[arg(required = true)]
        key_pairs: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// List tasks, newest first
    List,
    /// Show a task's progress until it ends
    Watch {
        /// Such as task-7xk20s1m
        task: String,
    },
    /// Stop a task that makes or exports an image
    Cancel {
        /// The task
        task: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TlsCommand {
    /// Say where the authority's certificate is, its fingerprint, and how each client is told to trust it
    Trust,
    /// Print the authority's certificate
    Authority,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// What each region's store holds
    Status,
    /// Check a region's store against the catalogue; nothing is changed
    Check {
        /// Check lengths and indexes only, not every byte
        #[arg(long)]
        quick: bool,
        /// The server's configuration file
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Remove what nothing uses any more
    Gc {
        /// Only say what would be removed
        #[arg(long)]
        plan: bool,
        /// Allow more than a tenth of the store to go in this run
        #[arg(long)]
        whole_store: bool,
        /// The server's configuration file
        #[arg(long)]
        config: Option<PathBuf>,
    },
}
