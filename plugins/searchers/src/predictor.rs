//! An ensemble of networks that predicts objectives from features of architectures, with its
//! uncertainty (White, Neiswanger, Savani 2021, section 4.2).

use ghnas_core::rng;

use crate::features::{Features, Inputs};
use crate::mlp::{Mlp, Recipe, Sample};

/// How far below the best objective the loss puts the bound that it measures from, in parts of the
/// way from the best to the median.
const MARGIN: f64 = 0.1;

/// What is known of an architecture.
pub(crate) struct Known<'a> {
    pub(crate) features: &'a Features,
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
    inputs: Inputs,
    networks: Vec<Mlp>,
}

impl Ensemble {
    /// `count` networks that have learned `known`, which is not empty. The loss is the paper's mean
    /// absolute percentage error above a bound below all objectives: good architectures count most.
    pub(crate) fn fit(known: &[Known<'_>], count: usize, recipe: Recipe, seed: u64) -> Self {
        let inputs = Inputs::of(known.iter().map(|known| known.features));
        let mut sorted: Vec<f64> = known.iter().map(|known| known.objective).collect();
        sorted.sort_by(f64::total_cmp);
        let (best, median) = (sorted[0], sorted[sorted.len() / 2]);
        let extent = if median > best { median - best } else { 1.0 };
        let samples: Vec<Sample> = known
            .iter()
            .map(|Known { features, objective }| {
                let target = (objective - best) / extent;
                let weight = (1.0 / (target + MARGIN)) as f32;
                Sample { inputs: inputs.encode(features), target: target as f32, weight }
            })
            .collect();
        let network = |index| {
            let mut random = rng::stream(seed, "bananas.network", index);
            Mlp::trained(&samples, inputs.count(), recipe, &mut random)
        };
        Self { networks: (0..count as u64).map(network).collect(), inputs }
    }

    /// A prediction for each architecture; none depends on the others.
    pub(crate) fn predict<'a>(
        &self,
        all: impl Iterator<Item = &'a Features>,
    ) -> impl Iterator<Item = Prediction> {
        let inputs: Vec<_> = all.map(|features| self.inputs.encode(features)).collect();
        let outputs: Vec<Vec<f32>> =
            self.networks.iter().map(|network| network.predict(&inputs)).collect();
        let count = outputs.len() as f64;
        (0..inputs.len()).map(move |index| {
            let outputs = || outputs.iter().map(|outputs| f64::from(outputs[index]));
            let mean = outputs().sum::<f64>() / count;
            let squares = outputs().map(|output| (output - mean).powi(2)).sum::<f64>();
            Prediction { mean, deviation: (squares / count).sqrt() }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use rand::{Rng, RngExt};

    const RECIPE: Recipe = Recipe { layers: 2, width: 20, epochs: 100, rate: 0.01 };

    fn paths(paths: impl IntoIterator<Item = u64>) -> Features {
        Features::Paths(paths.into_iter().collect())
    }

    fn known(all: &[(Features, f64)]) -> Vec<Known<'_>> {
        all.iter().map(|(features, objective)| Known { features, objective: *objective }).collect()
    }

    /// Learns 60 draws; gives the share of pairs of 60 others that it puts in order.
    fn share_in_order(mut draw: impl FnMut() -> (Features, f64)) -> f64 {
        let all: Vec<(Features, f64)> = (0..60).map(|_| draw()).collect();
        let fresh: Vec<(Features, f64)> = (0..60).map(|_| draw()).collect();
        let ensemble = Ensemble::fit(&known(&all), 3, RECIPE, 1);
        let predictions = ensemble.predict(fresh.iter().map(|(features, _)| features));
        let means: Vec<f64> = predictions.map(|prediction| prediction.mean).collect();
        let (mut agree, mut pairs) = (0_usize, 0_usize);
        for i in 0..60 {
            for j in 0..i {
                let apart = fresh[i].1 - fresh[j].1;
                pairs += usize::from(apart.abs() > 0.1);
                agree += usize::from(apart.abs() > 0.1 && apart * (means[i] - means[j]) > 0.0);
            }
        }
        agree as f64 / pairs as f64
    }

    #[test]
    fn it_ranks_a_linear_function_of_paths() {
        let mut random = rng::stream(2, "predictor-test", 0);
        let weights: Vec<f64> = (0..10).map(|_| random.random_range(0.0..1.0)).collect();
        let share = share_in_order(|| {
            let drawn: Vec<u64> = (0..10).filter(|_| random.random_bool(0.4)).collect();
            let objective = 7.0 + drawn.iter().map(|&path| weights[path as usize]).sum::<f64>();
            (paths(drawn), objective)
        });
        assert!(share > 0.9, "{share} of pairs in order");
    }

    #[test]
    fn it_ranks_a_linear_function_of_embeddings_of_any_scale() {
        let mut random = rng::stream(2, "predictor-test", 1);
        let weights: Vec<f64> = (0..6).map(|_| random.random_range(-1.0..1.0)).collect();
        let share = share_in_order(|| {
            let drawn: Vec<f32> = (0..6).map(|_| random.random_range(-1.0..1.0)).collect();
            let terms = drawn.iter().zip(&weights).map(|(&x, weight)| f64::from(x) * weight);
            let objective = terms.sum::<f64>();
            // Elements of different sizes about different means, and one that is always the same.
            let scaled = drawn.iter().zip(1..).map(|(x, i)| 0.01 * x * i as f32 + 5.0 * i as f32);
            (Features::Vector(scaled.chain([0.3]).collect()), objective)
        });
        assert!(share > 0.8, "{share} of pairs in order");
        // Vectors that say nothing of the objective.
        let mut random = rng::stream(2, "predictor-test", 2);
        let share = share_in_order(|| {
            let drawn = (0..6).map(|_| random.random_range(-1.0..1.0));
            (Features::Vector(drawn.collect()), random.next_u64() as f64 / u64::MAX as f64)
        });
        assert!(share < 0.7, "{share} of pairs in order by chance");
    }

    #[test]
    fn the_networks_are_surer_of_what_they_saw() {
        let all: Vec<_> = (0..20).map(|i| (paths([i % 5]), (i % 5) as f64)).collect();
        let ensemble = Ensemble::fit(&known(&all), 5, RECIPE, 1);
        let asked = [paths([1]), paths(0..5)];
        let deviations: Vec<f64> = ensemble.predict(asked.iter()).map(|p| p.deviation).collect();
        let [seen, fresh] = deviations[..] else { panic!("one a question") };
        assert!(seen < fresh, "{seen} {fresh}");
    }

    #[test]
    fn equal_objectives_are_no_division_by_zero() {
        let all: Vec<_> = (0..4).map(|i| (paths([i]), 2.0)).collect();
        let ensemble = Ensemble::fit(&known(&all), 2, RECIPE, 1);
        let asked = [paths([0, 9])];
        let Prediction { mean, deviation } = ensemble.predict(asked.iter()).next().unwrap();
        assert!(mean.is_finite() && deviation.is_finite());
    }
}
