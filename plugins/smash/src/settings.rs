//! The settings of SMASH.

use ghnas_bank::AdamSettings;
use ghnas_plugin_sdk::prelude::Averaging;
use serde::{Deserialize, Serialize};

/// Settings of SMASH; the defaults are those of the authors' code where it has them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmashSettings {
    /// Channels of a group (N): a location of the memory-bank tensor makes N x N weights.
    pub group: usize,
    /// Channels that each layer of the hypernetwork adds.
    pub growth: usize,
    /// Layers of the hypernetwork, besides the one that makes weights.
    pub layers: usize,
    /// The descent, of the hypernetwork as of what is learned directly; the weight decay is of the
    /// latter alone.
    pub adam: AdamSettings,
    /// Decay of the moving average of the parameters of both, from which weights are made for
    /// scoring; 0 for none. A parameter's average moves in the steps that the parameter moves in.
    #[serde(default)]
    pub average: Averaging,
}

impl SmashSettings {
    /// Groups of 8 channels and Adam as the authors have them; 3 layers that add 16 channels,
    /// where theirs has 22 that add 10 each, so that weights take less time than the network.
    pub const DEFAULT: Self = Self {
        group: 8,
        growth: 16,
        layers: 3,
        adam: AdamSettings { beta1: 0.5, beta2: 0.999, epsilon: 1e-4, weight_decay: 1e-4 },
        average: Averaging::OFF,
    };

    /// Checks every setting.
    ///
    /// # Errors
    /// In words, with the key and what is expected.
    pub fn validate(&self) -> Result<(), String> {
        for (key, value, most) in
            [("group", self.group, 64), ("growth", self.growth, 256), ("layers", self.layers, 32)]
        {
            if !(1..=most).contains(&value) {
                return Err(format!("{key} = {value}, expected 1 to {most}"));
            }
        }
        self.adam.validate().map_err(|reason| format!("adam.{reason}"))
    }
}
