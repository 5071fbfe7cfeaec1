//! The backward pass: gradients as terms, from the outputs to the parameters.

use ghnas_core::{Convolution, Primitive, Shape};

use super::forward::{Sliding, conv_layout, matrix_layout};
use super::gather::Frame;
use super::{Finish, Mask, Op, Planner, Term, View, extent_of, padded, stage_of};
use crate::instructions::LANES;
use crate::kernels::Extent;
use crate::kernels::gather::Kind;
use crate::kernels::pool::SLIDING_ROWS;
use crate::packing::Layout;

/// The most terms of a gradient that are read twice rather than written and read.
const FEW_TERMS: usize = 2;

impl Planner<'_> {
    /// Plans the gradients of all parameters.
    pub(super) fn backward(&mut self) {
        self.backward_from = self.stages.len();
        let steps = self.network.steps();
        // A gradient is needed where a parameter lies before the value.
        let mut needed = vec![false; self.network.values()];
        for (step, instruction) in steps.iter().enumerate() {
            needed[step + 1] = instruction.primitive.params().next().is_some()
                || instruction.inputs.iter().any(|input| needed[input.index()]);
        }
        let mut gradients: Vec<Vec<Term>> = vec![Vec::new(); self.network.values()];
        for output in self.network.outputs() {
            let classes = self.network.classes();
            let view = self.buffer(1, 1, classes);
            self.buffers[view.buffer].share();
            self.buffers[view.buffer].touch(self.backward_from, 0);
            self.logit_gradients.push(view);
            let plain = self.plain(view, classes, self.backward_from);
            gradients[output.value.index()].push(plain);
        }
        for step in (0..steps.len()).rev() {
            let terms = std::mem::take(&mut gradients[step + 1]);
            if self.live[step + 1] && needed[step + 1] && !terms.is_empty() {
                self.step_backward(step, terms, &needed, &mut gradients);
            }
        }
    }

    /// Adds the gradients of a step's parameters to the plan and those of its inputs to
    /// `gradients`. `upper` is the gradient of its value.
    fn step_backward(
        &mut self,
        step: usize,
        upper: Vec<Term>,
        needed: &[bool],
        gradients: &mut [Vec<Term>],
    ) {
        let instruction = &self.network.steps()[step];
        let inputs: Vec<usize> = instruction.inputs.iter().map(|input| input.index()).collect();
        let (input, shape) = (inputs[0], self.shape(step + 1));
        let from = self.shape(input);
        let stage = stage_of(&upper);
        match instruction.primitive {
            Primitive::Conv2d(conv) => {
                let gradient = self.conv_backward(conv, &upper, input, shape, needed[input]);
                gradients[input].extend(gradient);
            }
            Primitive::BatchNorm { .. } => {
                let view = self.in_buffer(&upper, shape, stage);
                let norm = self.norm_of[&step];
                let extent = extent_of(shape);
                let sums = self.stage(stage).sums;
                self.push(stage, Op::GradientMoments { upper: view, norm, extent, sums });
                let this = self.stage(stage);
                this.sums += 2 * padded(shape.channels);
                this.finish.push(Finish::Backward { norm, sums });
                self.stage(stage + 1);
                if needed[input] {
                    let terms = self.through_norm(&upper, view, norm, stage + 1);
                    gradients[input].extend(terms);
                }
            }
            Primitive::Relu => {
                let upper = match upper.iter().any(|term| term.mask.is_some()) {
                    true => vec![self.single(&upper, shape)],
                    false => upper,
                };
                for from in &self.forms[input] {
                    for term in &upper {
                        let Some(cut) = term.cut(from.to, from.channels) else { continue };
                        let skip = from.to + cut.to;
                        let mask = from.cut(skip, cut.channels).expect("the term lies in it");
                        let Term { x, a, b, origin, .. } = mask;
                        let mask = Some(Mask { x, a, b, origin });
                        gradients[input].push(Term { kind: Kind::Masked, mask, to: skip, ..cut });
                    }
                }
            }
            Primitive::Add => {
                // Each input reads all of these: rather one buffer.
                let reads: usize = upper.iter().map(Term::reads).sum();
                let upper = match inputs.len() > 1 && reads > 2 {
                    true => vec![self.single(&upper, shape)],
                    false => upper,
                };
                for &input in inputs.iter().filter(|&&input| needed[input]) {
                    gradients[input].extend_from_slice(&upper);
                }
            }
            Primitive::Concat => {
                let mut first = 0;
                for &input in &inputs {
                    let channels = self.shape(input).channels;
                    if needed[input] {
                        let parts = upper.iter().filter_map(|term| term.cut(first, channels));
                        gradients[input].extend(parts);
                    }
                    first += channels;
                }
            }
            Primitive::MaxPool(window) => {
                let sliding = Sliding::of_window(window);
                let view = self.windowed(input, sliding, f32::NEG_INFINITY, stage);
                let upper = self.in_buffer(&upper, shape, stage);
                let pad = window.padding;
                let (height, width) = (from.height + 2 * pad, from.width + 2 * pad);
                let (square, extent) = (view.square(window.size), extent_of(shape));
                let strided = view.strided(window.stride);
                let to = if square.slides(strided.row, strided.pixel) {
                    let to = self.buffer(height, width, from.channels);
                    let rows = self.buffer(SLIDING_ROWS, shape.width, LANES);
                    let op = Op::SlidingMaxPoolGradient { from: view, upper, to, rows, extent };
                    self.push(stage, op);
                    to
                } else {
                    // The kernel steps through the gradient as through the values.
                    let (view, to) = self.same_steps(view, height, width, from, stage);
                    let all = Extent { height, width, ..extent_of(from) };
                    self.push(stage, Op::Fill { at: to, extent: all, inside: None, value: 0.0 });
                    let (window, from) = (view.square(window.size), view.strided(window.stride));
                    self.push(stage, Op::MaxPoolGradient { from, window, upper, to, extent });
                    to
                };
                let inside = to.at_pixel(pad, pad);
                gradients[input].push(self.plain(inside, from.channels, stage));
            }
            Primitive::AveragePool { window, count_padding } => {
                let sliding = Sliding::of_window(window);
                // Padding is smaller than a window, so the taps are a square from the first pixel.
                let (frame, _) = spread(sliding, from, shape);
                let base = self.framed(&upper, shape, stage, &frame);
                let at = frame.inside(base);
                let factors = self.window_shares(window, count_padding, from, shape);
                self.push(stage, Op::Scale { at, factors, extent: extent_of(shape) });
                let to = self.buffer_of(from);
                let (extent, square) = (extent_of(from), base.square(window.size));
                let sum = Op::WindowSum { from: base, window: square, to, factors: None, extent };
                self.push(stage, sum);
                gradients[input].push(self.plain(to, from.channels, stage));
            }
            Primitive::GlobalAveragePool => {
                let upper = self.refresh(&upper, stage);
                let to = self.buffer_of(shape);
                self.gather(upper, to, shape, stage);
                let factors = self.constants.len();
                self.constants.push(1.0 / from.pixels() as f32);
                self.push(stage, Op::Scale { at: to, factors, extent: extent_of(shape) });
                // Every pixel reads the one that there is.
                let all = View { row: 0, pixel: 0, ..to };
                gradients[input].push(self.plain(all, from.channels, stage));
            }
            Primitive::Linear { weight, bias, out_features: outputs } => {
                let upper = self.contiguous(&upper, shape, stage);
                let terms = self.forms[input].clone();
                let view = self.contiguous(&terms, from, stage);
                let length = from.pixels() * padded(from.channels);
                let layout = matrix_layout(outputs, from);
                let sum = self.gradient_sum(stage, weight, layout);
                self.push(stage, Op::LinearGradient { from: view, length, upper, outputs, sum });
                if let Some(bias) = bias {
                    let layout = Layout::Vector { len: outputs };
                    let sum = self.gradient_sum(stage, bias, layout);
                    self.push(stage, Op::BiasGradient { upper, outputs, sum });
                }
                if needed[input] {
                    let weights = self.pack(weight, layout, false);
                    let to = self.buffer_of(from);
                    self.push(stage, Op::LinearBack { upper, length, weights, to, outputs });
                    gradients[input].push(self.plain(to, from.channels, stage));
                }
            }
            Primitive::Upsample { factor } => {
                let upper = self.in_buffer(&upper, shape, stage);
                for pixel in 0..factor * factor {
                    let view = upper.at_pixel(pixel / factor, pixel % factor).strided(factor);
                    gradients[input].push(self.plain(view, from.channels, stage));
                }
            }
            Primitive::Zero { .. } => {}
        }
    }

    /// The gradients of a convolution's kernel and, where `needed`, of its input.
    fn conv_backward(
        &mut self,
        conv: Convolution,
        upper: &[Term],
        input: usize,
        shape: Shape,
        needed: bool,
    ) -> Option<Term> {
        let (from, stage) = (self.shape(input), stage_of(upper));
        let sliding = Sliding::of_conv(conv);
        let layout = conv_layout(conv, from.channels);
        let framed = needed && !sliding.is_pointwise();
        let (frame, back) = spread(sliding, from, shape);
        // base: what the input's gradient slides over. inside: the gradient's own pixels.
        let (base, inside) = if framed {
            let base = self.framed(upper, shape, stage, &frame);
            (base, frame.inside(base))
        } else {
            let view = self.in_buffer(upper, shape, stage);
            (view, view)
        };
        let view = self.windowed(input, sliding, 0.0, stage);
        let (taps, strided) = (sliding.taps(view), view.strided(conv.stride));
        let sum = self.gradient_sum(stage, conv.weight, layout);
        let (upper, extent) = (inside, extent_of(shape));
        let inputs = padded(from.channels) / LANES;
        let depthwise = matches!(layout, Layout::Depthwise { .. });
        self.push(
            stage,
            if depthwise {
                Op::DepthwiseGradient { from: strided, taps, upper, sum, extent }
            } else {
                Op::DenseGradient { from: strided, taps, inputs: from.channels, upper, sum, extent }
            },
        );
        if !needed {
            return None;
        }
        let weights = self.pack(conv.weight, layout, !depthwise);
        let to = self.buffer_of(from);
        let (taps, target, extent) = if framed {
            (taps_of(&back, base), to, extent_of(from))
        } else {
            if conv.stride > 1 {
                let extent = extent_of(from);
                self.push(stage, Op::Fill { at: to, extent, inside: None, value: 0.0 });
            }
            let extent = Extent { blocks: inputs, ..extent_of(shape) };
            (vec![0], to.strided(conv.stride), extent)
        };
        let inputs = shape.channels;
        self.push(
            stage,
            if depthwise {
                Op::Depthwise { from: base, taps, weights, to: target, extent }
            } else {
                Op::Dense { from: base, taps, inputs, weights, to: target, extent }
            },
        );
        Some(self.plain(to, from.channels, stage))
    }

    /// The gradient that a batch norm passes on, a * upper + b * x + c, where `upper` also stands
    /// in `view`.
    fn through_norm(&self, upper: &[Term], view: View, norm: usize, stage: usize) -> Vec<Term> {
        let norm = &self.norms[norm];
        let [a, b, c] = [2, 3, 4].map(|index| norm.coefficient(index));
        let x = self.plain(norm.x, norm.channels, stage);
        let mut terms = vec![Term { a: b, b: c, ..x }];
        // Few terms are read again rather than kept in a buffer of their own. What they are
        // masked with is mostly x, which is read in any case.
        let plain =
            |term: &Term| term.a < self.widest && (term.to, term.channels) == (0, norm.channels);
        if upper.len() <= FEW_TERMS && upper.iter().all(plain) {
            terms.extend(upper.iter().map(|term| Term { a, stage, ..term.clone() }));
        } else {
            terms.push(Term { a, ..self.plain(view, norm.channels, stage) });
        }
        terms
    }

    /// A padded value and a new buffer with the same steps between pixels; the value is copied
    /// where its own are another buffer's, such as a concatenation's.
    fn same_steps(
        &mut self,
        view: View,
        height: usize,
        width: usize,
        shape: Shape,
        stage: usize,
    ) -> (View, View) {
        let to = self.buffer(height, width, shape.channels);
        if (view.row, view.pixel) == (to.row, to.pixel) {
            return (view, to);
        }
        let padded = Shape { height, width, ..shape };
        let copy = self.buffer_of(padded);
        let plain = self.plain(view, shape.channels, stage);
        self.gather(vec![plain], copy, padded, stage);
        (copy, to)
    }
}

impl Frame {
    /// The gradient's own pixels in its buffer.
    fn inside(&self, base: View) -> View {
        let [top, left] = self.before;
        base.at_pixel(top, left).strided(self.spacing)
    }
}

/// How a result's gradient is spread so that the input's gradient is a sum over taps of it with a
/// stride of one, and where the taps are, [row, column] from the pixel of the input's gradient.
fn spread(sliding: Sliding, from: Shape, to: Shape) -> (Frame, Vec<[usize; 2]>) {
    let Sliding { kernel, stride, dilation, padding } = sliding;
    let (input, output) = ([from.height, from.width], [to.height, to.width]);
    // Pixel q of the padded input reads result (q - tap * dilation) / stride, where it is whole.
    let reach = |axis: usize| (kernel[axis] - 1) * dilation;
    let before = [0, 1].map(|axis| reach(axis).saturating_sub(padding[axis]));
    let size = [0, 1].map(|axis| {
        let last_read = padding[axis] + input[axis] - 1;
        let last_written = (output[axis] - 1) * stride;
        before[axis] + last_read.max(last_written) + 1
    });
    let first = |axis: usize, tap: usize| padding[axis] + before[axis] - tap * dilation;
    let taps = (0..kernel[0])
        .flat_map(|row| (0..kernel[1]).map(move |column| [first(0, row), first(1, column)]));
    (Frame { before, size, spacing: stride, fill: 0.0 }, taps.collect())
}

fn taps_of(taps: &[[usize; 2]], view: View) -> Vec<usize> {
    taps.iter().map(|&[row, column]| row * view.row + column * view.pixel).collect()
}
