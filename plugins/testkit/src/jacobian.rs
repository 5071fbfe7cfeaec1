//! A generator's vector-Jacobian product against finite differences over its saved state.
//!
//! A step tells the norm of the gradient, no more. The norm by finite differences is the root of
//! the sum of squares over all saved values. Where there are many, they are dealt out to groups
//! with random signs, and each group is moved at once, which gives the signed sum of its
//! derivatives. The square of that is the sum of their squares but for mixed terms, whose signs
//! cancel on average: a count sketch (Charikar, Chen and Farach-Colton 2002, "Finding Frequent
//! Items in Data Streams"), unbiased for the squared norm.

use ghnas_core::rng::derive_seed;
use ghnas_core::{GeneratorState, Network, StepOptions, WeightGenerator, Weights};

use crate::{SEED, require, words};

/// Groups that values are dealt out to; as many values are moved one by one. Each costs two loads
/// and two generations.
const GROUPS: usize = 256;

/// How far a group is moved.
const EPSILON: f32 = 1.0 / 256.0;

/// Of the norm, where every value is moved by itself: what f32 and the curvature make of it.
const EXACT: f64 = 0.01;

/// Of the norm, where values share groups. The estimate of its square has a relative deviation of
/// sqrt(2 / GROUPS) at most, the norm half of that; four times so much, 0.177, is far from chance.
const ESTIMATED: f64 = 0.177;

/// Values of the state that are moved together, as tensor, position and sign.
type Group = Vec<(String, usize, f32)>;

/// Compares the gradient's norm for a loss that is linear in the weights, with these gradients.
pub(crate) fn check(
    build: &dyn Fn() -> Result<Box<dyn WeightGenerator>, String>,
    network: &Network,
    gradients: &Weights,
) -> Result<(), String> {
    let mut generator = build()?;
    let mut weights = Weights::zeros_for(network.params());
    let ticket = generator.generate(network, &mut weights).map_err(words)?;
    let state = generator.save().map_err(words)?;
    let mut probe = build()?;
    let mut loss = |state: &GeneratorState| -> Result<f64, String> {
        probe.load(state).map_err(words)?;
        probe.predict(network, &mut weights).map_err(words)?;
        Ok(product(gradients, &weights))
    };
    let groups = deal(&state);
    let tolerance = if groups.iter().all(|group| group.len() < 2) { EXACT } else { ESTIMATED };
    let mut squares = 0.0;
    for group in &groups {
        let distance = EPSILON / (group.len().max(1) as f32).sqrt();
        let difference =
            loss(&moved(&state, group, distance))? - loss(&moved(&state, group, -distance))?;
        squares += (difference / f64::from(2.0 * distance)).powi(2);
    }
    generator.vjp(ticket, gradients).map_err(words)?;
    // Nothing is clipped, so the norm is that of the gradient.
    let step = StepOptions { learning_rate: 1e-2, clip_norm: f64::INFINITY };
    let norm = generator.step(step).map_err(words)?.gradient_norm;
    let expected = squares.sqrt();
    require((norm - expected).abs() <= tolerance * expected.max(1e-3), || {
        format!("the gradient's norm is {norm}, by finite differences {expected}")
    })
}

/// The loss at these weights.
pub(crate) fn product(gradients: &Weights, weights: &Weights) -> f64 {
    let pairs = gradients.as_slice().iter().zip(weights.as_slice());
    pairs.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

fn deal(state: &GeneratorState) -> Vec<Group> {
    let values = state.tensors.iter().flat_map(|(name, tensor)| {
        (0..tensor.data.len()).map(move |position| (name.clone(), position))
    });
    let count: usize = state.tensors.values().map(|tensor| tensor.data.len()).sum();
    if count <= GROUPS {
        return values.map(|(name, position)| vec![(name, position, 1.0)]).collect();
    }
    let mut groups = vec![Group::new(); GROUPS];
    for ((name, position), index) in values.zip(0..) {
        let draw = derive_seed(SEED, "conformance jacobian", index);
        let sign = if draw >> 63 == 0 { 1.0 } else { -1.0 };
        groups[draw as usize % GROUPS].push((name, position, sign));
    }
    groups
}

fn moved(state: &GeneratorState, group: &Group, distance: f32) -> GeneratorState {
    let mut moved = state.clone();
    for (name, position, sign) in group {
        moved.tensors.get_mut(name).expect("of this state").data[*position] += sign * distance;
    }
    moved
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ghnas_core::{
        BuildContext, Catalogue, GeneratorError, ParamId, StateTensor, StepReport, Ticket,
    };
    use ghnas_ghn as _;

    use super::*;
    use crate::generator::{gradients, networks};

    /// Weight `i` is the sum of the sines of the values `i`, `i + W` and so on of W weights.
    struct Sines {
        values: Vec<f32>,
        /// What the product is multiplied with, by value; 1 is right.
        error: fn(usize) -> f32,
        squares: f64,
    }

    impl Sines {
        fn new(count: usize, error: fn(usize) -> f32) -> Self {
            let value = |at| (derive_seed(1, "sines", at) % 1000) as f32 / 500.0;
            Self { values: (0..count as u64).map(value).collect(), error, squares: 0.0 }
        }
    }

    impl WeightGenerator for Sines {
        fn generate(
            &mut self,
            network: &Network,
            weights: &mut Weights,
        ) -> Result<Ticket, GeneratorError> {
            self.predict(network, weights).map(|()| Ticket(0))
        }

        fn predict(
            &mut self,
            network: &Network,
            weights: &mut Weights,
        ) -> Result<(), GeneratorError> {
            let all = network.param_count();
            let mut first = 0;
            for index in 0..network.params().len() as u32 {
                for (weight, at) in weights.get_mut(ParamId(index)).iter_mut().zip(first..) {
                    *weight = self.values.iter().skip(at).step_by(all).map(|x| x.sin()).sum();
                }
                first += network.params()[index as usize].len();
            }
            Ok(())
        }

        fn vjp(&mut self, _: Ticket, gradients: &Weights) -> Result<(), GeneratorError> {
            let params = (0..gradients.len() as u32).map(ParamId);
            let flat: Vec<f32> = params.flat_map(|id| gradients.get(id).to_vec()).collect();
            self.squares = self
                .values
                .iter()
                .enumerate()
                .map(|(at, x)| {
                    f64::from((self.error)(at) * flat[at % flat.len()] * x.cos()).powi(2)
                })
                .sum();
            Ok(())
        }

        fn discard(&mut self, _: Ticket) {}

        fn step(&mut self, _: StepOptions) -> Result<StepReport, GeneratorError> {
            Ok(StepReport { gradient_norm: self.squares.sqrt(), applied: true })
        }

        fn parameter_count(&self) -> usize {
            self.values.len()
        }

        fn save(&self) -> Result<GeneratorState, GeneratorError> {
            let tensor = StateTensor { shape: vec![self.values.len()], data: self.values.clone() };
            let tensors = BTreeMap::from([("values".to_string(), tensor)]);
            Ok(GeneratorState { tensors, ..GeneratorState::default() })
        }

        fn load(&mut self, state: &GeneratorState) -> Result<(), GeneratorError> {
            self.values.clone_from(&state.tensors["values"].data);
            Ok(())
        }
    }

    #[test]
    fn wrong_products_are_found_with_few_values_and_with_many() {
        let network = &networks().unwrap()[0];
        let check = |count, error: fn(usize) -> f32| {
            check(&|| Ok(Box::new(Sines::new(count, error))), network, &gradients(network, 3))
        };
        for count in [200, 30_000] {
            check(count, |_| 1.0).unwrap();
            for wrong in [|_| 1.25, |_| 0.75, |at| f32::from(u8::from(at % 2 == 0))] {
                assert!(check(count, wrong).unwrap_err().contains("finite differences"));
            }
        }
    }

    /// A real one of tens of thousands of values.
    #[test]
    fn the_graph_hypernetwork_passes() {
        let catalogue = Catalogue::built_in().unwrap();
        let context = BuildContext { seed: 5, ..BuildContext::new(&catalogue) };
        let settings = &catalogue.generators.get("ghn").unwrap().presets[0].settings;
        let build = || catalogue.generators.build("ghn", settings, &context).map_err(words);
        for network in networks().unwrap() {
            check(&build, &network, &gradients(&network, 3)).unwrap();
        }
    }
}
