//! The field's common operations, registered for every space to name (section 7.1).
//!
//! Each keeps height and width and puts out `context.channels` channels. Convolutions follow
//! Eq. 7: each input is rectified, the sum is convolved once (a convolution is linear) and
//! normalised. The kernels of one kind are slices of the largest one (section 7.2).

mod convolution;
mod pooling;

use std::sync::Arc;

use ghnas_core::registry::{BuildContext, Settings};
use ghnas_core::{Factory, NetworkError, NodeBuilder, Operation, OperationContext, Registration};
use ghnas_core::{ValueId, inventory};

pub use convolution::{FactorizedConvolution, PointwiseConvolution, SeparableConvolution};
pub use pooling::{AveragePool, MaxPool};

/// The sum of the inputs.
#[derive(Debug, Clone, Copy)]
pub struct Identity;

impl Operation for Identity {
    fn expand(
        &self,
        node: &mut NodeBuilder<'_>,
        inputs: &[ValueId],
        _: OperationContext,
    ) -> Result<ValueId, NetworkError> {
        node.add(inputs)
    }
}

/// Registers an operation without settings under an id.
macro_rules! register {
    ($($id:literal, $summary:literal, $operation:expr;)*) => {$(
        inventory::submit! {
            Registration {
                id: $id,
                summary: $summary,
                source: env!("CARGO_PKG_NAME"),
                presets: Vec::new,
                factory: Factory::Operation({
                    fn build(
                        settings: &Settings,
                        _: &BuildContext<'_>,
                    ) -> Result<Arc<dyn Operation>, String> {
                        no_settings(settings)?;
                        Ok(Arc::new($operation))
                    }
                    build
                }),
            }
        }
    )*};
}

fn no_settings(settings: &Settings) -> Result<(), String> {
    match settings.keys().next() {
        None => Ok(()),
        Some(key) => Err(format!("unknown key '{key}'; this operation has no settings")),
    }
}

register! {
    "identity", "sum of the inputs", Identity;
    "conv_1x1", "1x1 convolution", PointwiseConvolution;
    "sep_conv_3x3", "3x3 separable convolution", SeparableConvolution::new(3, 1);
    "sep_conv_5x5", "5x5 separable convolution", SeparableConvolution::new(5, 1);
    "dil_conv_3x3", "3x3 separable convolution, dilation 2", SeparableConvolution::new(3, 2);
    "dil_conv_5x5", "5x5 separable convolution, dilation 2", SeparableConvolution::new(5, 2);
    "conv_1x7_7x1", "1x7 convolution followed by 7x1 convolution", FactorizedConvolution;
    "max_pool_3x3", "3x3 max pooling", MaxPool;
    "avg_pool_3x3", "3x3 average pooling", AveragePool;
}
