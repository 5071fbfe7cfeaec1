//! The benchmark's notation: for nodes 1, 2 and 3 the operations on their edges, each with the
//! node that it comes from, such as `|none~0|+|none~0|skip_connect~1|+|none~0|none~1|none~2|`.

use std::fmt::{Display, Formatter};

use ghnas_core::ArchitectureError;

use crate::cell::{Cell, EDGES, EdgeOperation};

const FORM: &str = "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|";

impl Display for Cell {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        for ((from, to), operation) in EDGES.into_iter().zip(self.0) {
            if from == 0 {
                f.write_str(if to == 1 { "|" } else { "+|" })?;
            }
            write!(f, "{}~{from}|", operation.name())?;
        }
        Ok(())
    }
}

/// Reads a cell.
///
/// # Errors
/// [`ArchitectureError::Shape`] with the column, from 1, of the first character that is wrong.
pub(crate) fn parse(text: &str) -> Result<Cell, ArchitectureError> {
    let mut reader = Reader { text, at: 0 };
    let mut operations = [EdgeOperation::None; EDGES.len()];
    for ((from, to), operation) in EDGES.into_iter().zip(&mut operations) {
        if from == 0 {
            if to > 1 {
                let before = to - 1;
                reader.take("+", || format!("expected '+' after all edges of node {before}"))?;
            }
            reader.take("|", || "expected '|'".into())?;
        }
        *operation = reader.operation(from, to)?;
    }
    match reader.rest() {
        "" => Ok(Cell(operations)),
        _ => Err(reader.error("expected the end after all edges of node 3")),
    }
}

/// What is left to read.
struct Reader<'a> {
    text: &'a str,
    /// Of the next character, in bytes.
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Takes `mark`, or says what was `expected`.
    fn take(
        &mut self,
        mark: &str,
        expected: impl FnOnce() -> String,
    ) -> Result<(), ArchitectureError> {
        if !self.rest().starts_with(mark) {
            return Err(self.error(&expected()));
        }
        self.at += mark.len();
        Ok(())
    }

    /// Takes an operation with its source, `nor_conv_1x1~0|`.
    fn operation(&mut self, from: usize, to: usize) -> Result<EdgeOperation, ArchitectureError> {
        let rest = self.rest();
        let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let name = &rest[..rest.find(|c| !letter(c)).unwrap_or(rest.len())];
        if name.is_empty() {
            return Err(self.error(&format!("expected the operation on the edge {from} to {to}")));
        }
        let operation = EdgeOperation::named(name).ok_or_else(|| {
            let nearest = EdgeOperation::nearest(name);
            let hint = nearest.map(|name| format!("; did you mean '{name}'?"));
            self.error(&format!("unknown operation '{name}'{}", hint.unwrap_or_default()))
        })?;
        self.at += name.len();
        let end = format!("~{from}|");
        self.take(&end, || format!("expected '{end}' after an operation of node {to}"))?;
        Ok(operation)
    }

    /// An error at the next character.
    fn error(&self, reason: &str) -> ArchitectureError {
        let column = self.text[..self.at].chars().count() + 1;
        let found = match self.rest().chars().next() {
            None => "the end".into(),
            Some(' ') => "a space, and the notation has none".into(),
            Some(other) => format!("{other:?}"),
        };
        let reason = match reason.starts_with("unknown") {
            true => reason.into(),
            false => format!("{reason}, found {found}"),
        };
        ArchitectureError::Shape(format!("column {column}: {reason} (the form is {FORM})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, start: &str) {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.starts_with(start), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }

    #[test]
    fn errors_name_the_column() {
        refused("", "column 1: expected '|', found the end");
        refused("not an architecture", "column 1: expected '|', found 'n'");
        refused(
            "|avg_pool_3x3~0|+|nor_conv_1x~0|none~1|+|none~0|none~1|none~2|",
            "column 19: unknown operation 'nor_conv_1x'; did you mean 'nor_conv_1x1'?",
        );
        refused("|None~0|+|none~0|none~1|+|none~0|none~1|none~2|", "column 2: unknown");
        // Too few edges, and too many.
        refused(
            "|none~0|+|none~0|+|none~0|none~1|none~2|",
            "column 18: expected the operation on the edge 1 to 2, found '+'",
        );
        refused("|none~0|+|none~0|none~1|", "column 25: expected '+' after all edges of node 2");
        refused(
            "|none~0|none~1|+|none~0|none~1|+|none~0|none~1|none~2|",
            "column 9: expected '+' after all edges of node 1, found 'n'",
        );
        refused(
            "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|none~3|",
            "column 48: expected the end",
        );
        refused("|none~1|+|none~0|none~1|+|none~0|none~1|none~2|", "column 6: expected '~0|'");
        refused("|none~0|+|none~0|none~0|+|none~0|none~1|none~2|", "column 22: expected '~1|'");
        refused(
            "|none~0| +|none~0|none~1|+|none~0|none~1|none~2|",
            "column 9: expected '+' after all edges of node 1, found a space",
        );
        refused(" |none~0|+|none~0|none~1|+|none~0|none~1|none~2|", "column 1: expected '|'");
        refused("|none~0|+|none~0|none~1|+|none~0|none~1|none~2| ", "column 48: expected the end");
        refused("|none ~0|+|none~0|none~1|+|none~0|none~1|none~2|", "column 6: expected '~0|'");
        refused("|ünone~0|", "column 2: expected the operation on the edge 0 to 1, found 'ü'");
        refused("|none~0|ü", "column 9: expected '+'");
    }
}
