//! 3x3 pooling that keeps height and width. Padding never counts.

use ghnas_core::{NetworkError, NodeBuilder, Operation, OperationContext, ValueId, Window};

const WINDOW: Window = Window { size: 3, stride: 1, padding: 1 };

/// The sum of the inputs' 3x3 maxima.
#[derive(Debug, Clone, Copy)]
pub struct MaxPool;

impl Operation for MaxPool {
    fn expand(
        &self,
        node: &mut NodeBuilder<'_>,
        inputs: &[ValueId],
        _: OperationContext,
    ) -> Result<ValueId, NetworkError> {
        let pooled: Result<Vec<_>, _> =
            inputs.iter().map(|&input| node.max_pool(input, WINDOW)).collect();
        node.add(&pooled?)
    }
}

/// The sum of the inputs' 3x3 means, computed as the mean of the sum.
#[derive(Debug, Clone, Copy)]
pub struct AveragePool;

impl Operation for AveragePool {
    fn expand(
        &self,
        node: &mut NodeBuilder<'_>,
        inputs: &[ValueId],
        _: OperationContext,
    ) -> Result<ValueId, NetworkError> {
        // The mean is linear, so this is Eq. 7 with one pooling instead of one an input.
        let sum = node.add(inputs)?;
        node.average_pool(sum, WINDOW, false)
    }
}
