//! Carries the device calls of one connection to blocking threads, and their replies to the writer.
//!
//! Deliberately no thread pool of its own: a worker is a blocking task of the runtime that takes jobs until none is
//! left. A connection always may have one worker, more while the server has threads to spare, so that neither a slow
//! device nor a greedy client stops the others. The order of replies is the order in which devices answer.
//!
//! The queue is bounded by what a job holds: a request slot, and room for its reply. No lock is held during a
//! device call or while another lock is taken.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::UnboundedSender;

use crate::budget::ServerBudget;
use crate::device_call::{DeviceCaller, Job};
use crate::reply::Frame;

/// The queue of one connection.
pub(crate) struct DeviceQueue {
    caller: DeviceCaller,
    replies: UnboundedSender<Frame>,
    server: Arc<ServerBudget>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    workers: usize,
}

impl DeviceQueue {
    pub(crate) fn new(
        caller: DeviceCaller,
        replies: UnboundedSender<Frame>,
        server: Arc<ServerBudget>,
    ) -> Self {
        Self { caller, replies, server, state: Mutex::default() }
    }

    /// Has `job` done by a blocking thread.
    pub(crate) fn push(self: &Arc<Self>, job: Job) {
        let mut state = self.lock();
        state.jobs.push_back(job);
        let Some(spare) = self.admit_worker(state.workers) else { return };
        state.workers += 1;
        drop(state);
        let queue = Arc::clone(self);
        tokio::task::spawn_blocking(move || queue.work(spare));
    }

    /// Sends a reply that needs no device.
    pub(crate) fn reply(&self, frame: Frame) {
        // Without a receiver the connection has ended, and nobody waits for this.
        let _ = self.replies.send(frame);
    }

    /// Whether one more worker may start: `Some(None)` the first, which needs no thread to spare.
    fn admit_worker(&self, workers: usize) -> Option<Option<OwnedSemaphorePermit>> {
        if workers == 0 {
            return Some(None);
        }
        if workers >= self.server.limits.max_connection_readers {
            return None;
        }
        Arc::clone(&self.server.readers).try_acquire_owned().ok().map(Some)
    }

    fn work(&self, spare: Option<OwnedSemaphorePermit>) {
        while let Some(job) = self.next_job() {
            if !self.replies.is_closed() {
                self.caller.run(job, |frame| self.reply(frame));
            }
        }
        drop(spare);
    }

    /// The next job, or the end of the worker that asks: both under one lock, so that no job is left behind.
    fn next_job(&self) -> Option<Job> {
        let mut state = self.lock();
        let job = state.jobs.pop_front();
        if job.is_none() {
            state.workers -= 1;
        }
        job
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
