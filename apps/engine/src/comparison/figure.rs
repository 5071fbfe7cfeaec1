//! Predicted score against true accuracy, a panel a method (Figure 6).

use super::compare::{MethodScores, TruthColumn};
use super::correlation::Statistic;
use super::report::Comparison;
use super::selection::{best_first, better_half};
use crate::chart::{Dot, Panel, Scatter};

/// The most architectures whose points carry their hashes; more would be megabytes of names.
const MOST_NAMES: usize = 1000;

/// A scatter plot for each method of `comparison` that is among `methods`: its scores across,
/// the true accuracy in percent up, the better half marked. Architectures without a score are
/// counted in the panel's title.
pub fn scatter_svg(
    comparison: &Comparison,
    truth: &TruthColumn<'_>,
    methods: &[MethodScores],
) -> String {
    let n = truth.hashes.len();
    let order = best_first(0..n, |at| truth.accuracy[at], truth.hashes);
    let mut half = Vec::new();
    better_half(&order, &vec![1; n], &mut half);
    let panel = |method: &MethodScores| {
        let same = |report: &&super::MethodReport| {
            (&report.name, &report.by) == (&method.name, &method.by)
        };
        let report = comparison.methods.iter().find(same)?;
        let dots = method.scores.iter().enumerate().filter_map(|(at, score)| {
            let x = score.as_ref().ok().copied().filter(|score| score.is_finite())?;
            let (y, marked) = (100.0 * truth.accuracy[at], half[at] > 0);
            let label = if n <= MOST_NAMES { truth.hashes[at].clone() } else { String::new() };
            Some(Dot { x, y, marked, label })
        });
        let value = |statistic| match report.random.get(statistic) {
            Some(value) => format!("{value:.2}"),
            None => "-".into(),
        };
        let mut subtitle = format!(
            "r {}, rho {}, tau {}",
            value(Statistic::Pearson),
            value(Statistic::Spearman),
            value(Statistic::Kendall)
        );
        if !report.missing.is_empty() {
            subtitle += &format!(", {} without a score", report.missing.len());
        }
        let title = format!("{} by {}", method.name, method.by);
        Some(Panel { title, subtitle, dots: dots.collect() })
    };
    Scatter {
        x_label: "predicted score".into(),
        y_label: "accuracy when trained, %".into(),
        marked: "better half".into(),
        panels: methods.iter().filter_map(panel).collect(),
    }
    .to_svg()
}
