//! Flags of searches against a table, and the JSON keys of their result.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// The JSON keys of `search --evaluator table`.
pub(super) const HELP: &str = "With --evaluator table, --json prints: space, table{file, sha256, rows, \
distinct, columns, report_column, multiply_adds_column}, optimum (percent), runs:[{searcher, \
settings, seeds, evaluations, missing, failed, ended_early, mean_best (percent), ci95, \
regret:[{evaluations, mean, ci95}] (percentage points)}], interrupted, seconds";

/// Searchers against a table of accuracies instead of a trained generator.
#[derive(Debug, Args)]
#[command(next_help_heading = "Tables (--evaluator table)")]
pub(crate) struct TableArgs {
    /// What candidates are evaluated by: a trained generator, or a table, which needs no images
    #[arg(long, value_enum, default_value_t = Evaluator::Generator)]
    pub(crate) evaluator: Evaluator,
    /// The table: CSV with a column arch_str in the space's notation. Architectures that it lacks
    /// count as missing, not as evaluations; one that it has in an isomorphic form alone has the
    /// values of the first such row
    #[arg(long, value_name = "FILE")]
    pub(crate) table: Option<PathBuf>,
    /// What searchers see, an accuracy in percent; given several times, a column a rung, the
    /// cheapest first
    #[arg(long, value_name = "NAME")]
    pub(crate) column: Vec<String>,
    /// What is reported of the architecture that is best by the searcher's own column, and never
    /// seen by searchers; the last --column if not given
    #[arg(long, value_name = "NAME")]
    pub(crate) report_column: Option<String>,
    /// Multiply-adds, for searchers with two objectives; they see 0 without
    #[arg(long, value_name = "NAME")]
    pub(crate) multiply_adds_column: Option<String>,
    /// A searcher with its default settings, in place of the configured one; may be given several
    /// times
    #[arg(long, value_name = "ID")]
    pub(crate) searcher: Vec<String>,
    /// A study of the same space whose trained generator embeds architectures, for searchers that
    /// learn from embeddings
    #[arg(long, value_name = "STUDY")]
    pub(crate) embeddings: Option<PathBuf>,
    /// Runs of each searcher, of search.candidates evaluations each; 100 if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seeds: Option<u64>,
    /// A folder to write regret.csv, regret.svg and tabular.json to
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

/// What candidates are evaluated by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Evaluator {
    Generator,
    Table,
}
