//! What has to be computed for one network: module graphs as schedules over rows of embeddings,
//! and parameters as cuts from rows of output branches. Plain data, for any device.

use std::collections::BTreeMap;

use ghnas_core::{
    GeneratorError, Network, ParamId, ParamRole, ParamSpec, Propagator, Schedule, Slicing, Weights,
};

use crate::parameters::{Layer, ParameterId, Parameters, Shared};
use crate::settings::GhnSettings;

/// The plan of one network.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) shared: Shared,
    /// The embeddings of the network's operations, each once.
    pub(crate) embeddings: Vec<ParameterId>,
    /// The chain of modules, those without nodes left out.
    pub(crate) modules: Vec<ModulePlan>,
    /// The nodes of all modules.
    pub(crate) nodes: usize,
    pub(crate) branches: Vec<BranchPlan>,
    /// Lengths of the network's parameters.
    lengths: Vec<usize>,
}

/// One module of the chain.
#[derive(Debug, Clone)]
pub(crate) struct ModulePlan {
    /// Row of its first node among all nodes of the network.
    pub(crate) first: usize,
    /// By node: position in [`Plan::embeddings`].
    pub(crate) ops: Vec<usize>,
    /// By node: whether it hears the previous module.
    pub(crate) entry: Vec<bool>,
    pub(crate) schedule: Schedule,
}

/// One output branch of the hypernetwork, with all that is cut from it.
#[derive(Debug, Clone)]
pub(crate) struct BranchPlan {
    pub(crate) layer: Layer,
    /// Length of the branch's output for one node.
    pub(crate) largest: usize,
    /// One a shape; cuts are numbered slice by slice.
    pub(crate) slices: Vec<SlicePlan>,
}

impl BranchPlan {
    /// All cuts in order, each with the positions that its elements have in the branch's output.
    pub(crate) fn cuts(&self) -> impl Iterator<Item = (&Cut, &[usize])> {
        self.slices.iter().flat_map(|slice| {
            let indices = &slice.indices[..];
            slice.cuts.iter().map(move |cut| (cut, indices))
        })
    }

    /// Length of all cuts, one after the other.
    pub(crate) fn len(&self) -> usize {
        self.slices.iter().map(|slice| slice.cuts.len() * slice.indices.len()).sum()
    }
}

/// The parameters of one shape that are cut from a branch.
#[derive(Debug, Clone)]
pub(crate) struct SlicePlan {
    shape: Vec<usize>,
    /// By element of the parameter: position in the branch's output.
    pub(crate) indices: Vec<usize>,
    pub(crate) cuts: Vec<Cut>,
}

/// A parameter of the network as `offset + factor * output[indices]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    pub(crate) param: ParamId,
    /// Row of its node among all nodes of the network.
    pub(crate) row: usize,
    pub(crate) factor: f32,
    pub(crate) offset: f32,
}

impl Plan {
    /// The plan of `network`; makes the embeddings and branches that are new.
    ///
    /// # Errors
    /// [`GeneratorError`] names the parameter that cannot be made.
    pub(crate) fn new(
        network: &Network,
        propagator: &dyn Propagator,
        settings: &GhnSettings,
        parameters: &mut Parameters,
    ) -> Result<Self, GeneratorError> {
        let shared = parameters.shared(settings);
        let mut ops: BTreeMap<&str, usize> = BTreeMap::new();
        let mut embeddings = Vec::new();
        let mut modules = Vec::new();
        let mut first_rows = Vec::new();
        let mut nodes = 0;
        for (index, module) in network.modules().iter().enumerate() {
            first_rows.push(nodes);
            if module.nodes.is_empty() {
                continue;
            }
            let graph = network.graph(index);
            let checked = propagator.schedule(graph, settings.rounds).and_then(|schedule| {
                schedule.validate(graph)?;
                Ok(schedule)
            });
            let schedule = checked.map_err(|error| {
                GeneratorError::Other(format!("propagator '{}': {error}", settings.propagator))
            })?;
            let mut position = |op| {
                *ops.entry(op).or_insert_with(|| {
                    embeddings.push(parameters.embedding(op, settings.hidden));
                    embeddings.len() - 1
                })
            };
            modules.push(ModulePlan {
                first: nodes,
                ops: module.nodes.iter().map(|node| position(&node.op)).collect(),
                entry: module.nodes.iter().map(|node| node.entry).collect(),
                schedule,
            });
            nodes += module.nodes.len();
        }
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        let mut branches: Vec<BranchPlan> = Vec::new();
        for (index, param) in network.params().iter().enumerate() {
            let layer = parameters.branch(param, settings)?;
            let branch = *kinds.entry(&param.kind).or_insert_with(|| {
                let largest = param.largest.iter().product();
                branches.push(BranchPlan { layer, largest, slices: Vec::new() });
                branches.len() - 1
            });
            let row = first_rows[param.node.module] + param.node.node;
            let slice = slice_for(&mut branches[branch].slices, param)?;
            slice.cuts.push(cut(ParamId(index as u32), param, row, settings));
        }
        let lengths = network.params().iter().map(ParamSpec::len).collect();
        Ok(Self { shared, embeddings, modules, nodes, branches, lengths })
    }

    /// Every parameter of the GHN that this network's weights depend on.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = ParameterId> + '_ {
        let Shared { message: [message0, message1], gru_input, gru_state, hypernetwork } =
            self.shared;
        [message0, message1, gru_input, gru_state, hypernetwork]
            .into_iter()
            .chain(self.branches.iter().map(|branch| branch.layer))
            .flat_map(|layer| [layer.weight, layer.bias])
            .chain(self.embeddings.iter().copied())
    }

    /// Whether a buffer is laid out for the network's parameters.
    ///
    /// # Errors
    /// Says so where it is not.
    pub(crate) fn check(&self, buffer: &Weights) -> Result<(), GeneratorError> {
        let length = |index: usize| buffer.extent(ParamId(index as u32)).1;
        let fits = buffer.len() == self.lengths.len()
            && self.lengths.iter().enumerate().all(|(index, &expect)| length(index) == expect);
        let words = "the buffer is not laid out for the network's parameters";
        if fits { Ok(()) } else { Err(GeneratorError::Other(words.into())) }
    }
}

/// The slice of the parameter's shape, made where there is none.
fn slice_for<'a>(
    slices: &'a mut Vec<SlicePlan>,
    param: &ParamSpec,
) -> Result<&'a mut SlicePlan, GeneratorError> {
    let known = slices.iter().position(|slice| slice.shape == param.shape);
    if known.is_none() {
        let slicing = Slicing::new(&param.largest, &param.shape).map_err(|error| {
            GeneratorError::Param { param: param.name.clone(), reason: error.to_string() }
        })?;
        let indices = slicing.indices().collect();
        slices.push(SlicePlan { shape: param.shape.clone(), indices, cuts: Vec::new() });
    }
    let position = known.unwrap_or(slices.len() - 1);
    Ok(&mut slices[position])
}

fn cut(id: ParamId, param: &ParamSpec, row: usize, settings: &GhnSettings) -> Cut {
    let scaled = settings.normalize && matches!(param.role, ParamRole::Kernel | ParamRole::Matrix);
    let factor = if scaled { (2.0 / param.fan_in as f64).sqrt() as f32 } else { 1.0 };
    // Scales are generated as their distance from the neutral one.
    let offset = if param.role == ParamRole::Scale { 1.0 } else { 0.0 };
    Cut { param: id, row, factor, offset }
}
