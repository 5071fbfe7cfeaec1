//! The GHN's settings and presets.

use ghnas_core::registry::default_preset;
use ghnas_core::{Averaging, Preset, Settings};
use serde::{Deserialize, Serialize};

/// Settings of the GHN; the defaults are those of section 5.1.1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GhnSettings {
    /// Id of the propagation scheme.
    pub propagator: String,
    /// The propagation scheme's own settings; what is left out has its default.
    pub propagator_settings: Settings,
    /// Rounds of propagation over each module (T).
    pub rounds: usize,
    /// Length of a node's embedding.
    pub hidden: usize,
    /// Length of the message network's hidden layer.
    pub message_hidden: usize,
    /// Length of the hypernetwork's hidden layer.
    pub hypernetwork_hidden: usize,
    /// Whether generated kernels and matrices are scaled by sqrt(2 / fan_in) of the parameter.
    /// Where not, only the initial weights of each branch are scaled, by the first parameter seen.
    pub normalize: bool,
    /// How large the identity is that kernels begin with, beside what is random, where they keep the
    /// number of channels: 0 for none, 1 for as much of an output's deviation in the widest kernel of
    /// a kind.
    pub identity: f64,
    /// Decay of the moving average of the parameters, from which weights are made for scoring; 0
    /// for none. A parameter's average moves in the steps that the parameter moves in.
    pub average: Averaging,
}

impl Default for GhnSettings {
    fn default() -> Self {
        Self {
            propagator: "forward-backward".into(),
            propagator_settings: Settings::new(),
            rounds: 5,
            hidden: 32,
            message_hidden: 32,
            hypernetwork_hidden: 64,
            normalize: true,
            identity: 0.0,
            average: Averaging::OFF,
        }
    }
}

/// The longest layer that is accepted.
const LONGEST: usize = 4096;

/// The largest identity that is accepted.
const LARGEST_IDENTITY: f64 = 1000.0;

/// The most rounds that are accepted.
const MOST_ROUNDS: usize = 1000;

impl GhnSettings {
    /// Checks every number.
    ///
    /// # Errors
    /// In words, with the key and what is expected.
    pub fn validate(&self) -> Result<(), String> {
        let lengths = [
            ("hidden", self.hidden),
            ("message_hidden", self.message_hidden),
            ("hypernetwork_hidden", self.hypernetwork_hidden),
        ];
        for (key, length) in lengths {
            if !(1..=LONGEST).contains(&length) {
                return Err(format!("{key} = {length}, expected 1 to {LONGEST}"));
            }
        }
        if !(0.0..=LARGEST_IDENTITY).contains(&self.identity) {
            let identity = self.identity;
            return Err(format!("identity = {identity}, expected 0 to {LARGEST_IDENTITY}"));
        }
        if self.rounds > MOST_ROUNDS {
            return Err(format!("rounds = {}, expected 0 to {MOST_ROUNDS}", self.rounds));
        }
        Ok(())
    }
}

/// The GHN's presets; the first is the default.
pub(crate) fn presets() -> Vec<Preset> {
    default_preset(&GhnSettings::default())
}
