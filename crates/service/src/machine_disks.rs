//! The disks of instances on this host: their files, and what QEMU reads them on.
//!
//! A data disk's file is in the directory of disks for as long as there is the disk, and has a second name (a hard link) in
//! the directory of the instance that has it, where its QEMU finds it. So whatever happens to an instance's directory, its
//! data disks are whole. The file is an overlay, made when the disk first comes to an instance.
//!
//! One socket of an instance's directory serves the bases of that instance's disks and nothing else.

use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use kiln_disk_format::qcow2;
use kiln_model::{Disk, DiskId, Instance, InstanceId, ManifestKey};
use kiln_nbd::{Export, Exports, Listener, Listing, ResolveError, SocketAccess};
use kiln_qemu::{DataDisk, layout};
use tokio_util::sync::CancellationToken;

use crate::Service;
use crate::jobs::JobError;
use crate::machines::Machines;

/// The bases of one instance's disks, which come and go with the disks.
pub(crate) struct Bases {
    exports: Mutex<HashMap<String, Export>>,
    stop: CancellationToken,
}

impl Bases {
    fn add(&self, name: String, export: Export) {
        self.exports.lock().unwrap_or_else(PoisonError::into_inner).insert(name, export);
    }

    fn has(&self, name: &str) -> bool {
        self.exports.lock().unwrap_or_else(PoisonError::into_inner).contains_key(name)
    }

    fn remove(&self, name: &str) {
        self.exports.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }
}

impl Exports for Bases {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Export, ResolveError>> {
        let found = self.exports.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        std::future::ready(found.ok_or(ResolveError::Unknown)).boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Listing, ResolveError>> {
        let exports = self.exports.lock().unwrap_or_else(PoisonError::into_inner);
        std::future::ready(Ok(Listing::Names(exports.keys().cloned().collect()))).boxed()
    }
}

/// A disk as its instance's machine knows it.
pub(crate) fn data_disk(disk: &Disk) -> DataDisk {
    DataDisk {
        serial: disk.id.to_string(),
        slot: disk.attachment.as_ref().map_or(0, |at| at.slot),
        base_export: disk.base_manifest.as_ref().map(|_| disk.id.to_string()),
    }
}

/// The data disks that an instance has, or is about to.
pub(crate) async fn data_disks_of(service: &Service, instance: &InstanceId) -> Result<Vec<Disk>, JobError> {
    Ok(service.catalog.read().await?.data_disks_of([instance]).await?)
}

impl Machines {
    /// The file of a data disk.
    pub(crate) fn disk_file(&self, disk: &DiskId) -> PathBuf {
        self.disks_dir().join(layout::data_disk(disk.as_str()))
    }

    /// Serves the bases of an instance's disks to its QEMU. Serving one already is fine.
    pub(crate) async fn serve_bases(
        &self,
        service: &Service,
        instance: &Instance,
        disks: &[Disk],
    ) -> Result<(), JobError> {
        let bases = match self.bases(&instance.id) {
            Some(bases) => bases,
            None => self.serve_root(service, instance).await?,
        };
        for disk in disks {
            if let Some(base) = disk.base_manifest.as_ref().filter(|_| !bases.has(disk.id.as_str())) {
                let export = self.base(service, instance, base).await?;
                bases.add(disk.id.to_string(), export);
            }
        }
        Ok(())
    }

    async fn base(
        &self,
        service: &Service,
        instance: &Instance,
        manifest: &ManifestKey,
    ) -> Result<Export, JobError> {
        let store = service.store(&instance.region).ok_or_else(|| {
            JobError::failed("UnsupportedRegion", format!("Region {} is not configured.", instance.region))
        })?;
        let device = store.open_disk(manifest).await?;
        Ok(Export::new(Arc::new(device), format!("base of a disk of {}", instance.id)))
    }

    async fn serve_root(&self, service: &Service, instance: &Instance) -> Result<Arc<Bases>, JobError> {
        let export = self.base(service, instance, &instance.base_manifest).await?;
        let dir = self.dir(&instance.id);
        let listener = Listener::unix(&dir.join(layout::BASE_SOCKET), SocketAccess::private())
            .map_err(|error| JobError::internal(format!("the socket of the disks' bases: {error}")))?;
        kiln_qemu::share_base_socket(&dir, self.identity(instance.ordinal))?;
        let bases = Arc::new(Bases { exports: Mutex::default(), stop: service.shutdown.child_token() });
        bases.add(instance.base_manifest.to_string(), export);
        let (server, exports, stopped) = (self.nbd().clone(), Arc::clone(&bases), bases.stop.clone());
        service
            .background
            .spawn(async move { server.serve(listener, exports, stopped.cancelled_owned()).await });
        self.keep_bases(&instance.id, Arc::clone(&bases));
        Ok(bases)
    }

    /// Puts the files of data disks where their instance's QEMU finds them, making those that are not there yet.
    pub(crate) async fn place_disks(&self, instance: &InstanceId, disks: &[Disk]) -> Result<(), JobError> {
        let dir = self.dir(instance);
        for disk in disks {
            let (file, size_bytes) = (self.disk_file(&disk.id), disk.size_bytes);
            let place = dir.join(layout::data_disk(disk.id.as_str()));
            tokio::task::spawn_blocking(move || place_disk(&file, size_bytes, &place)).await??;
        }
        Ok(())
    }

    /// The file of a data disk, made where no instance has had it yet.
    pub(crate) async fn made_disk_file(&self, disk: &Disk) -> Result<PathBuf, JobError> {
        let (file, size_bytes) = (self.disk_file(&disk.id), disk.size_bytes);
        let made = file.clone();
        tokio::task::spawn_blocking(move || make_disk(&made, size_bytes)).await??;
        Ok(file)
    }

    /// Gives a data disk to an instance, and to its machine where one runs.
    pub(crate) async fn attach_disk(
        &self,
        service: &Service,
        instance: &Instance,
        disk: &Disk,
    ) -> Result<(), JobError> {
        self.place_disks(&instance.id, std::slice::from_ref(disk)).await?;
        let Some(machine) = self.answering(&instance.id).await? else { return Ok(()) };
        self.serve_bases(service, instance, std::slice::from_ref(disk)).await?;
        match machine.attach_disk(data_disk(disk)).await {
            // It ended meanwhile: its next start finds the disk.
            Err(kiln_qemu::Error::NotRunning) => Ok(()),
            outcome => Ok(outcome?),
        }
    }

    /// Takes a data disk from an instance, and from its machine where one runs.
    pub(crate) async fn detach_disk(
        &self,
        service: &Service,
        instance: &Instance,
        disk: &Disk,
    ) -> Result<(), JobError> {
        if let Some(machine) = self.answering(&instance.id).await? {
            match machine.detach_disk(disk.id.as_str()).await {
                Ok(()) | Err(kiln_qemu::Error::NotRunning) => {}
                Err(kiln_qemu::Error::DiskInUse { limit, .. }) => return Err(in_use(instance, disk, limit)),
                Err(error) => return Err(error.into()),
            }
        }
        if self.get(&instance.id).is_none() {
            self.settle(service, instance).await?;
        }
        if let Some(bases) = self.bases(&instance.id) {
            bases.remove(disk.id.as_str());
        }
        let place = self.dir(&instance.id).join(layout::data_disk(disk.id.as_str()));
        Ok(remove_if_there(&place).await?)
    }

    /// Removes the files of disks that there are no more. One that cannot be removed is, at the next start.
    pub(crate) async fn remove_disks(&self, disks: &[DiskId]) {
        for disk in disks {
            if let Err(error) = remove_if_there(&self.disk_file(disk)).await {
                tracing::warn!(%disk, %error, "the file of a disk that is gone could not be removed");
            }
        }
    }

    /// Removes what is left of disks that there are no more: a crash can come between a disk's end and that of its file.
    pub(crate) async fn sweep_disks(&self, living: &[DiskId]) -> Result<(), JobError> {
        let living: HashSet<PathBuf> = living.iter().map(|disk| self.disk_file(disk)).collect();
        let mut entries = tokio::fs::read_dir(self.disks_dir()).await?;
        while let Some(entry) = entries.next_entry().await? {
            if !living.contains(&entry.path()) {
                remove_if_there(&entry.path()).await?;
            }
        }
        Ok(())
    }
}

fn in_use(instance: &Instance, disk: &Disk, limit: std::time::Duration) -> JobError {
    JobError::failed(
        "InvalidDisk.Busy",
        format!(
            "The guest of {} did not give disk {} back within {} seconds. Unmount it in the guest, or stop the instance, \
             then ask again.",
            instance.id,
            disk.id,
            limit.as_secs()
        ),
    )
}

/// Makes a disk's file, where there is none. It is complete before it has the name of a disk's.
fn make_disk(file: &Path, size_bytes: u64) -> Result<(), JobError> {
    if !file.try_exists()? {
        let unfinished = file.with_extension("new");
        let made = crate::jobs::new_file(&unfinished)?;
        qcow2::create_overlay(&made, size_bytes).map_err(JobError::internal)?;
        made.sync_all()?;
        std::fs::rename(&unfinished, file)?;
    }
    Ok(())
}

/// Gives a disk's file its name in the instance's directory.
fn place_disk(file: &Path, size_bytes: u64, place: &Path) -> Result<(), JobError> {
    make_disk(file, size_bytes)?;
    match std::fs::hard_link(file, place) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error.into()),
        _ => Ok(()),
    }
}

async fn remove_if_there(path: &Path) -> std::io::Result<()> {
    match tokio::fs::remove_file(path).await {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
