//! What a comparison found, as it is written to JSON.

use serde::Serialize;

use super::correlation::{Correlations, Statistic};
use super::noise::NoiseCeiling;

/// Every method against the truth. A function of truth, scores and seed, but for the seconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Architectures with a truth.
    pub architectures: usize,
    /// How often each of them was trained.
    pub truth_seeds: usize,
    /// Seed of the bootstrap.
    pub seed: u64,
    /// Bootstrap resamples made; fewer than asked for where there are many architectures.
    pub resamples: usize,
    /// One a method, in the order given.
    pub methods: Vec<MethodReport>,
    /// Each method less each later one, on both subsets, for each statistic.
    pub differences: Vec<Difference>,
    /// What the noise of the truth allows; nothing where there is no saying.
    pub noise_ceiling: Option<NoiseCeiling>,
    /// Why there is no noise ceiling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noise_ceiling_missing: Option<String>,
}

/// A method and how well it ranks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MethodReport {
    /// The method.
    pub name: String,
    /// What it ranks by: `loss`, `accuracy` or `score`.
    pub by: String,
    /// Seconds before the first architecture can be scored.
    pub initial_seconds: f64,
    /// Mean seconds of scoring an architecture.
    pub per_arch_seconds: f64,
    /// Bytes that the method's parameters and their training take, where that was measured.
    pub memory_bytes: Option<u64>,
    /// Architectures that it has scored.
    pub n: usize,
    /// Architectures that it has not scored; no statistic of this method includes them.
    pub missing: Vec<Missing>,
    /// On all architectures.
    pub random: SubsetReport,
    /// On the better half by truth.
    pub top_half: SubsetReport,
    /// What is lost by choosing the method's best, for each number chosen that it has scored.
    pub regret: Vec<Regret>,
}

/// An architecture without a score.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// The architecture's hash.
    pub hash: String,
    /// Why it has none.
    pub reason: String,
}

/// The correlations of a method on one subset.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SubsetReport {
    /// Architectures of the subset that have a score.
    pub n: usize,
    /// [`Statistic::Pearson`], where it has a value.
    pub pearson: Option<f64>,
    /// [`Statistic::Spearman`], where it has a value.
    pub spearman: Option<f64>,
    /// [`Statistic::Kendall`], where it has a value.
    pub kendall: Option<f64>,
    /// 95% percentile bootstrap intervals; nothing where they have none.
    pub ci95: Option<Intervals>,
    /// Resamples in which the statistics have no value, and which no interval includes.
    pub degenerate_resamples: usize,
    /// Why the statistics have no value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl SubsetReport {
    /// One of the three correlations, where it has a value.
    pub fn get(&self, statistic: Statistic) -> Option<f64> {
        match statistic {
            Statistic::Pearson => self.pearson,
            Statistic::Spearman => self.spearman,
            Statistic::Kendall => self.kendall,
        }
    }

    pub(super) fn with(self, correlations: Correlations) -> Self {
        let Correlations { pearson, spearman, kendall } = correlations;
        Self { pearson: Some(pearson), spearman: Some(spearman), kendall: Some(kendall), ..self }
    }
}

/// Low and high end of an interval for each statistic.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Intervals {
    /// Of [`Statistic::Pearson`].
    pub pearson: [f64; 2],
    /// Of [`Statistic::Spearman`].
    pub spearman: [f64; 2],
    /// Of [`Statistic::Kendall`].
    pub kendall: [f64; 2],
}

impl Intervals {
    /// That of one statistic.
    pub fn get(&self, statistic: Statistic) -> [f64; 2] {
        match statistic {
            Statistic::Pearson => self.pearson,
            Statistic::Spearman => self.spearman,
            Statistic::Kendall => self.kendall,
        }
    }
}

/// What is lost by choosing the best of a method's `k` best instead of the best of all.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Regret {
    /// Architectures chosen.
    pub k: usize,
    /// Best accuracy of all less the best among those chosen, in percentage points.
    pub points: f64,
    /// 95% percentile bootstrap interval. About one resample in three misses the best architecture;
    /// its regret is against the best that it has.
    pub ci95: Option<[f64; 2]>,
}

/// Which architectures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Subset {
    /// All that were given: the paper's Random-100.
    Random,
    /// The better half of them by truth, rounded up: the paper's Top-50. A resample has its own.
    TopHalf,
}

impl Subset {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Random, Self::TopHalf];

    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::TopHalf => "top_half",
        }
    }
}

/// A statistic of method `a` less that of method `b`, on the architectures that both have scored.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// Name of the one method.
    pub a: String,
    /// What it ranks by.
    pub a_by: String,
    /// Name of the other method.
    pub b: String,
    /// What it ranks by.
    pub b_by: String,
    /// On which architectures.
    pub subset: Subset,
    /// Of which statistic.
    pub statistic: Statistic,
    /// Architectures of the subset that both have scored.
    pub n: usize,
    /// a less b, where both have a value.
    pub difference: Option<f64>,
    /// Its 95% percentile bootstrap interval.
    pub ci95: Option<[f64; 2]>,
    /// Two-sided bootstrap p-value of no difference. Not corrected for the number of comparisons.
    pub p: Option<f64>,
    /// Resamples in which either has no value, and which interval and p-value leave out.
    pub degenerate_resamples: usize,
}
