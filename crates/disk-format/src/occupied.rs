//! Which bytes of an image's file its own structures take, and the refusal of anything that lies in them.
//!
//! Invariant: the ranges are in order and apart from each other.

use crate::{Error, Result};

/// A structure's name and the bytes of the file that it takes, first and after the last.
pub(crate) type Structure = (&'static str, u64, u64);

/// The parts of a file that hold no data.
pub(crate) struct Occupied(Vec<(u64, u64)>);

impl Occupied {
    /// Takes all structures of an image, in any order; empty ones are ignored.
    ///
    /// # Errors
    /// [`Error::Overlap`] where two of them share bytes.
    pub(crate) fn new(mut structures: Vec<Structure>) -> Result<Self> {
        structures.retain(|(_, start, end)| start < end);
        structures.sort_unstable_by_key(|(_, start, _)| *start);
        if let Some(pair) = structures.windows(2).find(|pair| pair[0].2 > pair[1].1) {
            return Err(Error::Overlap { what: pair[1].0, offset: pair[1].1 });
        }
        Ok(Self(structures.into_iter().map(|(_, start, end)| (start, end)).collect()))
    }

    /// Refuses `what` at `start` up to `end` where it touches a structure; an empty range is always fine.
    pub(crate) fn check(&self, what: &'static str, start: u64, end: u64) -> Result<()> {
        let before_end = self.0.partition_point(|(occupied, _)| *occupied < end);
        match self.0[..before_end].last() {
            Some((_, occupied_end)) if *occupied_end > start => Err(Error::Overlap { what, offset: start }),
            _ => Ok(()),
        }
    }

    /// Refuses pieces of `piece_bytes` each that share bytes with each other or with a structure. `sectors` are
    /// where they begin; they are sorted here.
    pub(crate) fn check_pieces(
        &self,
        what: &'static str,
        sectors: &mut [u32],
        piece_bytes: u64,
    ) -> Result<()> {
        sectors.sort_unstable();
        let mut run = (0, 0);
        for start in sectors.iter().map(|sector| u64::from(*sector) * kiln_block::SECTOR_BYTES) {
            if start < run.1 {
                return Err(Error::Overlap { what, offset: start });
            }
            if start != run.1 {
                self.check(what, run.0, run.1)?;
                run.0 = start;
            }
            run.1 = start + piece_bytes;
        }
        self.check(what, run.0, run.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_must_lie_apart_from_structures_and_each_other() {
        let occupied = Occupied::new(vec![("a table", 4096, 8192), ("the header", 0, 512)]).expect("apart");
        let check = |sectors: &[u32]| occupied.check_pieces("a block", &mut sectors.to_vec(), 1024).is_ok();
        assert!(check(&[]));
        assert!(check(&[18, 1, 16, 3, 6]));
        assert!(!check(&[0]));
        assert!(!check(&[7]));
        assert!(!check(&[15]));
        assert!(!check(&[20, 21]));
        assert!(!check(&[20, 20]));
        assert!(!check(&[1, 3, 5, 7]), "the last of a run of neighbours touches the table");
        assert!(Occupied::new(vec![("a", 0, 10), ("b", 9, 12)]).is_err());
        assert!(Occupied::new(vec![("a", 0, 10), ("b", 5, 5)]).is_ok());
    }
}
