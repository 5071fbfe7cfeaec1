//! Time of one primitive, forward and backward, between a stem that makes its input and a head
//! that reads its result: batch 64, 32 channels, 32 x 32 pixels, two threads. The first row is of
//! the surroundings alone; `ghnas bench ops` subtracts them.
//!
//! `cargo bench -p ghnas-executor-native --bench primitives`

use std::time::Duration;

use criterion::{BenchmarkId, Criterion};
use ghnas_core::{
    Convolution, Executor, Images, Network, NetworkBuilder, NetworkError, NodeBuilder, ParamId,
    ParamRequest, Primitive, Shape, ValueId, Weights, Window, rng,
};
use ghnas_executor_native::{NativeExecutor, NativeSettings};
use rand::RngExt;

const BATCH: usize = 64;
const CHANNELS: usize = 32;
const SIDE: usize = 32;

/// A convolution that keeps height and width: kernel, dilation, groups.
fn conv(kernel: [usize; 2], dilation: usize, groups: usize) -> Primitive {
    Primitive::Conv2d(Convolution {
        weight: ParamId(0),
        out_channels: CHANNELS,
        kernel,
        stride: 1,
        dilation,
        padding: kernel.map(|taps| (taps - 1) * dilation / 2),
        groups,
    })
}

/// The primitives that are timed, in a row where executors may fuse them.
fn primitives() -> Vec<(&'static str, Vec<Primitive>)> {
    let window = Window { size: 3, stride: 1, padding: 1 };
    let norm = Primitive::BatchNorm { scale: None, shift: None };
    vec![
        ("surroundings", vec![]),
        ("1x1 convolution", vec![conv([1, 1], 1, 1)]),
        ("depthwise 3x3", vec![conv([3, 3], 1, CHANNELS)]),
        ("depthwise 5x5, dilation 2", vec![conv([5, 5], 2, CHANNELS)]),
        ("3x3 convolution", vec![conv([3, 3], 1, 1)]),
        ("1x7 convolution", vec![conv([1, 7], 1, 1)]),
        ("batch norm", vec![norm]),
        ("relu", vec![Primitive::Relu]),
        ("batch norm and relu", vec![norm, Primitive::Relu]),
        ("max pool 3x3", vec![Primitive::MaxPool(window)]),
        ("average pool 3x3", vec![Primitive::AveragePool { window, count_padding: false }]),
    ]
}

fn network(primitives: &[Primitive]) -> Result<Network, NetworkError> {
    let mut builder = NetworkBuilder::new(Shape::new(1, SIDE, SIDE), 2);
    builder.module("body");
    let mut node = builder.node("body", vec![], true);
    let mut value = apply(&mut node, conv([1, 1], 1, 1), ValueId::IMAGES, "stem")?;
    for &primitive in primitives {
        value = apply(&mut node, primitive, value, "own")?;
    }
    let features = node.shape(value).elements();
    let matrix = ParamRequest { name: "matrix", kind: "matrix", largest: vec![2, features] };
    let bias = ParamRequest { name: "bias", kind: "bias", largest: vec![2] };
    let logits = node.linear(value, 2, matrix, bias)?;
    builder.output(logits, 1.0);
    builder.finish()
}

fn apply(
    node: &mut NodeBuilder<'_>,
    primitive: Primitive,
    input: ValueId,
    name: &str,
) -> Result<ValueId, NetworkError> {
    let Primitive::Conv2d(conv) = primitive else { return node.step(primitive, &[input]) };
    let inputs = node.shape(input).channels / conv.groups.min(node.shape(input).channels);
    let largest = vec![conv.out_channels, inputs, conv.kernel[0], conv.kernel[1]];
    node.conv2d(input, conv, ParamRequest { name, kind: name, largest })
}

fn benches(criterion: &mut Criterion) {
    let mut rng = rng::stream(0, "primitives", 0);
    let data: Vec<f32> = (0..BATCH * SIDE * SIDE).map(|_| rng.random_range(-1.0..1.0)).collect();
    let images = Images { data: &data, count: BATCH };
    let labels: Vec<u16> = (0..BATCH).map(|image| (image % 2) as u16).collect();
    let mut executor = NativeExecutor::new(NativeSettings::default(), 2).expect("threads start");
    let mut group = criterion.benchmark_group("primitives");
    group.sample_size(10).measurement_time(Duration::from_secs(1));
    for (name, primitives) in primitives() {
        let network = network(&primitives).expect("the primitives fit");
        let mut weights = Weights::zeros_for(network.params());
        let mut gradients = weights.clone();
        for index in 0..network.params().len() {
            let values = weights.get_mut(ParamId(index as u32));
            values.iter_mut().for_each(|value| *value = rng.random_range(-0.5..0.5));
        }
        let mut logits = Vec::new();
        group.bench_function(BenchmarkId::new("forward", name), |bencher| {
            bencher.iter(|| executor.evaluate(&network, &weights, images, &mut logits));
        });
        group.bench_function(BenchmarkId::new("forward and backward", name), |bencher| {
            bencher.iter(|| {
                executor.loss_and_gradients(&network, &weights, images, &labels, &mut gradients)
            });
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    benches(&mut criterion);
    criterion.final_summary();
}
