//! Which architectures a training step works on: a function of the seed and the step alone.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use ghnas_core::{Architecture, Network, Phase, SearchSpace, SpaceError, Task, rng};

use crate::config::{Sampling, TrainConfig};

/// Draws the architectures of any step.
pub(crate) struct ArchSampler {
    seed: u64,
    sampling: Sampling,
    /// Architectures a step.
    archs: usize,
    /// Architectures drawn for each of these, where some are chosen.
    pool: usize,
}

/// An architecture that was drawn.
pub(crate) struct Drawn {
    /// Its hash, hexadecimal; empty where it could not be sampled.
    pub hash: String,
    /// Its network, or what the space failed with.
    pub network: Result<Network, SpaceError>,
}

impl ArchSampler {
    /// For a study with this seed.
    pub(crate) fn new(seed: u64, config: &TrainConfig) -> Self {
        let TrainConfig { sampling, archs_per_step: archs, pool, .. } = *config;
        Self { seed, sampling, archs, pool }
    }

    /// The architectures of `step`, lowered for `task`.
    ///
    /// # Errors
    /// [`SpaceError::Broken`] where the space is.
    pub(crate) fn draw(
        &self,
        space: &dyn SearchSpace,
        task: Task,
        step: u64,
    ) -> Result<Vec<Drawn>, SpaceError> {
        let sample = |purpose: &str, count: usize| {
            let first = step * count as u64;
            let one = |index| {
                let seed = rng::derive_seed(self.seed, purpose, index);
                space.sample(Phase::Train, seed)
            };
            (first..first + count as u64).map(one).collect()
        };
        let pool = || sample("train-arch-pool", self.pool * self.archs);
        let lowered = |archs: Vec<_>| archs.into_iter().map(|arch| Drawn::of(space, task, arch));
        match self.sampling {
            Sampling::Fair if self.archs > 1 => lowered(fair(pool(), self.archs)?).collect(),
            Sampling::Fair | Sampling::Uniform => {
                lowered(sample("train-arch", self.archs)).collect()
            }
            Sampling::Large => {
                let mut drawn = lowered(pool()).collect::<Result<Vec<_>, _>>()?;
                keep_largest(&mut drawn, self.archs);
                Ok(drawn)
            }
        }
    }
}

impl Drawn {
    /// # Errors
    /// [`SpaceError::Broken`] where the space is.
    fn of(
        space: &dyn SearchSpace,
        task: Task,
        arch: Result<Architecture, SpaceError>,
    ) -> Result<Self, SpaceError> {
        let (hash, network) = match arch {
            Ok(arch) => (arch.hash().to_string(), space.lower(&arch, task)),
            Err(error) => (String::new(), Err(error)),
        };
        match network {
            // Never to be taken for a space that fails now and then.
            Err(error @ SpaceError::Broken(_)) => Err(error),
            network => Ok(Self { hash, network }),
        }
    }
}

/// Keeps the `count` with the most parameters, the largest first; of equal ones the first, and
/// those that could not be lowered last.
fn keep_largest(drawn: &mut Vec<Drawn>, count: usize) {
    drawn.sort_by_key(|one| Reverse(one.network.as_ref().ok().map(Network::param_count)));
    drawn.truncate(count);
}

/// The first architecture of the pool, and then one after the other that with which the operations
/// of all chosen occur most equally often; ties go to the first. Where too few could be sampled,
/// failures fill the rest.
fn fair(
    pool: Vec<Result<Architecture, SpaceError>>,
    count: usize,
) -> Result<Vec<Result<Architecture, SpaceError>>, SpaceError> {
    let (mut sampled, mut failed) = (Vec::new(), Vec::new());
    for drawn in pool {
        match drawn {
            Err(error @ SpaceError::Broken(_)) => return Err(error),
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
    Ok(chosen)
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

    /// The hashes and networks of a step, with `archs` of the toy space.
    fn of_step(sampling: &str, archs: usize, step: u64) -> Vec<(String, Network)> {
        let flags =
            [&format!("train.sampling={sampling}")[..], &format!("train.archs_per_step={archs}")];
        let config = toy::config(&flags);
        let sampler = ArchSampler::new(config.seed, &config.train);
        let parts = toy::parts(&config);
        let drawn = sampler.draw(&*parts.space, parts.task(), step).unwrap();
        drawn.into_iter().map(|one| (one.hash, one.network.unwrap())).collect()
    }

    /// How often each operation occurs in networks.
    fn operations(networks: &[(String, Network)]) -> Counts {
        let mut counts = Counts::default();
        let modules = networks.iter().flat_map(|(_, network)| network.modules());
        for node in modules.flat_map(|module| &module.nodes) {
            *counts.0.entry(node.op.clone()).or_default() += 1;
        }
        counts
    }

    fn difference(counts: &Counts) -> u64 {
        let of = |op: &str| counts.0.get(op).copied().unwrap_or(0);
        of("narrow").abs_diff(of("wide"))
    }

    #[test]
    fn operations_of_a_fair_step_occur_about_equally_often() {
        let (mut uniform, mut fair) = (0, 0);
        for step in 0..100 {
            let networks = of_step("fair", 4, step);
            assert_eq!((networks.len(), &of_step("fair", 4, step)), (4, &networks));
            // Chains of one or two operations leave one too many at most, where the pool has them.
            fair += difference(&operations(&networks));
            uniform += difference(&operations(&of_step("uniform", 4, step)));
        }
        assert!(fair < 40 && uniform > 3 * fair, "{fair} {uniform}");
    }

    #[test]
    fn every_choice_is_the_most_equal_of_what_is_left() {
        let pool = ["wide", "wide", "narrow", "wide"].map(|op| toy::chain(&[op]));
        let others = [toy::chain(&["narrow", "narrow"]), toy::chain(&["wide", "narrow"])];
        let pool: Vec<_> = pool.into_iter().chain(others).collect();
        let chosen = fair(pool.iter().cloned().map(Ok).collect(), 4).unwrap();
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
        let ok = |pool, count| -> Vec<bool> {
            fair(pool, count).unwrap().iter().map(Result::is_ok).collect()
        };
        assert_eq!(ok(vec![failure(), chain(), failure(), chain()], 2), [true, true]);
        assert_eq!(ok(vec![failure(), chain(), failure()], 2), [true, false]);
        let broken = Err(SpaceError::Broken("gone".into()));
        let drawn = fair(vec![chain(), chain(), broken], 1);
        assert!(matches!(drawn, Err(SpaceError::Broken(_))));
    }

    #[test]
    fn the_largest_of_a_pool_come_first_and_failures_last() {
        let config = toy::config(&[]);
        let (space, task) = (toy::parts(&config).space, toy::data(0).info().task());
        let chains: [&[&str]; 4] = [&["narrow"], &["wide"], &["narrow"], &["wide", "wide"]];
        let of = |arch| Drawn::of(&*space, task, arch).unwrap();
        let mut drawn = vec![of(Err(SpaceError::Other("no".into())))];
        drawn.extend(chains.map(|ops| of(Ok(toy::chain(ops)))));
        let hashes: Vec<String> = drawn.iter().map(|one| one.hash.clone()).collect();
        keep_largest(&mut drawn, 4);
        let kept: Vec<&str> = drawn.iter().map(|one| &one.hash[..]).collect();
        assert_eq!(kept, [4, 2, 1, 3].map(|at| &hashes[at][..]));
        let broken = Err(SpaceError::Broken("gone".into()));
        assert!(matches!(Drawn::of(&*space, task, broken), Err(SpaceError::Broken(_))));
    }

    #[test]
    fn a_large_step_has_larger_networks() {
        let parameters = |sampling| -> usize {
            let networks = (0..50).flat_map(|step| of_step(sampling, 2, step));
            networks.map(|(_, network)| network.param_count()).sum()
        };
        let (large, uniform) = (parameters("large"), parameters("uniform"));
        assert!(large as f64 > 1.2 * uniform as f64, "{large} {uniform}");
        assert_eq!(of_step("large", 2, 7), of_step("large", 2, 7));
    }
}
