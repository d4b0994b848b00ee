//! The footer of a VHD file: which kind of disk it is and how large.
//!
//! Two fields tell the size. Virtual PC shows its guests the geometry (cylinders × heads × sectors) and rounds the
//! other field up; everybody else means the *current size*. As in QEMU since version 10 the geometry counts only for
//! the creators that say so. Older QEMU versions take it for every creator that they do not know, which cuts the end
//! off images from Azure (`wa`) and VirtualBox (`vbox`).

use kiln_block::SECTOR_BYTES;

use super::{FOOTER_BYTES, checksum, malformed};
use crate::field::{be16, be32, be64};
use crate::{Error, Format, Result};

const CHECKSUM_AT: usize = 64;
/// The only version there is, but for its minor part.
const VERSION_MAJOR: u32 = 1;
const KIND_FIXED: u32 = 2;
const KIND_DYNAMIC: u32 = 3;
const KIND_DIFFERENCING: u32 = 4;

/// Creators whose disks have the size of their geometry: Virtual PC, and QEMU unless told otherwise.
const GEOMETRY_CREATORS: [&[u8; 4]; 2] = [b"vpc ", b"qemu"];
/// The largest geometry says nothing about a disk that is larger.
const GEOMETRY_MAX_SECTORS: u64 = 65535 * 16 * 255;
/// 2040 GiB, the format's own bound.
const SECTORS_MAX: u64 = 0xff00_0000;

/// Which kind of disk the file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The disk's bytes, then the footer.
    Fixed,
    /// Blocks found by a table; its header lies at `header_at`.
    Dynamic { header_at: u64 },
}

/// What readers need of a footer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) kind: Kind,
    /// Size of the disk, whole sectors, not 0.
    pub(super) size_bytes: u64,
}

/// Whether this sector is the footer of a disk that needs a parent.
pub(super) fn is_differencing(sector: &[u8; FOOTER_BYTES]) -> bool {
    be32(sector, 60) == KIND_DIFFERENCING
}

impl Footer {
    /// Checks a sector that begins with the cookie.
    pub(super) fn parse(sector: &[u8; FOOTER_BYTES]) -> Result<Self> {
        if be32(sector, CHECKSUM_AT) != checksum(sector, CHECKSUM_AT) {
            return Err(malformed("a footer with a wrong checksum"));
        }
        let version = be32(sector, 12);
        if version >> 16 != VERSION_MAJOR {
            return Err(Error::UnsupportedVersion { format: Format::Vhd, version });
        }
        let kind = match be32(sector, 60) {
            KIND_FIXED => Kind::Fixed,
            KIND_DYNAMIC => Kind::Dynamic { header_at: be64(sector, 16) },
            other => return Err(malformed(format!("a disk of type {other}"))),
        };
        let sectors = sectors(sector);
        let (size, limit) = (sectors.saturating_mul(SECTOR_BYTES), SECTORS_MAX * SECTOR_BYTES);
        if sectors > SECTORS_MAX {
            return Err(Error::TooLarge { what: "the virtual disk", size, limit });
        }
        if sectors == 0 {
            return Err(malformed("a disk without a sector"));
        }
        Ok(Self { kind, size_bytes: size })
    }
}

fn sectors(sector: &[u8; FOOTER_BYTES]) -> u64 {
    let geometry = u64::from(be16(sector, 56)) * u64::from(sector[58]) * u64::from(sector[59]);
    let creator = &sector[28..32];
    if GEOMETRY_CREATORS.iter().any(|name| creator == *name) && geometry != GEOMETRY_MAX_SECTORS {
        geometry
    } else {
        be64(sector, 48) / SECTOR_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn footer(creator: &[u8; 4], size: u64, geometry: [u8; 4]) -> [u8; FOOTER_BYTES] {
        let mut sector = [0; FOOTER_BYTES];
        sector[..8].copy_from_slice(super::super::COOKIE);
        sector[12..16].copy_from_slice(&(1u32 << 16).to_be_bytes());
        sector[28..32].copy_from_slice(creator);
        sector[48..56].copy_from_slice(&size.to_be_bytes());
        sector[56..60].copy_from_slice(&geometry);
        sector[60..64].copy_from_slice(&KIND_FIXED.to_be_bytes());
        let sum = checksum(&sector, CHECKSUM_AT);
        sector[64..68].copy_from_slice(&sum.to_be_bytes());
        sector
    }

    #[test]
    fn the_creator_decides_which_size_counts() {
        let size = |creator: &[u8; 4], geometry| {
            Footer::parse(&footer(creator, 1 << 20, geometry)).expect("sound").size_bytes
        };
        let small = [0, 10, 4, 17];
        for creator in [b"vpc ", b"qemu"] {
            assert_eq!(size(creator, small), 10 * 4 * 17 * 512);
            assert_eq!(size(creator, [0xff, 0xff, 16, 255]), 1 << 20);
        }
        for creator in [b"qem2", b"win ", b"d2v ", b"tap\0", b"CTXS", b"wa\0\0", b"vbox", b"\0\0\0\0"] {
            assert_eq!(size(creator, small), 1 << 20);
        }
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        let sound = footer(b"win ", 1 << 20, [0, 10, 4, 17]);
        for at in 8..FOOTER_BYTES {
            let mut spoilt = sound;
            spoilt[at] ^= 0x10;
            assert!(Footer::parse(&spoilt).is_err(), "byte {at}");
        }
    }
}
