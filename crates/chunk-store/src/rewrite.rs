//! Rewriting sparse packs: the chunks that manifests still need move to new packs, so that the old ones can go.
//!
//! Nothing is replaced here. New packs and new manifests are written beside the old ones; the caller swaps the
//! references in one transaction, and the old packs become garbage like any other.

use std::collections::HashMap;

use crate::copy::move_chunks;
use crate::reader::ChunkList;
use crate::sink::{Taken, with_sink};
use crate::{Chunk, ChunkIndex, Entry, Manifest, ManifestId, PackId, Result, Target};

/// A manifest that has taken the place of another: of the same disk, but without the sparse packs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten {
    /// The manifest that names sparse packs.
    pub old: ManifestId,
    /// The one to be referenced in its place.
    pub new: ManifestId,
    /// What the new manifest references.
    pub packs: Vec<PackId>,
    /// Length of its object in bytes.
    pub manifest_bytes: u64,
}

type Place = (PackId, u32);

/// Moves the chunks of `sparse` packs that any of `manifests` names to new packs of the target's scope, which is
/// that of the sparse packs, and writes every manifest anew. The job must hold the packs of those manifests.
///
/// Progress counts the bytes of the chunks that move, uncompressed.
///
/// # Errors
/// As for [`crate::copy()`].
pub fn rewrite(target: &Target<'_>, manifests: &[ManifestId], sparse: &[PackId]) -> Result<Vec<Rewritten>> {
    let live = live_chunks(target, manifests, sparse)?;
    let entries: Vec<_> =
        (0..).zip(&live).map(|(offset, (pack, chunk))| entry(offset, *pack, *chunk)).collect();
    let total_bytes = live.iter().map(|(_, chunk)| u64::from(chunk.len)).sum();
    // A search in the real index would find the chunks where they are.
    let index = ChunkIndex::new(target.index.scope().clone());
    let apart = Target { store: target.store.clone(), index: &index, also_search: &[], ..*target };
    let list = ChunkList { packs: sparse, entries: &entries };
    let taken = with_sink(&apart, total_bytes, &[], |sink| move_chunks(sink, &*target.store, list))?;
    let moved = places(sparse, &entries, &taken);
    manifests.iter().map(|id| write_moved(target, *id, &moved)).collect()
}

/// The list position of a chunk serves as its offset: it comes back with the chunk's new place.
fn entry(position: u64, pack: u32, chunk: Chunk) -> Entry {
    Entry { offset: position, pack, chunk }
}

/// The chunks of sparse packs that manifests name, each once, in the order of packs and positions.
fn live_chunks(
    target: &Target<'_>,
    manifests: &[ManifestId],
    sparse: &[PackId],
) -> Result<Vec<(u32, Chunk)>> {
    let numbers: HashMap<_, _> = sparse.iter().zip(0u32..).collect();
    let mut live = HashMap::new();
    for id in manifests {
        let manifest = Manifest::read(&*target.store, *id)?;
        for entry in manifest.entries() {
            if let Some(number) = numbers.get(&manifest.pack_of(entry)) {
                live.insert((*number, entry.chunk.position), entry.chunk);
            }
        }
    }
    let mut live: Vec<_> = live.into_iter().map(|((pack, _), chunk)| (pack, chunk)).collect();
    live.sort_unstable_by_key(|(pack, chunk)| (*pack, chunk.position));
    Ok(live)
}

/// Where each chunk went.
fn places(sparse: &[PackId], from: &[Entry], taken: &Taken) -> HashMap<Place, (PackId, Chunk)> {
    let place = |new: &Entry| {
        let old = &from[new.offset as usize];
        let new_pack = taken.packs[new.pack as usize];
        ((sparse[old.pack as usize], old.chunk.position), (new_pack, new.chunk))
    };
    taken.entries.iter().map(place).collect()
}

fn write_moved(
    target: &Target<'_>,
    old: ManifestId,
    moved: &HashMap<Place, (PackId, Chunk)>,
) -> Result<Rewritten> {
    let manifest = Manifest::read(&*target.store, old)?;
    let mut packs = manifest.packs().to_vec();
    let mut numbers: HashMap<PackId, u32> = packs.iter().copied().zip(0..).collect();
    let mut entries = manifest.entries().to_vec();
    for entry in &mut entries {
        if let Some((pack, chunk)) = moved.get(&(manifest.pack_of(entry), entry.chunk.position)) {
            entry.chunk = *chunk;
            entry.pack = *numbers.entry(*pack).or_insert_with(|| {
                packs.push(*pack);
                u32::try_from(packs.len() - 1).expect("a disk has fewer packs")
            });
        }
    }
    let rewritten = Manifest::new(manifest.size_bytes(), &packs, entries)?;
    let new = ManifestId::random();
    target.ledger.register_manifest(new)?;
    let manifest_bytes = rewritten.write(&*target.store, new)?;
    Ok(Rewritten { old, new, packs: rewritten.packs().to_vec(), manifest_bytes })
}
