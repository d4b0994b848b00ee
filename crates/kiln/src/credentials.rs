//! `credentials.json`: the operator's first key, written once, readable by its owner only.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use kiln_model::{Account, ApiKey};
use serde::{Deserialize, Serialize};

/// An account's key in the form that is printed and kept.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Credentials {
    pub(crate) uin: String,
    pub(crate) app_id: u64,
    pub(crate) secret_id: String,
    pub(crate) secret_key: String,
}

impl Credentials {
    pub(crate) fn new(account: &Account, key: &ApiKey) -> Self {
        Self {
            uin: account.uin.to_string(),
            app_id: account.app_id.0,
            secret_id: key.secret_id.to_string(),
            secret_key: key.secret_key.clone(),
        }
    }

    /// Where a data directory keeps them.
    pub(crate) fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("credentials.json")
    }

    /// Writes them whole or not at all, with mode 0600.
    pub(crate) fn write(&self, data_dir: &Path) -> std::io::Result<()> {
        let path = Self::path(data_dir);
        let unfinished = path.with_extension("json.new");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        let text = serde_json::to_string_pretty(self).map_err(std::io::Error::other)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        std::fs::rename(unfinished, path)
    }

    pub(crate) fn read(data_dir: &Path) -> std::io::Result<Self> {
        let text = std::fs::read(Self::path(data_dir))?;
        serde_json::from_slice(&text).map_err(std::io::Error::other)
    }
}
