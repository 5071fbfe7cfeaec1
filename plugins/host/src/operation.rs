//! A plugin's operation: the fragment that it answers with is written into the host's network.

use ghnas_core::{
    Fragment, NetworkError, NodeBuilder, Operation, OperationContext, Shape, ValueId,
};
use ghnas_plugin_messages::{Expand, method};

use crate::instance::Instance;
use crate::stateless::Stateless;

pub(crate) struct PluginOperation {
    instance: Stateless,
}

impl PluginOperation {
    pub(crate) fn new(instance: Instance) -> Self {
        Self { instance: Stateless::new(instance) }
    }
}

impl Operation for PluginOperation {
    fn expand(
        &self,
        node: &mut NodeBuilder<'_>,
        inputs: &[ValueId],
        context: OperationContext,
    ) -> Result<ValueId, NetworkError> {
        let shapes: Vec<Shape> = inputs.iter().map(|&value| node.shape(value)).collect();
        let OperationContext { channels, max_channels } = context;
        let request = Expand { inputs: shapes.clone(), channels, max_channels, handle: None };
        let words = |error: crate::instance::CallError| NetworkError::Whole(error.to_string());
        let fragment: Fragment = self.instance.call(method::EXPAND, &request).map_err(words)?;
        let fault = |reason: String| words(self.instance.fault(method::EXPAND, reason));
        if fragment.inputs != shapes {
            return Err(fault("its fragment is for inputs of other shapes".into()));
        }
        let value = fragment.replay(node, inputs).map_err(|error| fault(error.to_string()))?;
        let expected = shapes.first().map(|first| Shape { channels, ..*first });
        match node.shape(value) {
            shape if Some(shape) == expected => Ok(value),
            shape => Err(fault(format!(
                "its result is {shape}, expected {}",
                expected.map_or("nothing".into(), |shape| shape.to_string())
            ))),
        }
    }
}
