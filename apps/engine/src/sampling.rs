//! Which architectures a training step works on: a function of the seed and the step alone.

use std::collections::BTreeMap;

use ghnas_core::{Architecture, Phase, SearchSpace, SpaceError, rng};

use crate::config::{Sampling, TrainConfig};

/// Architectures drawn for each that a fair step works on.
const POOL: usize = 4;

/// Draws the architectures of any step.
pub(crate) struct ArchSampler {
    seed: u64,
    sampling: Sampling,
    /// Architectures a step.
    archs: usize,
}

impl ArchSampler {
    /// For a study with this seed.
    pub(crate) fn new(seed: u64, config: &TrainConfig) -> Self {
        Self { seed, sampling: config.sampling, archs: config.archs_per_step }
    }

    /// The architectures of `step`, or what the space failed with in their place.
    pub(crate) fn draw(
        &self,
        space: &dyn SearchSpace,
        step: u64,
    ) -> Vec<Result<Architecture, SpaceError>> {
        let sample = |purpose: &str, count: usize| {
            let first = step * count as u64;
            let one = |index| {
                let seed = rng::derive_seed(self.seed, purpose, index);
                space.sample(Phase::Train, seed)
            };
            (first..first + count as u64).map(one).collect()
        };
        match self.sampling {
            Sampling::Fair if self.archs > 1 => {
                fair(sample("train-arch-pool", POOL * self.archs), self.archs)
            }
            Sampling::Fair | Sampling::Uniform => sample("train-arch", self.archs),
        }
    }
}

/// The first architecture of the pool, and then one after the other that with which the operations
/// of all chosen occur most equally often; ties go to the first. Where too few could be sampled,
/// failures fill the rest.
fn fair(
    pool: Vec<Result<Architecture, SpaceError>>,
    count: usize,
) -> Vec<Result<Architecture, SpaceError>> {
    let (mut sampled, mut failed) = (Vec::new(), Vec::new());
    for drawn in pool {
        match drawn {
            // Never to be taken for a space that fails now and then.
            Err(error @ SpaceError::Broken(_)) => return vec![Err(error)],
            Err(error) => failed.push(Err(error)),
            Ok(arch) => {
                let counts = Counts::of(&arch);
                sampled.push((arch, counts));
            }
        }
    }
    let (mut chosen, mut counts) = (Vec::with_capacity(count), Counts::default());
    while chosen.len() < count && !sampled.is_empty() {
        let with = |(_, own): &(_, Counts)| counts.plus(own);
        let best = match chosen.is_empty() {
            true => 0,
            false => (1..sampled.len()).fold(0, |best, at| {
                let more_equal = with(&sampled[at]).is_more_equal_than(&with(&sampled[best]));
                if more_equal { at } else { best }
            }),
        };
        let (arch, own) = sampled.remove(best);
        counts = counts.plus(&own);
        chosen.push(Ok(arch));
    }
    let missing = count - chosen.len();
    chosen.extend(failed.into_iter().take(missing));
    chosen
}

/// How often each operation occurs, by its id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Counts(BTreeMap<String, u64>);

impl Counts {
    fn of(arch: &Architecture) -> Self {
        let mut counts = Self::default();
        for node in arch.motifs().iter().flat_map(|motif| motif.nodes()) {
            *counts.0.entry(node.op.clone()).or_default() += 1;
        }
        counts
    }

    fn plus(&self, other: &Self) -> Self {
        let mut sum = self.clone();
        for (op, count) in &other.0 {
            *sum.0.entry(op.clone()).or_default() += count;
        }
        sum
    }

    /// Compares the sums of squared shares of all operations (the Herfindahl index): the less, the
    /// more operations there are and the more equally often they occur.
    fn is_more_equal_than(&self, other: &Self) -> bool {
        let squares = |counts: &Self| counts.0.values().map(|n| u128::from(n * n)).sum::<u128>();
        let total = |counts: &Self| counts.0.values().copied().map(u128::from).sum::<u128>().pow(2);
        squares(self) * total(other) < squares(other) * total(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy;

    fn counts(ops: &[(&str, u64)]) -> Counts {
        Counts(ops.iter().map(|&(op, count)| (op.into(), count)).collect())
    }

    #[test]
    fn equality_is_of_shares() {
        let even = counts(&[("a", 2), ("b", 2)]);
        assert!(even.is_more_equal_than(&counts(&[("a", 3), ("b", 1)])));
        assert!(!even.is_more_equal_than(&counts(&[("a", 1), ("b", 1)])));
        assert!(counts(&[("a", 1), ("b", 1), ("c", 1)]).is_more_equal_than(&even));
        assert!(even.is_more_equal_than(&counts(&[("a", 9)])));
    }

    /// How often each operation of the toy space occurs in the architectures of a step.
    fn of_step(sampling: &str, archs: usize, step: u64) -> (Vec<String>, Counts) {
        let flags =
            [&format!("train.sampling={sampling}")[..], &format!("train.archs_per_step={archs}")];
        let config = toy::config(&flags);
        let sampler = ArchSampler::new(config.seed, &config.train);
        let drawn = sampler.draw(&*toy::parts(&config).space, step);
        let drawn: Vec<_> = drawn.into_iter().map(Result::unwrap).collect();
        let counts = drawn.iter().fold(Counts::default(), |sum, arch| sum.plus(&Counts::of(arch)));
        (drawn.iter().map(|arch| arch.hash().to_string()).collect(), counts)
    }

    fn difference(counts: &Counts) -> u64 {
        let of = |op: &str| counts.0.get(op).copied().unwrap_or(0);
        of("narrow").abs_diff(of("wide"))
    }

    #[test]
    fn operations_of_a_fair_step_occur_about_equally_often() {
        let (mut uniform, mut fair) = (0, 0);
        for step in 0..100 {
            let (hashes, counts) = of_step("fair", 4, step);
            assert_eq!((hashes.len(), of_step("fair", 4, step)), (4, (hashes, counts.clone())));
            // Chains of one or two operations leave one too many at most, where the pool has them.
            fair += difference(&counts);
            uniform += difference(&of_step("uniform", 4, step).1);
        }
        assert!(fair < 40 && uniform > 3 * fair, "{fair} {uniform}");
    }

    #[test]
    fn every_choice_is_the_most_equal_of_what_is_left() {
        let pool = ["wide", "wide", "narrow", "wide"].map(|op| toy::chain(&[op]));
        let others = [toy::chain(&["narrow", "narrow"]), toy::chain(&["wide", "narrow"])];
        let pool: Vec<_> = pool.into_iter().chain(others).collect();
        let chosen = fair(pool.iter().cloned().map(Ok).collect(), 4);
        let chosen: Vec<_> = chosen.into_iter().map(Result::unwrap).collect();
        // wide; 1 : 1 with narrow; 2 : 2 with the last; 3 : 2 with wide, and 2 : 4 with the other.
        let expected = [0, 2, 5, 1].map(|at| pool[at].clone());
        assert_eq!(chosen, expected);
    }

    #[test]
    fn one_architecture_is_drawn_as_the_space_draws_it() {
        let drawn = |sampling| (0..50).map(|step| of_step(sampling, 1, step)).collect::<Vec<_>>();
        assert_eq!(drawn("fair"), drawn("uniform"));
    }

    #[test]
    fn failures_take_the_place_of_what_is_missing_alone() {
        let failure = || Err(SpaceError::Other("no".into()));
        let chain = || Ok(toy::chain(&["wide"]));
        let ok = |pool, count| fair(pool, count).iter().map(Result::is_ok).collect::<Vec<_>>();
        assert_eq!(ok(vec![failure(), chain(), failure(), chain()], 2), [true, true]);
        assert_eq!(ok(vec![failure(), chain(), failure()], 2), [true, false]);
        let broken = Err(SpaceError::Broken("gone".into()));
        let drawn = fair(vec![chain(), chain(), broken], 1);
        assert!(matches!(drawn[0], Err(SpaceError::Broken(_))));
    }
}
