//! A region's store as the service uses it: objects in a directory, a reader with its cache, and the
//! deduplication index of each scope.
//!
//! Deduplication reaches within an account and to public images, never across accounts: otherwise one tenant could
//! test what another has stored. The scope is written with every pack.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use kiln_catalog::Catalog;
use kiln_chunk_store::{
    ChunkIndex, ChunkReader, DirectoryStore, Manifest, ManifestDevice, ManifestId, ObjectStore, PackId, Scope,
};
use kiln_model::{ManifestKey, PackKey, RegionId, Uin};

use crate::config::ServiceConfig;
use crate::jobs::JobError;
use crate::objects::ObjectFiles;

/// The scope of public images' content.
const PUBLIC_SCOPE: &str = "public";

/// A region's store.
pub(crate) struct RegionStore {
    pub(crate) region: RegionId,
    pub(crate) objects: Arc<dyn ObjectStore>,
    /// What its buckets hold, which is apart from all this.
    pub(crate) object_files: Arc<ObjectFiles>,
    reader: Arc<ChunkReader>,
    /// By the scope's text. An index is made when its scope first stores something, and kept.
    indexes: Mutex<HashMap<String, Arc<ChunkIndex>>>,
}

/// The indexes that a task of an account uses.
pub(crate) struct ScopeIndexes {
    /// Of the scope that it stores in.
    pub(crate) own: Arc<ChunkIndex>,
    /// Of the public scope, where that is another one.
    pub(crate) public: Option<Arc<ChunkIndex>>,
}

/// The scope of an account's own content.
pub(crate) fn account_scope(owner: Uin) -> String {
    format!("account/{owner}")
}

impl RegionStore {
    pub(crate) fn open(config: &ServiceConfig, region: &RegionId) -> Result<Self, kiln_chunk_store::Error> {
        let objects: Arc<dyn ObjectStore> = Arc::new(DirectoryStore::open(&config.store_dir(region))?);
        let reader = Arc::new(ChunkReader::new(Arc::clone(&objects), config.chunk_cache_bytes));
        let object_files = Arc::new(ObjectFiles::new(region.clone(), config.objects_dir(region)));
        Ok(Self { region: region.clone(), objects, object_files, reader, indexes: Mutex::default() })
    }

    fn index(&self, scope: &str) -> Arc<ChunkIndex> {
        let mut indexes = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(
            indexes.entry(scope.to_owned()).or_insert_with(|| Arc::new(ChunkIndex::new(Scope::new(scope)))),
        )
    }

    /// The indexes that an account's task searches, with every live pack of their scopes loaded. What it stores for
    /// everybody relies on nothing that is the account's own.
    pub(crate) async fn scope_indexes(
        &self,
        catalog: &Catalog,
        owner: Uin,
        for_everybody: bool,
    ) -> Result<ScopeIndexes, JobError> {
        let public = self.loaded_index(catalog, PUBLIC_SCOPE).await?;
        if for_everybody {
            return Ok(ScopeIndexes { own: public, public: None });
        }
        Ok(ScopeIndexes {
            own: self.loaded_index(catalog, &account_scope(owner)).await?,
            public: Some(public),
        })
    }

    async fn loaded_index(&self, catalog: &Catalog, scope: &str) -> Result<Arc<ChunkIndex>, JobError> {
        let packs = catalog.read().await?.live_packs(&self.region, &[scope]).await?;
        let packs = packs.iter().map(pack_id).collect::<Result<Vec<_>, _>>()?;
        let index = self.index(scope);
        let missing: Vec<PackId> = packs.into_iter().filter(|pack| !index.contains_pack(*pack)).collect();
        if !missing.is_empty() {
            let (objects, loading) = (Arc::clone(&self.objects), Arc::clone(&index));
            // A pack that cannot be read costs deduplication only; `kiln store check` is where it is reported.
            tokio::task::spawn_blocking(move || loading.load(objects.as_ref(), &missing)).await?;
        }
        Ok(index)
    }

    /// Takes packs that are being removed out of every index.
    pub(crate) fn forget_packs(&self, packs: &[PackId]) {
        let indexes = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        indexes.values().for_each(|index| index.forget(packs));
    }

    /// The disk that a manifest describes.
    pub(crate) async fn open_disk(&self, key: &ManifestKey) -> Result<ManifestDevice, JobError> {
        let id = manifest_id(key)?;
        let objects = Arc::clone(&self.objects);
        let manifest = tokio::task::spawn_blocking(move || Manifest::read(objects.as_ref(), id)).await??;
        Ok(self.device(Arc::new(manifest)))
    }

    /// The disk that a manifest of this store describes.
    pub(crate) fn device(&self, manifest: Arc<Manifest>) -> ManifestDevice {
        ManifestDevice::new(Arc::clone(&self.reader), manifest)
    }
}

/// The store's identifier of a pack of the catalogue.
pub(crate) fn pack_id(key: &PackKey) -> Result<PackId, JobError> {
    key.as_str()
        .parse()
        .map_err(|_| JobError::internal(format!("pack key {key} in the catalogue is malformed")))
}

/// The store's identifier of a manifest of the catalogue.
pub(crate) fn manifest_id(key: &ManifestKey) -> Result<ManifestId, JobError> {
    key.as_str()
        .parse()
        .map_err(|_| JobError::internal(format!("manifest key {key} in the catalogue is malformed")))
}

/// The catalogue's name of a pack.
pub(crate) fn pack_key(id: PackId) -> PackKey {
    PackKey::from_trusted(id.to_string())
}

/// The catalogue's name of a manifest.
pub(crate) fn manifest_key(id: ManifestId) -> ManifestKey {
    ManifestKey::from_trusted(id.to_string())
}
