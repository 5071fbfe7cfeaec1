//! A part of a network as plain data: what an operation writes for one node, recorded so that it
//! can cross a process or plugin boundary and be written again somewhere else.

use serde::{Deserialize, Serialize};

use super::{NetworkBuilder, NetworkError, NodeBuilder, ParamRequest, ValueId};
use crate::operation::{Operation, OperationContext};
use crate::param::{ParamId, ParamRole};
use crate::primitive::Primitive;
use crate::shape::Shape;

/// The module and node under which a fragment is recorded; replaying gives it its real ones.
const PLACE: &str = "fragment";

/// Steps over local values: the first values are the inputs, then one a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fragment {
    /// Shapes of the inputs.
    pub inputs: Vec<Shape>,
    /// The parameters that steps name by position.
    pub params: Vec<FragmentParam>,
    /// The steps, in an order in which they can run.
    pub steps: Vec<FragmentStep>,
    /// The fragment's value.
    pub output: ValueId,
}

/// A parameter of a fragment; see [`ParamSpec`](crate::ParamSpec) for the fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FragmentParam {
    /// Unique in the fragment.
    pub name: String,
    /// The branch of a hypernetwork that makes it.
    pub kind: String,
    /// What it does.
    pub role: ParamRole,
    /// Lengths of the dimensions.
    pub shape: Vec<usize>,
    /// How many inputs are summed into one output.
    pub fan_in: usize,
    /// The largest shape of its kind.
    pub largest: Vec<usize>,
}

/// A step of a fragment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FragmentStep {
    /// What is computed.
    #[serde(flatten)]
    pub primitive: Primitive,
    /// From which local values.
    pub inputs: Vec<ValueId>,
}

impl Fragment {
    /// What `operation` writes for inputs of the given shapes.
    ///
    /// # Errors
    /// What the operation refuses, or [`NetworkError::Whole`] where there is no input.
    pub fn record(
        operation: &dyn Operation,
        inputs: &[Shape],
        context: OperationContext,
    ) -> Result<Self, NetworkError> {
        if inputs.is_empty() {
            return Err(NetworkError::Whole("an operation needs an input".into()));
        }
        let mut network = NetworkBuilder::of_values(inputs);
        network.module(PLACE);
        let values: Vec<ValueId> = (0..inputs.len() as u32).map(ValueId).collect();
        let output = operation.expand(&mut network.node(PLACE, vec![], false), &values, context)?;
        let prefix = format!("{PLACE}.node0.");
        let params = network.spec.params.into_iter().map(|param| FragmentParam {
            name: param.name.strip_prefix(&prefix).unwrap_or(&param.name).into(),
            kind: param.kind,
            role: param.role,
            shape: param.shape,
            fan_in: param.fan_in,
            largest: param.largest,
        });
        let steps = network.spec.steps.into_iter();
        Ok(Self {
            inputs: inputs.to_vec(),
            params: params.collect(),
            steps: steps
                .map(|step| FragmentStep { primitive: step.primitive, inputs: step.inputs })
                .collect(),
            output,
        })
    }

    /// Writes the steps for `node` over `inputs`, as the recorded operation would, and returns
    /// the node's value.
    ///
    /// # Errors
    /// [`NetworkError`] where a step names a value or parameter that does not exist, or does not
    /// fit the inputs.
    pub fn replay(
        &self,
        node: &mut NodeBuilder<'_>,
        inputs: &[ValueId],
    ) -> Result<ValueId, NetworkError> {
        if inputs.len() != self.inputs.len() {
            let (got, expected) = (self.inputs.len(), inputs.len());
            let reason = format!("the fragment is for {got} inputs where the node has {expected}");
            return Err(NetworkError::Whole(reason));
        }
        let params: Vec<ParamId> = self
            .params
            .iter()
            .map(|param| {
                let FragmentParam { name, kind, role, shape, fan_in, largest } = param;
                let request = ParamRequest { name, kind, largest: largest.clone() };
                node.param(request, *role, shape.clone(), *fan_in)
            })
            .collect();
        let mut values = inputs.to_vec();
        for (index, step) in self.steps.iter().enumerate() {
            let unknown = |what: &str, id: u32| {
                let reason = format!("step {index} of the fragment reads {what} {id}");
                NetworkError::Whole(format!("{reason}, which does not exist before it"))
            };
            let read = |value: &ValueId| {
                values.get(value.index()).copied().ok_or_else(|| unknown("value", value.0))
            };
            let read: Vec<ValueId> = step.inputs.iter().map(read).collect::<Result<_, _>>()?;
            let primitive = with_params(step.primitive, |param| {
                params.get(param.index()).copied().ok_or_else(|| unknown("parameter", param.0))
            })?;
            values.push(node.step(primitive, &read)?);
        }
        values.get(self.output.index()).copied().ok_or_else(|| {
            NetworkError::Whole(format!("the fragment has no value {}", self.output.0))
        })
    }
}

/// The primitive with other parameters in the places of its own.
fn with_params(
    primitive: Primitive,
    map: impl Fn(ParamId) -> Result<ParamId, NetworkError>,
) -> Result<Primitive, NetworkError> {
    Ok(match primitive {
        Primitive::Conv2d(mut conv) => {
            conv.weight = map(conv.weight)?;
            Primitive::Conv2d(conv)
        }
        Primitive::BatchNorm { scale, shift } => {
            let (scale, shift) = (scale.map(&map).transpose()?, shift.map(&map).transpose()?);
            Primitive::BatchNorm { scale, shift }
        }
        Primitive::Linear { weight, bias, out_features } => {
            let (weight, bias) = (map(weight)?, bias.map(&map).transpose()?);
            Primitive::Linear { weight, bias, out_features }
        }
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitive::Convolution;

    /// Rectifies, convolves the sum 1x1 and normalises with scale and shift.
    struct Mixer;

    impl Operation for Mixer {
        fn expand(
            &self,
            node: &mut NodeBuilder<'_>,
            inputs: &[ValueId],
            context: OperationContext,
        ) -> Result<ValueId, NetworkError> {
            let rectified: Result<Vec<_>, _> = inputs.iter().map(|&x| node.relu(x)).collect();
            let sum = node.add(&rectified?)?;
            let largest = vec![context.max_channels, context.max_channels, 1, 1];
            let geometry = Convolution {
                weight: ParamId(0),
                out_channels: context.channels,
                kernel: [1, 1],
                stride: 1,
                dilation: 1,
                padding: [0, 0],
                groups: 1,
            };
            let mixed =
                node.conv2d(sum, geometry, ParamRequest { name: "mix", kind: "mix", largest })?;
            let affine = |name| ParamRequest { name, kind: name, largest: vec![8] };
            node.batch_norm_affine(mixed, affine("scale"), affine("shift"))
        }
    }

    const CONTEXT: OperationContext = OperationContext { channels: 4, max_channels: 8 };

    /// Two nodes of the operation over the images and a rectified copy of them.
    fn steps_of(
        expand: impl Fn(&mut NodeBuilder<'_>, &[ValueId]) -> ValueId,
    ) -> super::super::NetworkSpec {
        let mut network = NetworkBuilder::new(Shape::new(4, 5, 5), 2);
        network.module("block");
        let rectified = network.node("relu", vec![], true).relu(ValueId::IMAGES).unwrap();
        let first = expand(&mut network.node("mix", vec![0], true), &[ValueId::IMAGES, rectified]);
        expand(&mut network.node("mix", vec![0, 1], true), &[rectified, first]);
        network.spec
    }

    #[test]
    fn a_replayed_fragment_writes_what_the_operation_writes() {
        let direct = steps_of(|node, inputs| Mixer.expand(node, inputs, CONTEXT).unwrap());
        let replayed = steps_of(|node, inputs| {
            let shapes: Vec<Shape> = inputs.iter().map(|&value| node.shape(value)).collect();
            let fragment = Fragment::record(&Mixer, &shapes, CONTEXT).unwrap();
            let text = serde_json::to_string(&fragment).unwrap();
            let fragment: Fragment = serde_json::from_str(&text).unwrap();
            fragment.replay(node, inputs).unwrap()
        });
        assert_eq!(direct, replayed);
    }

    #[test]
    fn names_of_nothing_are_refused() {
        let fragment = Fragment::record(&Mixer, &[Shape::new(4, 5, 5)], CONTEXT).unwrap();
        let refuse = |change: fn(&mut Fragment), part: &str| {
            let mut fragment = fragment.clone();
            change(&mut fragment);
            let mut network = NetworkBuilder::new(Shape::new(4, 5, 5), 2);
            network.module("block");
            let mut node = network.node("mix", vec![], true);
            let error = fragment.replay(&mut node, &[ValueId::IMAGES]).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        refuse(|fragment| fragment.steps[0].inputs[0] = ValueId(9), "value 9");
        refuse(|fragment| fragment.params.truncate(1), "parameter 1");
        refuse(|fragment| fragment.output = ValueId(7), "no value 7");
        refuse(|fragment| fragment.inputs.clear(), "for 0 inputs");
    }
}
