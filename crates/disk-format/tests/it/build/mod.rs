//! Images of odd but valid layouts, built byte by byte: what no program writes and every reader must read.
//!
//! Each builder draws its options, scatters the structures over the file in any order with rubbish between them, and
//! returns the file. What the disk then holds is for QEMU to say. Also the source of the fuzzers' corpus.

pub(crate) mod qcow2;
pub(crate) mod vhd;
pub(crate) mod vmdk;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, RngCore};

/// An image file.
pub(crate) struct Built {
    /// The format's name for QEMU.
    pub(crate) format: &'static str,
    pub(crate) bytes: Vec<u8>,
    /// The options drawn.
    pub(crate) about: String,
}

/// A file under construction. What nothing was put at is rubbish.
pub(crate) struct File<'a> {
    pub(crate) rng: &'a mut StdRng,
    pub(crate) bytes: Vec<u8>,
}

impl<'a> File<'a> {
    /// A file of `reserved` bytes of zeros, for the structures that have their place.
    pub(crate) fn new(rng: &'a mut StdRng, reserved: usize) -> Self {
        Self { rng, bytes: vec![0; reserved] }
    }

    /// Takes the next `len` bytes at a multiple of `alignment`, mostly without a gap, and returns their offset.
    pub(crate) fn place(&mut self, len: usize, alignment: usize) -> usize {
        let mut start = self.bytes.len().next_multiple_of(alignment);
        if self.rng.random_bool(0.2) {
            start += alignment * self.rng.random_range(1..3);
        }
        self.rubbish_up_to(start);
        self.bytes.resize(start + len, 0);
        start
    }

    /// Places these bytes.
    pub(crate) fn append(&mut self, bytes: &[u8], alignment: usize) -> usize {
        let start = self.place(bytes.len(), alignment);
        self.put(start, bytes);
        start
    }

    pub(crate) fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn rubbish_up_to(&mut self, end: usize) {
        let start = self.bytes.len();
        if end > start {
            self.bytes.resize(end, 0);
            self.rng.fill_bytes(&mut self.bytes[start..end]);
        }
    }

    /// Contents of a unit: text that compresses well or noise that does not; it may begin or end with zeros.
    pub(crate) fn contents(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        match self.rng.random_range(0..4) {
            0 => self.rng.fill_bytes(&mut bytes),
            1 => bytes.fill(self.rng.random()),
            2 => self.rng.fill_bytes(&mut bytes[len / 2..]),
            _ => {
                let first: u8 = self.rng.random();
                bytes.iter_mut().enumerate().for_each(|(n, byte)| *byte = first.wrapping_add((n / 9) as u8));
            }
        }
        bytes
    }
}

/// The numbers below `count` in any order, or in order.
pub(crate) fn scrambled(rng: &mut StdRng, count: usize) -> Vec<usize> {
    let mut numbers: Vec<_> = (0..count).collect();
    if rng.random_bool(0.7) {
        numbers.shuffle(rng);
    }
    numbers
}

/// Draws an image of the format that is the `number`-th.
pub(crate) fn draw(rng: &mut StdRng, number: u64) -> Built {
    match number % 3 {
        0 => qcow2::draw(rng),
        1 => vhd::draw(rng),
        _ => vmdk::draw(rng),
    }
}
