//! Builds a network node by node; what a space's lowering and an operation's expansion write to.

use std::collections::HashMap;

use super::{Module, Network, NetworkError, NetworkSpec, Node, Output, Step, ValueId};
use crate::param::{NodeId, ParamId, ParamRole, ParamSpec};
use crate::primitive::{Convolution, Primitive, Window};
use crate::shape::Shape;

/// A parameter that an expansion asks for.
#[derive(Debug, Clone)]
pub struct ParamRequest<'a> {
    /// Unique in its node: `depthwise`, `pointwise`.
    pub name: &'a str,
    /// The branch of a hypernetwork that makes it; see [`ParamSpec::kind`].
    pub kind: &'a str,
    /// The largest shape of that branch; see [`ParamSpec::largest`].
    pub largest: Vec<usize>,
}

/// Collects modules, nodes, steps and parameters, and checks shapes as they are added.
#[derive(Debug)]
pub struct NetworkBuilder {
    pub(super) spec: NetworkSpec,
    shapes: Vec<Shape>,
    /// Results of steps without parameters, so that two nodes that rectify one value share it.
    known: HashMap<(Primitive, Vec<ValueId>), ValueId>,
}

impl NetworkBuilder {
    /// Starts a network for images of shape `input` and `classes` classes.
    pub fn new(input: Shape, classes: usize) -> Self {
        let spec = NetworkSpec {
            input,
            classes,
            modules: Vec::new(),
            params: Vec::new(),
            steps: Vec::new(),
            outputs: Vec::new(),
        };
        Self { spec, shapes: vec![input], known: HashMap::new() }
    }

    /// A builder whose first values have these shapes, to record a part of a network.
    pub(super) fn of_values(shapes: &[Shape]) -> Self {
        Self { shapes: shapes.to_vec(), ..Self::new(shapes[0], 1) }
    }

    /// Starts the next module of the chain.
    pub fn module(&mut self, name: impl Into<String>) {
        self.spec.modules.push(Module { name: name.into(), nodes: Vec::new() });
    }

    /// Adds a node to the current module and returns what writes its steps.
    ///
    /// `inputs` are the nodes of the same module that it reads; `entry` says that it reads an
    /// earlier module or the images.
    ///
    /// # Panics
    /// Where no module was started.
    pub fn node(
        &mut self,
        op: impl Into<String>,
        inputs: Vec<usize>,
        entry: bool,
    ) -> NodeBuilder<'_> {
        let module = self.spec.modules.len().checked_sub(1).expect("a module was started");
        let nodes = &mut self.spec.modules[module].nodes;
        nodes.push(Node { op: op.into(), inputs, entry });
        let id = NodeId { module, node: nodes.len() - 1 };
        NodeBuilder { network: self, id }
    }

    /// Marks `value` as logits.
    pub fn output(&mut self, value: ValueId, loss_weight: f32) {
        self.spec.outputs.push(Output { value, loss_weight });
    }

    /// Ends the network with the module `head`: batch norm, rectification, mean over the image and
    /// a linear classifier, whose matrix is generated for `max_channels` channels.
    ///
    /// # Errors
    /// As [`NodeBuilder::step`].
    pub fn classifier(&mut self, input: ValueId, max_channels: usize) -> Result<(), NetworkError> {
        let classes = self.spec.classes;
        self.module("head");
        let mut node = self.node("classifier", vec![], true);
        let normal = node.batch_norm(input)?;
        let rectified = node.relu(normal)?;
        let features = node.step(Primitive::GlobalAveragePool, &[rectified])?;
        let largest = vec![classes, max_channels];
        let matrix = ParamRequest { name: "matrix", kind: "classifier", largest };
        let bias = ParamRequest { name: "bias", kind: "bias", largest: vec![classes] };
        let logits = node.linear(features, classes, matrix, bias)?;
        self.output(logits, 1.0);
        Ok(())
    }

    /// The shape of a value, for one image.
    pub fn shape(&self, value: ValueId) -> Shape {
        self.shapes[value.index()]
    }

    /// The checked network.
    ///
    /// # Errors
    /// As [`Network::new`].
    pub fn finish(self) -> Result<Network, NetworkError> {
        Network::new(self.spec)
    }
}

/// Writes the steps of one node.
#[derive(Debug)]
pub struct NodeBuilder<'a> {
    network: &'a mut NetworkBuilder,
    id: NodeId,
}

impl NodeBuilder<'_> {
    /// This node's position in its module.
    pub fn index(&self) -> usize {
        self.id.node
    }

    /// The shape of a value, for one image.
    pub fn shape(&self, value: ValueId) -> Shape {
        self.network.shape(value)
    }

    /// Adds a step. Equal steps without parameters are computed once.
    ///
    /// # Errors
    /// [`NetworkError::Step`] where the inputs do not fit.
    pub fn step(
        &mut self,
        primitive: Primitive,
        inputs: &[ValueId],
    ) -> Result<ValueId, NetworkError> {
        let key = (primitive, inputs.to_vec());
        if let Some(&value) = self.network.known.get(&key) {
            return Ok(value);
        }
        let shapes: Vec<Shape> = inputs.iter().map(|&value| self.shape(value)).collect();
        let network = &mut *self.network;
        let shape = primitive.infer(&shapes).map_err(|reason| NetworkError::Step {
            step: network.spec.steps.len(),
            primitive: primitive.name(),
            node: super::node_name(&network.spec, self.id).expect("the node was added"),
            reason,
        })?;
        network.shapes.push(shape);
        network.spec.steps.push(Step { primitive, inputs: inputs.to_vec(), node: self.id });
        let value = ValueId(network.shapes.len() as u32 - 1);
        if primitive.params().next().is_none() {
            network.known.insert(key, value);
        }
        Ok(value)
    }

    /// max(x, 0).
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn relu(&mut self, input: ValueId) -> Result<ValueId, NetworkError> {
        self.step(Primitive::Relu, &[input])
    }

    /// The sum of the inputs; a single one is returned as it is.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn add(&mut self, inputs: &[ValueId]) -> Result<ValueId, NetworkError> {
        match inputs {
            &[single] => Ok(single),
            _ => self.step(Primitive::Add, inputs),
        }
    }

    /// The inputs joined along channels; a single one is returned as it is.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn concat(&mut self, inputs: &[ValueId]) -> Result<ValueId, NetworkError> {
        match inputs {
            &[single] => Ok(single),
            _ => self.step(Primitive::Concat, inputs),
        }
    }

    /// A convolution whose kernel is a new parameter. `geometry.weight` is ignored.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn conv2d(
        &mut self,
        input: ValueId,
        geometry: Convolution,
        param: ParamRequest<'_>,
    ) -> Result<ValueId, NetworkError> {
        let groups = geometry.groups.max(1);
        let [rows, columns] = geometry.kernel;
        let per_group = self.shape(input).channels / groups;
        let shape = vec![geometry.out_channels, per_group, rows, columns];
        let fan_in = per_group * rows * columns;
        let weight = self.param(param, ParamRole::Kernel, shape, fan_in);
        self.step(Primitive::Conv2d(Convolution { weight, ..geometry }), &[input])
    }

    /// Batch norm without generated scale and shift.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn batch_norm(&mut self, input: ValueId) -> Result<ValueId, NetworkError> {
        self.step(Primitive::BatchNorm { scale: None, shift: None }, &[input])
    }

    /// Batch norm whose scale and shift are new parameters of the given kinds.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn batch_norm_affine(
        &mut self,
        input: ValueId,
        scale: ParamRequest<'_>,
        shift: ParamRequest<'_>,
    ) -> Result<ValueId, NetworkError> {
        let channels = self.shape(input).channels;
        let scale = self.param(scale, ParamRole::Scale, vec![channels], 1);
        let shift = self.param(shift, ParamRole::Shift, vec![channels], 1);
        let primitive = Primitive::BatchNorm { scale: Some(scale), shift: Some(shift) };
        self.step(primitive, &[input])
    }

    /// Max pooling.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn max_pool(&mut self, input: ValueId, window: Window) -> Result<ValueId, NetworkError> {
        self.step(Primitive::MaxPool(window), &[input])
    }

    /// Average pooling.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn average_pool(
        &mut self,
        input: ValueId,
        window: Window,
        count_padding: bool,
    ) -> Result<ValueId, NetworkError> {
        self.step(Primitive::AveragePool { window, count_padding }, &[input])
    }

    /// A linear layer whose matrix and bias are new parameters.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn linear(
        &mut self,
        input: ValueId,
        out_features: usize,
        matrix: ParamRequest<'_>,
        bias: ParamRequest<'_>,
    ) -> Result<ValueId, NetworkError> {
        let fan_in = self.shape(input).elements();
        let weight = self.param(matrix, ParamRole::Matrix, vec![out_features, fan_in], fan_in);
        let bias = Some(self.param(bias, ParamRole::Shift, vec![out_features], fan_in));
        self.step(Primitive::Linear { weight, bias, out_features }, &[input])
    }

    pub(super) fn param(
        &mut self,
        request: ParamRequest<'_>,
        role: ParamRole,
        shape: Vec<usize>,
        fan_in: usize,
    ) -> ParamId {
        let NodeId { module, node } = self.id;
        let spec = &mut self.network.spec;
        spec.params.push(ParamSpec {
            name: format!("{}.node{node}.{}", spec.modules[module].name, request.name),
            shape,
            role,
            fan_in: fan_in.max(1),
            node: self.id,
            kind: request.kind.into(),
            largest: request.largest,
        });
        ParamId((spec.params.len() - 1) as u32)
    }
}
