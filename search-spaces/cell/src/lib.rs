//! The cell search space (sections 5.1 and 7.1): blocks of N nodes, stacked.
//!
//! A block is a DAG. Nodes 0 and 1 take the outputs of the previous block and of the one before
//! it through bottleneck 1x1 convolutions; every other node applies an operation to one or more
//! earlier nodes; the block's output joins all leaves along channels.

mod evolve;
mod lower;
mod sample;
mod settings;
mod validate;

use std::sync::Arc;

use ghnas_core::{
    Architecture, ArchitectureError, BuildContext, Evolve, Network, Operation, Phase, SearchSpace,
    Settings, SpaceError, Task,
};
use ghnas_operations as _;

pub use settings::CellSettings;

/// The id of the space.
pub const ID: &str = "cell";

/// The name of the one motif.
const MOTIF: &str = "cell";

/// The operation of a node that takes an earlier block's output; its `index` attribute says which.
const INPUT: &str = "input";

/// The attribute of an input node: 0 for the previous block, 1 for the one before it.
const INDEX: &str = "index";

/// How many input nodes a block has.
const INPUTS: usize = 2;

ghnas_plugin_sdk::register!(
    SearchSpace for CellSpace,
    ID,
    "blocks of N nodes with nine operations, stacked (Zhang, Ren, Urtasun 2019)",
    settings::presets,
    CellSpace::new
);
ghnas_plugin_sdk::export_plugin!();

/// The cell space with its settings.
pub struct CellSpace {
    settings: CellSettings,
    /// In the order of `settings.operations`.
    operations: Vec<Arc<dyn Operation>>,
}

impl CellSpace {
    fn new(settings: CellSettings, context: &BuildContext<'_>) -> Result<Self, String> {
        settings.validate()?;
        let operation = |id: &String| {
            let built = context.catalogue.operations.build(id, &Settings::new(), context);
            built.map_err(|error| format!("operations: {error}"))
        };
        let operations = settings.operations.iter().map(operation).collect::<Result<_, _>>()?;
        Ok(Self { operations, settings })
    }

    fn operation(&self, name: &str) -> Option<&dyn Operation> {
        let position = self.settings.operations.iter().position(|op| op == name)?;
        Some(&*self.operations[position])
    }
}

impl SearchSpace for CellSpace {
    fn id(&self) -> &str {
        ID
    }

    fn sample(&self, phase: Phase, seed: u64) -> Result<Architecture, SpaceError> {
        let nodes = match phase {
            Phase::Train => self.settings.train_nodes,
            Phase::Score => self.settings.nodes,
        };
        sample::sample(&self.settings, nodes, seed)
    }

    fn validate(&self, arch: &Architecture) -> Result<(), ArchitectureError> {
        validate::validate(&self.settings, arch)
    }

    fn lower(&self, arch: &Architecture, task: Task) -> Result<Network, SpaceError> {
        self.validate(arch)?;
        Ok(lower::lower(self, &arch.canonical(), task)?)
    }

    fn evolve(&self) -> Option<&dyn Evolve> {
        Some(self)
    }
}
