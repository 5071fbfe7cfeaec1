//! What has to be computed for one network: module graphs as schedules over rows of embeddings,
//! and parameters as cuts from rows of output branches. Plain data, for any device.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use ghnas_core::{
    GeneratorError, Network, ParamId, ParamRole, ParamSpec, Propagator, Schedule, Slicing, Weights,
};

use crate::parameters::{Layer, ParameterId, Parameters, Shared};
use crate::plans::Parts;
use crate::settings::GhnSettings;

/// The plan of one network.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) shared: Shared,
    /// The embeddings of the network's operations, each once.
    pub(crate) embeddings: Vec<ParameterId>,
    /// The chain of modules, those without nodes left out.
    pub(crate) modules: Vec<ModulePlan>,
    /// The nodes of all modules.
    pub(crate) nodes: usize,
    pub(crate) branches: Vec<BranchPlan>,
    /// How many outputs all cuts take: for each slice, one after the other, [rows, cuts].
    pub(crate) outputs: usize,
    /// All slices, in pieces of similar work.
    pub(crate) pieces: Vec<Piece>,
    /// Lengths of the network's parameters.
    lengths: Vec<usize>,
}

/// Some rows of a slice.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) branch: usize,
    pub(crate) slice: usize,
    /// Positions among the slice's rows.
    pub(crate) rows: Range<usize>,
    /// Position of the first output among all of the plan.
    pub(crate) first_output: usize,
}

/// Neighbouring rows of a branch's layer: what different threads may add gradients to.
#[derive(Debug)]
pub(crate) struct Band {
    pub(crate) rows: Range<usize>,
    /// By slice: positions among the slice's rows.
    pub(crate) slices: Vec<Range<usize>>,
}

/// Outputs of a piece or a band of rows, about: enough work to be worth another thread.
const PIECE: usize = 2048;

/// The most bands of a branch: each has gradients of features of its own, to be added up.
const MOST_BANDS: usize = 8;

/// One module of the chain.
#[derive(Debug)]
pub(crate) struct ModulePlan {
    /// Row of its first node among all nodes of the network.
    pub(crate) first: usize,
    /// By node: position in [`Plan::embeddings`].
    pub(crate) ops: Vec<usize>,
    /// By node: whether it hears the previous module.
    pub(crate) entry: Vec<bool>,
    pub(crate) propagation: Arc<Propagation>,
}

/// The propagation over one module's graph.
#[derive(Debug)]
pub(crate) struct Propagation {
    pub(crate) schedule: Schedule,
    /// By step: the nodes that are heard in it and have changed since they last computed their
    /// message. A message is kept for all that hear it.
    pub(crate) senders: Vec<Vec<usize>>,
    /// How many messages are computed.
    pub(crate) sends: usize,
    /// How many updates of single nodes there are.
    pub(crate) updates: usize,
}

impl Propagation {
    /// A schedule that was checked, for a graph of this many nodes.
    pub(crate) fn new(schedule: Schedule, nodes: usize) -> Self {
        let mut fresh = vec![false; nodes];
        let senders = schedule.steps.iter().map(|step| {
            let heard = step.messages.iter().map(|&(from, _)| from);
            let senders = heard.filter(|&from| !std::mem::replace(&mut fresh[from], true));
            let senders: Vec<usize> = senders.collect();
            step.updates.iter().for_each(|&node| fresh[node] = false);
            senders
        });
        let senders: Vec<Vec<usize>> = senders.collect();
        let sends = senders.iter().map(Vec::len).sum();
        Self { updates: schedule.update_count(), schedule, senders, sends }
    }
}

/// One output branch of the hypernetwork, with all that is cut from it.
#[derive(Debug)]
pub(crate) struct BranchPlan {
    pub(crate) layer: Layer,
    /// Length of the branch's output for one node.
    pub(crate) largest: usize,
    /// One a shape.
    pub(crate) slices: Vec<SlicePlan>,
    /// All rows that slices take, and what lies between them.
    pub(crate) bands: Vec<Band>,
}

impl BranchPlan {
    /// How many parameters are cut from it.
    pub(crate) fn cuts(&self) -> usize {
        self.slices.iter().map(|slice| slice.cuts.len()).sum()
    }

    /// How many outputs its cuts take.
    pub(crate) fn outputs(&self) -> usize {
        self.slices.iter().map(SlicePlan::outputs).sum()
    }

    fn bands(&self) -> Vec<Band> {
        let rows = || self.slices.iter().map(|slice| &slice.cutting.rows[..]);
        let first = rows().filter_map(|rows| rows.first().copied()).min().unwrap_or(0);
        let end = rows().filter_map(|rows| rows.last().copied()).max().unwrap_or(0) + 1;
        let count = (self.outputs() / PIECE).clamp(1, MOST_BANDS);
        let height = (end - first).div_ceil(count);
        let band = |first: usize| {
            let band = first..(first + height).min(end);
            let own = |rows: &[usize]| {
                let before = |border: usize| rows.partition_point(|&row| row < border);
                before(band.start)..before(band.end)
            };
            Band { slices: rows().map(own).collect(), rows: band }
        };
        (first..end).step_by(height).map(band).collect()
    }
}

/// The parameters of one shape that are cut from a branch.
#[derive(Debug)]
pub(crate) struct SlicePlan {
    shape: Vec<usize>,
    pub(crate) cutting: Arc<Cutting>,
    pub(crate) cuts: Vec<Cut>,
    /// Position of its first cut among all of the plan.
    pub(crate) first_cut: usize,
    /// Position of its first output among all of the plan.
    pub(crate) first_output: usize,
}

impl SlicePlan {
    /// How many outputs its cuts take.
    pub(crate) fn outputs(&self) -> usize {
        self.cutting.rows.len() * self.cuts.len()
    }
}

/// How parameters of one shape are cut from the largest kernel of a kind. A tiled parameter has
/// several elements for one row of the branch's layer, which is computed once.
#[derive(Debug)]
pub(crate) struct Cutting {
    /// Positions in the branch's output, ascending.
    pub(crate) rows: Vec<usize>,
    /// By element of the parameter: position in `rows`.
    elements: Vec<usize>,
}

impl Cutting {
    /// The cutting by a slicing.
    pub(crate) fn new(slicing: &Slicing) -> Self {
        let mut elements: Vec<usize> = slicing.indices().collect();
        let mut rows = elements.clone();
        rows.sort_unstable();
        rows.dedup();
        let mut position = vec![0; rows.last().map_or(0, |last| last + 1)];
        for (at, &row) in rows.iter().enumerate() {
            position[row] = at;
        }
        elements.iter_mut().for_each(|element| *element = position[*element]);
        Self { rows, elements }
    }
}

/// A parameter of the network as `offset + factor * output`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    pub(crate) param: ParamId,
    /// Row of its node among all nodes of the network.
    pub(crate) row: usize,
    factor: f32,
    offset: f32,
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
        parts: &mut Parts,
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
            let propagation = parts.propagation(network.graph(index), propagator, settings.rounds);
            let propagation = propagation.map_err(|error| {
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
                propagation,
            });
            nodes += module.nodes.len();
        }
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        let mut branches: Vec<BranchPlan> = Vec::new();
        for (index, param) in network.params().iter().enumerate() {
            let layer = parameters.branch(param, settings)?;
            let branch = *kinds.entry(&param.kind).or_insert_with(|| {
                let largest = param.largest.iter().product();
                branches.push(BranchPlan { layer, largest, slices: Vec::new(), bands: Vec::new() });
                branches.len() - 1
            });
            let row = first_rows[param.node.module] + param.node.node;
            let slice = slice_for(&mut branches[branch].slices, param, parts)?;
            slice.cuts.push(cut(ParamId(index as u32), param, row, settings));
        }
        let (mut cuts, mut outputs, mut pieces) = (0, 0, Vec::new());
        for (branch, plan) in branches.iter_mut().enumerate() {
            for (slice, plan) in plan.slices.iter_mut().enumerate() {
                (plan.first_cut, plan.first_output) = (cuts, outputs);
                let (rows, height) = (plan.cutting.rows.len(), PIECE.div_ceil(plan.cuts.len()));
                pieces.extend((0..rows).step_by(height).map(|first| Piece {
                    branch,
                    slice,
                    rows: first..(first + height).min(rows),
                    first_output: outputs + first * plan.cuts.len(),
                }));
                cuts += plan.cuts.len();
                outputs += plan.outputs();
            }
            plan.bands = plan.bands();
        }
        let lengths = network.params().iter().map(ParamSpec::len).collect();
        Ok(Self { shared, embeddings, modules, nodes, branches, outputs, pieces, lengths })
    }

    /// All slices of all branches.
    pub(crate) fn slices(&self) -> impl Iterator<Item = &SlicePlan> {
        self.branches.iter().flat_map(|branch| &branch.slices)
    }

    /// Writes the network's parameters as they are made from all outputs.
    pub(crate) fn write(&self, outputs: &[f32], weights: &mut Weights) {
        for slice in self.slices() {
            let own = &outputs[slice.first_output..][..slice.outputs()];
            let count = slice.cuts.len();
            for (position, cut) in slice.cuts.iter().enumerate() {
                let elements = slice.cutting.elements.iter();
                for (weight, at) in weights.get_mut(cut.param).iter_mut().zip(elements) {
                    *weight = cut.offset + cut.factor * own[at * count + position];
                }
            }
        }
    }

    /// Writes the gradients of all outputs as they follow from those of the network's parameters:
    /// the adjoint of [`write`](Self::write).
    pub(crate) fn read(&self, gradients: &Weights, directions: &mut Vec<f32>) {
        directions.clear();
        directions.resize(self.outputs, 0.0);
        for slice in self.slices() {
            let own = &mut directions[slice.first_output..][..slice.outputs()];
            let count = slice.cuts.len();
            for (position, cut) in slice.cuts.iter().enumerate() {
                let elements = slice.cutting.elements.iter();
                for (gradient, at) in gradients.get(cut.param).iter().zip(elements) {
                    own[at * count + position] += cut.factor * gradient;
                }
            }
        }
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
    parts: &mut Parts,
) -> Result<&'a mut SlicePlan, GeneratorError> {
    let known = slices.iter().position(|slice| slice.shape == param.shape);
    if known.is_none() {
        let cutting = parts.cutting(&param.largest, &param.shape).map_err(|error| {
            GeneratorError::Param { param: param.name.clone(), reason: error.to_string() }
        })?;
        let (shape, cuts) = (param.shape.clone(), Vec::new());
        slices.push(SlicePlan { shape, cutting, cuts, first_cut: 0, first_output: 0 });
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
