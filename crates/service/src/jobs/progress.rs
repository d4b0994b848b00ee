//! How far a task has come: set by whoever does the work, read by the worker that saves it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use kiln_model::TaskProgress;

/// The time over which a rate is measured, in seconds.
const RATE_WINDOW_SECONDS: f64 = 2.0;

/// A stage's name, its bytes done and in all, and how fast they go.
pub(crate) struct ProgressMeter {
    bytes_done: AtomicU64,
    bytes_total: AtomicU64,
    stage: Mutex<Stage>,
}

struct Stage {
    name: String,
    /// Where the window of the rate began.
    window: (Instant, u64),
    bytes_per_second: u64,
}

impl ProgressMeter {
    pub(crate) fn new() -> Self {
        let stage = Stage { name: "start".to_owned(), window: (Instant::now(), 0), bytes_per_second: 0 };
        Self { bytes_done: AtomicU64::new(0), bytes_total: AtomicU64::new(0), stage: Mutex::new(stage) }
    }

    /// Begins a stage; `bytes_total` is 0 where it is not known yet.
    pub(crate) fn begin(&self, name: &str, bytes_total: u64) {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        self.bytes_done.store(0, Ordering::Relaxed);
        self.bytes_total.store(bytes_total, Ordering::Relaxed);
        *stage = Stage { name: name.to_owned(), window: (Instant::now(), 0), bytes_per_second: 0 };
    }

    /// Says how far the present stage has come.
    pub(crate) fn set(&self, bytes_done: u64, bytes_total: u64) {
        self.bytes_done.store(bytes_done, Ordering::Relaxed);
        self.bytes_total.store(bytes_total, Ordering::Relaxed);
    }

    /// What there is to be saved now.
    pub(crate) fn snapshot(&self) -> TaskProgress {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes_done = self.bytes_done.load(Ordering::Relaxed);
        let elapsed = stage.window.0.elapsed().as_secs_f64();
        if elapsed >= RATE_WINDOW_SECONDS || stage.bytes_per_second == 0 {
            let moved = bytes_done.saturating_sub(stage.window.1);
            stage.bytes_per_second = (moved as f64 / elapsed.max(0.001)) as u64;
            stage.window = (Instant::now(), bytes_done);
        }
        TaskProgress {
            stage: stage.name.clone(),
            bytes_done,
            bytes_total: self.bytes_total.load(Ordering::Relaxed),
            bytes_per_second: stage.bytes_per_second,
        }
    }
}
