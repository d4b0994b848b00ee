//! The text that describes a VMDK: `key = value` lines and a line for each extent.
//!
//! Parsed strictly, because readers differ in what they make of odd ones (QEMU looks for names anywhere in the
//! text, comments included): a line of any other form, and a key of ours that comes twice, is malformed.

use super::{external, malformed};
use crate::{Error, Format, Reference, Result};

/// The parent's identity where there is no parent.
const NO_PARENT: &str = "ffffffff";
/// What names a parent's file. Some readers find it anywhere.
const PARENT_HINT: &str = "parentfilenamehint";
/// What an extent line begins with.
const ACCESS_WORDS: [&str; 3] = ["RW", "RDONLY", "NOACCESS"];
/// Descriptor versions; they differ in keys that do not matter here.
const VERSIONS: std::ops::RangeInclusive<u32> = 1..=3;
/// Kinds of disks that one sparse file holds.
const SPARSE_KINDS: [&str; 2] = ["monolithicsparse", "streamoptimized"];
/// The kind of disk that is described by a text and stored flat.
const FLAT_KIND: &str = "monolithicflat";
/// Kinds of disks that are spread over several files or lie on devices.
const SPREAD_KINDS: [&str; 14] = [
    "monolithicflat",
    "twogbmaxextentsparse",
    "twogbmaxextentflat",
    "2gbmaxextentsparse",
    "2gbmaxextentflat",
    "fulldevice",
    "partitioneddevice",
    "vmfs",
    "vmfssparse",
    "vmfsthin",
    "vmfsrdm",
    "vmfsrdmp",
    "sesparse",
    "custom",
];

/// One line for a part of the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Extent {
    /// Length in sectors.
    pub(super) sectors: u64,
    kind: String,
    file: String,
    /// The sector of the file at which it begins, where that is stated.
    pub(super) offset: Option<u64>,
}

/// What matters of a descriptor: it names no parent and is not encrypted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Descriptor {
    /// The kind of disk, in lower case.
    create_type: String,
    extents: Vec<Extent>,
}

impl Descriptor {
    /// Reads the text, references first.
    pub(super) fn parse(text: &[u8]) -> Result<Self> {
        let text = String::from_utf8_lossy(text);
        if text.to_ascii_lowercase().contains(PARENT_HINT) {
            return Err(external(Reference::Parent));
        }
        let mut found = Found::default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            found.take(line)?;
        }
        if found.encrypted {
            return Err(Error::Encrypted(Format::Vmdk));
        }
        let missing = |key: &str| malformed(format!("a descriptor without {key}"));
        found.content_id.ok_or_else(|| missing("CID"))?;
        found.parent_id.ok_or_else(|| missing("parentCID"))?;
        let create_type = found.create_type.ok_or_else(|| missing("createType"))?;
        Ok(Self { create_type, extents: found.extents })
    }

    /// The one extent of a disk that lies in the file that this descriptor is embedded in.
    pub(super) fn embedded_extent(&self) -> Result<&Extent> {
        if SPREAD_KINDS.contains(&self.create_type.as_str()) {
            return Err(external(Reference::Extent));
        }
        if !SPARSE_KINDS.contains(&self.create_type.as_str()) {
            return Err(malformed(format!("a disk of type {:?}", self.create_type)));
        }
        self.only_extent("SPARSE")
    }

    /// The one extent of a flat disk that may lie in the descriptor's own file.
    pub(super) fn own_flat_extent(&self) -> Result<&Extent> {
        if self.create_type != FLAT_KIND {
            return Err(external(Reference::Extent));
        }
        self.only_extent("FLAT")
    }

    fn only_extent(&self, kind: &str) -> Result<&Extent> {
        match self.extents.as_slice() {
            [] => Err(malformed("a descriptor without an extent")),
            [extent] if extent.kind == kind && is_plain_name(&extent.file) => Ok(extent),
            _ => Err(external(Reference::Extent)),
        }
    }
}

/// What the lines so far have said.
#[derive(Default)]
struct Found {
    content_id: Option<String>,
    parent_id: Option<String>,
    create_type: Option<String>,
    encrypted: bool,
    extents: Vec<Extent>,
}

impl Found {
    fn take(&mut self, line: &str) -> Result<()> {
        let first_word = line.split_whitespace().next().unwrap_or_default();
        if ACCESS_WORDS.iter().any(|word| word.eq_ignore_ascii_case(first_word)) {
            self.extents.push(parse_extent(line)?);
            // One is the most that a disk in one file has; a longer list need not be kept.
            return if self.extents.len() > 1 { Err(external(Reference::Extent)) } else { Ok(()) };
        }
        let Some((key, value)) = line.split_once('=') else {
            return Err(malformed(format!("the line {:?} in its descriptor", shorten(line))));
        };
        let value = value.trim().trim_matches('"').to_ascii_lowercase();
        let key = key.trim().to_ascii_lowercase();
        match key.as_str() {
            "version" if !value.parse().is_ok_and(|version: u32| VERSIONS.contains(&version)) => {
                Err(malformed(format!("descriptor version {:?}", shorten(&value))))
            }
            "cid" => once(&mut self.content_id, value, &key),
            "createtype" => once(&mut self.create_type, value, &key),
            "parentcid" if value != NO_PARENT => Err(external(Reference::Parent)),
            "parentcid" => once(&mut self.parent_id, value, &key),
            // A file of changed blocks beside the disk.
            "changetrackpath" => Err(external(Reference::Extent)),
            _ => {
                self.encrypted |= key.starts_with("encryption");
                Ok(())
            }
        }
    }
}

fn once(field: &mut Option<String>, value: String, key: &str) -> Result<()> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(malformed(format!("{key} twice in its descriptor"))),
    }
}

/// Reads `ACCESS SECTORS KIND "FILE" OFFSET`; the file and the offset may be missing.
fn parse_extent(line: &str) -> Result<Extent> {
    let bad = || malformed(format!("the extent {:?} in its descriptor", shorten(line)));
    let (words, rest) = line.split_once('"').unwrap_or((line, "\""));
    let (file, after) = rest.split_once('"').ok_or_else(bad)?;
    let mut words = words.split_whitespace().skip(1);
    let sectors = words.next().and_then(|word| word.parse().ok()).filter(|sectors| *sectors > 0);
    let kind = words.next().ok_or_else(bad)?.to_owned();
    let mut after = after.split_whitespace();
    let offset = after.next().map(|word| word.parse().map_err(|_| bad())).transpose()?;
    if words.next().is_some() || after.next().is_some() {
        return Err(bad());
    }
    Ok(Extent { sectors: sectors.ok_or_else(bad)?, kind, file: file.to_owned(), offset })
}

/// Whether the name can be the file's own: no path, no protocol.
fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', ':'])
}

/// The beginning of a text from an image, short enough for a sentence.
fn shorten(text: &str) -> String {
    const CHARACTERS: usize = 60;
    text.chars().take(CHARACTERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = "# Disk DescriptorFile\nversion=1\nCID=7b5a3e01\nparentCID=ffffffff\n\
        createType=\"monolithicSparse\"\n\n# Extent description\nRW 4192256 SPARSE \"my disk.vmdk\"\n\n\
        #DDB\n\nddb.virtualHWVersion = \"4\"\r\nddb.geometry.heads = \"16\"\n";

    fn embedded(text: &str) -> std::result::Result<u64, &'static str> {
        let descriptor = Descriptor::parse(text.as_bytes()).map_err(|error| error.code())?;
        descriptor.embedded_extent().map(|extent| extent.sectors).map_err(|error| error.code())
    }

    #[test]
    fn a_sound_descriptor_is_read() {
        assert_eq!(embedded(SOUND), Ok(4_192_256));
        assert_eq!(embedded(&SOUND.replace("monolithicSparse", "streamOptimized")), Ok(4_192_256));
        assert_eq!(embedded(&SOUND.replace('\n', "\r\n")), Ok(4_192_256));
        assert_eq!(embedded(&SOUND.replace("parentCID=ffff", "parentCID = FFFF")), Ok(4_192_256));
    }

    #[test]
    fn what_leads_out_of_the_file_is_refused_for_that() {
        let external = Err("external-reference");
        let extent = "RW 4192256 SPARSE \"my disk.vmdk\"";
        for name in ["/etc/passwd", "../x.vmdk", "a/b", "C:\\x", "nbd:host", "json:{}", ".", "a\\b", ""] {
            assert_eq!(embedded(&SOUND.replace("my disk.vmdk", name)), external, "{name}");
        }
        for line in [
            format!("{extent}\n{extent}"),
            "RW 10 FLAT \"x-flat.vmdk\" 0".to_owned(),
            "RW 10 ZERO".to_owned(),
            "RW 10 VMFS \"x.vmdk\"".to_owned(),
            format!("RDONLY 5 FLAT \"/dev/sda\" 0\n{extent}"),
        ] {
            assert_eq!(embedded(&SOUND.replace(extent, &line)), external, "{line}");
        }
        assert_eq!(embedded(&SOUND.replace("parentCID=ffffffff", "parentCID=0badcafe")), external);
        assert_eq!(embedded(&format!("{SOUND}parentFileNameHint=\"base.vmdk\"\n")), external);
        assert_eq!(embedded(&format!("{SOUND}# ParentFileNameHint=\"/etc/passwd\"\n")), external);
        assert_eq!(embedded(&format!("{SOUND}changeTrackPath=\"x-ctk.vmdk\"\n")), external);
        for kind in SPREAD_KINDS {
            assert_eq!(embedded(&SOUND.replace("monolithicSparse", kind)), external, "{kind}");
        }
        let keys = format!("{SOUND}encryption.keySafe = \"vmware:key/list\"\n");
        assert_eq!(embedded(&keys), Err("encrypted"));
    }

    #[test]
    fn what_readers_could_read_differently_is_malformed() {
        let malformed = Err("malformed");
        for (from, to) in [
            ("version=1", "version=9"),
            ("CID=7b5a3e01\n", ""),
            ("CID=7b5a3e01\n", "CID=1\nCID=2\n"),
            ("parentCID=ffffffff\n", ""),
            ("parentCID=ffffffff\n", "parentCID=ffffffff\nparentCID=ffffffff\n"),
            ("createType", "createKind"),
            ("monolithicSparse", "somethingElse"),
            ("RW 4192256 SPARSE \"my disk.vmdk\"", ""),
            ("4192256", "0"),
            ("4192256", "-1"),
            ("my disk.vmdk\"", "my disk.vmdk"),
            ("my disk.vmdk\"", "my disk.vmdk\" 1 2"),
            ("# Extent description", "Extent description"),
        ] {
            assert_eq!(embedded(&SOUND.replace(from, to)), malformed, "{from} -> {to}");
        }
    }
}
