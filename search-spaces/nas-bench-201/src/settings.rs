//! The space's settings and presets.

use ghnas_core::Preset;
use ghnas_core::registry::settings_of;
use serde::{Deserialize, Serialize};

/// Groups of cells; height and width are halved and channels doubled between them.
pub(crate) const STAGES: usize = 3;

/// Settings of the space.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NasBench201Settings {
    /// Channels of the first stage; the benchmark's C.
    pub channels: usize,
    /// Cells of a stage; the benchmark's N.
    pub cells: usize,
    /// Whether batch norms have a scale and a shift, as parameters that are generated. The
    /// benchmark has them and counts them; a generator has an easier task without.
    pub affine: bool,
    /// Whether a generator makes kernels of every width as slices of one (section 7.1); otherwise
    /// the kernels of each width have a branch of their own.
    pub slice: bool,
    /// Whether a cell's network has only what changes its output: no identities that rename a value,
    /// and no operations that no path from input to output goes through. The benchmark has those, and counts their parameters.
    pub simplify: bool,
}

impl NasBench201Settings {
    /// The network whose accuracies, parameters and multiply-adds are published.
    pub fn benchmark() -> Self {
        Self { channels: 16, cells: 5, affine: true, slice: true, simplify: false }
    }

    /// Half of the width and a fifth of the cells: minutes on two cores.
    pub fn laptop() -> Self {
        Self { channels: 8, cells: 1, affine: false, slice: true, simplify: false }
    }

    /// Channels of the last stage.
    pub fn max_channels(&self) -> usize {
        self.channels << (STAGES - 1)
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// In words, with the key and what is expected.
    pub fn validate(&self) -> Result<(), String> {
        for (key, value, most) in [("channels", self.channels, 1024), ("cells", self.cells, 100)] {
            if !(1..=most).contains(&value) {
                return Err(format!("{key} = {value}, expected 1 to {most}"));
            }
        }
        Ok(())
    }
}

/// The space's presets; the first is the default.
pub(crate) fn presets() -> Vec<Preset> {
    [("laptop", NasBench201Settings::laptop()), ("benchmark", NasBench201Settings::benchmark())]
        .map(|(name, settings)| Preset { name: name.into(), settings: settings_of(&settings) })
        .into()
}
