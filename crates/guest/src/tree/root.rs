//! Several volumes as one tree, with symbolic links resolved in it as the guest's kernel would.

use std::collections::VecDeque;
use std::io::{self, Read, Seek, SeekFrom};

use super::{FileTree, Node, NodeKind, ReadSeek};
use crate::budget::Budget;
use crate::error::{Error, Result};

/// As many links as Linux follows in one path.
const LINK_HOPS_MAX: u32 = 40;
/// A small text file: configuration, release files, lists of modules.
const TEXT_BYTES_MAX: u64 = 4 << 20;

/// A tree of mounted volumes.
pub(crate) struct Root {
    /// Mount point (`/`, `/boot`) and volume.
    mounts: Vec<(String, Box<dyn FileTree>)>,
    budget: Budget,
}

/// A path with every link in it followed.
struct Place<'a> {
    tree: &'a dyn FileTree,
    /// The path within `tree`.
    inner: String,
    node: Node,
}

impl Root {
    pub(crate) fn new(root: Box<dyn FileTree>, budget: Budget) -> Self {
        Self { mounts: vec![("/".to_owned(), root)], budget }
    }

    /// Puts a volume over what the tree has at `at`.
    pub(crate) fn mount(&mut self, at: &str, tree: Box<dyn FileTree>) {
        self.mounts.push((at.to_owned(), tree));
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// What a path leads to; `None` where it leads nowhere.
    pub(crate) fn stat(&self, path: &str) -> Result<Option<Node>> {
        Ok(self.resolve(path, true)?.map(|place| place.node))
    }

    pub(crate) fn is_file(&self, path: &str) -> Result<bool> {
        Ok(self.stat(path)?.is_some_and(|node| node.kind == NodeKind::File))
    }

    pub(crate) fn is_directory(&self, path: &str) -> Result<bool> {
        Ok(self.stat(path)?.is_some_and(|node| node.kind == NodeKind::Directory))
    }

    /// The target of a link, unresolved; `None` where the path is none.
    pub(crate) fn link_target(&self, path: &str) -> Result<Option<String>> {
        match self.resolve(path, false)? {
            Some(place) if place.node.kind == NodeKind::Symlink => {
                Ok(Some(place.tree.read_link(&place.inner)?))
            }
            _ => Ok(None),
        }
    }

    /// Whether something bears this name, even a link that leads nowhere.
    pub(crate) fn exists(&self, path: &str) -> Result<bool> {
        Ok(self.resolve(path, false)?.is_some())
    }

    /// The names in a directory, sorted; none where there is no such directory.
    pub(crate) fn list(&self, path: &str) -> Result<Vec<String>> {
        let Some(place) = self.resolve(path, true)?.filter(|place| place.node.kind == NodeKind::Directory)
        else {
            return Ok(Vec::new());
        };
        let mut names = place.tree.list(&place.inner)?;
        names.sort_unstable();
        Ok(names)
    }

    /// The content of a file; `None` where there is none.
    pub(crate) fn open(&self, path: &str) -> Result<Option<Box<dyn ReadSeek + '_>>> {
        match self.resolve(path, true)? {
            Some(place) if place.node.kind == NodeKind::File => {
                let reader = place.tree.open(&place.inner)?;
                Ok(Some(Box::new(Charged { reader, budget: self.budget.clone() })))
            }
            _ => Ok(None),
        }
    }

    /// At most `max_bytes` from the start of a file.
    pub(crate) fn read_head(&self, path: &str, max_bytes: u64) -> Result<Option<Vec<u8>>> {
        let Some(reader) = self.open(path)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        reader.take(max_bytes).read_to_end(&mut bytes).map_err(Error::from_io)?;
        Ok(Some(bytes))
    }

    /// A text file, cut off where it is longer than such files are.
    pub(crate) fn text(&self, path: &str) -> Result<Option<String>> {
        let bytes = self.read_head(path, TEXT_BYTES_MAX)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn resolve(&self, path: &str, follow_last: bool) -> Result<Option<Place<'_>>> {
        let mut pending: VecDeque<String> = names(path).collect();
        let mut done = String::from("/");
        let mut place = self.place("/".to_owned())?;
        let mut hops = 0;
        while let Some(name) = pending.pop_front() {
            self.budget.charge_step()?;
            if name == ".." {
                done.truncate(done.rfind('/').unwrap_or(0).max(1));
                place = self.place(done.clone())?;
                continue;
            }
            if place.as_ref().is_none_or(|place| place.node.kind != NodeKind::Directory) {
                return Ok(None);
            }
            let full = join(&done, &name);
            place = self.place(full.clone())?;
            let link = place.as_ref().filter(|place| place.node.kind == NodeKind::Symlink);
            let Some(link) = link.filter(|_| follow_last || !pending.is_empty()) else {
                done = full;
                continue;
            };
            hops += 1;
            if hops > LINK_HOPS_MAX {
                return Ok(None);
            }
            let target = link.tree.read_link(&link.inner)?;
            if target.starts_with('/') {
                done = String::from("/");
            }
            place = self.place(done.clone())?;
            names(&target).rev().for_each(|name| pending.push_front(name));
        }
        Ok(place)
    }

    /// The node of a path whose parents hold no links.
    fn place(&self, full: String) -> Result<Option<Place<'_>>> {
        let inner_of = |at: &str| match full.strip_prefix(at) {
            Some("") => Some("/".to_owned()),
            Some(rest) if rest.starts_with('/') => Some(rest.to_owned()),
            Some(_) if at == "/" => Some(full.clone()),
            _ => None,
        };
        let mounts = self.mounts.iter().rev();
        let mut mounts = mounts.filter_map(|(at, tree)| Some((tree.as_ref(), inner_of(at)?)));
        let Some((tree, inner)) = mounts.next() else {
            return Ok(None);
        };
        Ok(tree.lookup(&inner)?.map(|node| Place { tree, inner, node }))
    }
}

fn names(path: &str) -> impl DoubleEndedIterator<Item = String> + '_ {
    path.split('/').filter(|name| !name.is_empty() && *name != ".").map(str::to_owned)
}

fn join(directory: &str, name: &str) -> String {
    if directory == "/" { format!("/{name}") } else { format!("{directory}/{name}") }
}

/// Charges what it hands out: holes and cached blocks cost no read of the disk, yet must not be endless.
struct Charged<'a> {
    reader: Box<dyn ReadSeek + 'a>,
    budget: Budget,
}

impl Read for Charged<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buf)?;
        self.budget.charge_read(count as u64).map_err(|exhausted| Error::from(exhausted).into_io())?;
        Ok(count)
    }
}

impl Seek for Charged<'_> {
    fn seek(&mut self, target: SeekFrom) -> io::Result<u64> {
        self.budget.charge_step().map_err(|exhausted| Error::from(exhausted).into_io())?;
        self.reader.seek(target)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{FakeTree, root};

    #[test]
    fn links_are_resolved_inside_the_tree() {
        let root = root(&[
            ("/usr/bin/dash", "#!"),
            ("/bin", "-> usr/bin"),
            ("/usr/bin/sh", "-> dash"),
            ("/etc/up", "-> ../../../usr/bin/sh"),
            ("/etc/absolute", "-> /bin/sh"),
            ("/etc/nowhere", "-> /no/such/file"),
        ]);
        for path in ["/bin/sh", "/etc/up", "/etc/absolute", "/bin/../bin/./dash"] {
            assert_eq!(root.text(path).expect("readable").as_deref(), Some("#!"), "{path}");
        }
        assert!(root.exists("/etc/nowhere").expect("readable"));
        assert!(root.stat("/etc/nowhere").expect("readable").is_none());
        assert_eq!(root.link_target("/bin").expect("readable").as_deref(), Some("usr/bin"));
        assert_eq!(root.list("/bin").expect("readable"), ["dash", "sh"]);
    }

    #[test]
    fn loops_of_links_lead_nowhere() {
        let root = root(&[("/a", "-> b"), ("/b", "-> a"), ("/c", "-> c/c/c/c/c")]);
        for path in ["/a", "/b/x", "/c", "/c/c"] {
            assert!(root.stat(path).expect("no error").is_none(), "{path}");
        }
    }

    #[test]
    fn a_mounted_volume_hides_what_is_below() {
        let mut root = root(&[("/boot/old", "1"), ("/link", "-> /boot/new"), ("/bootstrap", "3")]);
        root.mount("/boot", Box::new(FakeTree::new(&[("/new", "2")])));
        assert_eq!(root.text("/link").expect("readable").as_deref(), Some("2"));
        assert_eq!(root.text("/boot/../bootstrap").expect("readable").as_deref(), Some("3"));
        assert_eq!(root.list("/boot").expect("readable"), ["new"]);
    }
}
