//! The memory-bank tensor (Brock et al., 2018) of a network.
//!
//! A network is seen as operations that read from and write to banks of memory. Here each node of
//! a module is a bank, written once, by its own operation. The 1x1 convolutions are made from a
//! binary tensor with a location for every N output channels by N input channels of each. What is
//! set at a location, and what stands for it in the authors' code (`sample_weights` of
//! ajbrock/SMASH):
//!
//! | here | in the authors' code |
//! |---|---|
//! | `read` and a node's position | the bank that the input channels come from |
//! | `write` and a node's position | the bank that is written |
//! | `module` and its name | the block |
//! | `op` and its name | kernel sizes, dilation, groups and active convolutions of the operation |
//! | `groups` and a number | G, the width of the operation |
//! | `row` and `column` numbers | the random vector z, which tells locations apart |
//!
//! Where a node reads several nodes of its module, it reads their sum, not their channels side by
//! side: all of them are set. What reads an earlier module reads channels side by side, and each
//! column has its own bank set. Left out: z itself, since a candidate's score must not be random;
//! minus one for what is not set, which would make every location dense; and convolution across
//! the borders of neighbouring operations: each 1x1 convolution is a tensor of its own.

use ghnas_bank::parts;
use ghnas_plugin_sdk::prelude::*;

/// A run of channels, at most as many as a location covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) first: usize,
    pub(crate) channels: usize,
}

/// The tensor of one 1x1 convolution.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Memory {
    /// The kernel, [out, in, 1, 1].
    pub(crate) param: ParamId,
    /// Input channels of the kernel.
    pub(crate) inputs: usize,
    /// By row: output channels.
    pub(crate) rows: Vec<Group>,
    /// By column: input channels.
    pub(crate) columns: Vec<Group>,
    /// The names of what is set: everywhere, then in each row, then in each column.
    pub(crate) features: Vec<Vec<String>>,
}

impl Memory {
    /// The tensors of all 1x1 convolutions that mix channels.
    pub(crate) fn all(network: &Network, group: usize) -> Vec<Self> {
        let of = |step| Self::of(network, step, group);
        network.steps().iter().filter_map(of).collect()
    }

    fn of(network: &Network, step: &Step, group: usize) -> Option<Self> {
        let param = generated(&step.primitive)?;
        let [outputs, inputs, ..] = network.params()[param.index()].shape[..] else { return None };
        let module = &network.modules()[step.node.module];
        let node = &module.nodes[step.node.node];
        let read = |node: usize| format!("read {node}");

        let rows = groups(0, outputs, group);
        let mut everywhere = vec![
            format!("module {}", module.name),
            format!("op {}", node.op),
            format!("write {}", step.node.node),
            format!("groups {}", rows.len()),
        ];
        let mut columns = Vec::new();
        let mut in_columns = Vec::new();
        // Banks side by side, or a sum of banks.
        let sources = match parts(network, step) {
            Some(parts) => parts.iter().map(|it| (it.shape[1], Some(it.from.node))).collect(),
            None => {
                everywhere.extend(node.inputs.iter().map(|&input| read(input)));
                vec![(inputs, None)]
            }
        };
        let mut first = 0;
        for (channels, source) in sources {
            for (number, column) in groups(first, channels, group).into_iter().enumerate() {
                let mut names = vec![format!("column {number}")];
                names.extend(source.map(read));
                columns.push(column);
                in_columns.push(names);
            }
            first += channels;
        }
        let mut features = vec![everywhere];
        features.extend((0..rows.len()).map(|number| vec![format!("row {number}")]));
        features.extend(in_columns);
        Some(Self { param, inputs, rows, columns, features })
    }

    /// The number of locations.
    pub(crate) fn len(&self) -> usize {
        self.rows.len() * self.columns.len()
    }

    /// Positions in [`features`](Self::features) of what is set at a row and column.
    pub(crate) fn set_at(&self, row: usize, column: usize) -> [usize; 3] {
        [0, 1 + row, 1 + self.rows.len() + column]
    }

    /// For each weight of the kernel, row-major: its location, and its place among the weights
    /// that the location makes.
    pub(crate) fn weights(&self, group: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
        let outputs = self.rows.iter().enumerate();
        outputs.flat_map(move |(row, outputs)| {
            (0..outputs.channels).flat_map(move |output| {
                self.columns.iter().enumerate().flat_map(move |(column, inputs)| {
                    let location = row * self.columns.len() + column;
                    (0..inputs.channels).map(move |input| (location, output * group + input))
                })
            })
        })
    }
}

/// The kernel of a 1x1 convolution that mixes channels: what the hypernetwork makes.
pub(crate) fn generated(primitive: &Primitive) -> Option<ParamId> {
    match primitive {
        Primitive::Conv2d(conv) if conv.kernel == [1, 1] && conv.groups == 1 => Some(conv.weight),
        _ => None,
    }
}

/// `channels` channels from `first` on, in groups of `group` and what is left.
fn groups(first: usize, channels: usize, group: usize) -> Vec<Group> {
    let starts = (0..channels).step_by(group);
    let group = |start| Group { first: first + start, channels: group.min(channels - start) };
    starts.map(group).collect()
}
