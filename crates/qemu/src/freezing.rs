//! Freezing a machine's disks and merging them back: one disk after the other, one step at a time, between requests.

use serde_json::json;

use crate::disk::{self, MergeJob, Top};
use crate::error::{Error, Result};
use crate::layout::{DiskName, InstanceDir};
use crate::machine::MachineState;
use crate::qmp::Qmp;
use crate::supervisor::{Supervisor, answer, blocking, run_state};

/// Which disks are frozen, and the merge that is under way.
#[derive(Debug, Default)]
pub(crate) struct Freeze {
    /// Those whose live layers take the writes.
    pub(crate) disks: Vec<DiskName>,
    /// The one that is being merged.
    merging: Option<DiskName>,
    /// Its job was told to complete, with the guest paused for it.
    completing: bool,
}

impl Supervisor {
    /// Finds out, over a fresh connection, what is frozen and what is being merged, and removes what an ended freeze left.
    pub(crate) async fn find_frozen(&mut self, qmp: &mut Qmp) -> Result<()> {
        self.freeze = Freeze::default();
        for (name, top) in disk::tops(qmp).await? {
            let merging = disk::merge_job(qmp, &name).await? != MergeJob::Absent;
            match top {
                Top::Overlay { spare } if !merging => {
                    if spare {
                        disk::forget_live(qmp, &name).await?;
                    }
                    self.remove_live(&name).await?;
                    continue;
                }
                Top::Overlay { .. } | Top::Live => self.freeze.disks.push(name.clone()),
            }
            if merging {
                self.freeze.merging = Some(name);
            }
        }
        Ok(())
    }

    pub(crate) async fn freeze(&mut self, disks: Vec<DiskName>) -> Result<()> {
        self.qmp()?;
        if self.state().frozen {
            return Err(Error::AlreadyFrozen);
        }
        let (dir, installed) = (self.dir.clone(), disks.clone());
        blocking(move || install_live(&dir, &installed)).await?;
        let outcome = disk::freeze(self.qmp()?, &disks).await;
        match self.settled(outcome) {
            Ok(()) => {
                self.freeze.disks = disks;
                self.publish_freeze();
                Ok(())
            }
            Err(error) if error.is_refusal() => {
                for name in &disks {
                    // The node may or may not have been made before the refusal.
                    let _ = disk::forget_live(self.qmp()?, name).await;
                    self.remove_live(name).await?;
                }
                Err(error)
            }
            // Whether they are frozen now shows when the connection is back.
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn start_merge(&mut self) -> Result<()> {
        self.qmp()?;
        let MachineState { frozen, merging, .. } = self.state();
        if !frozen {
            return Err(Error::NotFrozen);
        }
        if merging {
            return Ok(());
        }
        let outcome = self.merge_next().await;
        self.settled(outcome)
    }

    /// Begins with the first disk that is frozen.
    async fn merge_next(&mut self) -> Result<()> {
        if let Some(next) = self.freeze.disks.first().cloned() {
            disk::start_merge(self.qmp()?, &next).await?;
            self.freeze.merging = Some(next);
        }
        self.publish_freeze();
        Ok(())
    }

    pub(crate) async fn advance_merge_or_lose(&mut self) {
        let outcome = self.advance_merge().await;
        if let Err(error) = outcome {
            tracing::warn!(pid = self.process.pid(), %error, "a merge could not go on");
            if !error.is_refusal() {
                self.lose(&error);
            }
        }
    }

    /// Takes the merge one step on, if there is one to take.
    pub(crate) async fn advance_merge(&mut self) -> Result<()> {
        let Some(name) = self.freeze.merging.clone() else { return Ok(()) };
        let completing = self.freeze.completing;
        let qmp = self.qmp()?;
        match disk::merge_job(qmp, &name).await? {
            MergeJob::Working => Ok(()),
            MergeJob::Ready if completing => Ok(()),
            MergeJob::Ready => {
                // Paused, so that no write goes to the overlay alone while the live layer's file exists.
                qmp.execute("stop", json!({})).await?;
                let told = disk::complete_merge(qmp, &name).await;
                if told.is_err() {
                    // Tried again at the next step; the guest does not wait for it.
                    self.unpause().await?;
                } else {
                    self.freeze.completing = true;
                }
                told
            }
            MergeJob::Concluded(failure) => {
                disk::dismiss_merge(qmp, &name).await?;
                self.end_merge(&name, failure).await
            }
            MergeJob::Absent => self.end_merge(&name, Some("QEMU lost the job".into())).await,
        }
    }

    /// The job is gone: what the disk is connected to says whether it did its work. The next disk follows.
    async fn end_merge(&mut self, name: &DiskName, failure: Option<String>) -> Result<()> {
        (self.freeze.merging, self.freeze.completing) = (None, false);
        let outcome = match disk::top(self.qmp()?, name).await? {
            Top::Overlay { spare } => {
                if spare {
                    disk::forget_live(self.qmp()?, name).await?;
                }
                self.remove_live(name).await?;
                self.freeze.disks.retain(|frozen| frozen != name);
                Ok(())
            }
            Top::Live => Err(failure.unwrap_or_else(|| "QEMU left the layers as they were".into())),
        };
        self.unpause().await?;
        if outcome.is_ok() && !self.freeze.disks.is_empty() {
            return match self.merge_next().await {
                Err(error) if error.is_refusal() => self.give_up_merge(&Err(error.to_string())),
                begun => begun,
            };
        }
        self.give_up_merge(&outcome)
    }

    /// No merge is under way any more, for whatever reason.
    pub(crate) fn give_up_merge(&mut self, outcome: &std::result::Result<(), String>) -> Result<()> {
        self.publish_freeze();
        for waiter in self.merge_waiters.drain(..) {
            answer(waiter, outcome.clone().map_err(Error::MergeFailed));
        }
        Ok(())
    }

    /// Lets a guest go on that was paused for the end of a merge: Kiln pauses for nothing else.
    pub(crate) async fn unpause(&mut self) -> Result<()> {
        let status = self.qmp()?.execute("query-status", json!({})).await?;
        if status["status"] == "paused" {
            self.qmp()?.execute("cont", json!({})).await?;
            let run = run_state(self.qmp()?).await?;
            self.change_state(|state| state.run = run);
        }
        Ok(())
    }

    pub(crate) fn publish_freeze(&mut self) {
        let (frozen, merging) = (!self.freeze.disks.is_empty(), self.freeze.merging.is_some());
        self.change_state(|state| (state.frozen, state.merging) = (frozen, merging));
    }

    async fn remove_live(&self, name: &DiskName) -> Result<()> {
        let (dir, live) = (self.dir.clone(), name.live_file());
        blocking(move || {
            if dir.exists(&live) {
                dir.remove(&live)?;
                dir.sync()?;
            }
            Ok(())
        })
        .await
    }
}

/// Makes the caller's empty overlays the live layers' files, durably: once the guest's writes go there, a crash of the
/// host must not lose them.
fn install_live(dir: &InstanceDir, disks: &[DiskName]) -> Result<()> {
    let install = || {
        for disk in disks {
            let new = disk.new_live_file();
            dir.give_as_root_overlay(&new)?;
            dir.sync_file(&new)?;
            dir.rename(&new, &disk.live_file())?;
        }
        dir.sync()
    };
    install().inspect_err(|_| {
        for disk in disks {
            for name in [disk.new_live_file(), disk.live_file()] {
                let _ = dir.remove(&name);
            }
        }
    })
}
