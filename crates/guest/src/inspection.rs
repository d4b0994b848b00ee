//! The inspection of a disk: facts, judged elsewhere.

use std::sync::Arc;

use kiln_block::BlockDevice;
use serde::{Deserialize, Serialize};

use crate::boot::{self, Boot};
use crate::budget::Budget;
use crate::content::{self, Content, Identity};
use crate::error::Result;
use crate::gap::{Gap, GapReason, Gaps, Part};
use crate::linux::fstab::{self, Mount};
use crate::linux::{self, Linux};
use crate::secrets::{self, Secret};
use crate::table::{self, Partition, Table};
use crate::tree::{self, Root};
use crate::window::Window;
use crate::windows::{self, Windows};

/// What is inside a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    /// The disk's size.
    pub size_bytes: u64,
    /// How it is divided, and what is on each part.
    pub table: Table,
    /// How it starts.
    pub boot: Boot,
    /// The system on it.
    pub system: System,
    /// What must not leave a machine in an image.
    pub secrets: Vec<Secret>,
    /// What could not be looked at.
    pub gaps: Vec<Gap>,
}

/// The system on a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum System {
    /// None that is known here.
    None,
    /// A Linux system.
    Linux(Box<Linux>),
    /// A Windows system.
    Windows(Box<Windows>),
}

impl Inspection {
    /// The partition that the system's root file system is on.
    pub fn root_partition(&self) -> Option<&Partition> {
        let number = match &self.system {
            System::None => return None,
            System::Linux(linux) => linux.root_partition,
            System::Windows(windows) => windows.root_partition,
        };
        self.table.partitions.iter().find(|partition| partition.number == number)
    }
}

/// Looks at a disk, as far as the budget goes. Content that makes no sense is a gap or a fact, never an error.
///
/// Readers of other projects work on the disk's content here. A panic in one of them is caught and becomes a gap;
/// callers that face strangers' disks still do well to run this in a process that can be killed.
///
/// # Errors
/// Where the device itself fails.
pub fn inspect(disk: &Arc<dyn BlockDevice>, budget: &Budget) -> Result<Inspection> {
    let whole = Window::whole(disk.clone(), budget.clone());
    let mut gaps = Gaps::default();
    let mut table = table::read(&whole)?;
    let identities = probe(&whole, &mut table, &mut gaps)?;
    let mut boot = boot::read(&whole, &table, &mut gaps)?;
    let volumes = Volumes { whole: &whole, table: &table, identities: &identities };
    let mut found = Found { system: System::None, secrets: Vec::new() };
    for partition in &table.partitions {
        let part = Part::Partition { number: partition.number };
        let seen = gaps.guard(part, |gaps| volumes.look(partition, &mut boot, gaps))?;
        if let Some(seen) = seen {
            found = seen;
            break;
        }
    }
    Ok(Inspection {
        size_bytes: disk.size_bytes(),
        table,
        boot,
        system: found.system,
        secrets: found.secrets,
        gaps: gaps.found,
    })
}

/// The partition with the root of the system that [`inspect`] finds, without a look at the system itself.
pub(crate) fn root_partition(disk: &Arc<dyn BlockDevice>, budget: &Budget) -> Result<Option<Partition>> {
    let whole = Window::whole(disk.clone(), budget.clone());
    let mut gaps = Gaps::default();
    let mut table = table::read(&whole)?;
    let identities = probe(&whole, &mut table, &mut gaps)?;
    let volumes = Volumes { whole: &whole, table: &table, identities: &identities };
    for partition in &table.partitions {
        let part = Part::Partition { number: partition.number };
        let is_root = gaps.guard(part, |gaps| Ok(volumes.open_root(partition, gaps)?.is_some()))?;
        if is_root {
            return Ok(Some(partition.clone()));
        }
    }
    Ok(None)
}

/// Fills in what is on each partition.
fn probe(whole: &Window, table: &mut Table, gaps: &mut Gaps) -> Result<Vec<Identity>> {
    let mut identities = Vec::new();
    for partition in &mut table.partitions {
        let volume = whole.part(partition.start_bytes, partition.len_bytes);
        let probed = content::probe(&volume).map(Some);
        let probed = gaps.keep(Part::Partition { number: partition.number }, probed)?;
        let (content, identity) = probed.unwrap_or((Content::Unknown, Identity::default()));
        partition.content = content;
        identities.push(identity);
    }
    Ok(identities)
}

/// A system, and what was found in it.
struct Found {
    system: System,
    secrets: Vec<Secret>,
}

/// The volumes of a disk.
struct Volumes<'a> {
    whole: &'a Window,
    table: &'a Table,
    /// One for each partition of the table.
    identities: &'a [Identity],
}

impl Volumes<'_> {
    fn open(&self, partition: &Partition, gaps: &mut Gaps) -> Result<Box<dyn tree::FileTree>> {
        let volume = self.whole.part(partition.start_bytes, partition.len_bytes);
        let tree = tree::open(partition.content, &volume)?;
        if let Some(caveat) = tree.caveat() {
            let part = Part::Partition { number: partition.number };
            gaps.add(part, GapReason::Unsupported, caveat.to_owned());
        }
        Ok(tree)
    }

    /// The file system on a partition, if it is the root of a system.
    fn open_root(&self, partition: &Partition, gaps: &mut Gaps) -> Result<Option<Root>> {
        let is_root = match partition.content {
            Content::Ext2 | Content::Ext3 | Content::Ext4 | Content::Xfs => linux::is_root,
            Content::Ntfs => windows::is_root,
            _ => return Ok(None),
        };
        let root = Root::new(self.open(partition, gaps)?, self.whole.budget().clone());
        Ok(is_root(&root)?.then_some(root))
    }

    /// The system whose root is on a partition, if there is one.
    fn look(&self, partition: &Partition, boot: &mut Boot, gaps: &mut Gaps) -> Result<Option<Found>> {
        let Some(mut root) = self.open_root(partition, gaps)? else {
            return Ok(None);
        };
        if partition.content == Content::Ntfs {
            let windows = windows::read(&root, partition.number, gaps)?;
            let secrets = secrets::of_windows(&root, gaps)?;
            return Ok(Some(Found { system: System::Windows(Box::new(windows)), secrets }));
        }
        let mounts = fstab::parse(&root.text("/etc/fstab")?.unwrap_or_default());
        self.mount(&mut root, partition.number, &mounts, gaps)?;
        let linux = linux::read(&root, partition.number, mounts, gaps)?;
        gaps.keep(Part::BootLoader, boot::complete_from_linux(&root, self.table, boot))?;
        let secrets = secrets::of_linux(&root, gaps)?;
        Ok(Some(Found { system: System::Linux(Box::new(linux)), secrets }))
    }

    /// Mounts what the system mounts below its root, as far as it is on this disk and can be read.
    fn mount(&self, root: &mut Root, own: u32, mounts: &[Mount], gaps: &mut Gaps) -> Result<()> {
        let mut mounts: Vec<&Mount> = mounts.iter().filter(|mount| mount.at.len() > 1).collect();
        mounts.sort_by_key(|mount| mount.at.len());
        for mount in mounts.into_iter().filter(|mount| mount.at.starts_with('/')) {
            let mut volumes = self.table.partitions.iter().zip(self.identities);
            let volume = volumes.find(|(partition, identity)| mount.source.means(partition.number, identity));
            let Some((partition, _)) = volume.filter(|(partition, _)| partition.number != own) else {
                continue;
            };
            let part = Part::Partition { number: partition.number };
            let opened = self.open(partition, gaps).map(Some);
            if let Some(tree) = gaps.keep(part, opened)? {
                root.mount(mount.at.trim_end_matches('/'), tree);
            }
        }
        Ok(())
    }
}
