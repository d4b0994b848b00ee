//! cpio archives in the "newc" format: the names of their members. Contents are skipped.
//!
//! Source: the kernel's "initramfs buffer format".

use std::io::Read;
use std::ops::ControlFlow;

use crate::budget::Budget;
use crate::error::{Error, Result};

const HEADER_BYTES: usize = 110;
const MAGICS: [&[u8]; 2] = [b"070701", b"070702"];
const SIZE_AT: usize = 54;
const NAME_SIZE_AT: usize = 94;
/// PATH_MAX, which the kernel's reader keeps to as well.
const NAME_BYTES_MAX: usize = 4096;
const TRAILER: &[u8] = b"TRAILER!!!";
const SKIP_BYTES: usize = 64 << 10;

/// How a walk through an archive ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// With the archive's last member.
    Trailer,
    /// The visitor had seen enough.
    Stopped,
    /// The input ended in the middle.
    Truncated,
}

/// Calls `visit` with the name of each member of one archive.
pub(crate) fn walk(
    input: &mut dyn Read,
    budget: &Budget,
    visit: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<End> {
    loop {
        budget.charge_step()?;
        let mut header = [0; HEADER_BYTES];
        if !fill(input, &mut header)? {
            return Ok(End::Truncated);
        }
        if !MAGICS.iter().any(|magic| header.starts_with(magic)) {
            return Err(Error::Damaged("a cpio archive has a member without its header".to_owned()));
        }
        let size = hex(&header, SIZE_AT)?;
        let name_size = hex(&header, NAME_SIZE_AT)? as usize;
        if name_size == 0 || name_size > NAME_BYTES_MAX {
            return Err(Error::Damaged(format!("a cpio member has a name of {name_size} bytes")));
        }
        let mut name = vec![0; padded(HEADER_BYTES + name_size) - HEADER_BYTES];
        if !fill(input, &mut name)? {
            return Ok(End::Truncated);
        }
        let name = &name[..name_size - 1];
        if name == TRAILER {
            return Ok(End::Trailer);
        }
        if visit(&String::from_utf8_lossy(name)).is_break() {
            return Ok(End::Stopped);
        }
        if !skip(input, u64::from(size).next_multiple_of(4))? {
            return Ok(End::Truncated);
        }
    }
}

fn padded(len: usize) -> usize {
    len.next_multiple_of(4)
}

fn hex(header: &[u8; HEADER_BYTES], at: usize) -> Result<u32> {
    let digits = std::str::from_utf8(&header[at..at + 8]).map_err(Error::damaged)?;
    // The conversion would take a sign.
    if digits.starts_with('+') {
        return Err(Error::Damaged("a cpio header holds a sign".to_owned()));
    }
    u32::from_str_radix(digits, 16).map_err(Error::damaged)
}

/// Fills the buffer; `false` where the input ends before.
fn fill(input: &mut dyn Read, buf: &mut [u8]) -> Result<bool> {
    let mut done = 0;
    while done < buf.len() {
        match input.read(&mut buf[done..]).map_err(Error::from_io)? {
            0 => return Ok(false),
            count => done += count,
        }
    }
    Ok(true)
}

fn skip(input: &mut dyn Read, mut len: u64) -> Result<bool> {
    let mut buf = vec![0; SKIP_BYTES.min(len as usize)];
    while len > 0 {
        let part = len.min(SKIP_BYTES as u64) as usize;
        match input.read(&mut buf[..part]).map_err(Error::from_io)? {
            0 => return Ok(false),
            count => len -= count as u64,
        }
    }
    Ok(true)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::budget::Limits;

    /// An archive of members with `size` zeros each.
    pub(crate) fn archive(names: &[&str], size: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, size) in names.iter().map(|name| (*name, size)).chain([("TRAILER!!!", 0)]) {
            let (six, four) = ("00000000".repeat(6), "00000000".repeat(4));
            let name_size = name.len() + 1;
            bytes.extend(format!("070701{six}{size:08X}{four}{name_size:08X}00000000").into_bytes());
            bytes.extend(name.as_bytes());
            bytes.push(0);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes.resize(bytes.len() + size.next_multiple_of(4), 0);
        }
        bytes
    }

    fn names(bytes: &[u8]) -> Result<(Vec<String>, End)> {
        let mut names = Vec::new();
        let mut visit = |name: &str| {
            names.push(name.to_owned());
            ControlFlow::Continue(())
        };
        let end = walk(&mut { bytes }, &Budget::new(Limits::default()), &mut visit)?;
        Ok((names, end))
    }

    #[test]
    fn members_are_named_and_skipped() {
        let (found, end) = names(&archive(&["a", "lib/modules/b.ko"], 70_001)).expect("an archive");
        assert_eq!(
            (found.as_slice(), end),
            (&["a".to_owned(), "lib/modules/b.ko".to_owned()][..], End::Trailer)
        );
    }

    #[test]
    fn damage_and_truncation_end_the_walk() {
        let whole = archive(&["a"], 100);
        assert_eq!(names(&whole[..150]).expect("no error").1, End::Truncated);
        let mut long_name = whole.clone();
        long_name[NAME_SIZE_AT..NAME_SIZE_AT + 8].copy_from_slice(b"FFFFFFFF");
        assert!(names(&long_name).is_err());
        let mut not_hex = whole;
        not_hex[SIZE_AT] = b'+';
        assert!(names(&not_hex).is_err());
        assert!(names(&[b'x'; 200]).is_err());
    }
}
