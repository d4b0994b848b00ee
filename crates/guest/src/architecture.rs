//! What a system's programs are compiled for: from the header of an ELF or a PE file.

use serde::{Deserialize, Serialize};

use crate::bytes::{le16, le32};
use crate::error::Result;
use crate::tree::Root;

/// A processor architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say all")]
pub enum Architecture {
    X86_64,
    I386,
    Arm64,
    Arm,
    Itanium,
    PowerPc64,
    RiscV64,
    S390x,
    LoongArch64,
    /// Another one.
    Other,
}

/// Programs that every system has, the likeliest first.
const LINUX_PROGRAMS: [&str; 8] = [
    "/bin/sh",
    "/sbin/init",
    "/usr/bin/sh",
    "/usr/bin/bash",
    "/bin/bash",
    "/usr/bin/env",
    "/usr/lib/systemd/systemd",
    "/lib/systemd/systemd",
];
const HEADER_BYTES: u64 = 64;
/// A PE header lies within the first pages of its file.
const PE_HEAD_BYTES: u64 = 4096;

/// The architecture of a Linux system's programs.
pub(crate) fn of_linux(root: &Root) -> Result<Option<Architecture>> {
    for path in LINUX_PROGRAMS {
        if let Some(found) = root.read_head(path, HEADER_BYTES)?.as_deref().and_then(of_elf) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The architecture of a Windows program.
pub(crate) fn of_program(root: &Root, path: &str) -> Result<Option<Architecture>> {
    Ok(root.read_head(path, PE_HEAD_BYTES)?.as_deref().and_then(of_pe))
}

/// Source: System V ABI, ELF header.
pub(crate) fn of_elf(head: &[u8]) -> Option<Architecture> {
    if !head.starts_with(b"\x7FELF") {
        return None;
    }
    let big_endian = *head.get(5)? == 2;
    let machine = le16(head, 18)?;
    let machine = if big_endian { machine.swap_bytes() } else { machine };
    Some(match machine {
        3 => Architecture::I386,
        62 => Architecture::X86_64,
        183 => Architecture::Arm64,
        40 => Architecture::Arm,
        50 => Architecture::Itanium,
        21 => Architecture::PowerPc64,
        243 => Architecture::RiscV64,
        22 => Architecture::S390x,
        258 => Architecture::LoongArch64,
        _ => Architecture::Other,
    })
}

/// Source: Microsoft's PE format.
pub(crate) fn of_pe(head: &[u8]) -> Option<Architecture> {
    let header = le32(head, 0x3C).filter(|_| head.starts_with(b"MZ"))? as usize;
    if head.get(header..header.checked_add(4)?)? != b"PE\0\0" {
        return None;
    }
    Some(match le16(head, header + 4)? {
        0x8664 => Architecture::X86_64,
        0x014C => Architecture::I386,
        0xAA64 => Architecture::Arm64,
        0x0200 => Architecture::Itanium,
        _ => Architecture::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_say_what_they_are_for() {
        let elf = |class: u8, order: u8, machine: [u8; 2]| {
            let mut head = vec![0u8; 64];
            head[..6].copy_from_slice(&[0x7F, b'E', b'L', b'F', class, order]);
            head[18..20].copy_from_slice(&machine);
            of_elf(&head)
        };
        assert_eq!(elf(2, 1, [62, 0]), Some(Architecture::X86_64));
        assert_eq!(elf(1, 1, [3, 0]), Some(Architecture::I386));
        assert_eq!(elf(2, 1, [183, 0]), Some(Architecture::Arm64));
        assert_eq!(elf(2, 2, [0, 22]), Some(Architecture::S390x));
        assert_eq!(of_elf(b"#!/bin/sh"), None);
        let mut pe = vec![0u8; 256];
        pe[..2].copy_from_slice(b"MZ");
        pe[0x3C] = 0x80;
        pe[0x80..0x86].copy_from_slice(b"PE\0\0\x64\x86");
        assert_eq!(of_pe(&pe), Some(Architecture::X86_64));
        pe[0x3C..0x40].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(of_pe(&pe), None);
    }
}
