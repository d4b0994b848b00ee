//! What an inspection could not look at, and why. A gap is part of the answer: nothing is concluded from silence.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::{Deserialize, Serialize};

use crate::budget::Exhausted;
use crate::error::{Error, Result};

/// A part of the disk that was not looked at, or not to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Which part.
    pub part: Part,
    /// Why.
    pub reason: GapReason,
    /// What was found there, as a sentence without its full stop.
    pub detail: String,
}

/// What an inspection is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say all")]
pub enum Part {
    Partition { number: u32 },
    System,
    Architecture,
    Kernels,
    Initramfs,
    CloudInit,
    Network,
    BootLoader,
    EfiSystemPartition,
    Registry,
    Drivers,
    Secrets,
}

/// Why a part was not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GapReason {
    /// The inspection had used up what it may use.
    Exhausted(Exhausted),
    /// What is stored is not well formed.
    Damaged,
    /// It uses a feature that is not read here.
    Unsupported,
    /// A reader gave up in a way that it should not: a mistake in it, brought out by what is stored.
    ReaderFailed,
}

/// Collects gaps while facts are gathered.
#[derive(Debug, Default)]
pub(crate) struct Gaps {
    pub(crate) found: Vec<Gap>,
}

impl Gaps {
    /// The value, or its default and a gap; only an error of the device goes on upwards.
    pub(crate) fn keep<T: Default>(&mut self, part: Part, result: Result<T>) -> Result<T> {
        let reason = match &result {
            Ok(_) | Err(Error::Device(_)) => return result,
            Err(Error::Exhausted(what)) => GapReason::Exhausted(*what),
            Err(Error::Damaged(_)) => GapReason::Damaged,
            Err(Error::Unsupported(_)) => GapReason::Unsupported,
        };
        result.or_else(|error| {
            self.add(part, reason, error.to_string());
            Ok(T::default())
        })
    }

    /// Runs a part that readers of other projects work in; damage, or a panic, leaves a gap and the default.
    pub(crate) fn guard<T: Default>(
        &mut self,
        part: Part,
        work: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        match catch_unwind(AssertUnwindSafe(|| work(self))) {
            Ok(result) => self.keep(part, result),
            Err(_) => {
                self.add(part, GapReason::ReaderFailed, "a reader gave up on what is stored".to_owned());
                Ok(T::default())
            }
        }
    }

    pub(crate) fn add(&mut self, part: Part, reason: GapReason, detail: String) {
        let gap = Gap { part, reason, detail };
        if !self.found.contains(&gap) {
            self.found.push(gap);
        }
    }
}
