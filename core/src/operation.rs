//! Operations: what a node of an architecture computes, as an expansion to primitives.

use crate::network::{NetworkError, NodeBuilder, ValueId};

/// Where an operation stands in its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OperationContext {
    /// Channels that the operation must put out.
    pub channels: usize,
    /// The most channels that a node of this network has; the largest generated kernels follow it.
    pub max_channels: usize,
}

/// An operation of a search space: f_v of Eq. 7, over all of the node's inputs.
///
/// ```
/// use ghnas_core::{NetworkError, NodeBuilder, Operation, OperationContext, ValueId};
///
/// /// The sum of the rectified inputs.
/// struct Rectify;
///
/// impl Operation for Rectify {
///     fn expand(
///         &self,
///         node: &mut NodeBuilder<'_>,
///         inputs: &[ValueId],
///         _: OperationContext,
///     ) -> Result<ValueId, NetworkError> {
///         let rectified: Result<Vec<_>, _> = inputs.iter().map(|&x| node.relu(x)).collect();
///         node.add(&rectified?)
///     }
/// }
/// ```
pub trait Operation: Send + Sync {
    /// Writes the steps of `node` for `inputs` (at least one, of one shape) and returns the
    /// node's value, with `context.channels` channels and the inputs' height and width.
    ///
    /// # Errors
    /// As [`NodeBuilder::step`].
    fn expand(
        &self,
        node: &mut NodeBuilder<'_>,
        inputs: &[ValueId],
        context: OperationContext,
    ) -> Result<ValueId, NetworkError>;
}
