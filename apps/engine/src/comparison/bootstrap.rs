//! The percentile bootstrap (Efron and Tibshirani 1993, chapters 13 and 15) over architectures.
//!
//! A resample is a multiplicity for each architecture. All methods are measured on the same
//! resamples, so that differences between them are paired. What varies is which architectures were
//! drawn; a method's own randomness (its seed) is not part of these intervals.

use ghnas_core::rng::stream;
use rand::RngExt;

/// The fewest resamples that may be asked for.
pub(super) const LEAST_RESAMPLES: usize = 100;

/// The most resampled points in all, so that a table of 15,625 architectures costs seconds.
const MOST_POINTS: usize = 4_000_000;

/// How many resamples of `points` architectures are made where `wanted` are asked for. At least
/// 200 of those wanted are.
pub(super) fn affordable(wanted: usize, points: usize) -> usize {
    wanted.min((MOST_POINTS / points.max(1)).max(200))
}

/// Measures `resamples` resamples of `points` architectures, in order. The result is the same for
/// any number of threads: each resample has a stream of its own. `start` makes a thread's memory.
pub(crate) fn measure<S, T: Send>(
    (seed, resamples, points): (u64, usize, usize),
    threads: usize,
    start: impl Fn() -> S + Sync,
    measure: impl Fn(&[u32], &mut S) -> T + Sync,
) -> Vec<T> {
    let chunk = resamples.div_ceil(threads.max(1));
    let run = |first: usize| {
        let (mut memory, mut counts) = (start(), vec![0; points]);
        let last = resamples.min(first + chunk);
        let resample = |index: usize| {
            draw(seed, index as u64, &mut counts);
            measure(&counts, &mut memory)
        };
        (first..last).map(resample).collect::<Vec<T>>()
    };
    std::thread::scope(|scope| {
        let starts = (0..resamples).step_by(chunk);
        let threads: Vec<_> = starts.map(|first| scope.spawn(move || run(first))).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Vec<T>>| match thread.join() {
            Ok(measured) => measured,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        threads.into_iter().flat_map(join).collect()
    })
}

/// Draws as many architectures as there are, with replacement.
fn draw(seed: u64, index: u64, counts: &mut [u32]) {
    let mut rng = stream(seed, "bootstrap", index);
    counts.fill(0);
    for _ in 0..counts.len() {
        counts[rng.random_range(0..counts.len())] += 1;
    }
}

/// A statistic over all resamples.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Distribution {
    /// Of those resamples in which it has a value, in ascending order.
    values: Vec<f64>,
    /// The number of resamples in which it has none.
    pub(super) degenerate: usize,
}

impl Distribution {
    pub(crate) fn new(values: impl Iterator<Item = Option<f64>>) -> Self {
        let mut degenerate = 0;
        let count = |value: &Option<f64>| degenerate += usize::from(value.is_none());
        let mut values: Vec<f64> = values.inspect(count).flatten().collect();
        values.sort_by(f64::total_cmp);
        Self { values, degenerate }
    }

    /// The middle 95%; nothing where fewer than half of the resamples have a value.
    pub(crate) fn interval(&self) -> Option<[f64; 2]> {
        let enough = !self.values.is_empty() && self.values.len() >= self.degenerate;
        enough.then(|| [self.quantile(0.025), self.quantile(0.975)])
    }

    /// Twice the smaller share of resamples on either side of zero, those at zero counted on both,
    /// and the sample itself with each; at most 1. Nothing where there is no interval.
    pub(super) fn two_sided_p(&self) -> Option<f64> {
        self.interval()?;
        let up_to = self.values.partition_point(|&value| value <= 0.0);
        let from = self.values.len() - self.values.partition_point(|&value| value < 0.0);
        let share = (up_to.min(from) + 1) as f64 / (self.values.len() + 1) as f64;
        Some((2.0 * share).min(1.0))
    }

    /// By linear interpolation between order statistics, as NumPy's default.
    fn quantile(&self, share: f64) -> f64 {
        let place = share * (self.values.len() - 1) as f64;
        let (below, above) = (place.floor() as usize, place.ceil() as usize);
        let (low, high) = (self.values[below], self.values[above]);
        low + (high - low) * place.fract()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_threads_gives_the_same_resamples() {
        let run = |threads| measure((7, 101, 9), threads, || (), |counts, ()| counts.to_vec());
        let one = run(1);
        assert_eq!(one.len(), 101);
        assert!(one.iter().all(|counts| counts.iter().sum::<u32>() == 9));
        assert_eq!(one, run(2));
        assert_eq!(one, run(64));
    }

    #[test]
    fn intervals_are_percentiles() {
        let all = Distribution::new((0..=40).rev().map(|value| Some(f64::from(value))));
        // numpy.percentile(range(41), [2.5, 97.5])
        assert_eq!(all.interval(), Some([1.0, 39.0]));
        assert_eq!(all.degenerate, 0);
    }

    #[test]
    fn resamples_without_a_value_are_counted() {
        let some = Distribution::new([Some(1.0), None, Some(2.0), None].into_iter());
        assert_eq!((some.degenerate, some.interval().is_some()), (2, true));
        let few = Distribution::new([Some(1.0), None, None].into_iter());
        assert_eq!((few.degenerate, few.interval(), few.two_sided_p()), (2, None, None));
        assert_eq!(Distribution::new(std::iter::empty()).interval(), None);
    }

    #[test]
    fn p_counts_both_sides_of_zero() {
        let p = |values: &[f64]| Distribution::new(values.iter().map(|&v| Some(v))).two_sided_p();
        assert_eq!(p(&[1.0; 99]), Some(0.02));
        assert_eq!(p(&[-1.0; 99]), Some(0.02));
        assert_eq!(p(&[0.0; 99]), Some(1.0));
        assert_eq!(p(&[-1.0, 1.0, 2.0]), Some(1.0));
    }

    #[test]
    fn large_tables_get_fewer_resamples() {
        assert_eq!(affordable(10_000, 100), 10_000);
        assert_eq!(affordable(10_000, 15_625), 256);
        assert_eq!(affordable(100, 15_625), 100);
        assert_eq!(affordable(10_000, 1_000_000), 200);
    }
}
