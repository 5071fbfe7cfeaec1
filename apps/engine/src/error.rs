//! What can go wrong in a study.

use std::io;
use std::path::{Path, PathBuf};

use ghnas_core::{ExecutorError, GeneratorError, RegistryError, SearcherError, SpaceError};

use crate::config::ConfigError;
use crate::data::DataError;
use crate::scorer::ScoreError;

/// Why a study cannot go on. Each names the file, key, step or candidate at fault.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A part that the configuration chooses cannot be built.
    #[error("{section}: {error}")]
    Entry {
        /// The section of the configuration.
        section: &'static str,
        /// Which entry, and why.
        error: Box<RegistryError>,
    },
    /// The data set cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The data set has fewer images than the configuration asks for.
    #[error("{key} = {wanted}, but the data set has {found} {split} images")]
    FewImages {
        /// The full key.
        key: &'static str,
        /// Images asked for.
        wanted: usize,
        /// Images there are.
        found: usize,
        /// `training` or `validation`.
        split: &'static str,
    },
    /// A file or folder cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file or folder cannot be written; what it held before is still there.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process has the study open.
    #[error("{} is locked: another process works on this study; wait for it or stop it", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The directory holds a study, and it was not asked to go on with one.
    #[error("{} holds a study already; add --resume to go on with it, or choose another directory", dir.display())]
    Exists {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory holds something else.
    #[error("{} holds '{file}', which is no part of a study; choose an empty directory", dir.display())]
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// The first file that is none of ours.
        file: String,
    },
    /// The directory holds no study.
    #[error("{} holds no study", dir.display())]
    NoStudy {
        /// The directory.
        dir: PathBuf,
    },
    /// A study is resumed with another configuration.
    #[error(
        "{} was begun with another {key}; use the study's own config, or begin a new study",
        dir.display()
    )]
    Changed {
        /// The directory.
        dir: PathBuf,
        /// The first key that differs.
        key: String,
    },
    /// A study is resumed with other images.
    #[error("{} was begun with other validation images; set data.dir to the same data set", dir.display())]
    OtherImages {
        /// The directory.
        dir: PathBuf,
    },
    /// A store was written by a later release.
    #[error(
        "{} has schema {found}, but this release knows schema {known} at most; use a later release",
        path.display()
    )]
    NewerSchema {
        /// The store.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// The latest that this release reads.
        known: u32,
    },
    /// A file of the study is not one of ours, or is damaged.
    #[error("{} is damaged or no part of a study: {reason}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The store cannot be read or written.
    #[error("store {}", path.display())]
    Store {
        /// The store.
        path: PathBuf,
        /// Why.
        source: Box<rusqlite::Error>,
    },
    /// A checkpoint cannot be used.
    #[error(
        "checkpoint {}: {reason}; delete the file to train the generator again from the start",
        path.display()
    )]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The state that the evaluations of a generator select cannot be read.
    #[error(
        "selected state {}: {reason}; delete generator.safetensors beside it to train the \
         generator again from the start",
        path.display()
    )]
    Selected {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Candidates are to be scored with a generator that is not trained to the end.
    #[error("the generator of {} is at step {step} of {steps}; train it to the end first", dir.display())]
    NotTrained {
        /// The directory.
        dir: PathBuf,
        /// Steps done.
        step: u64,
        /// Steps planned.
        steps: u64,
    },
    /// A study's generator is to embed architectures of another space than its own.
    #[error("{} has another {key} than this search; use a study of the same space", dir.display())]
    OtherSpace {
        /// The directory.
        dir: PathBuf,
        /// The first key that differs.
        key: String,
    },
    /// A study's generator is to embed architectures and cannot.
    #[error(
        "weight generator '{generator}' of {} has no embeddings; use a study of one that has, such \
         as ghn",
        dir.display()
    )]
    NoEmbeddings {
        /// The directory.
        dir: PathBuf,
        /// The generator's id.
        generator: String,
    },
    /// The space cannot sample or lower.
    #[error("{what}")]
    Space {
        /// The step or candidate.
        what: String,
        /// Why.
        source: SpaceError,
    },
    /// The generator failed.
    #[error("weight generator, {what}")]
    Generator {
        /// The step or candidate.
        what: String,
        /// Why.
        source: GeneratorError,
    },
    /// The executor failed.
    #[error("executor, {what}")]
    Executor {
        /// The step or candidate.
        what: String,
        /// Why.
        source: ExecutorError,
    },
    /// The device or the generator failed while a network was scored.
    #[error("{what}")]
    Score {
        /// The candidate.
        what: String,
        /// What failed.
        source: ScoreError,
    },
    /// The searcher failed.
    #[error(transparent)]
    Searcher(#[from] SearcherError),
    /// The searcher asks for something that the space or the study does not have.
    #[error("searcher, candidate {candidate}: {reason}")]
    Command {
        /// The candidate.
        candidate: u64,
        /// What is missing.
        reason: String,
    },
    /// Training does not recover.
    #[error(
        "no finite loss or gradient in {steps} steps in a row, the last step {step} with \
         architecture {hash}; lower train.learning_rate"
    )]
    Diverged {
        /// Steps in a row.
        steps: u64,
        /// The last of them.
        step: u64,
        /// Its architecture.
        hash: String,
    },
    /// A table of ground truth or of scores cannot be used.
    #[error(
        "{}{}: {reason}",
        path.display(),
        line.map(|line| format!(", line {line}")).unwrap_or_default()
    )]
    Table {
        /// The table.
        path: PathBuf,
        /// The line, from 1, where it is one line's fault.
        line: Option<usize>,
        /// What is wrong.
        reason: String,
    },
    /// Work was interrupted on request; the state is saved.
    #[error("interrupted after {done} of {of} {unit}; the state is saved, go on with --resume")]
    Interrupted {
        /// What was done.
        done: u64,
        /// Of how many.
        of: u64,
        /// `training steps` or `candidates`.
        unit: &'static str,
    },
}

impl EngineError {
    pub(crate) fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.into(), source }
    }

    pub(crate) fn write(path: &Path, source: io::Error) -> Self {
        Self::Write { path: path.into(), source }
    }
}
