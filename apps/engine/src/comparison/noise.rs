//! The noise ceiling: how well any score could correlate with a truth that is itself noisy.
//!
//! Training an architecture with another seed gives another accuracy. The mean over `S` seeds is
//! taken as signal plus noise, `m = t + e`. Its reliability, the share of its variance that is
//! signal, is Spearman and Brown's (1910) `S r / (1 + (S - 1) r)` for the mean Pearson correlation
//! `r` between seeds over all architectures. A score that knows `t` would have a Pearson
//! correlation of sqrt(reliability) with `m`.
//!
//! Ranks and the better half have no such formula. There the ceiling is the mean correlation with
//! `m` of signals drawn as they are distributed, given `m`, where both are normal: `t` has the mean
//! `s m` and the variance `s v`, with `v` the noise in the mean (the variance between an
//! architecture's seeds over `S`, averaged over the subset) and `s = V / (V + v)` for the variance
//! `V` of the signal. The better half is chosen by `m`, which this takes into account.

use ghnas_core::rng::stream;
use rand::{Rng, RngExt};
use serde::Serialize;

use super::correlation::{Correlations, Points, Scratch, Statistic, correlations};
use super::error::StatisticsError;

/// Draws of the signal.
const DRAWS: u64 = 200;

/// What the truth's own seeds allow.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct NoiseCeiling {
    /// How often each architecture was trained.
    pub seeds: usize,
    /// Correlation between the accuracies of two seeds, over all architectures; the mean over pairs
    /// of seeds.
    pub between_seeds: Correlations,
    /// Reliability of the mean over seeds, 0 to 1; 0 where the seeds do not agree at all.
    pub reliability: f64,
    /// The highest correlations to expect on all architectures; nothing where the reliability is 0.
    pub random: Option<Correlations>,
    /// The highest correlations to expect on the better half; nothing where the reliability is 0.
    pub top_half: Option<Correlations>,
}

/// The noise ceiling of a truth: `accuracy` are the means, `by_seed` has a column a seed, and
/// `half` is 1 for the better half.
///
/// # Errors
/// Where a seed's accuracies have no correlation.
pub(super) fn noise_ceiling(
    accuracy: &[f64],
    by_seed: &[Vec<f64>],
    half: &[u32],
    seed: u64,
) -> Result<NoiseCeiling, StatisticsError> {
    let seeds = by_seed.len();
    let pairs = (0..seeds).flat_map(|a| (a + 1..seeds).map(move |b| (a, b)));
    let between: Vec<Correlations> = pairs
        .map(|(a, b)| correlations(&by_seed[a], &by_seed[b]))
        .collect::<Result<_, StatisticsError>>()?;
    let between_seeds = mean(&between);
    let (count, r) = (seeds as f64, between_seeds.pearson);
    let reliability = (count * r / (1.0 + (count - 1.0) * r)).clamp(0.0, 1.0);
    let everything = vec![1; accuracy.len()];
    let mut ceiling =
        NoiseCeiling { seeds, between_seeds, reliability, random: None, top_half: None };
    // With a negative r of many seeds the formula's denominator can be negative too.
    if r <= 0.0 {
        ceiling.reliability = 0.0;
        return Ok(ceiling);
    }
    let signal = reliability * variance(accuracy);
    let expected = |subset: &[u32], purpose: &str| {
        expected(accuracy, by_seed, subset, signal, |draw| stream(seed, purpose, draw))
    };
    ceiling.random = expected(&everything, "noise ceiling, random")
        .map(|random| Correlations { pearson: reliability.sqrt(), ..random });
    ceiling.top_half = expected(half, "noise ceiling, top half");
    Ok(ceiling)
}

/// The mean correlation of drawn signals with the accuracies of a subset.
fn expected<R: Rng>(
    accuracy: &[f64],
    by_seed: &[Vec<f64>],
    subset: &[u32],
    signal: f64,
    rng: impl Fn(u64) -> R,
) -> Option<Correlations> {
    let members: Vec<usize> = (0..accuracy.len()).filter(|&at| subset[at] > 0).collect();
    let seeds_of = |at: usize| by_seed.iter().map(|column| column[at]).collect::<Vec<f64>>();
    let within: f64 = members.iter().map(|&at| variance(&seeds_of(at))).sum();
    let noise = within / members.len() as f64 / by_seed.len() as f64;
    let shrink = signal / (signal + noise);
    let spread = (shrink * noise).sqrt();
    let mut scratch = Scratch::default();
    let draw = |index: u64| {
        let mut rng = rng(index);
        let point = |&at: &usize| {
            let t = shrink * accuracy[at] + spread * standard_normal(&mut rng);
            (at, t, accuracy[at])
        };
        Points::new(members.iter().map(point)).correlations(subset, &mut scratch).ok()
    };
    let drawn: Option<Vec<Correlations>> = (0..DRAWS).map(draw).collect();
    drawn.map(|drawn| mean(&drawn))
}

fn mean(all: &[Correlations]) -> Correlations {
    let mean = |statistic| all.iter().map(|one| one.get(statistic)).sum::<f64>() / all.len() as f64;
    Correlations {
        pearson: mean(Statistic::Pearson),
        spearman: mean(Statistic::Spearman),
        kendall: mean(Statistic::Kendall),
    }
}

/// The unbiased variance.
fn variance(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0)
}

/// Box and Muller (1958).
fn standard_normal(rng: &mut impl Rng) -> f64 {
    let (radius, angle): (f64, f64) = (rng.random(), rng.random());
    // The logarithm is of (0, 1].
    (-2.0 * (1.0 - radius).ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::selection::{best_first, better_half};

    /// Signals, and their accuracies with two seeds: signal variance 4e-4, noise variance of a
    /// seed 2e-4, so that the mean has a reliability of 4 / (4 + 1) = 0.8.
    fn drawn(n: usize) -> (Vec<f64>, [Vec<f64>; 2]) {
        let mut rng = stream(1, "test", 0);
        let mut normal = |deviation: f64| deviation * standard_normal(&mut rng);
        let signal: Vec<f64> = (0..n).map(|_| 0.8 + normal(0.02)).collect();
        let mut seed = || signal.iter().map(|t| t + normal(2e-4f64.sqrt())).collect();
        let seeds = [seed(), seed()];
        (signal, seeds)
    }

    /// The ceiling foretells how the signal, which it is not given, correlates with the truth.
    #[test]
    fn the_ceiling_is_what_the_signal_reaches() {
        let (signal, by_seed) = drawn(4000);
        let accuracy: Vec<f64> =
            by_seed[0].iter().zip(&by_seed[1]).map(|(a, b)| (a + b) / 2.0).collect();
        let hashes: Vec<String> = (0..4000).map(|at| format!("{at:04}")).collect();
        let order = best_first(0..4000, |at| accuracy[at], &hashes);
        let mut half = Vec::new();
        better_half(&order, &vec![1; 4000], &mut half);
        let ceiling = noise_ceiling(&accuracy, &by_seed, &half, 3).unwrap();
        assert!((ceiling.reliability - 0.8).abs() < 0.02, "{ceiling:?}");
        let points = (0..4000).map(|at| (at, signal[at], accuracy[at]));
        let points = Points::new(points);
        for (subset, got) in [(vec![1; 4000], ceiling.random), (half, ceiling.top_half)] {
            let reached = points.correlations(&subset, &mut Scratch::default()).unwrap();
            for statistic in Statistic::ALL {
                let (got, reached) = (got.unwrap().get(statistic), reached.get(statistic));
                assert!((got - reached).abs() < 0.02, "{}: {got}, {reached}", statistic.name());
            }
        }
    }

    #[test]
    fn seeds_that_disagree_leave_no_ceiling() {
        let by_seed = vec![vec![0.1, 0.2, 0.3, 0.4], vec![0.4, 0.3, 0.2, 0.1]];
        let ceiling = noise_ceiling(&[0.25; 4], &by_seed, &[1, 1, 0, 0], 3).unwrap();
        assert_eq!((ceiling.reliability, ceiling.random, ceiling.top_half), (0.0, None, None));
    }
}
