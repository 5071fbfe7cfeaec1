//! The reference against finite differences, and the executor against the reference.

use ghnas_core::{
    BuildContext, Catalogue, Convolution, Executor, Images, LossSum, Network, NetworkBuilder,
    NodeBuilder, ParamId, ParamRequest, Primitive, Settings, Shape, ValueId, Weights, Window, rng,
};
use rand::RngExt;

use crate::reference::Reference;
use crate::{Instructions, NativeExecutor, NativeSettings};

const CLASSES: usize = 4;

/// A batch, and the weights that run on it.
struct Case {
    network: Network,
    weights: Weights,
    images: Vec<f32>,
    labels: Vec<u16>,
}

impl Case {
    fn new(network: Network, count: usize) -> Self {
        let mut rng = rng::stream(3, "case", 0);
        let mut weights = Weights::zeros_for(network.params());
        for (index, param) in network.params().iter().enumerate() {
            let bound = (3.0 / param.fan_in as f32).sqrt();
            let values = weights.get_mut(ParamId(index as u32));
            values.iter_mut().for_each(|value| *value = rng.random_range(-bound..bound));
        }
        let length = count * network.input().elements();
        let images = (0..length).map(|_| rng.random_range(-1.0..1.5)).collect();
        let labels = (0..count).map(|_| rng.random_range(0..CLASSES as u16)).collect();
        Self { network, weights, images, labels }
    }

    fn images(&self) -> Images<'_> {
        Images { data: &self.images, count: self.labels.len() }
    }

    fn gradients(&self, executor: &mut NativeExecutor) -> (LossSum, Weights) {
        let mut gradients = Weights::default();
        let loss = executor
            .loss_and_gradients(
                &self.network,
                &self.weights,
                self.images(),
                &self.labels,
                &mut gradients,
            )
            .expect("the buffers fit");
        (loss, gradients)
    }
}

fn named<'a>(name: &'a str, largest: &[usize]) -> ParamRequest<'a> {
    ParamRequest { name, kind: name, largest: largest.to_vec() }
}

/// Adds one node and returns what `steps` returns.
fn node<T>(
    builder: &mut NetworkBuilder,
    steps: impl FnOnce(&mut NodeBuilder<'_>) -> Result<T, ghnas_core::NetworkError>,
) -> T {
    steps(&mut builder.node("test", vec![], true)).expect("the test's network is well formed")
}

#[derive(Clone, Copy)]
struct Conv {
    out: usize,
    kernel: [usize; 2],
    stride: usize,
    dilation: usize,
    padding: [usize; 2],
    groups: usize,
}

impl Conv {
    const fn new(out: usize, kernel: [usize; 2], padding: [usize; 2]) -> Self {
        Self { out, kernel, stride: 1, dilation: 1, padding, groups: 1 }
    }

    fn add(self, builder: &mut NetworkBuilder, input: ValueId) -> ValueId {
        let Self { out: out_channels, kernel, stride, dilation, padding, groups } = self;
        let weight = ParamId(0);
        let conv = Convolution { weight, out_channels, kernel, stride, dilation, padding, groups };
        let channels = builder.shape(input).channels;
        let largest = [out_channels, channels / groups, kernel[0], kernel[1]];
        node(builder, |node| node.conv2d(input, conv, named("kernel", &largest)))
    }
}

fn start(shape: Shape) -> NetworkBuilder {
    let mut builder = NetworkBuilder::new(shape, CLASSES);
    builder.module("body");
    builder
}

fn batch_norm(builder: &mut NetworkBuilder, value: ValueId) -> ValueId {
    node(builder, |node| node.batch_norm(value))
}

fn relu(builder: &mut NetworkBuilder, value: ValueId) -> ValueId {
    node(builder, |node| node.relu(value))
}

fn add(builder: &mut NetworkBuilder, values: &[ValueId]) -> ValueId {
    node(builder, |node| node.add(values))
}

fn concat(builder: &mut NetworkBuilder, values: &[ValueId]) -> ValueId {
    node(builder, |node| node.concat(values))
}

fn step(builder: &mut NetworkBuilder, primitive: Primitive, value: ValueId) -> ValueId {
    node(builder, |node| node.step(primitive, &[value]))
}

/// Global pooling and a linear layer.
fn head(builder: &mut NetworkBuilder, value: ValueId, loss_weight: f32) {
    let pooled = step(builder, Primitive::GlobalAveragePool, value);
    let features = builder.shape(pooled).channels;
    let logits = node(builder, |node| {
        let matrix = named("matrix", &[CLASSES, features]);
        node.linear(pooled, CLASSES, matrix, named("bias", &[CLASSES]))
    });
    builder.output(logits, loss_weight);
}

/// One convolution between batch norms, so that its input's gradient is checked too.
fn convolution(shape: Shape, channels: usize, conv: Conv) -> Network {
    let mut builder = start(shape);
    let stem = Conv::new(channels, [1, 1], [0, 0]).add(&mut builder, ValueId::IMAGES);
    let normal = batch_norm(&mut builder, stem);
    let active = relu(&mut builder, normal);
    let value = conv.add(&mut builder, active);
    let value = batch_norm(&mut builder, value);
    head(&mut builder, value, 1.0);
    builder.finish().expect("well formed")
}

/// One primitive without parameters between a batch norm and the head.
fn parameterless(primitive: Primitive, channels: usize) -> Network {
    let mut builder = start(Shape::new(3, 7, 6));
    let stem = Conv::new(channels, [3, 3], [1, 1]).add(&mut builder, ValueId::IMAGES);
    let normal = batch_norm(&mut builder, stem);
    let value = step(&mut builder, primitive, normal);
    let value = Conv::new(5, [1, 1], [0, 0]).add(&mut builder, value);
    head(&mut builder, value, 1.0);
    builder.finish().expect("well formed")
}

/// A cell-like graph: shared and nested sums, identity, concatenations, two outputs, a dead value,
/// affine batch norm, a batch norm of a batch norm and of a sum, a rectified sum.
fn tangle(channels: usize) -> Network {
    let mut b = start(Shape::new(3, 8, 8));
    let stem = Conv::new(channels, [3, 3], [1, 1]).add(&mut b, ValueId::IMAGES);
    let affine = node(&mut b, |node| {
        let scale = named("scale", &[channels]);
        node.batch_norm_affine(stem, scale, named("shift", &[channels]))
    });
    let first = relu(&mut b, affine);
    let depthwise =
        Conv { groups: channels, ..Conv::new(channels, [3, 3], [1, 1]) }.add(&mut b, first);
    let pointwise = Conv::new(channels, [1, 1], [0, 0]).add(&mut b, depthwise);
    let second = batch_norm(&mut b, pointwise);
    let sum = add(&mut b, &[affine, second]);
    let shared = add(&mut b, &[sum, second, first]);
    let rectified = relu(&mut b, shared);
    let again = relu(&mut b, rectified);
    let wide = Conv::new(channels, [1, 7], [0, 3]).add(&mut b, again);
    let tall = Conv::new(channels, [7, 1], [3, 0]).add(&mut b, wide);
    let third = batch_norm(&mut b, tall);
    let window = Window { size: 3, stride: 1, padding: 1 };
    let average = Primitive::AveragePool { window, count_padding: false };
    let pools = [
        step(&mut b, Primitive::MaxPool(window), second),
        step(&mut b, Primitive::MaxPool(window), shared),
        step(&mut b, average, third),
        step(&mut b, average, sum),
    ];
    let pooled = add(&mut b, &pools);
    step(&mut b, Primitive::Relu, pooled);
    let zero = step(&mut b, Primitive::Zero { stride: 1 }, pooled);
    let joined = concat(&mut b, &[third, pooled, second, zero, first]);
    head(&mut b, joined, 0.4);
    let active = relu(&mut b, joined);
    let left = Conv::new(channels + 1, [1, 1], [0, 0]);
    let left = Conv { stride: 2, ..left }.add(&mut b, active);
    let left = batch_norm(&mut b, left);
    let left = batch_norm(&mut b, left);
    let right = Conv { stride: 2, ..Conv::new(channels + 1, [3, 3], [1, 1]) }.add(&mut b, joined);
    let both = add(&mut b, &[left, right, left]);
    let both = batch_norm(&mut b, both);
    let negated = relu(&mut b, both);
    let pair = concat(&mut b, &[negated, both]);
    let total = concat(&mut b, &[pair, left]);
    head(&mut b, total, 1.0);
    b.finish().expect("well formed")
}

fn cases() -> Vec<(String, Network)> {
    let mut cases = Vec::new();
    let small = Shape::new(3, 7, 6);
    for channels in [3, 8, 16, 20, 32] {
        cases.push((format!("tangle of {channels}"), tangle(channels)));
        for (kernel, dilation) in [(3, 1), (5, 1), (3, 2), (5, 2)] {
            let reach = dilation * (kernel - 1) / 2;
            let plain = Conv::new(channels, [kernel; 2], [reach; 2]);
            let depthwise = Conv { dilation, groups: channels, ..plain };
            let name = format!("depthwise {kernel} dilated by {dilation} of {channels}");
            cases.push((name, convolution(small, channels, depthwise)));
        }
        let dense = [
            Conv::new(channels, [1, 7], [0, 3]),
            Conv::new(channels + 3, [7, 1], [3, 0]),
            Conv { stride: 2, ..Conv::new(channels, [3, 3], [1, 1]) },
            Conv { stride: 2, ..Conv::new(2 * channels, [1, 1], [0, 0]) },
            Conv { dilation: 2, ..Conv::new(5, [3, 2], [3, 0]) },
            Conv { stride: 3, groups: channels, ..Conv::new(2 * channels, [3, 3], [0, 2]) },
            Conv { stride: 2, groups: channels, ..Conv::new(channels, [3, 3], [1, 1]) },
        ];
        for (index, conv) in dense.into_iter().enumerate() {
            let name = format!("dense {index} of {channels}");
            cases.push((name, convolution(small, channels, conv)));
        }
    }
    let grouped = Conv { groups: 2, ..Conv::new(8, [3, 3], [1, 1]) };
    cases.push(("two groups".into(), convolution(Shape::new(2, 5, 9), 6, grouped)));
    let windows = [(3, 1, 1), (3, 2, 1), (2, 2, 0), (5, 3, 4)];
    for (size, stride, padding) in windows {
        let window = Window { size, stride, padding };
        for primitive in [
            Primitive::MaxPool(window),
            Primitive::AveragePool { window, count_padding: true },
            Primitive::AveragePool { window, count_padding: false },
        ] {
            for channels in [6, 8] {
                let name = format!("{primitive:?} of {channels}");
                cases.push((name, parameterless(primitive, channels)));
            }
        }
    }
    for primitive in
        [Primitive::Upsample { factor: 2 }, Primitive::Relu, Primitive::Zero { stride: 2 }]
    {
        cases.push((primitive.name().into(), parameterless(primitive, 8)));
    }
    cases
}

/// An executor for each instruction set that this processor has; says which it has not.
fn executors(threads: usize) -> Vec<(Instructions, NativeExecutor)> {
    let all = [Instructions::Portable, Instructions::Avx2, Instructions::Avx512];
    let executor =
        |instructions| match NativeExecutor::new(NativeSettings { instructions }, threads) {
            Ok(executor) => Some((instructions, executor)),
            Err(reason) => {
                eprintln!("{instructions:?} is left out: {reason}");
                None
            }
        };
    all.into_iter().filter_map(executor).collect()
}

/// The largest difference, as a share of the largest value expected.
fn apart(got: &[f32], expect: &[f64]) -> f64 {
    assert_eq!(got.len(), expect.len());
    let largest = expect.iter().fold(1e-3, |largest: f64, x| largest.max(x.abs()));
    let differences = got.iter().zip(expect).map(|(&got, expect)| (f64::from(got) - expect).abs());
    // Not `max`, which would pass over values that are not numbers.
    differences.fold(0.0, |most, x| if x <= most { most } else { x }) / largest
}

#[test]
fn reference_gradients_are_central_differences() {
    for (name, network) in cases().into_iter().filter(|(name, _)| !name.contains("of 32")) {
        let case = Case::new(network, 3);
        let (_, gradients) =
            Reference::forward(&case.network, &case.weights, case.images()).backward(&case.labels);
        let loss = |weights: &Weights| -> f64 {
            let logits = Reference::forward(&case.network, weights, case.images()).logits();
            let outputs = logits.chunks_exact(case.labels.len() * CLASSES);
            let mean = |logits: &[f64]| {
                let rows = logits.chunks_exact(CLASSES).zip(&case.labels);
                let loss = rows.map(|(row, &label)| {
                    row.iter().map(|x| x.exp()).sum::<f64>().ln() - row[usize::from(label)]
                });
                loss.sum::<f64>() / case.labels.len() as f64
            };
            let weighted = outputs.zip(case.network.outputs());
            weighted.map(|(logits, output)| f64::from(output.loss_weight) * mean(logits)).sum()
        };
        let mut moved = case.weights.clone();
        for (index, param) in case.network.params().iter().enumerate() {
            let id = ParamId(index as u32);
            let at = index * 7 % param.len();
            let value = case.weights.get(id)[at];
            let (up, down) = (value + 1e-4, value - 1e-4);
            moved.get_mut(id)[at] = up;
            let above = loss(&moved);
            moved.get_mut(id)[at] = down;
            let slope = (above - loss(&moved)) / (f64::from(up) - f64::from(down));
            moved.get_mut(id)[at] = value;
            let expect = gradients[index][at];
            let error = (slope - expect).abs();
            assert!(
                error <= 2e-3 * expect.abs().max(0.05),
                "{name}, {}: {slope} {expect}",
                param.name
            );
        }
    }
}

#[test]
fn the_executor_agrees_with_the_reference() {
    let mut failures = Vec::new();
    for (instructions, mut executor) in executors(2) {
        for (index, (name, network)) in cases().into_iter().enumerate() {
            // More images than chunks, and fewer.
            let case = Case::new(network, [19, 3][index % 2]);
            let reference = Reference::forward(&case.network, &case.weights, case.images());
            let mut check = |what: &str, apart: f64| {
                if apart.is_nan() || apart > 1e-4 {
                    failures.push(format!("{instructions:?}, {name}, {what}: {apart:.1e} apart"));
                }
            };
            let mut logits = Vec::new();
            executor
                .evaluate(&case.network, &case.weights, case.images(), &mut logits)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            check("logits", apart(&logits, &reference.logits()));
            let (loss, gradients) = case.gradients(&mut executor);
            let (expect, params) = reference.backward(&case.labels);
            check("loss", apart(&[loss.loss as f32], &[expect.loss]));
            for (index, param) in case.network.params().iter().enumerate() {
                let got = gradients.get(ParamId(index as u32));
                check(&param.name, apart(got, &params[index]));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn what_is_not_a_number_stays_so_in_a_maximum() {
    let window = |size, stride| Window { size, stride, padding: 0 };
    for (instructions, mut executor) in executors(1) {
        for window in [window(3, 1), window(2, 2)] {
            let mut builder = start(Shape::new(3, 6, 6));
            let pooled = step(&mut builder, Primitive::MaxPool(window), ValueId::IMAGES);
            head(&mut builder, pooled, 1.0);
            let mut case = Case::new(builder.finish().expect("well formed"), 4);
            let elements = case.network.input().elements();
            // Each corner and the centre of a window, in an image of its own.
            for (image, at) in [0, 1, 7, 14].into_iter().enumerate() {
                case.images[image * elements + at] = f32::NAN;
            }
            let mut logits = Vec::new();
            executor
                .evaluate(&case.network, &case.weights, case.images(), &mut logits)
                .expect("the buffers fit");
            assert!(logits.iter().all(|logit| logit.is_nan()), "{instructions:?}, {window:?}");
        }
    }
}

#[test]
fn threads_do_not_change_a_byte() {
    let [one, two, five] = [1, 2, 5].map(executors);
    for (((instructions, one), (_, two)), (_, five)) in one.into_iter().zip(two).zip(five) {
        let mut executors = [one, two, five];
        for channels in [3, 16] {
            let case = Case::new(tangle(channels), 37);
            let results = executors.each_mut().map(|executor| case.gradients(executor));
            for (loss, gradients) in &results[1..] {
                assert_eq!(loss.loss.to_bits(), results[0].0.loss.to_bits(), "{instructions:?}");
                let bits = |weights: &Weights| {
                    weights.as_slice().iter().map(|x| x.to_bits()).collect::<Vec<_>>()
                };
                assert_eq!(bits(gradients), bits(&results[0].1), "{instructions:?}");
            }
        }
    }
}

#[test]
fn settings_name_the_key_that_is_wrong() {
    let build = |text: &str| {
        let settings: Settings = serde_json::from_str(text).unwrap();
        let catalogue = Catalogue::built_in().unwrap();
        let context = BuildContext::new(&catalogue);
        let executor = catalogue.executors.build("native", &settings, &context);
        executor.err().map(|error| error.to_string())
    };
    assert_eq!(build(r#"{"instructions":"portable"}"#), None);
    assert!(build(r#"{"instruction":"auto"}"#).unwrap().contains("`instructions`"));
    assert!(build(r#"{"instructions":"mmx"}"#).unwrap().contains("`portable`"));
}
