//! Which tensors of the supernet a network's parameters are (section 5.3).
//!
//! A tensor is named by the module, the node's position in it, the node's operation and the
//! parameter. What reads the joined leaves of an earlier module has a tensor for each of them.

use ghnas_bank::{Bank, Columns, Init, parts};
use ghnas_plugin_sdk::prelude::*;

/// A tensor of the supernet, and where it lies in a parameter of a network.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Slot {
    pub(crate) param: ParamId,
    pub(crate) tensor: String,
    shape: Vec<usize>,
    init: Init,
    columns: Columns,
}

impl Slot {
    /// The tensors of all parameters of `network`.
    pub(crate) fn all(network: &Network) -> Vec<Self> {
        let mut slots = Vec::new();
        for step in network.steps() {
            let mut parts = parts(network, step);
            for param in step.primitive.params() {
                let ParamSpec { name, shape, node, .. } = &network.params()[param.index()];
                let module = &network.modules()[node.module];
                let place = format!("{}.node{}", module.name, node.node);
                let local = name.strip_prefix(&format!("{place}.")).unwrap_or(name);
                let tensor = format!("{place}.{}.{local}", module.nodes[node.node].op);
                let slot = |tensor, shape, columns| {
                    Self::new(param, network.params()[param.index()].role, tensor, shape, columns)
                };
                // The first parameter of such a step is its kernel or matrix.
                let Some(parts) = parts.take() else {
                    slots.push(slot(tensor, shape.clone(), Columns::all(shape)));
                    continue;
                };
                for part in parts {
                    let from = &network.modules()[part.from.module].name;
                    let tensor = format!("{tensor}.{from}.node{}", part.from.node);
                    slots.push(slot(tensor, part.shape, part.columns));
                }
            }
        }
        slots
    }

    fn new(
        param: ParamId,
        role: ParamRole,
        tensor: String,
        shape: Vec<usize>,
        columns: Columns,
    ) -> Self {
        // A node whose width or scale differs from architecture to architecture has a tensor for
        // each: the supernet that section 5.2 calls naive.
        let sides: Vec<String> = shape.iter().map(usize::to_string).collect();
        let tensor = format!("{tensor}.{}", sides.join("x"));
        // Of this tensor alone: whatever else is joined must not change what it starts from.
        let fan_in = shape[1..].iter().product();
        Self { param, tensor, shape, init: Init { role, fan_in }, columns }
    }

    /// Writes the tensor to its place in `weights`, drawing it where it is new.
    pub(crate) fn write(
        &self,
        bank: &mut Bank,
        weights: &mut Weights,
    ) -> Result<(), GeneratorError> {
        let values = bank.values(&self.tensor, &self.shape, self.init)?;
        self.columns.write(values, weights.get_mut(self.param));
        Ok(())
    }

    /// Adds the gradient at its place to the tensor's: the adjoint of [`write`](Self::write).
    pub(crate) fn add_gradient(&self, gradients: &Weights, bank: &mut Bank) {
        let sum = bank.gradient_mut(&self.tensor).expect("drawn when it was written");
        self.columns.add_gradient(gradients.get(self.param), sum);
    }
}
