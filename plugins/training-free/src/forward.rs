//! Runs a network forward and shows what goes on inside: plain loops over contiguous rows.
//!
//! Values are row-major [count, channels, height, width]. Images run in parallel on the current
//! rayon pool, each in a fixed order, so that results do not depend on the number of threads.

use std::ops::Range;

use ghnas_core::{Convolution, Network, Primitive, Shape, ValueId, Weights, Window};
use rayon::prelude::*;

use crate::number::Number;

/// What differs from one use of a forward pass to another.
pub(crate) trait Rules<T> {
    /// The batch norm of `input`, [count, shape].
    fn batch_norm(
        &mut self,
        input: &[T],
        shape: Shape,
        scale: Option<&[f32]>,
        shift: Option<&[f32]>,
    ) -> Vec<T>;

    /// Is shown what each rectifier reads, [count, elements].
    fn rectifier(&mut self, input: &[T], elements: usize);
}

/// The logits of every output for `images`, [count, network input], which must not be empty.
pub(crate) fn run<T: Number>(
    network: &Network,
    weights: &Weights,
    images: Vec<T>,
    rules: &mut impl Rules<T>,
) -> Vec<Vec<T>> {
    let mut last_use = vec![0; network.values()];
    for (step, instruction) in network.steps().iter().enumerate() {
        instruction.inputs.iter().for_each(|input| last_use[input.index()] = step);
    }
    for output in network.outputs() {
        last_use[output.value.index()] = usize::MAX;
    }
    let mut values: Vec<Vec<T>> = vec![images];
    for (step, instruction) in network.steps().iter().enumerate() {
        let first = instruction.inputs[0];
        let shape = network.shape(first);
        let result = match instruction.primitive {
            Primitive::BatchNorm { scale, shift } => {
                let [scale, shift] = [scale, shift].map(|id| id.map(|id| weights.get(id)));
                rules.batch_norm(&values[first.index()], shape, scale, shift)
            }
            primitive => {
                if primitive == Primitive::Relu {
                    rules.rectifier(&values[first.index()], shape.elements());
                }
                let inputs = instruction.inputs.iter();
                let inputs: Vec<(&[T], Shape)> = inputs
                    .map(|&input| (&values[input.index()][..], network.shape(input)))
                    .collect();
                let output = network.shape(ValueId(step as u32 + 1));
                compute(primitive, weights, &inputs, output)
            }
        };
        values.push(result);
        for input in &instruction.inputs {
            if last_use[input.index()] == step {
                values[input.index()] = Vec::new();
            }
        }
    }
    network.outputs().iter().map(|output| values[output.value.index()].clone()).collect()
}

/// One primitive over all images.
fn compute<T: Number>(
    primitive: Primitive,
    weights: &Weights,
    inputs: &[(&[T], Shape)],
    output: Shape,
) -> Vec<T> {
    let count = inputs[0].0.len() / inputs[0].1.elements();
    let mut result = vec![T::default(); count * output.elements()];
    result.par_chunks_exact_mut(output.elements()).enumerate().for_each(|(image, y)| {
        let inputs: Vec<(&[T], Shape)> = inputs
            .iter()
            .map(|(values, shape)| {
                (&values[image * shape.elements()..][..shape.elements()], *shape)
            })
            .collect();
        compute_image(primitive, weights, &inputs, y, output);
    });
    result
}

/// One primitive over one image; `y` holds zeros.
fn compute_image<T: Number>(
    primitive: Primitive,
    weights: &Weights,
    inputs: &[(&[T], Shape)],
    y: &mut [T],
    output: Shape,
) {
    let (x, shape) = inputs[0];
    match primitive {
        Primitive::Conv2d(conv) => convolve(x, shape, y, output, conv, weights.get(conv.weight)),
        Primitive::BatchNorm { .. } => unreachable!("rules say what a batch norm does"),
        Primitive::Relu => {
            for (y, &x) in y.iter_mut().zip(x) {
                *y = if x.exceeds(T::default()) { x } else { T::default() };
            }
        }
        Primitive::MaxPool(window) => {
            let greatest = |best: T, x: T| if x.exceeds(best) { x } else { best };
            pool(x, shape, y, output, window, greatest, |best, _| best);
        }
        Primitive::AveragePool { window, count_padding } => {
            let mean = |sum: T, inside: usize| {
                let count = if count_padding { window.size * window.size } else { inside };
                sum * T::constant(1.0 / count as f64)
            };
            pool(x, shape, y, output, window, |sum, x| sum + x, mean);
        }
        Primitive::GlobalAveragePool => {
            let share = T::constant(1.0 / shape.pixels() as f64);
            for (y, x) in y.iter_mut().zip(x.chunks_exact(shape.pixels())) {
                *y = sum(x.iter().copied()) * share;
            }
        }
        Primitive::Linear { weight, bias, .. } => {
            let rows = weights.get(weight).chunks_exact(x.len());
            for (index, (y, row)) in y.iter_mut().zip(rows).enumerate() {
                *y = sum(row.iter().zip(x).map(|(&w, &x)| T::parameter(w) * x));
                if let Some(bias) = bias {
                    *y += T::parameter(weights.get(bias)[index]);
                }
            }
        }
        Primitive::Add => {
            for (x, _) in inputs {
                y.iter_mut().zip(*x).for_each(|(y, &x)| *y += x);
            }
        }
        Primitive::Concat => {
            let mut rest = y;
            for (x, _) in inputs {
                let (part, after) = rest.split_at_mut(x.len());
                part.copy_from_slice(x);
                rest = after;
            }
        }
        Primitive::Upsample { factor } => {
            for (row, y) in y.chunks_exact_mut(output.width).enumerate() {
                // Rows of all channels stand below each other, in both values.
                let x = &x[row / factor * shape.width..];
                y.iter_mut().enumerate().for_each(|(column, y)| *y = x[column / factor]);
            }
        }
        Primitive::Zero { .. } => {}
    }
}

fn sum<T: Number>(values: impl Iterator<Item = T>) -> T {
    values.fold(T::default(), |sum, value| sum + value)
}

/// Adds the convolution of `x` to `y`, a tap of a kernel over a row (or a plane) at a time.
fn convolve<T: Number>(
    x: &[T],
    input: Shape,
    y: &mut [T],
    output: Shape,
    conv: Convolution,
    kernel: &[f32],
) {
    let Convolution { kernel: [rows, columns], stride, dilation, padding, groups, .. } = conv;
    let (inputs, outputs) = (input.channels / groups, output.channels / groups);
    let whole_planes = [rows, columns, stride] == [1; 3] && padding == [0; 2];
    for (o, y) in y.chunks_exact_mut(output.pixels()).enumerate() {
        let group = &x[o / outputs * inputs * input.pixels()..][..inputs * input.pixels()];
        let filter = &kernel[o * inputs * rows * columns..][..inputs * rows * columns];
        let planes = group.chunks_exact(input.pixels());
        for (x, taps) in planes.zip(filter.chunks_exact(rows * columns)) {
            if whole_planes {
                add_scaled(y, T::parameter(taps[0]), x.iter());
                continue;
            }
            for (tap, &weight) in taps.iter().enumerate() {
                let weight = T::parameter(weight);
                let (down, right) = (tap / columns * dilation, tap % columns * dilation);
                let across = reach(right, stride, padding[1], input.width, output.width);
                if across.is_empty() {
                    continue;
                }
                let left = across.start * stride + right - padding[1];
                for row in reach(down, stride, padding[0], input.height, output.height) {
                    let x = &x[(row * stride + down - padding[0]) * input.width..][..input.width];
                    let y = &mut y[row * output.width..][across.clone()];
                    if stride == 1 {
                        add_scaled(y, weight, x[left..].iter());
                    } else {
                        add_scaled(y, weight, x[left..].iter().step_by(stride));
                    }
                }
            }
        }
    }
}

/// Output positions at which a tap `offset` from the window's start reads inside the input.
fn reach(
    offset: usize,
    stride: usize,
    padding: usize,
    input: usize,
    output: usize,
) -> Range<usize> {
    let start = padding.saturating_sub(offset).div_ceil(stride);
    let end = (input + padding).saturating_sub(offset).div_ceil(stride).min(output);
    start.min(end)..end
}

fn add_scaled<'a, T: Number + 'a>(y: &mut [T], weight: T, x: impl Iterator<Item = &'a T>) {
    y.iter_mut().zip(x).for_each(|(y, &x)| *y += weight * x);
}

/// Folds the values inside each window, row-major, and writes what `finish` makes of the result and
/// their number.
fn pool<T: Number>(
    x: &[T],
    input: Shape,
    y: &mut [T],
    output: Shape,
    window: Window,
    fold: impl Fn(T, T) -> T,
    finish: impl Fn(T, usize) -> T,
) {
    let Window { size, stride, padding } = window;
    // The part of a window at this output position that lies inside the input.
    let inside = |position: usize, length: usize| {
        let start = position * stride;
        start.saturating_sub(padding)..(start + size).saturating_sub(padding).min(length)
    };
    let planes = x.chunks_exact(input.pixels()).zip(y.chunks_exact_mut(output.pixels()));
    for (x, y) in planes {
        for (at, y) in y.iter_mut().enumerate() {
            let rows = inside(at / output.width, input.height);
            let columns = inside(at % output.width, input.width);
            let count = rows.len() * columns.len();
            let mut result = x[rows.start * input.width + columns.start];
            let mut rest = columns.start + 1..columns.end;
            for row in rows {
                let row = &x[row * input.width..][..input.width];
                result = row[rest].iter().copied().fold(result, &fold);
                rest = columns.clone();
            }
            *y = finish(result, count);
        }
    }
}
