//! A small fully connected network with rectified hidden layers, one output and sparse binary
//! inputs, trained by Adam (Kingma and Ba 2015).

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// Samples a step of Adam looks at.
const BATCH: usize = 32;

/// Shape and training of a network.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recipe {
    /// Hidden layers.
    pub(crate) layers: usize,
    /// Units of a hidden layer.
    pub(crate) width: usize,
    /// Passes over the samples.
    pub(crate) epochs: usize,
    /// Adam's step size.
    pub(crate) rate: f32,
}

/// What is to be learned of one input.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    /// The inputs that are one; the others are zero.
    pub(crate) active: Vec<usize>,
    /// The output.
    pub(crate) target: f32,
    /// Weight of the absolute error.
    pub(crate) weight: f32,
}

/// A network.
pub(crate) struct Mlp {
    layers: Vec<Layer>,
    /// Of each layer [in, out], then its biases.
    params: Vec<f32>,
}

#[derive(Clone, Copy)]
struct Layer {
    /// Where its parameters begin.
    start: usize,
    inputs: usize,
    outputs: usize,
}

/// Buffers of one pass: activations and their gradients, by layer.
struct Pass {
    values: Vec<Vec<f32>>,
    slopes: Vec<Vec<f32>>,
}

impl Mlp {
    /// A network that has learned `samples`, whose inputs are below `inputs`.
    pub(crate) fn trained(
        samples: &[Sample],
        inputs: usize,
        recipe: Recipe,
        rng: &mut ChaCha8Rng,
    ) -> Self {
        let active: usize = samples.iter().map(|sample| sample.active.len()).sum();
        let typical = active as f32 / samples.len().max(1) as f32;
        let mut network = Self::new(inputs, typical, recipe, rng);
        network.train(samples, recipe, rng);
        network
    }

    /// Weights are drawn as in He et al. 2015, uniformly; `typical` inputs are active at once.
    fn new(inputs: usize, typical: f32, recipe: Recipe, rng: &mut ChaCha8Rng) -> Self {
        let (mut layers, mut params) = (Vec::new(), Vec::new());
        let mut into = inputs;
        for layer in 0..=recipe.layers {
            let outputs = if layer == recipe.layers { 1 } else { recipe.width };
            layers.push(Layer { start: params.len(), inputs: into, outputs });
            let fan_in = if layer == 0 { typical.max(1.0) } else { into as f32 };
            let bound = (6.0 / fan_in).sqrt();
            params.extend((0..into * outputs).map(|_| rng.random_range(-bound..bound)));
            params.extend(std::iter::repeat_n(0.0, outputs));
            into = outputs;
        }
        Self { layers, params }
    }

    fn pass(&self) -> Pass {
        let zeros = || self.layers.iter().map(|layer| vec![0.0; layer.outputs]).collect();
        Pass { values: zeros(), slopes: zeros() }
    }

    fn train(&mut self, samples: &[Sample], recipe: Recipe, rng: &mut ChaCha8Rng) {
        const DECAY: [f32; 2] = [0.9, 0.999]; // Kingma and Ba 2015, algorithm 1
        let (mut gradient, mut pass) = (vec![0.0; self.params.len()], self.pass());
        let (mut first, mut second) = (gradient.clone(), gradient.clone());
        let mut powers = [1.0_f32; 2];
        let mut order: Vec<usize> = (0..samples.len()).collect();
        for _ in 0..recipe.epochs {
            order.shuffle(rng);
            for batch in order.chunks(BATCH) {
                gradient.fill(0.0);
                for &sample in batch {
                    self.add_gradient(&samples[sample], &mut pass, &mut gradient);
                }
                let part = 1.0 / batch.len() as f32;
                powers = [powers[0] * DECAY[0], powers[1] * DECAY[1]];
                // The step size of the bias-corrected moments, in one factor.
                let rate = recipe.rate * (1.0 - powers[1]).sqrt() / (1.0 - powers[0]);
                let moments = first.iter_mut().zip(&mut second);
                for ((param, slope), (first, second)) in
                    self.params.iter_mut().zip(&gradient).zip(moments)
                {
                    let slope = slope * part;
                    *first += (1.0 - DECAY[0]) * (slope - *first);
                    *second += (1.0 - DECAY[1]) * (slope * slope - *second);
                    *param -= rate * *first / (second.sqrt() + 1e-8);
                }
            }
        }
    }

    /// The output where the inputs `active` are one.
    pub(crate) fn predict(&self, active: &[usize]) -> f32 {
        let mut pass = self.pass();
        self.forward(active, &mut pass)
    }

    fn forward(&self, active: &[usize], pass: &mut Pass) -> f32 {
        for (number, layer) in self.layers.iter().enumerate() {
            let (before, values) = pass.values.split_at_mut(number);
            let values = &mut values[0];
            values.copy_from_slice(&self.params[layer.biases()]);
            match before.last() {
                None => active.iter().for_each(|&i| add(values, 1.0, &self.params[layer.row(i)])),
                Some(inputs) => {
                    for (i, &input) in inputs.iter().enumerate().filter(|(_, x)| **x != 0.0) {
                        add(values, input, &self.params[layer.row(i)]);
                    }
                }
            }
            if number + 1 < self.layers.len() {
                values.iter_mut().for_each(|value| *value = value.max(0.0));
            }
        }
        pass.values.last().expect("there is an output layer")[0]
    }

    /// Adds the gradient of the weighted absolute error of a sample.
    fn add_gradient(&self, sample: &Sample, pass: &mut Pass, gradient: &mut [f32]) {
        let error = self.forward(&sample.active, pass) - sample.target;
        let slope = if error == 0.0 { 0.0 } else { sample.weight * error.signum() };
        pass.slopes.last_mut().expect("there is an output layer")[0] = slope;
        for (number, layer) in self.layers.iter().enumerate().rev() {
            let (before, slopes) = pass.slopes.split_at_mut(number);
            let slopes = &slopes[0];
            add(&mut gradient[layer.biases()], 1.0, slopes);
            let Some(before) = before.last_mut() else {
                for &i in &sample.active {
                    add(&mut gradient[layer.row(i)], 1.0, slopes);
                }
                continue;
            };
            for (i, (input, before)) in pass.values[number - 1].iter().zip(before).enumerate() {
                *before = 0.0;
                if *input > 0.0 {
                    let row = layer.row(i);
                    *before = dot(&self.params[row.clone()], slopes);
                    add(&mut gradient[row], *input, slopes);
                }
            }
        }
    }
}

impl Layer {
    /// The weights of one input.
    fn row(self, input: usize) -> std::ops::Range<usize> {
        let start = self.start + input * self.outputs;
        start..start + self.outputs
    }

    fn biases(self) -> std::ops::Range<usize> {
        self.row(self.inputs)
    }
}

fn add(sum: &mut [f32], factor: f32, values: &[f32]) {
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += factor * value);
}

/// In eight sums, which the compiler keeps in vectors.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a, b) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    let mut sums = [0.0; 8];
    for (a, b) in a.zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    use ghnas_core::rng::stream;

    const RECIPE: Recipe = Recipe { layers: 2, width: 11, epochs: 200, rate: 0.01 };

    #[test]
    fn the_gradient_agrees_with_finite_differences() {
        let mut network = Mlp::new(9, 3.0, RECIPE, &mut stream(1, "mlp-test", 0));
        let sample = Sample { active: vec![0, 4, 7], target: 8.0, weight: 0.5 };
        let (mut pass, mut gradient) = (network.pass(), vec![0.0; network.params.len()]);
        network.add_gradient(&sample, &mut pass, &mut gradient);
        for (index, slope) in gradient.into_iter().enumerate() {
            // A piecewise linear function: a small step stays on one piece.
            let mut at = |shift: f32| {
                let before = network.params[index];
                network.params[index] += shift;
                let error = (network.predict(&sample.active) - sample.target).abs();
                network.params[index] = before;
                sample.weight * error
            };
            let difference = (at(1e-2) - at(-1e-2)) / 2e-2;
            assert!((slope - difference).abs() < 2e-3, "{index}: {slope} {difference}");
        }
    }

    #[test]
    fn it_learns_a_linear_function() {
        let mut random = stream(1, "mlp-test", 1);
        let weights: Vec<f32> = (0..12).map(|_| random.random_range(-1.0..1.0)).collect();
        let mut draw = || {
            let active: Vec<usize> = (0..12).filter(|_| random.random_bool(0.4)).collect();
            let target = active.iter().map(|&i| weights[i]).sum();
            Sample { active, target, weight: 1.0 }
        };
        let (samples, fresh): (Vec<Sample>, Vec<Sample>) =
            ((0..200).map(|_| draw()).collect(), (0..100).map(|_| draw()).collect());
        let network = Mlp::trained(&samples, 12, RECIPE, &mut stream(1, "mlp-test", 2));
        let error = |sample: &Sample| (network.predict(&sample.active) - sample.target).abs();
        let mean = fresh.iter().map(error).sum::<f32>() / 100.0;
        // The targets' mean absolute deviation is about 0.8.
        assert!(mean < 0.1, "mean absolute error {mean}");
    }
}
