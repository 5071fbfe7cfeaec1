//! A study: one directory with everything needed to go on.
//!
//! `config.toml` is written last when a study is made: a directory with it is a study, one
//! without it is not one yet. `lock` keeps a second process out for as long as the first runs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::atomic;
use crate::checkpoint::{self, Checkpoint, hex};
use crate::config::Config;
use crate::error::EngineError;
use crate::lock::LockedFile;
use crate::store::{Candidate, Meta, Store, TrainingStep};
use crate::validation::Evaluation;

const CONFIG: &str = "config.toml";
const STORE: &str = "study.db";
const CHECKPOINT: &str = "generator.safetensors";
const SELECTED: &str = "selected.safetensors";
const LOCK: &str = "lock";
const TOP: &str = "top";

/// Whether a study is begun or gone on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// The directory must hold no study yet.
    Create,
    /// A study in the directory is gone on with; where there is none yet, it is begun.
    Resume,
}

/// An open study, locked for this process.
pub struct Study {
    dir: PathBuf,
    config: Config,
    store: Store,
    _lock: LockedFile,
}

impl Study {
    /// Opens the study in `dir`, which is made where it is missing. `config` must be resolved.
    ///
    /// # Errors
    /// [`EngineError`] where the directory is in use, holds something else, holds a study that
    /// was not to be resumed or has another configuration, or cannot be written.
    pub fn open(dir: &Path, config: &Config, opening: Opening) -> Result<Self, EngineError> {
        if opening == Opening::Create && Self::exists(dir) {
            return Err(EngineError::Exists { dir: dir.into() });
        }
        fs::create_dir_all(dir).map_err(|error| EngineError::write(dir, error))?;
        let lock = lock(dir)?;
        // Another process may have made it before this one had the lock.
        match (Self::exists(dir), opening) {
            (true, Opening::Create) => Err(EngineError::Exists { dir: dir.into() }),
            (true, Opening::Resume) => Self::resume(dir, config, lock),
            (false, _) => Self::create(dir, config, lock),
        }
    }

    /// Opens the study in `dir` with its own configuration.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`EngineError::NoStudy`] where there is none.
    pub fn load(dir: &Path) -> Result<Self, EngineError> {
        if !Self::exists(dir) {
            return Err(EngineError::NoStudy { dir: dir.into() });
        }
        let lock = lock(dir)?;
        Self::resume(dir, &read_config(&dir.join(CONFIG))?, lock)
    }

    /// Whether `dir` holds a study.
    pub fn exists(dir: &Path) -> bool {
        dir.join(CONFIG).is_file()
    }

    /// Where a study in `dir` keeps its resolved configuration.
    pub fn config_path(dir: &Path) -> PathBuf {
        dir.join(CONFIG)
    }

    fn create(dir: &Path, config: &Config, lock: LockedFile) -> Result<Self, EngineError> {
        let entries = fs::read_dir(dir).map_err(|error| EngineError::read(dir, error))?;
        for entry in entries {
            let name = entry.map_err(|error| EngineError::read(dir, error))?.file_name();
            let name = name.to_string_lossy();
            // A study that was being made when its process was killed left these.
            if name == LOCK || name == format!(".{CONFIG}.tmp") {
                continue;
            }
            if !name.starts_with(STORE) {
                return Err(EngineError::Foreign { dir: dir.into(), file: name.into_owned() });
            }
            let path = dir.join(&*name);
            fs::remove_file(&path).map_err(|error| EngineError::write(&path, error))?;
        }
        Store::create(&dir.join(STORE))?;
        atomic::replace_file(&dir.join(CONFIG), config.to_toml().as_bytes())?;
        Self::resume(dir, config, lock)
    }

    fn resume(dir: &Path, config: &Config, lock: LockedFile) -> Result<Self, EngineError> {
        let path = dir.join(CONFIG);
        let stored = read_config(&path)?;
        if let Some(key) = stored.changed_keys(config).into_iter().next() {
            return Err(EngineError::Changed { dir: dir.into(), key });
        }
        let mut store = Store::open(&dir.join(STORE))?;
        if stored.search.candidates != config.search.candidates {
            // What a time budget cut short is lengthened on purpose.
            store.transaction(|writer| writer.unset(Meta::PlannedCandidates))?;
        }
        let (before, now) = (stored.to_toml(), config.to_toml());
        if before != now {
            atomic::replace_file(&path, now.as_bytes())?;
        }
        Ok(Self { dir: dir.into(), config: config.clone(), store, _lock: lock })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The resolved configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where drawings of the best candidates go.
    pub fn top_dir(&self) -> PathBuf {
        self.dir.join(TOP)
    }

    /// Training steps until the generator is trained, by configuration or time budget.
    ///
    /// # Errors
    /// [`EngineError::Store`] where the store cannot be read.
    pub fn steps(&self) -> Result<u64, EngineError> {
        Ok(self.store.number(Meta::PlannedSteps)?.unwrap_or(self.config.train.steps))
    }

    /// Candidates until the search is over, by configuration or time budget.
    ///
    /// # Errors
    /// [`EngineError::Store`] where the store cannot be read.
    pub fn candidates_wanted(&self) -> Result<u64, EngineError> {
        let planned = self.store.number(Meta::PlannedCandidates)?;
        Ok(planned.unwrap_or(self.config.search.candidates))
    }

    /// The training steps so far, in order; those since the last checkpoint are not among them.
    ///
    /// # Errors
    /// [`EngineError::Store`] where the store cannot be read.
    pub fn training_steps(&self) -> Result<Vec<TrainingStep>, EngineError> {
        self.store.training_steps()
    }

    /// The evaluations of the generator during its training, in order.
    ///
    /// # Errors
    /// [`EngineError::Store`] where the store cannot be read.
    pub fn evaluations(&self) -> Result<Vec<Evaluation>, EngineError> {
        self.store.evaluations()
    }

    /// The candidates so far, by id.
    ///
    /// # Errors
    /// [`EngineError::Store`] where the store cannot be read.
    pub fn candidates(&self) -> Result<Vec<Candidate>, EngineError> {
        self.store.candidates()
    }

    /// Checks that `config` differs from the study's in no more than the images that architectures
    /// are scored on, how they are scored and what they are ranked by: rankings by it use the
    /// generator of this study, and do not change the study.
    ///
    /// # Errors
    /// [`EngineError::Changed`] names the first key that differs.
    pub fn check_ranking(&self, config: &Config) -> Result<(), EngineError> {
        let free = [
            "search.images",
            "search.batch",
            "search.objective",
            "search.calibrate",
            "search.ensemble",
            "search.references",
            "search.reference_images",
            "search.variants",
        ];
        let changed = self.config.changed_keys(config);
        match changed.into_iter().find(|key| !free.contains(&key.as_str())) {
            Some(key) => Err(EngineError::Changed { dir: self.dir.clone(), key }),
            None => Ok(()),
        }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn store_mut(&mut self) -> &mut Store {
        &mut self.store
    }

    /// The generator's last checkpoint.
    pub(crate) fn checkpoint(&self) -> Result<Option<Checkpoint>, EngineError> {
        checkpoint::read(&self.dir.join(CHECKPOINT), &self.digest())
    }

    /// The error of a checkpoint whose content does not fit the generator.
    pub(crate) fn refuse_checkpoint(&self, reason: String) -> EngineError {
        EngineError::Checkpoint { path: self.dir.join(CHECKPOINT), reason }
    }

    pub(crate) fn write_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), EngineError> {
        checkpoint::write(&self.dir.join(CHECKPOINT), checkpoint, &self.digest())
    }

    /// The state of the generator that its evaluations select, unless it is the last checkpoint.
    pub(crate) fn selected(&self) -> Result<Option<Checkpoint>, EngineError> {
        let read = checkpoint::read(&self.dir.join(SELECTED), &self.digest());
        read.map_err(|error| match error {
            EngineError::Checkpoint { reason, .. } => self.refuse_selected(reason),
            other => other,
        })
    }

    /// The error of a selected state that does not fit.
    pub(crate) fn refuse_selected(&self, reason: String) -> EngineError {
        EngineError::Selected { path: self.dir.join(SELECTED), reason }
    }

    pub(crate) fn write_selected(&self, checkpoint: &Checkpoint) -> Result<(), EngineError> {
        checkpoint::write(&self.dir.join(SELECTED), checkpoint, &self.digest())
    }

    /// SHA-256 of all that results depend on, hexadecimal.
    fn digest(&self) -> String {
        hex(&Sha256::digest(self.config.fixed_part().as_bytes()))
    }
}

fn lock(dir: &Path) -> Result<LockedFile, EngineError> {
    let path = dir.join(LOCK);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| EngineError::write(&path, error))?;
    LockedFile::new(file, &path)
}

fn read_config(path: &Path) -> Result<Config, EngineError> {
    let text = fs::read_to_string(path).map_err(|error| EngineError::read(path, error))?;
    toml::from_str(&text).map_err(|error: toml::de::Error| EngineError::Corrupt {
        path: path.into(),
        reason: error.message().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy;

    /// A study of toys in a new directory, closed again.
    fn study() -> (tempfile::TempDir, Config) {
        let (dir, config) = (tempfile::tempdir().unwrap(), toy::config(&[]));
        Study::open(dir.path(), &config, Opening::Create).unwrap();
        (dir, config)
    }

    fn refused(dir: &Path, config: &Config, opening: Opening) -> EngineError {
        match Study::open(dir, config, opening) {
            Ok(_) => panic!("{} was opened", dir.display()),
            Err(error) => error,
        }
    }

    #[test]
    fn a_study_is_begun_once_and_resumed_at_will() {
        let (dir, config) = study();
        let error = refused(dir.path(), &config, Opening::Create);
        assert!(matches!(error, EngineError::Exists { .. }), "{error:?}");
        assert!(error.to_string().contains("--resume"), "{error}");
        assert_eq!(Study::open(dir.path(), &config, Opening::Resume).unwrap().config(), &config);
        assert_eq!(Study::load(dir.path()).unwrap().config().to_toml(), config.to_toml());
    }

    #[test]
    fn a_second_process_is_kept_out() {
        let (dir, config) = study();
        let first = Study::load(dir.path()).unwrap();
        let error = refused(dir.path(), &config, Opening::Resume);
        let named = dir.path().join("lock").display().to_string();
        assert!(matches!(error, EngineError::Locked { .. }), "{error:?}");
        assert!(error.to_string().contains(&named), "{error}");
        drop(first);
        Study::load(dir.path()).unwrap();
    }

    #[test]
    fn a_directory_of_other_things_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.tex"), "words").unwrap();
        let error = refused(dir.path(), &toy::config(&[]), Opening::Resume);
        assert!(error.to_string().contains("thesis.tex"), "{error}");
        assert_eq!(fs::read(dir.path().join("thesis.tex")).unwrap(), b"words");
        let error = Study::load(dir.path()).err().unwrap();
        assert!(matches!(error, EngineError::NoStudy { .. }), "{error:?}");
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let (dir, config) = (tempfile::tempdir().unwrap(), toy::config(&[]));
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = refused(&file.join("study"), &config, Opening::Create);
        assert!(matches!(&error, EngineError::Write { path, .. } if path.starts_with(&file)));
    }

    #[test]
    fn another_config_is_refused_by_key() {
        let (dir, config) = study();
        for (flag, key) in [
            ("train.steps=7", "train.steps"),
            ("seed=1", "seed"),
            ("space.settings.nodes=5", "space.settings.nodes"),
            ("space.settings.evolves=true", "space.settings.evolves"),
            ("search.objective=accuracy", "search.objective"),
        ] {
            let error = refused(dir.path(), &toy::config(&[flag]), Opening::Resume);
            assert!(matches!(&error, EngineError::Changed { key: k, .. } if k == key), "{error:?}");
        }
        assert_eq!(Study::load(dir.path()).unwrap().config().to_toml(), config.to_toml());

        let free = toy::config(&["search.top=2", "search.candidates=7", "data.dir=elsewhere"]);
        Study::open(dir.path(), &free, Opening::Resume).unwrap();
        assert_eq!(Study::load(dir.path()).unwrap().config().to_toml(), free.to_toml());
    }

    #[test]
    fn a_store_of_a_later_release_is_not_touched() {
        let (dir, config) = study();
        let path = dir.path().join(STORE);
        let store = rusqlite::Connection::open(&path).unwrap();
        store.execute_batch("PRAGMA journal_mode = DELETE; PRAGMA user_version = 4").unwrap();
        drop(store);
        let before = fs::read(&path).unwrap();
        let error = refused(dir.path(), &config, Opening::Resume);
        assert!(matches!(error, EngineError::NewerSchema { found: 4, .. }), "{error:?}");
        assert!(error.to_string().contains("study.db has schema 4"), "{error}");
        assert!(fs::read(&path).unwrap() == before);
        assert!(!dir.path().join("study.db-wal").exists());
    }

    #[test]
    fn a_damaged_store_is_refused() {
        let (dir, config) = study();
        let path = dir.path().join(STORE);
        let whole = fs::read(&path).unwrap();
        let mut overwritten = whole.clone();
        overwritten[4096..8192].fill(0xaa);
        let lengths = [0, 50, 100, 1000, 5000, whole.len() - 4096];
        let truncated = lengths.map(|length| whole[..length].to_vec());
        for damaged in truncated.into_iter().chain([b"not SQLite".repeat(99), overwritten]) {
            fs::write(&path, &damaged).unwrap();
            let error = refused(dir.path(), &config, Opening::Resume);
            assert!(matches!(&error, EngineError::Corrupt { path: p, .. } if *p == path));
        }
        fs::write(&path, whole).unwrap();
        Study::load(dir.path()).unwrap();
    }

    #[test]
    fn a_damaged_config_is_refused() {
        let (dir, config) = study();
        for text in ["seed = ", "seed = 1", ""] {
            fs::write(dir.path().join(CONFIG), text).unwrap();
            let error = refused(dir.path(), &config, Opening::Resume);
            assert!(error.to_string().contains("config.toml is damaged"), "{error}");
        }
    }

    #[test]
    fn a_study_that_was_killed_while_it_was_made_is_made_again() {
        let (dir, config) = study();
        fs::remove_file(dir.path().join(CONFIG)).unwrap();
        fs::write(dir.path().join(STORE), "half").unwrap();
        fs::write(dir.path().join("study.db-journal"), "half").unwrap();
        Study::open(dir.path(), &config, Opening::Create).unwrap();
    }
}
