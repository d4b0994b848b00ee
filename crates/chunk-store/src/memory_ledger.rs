//! The ledger's rows in memory: for tests, for measuring, and for the model check of garbage collection.
//!
//! Each method is one transaction, with the conditions that the SQL of the service has too. Time is set by the
//! caller.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{
    CollectionPolicy, Ledger, LedgerError, ManifestId, ObjectKey, ObjectRow, ObjectState, PackId, Scope,
    SealedPack,
};

/// The id of a job.
pub type JobId = u64;

/// The rows of one store. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryLedger {
    rows: Arc<Mutex<Rows>>,
}

#[derive(Debug, Default)]
struct Rows {
    now_ms: i64,
    objects: BTreeMap<ObjectKey, Object>,
    jobs: BTreeMap<JobId, Job>,
    /// What each published manifest references.
    published: BTreeMap<ManifestId, Vec<PackId>>,
}

#[derive(Debug)]
struct Object {
    state: ObjectState,
    stored_bytes: u64,
    since_ms: i64,
}

#[derive(Debug, Default)]
struct Job {
    fence: u64,
    held: BTreeSet<ObjectKey>,
}

impl Rows {
    fn references(&self, key: ObjectKey) -> u64 {
        let jobs = self.jobs.values().filter(|job| job.held.contains(&key)).count();
        let manifests = match key {
            ObjectKey::Pack(id) => self.published.values().filter(|packs| packs.contains(&id)).count(),
            ObjectKey::Manifest(id) => usize::from(self.published.contains_key(&id)),
        };
        (jobs + manifests) as u64
    }

    fn lost_reference(&mut self, key: ObjectKey) {
        let now_ms = self.now_ms;
        if let Some(object) =
            self.objects.get_mut(&key).filter(|object| object.state != ObjectState::Condemned)
        {
            object.since_ms = now_ms;
        }
    }

    fn end_job(&mut self, id: JobId) {
        let job = self.jobs.remove(&id);
        job.into_iter().flat_map(|job| job.held).for_each(|key| self.lost_reference(key));
    }
}

impl MemoryLedger {
    fn lock(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over a job, new or not, under a new fence: whoever held it before can change nothing any more. The
    /// job keeps what it holds.
    pub fn job(&self, id: JobId) -> MemoryJob {
        let mut rows = self.lock();
        let job = rows.jobs.entry(id).or_default();
        job.fence += 1;
        MemoryJob { ledger: self.clone(), id, fence: job.fence }
    }

    /// Sets the time.
    pub fn set_now(&self, now_ms: i64) {
        self.lock().now_ms = now_ms;
    }

    /// All objects with their references, as garbage collection wants them.
    pub fn rows(&self) -> Vec<ObjectRow> {
        let rows = self.lock();
        let row = |(key, object): (&ObjectKey, &Object)| ObjectRow {
            key: *key,
            state: object.state,
            stored_bytes: object.stored_bytes,
            references: rows.references(*key),
            since_ms: object.since_ms,
        };
        rows.objects.iter().map(row).collect()
    }

    /// The manifests that are published.
    pub fn published(&self) -> Vec<ManifestId> {
        self.lock().published.keys().copied().collect()
    }

    /// Withdraws a published manifest: its image was deleted.
    pub fn unpublish(&self, manifest: ManifestId) {
        let mut rows = self.lock();
        let packs = rows.published.remove(&manifest).unwrap_or_default();
        packs.into_iter().map(ObjectKey::Pack).for_each(|key| rows.lost_reference(key));
        rows.lost_reference(manifest.into());
    }

    /// Condemns an object if nothing references it and it is old enough now. Says whether it did.
    pub fn condemn(&self, key: ObjectKey, policy: &CollectionPolicy) -> bool {
        let mut rows = self.lock();
        let (references, now_ms) = (rows.references(key), rows.now_ms);
        let found = rows.objects.get_mut(&key).filter(|object| object.state != ObjectState::Condemned);
        let Some(object) =
            found.filter(|object| references == 0 && object.since_ms + policy.min_age_ms <= now_ms)
        else {
            return false;
        };
        object.state = ObjectState::Condemned;
        object.since_ms = now_ms;
        true
    }

    /// Whether a condemned object can be deleted now: the grace period is over, and still nothing references it.
    pub fn may_delete(&self, key: ObjectKey, policy: &CollectionPolicy) -> bool {
        let rows = self.lock();
        let due = |object: &Object| {
            object.state == ObjectState::Condemned && object.since_ms + policy.grace_ms <= rows.now_ms
        };
        rows.objects.get(&key).is_some_and(due) && rows.references(key) == 0
    }

    /// Forgets a condemned object, once it is deleted.
    pub fn remove(&self, key: ObjectKey) {
        let mut rows = self.lock();
        if rows.objects.get(&key).is_some_and(|object| object.state == ObjectState::Condemned) {
            rows.objects.remove(&key);
        }
    }
}

/// One job's view of a [`MemoryLedger`].
#[derive(Debug)]
pub struct MemoryJob {
    ledger: MemoryLedger,
    id: JobId,
    fence: u64,
}

impl MemoryJob {
    /// Runs a transaction, if the fence is still this job's.
    fn fenced<T>(&self, work: impl FnOnce(&mut Rows) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        let mut rows = self.ledger.lock();
        match rows.jobs.get(&self.id) {
            Some(job) if job.fence == self.fence => work(&mut rows),
            _ => Err(LedgerError::LeaseLost),
        }
    }

    fn register(&self, key: ObjectKey) -> Result<(), LedgerError> {
        self.fenced(|rows| {
            let object = Object { state: ObjectState::Pending, stored_bytes: 0, since_ms: rows.now_ms };
            rows.objects.insert(key, object);
            rows.jobs.entry(self.id).or_default().held.insert(key);
            Ok(())
        })
    }

    /// Publishes a manifest with its references, and ends the job.
    ///
    /// # Errors
    /// [`LedgerError::LeaseLost`].
    pub fn publish(&self, manifest: ManifestId, packs: &[PackId]) -> Result<(), LedgerError> {
        self.fenced(|rows| {
            if let Some(object) = rows.objects.get_mut(&manifest.into()) {
                object.state = ObjectState::Live;
            }
            rows.published.insert(manifest, packs.to_vec());
            rows.end_job(self.id);
            Ok(())
        })
    }

    /// Ends the job without a result: what it held is free.
    ///
    /// # Errors
    /// [`LedgerError::LeaseLost`].
    pub fn fail(&self) -> Result<(), LedgerError> {
        self.fenced(|rows| {
            rows.end_job(self.id);
            Ok(())
        })
    }

    /// The packs that the job holds: what a resumed ingest loads into its index.
    pub fn held_packs(&self) -> Vec<PackId> {
        let rows = self.ledger.lock();
        let held = rows.jobs.get(&self.id).into_iter().flat_map(|job| &job.held);
        let packs = held.filter_map(|key| if let ObjectKey::Pack(id) = key { Some(*id) } else { None });
        packs.collect()
    }
}

impl Ledger for MemoryJob {
    fn register_pack(&self, pack: PackId, _scope: &Scope) -> Result<(), LedgerError> {
        self.register(pack.into())
    }

    fn pack_sealed(&self, pack: &SealedPack) -> Result<(), LedgerError> {
        self.fenced(|rows| {
            let now_ms = rows.now_ms;
            let found = rows.objects.get_mut(&pack.id.into());
            let Some(object) = found.filter(|object| object.state == ObjectState::Pending) else {
                return Err(LedgerError::Failed(format!("packs/{} is not pending", pack.id).into()));
            };
            *object = Object { state: ObjectState::Live, stored_bytes: pack.stored_bytes, since_ms: now_ms };
            Ok(())
        })
    }

    fn hold(&self, packs: &[PackId]) -> Result<Vec<PackId>, LedgerError> {
        self.fenced(|rows| {
            let is_live = |id: &PackId| {
                rows.objects
                    .get(&ObjectKey::Pack(*id))
                    .is_some_and(|object| object.state == ObjectState::Live)
            };
            let live: Vec<_> = packs.iter().copied().filter(is_live).collect();
            let job = rows.jobs.entry(self.id).or_default();
            job.held.extend(live.iter().copied().map(ObjectKey::Pack));
            Ok(live)
        })
    }

    fn register_manifest(&self, manifest: ManifestId) -> Result<(), LedgerError> {
        self.register(manifest.into())
    }
}
