//! What the nodes of a network compute. Unlike the common operations, which rectify each input and
//! sum, a convolution of the benchmark rectifies the sum.

use ghnas_core::{
    Convolution, NetworkError, NodeBuilder, ParamId, ParamRequest, Primitive, ValueId, Window,
};

use crate::cell::EdgeOperation;

/// Where a node stands in its network.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// Channels that it puts out.
    pub(crate) channels: usize,
    /// Channels of the last stage; the largest generated kernels follow it.
    pub(crate) max_channels: usize,
    /// Whether batch norms have a scale and a shift.
    pub(crate) affine: bool,
    /// Whether kernels of every width are slices of one.
    pub(crate) slice: bool,
}

/// A kernel that keeps or halves height and width.
#[derive(Clone, Copy)]
pub(crate) struct Kernel {
    /// The branch of a hypernetwork that makes it, where all widths have one.
    pub(crate) kind: &'static str,
    /// Rows and columns; odd.
    pub(crate) size: usize,
    pub(crate) stride: usize,
    /// The largest [out, in] of its kind.
    pub(crate) largest: [usize; 2],
}

impl Place {
    /// The kernel of a convolution in a cell.
    pub(crate) fn kernel(self, size: usize) -> Kernel {
        let kind = if size == 1 { "nor_conv_1x1" } else { "nor_conv_3x3" };
        Kernel { kind, size, stride: 1, largest: [self.max_channels; 2] }
    }

    /// A convolution without a bias.
    pub(crate) fn convolve(
        self,
        node: &mut NodeBuilder<'_>,
        input: ValueId,
        kernel: Kernel,
    ) -> Result<ValueId, NetworkError> {
        let Kernel { kind, size, stride, largest: [out, into] } = kernel;
        let geometry = Convolution {
            weight: ParamId(0), // The builder puts the new parameter here.
            out_channels: self.channels,
            kernel: [size; 2],
            stride,
            dilation: 1,
            padding: [(size - 1) / 2; 2],
            groups: 1,
        };
        let (kind, out, into) = match self.slice {
            true => (kind.to_owned(), out, into),
            false => {
                (format!("{kind}_{}", self.channels), self.channels, into * self.channels / out)
            }
        };
        let largest = vec![out, into, size, size];
        node.conv2d(input, geometry, ParamRequest { name: "kernel", kind: &kind, largest })
    }

    /// Batch norm, with a scale and a shift where the settings say so.
    pub(crate) fn normalize(
        self,
        node: &mut NodeBuilder<'_>,
        input: ValueId,
    ) -> Result<ValueId, NetworkError> {
        if !self.affine {
            return node.batch_norm(input);
        }
        let request = |name| ParamRequest { name, kind: name, largest: vec![self.max_channels] };
        node.batch_norm_affine(input, request("scale"), request("shift"))
    }

    /// Rectification, convolution, batch norm: the benchmark's `ReLUConvBN`.
    pub(crate) fn relu_conv_bn(
        self,
        node: &mut NodeBuilder<'_>,
        input: ValueId,
        kernel: Kernel,
    ) -> Result<ValueId, NetworkError> {
        let rectified = node.relu(input)?;
        let convolved = self.convolve(node, rectified, kernel)?;
        self.normalize(node, convolved)
    }

    /// What an edge with this operation carries, of the sum that it reads.
    pub(crate) fn expand(
        self,
        operation: EdgeOperation,
        node: &mut NodeBuilder<'_>,
        sum: ValueId,
    ) -> Result<ValueId, NetworkError> {
        match operation {
            EdgeOperation::None => node.step(Primitive::Zero { stride: 1 }, &[sum]),
            EdgeOperation::SkipConnect => Ok(sum),
            EdgeOperation::NorConv1x1 => self.relu_conv_bn(node, sum, self.kernel(1)),
            EdgeOperation::NorConv3x3 => self.relu_conv_bn(node, sum, self.kernel(3)),
            EdgeOperation::AvgPool3x3 => {
                let window = Window { size: 3, stride: 1, padding: 1 };
                node.average_pool(sum, window, false)
            }
        }
    }
}
