//! An ensemble of networks that predicts objectives from path encodings, with its uncertainty
//! (White, Neiswanger, Savani 2021, section 4.2).

use std::collections::BTreeMap;

use ghnas_core::rng;

use crate::mlp::{Mlp, Recipe, Sample};

/// Inputs that a network has at most: the paths that most of the evaluated architectures have.
const MOST_INPUTS: usize = 1024;

/// How far below the best objective the loss puts the bound that it measures from, in parts of the
/// way from the best to the median.
const MARGIN: f64 = 0.1;

/// What is known of an architecture.
pub(crate) struct Known {
    /// Its path encoding.
    pub(crate) paths: Vec<u64>,
    /// Its objective; finite.
    pub(crate) objective: f64,
}

/// A prediction, in units that mean something within one ensemble only.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Prediction {
    /// Mean of the networks' predictions.
    pub(crate) mean: f64,
    /// Their standard deviation.
    pub(crate) deviation: f64,
}

/// Networks that learned the same from different beginnings.
pub(crate) struct Ensemble {
    /// The network input of each path.
    inputs: BTreeMap<u64, usize>,
    networks: Vec<Mlp>,
}

impl Ensemble {
    /// `count` networks that have learned `known`, which is not empty. The loss is the paper's mean
    /// absolute percentage error above a bound below all objectives: good architectures count most.
    pub(crate) fn fit(known: &[Known], count: usize, recipe: Recipe, seed: u64) -> Self {
        let inputs = inputs(known);
        let mut sorted: Vec<f64> = known.iter().map(|known| known.objective).collect();
        sorted.sort_by(f64::total_cmp);
        let (best, median) = (sorted[0], sorted[sorted.len() / 2]);
        let extent = if median > best { median - best } else { 1.0 };
        let samples: Vec<Sample> = known
            .iter()
            .map(|Known { paths, objective }| {
                let target = (objective - best) / extent;
                let weight = (1.0 / (target + MARGIN)) as f32;
                Sample { active: active(&inputs, paths), target: target as f32, weight }
            })
            .collect();
        let network = |index| {
            let mut random = rng::stream(seed, "bananas.network", index);
            Mlp::trained(&samples, inputs.len(), recipe, &mut random)
        };
        Self { networks: (0..count as u64).map(network).collect(), inputs }
    }

    /// The prediction for an architecture; paths that were never seen say nothing.
    pub(crate) fn predict(&self, paths: &[u64]) -> Prediction {
        let active = active(&self.inputs, paths);
        let outputs = self.networks.iter().map(|network| f64::from(network.predict(&active)));
        let outputs: Vec<f64> = outputs.collect();
        let count = outputs.len() as f64;
        let mean = outputs.iter().sum::<f64>() / count;
        let squares = outputs.iter().map(|output| (output - mean).powi(2)).sum::<f64>();
        Prediction { mean, deviation: (squares / count).sqrt() }
    }
}

/// The most frequent paths, numbered.
fn inputs(known: &[Known]) -> BTreeMap<u64, usize> {
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    for path in known.iter().flat_map(|known| &known.paths) {
        *counts.entry(*path).or_default() += 1;
    }
    let mut order: Vec<(usize, u64)> = counts.into_iter().map(|(path, n)| (n, path)).collect();
    order.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    order.into_iter().take(MOST_INPUTS).zip(0..).map(|((_, path), input)| (path, input)).collect()
}

fn active(inputs: &BTreeMap<u64, usize>, paths: &[u64]) -> Vec<usize> {
    paths.iter().filter_map(|path| inputs.get(path).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    use rand::RngExt;

    const RECIPE: Recipe = Recipe { layers: 2, width: 20, epochs: 100, rate: 0.01 };

    #[test]
    fn it_ranks_a_linear_function_of_paths() {
        let mut random = rng::stream(2, "predictor-test", 0);
        let weights: Vec<f64> = (0..10).map(|_| random.random_range(0.0..1.0)).collect();
        let mut draw = |_| {
            let paths: Vec<u64> = (0..10).filter(|_| random.random_bool(0.4)).collect();
            let objective = 7.0 + paths.iter().map(|&path| weights[path as usize]).sum::<f64>();
            Known { paths, objective }
        };
        let known: Vec<Known> = (0..60).map(&mut draw).collect();
        let fresh: Vec<Known> = (0..60).map(&mut draw).collect();
        let ensemble = Ensemble::fit(&known, 3, RECIPE, 1);
        let means: Vec<f64> =
            fresh.iter().map(|fresh| ensemble.predict(&fresh.paths).mean).collect();
        let (mut agree, mut pairs) = (0, 0);
        for i in 0..60 {
            for j in 0..i {
                let apart = fresh[i].objective - fresh[j].objective;
                pairs += usize::from(apart.abs() > 0.1);
                agree += usize::from(apart.abs() > 0.1 && apart * (means[i] - means[j]) > 0.0);
            }
        }
        assert!(agree as f64 > 0.9 * pairs as f64, "{agree} of {pairs} pairs in order");
    }

    #[test]
    fn the_networks_are_surer_of_what_they_saw() {
        let known: Vec<Known> =
            (0..20).map(|i| Known { paths: vec![i % 5], objective: (i % 5) as f64 }).collect();
        let ensemble = Ensemble::fit(&known, 5, RECIPE, 1);
        let seen = ensemble.predict(&[1]).deviation;
        let fresh = ensemble.predict(&[0, 1, 2, 3, 4]).deviation;
        assert!(seen < fresh, "{seen} {fresh}");
    }

    #[test]
    fn equal_objectives_are_no_division_by_zero() {
        let known: Vec<Known> = (0..4).map(|i| Known { paths: vec![i], objective: 2.0 }).collect();
        let Prediction { mean, deviation } = Ensemble::fit(&known, 2, RECIPE, 1).predict(&[0, 9]);
        assert!(mean.is_finite() && deviation.is_finite());
    }

    #[test]
    fn the_most_frequent_paths_become_inputs() {
        let known = |paths: Vec<u64>| Known { paths, objective: 0.0 };
        let many: Vec<u64> = (100..100 + MOST_INPUTS as u64).collect();
        let inputs = inputs(&[known(many), known(vec![5]), known(vec![5])]);
        assert_eq!(inputs.len(), MOST_INPUTS);
        assert_eq!(inputs[&5], 0);
        assert!(!inputs.contains_key(&(99 + MOST_INPUTS as u64)));
    }
}
