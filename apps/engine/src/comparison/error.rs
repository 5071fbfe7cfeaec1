//! Why numbers cannot be compared.

/// Why a statistic has no value, or a comparison cannot be made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StatisticsError {
    /// Two columns that belong together differ in length.
    #[error("{what}: {got} values where there are {expected} architectures; give one for each")]
    Length {
        /// Which column.
        what: String,
        /// Its length.
        got: usize,
        /// The length it must have.
        expected: usize,
    },
    /// Too few points for a correlation.
    #[error("{got} points are too few for a correlation; it takes {least}")]
    TooFew {
        /// Points there are.
        got: usize,
        /// Points that it takes.
        least: usize,
    },
    /// All values of a column are equal, so that no order of them is better than another.
    #[error("all {what} are equal, so they correlate with nothing")]
    Constant {
        /// `scores` or `accuracies`.
        what: &'static str,
    },
    /// A value is not a number, or infinite.
    #[error("{what}: value {index} is {value}, which is not finite")]
    NotFinite {
        /// Which column.
        what: String,
        /// Position, from 0.
        index: usize,
        /// The value.
        value: f64,
    },
    /// An accuracy is not a share.
    #[error(
        "the accuracy {value} of architecture {hash} is not between 0 and 1; divide percentages by 100"
    )]
    Accuracy {
        /// The architecture.
        hash: String,
        /// The value.
        value: f64,
    },
    /// An architecture occurs twice.
    #[error("architecture {hash} occurs twice, at positions {first} and {second}; remove one")]
    DuplicateArchitecture {
        /// The architecture.
        hash: String,
        /// Position of the first, from 0.
        first: usize,
        /// Position of the second, from 0.
        second: usize,
    },
    /// A method occurs twice.
    #[error("method '{name}' by {by} occurs twice; remove one")]
    DuplicateMethod {
        /// Its name.
        name: String,
        /// What it ranks by.
        by: String,
    },
    /// An interval of 95% cannot be had from so few resamples.
    #[error("{got} bootstrap resamples are too few for a 95% interval; ask for at least {least}")]
    Resamples {
        /// Resamples asked for.
        got: usize,
        /// Resamples that it takes.
        least: usize,
    },
}

/// Checks that every value of a column is finite.
pub(super) fn check_finite(what: &str, values: &[f64]) -> Result<(), StatisticsError> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(index) => {
            Err(StatisticsError::NotFinite { what: what.into(), index, value: values[index] })
        }
    }
}
