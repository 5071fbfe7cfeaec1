//! Means over runs of what was reported, with bootstrap intervals over seeds.

use super::report::{RegretPoint, SearcherReport};
use super::run::Run;
use super::table::Reported;
use crate::comparison::bootstrap::{Distribution, measure};
use crate::config::Config;

/// Resamples of the runs.
const RESAMPLES: usize = 1000;

/// The most points of a curve.
const MOST_POINTS: usize = 400;

/// Sums up the runs of the searcher that `config` names, in the order of their seeds.
pub(super) fn summarise(
    config: &Config,
    reported: &Reported,
    runs: &[Run],
    threads: usize,
) -> SearcherReport {
    let wanted = config.search.candidates as usize;
    let points = points(wanted);
    let optimum = reported.optimum();
    // By point, then by run. A searcher that has ended keeps to its pick.
    let regrets: Vec<Vec<f64>> = points
        .iter()
        .map(|&evaluations| {
            let value = |run: &Run| {
                let pick = run.picks[evaluations.min(run.picks.len()) - 1];
                optimum - reported.value(pick)
            };
            runs.iter().map(value).collect()
        })
        .collect();
    let intervals = intervals(config.seed, &regrets, runs.len(), threads);
    let curve: Vec<RegretPoint> = points
        .iter()
        .zip(regrets.iter().zip(intervals))
        .filter(|_| !runs.is_empty())
        .map(|(&evaluations, (regrets, ci95))| {
            let mean = regrets.iter().sum::<f64>() / regrets.len() as f64;
            RegretPoint { evaluations: evaluations as u64, mean, ci95 }
        })
        .collect();
    let checkpoints = checkpoints(wanted);
    let shown = |point: &&RegretPoint| checkpoints.contains(&(point.evaluations as usize));
    let last = curve.last();
    SearcherReport {
        searcher: config.searcher.id.clone(),
        settings: config.searcher.settings.clone(),
        seeds: runs.len() as u64,
        evaluations: wanted as u64,
        missing: runs.iter().map(|run| run.missing).sum(),
        failed: runs.iter().map(|run| run.failed).sum(),
        ended_early: runs.iter().filter(|run| run.picks.len() < wanted).count() as u64,
        mean_best: last.map(|point| optimum - point.mean),
        ci95: last.and_then(|point| point.ci95).map(|[low, high]| [optimum - high, optimum - low]),
        regret: curve.iter().filter(shown).copied().collect(),
        curve,
    }
}

/// 10, 30, 100, 300 and so on below `wanted`, and `wanted` itself.
fn checkpoints(wanted: usize) -> Vec<usize> {
    let powers = (1..).map(|power| 10usize.saturating_pow(power));
    let all = powers.flat_map(|ten| [ten, ten.saturating_mul(3)]);
    all.take_while(|&at| at < wanted).chain([wanted]).collect()
}

/// Where the curve has a point: after every evaluation, or after every few where there are many,
/// and at the checkpoints.
fn points(wanted: usize) -> Vec<usize> {
    let stride = wanted.div_ceil(MOST_POINTS);
    let mut points: Vec<usize> = (1..=wanted).step_by(stride).chain(checkpoints(wanted)).collect();
    points.sort_unstable();
    points.dedup();
    points
}

/// The middle 95% of the mean over resamples of the runs, for every point; nothing for one run.
fn intervals(
    seed: u64,
    regrets: &[Vec<f64>],
    runs: usize,
    threads: usize,
) -> Vec<Option<[f64; 2]>> {
    if runs < 2 {
        return vec![None; regrets.len()];
    }
    let means = |counts: &[u32], _: &mut ()| -> Vec<f64> {
        let mean = |regrets: &Vec<f64>| {
            let sum: f64 =
                counts.iter().zip(regrets).map(|(&count, regret)| f64::from(count) * regret).sum();
            sum / runs as f64
        };
        regrets.iter().map(mean).collect()
    };
    let resamples = measure((seed, RESAMPLES, runs), threads, || (), means);
    let interval =
        |at: usize| Distribution::new(resamples.iter().map(|means| Some(means[at]))).interval();
    (0..regrets.len()).map(interval).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_are_powers_of_ten_and_their_threefold() {
        assert_eq!(checkpoints(300), [10, 30, 100, 300]);
        assert_eq!(checkpoints(500), [10, 30, 100, 300, 500]);
        assert_eq!(checkpoints(7), [7]);
    }

    #[test]
    fn a_long_curve_has_few_points_with_all_checkpoints_among_them() {
        let points = points(100_000);
        assert!((MOST_POINTS..=MOST_POINTS + 20).contains(&points.len()), "{}", points.len());
        assert!(checkpoints(100_000).iter().all(|at| points.contains(at)));
        assert_eq!(super::points(5), [1, 2, 3, 4, 5]);
    }

    /// The standard error of a mean of 0 and 1 in equal number is 0.5 / sqrt(n).
    #[test]
    fn the_interval_is_that_of_a_mean() {
        let regrets: Vec<f64> = (0..400).map(|run| f64::from(run % 2)).collect();
        let [low, high] = intervals(3, &[regrets], 400, 2)[0].unwrap();
        assert!((low - (0.5 - 1.96 * 0.025)).abs() < 0.006, "{low}");
        assert!((high - (0.5 + 1.96 * 0.025)).abs() < 0.006, "{high}");
        assert_eq!(intervals(3, &[vec![0.5]], 1, 2), [None]);
    }
}
