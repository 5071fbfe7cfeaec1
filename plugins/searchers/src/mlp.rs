//! A small fully connected network with rectified hidden layers, one output and sparse inputs,
//! trained by Adam (Kingma and Ba 2015).

use std::ops::Range;

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
    /// The inputs, each with its number; the others are zero.
    pub(crate) inputs: Vec<(usize, f32)>,
    /// The output.
    pub(crate) target: f32,
    /// Weight of the absolute error.
    pub(crate) weight: f32,
}

/// One number for each sample of a batch: what is computed for all of them at once, the compiler
/// keeps in vectors.
type Lanes = [f32; BATCH];

/// A network.
pub(crate) struct Mlp {
    layers: Vec<Layer>,
    /// Of each layer its weights, then its biases. Those of the first are [in, out], so that the few
    /// inputs of a sample that are not zero have a row each; those of the others [out, in].
    params: Vec<f32>,
}

struct Layer {
    /// Where its parameters begin.
    start: usize,
    inputs: usize,
    outputs: usize,
}

/// A batch on its way through a network.
struct Pass {
    /// The outputs of each layer.
    values: Vec<Vec<Lanes>>,
    /// Their gradients.
    slopes: Vec<Vec<Lanes>>,
    /// What the first layer makes of one sample, or the gradient of that.
    row: Vec<f32>,
}

impl Mlp {
    /// A network that has learned `samples`, whose inputs are below `inputs`.
    pub(crate) fn trained(
        samples: &[Sample],
        inputs: usize,
        recipe: Recipe,
        rng: &mut ChaCha8Rng,
    ) -> Self {
        let inputs_of = |sample: &Sample| sample.inputs.iter().map(|(_, x)| x * x).sum::<f32>();
        let squares: f32 = samples.iter().map(inputs_of).sum();
        let typical = squares / samples.len().max(1) as f32;
        let mut network = Self::new(inputs, typical, recipe, rng);
        network.train(samples, recipe, rng);
        network
    }

    /// Weights are drawn as in He et al. 2015, uniformly; `typical` is the sum of the squares of
    /// all inputs.
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

    fn train(&mut self, samples: &[Sample], recipe: Recipe, rng: &mut ChaCha8Rng) {
        const DECAY: [f32; 2] = [0.9, 0.999]; // Kingma and Ba 2015, algorithm 1
        let (mut gradient, mut pass) = (vec![0.0; self.params.len()], Pass::of(self));
        let (mut first, mut second) = (gradient.clone(), gradient.clone());
        let mut powers = [1.0_f32; 2];
        let mut order: Vec<usize> = (0..samples.len()).collect();
        for _ in 0..recipe.epochs {
            order.shuffle(rng);
            for batch in order.chunks(BATCH) {
                let batch = || batch.iter().map(|&sample| &samples[sample]);
                self.forward(batch().map(|sample| &sample.inputs[..]), &mut pass);
                pass.set_error(batch());
                self.backward(batch().map(|sample| &sample.inputs[..]), &mut pass, &mut gradient);
                let part = 1.0 / batch().len() as f32;
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

    /// The outputs for these inputs, each with its number.
    pub(crate) fn predict(&self, inputs: &[Vec<(usize, f32)>]) -> Vec<f32> {
        let (mut pass, mut outputs) = (Pass::of(self), Vec::with_capacity(inputs.len()));
        for batch in inputs.chunks(BATCH) {
            self.forward(batch.iter().map(|inputs| &inputs[..]), &mut pass);
            outputs.extend_from_slice(&pass.output()[..batch.len()]);
        }
        outputs
    }

    /// Passes at most [`BATCH`] samples on, whose inputs these are.
    fn forward<'a>(&self, batch: impl Iterator<Item = &'a [(usize, f32)]>, pass: &mut Pass) {
        let (first, others) = self.layers.split_first().expect("there is an output layer");
        let Pass { values, row, .. } = pass;
        for (lane, inputs) in batch.enumerate() {
            row.copy_from_slice(&self.params[first.biases()]);
            inputs.iter().for_each(|&(input, x)| add(row, x, &self.params[first.of_input(input)]));
            values[0].iter_mut().zip(&*row).for_each(|(value, x)| value[lane] = x.max(0.0));
        }
        for (number, layer) in (1..).zip(others) {
            let (before, after) = values.split_at_mut(number);
            let (inputs, is_last) = (&before[number - 1], number == others.len());
            let biases = &self.params[layer.biases()];
            for (output, (value, &bias)) in after[0].iter_mut().zip(biases).enumerate() {
                let weights = &self.params[layer.of_output(output)];
                let sum = sum([bias; BATCH], inputs.iter().zip(weights.iter().copied()));
                *value = if is_last { sum } else { sum.map(|x| x.max(0.0)) };
            }
        }
    }

    /// Writes the gradient of what the slopes of the output are of, for the same batch as in
    /// [`forward`](Self::forward).
    fn backward<'a>(
        &self,
        batch: impl Iterator<Item = &'a [(usize, f32)]>,
        pass: &mut Pass,
        gradient: &mut [f32],
    ) {
        gradient.fill(0.0);
        let Pass { values, slopes, row } = pass;
        for (number, layer) in self.layers.iter().enumerate().skip(1).rev() {
            let inputs = &values[number - 1];
            let (before, after) = slopes.split_at_mut(number);
            let (before, after) = (&mut before[number - 1], &after[0]);
            for (output, (slope, bias)) in after.iter().zip(layer.biases()).enumerate() {
                gradient[bias] = slope.iter().sum();
                let gradient = &mut gradient[layer.of_output(output)];
                for (gradient, x) in gradient.iter_mut().zip(inputs) {
                    *gradient = dot(x, slope);
                }
            }
            for (input, (before, value)) in before.iter_mut().zip(inputs).enumerate() {
                let weights = &self.params[layer.start + input..];
                let weights = weights.iter().copied().step_by(layer.inputs);
                let sum = sum([0.0; BATCH], after.iter().zip(weights));
                for ((before, sum), value) in before.iter_mut().zip(sum).zip(value) {
                    *before = if *value > 0.0 { sum } else { 0.0 };
                }
            }
        }
        let first = &self.layers[0];
        for (lane, inputs) in batch.enumerate() {
            row.iter_mut().zip(&slopes[0]).for_each(|(row, slope)| *row = slope[lane]);
            add(&mut gradient[first.biases()], 1.0, row);
            inputs.iter().for_each(|&(input, x)| add(&mut gradient[first.of_input(input)], x, row));
        }
    }
}

impl Layer {
    /// The weights of one input of the first layer.
    fn of_input(&self, input: usize) -> Range<usize> {
        let start = self.start + input * self.outputs;
        start..start + self.outputs
    }

    /// The weights of one output of another layer.
    fn of_output(&self, output: usize) -> Range<usize> {
        let start = self.start + output * self.inputs;
        start..start + self.inputs
    }

    fn biases(&self) -> Range<usize> {
        let start = self.start + self.outputs * self.inputs;
        start..start + self.outputs
    }
}

impl Pass {
    /// For batches through `network`.
    fn of(network: &Mlp) -> Self {
        let zeros = |layer: &Layer| vec![[0.0; BATCH]; layer.outputs];
        let all: Vec<Vec<Lanes>> = network.layers.iter().map(zeros).collect();
        Self { slopes: all.clone(), values: all, row: vec![0.0; network.layers[0].outputs] }
    }

    fn output(&self) -> &Lanes {
        &self.values.last().expect("there is an output layer")[0]
    }

    /// Sets the slopes of the output to those of the samples' weighted absolute errors.
    fn set_error<'a>(&mut self, samples: impl Iterator<Item = &'a Sample>) {
        let mut slopes = [0.0; BATCH];
        for ((slope, output), sample) in slopes.iter_mut().zip(self.output()).zip(samples) {
            let error = output - sample.target;
            *slope = if error == 0.0 { 0.0 } else { sample.weight * error.signum() };
        }
        self.slopes.last_mut().expect("there is an output layer")[0] = slopes;
    }
}

/// The sum of `start` and of terms times their factors.
fn sum<'a>(start: Lanes, terms: impl Iterator<Item = (&'a Lanes, f32)>) -> Lanes {
    let mut sum = start;
    for (values, factor) in terms {
        sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += factor * value);
    }
    sum
}

fn add(sum: &mut [f32], factor: f32, values: &[f32]) {
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += factor * value);
}

/// The sum of products: eight sums, then halves of them in pairs, so that vectors stay whole as long
/// as they can.
fn dot(a: &Lanes, b: &Lanes) -> f32 {
    let mut eight = [0.0; 8];
    for (a, b) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0) {
        for ((sum, a), b) in eight.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let four: [f32; 4] = std::array::from_fn(|lane| eight[lane] + eight[lane + 4]);
    (four[0] + four[2]) + (four[1] + four[3])
}

#[cfg(test)]
mod tests {
    use super::*;

    use ghnas_core::rng::stream;

    const RECIPE: Recipe = Recipe { layers: 2, width: 11, epochs: 200, rate: 0.01 };

    #[test]
    fn the_gradient_agrees_with_finite_differences() {
        let mut network = Mlp::new(9, 3.0, RECIPE, &mut stream(1, "mlp-test", 0));
        let sample = |inputs, target, weight| Sample { inputs, target, weight };
        let samples = [
            sample(vec![(0, 1.0), (4, -0.7), (7, 1.6)], 8.0, 0.5),
            sample(vec![(7, 0.4), (8, -1.1)], -5.0, 2.0),
        ];
        let (mut pass, mut gradient) = (Pass::of(&network), vec![9.0; network.params.len()]);
        // What was in the batch before leaves nothing behind.
        network.forward([&[(1, 3.0), (7, 2.0)][..]; BATCH].into_iter(), &mut pass);
        let batch = || samples.iter().map(|sample| &sample.inputs[..]);
        network.forward(batch(), &mut pass);
        pass.set_error(samples.iter());
        network.backward(batch(), &mut pass, &mut gradient);
        let inputs: Vec<_> = samples.iter().map(|sample| sample.inputs.clone()).collect();
        for (index, slope) in gradient.into_iter().enumerate() {
            // A piecewise linear function: a small step stays on one piece.
            let mut at = |shift: f32| {
                let before = network.params[index];
                network.params[index] += shift;
                let outputs = network.predict(&inputs).into_iter().zip(&samples);
                let error = |(output, sample): (f32, &Sample)| {
                    sample.weight * (output - sample.target).abs()
                };
                let sum = outputs.map(error).sum::<f32>();
                network.params[index] = before;
                sum
            };
            let difference = (at(1e-2) - at(-1e-2)) / 2e-2;
            assert!((slope - difference).abs() < 4e-3, "{index}: {slope} {difference}");
        }
    }

    #[test]
    fn a_prediction_does_not_depend_on_the_others_of_its_batch() {
        let network = Mlp::new(40, 3.0, RECIPE, &mut stream(1, "mlp-test", 3));
        let inputs = |i: usize| vec![(i % 40, 1.0), ((7 * i + 1) % 40, 0.3 * i as f32)];
        let all: Vec<_> = (0..BATCH + 5).map(inputs).collect();
        let together = network.predict(&all);
        let alone = all.iter().flat_map(|inputs| network.predict(std::slice::from_ref(inputs)));
        assert_eq!(together, alone.collect::<Vec<f32>>());
    }

    #[test]
    fn it_learns_a_linear_function() {
        let mut random = stream(1, "mlp-test", 1);
        let weights: Vec<f32> = (0..12).map(|_| random.random_range(-1.0..1.0)).collect();
        let mut draw = || {
            let active = (0..12).filter(|_| random.random_bool(0.4));
            let inputs: Vec<(usize, f32)> = active.map(|i| (i, 1.0)).collect();
            let target = inputs.iter().map(|&(i, _)| weights[i]).sum();
            Sample { inputs, target, weight: 1.0 }
        };
        let (samples, fresh): (Vec<Sample>, Vec<Sample>) =
            ((0..200).map(|_| draw()).collect(), (0..100).map(|_| draw()).collect());
        let network = Mlp::trained(&samples, 12, RECIPE, &mut stream(1, "mlp-test", 2));
        let inputs: Vec<_> = fresh.iter().map(|sample| sample.inputs.clone()).collect();
        let pairs = network.predict(&inputs).into_iter().zip(&fresh);
        let mean = pairs.map(|(output, of)| (output - of.target).abs()).sum::<f32>() / 100.0;
        // The targets' mean absolute deviation is about 0.8.
        assert!(mean < 0.1, "mean absolute error {mean}");
    }
}
