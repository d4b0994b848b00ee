//! Where images go: in order from the beginning, but for a head that may come last.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use crate::{Error, Result};

/// Zeros to write where a sink cannot skip.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Something that an image is written to.
pub trait Sink {
    /// Adds bytes at the end.
    ///
    /// # Errors
    /// What the storage says; nothing is written any more then.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Adds `len` zeros at the end.
    ///
    /// # Errors
    /// As [`Sink::append`].
    fn skip(&mut self, mut len: u64) -> io::Result<()> {
        while len > 0 {
            let part = len.min(ZEROS.len() as u64);
            self.append(&ZEROS[..part as usize])?;
            len -= part;
        }
        Ok(())
    }

    /// Leaves room for a head of `len` bytes. Called first or never.
    ///
    /// # Errors
    /// As [`Sink::append`].
    fn reserve_head(&mut self, len: u64) -> io::Result<()> {
        self.skip(len)
    }

    /// Puts the head where room was left for it. Called last, where room was left.
    ///
    /// # Errors
    /// As [`Sink::append`].
    fn put_head(&mut self, head: &[u8]) -> io::Result<()>;
}

/// A file, whose stretches of zeros become holes.
#[derive(Debug)]
pub struct FileSink<'a> {
    file: &'a File,
    position: u64,
}

impl<'a> FileSink<'a> {
    /// Takes a file that is empty and open for writing.
    pub fn new(file: &'a File) -> Self {
        Self { file, position: 0 }
    }
}

impl Sink for FileSink<'_> {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.position)?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn skip(&mut self, len: u64) -> io::Result<()> {
        self.position += len;
        self.file.set_len(self.position)
    }

    fn put_head(&mut self, head: &[u8]) -> io::Result<()> {
        self.file.write_all_at(head, 0)
    }
}

/// Keeps nothing but the head.
#[derive(Default)]
pub(super) struct Rehearsal {
    pub(super) head: Vec<u8>,
}

impl Sink for Rehearsal {
    fn append(&mut self, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn skip(&mut self, _len: u64) -> io::Result<()> {
        Ok(())
    }

    fn put_head(&mut self, head: &[u8]) -> io::Result<()> {
        self.head = head.to_vec();
        Ok(())
    }
}

/// A stream that begins with a head known from a rehearsal.
pub(super) struct Replay<'a> {
    stream: &'a mut dyn Write,
    head: Vec<u8>,
}

impl<'a> Replay<'a> {
    pub(super) fn new(stream: &'a mut dyn Write, head: Vec<u8>) -> Self {
        Self { stream, head }
    }
}

impl Sink for Replay<'_> {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    fn reserve_head(&mut self, _len: u64) -> io::Result<()> {
        self.stream.write_all(&self.head)
    }

    fn put_head(&mut self, head: &[u8]) -> io::Result<()> {
        if head == self.head {
            Ok(())
        } else {
            Err(io::Error::other("the disk changed while it was written"))
        }
    }
}

/// A sink, and how far it was written.
pub(super) struct Output<'a> {
    sink: &'a mut dyn Sink,
    position: u64,
}

impl<'a> Output<'a> {
    pub(super) fn new(sink: &'a mut dyn Sink) -> Self {
        Self { sink, position: 0 }
    }

    /// The length of the file so far.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.position += bytes.len() as u64;
        self.sink.append(bytes).map_err(Error::Sink)
    }

    pub(super) fn skip(&mut self, len: u64) -> Result<()> {
        if len == 0 {
            return Ok(());
        }
        self.position += len;
        self.sink.skip(len).map_err(Error::Sink)
    }

    /// Adds zeros up to a multiple of `alignment`.
    pub(super) fn align(&mut self, alignment: u64) -> Result<()> {
        self.skip(self.position.next_multiple_of(alignment) - self.position)
    }

    pub(super) fn reserve_head(&mut self, len: u64) -> Result<()> {
        self.position += len;
        self.sink.reserve_head(len).map_err(Error::Sink)
    }

    pub(super) fn put_head(&mut self, head: &[u8]) -> Result<()> {
        self.sink.put_head(head).map_err(Error::Sink)
    }
}
