//! Every primitive and its gradient as plain loops in f64 over [count, channels, height, width]:
//! what the kernels are checked against.

use ghnas_core::loss::cross_entropy_gradient;
use ghnas_core::{
    BATCH_NORM_EPSILON, Convolution, Images, LossSum, Network, ParamId, Primitive, Shape, ValueId,
    Weights, Window,
};

/// The values of a network for one batch.
pub(crate) struct Reference<'a> {
    network: &'a Network,
    weights: &'a Weights,
    count: usize,
    values: Vec<Vec<f64>>,
}

impl<'a> Reference<'a> {
    /// Runs the network forward.
    pub(crate) fn forward(network: &'a Network, weights: &'a Weights, images: Images<'_>) -> Self {
        let values = vec![images.data.iter().map(|&x| f64::from(x)).collect()];
        let mut run = Self { network, weights, count: images.count, values };
        for step in 0..network.steps().len() {
            let value = run.step(step);
            run.values.push(value);
        }
        run
    }

    /// The logits of every output, [outputs, count, classes].
    pub(crate) fn logits(&self) -> Vec<f64> {
        let outputs = self.network.outputs().iter();
        outputs.flat_map(|output| self.values[output.value.index()].iter().copied()).collect()
    }

    /// The loss of the last output, and the gradient of every parameter.
    pub(crate) fn backward(&self, labels: &[u16]) -> (LossSum, Vec<Vec<f64>>) {
        let network = self.network;
        let mut params: Vec<Vec<f64>> =
            network.params().iter().map(|param| vec![0.0; param.len()]).collect();
        let mut gradients: Vec<Vec<f64>> =
            self.values.iter().map(|value| vec![0.0; value.len()]).collect();
        let mut loss = LossSum::default();
        for output in network.outputs() {
            let logits: Vec<f32> =
                self.values[output.value.index()].iter().map(|&x| x as f32).collect();
            let mut gradient = vec![0.0; logits.len()];
            let (classes, weight) = (network.classes(), output.loss_weight);
            loss = cross_entropy_gradient(&logits, labels, classes, weight, &mut gradient);
            let sum = gradients[output.value.index()].iter_mut().zip(&gradient);
            sum.for_each(|(sum, &x)| *sum += f64::from(x));
        }
        for step in (0..network.steps().len()).rev() {
            self.step_backward(step, &mut gradients, &mut params);
        }
        (loss, params)
    }

    fn param(&self, id: ParamId) -> &[f32] {
        self.weights.get(id)
    }

    fn step(&self, step: usize) -> Vec<f64> {
        let network = self.network;
        let instruction = &network.steps()[step];
        let output = network.shape(ValueId(step as u32 + 1));
        let shape = network.shape(instruction.inputs[0]);
        let x = &self.values[instruction.inputs[0].index()];
        let mut y = vec![0.0; self.count * output.elements()];
        match instruction.primitive {
            Primitive::Conv2d(conv) => {
                let w = self.param(conv.weight);
                conv_taps(self.count, shape, output, conv, |y_at, x_at, w_at| {
                    y[y_at] += x[x_at] * f64::from(w[w_at]);
                });
            }
            Primitive::BatchNorm { scale, shift } => {
                for channel in 0..shape.channels {
                    let (mean, inverse) = self.statistics(x, shape, channel);
                    let a = scale.map_or(1.0, |id| f64::from(self.param(id)[channel]));
                    let b = shift.map_or(0.0, |id| f64::from(self.param(id)[channel]));
                    for at in self.channel(shape, channel) {
                        y[at] = (x[at] - mean) * inverse * a + b;
                    }
                }
            }
            Primitive::Relu => y.iter_mut().zip(x).for_each(|(y, x)| *y = x.max(0.0)),
            Primitive::MaxPool(window) => {
                windows(self.count, shape, output, window, |y_at, taps| {
                    y[y_at] = x[first_largest(x, taps)];
                });
            }
            Primitive::AveragePool { window, count_padding } => {
                windows(self.count, shape, output, window, |y_at, taps| {
                    let sum: f64 = taps.iter().map(|&at| x[at]).sum();
                    y[y_at] = sum / divisor(window, count_padding, taps);
                });
            }
            Primitive::GlobalAveragePool => {
                let pixels = shape.pixels();
                for (y, x) in y.iter_mut().zip(x.chunks_exact(pixels)) {
                    *y = x.iter().sum::<f64>() / pixels as f64;
                }
            }
            Primitive::Linear { weight, bias, out_features } => {
                let (w, length) = (self.param(weight), shape.elements());
                for (at, y) in y.iter_mut().enumerate() {
                    let (image, out) = (at / out_features, at % out_features);
                    let row = &w[out * length..(out + 1) * length];
                    let x = &x[image * length..(image + 1) * length];
                    *y = row.iter().zip(x).map(|(&w, x)| f64::from(w) * x).sum();
                    *y += bias.map_or(0.0, |id| f64::from(self.param(id)[out]));
                }
            }
            Primitive::Add => {
                for input in &instruction.inputs {
                    let x = &self.values[input.index()];
                    y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
                }
            }
            Primitive::Concat => self.joined(step, |y_at, input, x_at| {
                y[y_at] = self.values[input.index()][x_at];
            }),
            Primitive::Upsample { factor } => {
                repeats(self.count, shape, factor, |y_at, x_at| y[y_at] = x[x_at]);
            }
            Primitive::Zero { .. } => {}
        }
        y
    }

    fn step_backward(&self, step: usize, gradients: &mut [Vec<f64>], params: &mut [Vec<f64>]) {
        let network = self.network;
        let instruction = &network.steps()[step];
        let output = network.shape(ValueId(step as u32 + 1));
        let input = instruction.inputs[0].index();
        let shape = network.shape(instruction.inputs[0]);
        let x = &self.values[input];
        let (earlier, later) = gradients.split_at_mut(step + 1);
        let dy = &later[0];
        match instruction.primitive {
            Primitive::Conv2d(conv) => {
                let w = self.param(conv.weight);
                let (dx, dw) = (&mut earlier[input], &mut params[conv.weight.index()]);
                conv_taps(self.count, shape, output, conv, |y_at, x_at, w_at| {
                    dx[x_at] += dy[y_at] * f64::from(w[w_at]);
                    dw[w_at] += dy[y_at] * x[x_at];
                });
            }
            Primitive::BatchNorm { scale, shift } => {
                (0..shape.channels).for_each(|channel| {
                    let (mean, inverse) = self.statistics(x, shape, channel);
                    let n = (self.count * shape.pixels()) as f64;
                    let normal = |at: usize| (x[at] - mean) * inverse;
                    let sum: f64 = self.channel(shape, channel).map(|at| dy[at]).sum();
                    let product: f64 =
                        self.channel(shape, channel).map(|at| dy[at] * normal(at)).sum();
                    let a = scale.map_or(1.0, |id| f64::from(self.param(id)[channel]));
                    for at in self.channel(shape, channel) {
                        let centred = dy[at] - sum / n - normal(at) * product / n;
                        earlier[input][at] += a * inverse * centred;
                    }
                    if let Some(id) = scale {
                        params[id.index()][channel] += product;
                    }
                    if let Some(id) = shift {
                        params[id.index()][channel] += sum;
                    }
                });
            }
            Primitive::Relu => {
                for ((dx, dy), &x) in earlier[input].iter_mut().zip(dy).zip(x) {
                    *dx += if x > 0.0 { *dy } else { 0.0 };
                }
            }
            Primitive::MaxPool(window) => {
                windows(self.count, shape, output, window, |y_at, taps| {
                    earlier[input][first_largest(x, taps)] += dy[y_at];
                });
            }
            Primitive::AveragePool { window, count_padding } => {
                windows(self.count, shape, output, window, |y_at, taps| {
                    let share = dy[y_at] / divisor(window, count_padding, taps);
                    taps.iter().for_each(|&at| earlier[input][at] += share);
                });
            }
            Primitive::GlobalAveragePool => {
                let pixels = shape.pixels();
                for (dx, dy) in earlier[input].chunks_exact_mut(pixels).zip(dy) {
                    dx.iter_mut().for_each(|dx| *dx += dy / pixels as f64);
                }
            }
            Primitive::Linear { weight, bias, out_features } => {
                let (w, length) = (self.param(weight), shape.elements());
                for (at, dy) in dy.iter().enumerate() {
                    let (image, out) = (at / out_features, at % out_features);
                    for i in 0..length {
                        earlier[input][image * length + i] += dy * f64::from(w[out * length + i]);
                        params[weight.index()][out * length + i] += dy * x[image * length + i];
                    }
                    if let Some(id) = bias {
                        params[id.index()][out] += dy;
                    }
                }
            }
            Primitive::Add => {
                for value in &instruction.inputs {
                    let dx = earlier[value.index()].iter_mut();
                    dx.zip(dy).for_each(|(dx, dy)| *dx += dy);
                }
            }
            Primitive::Concat => self.joined(step, |y_at, value, x_at| {
                earlier[value.index()][x_at] += dy[y_at];
            }),
            Primitive::Upsample { factor } => {
                repeats(self.count, shape, factor, |y_at, x_at| earlier[input][x_at] += dy[y_at]);
            }
            Primitive::Zero { .. } => {}
        }
    }

    /// Mean and inverse standard deviation of a channel over the batch.
    fn statistics(&self, x: &[f64], shape: Shape, channel: usize) -> (f64, f64) {
        let n = (self.count * shape.pixels()) as f64;
        let mean = self.channel(shape, channel).map(|at| x[at]).sum::<f64>() / n;
        let square: f64 = self.channel(shape, channel).map(|at| (x[at] - mean).powi(2)).sum();
        (mean, 1.0 / (square / n + f64::from(BATCH_NORM_EPSILON)).sqrt())
    }

    /// Where the values of a channel stand.
    fn channel(&self, shape: Shape, channel: usize) -> impl Iterator<Item = usize> + use<> {
        let first = move |image: usize| image * shape.elements() + channel * shape.pixels();
        (0..self.count).flat_map(move |image| first(image)..first(image) + shape.pixels())
    }

    /// Calls `f` with each position of a concatenation, and the input and position it comes from.
    fn joined(&self, step: usize, mut f: impl FnMut(usize, ValueId, usize)) {
        let mut at = 0;
        for image in 0..self.count {
            for &input in &self.network.steps()[step].inputs {
                let length = self.network.shape(input).elements();
                for x_at in image * length..(image + 1) * length {
                    f(at, input, x_at);
                    at += 1;
                }
            }
        }
    }
}

/// Calls `f` with the positions in output, input and kernel of every product of a convolution.
fn conv_taps(
    count: usize,
    input: Shape,
    output: Shape,
    conv: Convolution,
    mut f: impl FnMut(usize, usize, usize),
) {
    let [rows, columns] = conv.kernel;
    let (inputs, outputs) = (input.channels / conv.groups, output.channels / conv.groups);
    for image in 0..count {
        for o in 0..output.channels {
            for y in 0..output.height {
                for x in 0..output.width {
                    let y_at =
                        ((image * output.channels + o) * output.height + y) * output.width + x;
                    for i in 0..inputs {
                        let channel = image * input.channels + o / outputs * inputs + i;
                        for (ky, kx) in
                            (0..rows).flat_map(|ky| (0..columns).map(move |kx| (ky, kx)))
                        {
                            let iy = y * conv.stride + ky * conv.dilation;
                            let ix = x * conv.stride + kx * conv.dilation;
                            let inside = (conv.padding[0]..input.height + conv.padding[0])
                                .contains(&iy)
                                && (conv.padding[1]..input.width + conv.padding[1]).contains(&ix);
                            if inside {
                                let row = channel * input.height + iy - conv.padding[0];
                                let x_at = row * input.width + ix - conv.padding[1];
                                f(y_at, x_at, ((o * inputs + i) * rows + ky) * columns + kx);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Calls `f` with each output position and the input positions of its window, row-major.
fn windows(
    count: usize,
    input: Shape,
    output: Shape,
    window: Window,
    mut f: impl FnMut(usize, &[usize]),
) {
    let mut taps = Vec::new();
    let mut y_at = 0;
    for plane in 0..count * input.channels {
        for y in 0..output.height {
            for x in 0..output.width {
                taps.clear();
                for ky in 0..window.size {
                    for kx in 0..window.size {
                        let iy = (y * window.stride + ky).wrapping_sub(window.padding);
                        let ix = (x * window.stride + kx).wrapping_sub(window.padding);
                        if iy < input.height && ix < input.width {
                            taps.push((plane * input.height + iy) * input.width + ix);
                        }
                    }
                }
                f(y_at, &taps);
                y_at += 1;
            }
        }
    }
}

fn first_largest(x: &[f64], taps: &[usize]) -> usize {
    let mut best = taps[0];
    for &at in taps {
        if x[at] > x[best] {
            best = at;
        }
    }
    best
}

fn divisor(window: Window, count_padding: bool, taps: &[usize]) -> f64 {
    if count_padding { (window.size * window.size) as f64 } else { taps.len() as f64 }
}

/// Calls `f` with each position of an upsampled value and the position it comes from.
fn repeats(count: usize, input: Shape, factor: usize, mut f: impl FnMut(usize, usize)) {
    let (height, width) = (input.height * factor, input.width * factor);
    for plane in 0..count * input.channels {
        for y in 0..height {
            for x in 0..width {
                let from = (plane * input.height + y / factor) * input.width + x / factor;
                f((plane * height + y) * width + x, from);
            }
        }
    }
}
