//! `kiln bucket` and `kiln object`.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum BucketCommand {
    /// Create a bucket in the region
    Create {
        /// Lower-case letters, digits and hyphens; the account's AppId is appended if it is not there
        name: String,
    },
    /// List your buckets, in all regions
    List,
    /// Delete an empty bucket
    Delete {
        /// The bucket
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ObjectCommand {
    /// Upload a file; an upload that was interrupted goes on
    Put {
        /// The file
        file: PathBuf,
        /// BUCKET/KEY; where it ends with a slash, the name of the file follows. What has the key is replaced
        object: String,
    },
    /// Download an object; a download to a file that was interrupted goes on
    Get {
        /// BUCKET/KEY
        object: String,
        /// The file to make, which must not be there yet; `-` for standard output
        file: PathBuf,
    },
    /// List a bucket's objects
    List {
        /// The bucket
        bucket: String,
        /// Only keys that begin with it
        #[arg(long, default_value = "")]
        prefix: String,
    },
    /// Delete objects
    Delete {
        /// BUCKET/KEY, as often as you like
        #[arg(required = true)]
        objects: Vec<String>,
    },
    /// Print a URL with which anybody can read or write an object for a time
    Presign {
        /// BUCKET/KEY
        object: String,
        /// How long it holds, in seconds: a week at most
        #[arg(long, default_value_t = 3600, value_parser = clap::value_parser!(u32).range(1..=604_800))]
        seconds: u32,
        /// What can be done with it
        #[arg(long, default_value = "GET", value_parser = ["GET", "HEAD", "PUT", "DELETE"])]
        method: String,
    },
}
