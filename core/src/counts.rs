//! Parameters and multiply-adds of a network, as the field's tables count them.

use serde::{Deserialize, Serialize};

use crate::network::Network;
use crate::primitive::Primitive;

/// Multiply-adds for one image: a multiplication with its addition counts once.
///
/// The paper's tables (and NAS-Bench-201's) call this number FLOPs.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct MultiplyAdds(pub u64);

impl std::fmt::Display for MultiplyAdds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            n @ 1_000_000.. => write!(f, "{:.2}M", n as f64 / 1e6),
            n => write!(f, "{:.1}k", n as f64 / 1e3),
        }
    }
}

/// What [`multiply_adds`] counts besides the products of convolutions and linear layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counting {
    /// One for each output of a linear layer that has a bias, as in NAS-Bench-201.
    pub linear_bias: bool,
    /// One for each value that a batch norm writes (its scale and shift folded into one).
    pub batch_norm: bool,
    /// One for each value that is summed by pooling or addition.
    pub sums: bool,
}

impl Default for Counting {
    /// Convolutions and linear layers with their biases: what the tables count.
    fn default() -> Self {
        Self { linear_bias: true, batch_norm: false, sums: false }
    }
}

/// The multiply-adds of `network` for one image; at most `u64::MAX`.
pub fn multiply_adds(network: &Network, counting: Counting) -> MultiplyAdds {
    let steps = network.steps().iter().enumerate();
    let counts = steps.map(|(index, _)| step_multiply_adds(network, index, counting));
    MultiplyAdds(counts.fold(0, u64::saturating_add))
}

/// The multiply-adds of one step for one image.
pub fn step_multiply_adds(network: &Network, step: usize, counting: Counting) -> u64 {
    let instruction = &network.steps()[step];
    let input = network.shape(instruction.inputs[0]);
    let output = network.shape(crate::network::ValueId(step as u32 + 1));
    let elements = output.elements() as u64;
    match instruction.primitive {
        Primitive::Conv2d(conv) => {
            let [rows, columns] = conv.kernel;
            elements * (input.channels / conv.groups * rows * columns) as u64
        }
        Primitive::Linear { bias, .. } => {
            let biases = if counting.linear_bias && bias.is_some() { elements } else { 0 };
            elements * input.elements() as u64 + biases
        }
        Primitive::BatchNorm { .. } if counting.batch_norm => elements,
        Primitive::AveragePool { window, .. } if counting.sums => {
            elements * (window.size * window.size) as u64
        }
        Primitive::GlobalAveragePool if counting.sums => input.elements() as u64,
        Primitive::Add if counting.sums => elements * (instruction.inputs.len() as u64 - 1),
        _ => 0,
    }
}
