//! `kiln market`.

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(crate) enum MarketCommand {
    /// Apply for selling images
    Apply {
        /// The name that you sell under
        #[arg(long)]
        name: String,
        /// What you want to sell
        #[arg(long)]
        reason: String,
    },
    /// List providers and applications: yours, or for the operator all
    Providers {
        /// Only those that are not decided
        #[arg(long)]
        pending: bool,
    },
    /// Accept an account as a provider, or refuse it or its further submissions (operator)
    Accept {
        /// The account's number
        uin: String,
        /// Refuse it
        #[arg(long)]
        refuse: bool,
        /// What the account is told with it
        #[arg(long, default_value = "")]
        answer: String,
    },
    /// Submit an image of yours for sale; or another price or description of one that is sold
    Submit(Submit),
    /// List what is sold in the region, and what you submitted; for the operator everything
    List {
        /// Only those in a state
        #[arg(long, value_enum)]
        state: Option<ListingState>,
    },
    /// Show a listing with what was found in its image
    Show {
        /// Such as lst-4k2m8x0q
        listing: String,
    },
    /// Publish what was submitted (operator)
    Publish {
        /// The listing
        listing: String,
        /// What the provider is told with it
        #[arg(long, default_value = "")]
        reasons: String,
    },
    /// Send back what was submitted (operator)
    Return {
        /// The listing
        listing: String,
        /// What the provider has to change
        #[arg(long)]
        reasons: String,
    },
    /// Take a listing back, submitted or sold; instances of its image go on
    Withdraw {
        /// The listing
        listing: String,
        /// What the provider is told, where the operator withdraws it
        #[arg(long, default_value = "")]
        reason: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Submit {
    /// The image
    pub(crate) image: String,
    /// What it adds to the price of an instance for each hour, such as 0.12
    #[arg(long)]
    pub(crate) per_hour: String,
    /// What it adds for each month, paid in advance
    #[arg(long)]
    pub(crate) per_month: String,
    /// What it is called in the marketplace, where that is to differ
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// What there is to say about it, where that is to differ
    #[arg(long)]
    pub(crate) description: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ListingState {
    /// Waiting for the operator's review
    Submitted,
    /// Sold
    Published,
    /// Sent back with reasons
    Returned,
    /// Not sold any more, or taken back before
    Withdrawn,
    /// Another price or description has taken its place
    Replaced,
}
