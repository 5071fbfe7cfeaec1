//! Pearson's r, Spearman's rho and Kendall's tau-b of scores and accuracies.
//!
//! Points are sorted and ranked once and then measured with multiplicities, so that a bootstrap
//! resample costs no sorting: O(n) for Pearson and Spearman, O(n log n) for Kendall.

use serde::Serialize;

use super::error::{StatisticsError, check_finite};

/// The fewest distinct points that have a correlation: two are always on a line.
const LEAST_POINTS: usize = 3;

/// One of the three correlations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Statistic {
    /// Of the values, signed.
    Pearson,
    /// Pearson's of the ranks; equal values share the mean of their ranks.
    Spearman,
    /// tau-b: concordant less discordant pairs, as a share of the geometric mean of the pairs that
    /// are not tied in scores and not tied in accuracies.
    Kendall,
}

impl Statistic {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pearson, Self::Spearman, Self::Kendall];

    /// The name in JSON and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pearson => "pearson",
            Self::Spearman => "spearman",
            Self::Kendall => "kendall",
        }
    }
}

/// All three correlations of the same points, each between -1 and 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Correlations {
    /// [`Statistic::Pearson`].
    pub pearson: f64,
    /// [`Statistic::Spearman`].
    pub spearman: f64,
    /// [`Statistic::Kendall`].
    pub kendall: f64,
}

impl Correlations {
    /// One of the three.
    pub fn get(&self, statistic: Statistic) -> f64 {
        match statistic {
            Statistic::Pearson => self.pearson,
            Statistic::Spearman => self.spearman,
            Statistic::Kendall => self.kendall,
        }
    }
}

/// The correlations of scores and accuracies that belong together by position.
///
/// # Errors
/// Where the lengths differ, there are fewer than three points, a value is not finite, or all
/// values of a side are equal.
pub fn correlations(scores: &[f64], accuracies: &[f64]) -> Result<Correlations, StatisticsError> {
    if scores.len() != accuracies.len() {
        let (got, expected) = (scores.len(), accuracies.len());
        return Err(StatisticsError::Length { what: "scores".into(), got, expected });
    }
    check_finite("scores", scores)?;
    check_finite("accuracies", accuracies)?;
    let pairs = scores.iter().zip(accuracies).enumerate();
    let points = Points::new(pairs.map(|(position, (&x, &y))| (position, x, y)));
    points.correlations(&vec![1; scores.len()], &mut Scratch::default())
}

/// A score and an accuracy.
#[derive(Debug, Clone, Copy)]
struct Point {
    /// Where its multiplicity stands.
    position: usize,
    x: f64,
    y: f64,
    /// Rank of the score among the distinct ones, from 0.
    x_group: usize,
    /// Rank of the accuracy among the distinct ones, from 0.
    y_group: usize,
}

/// Pairs of finite numbers, ready to be measured with any multiplicities.
#[derive(Debug, Clone)]
pub(super) struct Points {
    /// By ascending accuracy.
    points: Vec<Point>,
    x_groups: usize,
    y_groups: usize,
}

/// Memory that is used again from one measurement to the next.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    x_ranks: Ranks,
    y_ranks: Ranks,
    tree: Vec<i64>,
    /// Multiplicities put into the tree so far, by group of the score.
    seen: Vec<i64>,
}

impl Points {
    /// Points of (position of the multiplicity, score, accuracy).
    pub(super) fn new(points: impl Iterator<Item = (usize, f64, f64)>) -> Self {
        let point = |(position, x, y)| Point { position, x, y, x_group: 0, y_group: 0 };
        let mut points: Vec<Point> = points.map(point).collect();
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        let x_groups = group(&mut points, |point| point.x, |point| &mut point.x_group);
        // Stable, so that the order of sums is a function of the points.
        points.sort_by(|a, b| a.y.total_cmp(&b.y));
        let y_groups = group(&mut points, |point| point.y, |point| &mut point.y_group);
        // Values near the limits of f64 would overflow when squared.
        let largest = points.iter().fold(0.0, |largest, point| f64::max(largest, point.x.abs()));
        if largest > 0.0 {
            points.iter_mut().for_each(|point| point.x /= largest);
        }
        Self { points, x_groups, y_groups }
    }

    /// The correlations of the multiset that holds each point as often as `counts` says at its
    /// position.
    pub(super) fn correlations(
        &self,
        counts: &[u32],
        scratch: &mut Scratch,
    ) -> Result<Correlations, StatisticsError> {
        let Scratch { x_ranks, y_ranks, .. } = scratch;
        x_ranks.clear(self.x_groups);
        y_ranks.clear(self.y_groups);
        let (mut distinct, mut total, mut sum_x, mut sum_y) = (0, 0.0, 0.0, 0.0);
        for (point, count) in self.counted(counts) {
            distinct += 1;
            x_ranks.count(point.x_group, count);
            y_ranks.count(point.y_group, count);
            let weight = f64::from(count);
            total += weight;
            sum_x += weight * point.x;
            sum_y += weight * point.y;
        }
        if distinct < LEAST_POINTS {
            return Err(StatisticsError::TooFew { got: distinct, least: LEAST_POINTS });
        }
        for (ranks, what) in [(&mut *x_ranks, "scores"), (y_ranks, "accuracies")] {
            if ranks.rank() < 2 {
                return Err(StatisticsError::Constant { what });
            }
        }
        let (mean_x, mean_y, mean_rank) = (sum_x / total, sum_y / total, (total + 1.0) / 2.0);
        let (mut values, mut ranks) = (Moments::default(), Moments::default());
        for (point, count) in self.counted(counts) {
            let weight = f64::from(count);
            values.add(weight, point.x - mean_x, point.y - mean_y);
            let rank_x = scratch.x_ranks.ranks[point.x_group];
            let rank_y = scratch.y_ranks.ranks[point.y_group];
            ranks.add(weight, rank_x - mean_rank, rank_y - mean_rank);
        }
        // Scores can differ by so little that their squares vanish.
        let equal = StatisticsError::Constant { what: "scores" };
        let pearson = values.correlation().ok_or(equal.clone())?;
        let spearman = ranks.correlation().ok_or(equal)?;
        Ok(Correlations { pearson, spearman, kendall: self.kendall(counts, total, scratch) })
    }

    /// Points that occur, with how often they do.
    fn counted<'a>(&'a self, counts: &'a [u32]) -> impl Iterator<Item = (&'a Point, u32)> {
        let counted = self.points.iter().map(|point| (point, counts[point.position]));
        counted.filter(|&(_, count)| count > 0)
    }

    /// tau-b of points of which neither side is constant. Points enter a binary indexed tree over
    /// the scores by ascending accuracy; each meets those below and above it.
    fn kendall(&self, counts: &[u32], total: f64, scratch: &mut Scratch) -> f64 {
        let Scratch { x_ranks, y_ranks, tree, seen } = scratch;
        reset(tree, self.x_groups + 1);
        reset(seen, self.x_groups);
        let (mut concordance, mut inserted) = (0i64, 0i64);
        for tied in self.points.chunk_by(|a, b| a.y_group == b.y_group) {
            for point in tied {
                let count = i64::from(counts[point.position]);
                if count > 0 {
                    let below = below(tree, point.x_group);
                    let above = inserted - below - seen[point.x_group];
                    concordance += count * (below - above);
                }
            }
            for point in tied {
                let count = i64::from(counts[point.position]);
                if count > 0 {
                    insert(tree, point.x_group, count);
                    seen[point.x_group] += count;
                    inserted += count;
                }
            }
        }
        let pairs = total * (total - 1.0) / 2.0;
        let untied = |ranks: &Ranks| (pairs - ranks.tied_pairs()).sqrt();
        (concordance as f64 / untied(x_ranks) / untied(y_ranks)).clamp(-1.0, 1.0)
    }
}

/// Numbers the distinct values of sorted points and returns how many there are.
fn group(
    points: &mut [Point],
    value: impl Fn(&Point) -> f64,
    slot: impl Fn(&mut Point) -> &mut usize,
) -> usize {
    let mut groups = 0;
    let mut last = None;
    for point in points {
        let this = value(point);
        if last != Some(this) {
            groups += 1;
            last = Some(this);
        }
        *slot(point) = groups - 1;
    }
    groups
}

/// Ranks of the distinct values of one side.
#[derive(Debug, Default)]
struct Ranks {
    /// How often each occurs.
    counts: Vec<f64>,
    /// The mean rank of each, from 1.
    ranks: Vec<f64>,
}

impl Ranks {
    fn clear(&mut self, groups: usize) {
        reset(&mut self.counts, groups);
        reset(&mut self.ranks, groups);
    }

    fn count(&mut self, group: usize, count: u32) {
        self.counts[group] += f64::from(count);
    }

    /// Ranks the values that occur and returns how many they are.
    fn rank(&mut self) -> usize {
        let (mut before, mut distinct) = (0.0, 0);
        for (rank, &count) in self.ranks.iter_mut().zip(&self.counts) {
            *rank = before + (count + 1.0) / 2.0;
            before += count;
            distinct += usize::from(count > 0.0);
        }
        distinct
    }

    fn tied_pairs(&self) -> f64 {
        self.counts.iter().map(|count| count * (count - 1.0) / 2.0).sum()
    }
}

/// Sums of products of deviations from the mean.
#[derive(Debug, Default)]
struct Moments {
    xx: f64,
    yy: f64,
    xy: f64,
}

impl Moments {
    fn add(&mut self, weight: f64, x: f64, y: f64) {
        self.xx += weight * x * x;
        self.yy += weight * y * y;
        self.xy += weight * x * y;
    }

    fn correlation(&self) -> Option<f64> {
        let value = self.xy / (self.xx.sqrt() * self.yy.sqrt());
        value.is_finite().then(|| value.clamp(-1.0, 1.0))
    }
}

fn reset<T: Clone + Default>(values: &mut Vec<T>, length: usize) {
    values.clear();
    values.resize(length, T::default());
}

/// Adds `count` at `group` of a binary indexed tree.
fn insert(tree: &mut [i64], group: usize, count: i64) {
    let mut node = group + 1;
    while node < tree.len() {
        tree[node] += count;
        node += node & node.wrapping_neg();
    }
}

/// The sum over all groups before `group` of a binary indexed tree.
fn below(tree: &[i64], group: usize) -> i64 {
    let (mut node, mut sum) = (group, 0);
    while node > 0 {
        sum += tree[node];
        node &= node - 1;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: [f64; 12] = [3., 1., 4., 1., 5., 9., 2., 6., 5., 3., 5., 8.];
    const Y: [f64; 12] = [2., 7., 1., 8., 2., 8., 1., 8., 2., 8., 4., 5.];

    #[track_caller]
    fn check(got: Result<Correlations, StatisticsError>, expect: [f64; 3]) {
        let got = got.unwrap();
        for (statistic, expect) in Statistic::ALL.into_iter().zip(expect) {
            let value = got.get(statistic);
            assert!((value - expect).abs() < 1e-12, "{}: {value}, {expect}", statistic.name());
        }
    }

    /// scipy.stats (1.17.1): pearsonr, spearmanr, kendalltau of the same numbers.
    #[test]
    fn values_are_those_of_scipy() {
        let expect = [0.09979900759721554, 0.1415796863640157, 0.17109647770728875];
        check(correlations(&X, &Y), expect);
        let x = [0.1, 0.7, 0.35, 2.5, 1.25, -3.0, 0.2];
        let y = [1e3, 2e4, 5e3, 1e6, 4e5, 1.0, 900.0];
        let expect = [0.6761934577710427, 0.9642857142857145, 0.9047619047619049];
        check(correlations(&x, &y), expect);
        let a: Vec<f64> = (1..=2000).map(|i| f64::from(i * 7919 % 104_729)).collect();
        let b = |(i, a): (u32, &f64)| f64::from(i * i * 31 % 1009) + a / 500.0;
        let b: Vec<f64> = (1..=2000).zip(&a).map(b).collect();
        let expect = [0.19979624850874528, 0.19047232640379005, 0.12817721678567373];
        check(correlations(&a, &b), expect);
        let tied: Vec<f64> = a.iter().map(|a| a % 97.0).collect();
        let expect = [0.01998746691683623, 0.020202644844266263, 0.013638153149974202];
        check(correlations(&tied, &b), expect);
    }

    /// As above, of `numpy.repeat(x, counts)` and `numpy.repeat(y, counts)`.
    #[test]
    fn multiplicities_are_copies() {
        let counts = [2, 0, 1, 3, 1, 0, 1, 2, 0, 1, 4, 1];
        let points = X.iter().zip(&Y).enumerate().map(|(at, (&x, &y))| (at, x, y));
        let got = Points::new(points).correlations(&counts, &mut Scratch::default());
        check(got, [-0.1306868434242468, -0.00780745042599944, 0.07076485563505792]);
    }

    #[test]
    fn values_near_the_limits_of_f64_do_not_overflow() {
        let x = [1e300, -1.7e308, 1.7e308, 3e307];
        let got = correlations(&x, &[0.2, 0.1, 0.9, 0.3]).unwrap();
        assert!((got.spearman - 1.0).abs() < 1e-12, "{got:?}");
        assert!(got.pearson > 0.8 && got.pearson < 1.0, "{got:?}");
    }

    #[test]
    fn what_has_no_correlation_is_said() {
        let error = |x: &[f64], y: &[f64]| correlations(x, y).unwrap_err().to_string();
        assert_eq!(
            error(&[1., 2.], &[1., 2.]),
            "2 points are too few for a correlation; it takes 3"
        );
        assert!(error(&[1., 1., 1.], &[1., 2., 3.]).starts_with("all scores are equal"));
        assert!(error(&[1., 2., 3.], &[0.5; 3]).starts_with("all accuracies are equal"));
        assert!(error(&[1., f64::NAN, 3.], &[0.5; 3]).starts_with("scores: value 1 is NaN"));
        let infinite = [0.5, 0.1, f64::INFINITY];
        assert!(error(&[1., 2., 3.], &infinite).starts_with("accuracies: value 2 is inf"));
        assert!(error(&[1., 2.], &[1.]).starts_with("scores: 2 values where there are 1"));
    }

    /// Zero and negative zero are one value.
    #[test]
    fn zeros_of_both_signs_are_tied() {
        let got = correlations(&[0.0, -0.0, 1.0, 2.0], &[0.2, 0.1, 0.3, 0.4]).unwrap();
        // scipy.stats.kendalltau([0, 0, 1, 2], [2, 1, 3, 4]) = 5 / sqrt(5 * 6).
        assert!((got.kendall - 5.0 / 30f64.sqrt()).abs() < 1e-12, "{got:?}");
    }
}
