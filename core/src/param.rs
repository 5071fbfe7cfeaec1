//! Parameters of a network: their description, and the buffer that holds their values.

use serde::{Deserialize, Serialize};

/// A parameter's position in [`Network::params`](crate::Network::params).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ParamId(pub u32);

impl ParamId {
    /// The position as an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A node of a network: which module, and which node of the module's graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NodeId {
    /// Position in [`Network::modules`](crate::Network::modules).
    pub module: usize,
    /// Position in the module's nodes.
    pub node: usize,
}

/// What a parameter does in its primitive; decides how it is initialised and scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParamRole {
    /// A convolution kernel, [out, in / groups, kh, kw].
    Kernel,
    /// A linear layer's matrix, [out, in].
    Matrix,
    /// A summand a channel: a linear layer's bias or a batch norm's shift.
    Shift,
    /// A factor a channel of a batch norm; neutral at one.
    Scale,
}

/// A free parameter of a network. Values are row-major f32 in PyTorch's and ONNX's order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParamSpec {
    /// Unique in its network: `block3.node5.pointwise`.
    pub name: String,
    /// Lengths of the dimensions, outermost first; one, two or four of them.
    pub shape: Vec<usize>,
    /// What it does.
    pub role: ParamRole,
    /// How many inputs are summed into one output: the filter's own in / groups * kh * kw.
    pub fan_in: usize,
    /// The node that owns it.
    pub node: NodeId,
    /// Parameters of one kind come out of one branch of a hypernetwork (`depthwise`,
    /// `pointwise`, `classifier`).
    pub kind: String,
    /// The largest shape that a generator makes for this kind: a smaller parameter is a slice of
    /// it, a longer one is tiled. Of the same rank as `shape`.
    pub largest: Vec<usize>,
}

impl ParamSpec {
    /// The number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Floats in a cache line: parameters start on one.
const LINE: usize = 16;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

/// One f32 buffer with the values (or gradients) of all parameters of a network, each starting at
/// a 64-byte boundary. The buffer is reused for networks of any size.
#[derive(Clone, Default)]
pub struct Weights {
    lines: Vec<Line>,
    /// Start and length of each parameter, in floats.
    extents: Vec<(usize, usize)>,
}

impl Weights {
    /// Zeros for parameters of the given lengths.
    pub fn zeros(lengths: impl IntoIterator<Item = usize>) -> Self {
        let mut weights = Self::default();
        weights.reset(lengths);
        weights
    }

    /// Zeros for the parameters of a network.
    pub fn zeros_for(params: &[ParamSpec]) -> Self {
        Self::zeros(params.iter().map(ParamSpec::len))
    }

    /// Makes this buffer zeros for parameters of the given lengths, keeping its memory.
    pub fn reset(&mut self, lengths: impl IntoIterator<Item = usize>) {
        self.extents.clear();
        let mut lines = 0;
        for length in lengths {
            self.extents.push((lines * LINE, length));
            lines += length.div_ceil(LINE);
        }
        self.lines.clear();
        self.lines.resize(lines, Line([0.0; LINE]));
    }

    /// Makes this buffer zeros for the parameters of a network, keeping its memory.
    pub fn reset_for(&mut self, params: &[ParamSpec]) {
        self.reset(params.iter().map(ParamSpec::len));
    }

    /// The number of parameters.
    pub fn len(&self) -> usize {
        self.extents.len()
    }

    /// Whether there is no parameter.
    pub fn is_empty(&self) -> bool {
        self.extents.is_empty()
    }

    /// Whether this buffer is laid out for the given parameters.
    pub fn fits(&self, params: &[ParamSpec]) -> bool {
        self.len() == params.len()
            && self.extents.iter().zip(params).all(|(&(_, length), spec)| length == spec.len())
    }

    /// The values of one parameter.
    pub fn get(&self, param: ParamId) -> &[f32] {
        let (start, length) = self.extents[param.index()];
        &bytemuck::cast_slice(&self.lines)[start..start + length]
    }

    /// The values of one parameter.
    pub fn get_mut(&mut self, param: ParamId) -> &mut [f32] {
        let (start, length) = self.extents[param.index()];
        &mut bytemuck::cast_slice_mut(&mut self.lines)[start..start + length]
    }

    /// All values with the gaps between parameters, which are zeros unless written here.
    pub fn as_slice(&self) -> &[f32] {
        bytemuck::cast_slice(&self.lines)
    }

    /// All values with the gaps between parameters.
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(&mut self.lines)
    }

    /// Start and length of a parameter in [`as_slice`](Self::as_slice), in floats.
    pub fn extent(&self, param: ParamId) -> (usize, usize) {
        self.extents[param.index()]
    }

    /// Whether every value is finite.
    pub fn all_finite(&self) -> bool {
        // A sum of absolute values times zero is zero, or not a number if any value is not finite.
        self.as_slice().iter().fold(0.0, |sum, value| sum + value.abs() * 0.0) == 0.0
    }
}

impl std::fmt::Debug for Weights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Weights").field("params", &self.extents.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_start_on_cache_lines() {
        let mut weights = Weights::zeros([3, 17, 1]);
        for id in 0..3 {
            assert_eq!(weights.get(ParamId(id)).as_ptr() as usize % 64, 0);
        }
        weights.get_mut(ParamId(1)).fill(2.0);
        assert_eq!(weights.as_slice().iter().sum::<f32>(), 34.0);
        assert!(weights.all_finite());
        weights.get_mut(ParamId(2))[0] = f32::NAN;
        assert!(!weights.all_finite());
        weights.get_mut(ParamId(2))[0] = f32::NEG_INFINITY;
        assert!(!weights.all_finite());
    }
}
