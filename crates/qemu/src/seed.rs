//! The disk a guest's cloud-init configures it from: the NoCloud data source, on an ISO 9660 image labelled `cidata`.
//!
//! What Kiln has to say goes into the instance's metadata (name, keys), its network configuration, and *vendor* data
//! (password, files); the user's own user data is passed on untouched, whatever kind it is, and wins where both set
//! the same thing. Source: cloud-init's documentation of NoCloud, vendor data and network configuration version 2.
//! Deliberately absent: looking into user data, and anything for images without cloud-init.

mod change;
mod components;
mod iso9660;
mod nocloud;

use std::net::Ipv4Addr;

use crate::config::MacAddress;
use crate::error::{Error, Result};

pub use change::SeedChange;
pub use components::{MAX_PACKAGES, MAX_SCRIPT_BYTES, SeedComponents};
pub use iso9660::MAX_FILE_BYTES;
pub use nocloud::{MAX_FILES, MAX_KEYS, MAX_USER_DATA_BYTES};

/// The volume label by which cloud-init finds the seed.
pub const VOLUME_LABEL: &str = "cidata";

/// What a guest is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seed {
    /// Makes cloud-init's per-instance work happen again when it changes.
    pub instance_id: String,
    /// The host name.
    pub hostname: String,
    /// Public keys that may log in, in OpenSSH's format, one each.
    pub ssh_authorized_keys: Vec<String>,
    /// A password, for a user the image has. Password logins over SSH are allowed exactly if there is one.
    pub password: Option<Password>,
    /// The user's own data, decoded: cloud-config, script, MIME parts, gzip or anything else.
    pub user_data: Option<Vec<u8>>,
    /// The one network card.
    pub network: SeedNetwork,
    /// Files that are written at every boot before anything else is configured.
    pub files: Vec<SeedFile>,
    /// What a guest that was started before is to change.
    pub change: Option<SeedChange>,
    /// What is installed at the first boot.
    pub components: Option<SeedComponents>,
}

/// A password for one user.
#[derive(Clone, PartialEq, Eq)]
pub struct Password {
    /// The user's name; "root" also opens root to the keys.
    pub user: String,
    /// The password itself, or its crypt(5) hash (`$6$…`), which is preferred: seeds are readable by root in the guest.
    pub secret: String,
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Password").field("user", &self.user).finish_non_exhaustive()
    }
}

/// How a guest configures its network card, which it finds by its Ethernet address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedNetwork {
    /// The card's address.
    pub mac: MacAddress,
    /// The name the guest gives the card ("eth0"); `None` leaves it to the guest.
    pub interface: Option<String>,
    /// Where the addresses come from.
    pub addressing: Addressing,
}

/// Where a guest's addresses come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Addressing {
    /// From DHCP.
    Dhcp,
    /// From here.
    Static {
        /// The card's address.
        address: Ipv4Addr,
        /// Length of the network prefix, 0 to 32.
        prefix: u8,
        /// The default gateway.
        gateway: Ipv4Addr,
        /// Name servers, most wanted first.
        dns: Vec<Ipv4Addr>,
    },
}

/// A file in the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedFile {
    /// Its absolute path; directories on the way are made.
    pub path: String,
    /// Its permission bits, as 0o644.
    pub mode: u32,
    /// Its content.
    pub content: Vec<u8>,
}

impl Seed {
    /// The seed as an ISO 9660 image, to be written to [`crate::layout::SEED`].
    ///
    /// # Errors
    /// [`Error::Seed`] when a value has a form that no document can hold, or is too long.
    pub fn image(&self) -> Result<Vec<u8>> {
        let documents = nocloud::documents(self)?;
        iso9660::image(VOLUME_LABEL, &documents)
    }
}

/// Decodes user data as APIs carry it: base64 of at most [`MAX_USER_DATA_BYTES`].
///
/// # Errors
/// [`Error::Seed`] when it is no base64 or too long.
pub fn decode_user_data(encoded: &str) -> Result<Vec<u8>> {
    use base64::Engine as _;
    if encoded.len() > MAX_USER_DATA_BYTES.div_ceil(3) * 4 {
        return Err(Error::Seed(format!("user data are longer than {MAX_USER_DATA_BYTES} bytes")));
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded);
    decoded.map_err(|error| Error::Seed(format!("user data are not base64: {error}")))
}
