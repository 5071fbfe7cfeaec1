//! From a block to the network: stem, stacked blocks, head.

use ghnas_core::{
    Architecture, Convolution, Network, NetworkBuilder, NetworkError, OperationContext, ParamId,
    ParamRequest, Shape, Task, ValueId,
};

use crate::validate::input_index;
use crate::{CellSpace, INPUT, INPUTS};

/// The network of a valid architecture in canonical order.
pub(crate) fn lower(
    space: &CellSpace,
    arch: &Architecture,
    task: Task,
) -> Result<Network, NetworkError> {
    let settings = &space.settings;
    let mut network = NetworkBuilder::new(task.image, task.classes);
    let stem = stem(&mut network, settings.channels, settings.stem_stride)?;
    // The outputs of the previous block and of the one before it.
    let mut recent = [Joined { value: stem, leaf_channels: settings.channels }; INPUTS];
    let mut channels = settings.channels;
    let Shape { mut height, mut width, .. } = network.shape(stem);
    for block in 1..=settings.blocks {
        if settings.reduce_after.contains(&(block - 1)) {
            channels *= 2;
            (height, width) = (height.div_ceil(2), width.div_ceil(2));
        }
        network.module(format!("block{block}"));
        let place = Place { channels, max_channels: settings.max_channels(), height, width };
        let value = lower_block(space, arch, &mut network, recent, place)?;
        recent = [Joined { value, leaf_channels: channels }, recent[0]];
    }
    network.classifier(recent[0].value, settings.max_channels())?;
    network.finish()
}

/// The output of a block (or the stem): leaves of equal width, joined along channels.
#[derive(Clone, Copy)]
struct Joined {
    value: ValueId,
    leaf_channels: usize,
}

/// What a block works on.
#[derive(Clone, Copy)]
struct Place {
    channels: usize,
    max_channels: usize,
    height: usize,
    width: usize,
}

/// A 3x3 convolution with batch norm.
fn stem(
    network: &mut NetworkBuilder,
    channels: usize,
    stride: usize,
) -> Result<ValueId, NetworkError> {
    network.module("stem");
    let image = network.shape(ValueId::IMAGES);
    let mut node = network.node("stem", vec![], true);
    let geometry = convolution([3, 3], channels, stride);
    let largest = vec![channels, image.channels, 3, 3];
    let param = ParamRequest { name: "kernel", kind: "stem", largest };
    let value = node.conv2d(ValueId::IMAGES, geometry, param)?;
    node.batch_norm(value)
}

fn lower_block(
    space: &CellSpace,
    arch: &Architecture,
    network: &mut NetworkBuilder,
    recent: [Joined; INPUTS],
    place: Place,
) -> Result<ValueId, NetworkError> {
    let motif = &arch.motifs()[0];
    let dag = motif.dag();
    let mut values: Vec<Option<ValueId>> = vec![None; dag.len()];
    for (node, content) in motif.nodes().iter().enumerate() {
        values[node] = if content.op == INPUT {
            let index = input_index(motif, node).expect("the architecture was validated");
            let used = !dag.consumers(node).is_empty();
            bottleneck(network, index, recent[index], place, used)?
        } else {
            let inputs: Option<Vec<_>> = dag.inputs(node).iter().map(|&v| values[v]).collect();
            let inputs = inputs.expect("canonical order is topological");
            let operation = space.operation(&content.op).expect("the architecture was validated");
            let mut builder = network.node(&content.op, dag.inputs(node).to_vec(), false);
            let Place { channels, max_channels, .. } = place;
            let context = OperationContext { channels, max_channels };
            Some(operation.expand(&mut builder, &inputs, context)?)
        };
    }
    // An unused input is no leaf: nothing computes it.
    let leaves: Vec<usize> = dag.leaves().filter(|&v| values[v].is_some()).collect();
    let parts: Vec<ValueId> = leaves.iter().filter_map(|&v| values[v]).collect();
    network.node("concat", leaves, false).concat(&parts)
}

/// An input node: rectify, 1x1 convolution to the block's size, batch norm. Where nothing reads
/// the node it stays in the graph, but computes nothing and has no value.
fn bottleneck(
    network: &mut NetworkBuilder,
    index: usize,
    input: Joined,
    place: Place,
    used: bool,
) -> Result<Option<ValueId>, NetworkError> {
    let shape = network.shape(input.value);
    let stride = shape.height.div_ceil(place.height).max(shape.width.div_ceil(place.width));
    let reduce = if stride > 1 { "_reduce" } else { "" };
    let mut node = network.node(format!("{INPUT}_{index}{reduce}"), vec![], true);
    if !used {
        return Ok(None);
    }
    // The input joins a varying number of leaves, so the kernel of one leaf is tiled over them.
    // Its width is part of the kind: a tile then always starts at a leaf's first channel.
    let leaf = input.leaf_channels;
    let param = ParamRequest {
        name: "bottleneck",
        kind: &format!("bottleneck_{leaf}"),
        largest: vec![place.max_channels, leaf, 1, 1],
    };
    let rectified = node.relu(input.value)?;
    let value = node.conv2d(rectified, convolution([1, 1], place.channels, stride), param)?;
    Ok(Some(node.batch_norm(value)?))
}

fn convolution(kernel: [usize; 2], out_channels: usize, stride: usize) -> Convolution {
    let weight = ParamId(0); // The builder puts the new parameter here.
    let padding = kernel.map(|size| (size - 1) / 2);
    Convolution { weight, out_channels, kernel, stride, dilation: 1, padding, groups: 1 }
}
