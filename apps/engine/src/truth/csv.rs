//! Published ground truth: a CSV table with a column of architectures and one of accuracies.

use std::collections::BTreeMap;
use std::path::Path;

use ghnas_core::SearchSpace;

use super::Truth;
use crate::error::EngineError;

/// Reads the accuracies in `accuracy_column` (percent) of the architectures in `arch_column`,
/// written in the notation of `space`.
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
    let text = std::fs::read_to_string(path).map_err(|error| EngineError::read(path, error))?;
    let refuse = |line: usize, reason: String| EngineError::Table {
        path: path.into(),
        line: Some(line),
        reason,
    };
    let mut lines = (1..).zip(text.lines());
    let (_, header) = lines.next().ok_or_else(|| refuse(1, "the table is empty".into()))?;
    let columns: Vec<&str> = header.split(',').map(str::trim).collect();
    let place = |name: &str| {
        let missing =
            || refuse(1, format!("no column '{name}'; there are: {}", columns.join(", ")));
        columns.iter().position(|column| *column == name).ok_or_else(missing)
    };
    let (arch_at, accuracy_at) = (place(arch_column)?, place(accuracy_column)?);
    let (mut truth, mut seen) = (Truth::default(), BTreeMap::new());
    for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let cells: Vec<&str> = line.split(',').collect();
        if cells.len() != columns.len() {
            let reason = format!("{} cells, expected {}", cells.len(), columns.len());
            return Err(refuse(number, reason));
        }
        let arch = space.parse(cells[arch_at]).map_err(|error| {
            refuse(number, format!("column {} ({arch_column}): {error}", arch_at + 1))
        })?;
        let cell = cells[accuracy_at].trim();
        let accuracy: f64 =
            cell.parse().ok().filter(|value| (0.0..=100.0).contains(value)).ok_or_else(|| {
                let column = accuracy_at + 1;
                let reason = format!(
                    "column {column} ({accuracy_column}): '{cell}' is no accuracy in percent"
                );
                refuse(number, reason)
            })?;
        if let Some(first) = seen.insert(cells[arch_at].to_owned(), number) {
            let reason = format!("architecture {} is on line {first} already", cells[arch_at]);
            return Err(refuse(number, reason));
        }
        // By its notation: a table may have isomorphic architectures, with an accuracy each.
        truth.add(arch, cells[arch_at].into(), vec![accuracy / 100.0]);
    }
    Ok(truth)
}
