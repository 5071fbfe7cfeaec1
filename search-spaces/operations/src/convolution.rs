//! Convolutions: rectify each input, sum, convolve, normalise.

use ghnas_core::{
    Convolution, NetworkError, NodeBuilder, Operation, OperationContext, ParamId, ParamRequest,
    ValueId,
};

/// The largest depthwise kernel; smaller ones are its centre (section 7.2).
const LARGEST_DEPTHWISE: usize = 5;

/// A 1x1 convolution with batch norm.
#[derive(Debug, Clone, Copy)]
pub struct PointwiseConvolution;

impl Operation for PointwiseConvolution {
    fn expand(
        &self,
        node: &mut NodeBuilder<'_>,
        inputs: &[ValueId],
        context: OperationContext,
    ) -> Result<ValueId, NetworkError> {
        let sum = rectified_sum(node, inputs)?;
        let mixed = pointwise(node, sum, context)?;
        node.batch_norm(mixed)
    }
}

/// A depthwise square convolution and a 1x1 convolution, with batch norm after both.
#[derive(Debug, Clone, Copy)]
pub struct SeparableConvolution {
    size: usize,
    dilation: usize,
}

impl SeparableConvolution {
    /// A kernel of `size` x `size` taps (odd, at most 5), `dilation` apart.
    pub const fn new(size: usize, dilation: usize) -> Self {
        assert!(size % 2 == 1 && size <= LARGEST_DEPTHWISE && dilation > 0);
        Self { size, dilation }
    }
}

impl Operation for SeparableConvolution {
    fn expand(
        &self,
        node: &mut NodeBuilder<'_>,
        inputs: &[ValueId],
        context: OperationContext,
    ) -> Result<ValueId, NetworkError> {
        let sum = rectified_sum(node, inputs)?;
        let channels = node.shape(sum).channels;
        let kernel = [self.size, self.size];
        let geometry = same_size(kernel, self.dilation, channels, channels);
        let param = ParamRequest {
            name: "depthwise",
            kind: "depthwise",
            largest: vec![context.max_channels, 1, LARGEST_DEPTHWISE, LARGEST_DEPTHWISE],
        };
        let filtered = node.conv2d(sum, geometry, param)?;
        let mixed = pointwise(node, filtered, context)?;
        node.batch_norm(mixed)
    }
}

/// A 1x7 convolution, then a 7x1 convolution, with batch norm after both.
#[derive(Debug, Clone, Copy)]
pub struct FactorizedConvolution;

impl Operation for FactorizedConvolution {
    fn expand(
        &self,
        node: &mut NodeBuilder<'_>,
        inputs: &[ValueId],
        context: OperationContext,
    ) -> Result<ValueId, NetworkError> {
        let mut value = rectified_sum(node, inputs)?;
        for (kind, kernel) in [("conv_1x7", [1, 7]), ("conv_7x1", [7, 1])] {
            let geometry = same_size(kernel, 1, context.channels, 1);
            let channels = context.max_channels;
            let largest = vec![channels, channels, kernel[0], kernel[1]];
            value = node.conv2d(value, geometry, ParamRequest { name: kind, kind, largest })?;
        }
        node.batch_norm(value)
    }
}

fn rectified_sum(node: &mut NodeBuilder<'_>, inputs: &[ValueId]) -> Result<ValueId, NetworkError> {
    let rectified: Result<Vec<_>, _> = inputs.iter().map(|&input| node.relu(input)).collect();
    node.add(&rectified?)
}

fn pointwise(
    node: &mut NodeBuilder<'_>,
    input: ValueId,
    context: OperationContext,
) -> Result<ValueId, NetworkError> {
    let geometry = same_size([1, 1], 1, context.channels, 1);
    let largest = vec![context.max_channels, context.max_channels, 1, 1];
    node.conv2d(input, geometry, ParamRequest { name: "pointwise", kind: "pointwise", largest })
}

/// A stride of one and the padding that keeps height and width, for odd kernels.
fn same_size(
    kernel: [usize; 2],
    dilation: usize,
    out_channels: usize,
    groups: usize,
) -> Convolution {
    let padding = kernel.map(|size| dilation * (size - 1) / 2);
    let weight = ParamId(0); // The builder puts the new parameter here.
    Convolution { weight, out_channels, kernel, stride: 1, dilation, padding, groups }
}
