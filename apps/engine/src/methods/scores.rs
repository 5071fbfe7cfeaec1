//! What a method has scored so far, and the file it is kept in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ghnas_core::Architecture;
use serde::{Deserialize, Serialize};

use crate::atomic;
use crate::comparison::MethodScores;
use crate::config::{MethodConfig, MethodKind};
use crate::error::EngineError;

/// One architecture's score by one column of a method.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cell {
    /// Mean cross-entropy on the validation images, in nats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// Share of the validation images classified correctly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// A proxy's score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Seconds that it took.
    pub seconds: f64,
}

impl Cell {
    /// That of an architecture without a score, and why it has none.
    pub(super) fn failed(words: String, seconds: f64) -> Self {
        Self { error: Some(words), seconds, ..Self::default() }
    }
}

/// The scores of a method, by architecture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MethodFile {
    /// What the scores depend on, as one text.
    made_with: String,
    /// Seconds before the first architecture could be scored.
    initial_seconds: f64,
    /// Bytes of the method's own parameters and the state of their training.
    memory_bytes: Option<u64>,
    /// The cells of every architecture, one a column.
    rows: BTreeMap<String, Vec<Cell>>,
    #[serde(skip)]
    path: PathBuf,
    #[serde(skip)]
    columns: Vec<Column>,
    /// Hashes of the architectures that are to be scored, in order.
    #[serde(skip)]
    wanted: Vec<String>,
}

/// One way in which a method scores.
#[derive(Debug, Clone, PartialEq)]
struct Column {
    name: String,
    proxy: bool,
}

impl MethodFile {
    /// The file of `method` in `dir`, begun where there is none.
    ///
    /// # Errors
    /// [`EngineError::Table`] where it is damaged, or was made with another configuration.
    pub(super) fn open(
        dir: &Path,
        method: &MethodConfig,
        archs: &[Architecture],
    ) -> Result<Self, EngineError> {
        let path = dir.join(format!("{}.scores.json", method.name));
        let made_with = format!("{:?}\n{}", method.kind, method.config.fixed_part());
        let begun = Self {
            made_with,
            initial_seconds: 0.0,
            memory_bytes: None,
            rows: BTreeMap::new(),
            columns: columns(method),
            wanted: archs.iter().map(|arch| arch.hash().to_string()).collect(),
            path: path.clone(),
        };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(begun),
            Err(error) => return Err(EngineError::read(&path, error)),
        };
        let refuse = |reason: String| EngineError::Table { path: path.clone(), line: None, reason };
        let found: Self = serde_json::from_str(&text).map_err(|error| refuse(error.to_string()))?;
        if found.made_with != begun.made_with {
            let reason = "these scores were made with another configuration; delete the file to make \
                          them again, or choose another --study";
            return Err(refuse(reason.into()));
        }
        if found.rows.values().any(|cells| cells.len() != begun.columns.len()) {
            return Err(refuse("a row has another number of columns than the method".into()));
        }
        let Self { initial_seconds, memory_bytes, rows, .. } = found;
        Ok(Self { initial_seconds, memory_bytes, rows, ..begun })
    }

    /// Whether every architecture has its cells.
    pub(super) fn is_complete(&self) -> bool {
        self.wanted.iter().all(|hash| self.rows.contains_key(hash))
    }

    /// The architectures without cells, each once.
    pub(super) fn missing(&self, archs: &[Architecture]) -> Vec<Architecture> {
        let mut seen = std::collections::BTreeSet::new();
        let lacks = |arch: &&Architecture| {
            let hash = arch.hash().to_string();
            !self.rows.contains_key(&hash) && seen.insert(hash)
        };
        archs.iter().filter(lacks).cloned().collect()
    }

    pub(super) fn add(&mut self, hash: String, cells: Vec<Cell>) {
        self.rows.insert(hash, cells);
    }

    pub(super) fn set_initial(&mut self, seconds: f64, memory_bytes: Option<u64>) {
        (self.initial_seconds, self.memory_bytes) = (seconds, memory_bytes);
    }

    /// Writes the file as a whole.
    pub(super) fn write(&self) -> Result<(), EngineError> {
        let text = serde_json::to_string_pretty(self).expect("scores are plain data") + "\n";
        atomic::replace_file(&self.path, text.as_bytes())
    }

    /// The scores as statistics want them: by loss and by accuracy, or by a proxy's score.
    pub(super) fn method_scores(&self) -> Vec<MethodScores> {
        let loss: fn(&Cell) -> Option<f64> = |cell| cell.loss.map(|loss| -loss);
        let accuracy: fn(&Cell) -> Option<f64> = |cell| cell.accuracy;
        let score: fn(&Cell) -> Option<f64> = |cell| cell.score;
        let mut all = Vec::new();
        for (at, column) in self.columns.iter().enumerate() {
            let of = |by: &str, value: fn(&Cell) -> Option<f64>| {
                let cells =
                    || self.wanted.iter().filter_map(|hash| Some(&self.rows.get(hash)?[at]));
                let why = |cell: &Cell| cell.error.clone().unwrap_or("not scored".into());
                MethodScores {
                    name: column.name.clone(),
                    by: by.into(),
                    scores: cells().map(|cell| value(cell).ok_or_else(|| why(cell))).collect(),
                    initial_seconds: self.initial_seconds,
                    per_arch_seconds: cells().map(|cell| cell.seconds).sum::<f64>()
                        / self.wanted.len() as f64,
                    memory_bytes: self.memory_bytes,
                }
            };
            if column.proxy {
                all.push(of("score", score));
            } else {
                all.extend([of("loss", loss), of("accuracy", accuracy)]);
            }
        }
        all
    }
}

/// The columns of a method. After no step, SGD scores random weights.
fn columns(method: &MethodConfig) -> Vec<Column> {
    let name = &method.name;
    match &method.kind {
        MethodKind::Trained => vec![Column { name: name.clone(), proxy: false }],
        MethodKind::Proxy(_) => vec![Column { name: name.clone(), proxy: true }],
        MethodKind::FromScratch(steps) => {
            let column = |steps: &u64| match steps {
                0 => "random-init".into(),
                steps => format!("{name}-{steps}"),
            };
            steps.iter().map(|steps| Column { name: column(steps), proxy: false }).collect()
        }
    }
}
