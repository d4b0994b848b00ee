//! `kiln usage`.

use clap::Args;

/// Which report is shown.
#[derive(Debug, Args)]
pub(crate) struct Usage {
    /// The month, in UTC, such as 2026-11 [default: the present one]
    #[arg(long)]
    pub(crate) month: Option<String>,
    /// The account, for the operator [default: yours; for the operator all]
    #[arg(long)]
    pub(crate) account: Option<String>,
    /// What was earned with images, instead of what was paid
    #[arg(long)]
    pub(crate) earnings: bool,
    /// Comma-separated values, for spreadsheets, instead of a table
    #[arg(long)]
    pub(crate) csv: bool,
}
