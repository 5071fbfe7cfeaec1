//! Validation of a weight generator during training: the same probe architectures are scored again
//! and again on validation images. No test image and no known accuracy has a part in it.

use std::collections::BTreeSet;

use ghnas_core::{Executor, Network, Phase, SearchSpace, SpaceError, Task, WeightGenerator, rng};

use crate::comparison::correlations;
use crate::config::Config;
use crate::error::EngineError;
use crate::scorer::Scorer;

/// Architectures that are drawn at most for each probe, so that probes differ.
const DRAWS: u64 = 4;

/// What a generator was worth at a step of its training.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Training steps done.
    pub step: u64,
    /// Mean of the probes' losses, over those that have one.
    pub loss: Option<f64>,
    /// Spearman's correlation of the probes' losses with those of the evaluation before: how stable
    /// the ranking is. Nothing for the first, where fewer than three probes have both, and where
    /// all are equal.
    pub stability: Option<f64>,
    /// Spearman's correlation of the probes' losses with those after a brief training of each;
    /// nothing where they are not trained, where fewer than three have both, and where all are
    /// equal.
    pub agreement: Option<f64>,
    /// The probes, in the order in which they were drawn.
    pub probes: Vec<ProbeLoss>,
}

/// A probe's loss, with generated weights or with trained ones.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeLoss {
    /// Hash of the architecture, hexadecimal.
    pub hash: String,
    /// Mean cross-entropy on the validation images, in nats; nothing where it has no score.
    pub loss: Option<f64>,
}

impl Evaluation {
    /// `trained` are the probes after a brief training of each; none where that was not asked for.
    fn new(
        step: u64,
        probes: Vec<ProbeLoss>,
        before: Option<&Self>,
        trained: &[ProbeLoss],
    ) -> Self {
        let losses: Vec<f64> = probes.iter().filter_map(|probe| probe.loss).collect();
        let mean = losses.iter().sum::<f64>() / losses.len() as f64;
        Self {
            step,
            loss: (!losses.is_empty()).then_some(mean),
            stability: before.and_then(|before| rank_correlation(&probes, &before.probes)),
            agreement: rank_correlation(&probes, trained),
            probes,
        }
    }

    /// Probes that have a loss.
    pub fn scored(&self) -> usize {
        self.probes.iter().filter(|probe| probe.loss.is_some()).count()
    }
}

/// Spearman's correlation of two losses of the same probes, over those that have both; nothing where
/// they are fewer than three or all equal.
pub(crate) fn rank_correlation(one: &[ProbeLoss], other: &[ProbeLoss]) -> Option<f64> {
    let pairs = one.iter().zip(other).filter_map(|(one, other)| Some((one.loss?, other.loss?)));
    let (one, other): (Vec<f64>, Vec<f64>) = pairs.unzip();
    correlations(&one, &other).ok().map(|of| of.spearman)
}

/// The architectures that a study's generator is validated with.
pub(crate) struct Probes {
    /// With their hashes, hexadecimal.
    networks: Vec<(String, Network)>,
}

impl Probes {
    /// `train.probes` architectures that differ, a function of the seed alone; fewer where the
    /// space has or gives no more.
    ///
    /// # Errors
    /// [`EngineError::Space`] where the space is broken.
    pub(crate) fn draw(
        config: &Config,
        space: &dyn SearchSpace,
        task: Task,
    ) -> Result<Self, EngineError> {
        let (wanted, mut known, mut networks) = (config.train.probes, BTreeSet::new(), Vec::new());
        for index in 0..DRAWS * wanted as u64 {
            let seed = rng::derive_seed(config.seed, "probe", index);
            let drawn = space
                .sample(Phase::Score, seed)
                .and_then(|arch| Ok((arch.hash().to_string(), space.lower(&arch, task)?)));
            match drawn {
                Ok((hash, network)) => {
                    if known.insert(hash.clone()) {
                        networks.push((hash, network));
                    }
                }
                Err(source @ SpaceError::Broken(_)) => {
                    return Err(EngineError::Space { what: format!("probe {index}"), source });
                }
                // A candidate that fails is passed over, too.
                Err(_) => {}
            }
            if networks.len() == wanted {
                break;
            }
        }
        Ok(Self { networks })
    }

    /// Their hashes, hexadecimal, and their networks.
    pub(crate) fn networks(&self) -> &[(String, Network)] {
        &self.networks
    }

    /// Scores all probes after `step` training steps.
    ///
    /// # Errors
    /// [`EngineError::Score`] where the device or the generator is at fault.
    pub(crate) fn evaluate(
        &self,
        step: u64,
        before: Option<&Evaluation>,
        trained: &[ProbeLoss],
        scorer: &mut Scorer,
        generator: &mut dyn WeightGenerator,
        executor: &mut dyn Executor,
    ) -> Result<Evaluation, EngineError> {
        let mut probes = Vec::with_capacity(self.networks.len());
        for (hash, network) in &self.networks {
            let loss = match scorer.score(network, generator, executor) {
                Ok(score) => Some(score.loss),
                Err(error) => {
                    error.of_network(|| format!("training step {step}, probe {hash}"))?;
                    None
                }
            };
            probes.push(ProbeLoss { hash: hash.clone(), loss });
        }
        Ok(Evaluation::new(step, probes, before, trained))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy;

    fn evaluation(losses: &[f64], before: Option<&Evaluation>) -> Evaluation {
        let probe =
            |&loss: &f64| ProbeLoss { hash: "00".into(), loss: loss.is_finite().then_some(loss) };
        Evaluation::new(1, losses.iter().map(probe).collect(), before, &[])
    }

    #[test]
    fn loss_is_the_mean_and_stability_the_rank_correlation_of_what_has_both() {
        let none = f64::NAN;
        let first = evaluation(&[1.0, 2.0, none, 3.0, 4.0], None);
        assert_eq!((first.loss, first.stability, first.scored()), (Some(2.5), None, 4));
        // Ranks 1, 2, 3 of probes 0, 3, 4 become 1, 3, 2: rho = 1 - 6 * 2 / (3 * 8).
        let second = evaluation(&[0.5, none, 9.0, 0.75, 0.7], Some(&first));
        assert!((second.stability.unwrap() - 0.5).abs() < 1e-12, "{second:?}");
        assert_eq!(evaluation(&[1.0, none, none, none, 4.0], Some(&first)).stability, None);
        assert_eq!(evaluation(&[1.0; 5], Some(&first)).stability, None);
        assert_eq!(evaluation(&[none; 5], Some(&first)).loss, None);
    }

    #[test]
    fn probes_differ_and_are_a_function_of_the_seed() {
        let drawn = |flags: &[&str]| {
            let config = toy::config(flags);
            let parts = toy::parts(&config);
            let probes = Probes::draw(&config, &*parts.space, parts.task()).unwrap();
            probes.networks.into_iter().map(|(hash, _)| hash).collect::<Vec<_>>()
        };
        let probes = drawn(&["train.probes=8"]);
        assert_eq!((probes.len(), probes.iter().collect::<BTreeSet<_>>().len()), (8, 8));
        assert_eq!(drawn(&["train.probes=5"]), probes[..5]);
        assert_ne!(drawn(&["train.probes=8", "seed=1"]), probes);
        // Chains of one to four of two operations: there are 30.
        assert!((20..=30).contains(&drawn(&["train.probes=64"]).len()));
        let absent = "space.settings.ops=[\"wide\", \"absent\"]";
        assert_eq!(drawn(&["train.probes=64", absent]).len(), 4);
    }

    #[test]
    fn a_probe_that_cannot_run_has_no_loss() {
        let flags = ["train.probes=16", "space.settings.ops=[\"wide\", \"foreign\"]"];
        let config = toy::config(&flags);
        let mut parts = toy::parts(&config);
        let probes = Probes::draw(&config, &*parts.space, parts.task()).unwrap();
        let mut scorer = Scorer::new(&parts.data, 10, 4);
        let (generator, executor) = (&mut *parts.generator, &mut *parts.executor);
        let evaluation = probes.evaluate(7, None, &[], &mut scorer, generator, executor).unwrap();
        assert_eq!((evaluation.step, evaluation.probes.len()), (7, 16));
        assert!((1..=4).contains(&evaluation.scored()), "{evaluation:?}");
    }
}
