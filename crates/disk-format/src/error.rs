//! Why an image is refused, or could not be written.
//!
//! One variant is one cause with one stable [`Error::code`]. Sentences are for people and may change.

use crate::Format;

/// The result of looking at an image.
pub type Result<T> = std::result::Result<T, Error>;

/// Something outside the image file that it asks its reader to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reference {
    /// Another image that holds what this one does not.
    BackingFile,
    /// Another file that holds this image's data.
    DataFile,
    /// Another file that holds a part of the disk.
    Extent,
    /// The image that this one records the differences from.
    Parent,
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::BackingFile => "a backing file",
            Self::DataFile => "an external data file",
            Self::Extent => "another file for a part of its disk",
            Self::Parent => "a parent image",
        })
    }
}

/// Why an image cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The device that holds the image failed.
    #[error(transparent)]
    Device(#[from] kiln_block::Error),
    /// The file holds nothing.
    #[error("the file is empty")]
    Empty,
    /// The content is of a known kind that is not read here.
    #[error("this is {0}, which is not accepted: {advice}", advice = .0.advice())]
    UnsupportedFormat(Format),
    /// The content carries the marks of two kinds, so two readers could see two different disks.
    #[error("the file looks like {0} and like {1} at once")]
    Ambiguous(Format, Format),
    /// The image is not complete in itself.
    #[error("the {format} image needs {reference}; make it standalone with `qemu-img convert`")]
    ExternalReference {
        /// The image's format.
        format: Format,
        /// What it asks for.
        reference: Reference,
    },
    /// The image's contents are encrypted.
    #[error("the {0} image is encrypted; decrypt it with `qemu-img convert` first")]
    Encrypted(Format),
    /// The image states a version that no reader here knows.
    #[error("version {version} of {format} is not supported")]
    UnsupportedVersion {
        /// The image's format.
        format: Format,
        /// The version that it states.
        version: u32,
    },
    /// The image needs features that are not known here.
    #[error("the {format} image needs unknown features (bits {bits:#x})")]
    UnsupportedFeatures {
        /// The image's format.
        format: Format,
        /// The unknown feature bits.
        bits: u64,
    },
    /// A size is larger than the limits allow.
    #[error("{what} of {size} bytes is over the limit of {limit} bytes")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// Something that the image points at does not lie within its file.
    #[error("{what} at {offset} lies outside the file")]
    OutsideFile {
        /// What is pointed at.
        what: &'static str,
        /// Its position in bytes.
        offset: u64,
    },
    /// Two structures of the image claim the same bytes of its file.
    #[error("{what} at {offset} overlaps other structures of the image")]
    Overlap {
        /// One of the two structures.
        what: &'static str,
        /// Its position in bytes.
        offset: u64,
    },
    /// A field has a value that the format forbids.
    #[error("malformed {format} image: {reason}")]
    Malformed {
        /// The image's format.
        format: Format,
        /// What was found, without a full stop.
        reason: String,
    },
    /// What an image is written to failed.
    #[error("the image cannot be written: {0}")]
    Sink(#[source] std::io::Error),
    /// The writing of an image was stopped.
    #[error("stopped before the image was complete")]
    Cancelled,
    /// A new image cannot have this size.
    #[error("a disk of {0} bytes cannot be made")]
    InvalidSize(u64),
}

impl Error {
    /// A complaint about a field of an image.
    pub(crate) fn malformed(format: Format, reason: impl Into<String>) -> Self {
        Self::Malformed { format, reason: reason.into() }
    }

    /// A word for this cause that never changes, for programs to match on.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Device(_) => "unreadable",
            Self::Empty => "empty",
            Self::UnsupportedFormat(_) => "unsupported-format",
            Self::Ambiguous(..) => "ambiguous-format",
            Self::ExternalReference { .. } => "external-reference",
            Self::Encrypted(_) => "encrypted",
            Self::UnsupportedVersion { .. } => "unsupported-version",
            Self::UnsupportedFeatures { .. } => "unsupported-features",
            Self::TooLarge { .. } => "too-large",
            Self::OutsideFile { .. } => "outside-file",
            Self::Overlap { .. } => "overlap",
            Self::Malformed { .. } => "malformed",
            Self::Sink(_) => "unwritable",
            Self::Cancelled => "cancelled",
            Self::InvalidSize(_) => "invalid-size",
        }
    }
}
