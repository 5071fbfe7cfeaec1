//! Which tensors of the supernet a network's parameters are (section 5.3).
//!
//! A tensor is named by the module, the node's position in it, the node's operation and the
//! parameter. What reads the joined leaves of an earlier module has a tensor for each of them. A
//! node whose width or scale differs from architecture to architecture has a tensor for each: the
//! supernet that section 5.2 calls naive.

use ghnas_bank::Slot;
use ghnas_plugin_sdk::prelude::*;

/// The tensors of all parameters of `network`.
///
/// # Errors
/// Names the parameter that has no tensor.
pub(crate) fn slots(network: &Network) -> Result<Vec<Slot>, GeneratorError> {
    let named = |spec: &ParamSpec| {
        let module = &network.modules()[spec.node.module];
        let place = format!("{}.node{}", module.name, spec.node.node);
        let local = spec.name.strip_prefix(&format!("{place}.")).unwrap_or(&spec.name);
        format!("{place}.{}.{local}", module.nodes[spec.node.node].op)
    };
    let mut all = Vec::new();
    for step in network.steps() {
        all.extend(Slot::all(network, step, named, |spec| spec.shape.clone())?);
    }
    Ok(all)
}
