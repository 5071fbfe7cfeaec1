//! Networks and plans for unit tests.

use std::sync::Arc;

use dfdx::prelude::{Cpu, Dtype};
use ghnas_core::registry::BuildContext;
use ghnas_core::{
    Catalogue, Convolution, Network, NetworkBuilder, ParamId, ParamRequest, Phase, Propagator,
    Shape, Task, ValueId,
};
use ghnas_space_cell as _;

use crate::kernels::Kernels;
use crate::model;
use crate::parameters::{Parameter, Parameters};
use crate::pass::{Pass, Values};
use crate::plan::Plan;
use crate::plans::Parts;
use crate::settings::GhnSettings;
use crate::threads::Threads;

/// A network of the cell space's laptop preset.
pub(crate) fn cell(phase: Phase, seed: u64) -> Network {
    let catalogue = Catalogue::built_in().unwrap();
    let context = BuildContext::new(&catalogue);
    let preset = &catalogue.spaces.get("cell").unwrap().presets[0];
    let space = catalogue.spaces.build("cell", &preset.settings, &context).unwrap();
    let task = Task { image: Shape::new(3, 32, 32), classes: 10 };
    space.lower(&space.sample(phase, seed).unwrap(), task).unwrap()
}

/// Three modules with slices and tiles, generated scales and shifts, and a kind that several nodes
/// share.
pub(crate) fn small() -> Network {
    let mut network = NetworkBuilder::new(Shape::new(3, 6, 6), 4);
    let request =
        |name, kind, largest: &[usize]| ParamRequest { name, kind, largest: largest.into() };
    let conv = |kernel, out_channels| Convolution {
        weight: ParamId(0),
        out_channels,
        kernel: [kernel; 2],
        stride: 1,
        dilation: 1,
        padding: [kernel / 2; 2],
        groups: 1,
    };
    let mut value = ValueId::IMAGES;
    for module in ["first", "second"] {
        network.module(module);
        let mut node = network.node("wide", vec![], true);
        // Tiles: 7 channels of 4.
        let largest = request("kernel", "wide", &[4, 2, 3, 3]);
        value = node.conv2d(value, conv(3, 7), largest).unwrap();
        let scale = request("scale", "scale", &[5]);
        let shift = request("shift", "shift", &[9]);
        value = node.batch_norm_affine(value, scale, shift).unwrap();
        // Slices: the centre of 3x3, and 5 of 8 channels.
        let mut node = network.node("narrow", vec![0], false);
        let one = node.conv2d(value, conv(1, 5), request("kernel", "narrow", &[8, 9, 3, 3]));
        let one = one.unwrap();
        let mut node = network.node("narrow", vec![0, 1], false);
        let kernel = request("kernel", "narrow", &[8, 9, 3, 3]);
        let two = node.conv2d(value, conv(3, 5), kernel).unwrap();
        value = network.node("sum", vec![1, 2], false).add(&[one, two]).unwrap();
    }
    network.module("head");
    let mut node = network.node("classifier", vec![], true);
    let (matrix, bias) = (request("matrix", "matrix", &[4, 50]), request("bias", "shift", &[9]));
    let logits = node.linear(value, 4, matrix, bias).unwrap();
    network.output(logits, 1.0);
    network.finish().unwrap()
}

/// The plan of a network by a propagator with small layers of unequal lengths.
pub(crate) fn plan(network: &Network, propagator: &dyn Propagator) -> (Arc<Plan>, Parameters) {
    let settings = GhnSettings {
        rounds: 2,
        hidden: 6,
        message_hidden: 7,
        hypernetwork_hidden: 19,
        ..GhnSettings::default()
    };
    let mut parameters = Parameters::new(5);
    let mut parts = Parts::default();
    let plan = Plan::new(network, propagator, &settings, &mut parameters, &mut parts).unwrap();
    (Arc::new(plan), parameters)
}

/// The parameters' values as they are, in the precision wanted.
pub(crate) fn values<E: Dtype>(parameters: &Parameters) -> Vec<Values<E>> {
    let values = |parameter: &Parameter| {
        let data = parameter.values.iter().map(|&x| E::from_f32(x).unwrap());
        Values { shape: parameter.shape, data: Arc::new(data.collect()) }
    };
    parameters.iter().map(values).collect()
}

/// Some direction of a given length.
pub(crate) fn direction<E: Dtype>(length: usize) -> Vec<E> {
    (0..length).map(|at| E::from_f64((at as f64 * 0.7).sin()).unwrap()).collect()
}

/// Zeros for the gradient of each parameter.
pub(crate) fn zeros<E: Dtype>(values: &[Values<E>]) -> Vec<Vec<E>> {
    values.iter().map(|values| vec![E::default(); values.data.len()]).collect()
}

/// The outputs of the composition of dfdx operations, or of the device's own kernels, and the
/// gradients along [`direction`].
pub(crate) fn differentiate<E: Dtype>(
    composed: bool,
    threads: usize,
    plan: &Arc<Plan>,
    values: &[Values<E>],
) -> (Vec<E>, Vec<Vec<E>>)
where
    Cpu: Kernels<E>,
{
    let (open, threads) = (ghnas_dfdx_device::cpu(), Arc::new(Threads::new(threads).unwrap()));
    let mut pass = Pass { values: values.to_vec(), ..Pass::default() };
    let mut gradients = zeros(values);
    pass.directions = direction(plan.outputs);
    if composed {
        model::generate(open().unwrap(), plan, &mut pass).unwrap();
        model::vjp(open().unwrap(), plan, &pass, &mut gradients).unwrap();
    } else {
        Cpu::generate(&open, &threads, plan, &mut pass).unwrap();
        Cpu::vjp(&open, &threads, plan, &mut pass, &mut gradients).unwrap();
    }
    (pass.outputs, gradients)
}
