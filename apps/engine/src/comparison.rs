//! How well scores rank architectures (section 5.3, Table 4): correlations with the accuracy of
//! trained networks, their intervals, regret and the noise ceiling.
//!
//! Pure functions over numbers: [`compare()`] makes a [`Comparison`], which renders as JSON, CSV,
//! Markdown, tables and scatter plots. Nothing here trains, scores or reads a file.

pub(crate) mod bootstrap;
mod compare;
mod correlation;
mod error;
mod figure;
mod noise;
mod report;
mod selection;
mod tables;

#[cfg(test)]
mod tests;

pub use compare::{CompareOptions, MethodScores, TruthColumn, compare};
pub use correlation::{Correlations, Statistic, correlations};
pub use error::StatisticsError;
pub use figure::scatter_svg;
pub use noise::NoiseCeiling;
pub use report::{
    Comparison, Difference, Intervals, MethodReport, Missing, Regret, Subset, SubsetReport,
};
pub use tables::Table;
