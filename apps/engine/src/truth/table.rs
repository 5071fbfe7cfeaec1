//! The table of ground truth on disk: JSON lines, the first with the recipe, then one a run.
//!
//! Lines are appended as runs end, so that a killed process loses none that was done; a last line
//! that was cut off is dropped when the table is opened to be continued.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ghnas_core::{Architecture, LossSum};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::TruthReport;
use crate::atomic;
use crate::config::{Config, EntryConfig, SpaceConfig, TrainConfig, flatten};
use crate::error::EngineError;
use crate::lock::LockedFile;

/// The schema that this release reads and writes.
const SCHEMA: u32 = 1;

/// What all runs of a table share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TruthHeader {
    /// Version of this format.
    pub schema: u32,
    /// Seed of sampling, of the split and, with each run's number, of the runs.
    pub seed: u64,
    /// The data set's name.
    pub data: String,
    /// Images that are split off the training set and not trained on.
    pub validation: usize,
    /// Whether training images are cropped and flipped.
    pub augment: bool,
    /// The space with all its settings.
    pub space: SpaceConfig,
    /// What the weights are and how they move.
    pub generator: EntryConfig,
    /// The training.
    pub train: TrainConfig,
    /// Test images in a batch at most: batch norm takes the statistics of a batch.
    pub test_batch: usize,
}

impl TruthHeader {
    /// The header of runs by this recipe, which must be resolved.
    pub fn of(config: &Config) -> Self {
        let mut train = config.train.clone();
        // It changes no result.
        train.checkpoint_seconds = TrainConfig::default().checkpoint_seconds;
        Self {
            schema: SCHEMA,
            seed: config.seed,
            data: config.data.name.clone(),
            validation: config.data.validation,
            augment: config.data.augment,
            space: config.space.clone(),
            generator: config.generator.clone(),
            train,
            test_batch: config.search.batch,
        }
    }

    /// The first key whose value differs from that of `other`, with both values.
    fn difference(&self, other: &Self) -> Option<String> {
        let leaves = |header: &Self| -> BTreeMap<String, Value> {
            let value = serde_json::to_value(header).expect("a header is plain data");
            flatten(&value).into_iter().map(|(path, value)| (path.join("."), value)).collect()
        };
        let (own, others) = (leaves(self), leaves(other));
        let keys: BTreeSet<&String> = own.keys().chain(others.keys()).collect();
        let differs = |key: &&&String| own.get(**key) != others.get(**key);
        let shown = |value: Option<&Value>| value.map_or("unset".into(), ToString::to_string);
        keys.iter().find(differs).map(|&key| {
            format!("{key} is {} there, {} here", shown(own.get(key)), shown(others.get(key)))
        })
    }
}

/// One run: an architecture trained with one seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TruthRow {
    /// The architecture's hash.
    pub hash: String,
    /// Number of the run's seed, from 0.
    pub seed: u64,
    /// Mean cross-entropy on the test images, in nats; none where it is not finite.
    pub loss: Option<f64>,
    /// Share of the test images classified correctly; none where the loss is not finite.
    pub accuracy: Option<f64>,
    /// Seconds on one thread.
    pub seconds: f64,
    /// Version of the program.
    pub version: String,
    /// The architecture.
    pub arch: Architecture,
}

impl TruthRow {
    pub(super) fn new(arch: Architecture, seed: u64, sum: LossSum, took: Duration) -> Self {
        let finite = sum.loss.is_finite();
        Self {
            hash: arch.hash().to_string(),
            seed,
            loss: finite.then_some(sum.mean_loss()),
            accuracy: finite.then_some(sum.accuracy()),
            seconds: took.as_secs_f64(),
            version: env!("CARGO_PKG_VERSION").into(),
            arch,
        }
    }
}

/// A table of ground truth.
pub struct TruthTable {
    path: PathBuf,
    header: TruthHeader,
    rows: Vec<TruthRow>,
    /// Open and locked where the table is continued.
    file: Option<LockedFile>,
}

impl TruthTable {
    /// Opens the table at `path` to continue it, or begins one.
    ///
    /// # Errors
    /// [`EngineError::Table`] where the table has another recipe, or is damaged;
    /// [`EngineError::Locked`] where another process continues it.
    pub fn continued(path: &Path, header: &TruthHeader) -> Result<Self, EngineError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| EngineError::write(folder, error))?;
        }
        let options = File::options().create(true).append(true).read(true).open(path);
        let file = options.map_err(|error| EngineError::write(path, error))?;
        let file = LockedFile::new(file, path)?;
        let text = read(path)?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let cut = file.set_len(whole as u64);
        cut.map_err(|error| EngineError::write(path, error))?;
        let table = if whole == 0 {
            let rows = Vec::new();
            Self { path: path.into(), header: header.clone(), rows, file: Some(file) }
        } else {
            Self { file: Some(file), ..Self::parse(path, &text[..whole])? }
        };
        table.expect(header)?;
        if whole == 0 {
            table.append(&table.header.clone())?;
        }
        Ok(table)
    }

    /// Reads the table at `path`.
    ///
    /// # Errors
    /// [`EngineError::Table`] names the line that is not one of a table, or is there twice.
    pub fn read(path: &Path) -> Result<Self, EngineError> {
        Self::parse(path, &read(path)?)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, EngineError> {
        let refuse = |line: usize, reason: String| EngineError::Table {
            path: path.into(),
            line: Some(line),
            reason,
        };
        let mut lines = (1..).zip(text.lines());
        let (_, first) = lines.next().ok_or_else(|| refuse(1, "the table is empty".into()))?;
        #[derive(Deserialize)]
        struct Schema {
            schema: u32,
        }
        let Schema { schema } = serde_json::from_str(first)
            .map_err(|error| refuse(1, format!("not the header of a truth table: {error}")))?;
        if schema != SCHEMA {
            let reason = format!("schema {schema}, but this release knows schema {SCHEMA} alone");
            return Err(refuse(1, reason));
        }
        let header = serde_json::from_str(first).map_err(|error| refuse(1, error.to_string()))?;
        let (mut rows, mut seen) = (Vec::new(), BTreeMap::new());
        for (number, line) in lines {
            let row: TruthRow =
                serde_json::from_str(line).map_err(|error| refuse(number, error.to_string()))?;
            if row.hash != row.arch.hash().to_string() {
                return Err(refuse(number, "the hash is not that of the architecture".into()));
            }
            let finite = |value: Option<f64>| value.is_none_or(f64::is_finite);
            if !finite(row.loss) || !finite(row.accuracy) {
                return Err(refuse(number, "a value is not finite".into()));
            }
            if let Some(first) = seen.insert((row.hash.clone(), row.seed), number) {
                let reason = format!(
                    "architecture {} with seed {} is on line {first} already",
                    row.hash, row.seed
                );
                return Err(refuse(number, reason));
            }
            rows.push(row);
        }
        Ok(Self { path: path.into(), header, rows, file: None })
    }

    /// What all runs share.
    pub fn header(&self) -> &TruthHeader {
        &self.header
    }

    /// The runs.
    pub fn rows(&self) -> &[TruthRow] {
        &self.rows
    }

    /// Checks that the runs are of this recipe.
    ///
    /// # Errors
    /// [`EngineError::Table`] names the key that differs.
    pub fn expect(&self, header: &TruthHeader) -> Result<(), EngineError> {
        match self.header.difference(header) {
            None => Ok(()),
            Some(difference) => Err(EngineError::Table {
                path: self.path.clone(),
                line: Some(1),
                reason: format!("another recipe: {difference}"),
            }),
        }
    }

    /// Checks that the runs are of the space that `config` chooses, with its settings.
    ///
    /// # Errors
    /// [`EngineError::Table`] names the key that differs.
    pub fn expect_space(&self, config: &Config) -> Result<(), EngineError> {
        let mut other = self.header.clone();
        // The settings say it all: a preset is where they come from.
        other.space = SpaceConfig { preset: other.space.preset, ..config.space.clone() };
        self.expect(&other)
    }

    /// Whether the run is there.
    pub(super) fn holds(&self, hash: &str, seed: u64) -> bool {
        self.rows.iter().any(|row| row.seed == seed && row.hash == hash)
    }

    /// Adds a run and writes it.
    pub(super) fn add(&mut self, row: TruthRow) -> Result<(), EngineError> {
        self.append(&row)?;
        self.rows.push(row);
        Ok(())
    }

    /// Takes the runs of `piece` that are not here.
    ///
    /// # Errors
    /// [`EngineError::Table`] where the piece has another recipe, or another result for a run.
    pub fn merge(&mut self, piece: &Self) -> Result<u64, EngineError> {
        piece.expect(&self.header)?;
        let mut added = 0;
        for row in &piece.rows {
            let same = |own: &&TruthRow| own.seed == row.seed && own.hash == row.hash;
            match self.rows.iter().find(same) {
                Some(own) if (own.loss, own.accuracy) == (row.loss, row.accuracy) => {}
                Some(_) => {
                    let reason = format!(
                        "architecture {}, seed {}: another result than in {}",
                        row.hash,
                        row.seed,
                        self.path.display()
                    );
                    return Err(EngineError::Table {
                        path: piece.path.clone(),
                        line: None,
                        reason,
                    });
                }
                None => {
                    self.add(row.clone())?;
                    added += 1;
                }
            }
        }
        Ok(added)
    }

    fn append(&self, line: &impl Serialize) -> Result<(), EngineError> {
        let file = self.file.as_ref().expect("only tables that are continued grow");
        let mut file: &File = file;
        let text = serde_json::to_string(line).expect("lines are plain data") + "\n";
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_data());
        written.map_err(|error| EngineError::write(&self.path, error))
    }

    /// Writes the runs in the order of `archs`, then of seeds: what a finished table holds does
    /// not depend on the order in which its runs ended.
    pub(super) fn sort(&mut self, archs: &[Architecture]) -> Result<(), EngineError> {
        let place: BTreeMap<String, usize> = archs
            .iter()
            .enumerate()
            .map(|(place, arch)| (arch.hash().to_string(), place))
            .collect();
        let key = |row: &TruthRow| (place.get(&row.hash).copied(), row.hash.clone(), row.seed);
        if self.rows.is_sorted_by_key(key) {
            return Ok(());
        }
        self.rows.sort_by_cached_key(key);
        let line = |value: Result<String, _>| value.expect("lines are plain data") + "\n";
        let mut text = line(serde_json::to_string(&self.header));
        self.rows.iter().for_each(|row| text += &line(serde_json::to_string(row)));
        atomic::replace_file(&self.path, text.as_bytes())?;
        let reopened = File::options().append(true).open(&self.path);
        let reopened = reopened.map_err(|error| EngineError::write(&self.path, error))?;
        self.file = Some(LockedFile::new(reopened, &self.path)?);
        Ok(())
    }

    pub(super) fn report(&self, total: u64) -> TruthReport {
        TruthReport {
            file: self.path.clone(),
            trained: self.rows.len() as u64,
            total,
            failed: self.rows.iter().filter(|row| row.accuracy.is_none()).count() as u64,
        }
    }

    /// The accuracies by architecture, for statistics.
    ///
    /// # Errors
    /// [`EngineError::Table`] names an architecture that lacks a seed which others have.
    pub fn truth(&self) -> Result<Truth, EngineError> {
        let refuse =
            |reason: String| EngineError::Table { path: self.path.clone(), line: None, reason };
        let seeds: BTreeSet<u64> = self.rows.iter().map(|row| row.seed).collect();
        let (mut order, mut by_arch) = (Vec::new(), BTreeMap::new());
        for row in &self.rows {
            let runs: &mut BTreeMap<u64, &TruthRow> = by_arch.entry(&row.hash).or_default();
            if runs.is_empty() {
                order.push(&row.hash);
            }
            runs.insert(row.seed, row);
        }
        let mut truth = Truth::default();
        for hash in order {
            let runs: Vec<&TruthRow> = by_arch[hash].values().copied().collect();
            if runs.len() < seeds.len() {
                return Err(refuse(format!(
                    "architecture {hash} has not all seeds: it has {} of {} seeds; go on with \
                     ghnas truth to train the rest",
                    runs.len(),
                    seeds.len()
                )));
            }
            let accuracies: Option<Vec<f64>> = runs.iter().map(|run| run.accuracy).collect();
            match accuracies {
                Some(accuracies) => truth.add(runs[0].arch.clone(), hash.clone(), accuracies),
                None => truth.failed.push(hash.clone()),
            }
        }
        Ok(truth)
    }
}

/// Accuracies by architecture. What ranks is handed [`archs`](Self::archs) alone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Truth {
    archs: Vec<Architecture>,
    names: Vec<String>,
    /// By seed, then by architecture.
    by_seed: Vec<Vec<f64>>,
    failed: Vec<String>,
}

impl Truth {
    /// Adds an architecture with its accuracy for every seed.
    pub(super) fn add(&mut self, arch: Architecture, name: String, accuracies: Vec<f64>) {
        self.by_seed.resize(accuracies.len(), Vec::new());
        self.by_seed.iter_mut().zip(accuracies).for_each(|(all, accuracy)| all.push(accuracy));
        self.archs.push(arch);
        self.names.push(name);
    }

    /// The architectures.
    pub fn archs(&self) -> &[Architecture] {
        &self.archs
    }

    /// What tells them apart: the hash, or the notation in a table of published accuracies.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Hashes of architectures that have no accuracy, since a training diverged.
    pub fn failed(&self) -> &[String] {
        &self.failed
    }

    /// Accuracies, 0 to 1: by seed, then by architecture.
    pub(crate) fn by_seed(&self) -> &[Vec<f64>] {
        &self.by_seed
    }
}

fn read(path: &Path) -> Result<String, EngineError> {
    std::fs::read_to_string(path).map_err(|error| EngineError::read(path, error))
}
