//! The primitives that every operation expands to: their meaning and shape inference.

use serde::{Deserialize, Serialize};

use crate::param::ParamId;
use crate::shape::Shape;

/// A square pooling window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Rows and columns of the window.
    pub size: usize,
    /// Step between windows.
    pub stride: usize,
    /// Rows and columns of padding on each side, smaller than the window.
    pub padding: usize,
}

/// A convolution's geometry. Padding is zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Convolution {
    /// The kernel, a parameter of shape [out, in / groups, kh, kw].
    pub weight: ParamId,
    /// Channels of the result.
    pub out_channels: usize,
    /// Kernel rows and columns.
    pub kernel: [usize; 2],
    /// Step between applications, in both directions.
    pub stride: usize,
    /// Distance between kernel taps, in both directions.
    pub dilation: usize,
    /// Rows and columns of zeros on each side.
    pub padding: [usize; 2],
    /// Groups of channels that do not mix; as many as channels for a depthwise convolution.
    pub groups: usize,
}

/// One tensor operation over a batch of images. The semantics are PyTorch's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "primitive", rename_all = "snake_case")]
pub enum Primitive {
    /// Cross-correlation without a bias.
    Conv2d(Convolution),
    /// Normalises each channel over batch, rows and columns with the biased variance and
    /// [`BATCH_NORM_EPSILON`], then scales and shifts where parameters `[channels]` are given.
    BatchNorm {
        /// Factor a channel.
        scale: Option<ParamId>,
        /// Summand a channel.
        shift: Option<ParamId>,
    },
    /// max(x, 0).
    Relu,
    /// Greatest value of each window; padding never wins. Ties go to the first in row-major order.
    MaxPool(Window),
    /// Mean of each window.
    AveragePool {
        /// The window.
        window: Window,
        /// Whether padding counts as zeros in the mean; otherwise only what lies inside counts.
        count_padding: bool,
    },
    /// Mean over rows and columns; the result is channels x 1 x 1.
    GlobalAveragePool,
    /// weight `[out, in]` times the flattened input, plus bias `[out]`; the result is out x 1 x 1.
    Linear {
        /// Parameter of shape `[out, in]`.
        weight: ParamId,
        /// Parameter of shape `[out]`.
        bias: Option<ParamId>,
        /// Length of the result.
        out_features: usize,
    },
    /// Sum of one or more inputs of one shape.
    Add,
    /// Inputs of one height and width, joined along channels.
    Concat,
    /// Repeats each row and column `factor` times (nearest neighbour).
    Upsample {
        /// Repetitions.
        factor: usize,
    },
    /// Zeros of the input's shape, with rows and columns divided by `stride`, rounded up.
    Zero {
        /// Step.
        stride: usize,
    },
}

/// Added to the variance before the square root, as in PyTorch.
pub const BATCH_NORM_EPSILON: f32 = 1e-5;

/// The largest side, channel count or kernel that is accepted, so that a hostile network cannot
/// make sizes overflow.
const LIMIT: usize = 1 << 16;

/// The most values that a parameter, or one image's activations, may have.
pub(crate) const MOST_ELEMENTS: usize = 1 << 31;

impl Primitive {
    /// The name used in JSON, drawings and reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Conv2d(_) => "conv2d",
            Self::BatchNorm { .. } => "batch_norm",
            Self::Relu => "relu",
            Self::MaxPool(_) => "max_pool",
            Self::AveragePool { .. } => "average_pool",
            Self::GlobalAveragePool => "global_average_pool",
            Self::Linear { .. } => "linear",
            Self::Add => "add",
            Self::Concat => "concat",
            Self::Upsample { .. } => "upsample",
            Self::Zero { .. } => "zero",
        }
    }

    /// The parameters it reads.
    pub fn params(&self) -> impl Iterator<Item = ParamId> {
        let pair = match *self {
            Self::Conv2d(conv) => [Some(conv.weight), None],
            Self::BatchNorm { scale, shift } => [scale, shift],
            Self::Linear { weight, bias, .. } => [Some(weight), bias],
            _ => [None, None],
        };
        pair.into_iter().flatten()
    }

    /// The shape that parameter `param` must have, given the shape of the (first) input.
    pub fn param_shape(&self, param: ParamId, input: Shape) -> Option<Vec<usize>> {
        match *self {
            Self::Conv2d(conv) if conv.weight == param && conv.groups > 0 => {
                let [rows, columns] = conv.kernel;
                Some(vec![conv.out_channels, input.channels / conv.groups, rows, columns])
            }
            Self::BatchNorm { scale, shift } if [scale, shift].contains(&Some(param)) => {
                Some(vec![input.channels])
            }
            Self::Linear { weight, out_features, .. } if weight == param => {
                Some(vec![out_features, input.elements()])
            }
            Self::Linear { bias, out_features, .. } if bias == Some(param) => {
                Some(vec![out_features])
            }
            _ => None,
        }
    }

    /// The shape of the result for inputs of the given shapes.
    ///
    /// # Errors
    /// What does not fit, in words.
    pub fn infer(&self, inputs: &[Shape]) -> Result<Shape, String> {
        let first = *inputs.first().ok_or("it has no input")?;
        let many = matches!(self, Self::Add | Self::Concat);
        if !many && inputs.len() != 1 {
            return Err(format!("it takes one input, not {}", inputs.len()));
        }
        let shape = match *self {
            Self::Conv2d(conv) => {
                let Convolution { out_channels, kernel, stride, dilation, padding, groups, .. } =
                    conv;
                if groups == 0 || first.channels % groups != 0 || out_channels % groups != 0 {
                    return Err(format!(
                        "{groups} groups do not divide {} and {out_channels} channels",
                        first.channels
                    ));
                }
                let side = |length, axis: usize| {
                    slide(length, kernel[axis], stride, dilation, padding[axis])
                };
                Shape::new(out_channels, side(first.height, 0)?, side(first.width, 1)?)
            }
            Self::MaxPool(window) | Self::AveragePool { window, .. } => {
                if window.padding >= window.size.max(1) {
                    return Err("the padding is not smaller than the window".into());
                }
                let side = |length| slide(length, window.size, window.stride, 1, window.padding);
                Shape::new(first.channels, side(first.height)?, side(first.width)?)
            }
            Self::GlobalAveragePool => Shape::new(first.channels, 1, 1),
            Self::Linear { out_features, .. } => Shape::new(out_features, 1, 1),
            Self::BatchNorm { .. } | Self::Relu => first,
            Self::Add => {
                if let Some(other) = inputs.iter().find(|&&shape| shape != first) {
                    return Err(format!("it cannot add {other} to {first}"));
                }
                first
            }
            Self::Concat => {
                let differs =
                    |shape: &&Shape| (shape.height, shape.width) != (first.height, first.width);
                if let Some(other) = inputs.iter().find(differs) {
                    return Err(format!("it cannot join {other} to {first}"));
                }
                let channels = inputs.iter().map(|shape| shape.channels).sum();
                Shape { channels, ..first }
            }
            Self::Upsample { factor } => {
                let factor = factor.min(LIMIT);
                Shape::new(first.channels, first.height * factor, first.width * factor)
            }
            Self::Zero { stride } => {
                if stride == 0 {
                    return Err("a stride of 0".into());
                }
                let (height, width) = (first.height.div_ceil(stride), first.width.div_ceil(stride));
                Shape::new(first.channels, height, width)
            }
        };
        check_size(shape).map_err(|reason| format!("its result {shape} {reason}"))?;
        Ok(shape)
    }
}

/// Refuses a value that is empty, or so large that what is computed from its size could overflow.
pub(crate) fn check_size(shape: Shape) -> Result<(), &'static str> {
    let sides = [shape.channels, shape.height, shape.width];
    if sides.contains(&0) {
        return Err("would be empty");
    }
    // The sides are checked first, so that their product cannot overflow.
    if sides.iter().any(|&side| side > LIMIT) || shape.elements() > MOST_ELEMENTS {
        return Err("is too large");
    }
    Ok(())
}

/// How often a kernel of `size` taps fits into `length` padded positions.
fn slide(
    length: usize,
    size: usize,
    stride: usize,
    dilation: usize,
    padding: usize,
) -> Result<usize, String> {
    if [size, stride, dilation].contains(&0) {
        return Err("a kernel size, stride or dilation of 0".into());
    }
    if [size, stride, dilation, padding].iter().any(|&number| number > LIMIT) {
        return Err(format!("a kernel size, stride, dilation or padding above {LIMIT}"));
    }
    let span = dilation * (size - 1) + 1;
    let padded = length + 2 * padding;
    if padded < span {
        return Err(format!("a kernel that spans {span} does not fit into {padded} positions"));
    }
    Ok((padded - span) / stride + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(primitive: Primitive, inputs: &[Shape], expect: Result<Shape, &str>) {
        match (primitive.infer(inputs), expect) {
            (Ok(got), Ok(expect)) => assert_eq!(got, expect),
            (Err(got), Err(part)) => assert!(got.contains(part), "{got}"),
            (got, expect) => panic!("got {got:?}, expected {expect:?}"),
        }
    }

    fn conv(kernel: [usize; 2], stride: usize, dilation: usize, padding: [usize; 2]) -> Primitive {
        let weight = ParamId(0);
        let (out_channels, groups) = (8, 2);
        Primitive::Conv2d(Convolution {
            weight,
            out_channels,
            kernel,
            stride,
            dilation,
            padding,
            groups,
        })
    }

    #[test]
    fn shapes_follow_pytorch() {
        let image = Shape::new(4, 32, 31);
        // torch.nn.Conv2d(4, 8, 3, 2, 1, 1, 2)(torch.zeros(1, 4, 32, 31)).shape, and so on.
        check(conv([3, 3], 2, 1, [1, 1]), &[image], Ok(Shape::new(8, 16, 16)));
        check(conv([5, 5], 1, 2, [4, 4]), &[image], Ok(Shape::new(8, 32, 31)));
        check(conv([1, 7], 1, 1, [0, 3]), &[image], Ok(Shape::new(8, 32, 31)));
        check(conv([3, 3], 1, 1, [0, 0]), &[Shape::new(4, 2, 2)], Err("does not fit"));
        check(conv([3, 3], 1, 1, [0, 0]), &[Shape::new(3, 4, 4)], Err("groups"));
        check(conv([3, 3], 0, 1, [0, 0]), &[image], Err("of 0"));
        let window = Window { size: 3, stride: 2, padding: 1 };
        check(Primitive::MaxPool(window), &[image], Ok(Shape::new(4, 16, 16)));
        check(Primitive::Concat, &[image, image], Ok(Shape::new(8, 32, 31)));
        check(Primitive::Concat, &[image, Shape::new(4, 16, 16)], Err("join"));
        check(Primitive::Add, &[image, Shape::new(8, 32, 31)], Err("add"));
        check(Primitive::Relu, &[image, image], Err("one input"));
        check(Primitive::Zero { stride: 2 }, &[image], Ok(Shape::new(4, 16, 16)));
        check(Primitive::Upsample { factor: 2 }, &[image], Ok(Shape::new(4, 64, 62)));
    }
}
