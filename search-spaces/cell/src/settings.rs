//! The space's settings and presets.

use ghnas_core::Preset;
use ghnas_core::registry::settings_of;
use serde::{Deserialize, Serialize};

/// The operations of section 7.1.
const OPERATIONS: [&str; 9] = [
    "identity",
    "conv_1x1",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
    "conv_1x7_7x1",
    "max_pool_3x3",
    "avg_pool_3x3",
];

/// The fewest nodes of a block: two inputs and one operation.
pub(crate) const FEWEST_NODES: usize = 3;

/// The most nodes of a block.
pub(crate) const MOST_NODES: usize = 128;

/// Settings of the cell space.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellSettings {
    /// Nodes of a block that is scored, its two inputs included.
    pub nodes: usize,
    /// Nodes of a block that the weight generator is trained on (section 5.4, Figure 5a).
    pub train_nodes: usize,
    /// The most inputs that a sampled node draws; 0 for no bound but the earlier nodes.
    pub max_inputs: usize,
    /// Blocks of a network.
    pub blocks: usize,
    /// Channels of a node before the first reduction (F in the paper's tables).
    pub channels: usize,
    /// Stride of the stem's convolution: 2 halves height and width before the first block.
    pub stem_stride: usize,
    /// Height and width are halved and channels doubled after this many blocks.
    pub reduce_after: Vec<usize>,
    /// What a node may compute: ids of operations.
    pub operations: Vec<String>,
}

impl CellSettings {
    /// The paper's setting for CIFAR-10 (section 5.1.1).
    pub fn paper() -> Self {
        Self {
            nodes: 17,
            train_nodes: 7,
            max_inputs: 0,
            blocks: 18,
            channels: 32,
            stem_stride: 1,
            reduce_after: vec![6, 12],
            operations: OPERATIONS.map(String::from).into(),
        }
    }

    /// A sixth of the depth and half of the width: minutes on two cores. Generators learn three
    /// blocks of 16 channels far faster than six of 8, at about the same time a step.
    pub fn laptop() -> Self {
        Self { blocks: 3, channels: 16, reduce_after: vec![1, 2], ..Self::paper() }
    }

    /// For comparisons that train every architecture: two blocks of half the width on a quarter of
    /// the pixels, about a tenth of the laptop preset's work.
    pub fn tiny() -> Self {
        Self { blocks: 2, channels: 8, stem_stride: 2, reduce_after: vec![1], ..Self::paper() }
    }

    /// Channels of a node after the last reduction.
    pub fn max_channels(&self) -> usize {
        self.channels << self.reduce_after.len()
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// In words, with the key and what is expected.
    pub fn validate(&self) -> Result<(), String> {
        for (key, nodes) in [("nodes", self.nodes), ("train_nodes", self.train_nodes)] {
            if !(FEWEST_NODES..=MOST_NODES).contains(&nodes) {
                return Err(format!(
                    "{key} = {nodes}, expected {FEWEST_NODES} to {MOST_NODES} \
                     (two inputs and at least one operation)"
                ));
            }
        }
        if !(1..=100).contains(&self.blocks) {
            return Err(format!("blocks = {}, expected 1 to 100", self.blocks));
        }
        if !(1..=1024).contains(&self.channels) {
            return Err(format!("channels = {}, expected 1 to 1024", self.channels));
        }
        if !(1..=8).contains(&self.stem_stride) {
            return Err(format!("stem_stride = {}, expected 1 to 8", self.stem_stride));
        }
        let ordered = self.reduce_after.windows(2).all(|pair| pair[0] < pair[1]);
        let inside = self.reduce_after.iter().all(|&block| (1..self.blocks).contains(&block));
        if !ordered || !inside {
            return Err(format!(
                "reduce_after = {:?}, expected ascending numbers from 1 to {}",
                self.reduce_after,
                self.blocks - 1
            ));
        }
        if self.reduce_after.len() > 6 {
            return Err(format!("reduce_after = {:?}, expected at most 6", self.reduce_after));
        }
        let mut names = std::collections::BTreeSet::new();
        match self.operations.iter().find(|op| !names.insert(*op)) {
            Some(twice) => Err(format!("operations names '{twice}' twice")),
            None if names.is_empty() => Err("operations is empty, expected at least one".into()),
            None => Ok(()),
        }
    }
}

/// The space's presets; the first is the default.
pub(crate) fn presets() -> Vec<Preset> {
    [
        ("laptop", CellSettings::laptop()),
        ("tiny", CellSettings::tiny()),
        ("paper", CellSettings::paper()),
    ]
    .map(|(name, settings)| Preset { name: name.into(), settings: settings_of(&settings) })
    .into()
}
