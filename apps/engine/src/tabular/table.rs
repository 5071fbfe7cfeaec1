//! A table that searchers run against, cut into what they may see and what is reported.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use ghnas_core::{Architecture, ArchitectureHash, SearchSpace};

use super::report::TableReport;
use crate::error::EngineError;
use crate::truth::{Rows, Unit, read_rows};

/// The column of architectures.
const ARCH_COLUMN: &str = "arch_str";

/// Which columns are used, by name; all but the last are accuracies in percent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableColumns {
    /// What searchers are told: a column a rung, the cheapest fidelity first; at least one.
    pub searched: Vec<String>,
    /// What is reported.
    pub reported: String,
    /// Multiply-adds; searchers are told 0 without.
    pub multiply_adds: Option<String>,
}

/// A table of accuracies.
pub struct TabularTable {
    path: PathBuf,
    sha256: String,
    columns: TableColumns,
    searched: Searched,
    reported: Reported,
}

/// What searchers may see: none of the reported values.
pub(super) struct Searched {
    /// By row, then by rung; in percent.
    values: Vec<Vec<f64>>,
    /// By row.
    multiply_adds: Option<Vec<u64>>,
    rungs: usize,
    by_notation: BTreeMap<String, usize>,
    by_hash: BTreeMap<ArchitectureHash, usize>,
    /// Rows that were looked up, by the architecture's JSON: asking a plugin for its notation costs
    /// more than the rest of an evaluation. Never iterated over.
    found: RwLock<HashMap<String, Option<usize>>>,
}

/// What is reported, by row: never handed to what runs searchers.
pub(super) struct Reported {
    /// In percent.
    values: Vec<f64>,
}

impl TabularTable {
    /// Reads the table at `path`, whose column `arch_str` has the notation of `space`.
    ///
    /// # Errors
    /// [`EngineError::Table`] names line and column: a column that is not there, a cell that is
    /// missing or no number, an architecture that is not one of the space, or that is there twice.
    pub fn read(
        path: &Path,
        space: &dyn SearchSpace,
        columns: TableColumns,
    ) -> Result<Self, EngineError> {
        let accuracies = columns.searched.iter().chain([&columns.reported]);
        let mut wanted: Vec<(&str, Unit)> =
            accuracies.map(|name| (name.as_str(), Unit::Percent)).collect();
        wanted.extend(columns.multiply_adds.as_deref().map(|name| (name, Unit::Count)));
        let Rows { rows, sha256 } = read_rows(path, space, ARCH_COLUMN, &wanted)?;
        if rows.is_empty() {
            let reason = "the table has no rows below its header".into();
            return Err(EngineError::Table { path: path.into(), line: None, reason });
        }
        let rungs = columns.searched.len();
        let (mut by_notation, mut by_hash) = (BTreeMap::new(), BTreeMap::new());
        for (number, row) in rows.iter().enumerate() {
            by_notation.insert(row.notation.clone(), number);
            by_hash.entry(row.arch.hash()).or_insert(number);
        }
        let counts = columns.multiply_adds.is_some();
        Ok(Self {
            path: path.into(),
            sha256,
            searched: Searched {
                values: rows.iter().map(|row| row.values[..rungs].to_vec()).collect(),
                multiply_adds: counts
                    .then(|| rows.iter().map(|row| row.values[rungs + 1] as u64).collect()),
                rungs,
                by_notation,
                by_hash,
                found: RwLock::default(),
            },
            reported: Reported { values: rows.iter().map(|row| row.values[rungs]).collect() },
            columns,
        })
    }

    /// The table as results name it.
    pub(super) fn report(&self) -> TableReport {
        TableReport {
            file: self.path.clone(),
            sha256: self.sha256.clone(),
            rows: self.reported.values.len(),
            distinct: self.searched.by_hash.len(),
            columns: self.columns.searched.clone(),
            report_column: self.columns.reported.clone(),
            multiply_adds_column: self.columns.multiply_adds.clone(),
        }
    }

    pub(super) fn searched(&self) -> &Searched {
        &self.searched
    }

    pub(super) fn reported(&self) -> &Reported {
        &self.reported
    }
}

impl Searched {
    /// How many rungs there are.
    pub(super) fn rungs(&self) -> usize {
        self.rungs
    }

    /// The accuracy at a rung, in percent.
    pub(super) fn accuracy(&self, row: usize, rung: usize) -> f64 {
        self.values[row][rung]
    }

    /// Multiply-adds for one image; 0 where the table was read without them.
    pub(super) fn multiply_adds(&self, row: usize) -> u64 {
        self.multiply_adds.as_ref().map_or(0, |counts| counts[row])
    }

    /// The row of an architecture: the one with its notation; where there is none, the first in the
    /// file of those that are isomorphic to it.
    pub(super) fn row(&self, space: &dyn SearchSpace, arch: &Architecture) -> Option<usize> {
        let key = arch.to_string();
        let read = self.found.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(row) = read.get(&key) {
            return *row;
        }
        drop(read);
        let row = self.by_notation.get(&space.format(arch));
        let row = row.or_else(|| self.by_hash.get(&arch.hash())).copied();
        self.found.write().unwrap_or_else(PoisonError::into_inner).insert(key, row);
        row
    }
}

impl Reported {
    /// The best value of the table.
    pub(super) fn optimum(&self) -> f64 {
        self.values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// The value of a row.
    pub(super) fn value(&self, row: usize) -> f64 {
        self.values[row]
    }
}
