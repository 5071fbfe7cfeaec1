//! One primitive by itself: the smallest network around it, and the networks whose times tell what
//! the surroundings cost.
//!
//! A pointwise convolution of one channel (the *stem*) makes each input, so that gradients are
//! needed; two linear outputs (the *head*) read every value of the result, so that every value has
//! a gradient of its own.

use std::fmt::Write;

use ghnas_core::{
    Convolution, Network, NetworkBuilder, NetworkError, NodeBuilder, ParamId, ParamRequest,
    Primitive, Shape, ValueId,
};

/// Outputs of a probe's head.
pub(super) const CLASSES: usize = 2;

/// A primitive, or several in a row that executors fuse, over inputs of given shapes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Probe {
    /// Parameters are numbered 0: they differ between networks.
    pub(super) primitives: Vec<Primitive>,
    pub(super) inputs: Vec<Shape>,
    pub(super) output: Shape,
}

/// What reads the result of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Head {
    /// The linear outputs.
    Full,
    /// The mean over the image, then the linear outputs: next to nothing.
    Mean,
}

impl Probe {
    /// Every distinct primitive of `network` by itself, and each batch norm with the
    /// rectification that follows it.
    ///
    /// Zeros cost nothing, and a global mean no more than the head that it is told from: both are
    /// left out.
    pub(super) fn all_of(network: &Network) -> Vec<Self> {
        let mut probes = Vec::new();
        let output = |step: usize| network.shape(ValueId(step as u32 + 1));
        for (index, step) in network.steps().iter().enumerate() {
            let hidden = [Primitive::GlobalAveragePool, Primitive::Zero { stride: 1 }];
            if hidden.iter().any(|other| other.name() == step.primitive.name()) {
                continue;
            }
            let inputs = step.inputs.iter().map(|&input| network.shape(input)).collect();
            let primitives = vec![anonymous(step.primitive)];
            probes.push(Self { primitives, inputs, output: output(index) });
            let before = step.inputs[0].index().checked_sub(1).map(|at| &network.steps()[at]);
            if let (Primitive::Relu, Some(before)) = (step.primitive, before)
                && matches!(before.primitive, Primitive::BatchNorm { .. })
            {
                let primitives = vec![anonymous(before.primitive), Primitive::Relu];
                probes.push(Self {
                    primitives,
                    inputs: vec![output(index)],
                    output: output(index),
                });
            }
        }
        probes
    }

    /// The primitive in its network, and networks with how often their times are to be added to
    /// its time: what is left is the primitive's own.
    ///
    /// # Errors
    /// Where such a network is refused.
    pub(super) fn networks(&self) -> Result<(Network, Vec<(f64, Network)>), NetworkError> {
        let own = surrounded(&self.inputs, &self.primitives, Head::Full)?;
        // With S a stem, H a head, and h a mean before a head, whose own time is neglected:
        // own = all S + primitive + H, and H = (S + H) - S = (S + H) - (S + h).
        let mut terms = vec![
            (-1.0, &self.inputs[..], Head::Mean),
            (-1.0, std::slice::from_ref(&self.output), Head::Full),
            (1.0, std::slice::from_ref(&self.output), Head::Mean),
        ];
        if self.inputs == [self.output] {
            terms = vec![terms[1]];
        }
        let network = |(times, shapes, head)| Ok((times, surrounded(shapes, &[], head)?));
        Ok((own, terms.into_iter().map(network).collect::<Result<_, NetworkError>>()?))
    }

    /// The primitive in a few words.
    pub(super) fn name(&self) -> String {
        self.primitives.iter().map(primitive_name).collect::<Vec<_>>().join(" + ")
    }
}

fn primitive_name(primitive: &Primitive) -> String {
    let mut name = match *primitive {
        Primitive::Conv2d(Convolution { kernel: [rows, columns], groups, .. }) => {
            let grouped = if groups > 1 { format!(", {groups} groups") } else { String::new() };
            format!("conv {rows}x{columns}{grouped}")
        }
        Primitive::MaxPool(window) => format!("max pool {0}x{0}", window.size),
        Primitive::AveragePool { window, .. } => format!("average pool {0}x{0}", window.size),
        _ => primitive.name().replace('_', " "),
    };
    let (stride, dilation) = match *primitive {
        Primitive::Conv2d(conv) => (conv.stride, conv.dilation),
        Primitive::MaxPool(window) | Primitive::AveragePool { window, .. } => (window.stride, 1),
        _ => (1, 1),
    };
    for (word, number) in [("stride", stride), ("dilation", dilation)] {
        if number > 1 {
            write!(name, ", {word} {number}").expect("strings take everything");
        }
    }
    name
}

/// The primitive with all its parameters numbered 0.
fn anonymous(primitive: Primitive) -> Primitive {
    let zero = ParamId(0);
    match primitive {
        Primitive::Conv2d(conv) => Primitive::Conv2d(Convolution { weight: zero, ..conv }),
        Primitive::BatchNorm { scale, shift } => {
            Primitive::BatchNorm { scale: scale.map(|_| zero), shift: shift.map(|_| zero) }
        }
        Primitive::Linear { bias, out_features, .. } => {
            Primitive::Linear { weight: zero, bias: bias.map(|_| zero), out_features }
        }
        other => other,
    }
}

/// A stem for each input, the primitives, and a head for each value that is left.
fn surrounded(
    inputs: &[Shape],
    primitives: &[Primitive],
    head: Head,
) -> Result<Network, NetworkError> {
    let image = Shape { channels: 1, ..inputs[0] };
    let mut builder = NetworkBuilder::new(image, CLASSES);
    builder.module("probe");
    let mut node = builder.node("probe", vec![], true);
    let mut names = 0;
    let mut values = Vec::new();
    for input in inputs {
        let stem = Convolution {
            weight: ParamId(0),
            out_channels: input.channels,
            kernel: [1, 1],
            stride: 1,
            dilation: 1,
            padding: [0, 0],
            groups: 1,
        };
        values.push(apply(&mut node, Primitive::Conv2d(stem), &[ValueId::IMAGES], &mut names)?);
    }
    for &primitive in primitives {
        values = vec![apply(&mut node, primitive, &values, &mut names)?];
    }
    let linear = Primitive::Linear { weight: ParamId(0), bias: None, out_features: CLASSES };
    let mut logits = Vec::new();
    for mut value in values {
        if head == Head::Mean {
            value = apply(&mut node, Primitive::GlobalAveragePool, &[value], &mut names)?;
        }
        logits.push(apply(&mut node, linear, &[value], &mut names)?);
    }
    logits.into_iter().for_each(|value| builder.output(value, 1.0));
    builder.finish()
}

/// Adds a primitive with parameters of its own. `names` counts them.
fn apply(
    node: &mut NodeBuilder<'_>,
    primitive: Primitive,
    inputs: &[ValueId],
    names: &mut usize,
) -> Result<ValueId, NetworkError> {
    let first = node.shape(inputs[0]);
    *names += 1;
    let (name, other) = (format!("first{names}"), format!("second{names}"));
    let request = |name, largest| ParamRequest { name, kind: name, largest };
    match primitive {
        Primitive::Conv2d(conv) => {
            let [rows, columns] = conv.kernel;
            let inputs_each = first.channels / conv.groups.max(1);
            let largest = vec![conv.out_channels, inputs_each, rows, columns];
            node.conv2d(inputs[0], conv, request(&name, largest))
        }
        Primitive::BatchNorm { scale: Some(_), shift: Some(_) } => {
            let largest = vec![first.channels];
            let scale = request(&name, largest.clone());
            node.batch_norm_affine(inputs[0], scale, request(&other, largest))
        }
        Primitive::Linear { out_features, .. } => {
            let matrix = request(&name, vec![out_features, first.elements()]);
            node.linear(inputs[0], out_features, matrix, request(&other, vec![out_features]))
        }
        _ => node.step(primitive, inputs),
    }
}

#[cfg(test)]
mod tests {
    use ghnas_core::Window;

    use super::*;

    fn probe(primitive: Primitive, inputs: &[Shape]) -> Probe {
        let output = primitive.infer(inputs).unwrap();
        Probe { primitives: vec![primitive], inputs: inputs.to_vec(), output }
    }

    /// How often each primitive stands in all networks, each with its sign.
    fn balance(probe: &Probe, of: &str) -> f64 {
        let (own, others) = probe.networks().unwrap();
        let count = |network: &Network| {
            network.steps().iter().filter(|step| step.primitive.name() == of).count() as f64
        };
        count(&own) + others.iter().map(|(times, network)| times * count(network)).sum::<f64>()
    }

    #[test]
    fn surroundings_cancel() {
        let (wide, narrow) = (Shape::new(8, 6, 6), Shape::new(8, 3, 3));
        let pool = Primitive::MaxPool(Window { size: 3, stride: 2, padding: 1 });
        // A mean for each input but one stays: it is neglected.
        let cases = [
            (probe(Primitive::Relu, &[wide]), "relu", 0.0),
            (probe(pool, &[wide]), "max_pool", 0.0),
            (probe(Primitive::Add, &[narrow, narrow, narrow]), "add", 2.0),
            (probe(Primitive::Concat, &[wide, wide]), "concat", 1.0),
        ];
        for (probe, own, means) in cases {
            assert_eq!(balance(&probe, own), 1.0, "{own}");
            assert_eq!(balance(&probe, "conv2d"), 0.0, "stems of {own}");
            assert_eq!(balance(&probe, "linear"), -means, "heads of {own}");
            assert_eq!(balance(&probe, "global_average_pool"), -means, "means of {own}");
        }
    }

    #[test]
    fn a_name_says_what_differs() {
        let conv = Convolution {
            weight: ParamId(0),
            out_channels: 16,
            kernel: [5, 5],
            stride: 2,
            dilation: 2,
            padding: [4, 4],
            groups: 16,
        };
        let name = probe(Primitive::Conv2d(conv), &[Shape::new(16, 8, 8)]).name();
        assert_eq!(name, "conv 5x5, 16 groups, stride 2, dilation 2");
        assert_eq!(probe(Primitive::Relu, &[Shape::new(1, 1, 1)]).name(), "relu");
    }
}
