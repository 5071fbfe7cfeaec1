//! From truth and scores to a comparison.

use std::collections::BTreeMap;

use super::bootstrap::{self, Distribution, LEAST_RESAMPLES};
use super::correlation::{Correlations, Points, Scratch, Statistic};
use super::error::{StatisticsError, check_finite};
use super::noise::noise_ceiling;
use super::report::{
    Comparison, Difference, Intervals, MethodReport, Missing, Regret, Subset, SubsetReport,
};
use super::selection::{best_first, better_half, regret};

/// How many architectures a method may choose, for its regret.
const CHOSEN: [usize; 3] = [1, 5, 10];

/// The accuracies that networks reach when they are trained.
#[derive(Debug, Clone, PartialEq)]
pub struct TruthColumn<'a> {
    /// Canonical hash of each architecture, or another text that tells it from the others.
    pub hashes: &'a [String],
    /// Accuracy of each, 0 to 1; the mean over seeds.
    pub accuracy: Vec<f64>,
    /// For each seed that every architecture was trained with, the accuracy of each; empty where
    /// only the means are known.
    pub by_seed: Vec<Vec<f64>>,
}

/// What a method makes of the architectures of a truth.
#[derive(Debug, Clone, PartialEq)]
pub struct MethodScores {
    /// The method.
    pub name: String,
    /// What it ranks by: `loss`, `accuracy` or `score`.
    pub by: String,
    /// One an architecture, the greater, the better (a loss is negated); or why there is none. A
    /// score that is not finite counts as none.
    pub scores: Vec<Result<f64, String>>,
    /// Seconds before the first architecture can be scored.
    pub initial_seconds: f64,
    /// Mean seconds of scoring an architecture.
    pub per_arch_seconds: f64,
    /// Bytes that the method's parameters and their training take, where that was measured.
    pub memory_bytes: Option<u64>,
}

/// How to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompareOptions {
    /// Seed of the bootstrap and of the noise ceiling.
    pub seed: u64,
    /// Bootstrap resamples, at least 100; fewer are made where there are many architectures.
    pub resamples: usize,
    /// Threads; the result is the same for any number.
    pub threads: usize,
}

impl Default for CompareOptions {
    fn default() -> Self {
        Self { seed: 0, resamples: 10_000, threads: 1 }
    }
}

impl CompareOptions {
    /// Checks what needs no scores, so that it can be known before hours are spent on them.
    ///
    /// # Errors
    /// Where there are too few resamples, or the truth cannot be compared with: too few, equal or
    /// impossible accuracies, an architecture twice.
    pub fn check(&self, truth: &TruthColumn<'_>) -> Result<(), StatisticsError> {
        if self.resamples < LEAST_RESAMPLES {
            let (got, least) = (self.resamples, LEAST_RESAMPLES);
            return Err(StatisticsError::Resamples { got, least });
        }
        let mut first = BTreeMap::new();
        for (second, hash) in truth.hashes.iter().enumerate() {
            if let Some(first) = first.insert(hash, second) {
                let hash = hash.clone();
                return Err(StatisticsError::DuplicateArchitecture { hash, first, second });
            }
        }
        check_length(truth, "the truth".into(), truth.accuracy.len())?;
        check_finite("the truth", &truth.accuracy)?;
        for (seed, column) in truth.by_seed.iter().enumerate() {
            let what = format!("seed {seed} of the truth");
            check_length(truth, what.clone(), column.len())?;
            check_finite(&what, column)?;
        }
        for column in truth.by_seed.iter().chain([&truth.accuracy]) {
            if let Some(at) = column.iter().position(|value| !(0.0..=1.0).contains(value)) {
                let (hash, value) = (truth.hashes[at].clone(), column[at]);
                return Err(StatisticsError::Accuracy { hash, value });
            }
        }
        // A truth correlates with itself, or with nothing.
        match super::correlation::correlations(&truth.accuracy, &truth.accuracy) {
            Ok(_) => Ok(()),
            Err(StatisticsError::Constant { .. }) => {
                Err(StatisticsError::Constant { what: "accuracies" })
            }
            Err(other) => Err(other),
        }
    }
}

/// A column must be as long as the truth has architectures.
fn check_length(truth: &TruthColumn<'_>, what: String, got: usize) -> Result<(), StatisticsError> {
    let expected = truth.hashes.len();
    if got == expected { Ok(()) } else { Err(StatisticsError::Length { what, got, expected }) }
}

/// Compares methods with a truth and with each other.
///
/// What one method lacks is said in its own report: the others are compared all the same.
///
/// # Errors
/// Where the truth cannot be compared with: too few, equal or impossible accuracies, an
/// architecture twice; where a method has not one entry an architecture or occurs twice; and where
/// there are too few resamples.
pub fn compare(
    truth: &TruthColumn<'_>,
    methods: &[MethodScores],
    options: CompareOptions,
) -> Result<Comparison, StatisticsError> {
    check(truth, methods, options)?;
    let plan = Plan::new(truth, methods);
    let n = truth.hashes.len();
    let whole = plan.measure(&vec![1; n], &mut Memory::default());
    let resamples = bootstrap::affordable(options.resamples, n);
    let drawn = bootstrap::measure(
        (options.seed, resamples, n),
        options.threads,
        Memory::default,
        |counts, memory| plan.measure(counts, memory),
    );
    let result = Measured { plan: &plan, whole, drawn };
    let reports = methods.iter().enumerate().map(|(at, method)| result.method(truth, method, at));
    let mut comparison = Comparison {
        architectures: n,
        truth_seeds: truth.by_seed.len().max(1),
        seed: options.seed,
        resamples,
        methods: reports.collect(),
        differences: result.differences(methods),
        noise_ceiling: None,
        noise_ceiling_missing: None,
    };
    if truth.by_seed.len() < 2 {
        let reason = "the truth has a single seed, so its noise is unknown";
        comparison.noise_ceiling_missing = Some(reason.into());
        return Ok(comparison);
    }
    let mut half = Vec::new();
    better_half(&plan.by_truth, &vec![1; n], &mut half);
    match noise_ceiling(&truth.accuracy, &truth.by_seed, &half, options.seed) {
        Ok(ceiling) => comparison.noise_ceiling = Some(ceiling),
        Err(error) => {
            comparison.noise_ceiling_missing = Some(format!("between two seeds, {error}"));
        }
    }
    Ok(comparison)
}

fn check(
    truth: &TruthColumn<'_>,
    methods: &[MethodScores],
    options: CompareOptions,
) -> Result<(), StatisticsError> {
    options.check(truth)?;
    for (at, method) in methods.iter().enumerate() {
        let MethodScores { name, by, .. } = method;
        check_length(truth, format!("method '{name}' by {by}"), method.scores.len())?;
        if methods[..at].iter().any(|other| (&other.name, &other.by) == (name, by)) {
            let (name, by) = (name.clone(), by.clone());
            return Err(StatisticsError::DuplicateMethod { name, by });
        }
    }
    Ok(())
}

/// All that is measured on every resample.
struct Plan<'a> {
    truth: &'a [f64],
    /// All architectures, the best first.
    by_truth: Vec<usize>,
    /// A method's scores on the architectures that it and perhaps another have scored. The first
    /// are those of each method on all that it has scored.
    views: Vec<Points>,
    /// Positions of the architectures in each view.
    members: Vec<Vec<usize>>,
    /// For each method, the architectures that it has scored, its best first.
    by_score: Vec<Vec<usize>>,
    /// Two methods, and the view of each on what both have scored.
    pairs: Vec<([usize; 2], [usize; 2])>,
}

/// What is measured on one resample.
struct Measurement {
    /// For each view, on each subset.
    correlations: Vec<[Result<Correlations, StatisticsError>; 2]>,
    /// For each method, for each number chosen.
    regrets: Vec<[Option<f64>; CHOSEN.len()]>,
}

/// What a thread uses again from one resample to the next.
#[derive(Default)]
struct Memory {
    half: Vec<u32>,
    scratch: Scratch,
}

/// The score of an architecture, where it has one.
fn score(method: &MethodScores, at: usize) -> Option<f64> {
    method.scores[at].as_ref().ok().copied().filter(|score| score.is_finite())
}

impl<'a> Plan<'a> {
    fn new(truth: &'a TruthColumn<'_>, methods: &[MethodScores]) -> Self {
        let n = truth.hashes.len();
        let accuracy = &truth.accuracy;
        let scored = |method: &MethodScores| -> Vec<usize> {
            (0..n).filter(|&at| score(method, at).is_some()).collect()
        };
        let value = |method: usize, at: usize| score(&methods[method], at).expect("it is scored");
        let members: Vec<Vec<usize>> = methods.iter().map(scored).collect();
        let by_score = |(method, members): (usize, &Vec<usize>)| {
            best_first(members.iter().copied(), |at| value(method, at), truth.hashes)
        };
        let mut plan = Self {
            truth: accuracy,
            by_truth: best_first(0..n, |at| accuracy[at], truth.hashes),
            views: Vec::new(),
            by_score: members.iter().enumerate().map(by_score).collect(),
            members: Vec::new(),
            pairs: Vec::new(),
        };
        let mut known = BTreeMap::new();
        let mut view = |plan: &mut Self, method: usize, members: Vec<usize>| {
            *known.entry((method, members)).or_insert_with_key(|(method, members)| {
                let point = |&at: &usize| (at, value(*method, at), accuracy[at]);
                plan.views.push(Points::new(members.iter().map(point)));
                plan.members.push(members.clone());
                plan.views.len() - 1
            })
        };
        for (method, members) in members.iter().enumerate() {
            view(&mut plan, method, members.clone());
        }
        for (b, other) in methods.iter().enumerate() {
            for (a, members) in members[..b].iter().enumerate() {
                let both = |at: &usize| score(other, *at).is_some();
                let both: Vec<usize> = members.iter().copied().filter(both).collect();
                let views = [a, b].map(|method| view(&mut plan, method, both.clone()));
                plan.pairs.push(([a, b], views));
            }
        }
        plan.pairs.sort();
        plan
    }

    /// Measures the multiset of architectures that `counts` describes.
    fn measure(&self, counts: &[u32], memory: &mut Memory) -> Measurement {
        let Memory { half, scratch } = memory;
        better_half(&self.by_truth, counts, half);
        let mut view = |points: &Points| {
            [counts, half.as_slice()].map(|counts| points.correlations(counts, scratch))
        };
        let correlations = self.views.iter().map(&mut view).collect();
        let method = |by_score: &Vec<usize>| {
            CHOSEN.map(|k| regret(self.truth, &self.by_truth, by_score, counts, k))
        };
        Measurement { correlations, regrets: self.by_score.iter().map(method).collect() }
    }
}

/// A plan's measurements of all architectures and of every resample.
struct Measured<'a> {
    plan: &'a Plan<'a>,
    whole: Measurement,
    drawn: Vec<Measurement>,
}

impl Measured<'_> {
    fn method(&self, truth: &TruthColumn<'_>, method: &MethodScores, at: usize) -> MethodReport {
        let missing = |(at, hash): (usize, &String)| {
            let reason = match &method.scores[at] {
                Ok(score) if score.is_finite() => return None,
                Ok(score) => format!("its score is {score}"),
                Err(reason) => reason.clone(),
            };
            Some(Missing { hash: hash.clone(), reason })
        };
        MethodReport {
            name: method.name.clone(),
            by: method.by.clone(),
            initial_seconds: method.initial_seconds,
            per_arch_seconds: method.per_arch_seconds,
            memory_bytes: method.memory_bytes,
            n: self.plan.members[at].len(),
            missing: truth.hashes.iter().enumerate().filter_map(missing).collect(),
            random: self.subset(at, Subset::Random),
            top_half: self.subset(at, Subset::TopHalf),
            regret: (0..CHOSEN.len()).filter_map(|choice| self.regret(at, choice)).collect(),
        }
    }

    fn subset(&self, view: usize, subset: Subset) -> SubsetReport {
        let distribution = |statistic: Statistic| {
            let value = |measured: &Measurement| get(measured, view, subset, statistic);
            Distribution::new(self.drawn.iter().map(value))
        };
        let [pearson, spearman, kendall] = Statistic::ALL.map(distribution);
        let intervals = [&pearson, &spearman, &kendall].map(Distribution::interval);
        let ci95 = match intervals {
            [Some(pearson), Some(spearman), Some(kendall)] => {
                Some(Intervals { pearson, spearman, kendall })
            }
            _ => None,
        };
        let report = SubsetReport {
            n: self.members(view, subset),
            pearson: None,
            spearman: None,
            kendall: None,
            ci95: None,
            // All three have a value in the same resamples.
            degenerate_resamples: pearson.degenerate,
            error: None,
        };
        match &self.whole.correlations[view][subset as usize] {
            Ok(correlations) => SubsetReport { ci95, ..report }.with(*correlations),
            Err(error) => SubsetReport { error: Some(error.to_string()), ..report },
        }
    }

    /// The architectures of a subset that a view has.
    fn members(&self, view: usize, subset: Subset) -> usize {
        let members = &self.plan.members[view];
        match subset {
            Subset::Random => members.len(),
            Subset::TopHalf => {
                let half = &self.plan.by_truth[..self.plan.by_truth.len().div_ceil(2)];
                half.iter().filter(|at| members.binary_search(at).is_ok()).count()
            }
        }
    }

    fn regret(&self, method: usize, choice: usize) -> Option<Regret> {
        let points = |measured: &Measurement| {
            measured.regrets[method][choice].map(|accuracy| 100.0 * accuracy)
        };
        let ci95 = Distribution::new(self.drawn.iter().map(points)).interval();
        Some(Regret { k: CHOSEN[choice], points: points(&self.whole)?, ci95 })
    }

    fn differences(&self, methods: &[MethodScores]) -> Vec<Difference> {
        let mut differences = Vec::new();
        for &([a, b], views) in &self.plan.pairs {
            for subset in Subset::ALL {
                for statistic in Statistic::ALL {
                    let value = |measured: &Measurement| {
                        let [a, b] = views.map(|view| get(measured, view, subset, statistic));
                        Some(a? - b?)
                    };
                    let difference = value(&self.whole);
                    let drawn = Distribution::new(self.drawn.iter().map(value));
                    differences.push(Difference {
                        a: methods[a].name.clone(),
                        a_by: methods[a].by.clone(),
                        b: methods[b].name.clone(),
                        b_by: methods[b].by.clone(),
                        subset,
                        statistic,
                        n: self.members(views[0], subset),
                        difference,
                        ci95: difference.and_then(|_| drawn.interval()),
                        p: difference.and_then(|_| drawn.two_sided_p()),
                        degenerate_resamples: drawn.degenerate,
                    });
                }
            }
        }
        differences
    }
}

fn get(measured: &Measurement, view: usize, subset: Subset, statistic: Statistic) -> Option<f64> {
    let correlations = measured.correlations[view][subset as usize].as_ref().ok()?;
    Some(correlations.get(statistic))
}
