//! What runs: a checked program of primitives, grouped into the nodes and modules that a GNN sees.

mod builder;
mod fragment;

pub use builder::{NetworkBuilder, NodeBuilder, ParamRequest};
pub use fragment::{Fragment, FragmentParam, FragmentStep};

use serde::{Deserialize, Serialize};

use crate::dag::{Dag, DagError};
use crate::param::{NodeId, ParamSpec};
use crate::primitive::{MOST_ELEMENTS, Primitive, check_size};
use crate::shape::Shape;

/// A value of a network: 0 is the image batch, `k + 1` the result of step `k`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ValueId(pub u32);

impl ValueId {
    /// The image batch.
    pub const IMAGES: Self = Self(0);

    /// The value as an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One primitive applied to earlier values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What is computed.
    #[serde(flatten)]
    pub primitive: Primitive,
    /// From which values.
    pub inputs: Vec<ValueId>,
    /// For which node.
    pub node: NodeId,
}

/// A node of a module's graph, as the GNN sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// The operation's name, which keys its embedding.
    pub op: String,
    /// The nodes of the same module that it reads.
    pub inputs: Vec<usize>,
    /// Whether it reads an earlier module (or the images), and so gets that module's embedding.
    #[serde(default)]
    pub entry: bool,
}

/// A module: one link of the chain that a stacked GHN walks (section 4.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Module {
    /// Unique in its network: `stem`, `block3`, `head`.
    pub name: String,
    /// The nodes; they refer to each other by position.
    pub nodes: Vec<Node>,
}

/// Where a network gives logits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// The logits: classes x 1 x 1.
    pub value: ValueId,
    /// Weight of this output's loss in training.
    pub loss_weight: f32,
}

/// A network as plain data: what is written to JSON and crosses process and plugin boundaries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkSpec {
    /// The shape of one image.
    pub input: Shape,
    /// Length of the logits.
    pub classes: usize,
    /// The chain of modules.
    pub modules: Vec<Module>,
    /// All parameters.
    pub params: Vec<ParamSpec>,
    /// The program, in an order in which it can run.
    pub steps: Vec<Step>,
    /// One output or several.
    pub outputs: Vec<Output>,
}

/// Why a network is refused. Each variant names the place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// A module's edges are not those of a DAG.
    #[error("module '{module}': {error}")]
    Graph {
        /// The module's name.
        module: String,
        /// What is wrong with its edges.
        error: DagError,
    },
    /// A step cannot be computed.
    #[error("step {step} ({primitive} of {node}): {reason}")]
    Step {
        /// Position of the step.
        step: usize,
        /// Its primitive.
        primitive: &'static str,
        /// Module and operation that it belongs to.
        node: String,
        /// What does not fit.
        reason: String,
    },
    /// A parameter is inconsistent with itself or with the step that reads it.
    #[error("parameter '{param}': {reason}")]
    Param {
        /// The parameter's name.
        param: String,
        /// What does not fit.
        reason: String,
    },
    /// Something about the whole network.
    #[error("{0}")]
    Whole(String),
}

/// A checked network: every step has its shape, every parameter its use, every graph its order.
///
/// Immutable. From this one form come the executors, the counts, drawings and exports.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    spec: NetworkSpec,
    /// One a value.
    shapes: Vec<Shape>,
    /// One a module.
    graphs: Vec<Dag>,
}

impl Network {
    /// Checks `spec` and infers every shape.
    ///
    /// # Errors
    /// [`NetworkError`] names the first module, step or parameter that does not fit.
    pub fn new(spec: NetworkSpec) -> Result<Self, NetworkError> {
        let graphs = check_graphs(&spec)?;
        check_params(&spec)?;
        let shapes = infer_shapes(&spec)?;
        if spec.outputs.is_empty() {
            return Err(NetworkError::Whole("the network has no output".into()));
        }
        for output in &spec.outputs {
            let expect = Shape::new(spec.classes, 1, 1);
            if shapes.get(output.value.index()) != Some(&expect) {
                let reason = format!("output value {} is not {expect}", output.value.0);
                return Err(NetworkError::Whole(reason));
            }
            if !(output.loss_weight.is_finite() && output.loss_weight >= 0.0) {
                let reason = format!("an output has the loss weight {}", output.loss_weight);
                return Err(NetworkError::Whole(reason));
            }
        }
        Ok(Self { spec, shapes, graphs })
    }

    /// The network as plain data.
    pub fn spec(&self) -> &NetworkSpec {
        &self.spec
    }

    /// The shape of one image.
    pub fn input(&self) -> Shape {
        self.spec.input
    }

    /// Length of the logits.
    pub fn classes(&self) -> usize {
        self.spec.classes
    }

    /// The chain of modules.
    pub fn modules(&self) -> &[Module] {
        &self.spec.modules
    }

    /// The graph of a module, over its nodes.
    pub fn graph(&self, module: usize) -> &Dag {
        &self.graphs[module]
    }

    /// All parameters; [`ParamId`](crate::ParamId) is the position.
    pub fn params(&self) -> &[ParamSpec] {
        &self.spec.params
    }

    /// The program, in an order in which it can run.
    pub fn steps(&self) -> &[Step] {
        &self.spec.steps
    }

    /// Where logits come out.
    pub fn outputs(&self) -> &[Output] {
        &self.spec.outputs
    }

    /// The shape of a value, for one image.
    pub fn shape(&self, value: ValueId) -> Shape {
        self.shapes[value.index()]
    }

    /// The number of values: the images, and one a step.
    pub fn values(&self) -> usize {
        self.shapes.len()
    }

    /// The number of values of all parameters.
    pub fn param_count(&self) -> usize {
        self.spec.params.iter().map(ParamSpec::len).sum()
    }
}

impl Serialize for Network {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.spec.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(NetworkSpec::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

fn check_graphs(spec: &NetworkSpec) -> Result<Vec<Dag>, NetworkError> {
    let graph = |module: &Module| {
        Dag::new(module.nodes.iter().map(|node| node.inputs.clone()).collect())
            .map_err(|error| NetworkError::Graph { module: module.name.clone(), error })
    };
    spec.modules.iter().map(graph).collect()
}

fn check_params(spec: &NetworkSpec) -> Result<(), NetworkError> {
    let mut names = std::collections::HashSet::new();
    for param in &spec.params {
        let refuse =
            |reason: String| Err(NetworkError::Param { param: param.name.clone(), reason });
        if !names.insert(&param.name) {
            return refuse("the name occurs twice".into());
        }
        if !matches!(param.shape.len(), 1 | 2 | 4) || param.shape.contains(&0) {
            return refuse(format!("a shape of {:?}", param.shape));
        }
        for shape in [&param.shape, &param.largest] {
            let total = shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n));
            if total.is_none_or(|total| total > MOST_ELEMENTS) {
                return refuse(format!("a shape of {shape:?} is too large"));
            }
        }
        if let Err(error) = crate::slicing::Slicing::new(&param.largest, &param.shape) {
            return refuse(error.to_string());
        }
        if param.fan_in == 0 {
            return refuse("a fan-in of 0".into());
        }
        if node(spec, param.node).is_none() {
            return refuse("its node does not exist".into());
        }
    }
    Ok(())
}

fn infer_shapes(spec: &NetworkSpec) -> Result<Vec<Shape>, NetworkError> {
    check_size(spec.input)
        .map_err(|reason| NetworkError::Whole(format!("an image of {} {reason}", spec.input)))?;
    if spec.classes == 0 {
        return Err(NetworkError::Whole("there are no classes".into()));
    }
    let mut shapes = vec![spec.input];
    let mut used = vec![false; spec.params.len()];
    for (index, step) in spec.steps.iter().enumerate() {
        let refuse = |reason: String| NetworkError::Step {
            step: index,
            primitive: step.primitive.name(),
            node: node_name(spec, step.node).unwrap_or_else(|| "an unknown node".into()),
            reason,
        };
        if node(spec, step.node).is_none() {
            return Err(refuse("its node does not exist".into()));
        }
        let known = |value: &ValueId| shapes.get(value.index()).copied();
        let inputs: Option<Vec<Shape>> = step.inputs.iter().map(known).collect();
        let inputs = inputs.ok_or_else(|| refuse("it reads a value of a later step".into()))?;
        let shape = step.primitive.infer(&inputs).map_err(refuse)?;
        for id in step.primitive.params() {
            let Some(param) = spec.params.get(id.index()) else {
                return Err(refuse(format!("it reads parameter {}, which does not exist", id.0)));
            };
            let expect = step.primitive.param_shape(id, inputs[0]);
            if expect.as_ref() != Some(&param.shape) {
                let reason = format!("shape {:?} where {expect:?} is read", param.shape);
                return Err(NetworkError::Param { param: param.name.clone(), reason });
            }
            if std::mem::replace(&mut used[id.index()], true) {
                let reason = "two steps read it".into();
                return Err(NetworkError::Param { param: param.name.clone(), reason });
            }
        }
        shapes.push(shape);
    }
    if let Some(unused) = used.iter().position(|used| !used) {
        let reason = "no step reads it".into();
        return Err(NetworkError::Param { param: spec.params[unused].name.clone(), reason });
    }
    Ok(shapes)
}

fn node(spec: &NetworkSpec, id: NodeId) -> Option<(&Module, &Node)> {
    let module = spec.modules.get(id.module)?;
    Some((module, module.nodes.get(id.node)?))
}

fn node_name(spec: &NetworkSpec, id: NodeId) -> Option<String> {
    let (module, node) = node(spec, id)?;
    Some(format!("{}.node{} '{}'", module.name, id.node, node.op))
}
