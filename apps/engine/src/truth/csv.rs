//! Published accuracies: a CSV table with a column of architectures and others of numbers.

use std::collections::BTreeMap;
use std::path::Path;

use ghnas_core::{Architecture, SearchSpace};
use sha2::{Digest, Sha256};

use super::Truth;
use crate::checkpoint::hex;
use crate::error::EngineError;

/// What the numbers of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// An accuracy, 0 to 100.
    Percent,
    /// A whole number.
    Count,
}

impl Unit {
    /// The number in a cell, or what it is not.
    fn read(self, cell: &str) -> Result<f64, String> {
        match self {
            Self::Percent => {
                let value = cell.parse().ok().filter(|value| (0.0..=100.0).contains(value));
                value.ok_or_else(|| format!("'{cell}' is no accuracy in percent"))
            }
            Self::Count => {
                let value: Result<u64, _> = cell.parse();
                value.map(|count| count as f64).map_err(|_| format!("'{cell}' is no whole number"))
            }
        }
    }
}

/// A row of a table.
pub(crate) struct Row {
    /// The architecture as the table has it.
    pub(crate) notation: String,
    pub(crate) arch: Architecture,
    /// One number a column that was asked for.
    pub(crate) values: Vec<f64>,
}

/// The rows of a table, none of which has the notation of another.
pub(crate) struct Rows {
    pub(crate) rows: Vec<Row>,
    /// SHA-256 of the file, hexadecimal.
    pub(crate) sha256: String,
}

/// Reads the numbers in `columns` of the architectures in `arch_column`, written in the notation of
/// `space`.
///
/// # Errors
/// [`EngineError::Table`] names line and column: no such column, a cell that is missing or no
/// number, an architecture that is not one of the space, or that is there twice.
pub(crate) fn read_rows(
    path: &Path,
    space: &dyn SearchSpace,
    arch_column: &str,
    columns: &[(&str, Unit)],
) -> Result<Rows, EngineError> {
    let text = std::fs::read_to_string(path).map_err(|error| EngineError::read(path, error))?;
    let refuse = |line: usize, reason: String| EngineError::Table {
        path: path.into(),
        line: Some(line),
        reason,
    };
    let mut lines = (1..).zip(text.lines());
    let (_, header) = lines.next().ok_or_else(|| refuse(1, "the table is empty".into()))?;
    let names: Vec<&str> = header.split(',').map(str::trim).collect();
    let place = |name: &str| {
        let missing = || refuse(1, format!("no column '{name}'; there are: {}", names.join(", ")));
        names.iter().position(|column| *column == name).ok_or_else(missing)
    };
    let arch_at = place(arch_column)?;
    let places: Vec<(usize, &str, Unit)> = columns
        .iter()
        .map(|&(name, unit)| Ok((place(name)?, name, unit)))
        .collect::<Result<_, EngineError>>()?;
    let (mut rows, mut seen) = (Vec::new(), BTreeMap::new());
    for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let cells: Vec<&str> = line.split(',').collect();
        if cells.len() != names.len() {
            let reason = format!("{} cells, expected {}", cells.len(), names.len());
            return Err(refuse(number, reason));
        }
        let wrong = |at: usize, name: &str, reason: String| {
            refuse(number, format!("column {} ({name}): {reason}", at + 1))
        };
        let notation = cells[arch_at];
        let arch = space.parse(notation);
        let arch = arch.map_err(|error| wrong(arch_at, arch_column, error.to_string()))?;
        let value = |&(at, name, unit): &(usize, &str, Unit)| {
            unit.read(cells[at].trim()).map_err(|reason| wrong(at, name, reason))
        };
        let values = places.iter().map(value).collect::<Result<_, _>>()?;
        if let Some(first) = seen.insert(notation, number) {
            let reason = format!("architecture {notation} is on line {first} already");
            return Err(refuse(number, reason));
        }
        rows.push(Row { notation: notation.into(), arch, values });
    }
    Ok(Rows { rows, sha256: hex(&Sha256::digest(text.as_bytes())) })
}

/// Reads the accuracies in `accuracy_column` (percent) of the architectures in `arch_column` as
/// ground truth.
///
/// # Errors
/// [`EngineError::Table`] names line and column: no such column, a cell that is missing or no
/// number, an architecture that is not one of the space, or that is there twice.
pub fn read_csv(
    path: &Path,
    space: &dyn SearchSpace,
    arch_column: &str,
    accuracy_column: &str,
) -> Result<Truth, EngineError> {
    let columns = [(accuracy_column, Unit::Percent)];
    let mut truth = Truth::default();
    for row in read_rows(path, space, arch_column, &columns)?.rows {
        let accuracies = row.values.iter().map(|percent| percent / 100.0).collect();
        // By its notation: a table may have isomorphic architectures, with an accuracy each.
        truth.add(row.arch, row.notation, accuracies);
    }
    Ok(truth)
}
