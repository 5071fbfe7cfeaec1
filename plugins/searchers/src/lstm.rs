//! An LSTM (Hochreiter and Schmidhuber 1997) over the choices of an architecture, as the controller
//! of Zoph and Le 2017: each step reads the embedding of the choice before and gives the logits of
//! the next one.

use std::ops::Range;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::policy::{Logits, Slope};

/// Units of the state; Zoph and Le's has 35.
const HIDDEN: usize = 32;

/// Input, forget, output and cell gate.
const GATES: usize = 4;

/// Bound of the uniform initial parameters (Zoph and Le 2017, section 4.1).
const INITIAL: f64 = 0.08;

type Vector = [f64; HIDDEN];

/// The controller, without its parameters.
pub(crate) struct Lstm {
    counts: Vec<usize>,
}

/// Where parameters lie: [gates, hidden, 2 hidden] weights of input and state, gate biases, then for
/// each position the head [choices, hidden], its bias, and an embedding for each choice. The first
/// step reads zeros.
struct Layout {
    heads: Vec<usize>,
    len: usize,
}

const WEIGHTS: usize = GATES * HIDDEN * 2 * HIDDEN;

const HEADS: usize = WEIGHTS + GATES * HIDDEN;

/// What one step computed.
struct Step {
    input: Vector,
    before: Vector,
    cell_before: Vector,
    gates: [Vector; GATES],
    cell: Vector,
    hidden: Vector,
}

impl Lstm {
    pub(crate) fn new(counts: Vec<usize>) -> Self {
        Self { counts }
    }

    fn layout(&self) -> Layout {
        let mut len = HEADS;
        let mut heads = Vec::with_capacity(self.counts.len());
        for count in &self.counts {
            heads.push(len);
            len += count * (2 * HIDDEN + 1);
        }
        Layout { heads, len }
    }

    /// Where the embedding of a choice at `position` lies.
    fn embedding(&self, layout: &Layout, position: usize, choice: usize) -> Range<usize> {
        let start = layout.heads[position] + self.counts[position] * (HIDDEN + 1) + choice * HIDDEN;
        start..start + HIDDEN
    }

    fn logits(&self, params: &[f64], head: usize, count: usize, hidden: &Vector) -> Vec<f64> {
        let (rows, biases) = params[head..head + count * (HIDDEN + 1)].split_at(count * HIDDEN);
        rows.chunks_exact(HIDDEN).zip(biases).map(|(row, bias)| bias + dot(row, hidden)).collect()
    }

    fn run(
        &self,
        params: &[f64],
        choose: &mut dyn FnMut(usize, &[f64]) -> usize,
    ) -> Vec<(Step, Vec<f64>)> {
        let layout = self.layout();
        let mut steps: Vec<(Step, Vec<f64>)> = Vec::with_capacity(self.counts.len());
        let mut input = [0.0; HIDDEN];
        for (position, &count) in self.counts.iter().enumerate() {
            let last = steps.last().map(|(step, _)| (step.hidden, step.cell));
            let (before, cell_before) = last.unwrap_or(([0.0; HIDDEN], [0.0; HIDDEN]));
            let step = Step::run(params, input, before, cell_before);
            let logits = self.logits(params, layout.heads[position], count, &step.hidden);
            let choice = choose(position, &logits);
            input.copy_from_slice(&params[self.embedding(&layout, position, choice)]);
            steps.push((step, logits));
        }
        steps
    }
}

impl Step {
    fn run(params: &[f64], input: Vector, before: Vector, cell_before: Vector) -> Self {
        let (weights, biases) = params[..HEADS].split_at(WEIGHTS);
        let mut gates = [[0.0; HIDDEN]; GATES];
        let sums = gates.as_flattened_mut().iter_mut();
        for ((sum, row), bias) in sums.zip(weights.chunks_exact(2 * HIDDEN)).zip(biases) {
            *sum = bias + dot(&row[..HIDDEN], &input) + dot(&row[HIDDEN..], &before);
        }
        for (gate, values) in gates.iter_mut().enumerate() {
            let activate = |x: f64| if gate == 3 { x.tanh() } else { 1.0 / (1.0 + (-x).exp()) };
            *values = values.map(activate);
        }
        let [into, forget, out, new] = &gates;
        let cell: Vector = std::array::from_fn(|i| forget[i] * cell_before[i] + into[i] * new[i]);
        let hidden = std::array::from_fn(|i| out[i] * cell[i].tanh());
        Self { input, before, cell_before, gates, cell, hidden }
    }

    /// Adds to `gradient`; takes derivatives with respect to `hidden` and `cell` and gives those
    /// with respect to input, state and cell before.
    fn back(
        &self,
        params: &[f64],
        hidden: &Vector,
        cell: &Vector,
        gradient: &mut [f64],
    ) -> (Vector, Vector, Vector) {
        let [into, forget, out, new] = &self.gates;
        let cell: Vector = std::array::from_fn(|i| {
            let squashed = self.cell[i].tanh();
            cell[i] + hidden[i] * out[i] * (1.0 - squashed * squashed)
        });
        let logistic = |value: f64| value * (1.0 - value);
        let mut sums = [[0.0; HIDDEN]; GATES];
        for i in 0..HIDDEN {
            sums[0][i] = cell[i] * new[i] * logistic(into[i]);
            sums[1][i] = cell[i] * self.cell_before[i] * logistic(forget[i]);
            sums[2][i] = hidden[i] * self.cell[i].tanh() * logistic(out[i]);
            sums[3][i] = cell[i] * into[i] * (1.0 - new[i] * new[i]);
        }
        let (mut input, mut before) = ([0.0; HIDDEN], [0.0; HIDDEN]);
        let (slopes, biases) = gradient[..HEADS].split_at_mut(WEIGHTS);
        let rows = params[..WEIGHTS].chunks_exact(2 * HIDDEN);
        let slopes = slopes.chunks_exact_mut(2 * HIDDEN).zip(biases);
        for ((sum, row), (slopes, bias)) in sums.as_flattened().iter().zip(rows).zip(slopes) {
            *bias += sum;
            let (from_input, from_before) = slopes.split_at_mut(HIDDEN);
            add(from_input, *sum, &self.input);
            add(from_before, *sum, &self.before);
            add(&mut input, *sum, &row[..HIDDEN]);
            add(&mut before, *sum, &row[HIDDEN..]);
        }
        (input, before, std::array::from_fn(|i| cell[i] * forget[i]))
    }
}

impl Logits for Lstm {
    fn len(&self) -> usize {
        self.layout().len
    }

    fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<f64> {
        (0..self.layout().len).map(|_| rng.random_range(-INITIAL..INITIAL)).collect()
    }

    fn unroll(&self, params: &[f64], choose: &mut dyn FnMut(usize, &[f64]) -> usize) {
        self.run(params, choose);
    }

    fn gradient(&self, params: &[f64], choices: &[usize], slope: &mut Slope<'_>) -> Vec<f64> {
        let layout = self.layout();
        let steps = self.run(params, &mut |position, _| choices[position]);
        let mut gradient = vec![0.0; layout.len];
        let (mut hidden, mut cell) = ([0.0; HIDDEN], [0.0; HIDDEN]);
        for (position, (step, logits)) in steps.iter().enumerate().rev() {
            let mut slopes = vec![0.0; logits.len()];
            slope(position, logits, &mut slopes);
            let head = layout.heads[position];
            for (choice, slope) in slopes.into_iter().enumerate() {
                let row = head + choice * HIDDEN..head + (choice + 1) * HIDDEN;
                add(&mut hidden, slope, &params[row.clone()]);
                add(&mut gradient[row], slope, &step.hidden);
                gradient[head + logits.len() * HIDDEN + choice] += slope;
            }
            let input;
            (input, hidden, cell) = step.back(params, &hidden, &cell, &mut gradient);
            if position > 0 {
                let read = self.embedding(&layout, position - 1, choices[position - 1]);
                add(&mut gradient[read], 1.0, &input);
            }
        }
        gradient
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Adds `factor` times `values` to `sum`.
fn add(sum: &mut [f64], factor: f64, values: &[f64]) {
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += factor * value);
}
