//! An operation: a 1x1 convolution to half the channels, then a 3x3 convolution back.

use ghnas_plugin_sdk::prelude::*;

/// Half the channels in between.
pub struct Squeeze;

impl Operation for Squeeze {
    fn expand(
        &self,
        node: &mut NodeBuilder<'_>,
        inputs: &[ValueId],
        context: OperationContext,
    ) -> Result<ValueId, NetworkError> {
        let OperationContext { channels, max_channels } = context;
        let rectified: Result<Vec<_>, _> = inputs.iter().map(|&input| node.relu(input)).collect();
        let mut value = node.add(&rectified?)?;
        let most = max_channels.div_ceil(2);
        for (name, kernel, out_channels, largest) in [
            ("squeeze", 1, channels.div_ceil(2), vec![most, max_channels, 1, 1]),
            ("expand", 3, channels, vec![max_channels, most, 3, 3]),
        ] {
            let geometry = Convolution {
                weight: ParamId(0), // The builder puts the new parameter here.
                out_channels,
                kernel: [kernel; 2],
                stride: 1,
                dilation: 1,
                padding: [kernel / 2; 2],
                groups: 1,
            };
            value = node.conv2d(value, geometry, ParamRequest { name, kind: name, largest })?;
            value = node.batch_norm(value)?;
        }
        Ok(value)
    }
}

register!(Operation for Squeeze, "example-operation", "1x1 to half the channels, then 3x3", |_| Ok(Squeeze));
export_plugin!();
