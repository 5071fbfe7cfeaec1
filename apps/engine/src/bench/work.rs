//! What primitives must compute and move at least, and how long that takes on this machine: the
//! roofline of Williams, Waterman and Patterson (2009).

use ghnas_core::{Network, Primitive, Shape, ValueId};

/// What this machine can do at most.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Roofline {
    /// Giga floating-point operations a second.
    pub gflops: f64,
    /// Gigabytes a second between memory and processor.
    pub gbytes_per_s: f64,
}

/// Which passes through a network are timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pass {
    /// Logits alone.
    Forward,
    /// Loss and the gradient of every parameter.
    ForwardBackward,
}

/// Operations and compulsory traffic; parts are what has a roofline of its own.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Work {
    parts: Vec<Part>,
}

/// One pass of one primitive over a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Part {
    /// Floating-point operations, two a multiply-add.
    flops: f64,
    /// Every operand read once and every result written once.
    bytes: f64,
}

const BYTES: f64 = size_of::<f32>() as f64;

impl Work {
    /// The work of all steps of `network` over `count` images.
    pub(super) fn of_network(network: &Network, pass: Pass, count: usize) -> Self {
        let mut needed = vec![false; network.values()];
        let mut work = Self::default();
        for (index, step) in network.steps().iter().enumerate() {
            // Gradients are needed where a parameter lies before the value.
            let below = step.inputs.iter().any(|input| needed[input.index()]);
            needed[index + 1] = below || step.primitive.params().next().is_some();
            let inputs: Vec<Shape> =
                step.inputs.iter().map(|&input| network.shape(input)).collect();
            let output = network.shape(ValueId(index as u32 + 1));
            work.add(&step.primitive, &inputs, output, pass, count, below);
        }
        work
    }

    /// Adds one primitive over `count` images; `below` says whether the gradient of its inputs is
    /// computed.
    pub(super) fn add(
        &mut self,
        primitive: &Primitive,
        inputs: &[Shape],
        output: Shape,
        pass: Pass,
        count: usize,
        below: bool,
    ) {
        let images = count as f64;
        let (x, y) = (elements(inputs) * images, output.elements() as f64 * images);
        let weights = parameters(primitive, inputs[0], output);
        // Products of convolutions and linear layers; one operation for all that is compared or
        // added.
        let (forward, backward, kept) = match *primitive {
            Primitive::Conv2d(_) | Primitive::Linear { .. } => {
                let products = 2.0 * images * products(primitive, inputs[0], output);
                (products, if below { 2.0 * products } else { products }, x)
            }
            // Two sums, then a factor and a summand; backward two sums of which one is of
            // products, then two factors and a summand.
            Primitive::BatchNorm { .. } => (5.0 * x, 7.0 * x, x),
            Primitive::Relu => (x, x, x),
            Primitive::MaxPool(window) => {
                let taps = (window.size * window.size) as f64;
                (taps * y, taps * y, x)
            }
            Primitive::AveragePool { window, .. } => {
                let taps = (window.size * window.size) as f64;
                (taps * y, taps * y, 0.0)
            }
            Primitive::GlobalAveragePool => (x, x, 0.0),
            Primitive::Add => ((inputs.len() - 1) as f64 * y, 0.0, 0.0),
            Primitive::Upsample { .. } => (0.0, y, 0.0),
            Primitive::Concat | Primitive::Zero { .. } => (0.0, 0.0, 0.0),
        };
        // A sum's and a concatenation's gradients are the ones above; zeros read nothing.
        let passed_on = matches!(primitive, Primitive::Add | Primitive::Concat);
        let nothing = matches!(primitive, Primitive::Zero { .. });
        if nothing {
            return;
        }
        self.parts.push(Part { flops: forward, bytes: BYTES * (x + weights + y) });
        let any = below || weights > 0.0;
        if pass == Pass::ForwardBackward && any && !passed_on {
            let gradient = if below { x } else { 0.0 };
            let bytes = BYTES * (y + kept + gradient + 2.0 * weights);
            self.parts.push(Part { flops: backward, bytes });
        }
    }

    /// Floating-point operations.
    pub(super) fn flops(&self) -> f64 {
        self.parts.iter().map(|part| part.flops).sum()
    }

    /// Bytes.
    pub(super) fn bytes(&self) -> f64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    /// Milliseconds that it takes at least: for each part the longer of its arithmetic and its
    /// traffic.
    pub(super) fn least_ms(&self, roofline: Roofline) -> f64 {
        let part = |part: &Part| {
            (part.flops / roofline.gflops).max(part.bytes / roofline.gbytes_per_s) / 1e6
        };
        self.parts.iter().map(part).sum()
    }
}

fn elements(shapes: &[Shape]) -> f64 {
    shapes.iter().map(|shape| shape.elements() as f64).sum()
}

/// Multiply-adds of a convolution or linear layer for one image.
fn products(primitive: &Primitive, input: Shape, output: Shape) -> f64 {
    let each = match *primitive {
        Primitive::Conv2d(conv) => {
            conv.kernel[0] * conv.kernel[1] * input.channels / conv.groups.max(1)
        }
        Primitive::Linear { .. } => input.elements(),
        _ => 0,
    };
    (each * output.elements()) as f64
}

/// Values of a primitive's parameters.
fn parameters(primitive: &Primitive, input: Shape, output: Shape) -> f64 {
    let count = match *primitive {
        Primitive::Conv2d(conv) => {
            let [rows, columns] = conv.kernel;
            output.channels * rows * columns * input.channels / conv.groups.max(1)
        }
        Primitive::Linear { .. } => output.channels * (input.elements() + 1),
        Primitive::BatchNorm { scale, shift } => {
            input.channels * (usize::from(scale.is_some()) + usize::from(shift.is_some()))
        }
        _ => 0,
    };
    count as f64
}

#[cfg(test)]
mod tests {
    use ghnas_core::{Convolution, ParamId};

    use super::*;

    fn work(primitive: Primitive, from: Shape, to: Shape, pass: Pass) -> Work {
        let mut work = Work::default();
        work.add(&primitive, &[from], to, pass, 2, true);
        work
    }

    #[test]
    fn a_convolution_has_a_multiply_add_a_tap_and_moves_its_operands_once() {
        let conv = Convolution {
            weight: ParamId(0),
            out_channels: 6,
            kernel: [3, 3],
            stride: 2,
            dilation: 1,
            padding: [1, 1],
            groups: 1,
        };
        let (from, to) = (Shape::new(4, 8, 8), Shape::new(6, 4, 4));
        let forward = work(Primitive::Conv2d(conv), from, to, Pass::Forward);
        // Two images of 6 x 4 x 4 results of 4 x 3 x 3 products; 6 x 4 x 3 x 3 weights.
        assert_eq!(forward.flops(), 2.0 * 2.0 * 96.0 * 36.0);
        assert_eq!(forward.bytes(), 4.0 * (2.0 * 256.0 + 216.0 + 2.0 * 96.0));
        let both = work(Primitive::Conv2d(conv), from, to, Pass::ForwardBackward);
        assert_eq!(both.flops(), 3.0 * forward.flops());
    }

    #[test]
    fn the_longer_of_arithmetic_and_traffic_counts() {
        let shape = Shape::new(8, 10, 10);
        let relu = work(Primitive::Relu, shape, shape, Pass::Forward);
        // 1600 operations and 12800 bytes.
        let slow_memory = Roofline { gflops: 1.0, gbytes_per_s: 1.0 };
        assert!((relu.least_ms(slow_memory) - 0.0128).abs() < 1e-12);
        let slow_arithmetic = Roofline { gflops: 0.01, gbytes_per_s: 1.0 };
        assert!((relu.least_ms(slow_arithmetic) - 0.16).abs() < 1e-12);
    }
}
