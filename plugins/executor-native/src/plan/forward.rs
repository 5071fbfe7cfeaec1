//! The forward pass: which values get buffers, and what computes them in which stage.

use ghnas_core::{Convolution, Primitive, Shape, Window};

use super::gather::{Frame, overlap};
use super::{Finish, Framed, Norm, Op, Planner, Term, View, extent_of, padded, stage_of};
use crate::packing::Layout;

/// The geometry that convolutions and pools share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sliding {
    pub(super) kernel: [usize; 2],
    pub(super) stride: usize,
    pub(super) dilation: usize,
    pub(super) padding: [usize; 2],
}

impl Sliding {
    pub(super) fn of_conv(conv: Convolution) -> Self {
        let Convolution { kernel, stride, dilation, padding, .. } = conv;
        Self { kernel, stride, dilation, padding }
    }

    pub(super) fn of_window(window: Window) -> Self {
        let Window { size, stride, padding } = window;
        Self { kernel: [size; 2], stride, dilation: 1, padding: [padding; 2] }
    }

    /// Floats from the first tap to each, row-major, in a buffer with the pixels of `view`.
    pub(super) fn taps(&self, view: View) -> Vec<usize> {
        let [rows, columns] = self.kernel;
        let tap =
            |row, column| row * self.dilation * view.row + column * self.dilation * view.pixel;
        (0..rows).flat_map(|row| (0..columns).map(move |column| tap(row, column))).collect()
    }

    /// Whether each result depends on one pixel only.
    pub(super) fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.padding == [0, 0]
    }
}

/// How a convolution's kernel is read; depthwise with one filter a channel has its own kernels.
pub(super) fn conv_layout(conv: Convolution, inputs: usize) -> Layout {
    let taps = conv.kernel[0] * conv.kernel[1];
    let Convolution { out_channels: outputs, groups, .. } = conv;
    if groups == inputs && groups == outputs {
        Layout::Depthwise { taps, channels: inputs }
    } else {
        Layout::Dense { taps, inputs, outputs, groups }
    }
}

impl Planner<'_> {
    /// Plans all steps that an output depends on.
    pub(super) fn forward(&mut self) {
        // Images are laid out anew in each stage that reads them: that is cheaper than keeping them.
        let images = self.shape(0);
        let home = self.buffer_of(images);
        self.homes[0] = Some(home);
        let plain = self.plain(home, images.channels, 0);
        self.forms[0] = vec![Term { origin: Some(0), ..plain }];
        for step in 0..self.network.steps().len() {
            if self.live[step + 1] {
                self.forms[step + 1] = self.form(step);
            }
        }
        for output in self.network.outputs() {
            let view = self.stored(output.value.index());
            self.buffers[view.buffer].share();
            self.logits.push(view);
        }
        let last = self.stages.len() - 1;
        for index in 0..self.logits.len() {
            self.buffers[self.logits[index].buffer].touch(last, usize::MAX);
        }
    }

    /// The terms of a step's value.
    fn form(&mut self, step: usize) -> Vec<Term> {
        let instruction = &self.network.steps()[step];
        let inputs: Vec<usize> = instruction.inputs.iter().map(|input| input.index()).collect();
        let (value, shape) = (step + 1, self.shape(step + 1));
        match instruction.primitive {
            Primitive::BatchNorm { .. } => self.norm(step),
            Primitive::Relu => {
                if overlap(&self.forms[inputs[0]]) {
                    self.stored(inputs[0]);
                }
                let rectified = |term: &Term| Term { floor: 0.0, ..term.clone() };
                self.forms[inputs[0]].iter().map(rectified).collect()
            }
            Primitive::Add => {
                self.forms[value] =
                    inputs.iter().flat_map(|&input| self.forms[input].clone()).collect();
                if overlap(&self.forms[value]) && !self.gathered_once(value) {
                    self.stored(value);
                }
                std::mem::take(&mut self.forms[value])
            }
            Primitive::Concat => {
                let mut terms = Vec::new();
                let mut first = 0;
                for &input in &inputs {
                    let moved = |term: &Term| Term { to: term.to + first, ..term.clone() };
                    terms.extend(self.forms[input].iter().map(moved));
                    first += self.shape(input).channels;
                }
                // A value's own padding would lie on the channels of the next one.
                let one = terms.len() == 1;
                terms.iter_mut().for_each(|term| term.whole &= one);
                terms
            }
            Primitive::Zero { .. } => Vec::new(),
            _ => {
                let stage = stage_of(&self.forms[inputs[0]]);
                let view = self.compute(step, stage);
                self.homes[value] = Some(view);
                let plain = self.plain(view, shape.channels, stage);
                let again = self.is_computed_again(value);
                vec![Term { origin: again.then_some(value), ..plain }]
            }
        }
    }

    /// Whether a sum has one reader, which gathers it in any case.
    fn gathered_once(&self, value: usize) -> bool {
        let outputs = self.network.outputs();
        if outputs.iter().any(|output| output.value.index() == value) {
            return false;
        }
        let [reader] = self.readers[value][..] else { return false };
        let primitive = self.network.steps()[reader].primitive;
        !matches!(primitive, Primitive::Relu | Primitive::Concat)
    }

    /// Whether the backward pass computes a value again rather than reading it: a depthwise
    /// convolution costs less than the memory that would keep it.
    fn is_computed_again(&self, value: usize) -> bool {
        let (reads, outputs) = (&self.readers[value], self.network.outputs());
        let steps = self.network.steps();
        let Primitive::Conv2d(conv) = steps[value - 1].primitive else { return false };
        let inputs = self.shape(steps[value - 1].inputs[0].index()).channels;
        let norm = |&step: &usize| matches!(steps[step].primitive, Primitive::BatchNorm { .. });
        matches!(conv_layout(conv, inputs), Layout::Depthwise { .. })
            && !reads.iter().any(norm)
            && !outputs.iter().any(|output| output.value.index() == value)
    }

    /// The view of a value in a buffer of its own, which its form becomes.
    pub(super) fn stored(&mut self, value: usize) -> View {
        let shape = self.shape(value);
        let terms = std::mem::take(&mut self.forms[value]);
        let stage = stage_of(&terms);
        let own = terms.iter().all(|term| term.origin.is_none());
        let view = match self.direct(&terms, shape.channels) {
            Some(view) if own => view,
            _ => {
                let terms = self.refresh(&terms, stage);
                let to = self.buffer_of(shape);
                self.gather(terms, to, shape, stage);
                to
            }
        };
        self.forms[value] = vec![self.plain(view, shape.channels, stage)];
        view
    }

    fn norm(&mut self, step: usize) -> Vec<Term> {
        let instruction = &self.network.steps()[step];
        let Primitive::BatchNorm { scale, shift } = instruction.primitive else {
            unreachable!("the caller matched the primitive");
        };
        let input = instruction.inputs[0].index();
        let x = self.stored(input);
        let stage = stage_of(&self.forms[input]);
        let shape = self.shape(input);
        let extent = extent_of(shape);
        let width = padded(shape.channels);
        let coefficients = self.coefficients;
        self.coefficients += Norm::COEFFICIENTS * width;
        let channels = shape.channels;
        let norm = self.norms.len();
        self.norms.push(Norm { x, channels, extent, scale, shift, coefficients });
        self.norm_of.insert(step, norm);
        let sums = self.stage(stage).sums;
        self.push(stage, Op::Moments { from: x, extent, sums });
        let this = self.stage(stage);
        this.sums += 2 * width;
        this.finish.push(Finish::Forward { norm, sums });
        self.stage(stage + 1);
        let plain = self.plain(x, channels, stage + 1);
        vec![Term { a: coefficients, b: coefficients + width, ..plain }]
    }

    /// The view in `stage` of a value that may be computed again.
    pub(super) fn available(&mut self, value: usize, stage: usize) -> View {
        if let Some(&view) = self.available.get(&(value, stage)) {
            return view;
        }
        let view = if value == 0 {
            let shape = self.shape(0);
            let to = self.buffer_of(shape);
            self.push(stage, Op::Images { to, extent: extent_of(shape) });
            to
        } else if stage < self.backward_from {
            return self.homes[value].expect("values are computed before they are read");
        } else {
            self.compute(value - 1, stage)
        };
        self.available.insert((value, stage), view);
        view
    }

    /// Computes a step that has a kernel in `stage`, into a new buffer.
    fn compute(&mut self, step: usize, stage: usize) -> View {
        let instruction = &self.network.steps()[step];
        let input = instruction.inputs[0].index();
        let (from_shape, shape) = (self.shape(input), self.shape(step + 1));
        let extent = extent_of(shape);
        match instruction.primitive {
            Primitive::Conv2d(conv) => {
                let sliding = Sliding::of_conv(conv);
                let view = self.windowed(input, sliding, 0.0, stage);
                let (taps, from) = (sliding.taps(view), view.strided(conv.stride));
                let layout = conv_layout(conv, from_shape.channels);
                let weights = self.pack(conv.weight, layout, false);
                let to = self.buffer_of(shape);
                let inputs = from_shape.channels;
                self.push(
                    stage,
                    match layout {
                        Layout::Depthwise { .. } => {
                            Op::Depthwise { from, taps, weights, to, extent }
                        }
                        _ => Op::Dense { from, taps, inputs, weights, to, extent },
                    },
                );
                to
            }
            Primitive::MaxPool(window) => {
                let sliding = Sliding::of_window(window);
                let view = self.windowed(input, sliding, f32::NEG_INFINITY, stage);
                let (square, from) = (view.square(window.size), view.strided(window.stride));
                let to = self.buffer_of(shape);
                self.push(stage, Op::MaxPool { from, window: square, to, extent });
                to
            }
            Primitive::AveragePool { window, count_padding } => {
                let sliding = Sliding::of_window(window);
                let view = self.windowed(input, sliding, 0.0, stage);
                let (square, from) = (view.square(window.size), view.strided(window.stride));
                let to = self.buffer_of(shape);
                let factors = Some(self.window_shares(window, count_padding, from_shape, shape));
                self.push(stage, Op::WindowSum { from, window: square, to, factors, extent });
                to
            }
            Primitive::GlobalAveragePool => {
                let terms = self.forms[input].clone();
                let from = self.in_buffer(&terms, from_shape, stage);
                let to = self.buffer_of(shape);
                let extent = extent_of(from_shape);
                self.push(stage, Op::GlobalMean { from, to, extent });
                to
            }
            Primitive::Linear { weight, bias, out_features: outputs } => {
                let terms = self.forms[input].clone();
                let from = self.contiguous(&terms, from_shape, stage);
                let weights = self.pack(weight, matrix_layout(outputs, from_shape), false);
                let to = self.buffer_of(shape);
                let length = from_shape.pixels() * padded(from_shape.channels);
                self.push(stage, Op::Linear { from, length, weights, bias, to, outputs });
                to
            }
            Primitive::Upsample { factor } => {
                let terms = self.forms[input].clone();
                let from = self.in_buffer(&terms, from_shape, stage);
                let to = self.buffer_of(shape);
                for pixel in 0..factor * factor {
                    let to = to.at_pixel(pixel / factor, pixel % factor).strided(factor);
                    let plain = self.plain(from, shape.channels, stage);
                    self.gather(vec![plain], to, from_shape, stage);
                }
                to
            }
            Primitive::BatchNorm { .. }
            | Primitive::Relu
            | Primitive::Add
            | Primitive::Concat
            | Primitive::Zero { .. } => unreachable!("its value is made of terms"),
        }
    }

    /// A value with its padding, from the first tap of the first result on.
    pub(super) fn windowed(
        &mut self,
        value: usize,
        sliding: Sliding,
        fill: f32,
        stage: usize,
    ) -> View {
        let shape = self.shape(value);
        let [rows, columns] = sliding.padding;
        let known = self.gathered.get(&(value, stage)).map_or(&[][..], Vec::as_slice);
        // Room of the same kind that is wide enough serves as it is.
        let serves = |framed: &&Framed| {
            let same = framed.fill.to_bits() == fill.to_bits() || sliding.padding == [0, 0];
            same && framed.padding[0] >= rows && framed.padding[1] >= columns
        };
        if let Some(framed) = known.iter().find(serves) {
            return framed.inside.back_by(rows, columns);
        }
        // A buffer that a stage has just written costs less to read than the terms.
        let terms = match known.first() {
            Some(framed) => vec![self.plain(framed.inside, shape.channels, stage)],
            None => self.forms[value].clone(),
        };
        let view = if sliding.padding == [0, 0] {
            self.in_buffer(&terms, shape, stage)
        } else {
            let frame = Frame {
                before: [rows, columns],
                size: [shape.height + 2 * rows, shape.width + 2 * columns],
                spacing: 1,
                fill,
            };
            self.framed(&terms, shape, stage, &frame)
        };
        let inside = view.at_pixel(rows, columns);
        let framed = Framed { inside, padding: sliding.padding, fill };
        self.gathered.entry((value, stage)).or_default().push(framed);
        view
    }

    /// One over the pixels that each window of an average pool counts, as constants.
    pub(super) fn window_shares(
        &mut self,
        window: Window,
        count_padding: bool,
        from: Shape,
        to: Shape,
    ) -> usize {
        let at = self.constants.len();
        let inside = |index: usize, length: usize| {
            let start = index * window.stride;
            let end = (start + window.size).min(length + window.padding);
            if count_padding { window.size } else { end - start.max(window.padding) }
        };
        for y in 0..to.height {
            for x in 0..to.width {
                let count = inside(y, from.height) * inside(x, from.width);
                self.constants.push(1.0 / count as f32);
            }
        }
        at
    }
}

/// How a linear layer's matrix is read.
pub(super) fn matrix_layout(outputs: usize, from: Shape) -> Layout {
    Layout::Matrix { outputs, channels: from.channels, pixels: from.pixels() }
}
