//! What runs against a table found, as it is printed, written and drawn. The JSON keys are the
//! app's contract.

use std::fmt::Write;
use std::path::PathBuf;

use ghnas_core::Settings;
use serde::Serialize;

use crate::chart::{LineChart, LinePoint, Series};

/// Searchers' runs against a table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TabularReport {
    /// The space's id.
    pub space: String,
    /// The table.
    pub table: TableReport,
    /// The best value of the report column in the table, in percent.
    pub optimum: f64,
    /// One a searcher.
    pub runs: Vec<SearcherReport>,
    /// Whether runs are missing because of an interrupt.
    pub interrupted: bool,
    /// Wall time.
    pub seconds: f64,
}

/// A table and the columns that were used.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TableReport {
    /// The file.
    pub file: PathBuf,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// Its rows.
    pub rows: usize,
    /// Architectures among them that are not isomorphic.
    pub distinct: usize,
    /// What searchers were told: a column a rung, the cheapest fidelity first.
    pub columns: Vec<String>,
    /// What is reported.
    pub report_column: String,
    /// Multiply-adds; nothing where searchers were told 0.
    pub multiply_adds_column: Option<String>,
}

/// One searcher's runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SearcherReport {
    /// Its id.
    pub searcher: String,
    /// Its settings.
    pub settings: Settings,
    /// Runs that were finished.
    pub seeds: u64,
    /// Evaluations of a run.
    pub evaluations: u64,
    /// Candidates of all runs that the table lacks; they are no evaluations.
    pub missing: u64,
    /// Candidates of all runs for which the space had no architecture; no evaluations either.
    pub failed: u64,
    /// Runs that the searcher ended before it had all evaluations; their last pick counts on.
    pub ended_early: u64,
    /// Mean over runs of the report column's value of the last pick, in percent; nothing where no
    /// run was finished.
    pub mean_best: Option<f64>,
    /// Its 95% bootstrap interval over runs; nothing for one run.
    pub ci95: Option<[f64; 2]>,
    /// Regret after 10, 30, 100, ... and all evaluations.
    pub regret: Vec<RegretPoint>,
    /// Regret after every evaluation, or after every few where there are many.
    #[serde(skip)]
    pub curve: Vec<RegretPoint>,
}

/// Regret after some evaluations: the optimum less the report column's value of the pick, in
/// percentage points.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RegretPoint {
    /// Evaluations of a run.
    pub evaluations: u64,
    /// Mean over runs.
    pub mean: f64,
    /// Its 95% bootstrap interval over runs; nothing for one run.
    pub ci95: Option<[f64; 2]>,
}

/// The curves as CSV: a row a searcher and number of evaluations, in full precision.
pub fn regret_csv(report: &TabularReport) -> String {
    let mut text = String::from("searcher,evaluations,mean,low,high\n");
    for run in &report.runs {
        for RegretPoint { evaluations, mean, ci95 } in &run.curve {
            let [low, high] =
                ci95.map_or_else(Default::default, |ends| ends.map(|end| end.to_string()));
            writeln!(text, "{},{evaluations},{mean},{low},{high}", run.searcher)
                .expect("writing to a string");
        }
    }
    text
}

/// The curves as a chart, their intervals shaded.
pub fn regret_svg(report: &TabularReport) -> String {
    let point = |point: &RegretPoint| {
        let [low, high] = point.ci95.unwrap_or([point.mean; 2]);
        LinePoint { x: point.evaluations as f64, mean: point.mean, low, high }
    };
    let series = |run: &SearcherReport| Series {
        name: format!("{} ({} runs)", run.searcher, run.seeds),
        points: run.curve.iter().map(point).collect(),
    };
    let chart = LineChart {
        title: format!("Regret in {}", report.table.report_column),
        x_label: "evaluations".into(),
        y_label: "percentage points below the best of the table".into(),
        logarithmic_x: true,
        series: report.runs.iter().map(series).collect(),
    };
    chart.to_svg()
}
