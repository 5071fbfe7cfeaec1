//! From a cell to the benchmark's network: stem, three stages of cells with a residual block that
//! reduces before the second and the third, head.

use ghnas_core::{
    Network, NetworkBuilder, NetworkError, NodeBuilder, ParamRequest, Primitive, SpaceError, Task,
    ValueId, Window,
};

use crate::NasBench201Settings;
use crate::cell::{Cell, EdgeOperation};
use crate::operation::{Kernel, Place};
use crate::program::{Application, Program, Sum, Value};
use crate::settings::STAGES;

/// Height and width of an image are multiples of this: they are halved between stages, and both
/// paths of a residual block must agree on the half.
const SIDE: usize = 1 << (STAGES - 1);

/// The network of a cell in canonical order.
pub(crate) fn lower(
    settings: &NasBench201Settings,
    cell: &Cell,
    task: Task,
) -> Result<Network, SpaceError> {
    let image = task.image;
    if !image.height.is_multiple_of(SIDE) || !image.width.is_multiple_of(SIDE) {
        let reason = format!("images of {image}; expected a height and width divisible by {SIDE}");
        return Err(SpaceError::Other(reason));
    }
    let mut network = NetworkBuilder::new(image, task.classes);
    let mut place = Place {
        channels: settings.channels,
        max_channels: settings.max_channels(),
        affine: settings.affine,
        slice: settings.slice,
    };
    let program = match settings.simplify {
        true => Program::simplified(cell),
        false => Program::written(cell),
    };
    let mut value = stem(&mut network, place)?;
    for stage in 1..=STAGES {
        if stage > 1 {
            place.channels *= 2;
            network.module(format!("reduction{}", stage - 1));
            value = reduction(&mut network, value, place)?;
        }
        for number in 1..=settings.cells {
            network.module(format!("stage{stage}_cell{number}"));
            value = lower_cell(&program, &mut network, value, place)?;
        }
    }
    head(&mut network, value, task.classes, place)?;
    Ok(network.finish()?)
}

/// A 3x3 convolution with batch norm.
fn stem(network: &mut NetworkBuilder, place: Place) -> Result<ValueId, NetworkError> {
    network.module("stem");
    let largest = [place.channels, network.shape(ValueId::IMAGES).channels];
    let mut node = network.node("stem", vec![], true);
    let kernel = Kernel { kind: "stem", size: 3, stride: 1, largest };
    let value = place.convolve(&mut node, ValueId::IMAGES, kernel)?;
    place.normalize(&mut node, value)
}

/// Halves height and width: two 3x3 convolutions beside average pooling with a 1x1 convolution
/// that has no batch norm. The benchmark's `ResNetBasicblock` with a stride of 2.
fn reduction(
    network: &mut NetworkBuilder,
    input: ValueId,
    place: Place,
) -> Result<ValueId, NetworkError> {
    let largest = [place.max_channels, place.max_channels / 2];
    let mut node = network.node("reduce_conv_3x3", vec![], true);
    let kernel = Kernel { kind: "reduce_conv_3x3", size: 3, stride: 2, largest };
    let reduced = place.relu_conv_bn(&mut node, input, kernel)?;
    let mut node = network.node("residual_conv_3x3", vec![0], false);
    let residual = place.relu_conv_bn(&mut node, reduced, place.kernel(3))?;
    let mut node = network.node("reduce_shortcut", vec![], true);
    let pooled = node.average_pool(input, Window { size: 2, stride: 2, padding: 0 }, false)?;
    let kernel = Kernel { kind: "reduce_shortcut", size: 1, stride: 1, largest };
    let shortcut = place.convolve(&mut node, pooled, kernel)?;
    network.node("output", vec![1, 2], false).add(&[shortcut, residual])
}

/// A cell. The GNN sees its input, its operations, and its output; each reads the operations whose
/// sum it takes.
fn lower_cell(
    program: &Program,
    network: &mut NetworkBuilder,
    input: ValueId,
    place: Place,
) -> Result<ValueId, NetworkError> {
    let first = network.node("input", vec![], true).index();
    // The node and value of each operation.
    let mut results = Vec::new();
    for Application { operation, reads } in &program.applications {
        let (nodes, values) = terms(reads, (first, input), &results);
        let mut node = network.node(operation.name(), nodes, false);
        let sum = total(&mut node, &values, input, place)?;
        let value = place.expand(*operation, &mut node, sum)?;
        results.push((node.index(), value));
    }
    let (nodes, values) = terms(&program.output, (first, input), &results);
    total(&mut network.node("output", nodes, false), &values, input, place)
}

/// The nodes that a sum reads, each once, and its values.
fn terms(
    sum: &Sum,
    input: (usize, ValueId),
    results: &[(usize, ValueId)],
) -> (Vec<usize>, Vec<ValueId>) {
    let term = |value: &Value| match *value {
        Value::Input => input,
        Value::Result(at) => results[at],
    };
    let (mut nodes, values): (Vec<usize>, Vec<ValueId>) = sum.iter().map(term).unzip();
    nodes.dedup();
    (nodes, values)
}

/// The sum of the values, which are of the shape of `input`. A sum of nothing is what an edge with
/// `none` carries.
fn total(
    node: &mut NodeBuilder<'_>,
    values: &[ValueId],
    input: ValueId,
    place: Place,
) -> Result<ValueId, NetworkError> {
    match values.is_empty() {
        true => place.expand(EdgeOperation::None, node, input),
        false => node.add(values),
    }
}

/// Batch norm, rectification, mean over the image, linear classifier.
fn head(
    network: &mut NetworkBuilder,
    input: ValueId,
    classes: usize,
    place: Place,
) -> Result<(), NetworkError> {
    network.module("head");
    let mut node = network.node("classifier", vec![], true);
    let normal = place.normalize(&mut node, input)?;
    let rectified = node.relu(normal)?;
    let features = node.step(Primitive::GlobalAveragePool, &[rectified])?;
    let largest = vec![classes, place.max_channels];
    let matrix = ParamRequest { name: "matrix", kind: "classifier", largest };
    let bias = ParamRequest { name: "bias", kind: "bias", largest: vec![classes] };
    let logits = node.linear(features, classes, matrix, bias)?;
    network.output(logits, 1.0);
    Ok(())
}
