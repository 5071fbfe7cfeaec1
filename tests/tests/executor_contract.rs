//! What every executor promises besides its numbers.

use ghnas_core::registry::{BuildContext, Device, RegistryError, Settings};
use ghnas_core::{
    Catalogue, Convolution, Executor, ExecutorError, Images, Network, NetworkBuilder, NetworkError,
    NodeBuilder, ParamId, ParamRequest, Primitive, Shape, ValueId, Weights, Window,
};
use ghnas_tests::{Case, random_network};
use {ghnas_executor_dfdx as _, ghnas_executor_native as _};

const EXECUTORS: [&str; 2] = ["dfdx", "native"];

fn build(
    id: &str,
    settings: &Settings,
    device: Device,
    threads: usize,
) -> Result<Box<dyn Executor>, RegistryError> {
    let catalogue = Catalogue::built_in()?;
    let context = BuildContext { device, threads, ..BuildContext::new(&catalogue) };
    catalogue.executors.build(id, settings, &context)
}

fn executors() -> impl Iterator<Item = (&'static str, Box<dyn Executor>)> {
    EXECUTORS.into_iter().map(|id| {
        let executor = build(id, &Settings::new(), Device::Cpu, 1);
        (id, executor.unwrap_or_else(|error| panic!("{id}: {error}")))
    })
}

/// A network whose one node is written by `body`, from the images to the last value before a
/// linear layer.
fn network(
    input: Shape,
    classes: usize,
    body: impl FnOnce(&mut NodeBuilder<'_>) -> Result<ValueId, NetworkError>,
) -> Network {
    let mut network = NetworkBuilder::new(input, classes);
    network.module("network");
    let mut node = network.node("body", vec![], true);
    let value = body(&mut node).unwrap();
    let matrix = [classes, node.shape(value).elements()];
    let logits =
        node.linear(value, classes, request("matrix", &matrix), request("bias", &[classes]));
    network.output(logits.unwrap(), 1.0);
    network.finish().unwrap()
}

fn request<'a>(name: &'a str, largest: &[usize]) -> ParamRequest<'a> {
    ParamRequest { name, kind: name, largest: largest.to_vec() }
}

fn pointwise(out_channels: usize) -> Convolution {
    Convolution {
        weight: ParamId(0),
        out_channels,
        kernel: [1, 1],
        stride: 1,
        dilation: 1,
        padding: [0, 0],
        groups: 1,
    }
}

fn gradients(executor: &mut dyn Executor, case: &Case) -> Weights {
    let Case { network, weights, labels, .. } = case;
    let mut gradients = Weights::default();
    executor.loss_and_gradients(network, weights, case.batch(), labels, &mut gradients).unwrap();
    gradients
}

fn logits(executor: &mut dyn Executor, case: &Case) -> Vec<f32> {
    let mut logits = Vec::new();
    executor.evaluate(&case.network, &case.weights, case.batch(), &mut logits).unwrap();
    logits
}

/// Both pixels give the sum of their channels, 3; the gradient of the kernel is the first pixel's
/// channels times what comes from above, and the last pixel's nothing.
#[test]
fn of_equal_values_in_a_window_the_first_takes_the_gradient() {
    let network = network(Shape::new(2, 1, 2), 2, |node| {
        let sums = node.conv2d(ValueId::IMAGES, pointwise(1), request("kernel", &[1, 2, 1, 1]))?;
        node.max_pool(sums, Window { size: 2, stride: 1, padding: 1 })
    });
    let mut case = Case::new(network, 1, 0);
    case.images = vec![2.0, 1.0, 1.0, 2.0];
    case.weights.get_mut(ParamId(0)).fill(1.0);
    // Of the six windows only those in the middle column see both pixels.
    let matrix = [0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    case.weights.get_mut(ParamId(1)).copy_from_slice(&matrix);
    for (id, mut executor) in executors() {
        let gradients = gradients(&mut *executor, &case);
        let &[left, right] = gradients.get(ParamId(0)) else { panic!("two values") };
        assert!(left != 0.0, "{id}");
        assert_eq!(left, 2.0 * right, "{id}");
    }
}

#[test]
fn a_parameter_behind_zeros_has_the_gradient_zero() {
    let network = network(Shape::new(2, 3, 3), 3, |node| {
        let hidden =
            node.conv2d(ValueId::IMAGES, pointwise(2), request("kernel", &[2, 2, 1, 1]))?;
        let zeros = node.step(Primitive::Zero { stride: 1 }, &[hidden])?;
        node.add(&[zeros, ValueId::IMAGES])
    });
    let case = Case::new(network, 2, 0);
    for (id, mut executor) in executors() {
        let gradients = gradients(&mut *executor, &case);
        assert_eq!(gradients.get(ParamId(0)), [0.0; 4], "{id}");
        assert!(gradients.get(ParamId(1)).iter().any(|&g| g != 0.0), "{id}");
    }
}

#[test]
fn an_input_that_occurs_twice_counts_twice() {
    let both = |primitive: Primitive| {
        network(Shape::new(2, 2, 2), 3, |node| {
            let x = node.conv2d(ValueId::IMAGES, pointwise(2), request("kernel", &[2, 2, 1, 1]))?;
            node.step(primitive, &[x, x])
        })
    };
    let once = network(Shape::new(2, 2, 2), 3, |node| {
        node.conv2d(ValueId::IMAGES, pointwise(2), request("kernel", &[2, 2, 1, 1]))
    });
    for primitive in [Primitive::Add, Primitive::Concat] {
        let case = Case::new(both(primitive), 2, 1);
        let mut plain = Case::new(once.clone(), 2, 1);
        let joined = case.weights.get(ParamId(1));
        let columns = joined.len() / 3;
        for (at, value) in plain.weights.get_mut(ParamId(1)).iter_mut().enumerate() {
            let (row, column) = (at / 8, at % 8);
            // Concatenation repeats the eight features; addition doubles them.
            let first = joined[row * columns + column];
            *value =
                if columns == 16 { first + joined[row * 16 + 8 + column] } else { 2.0 * first };
        }
        plain.weights.get_mut(ParamId(0)).copy_from_slice(case.weights.get(ParamId(0)));
        plain.weights.get_mut(ParamId(2)).copy_from_slice(case.weights.get(ParamId(2)));
        plain.images.clone_from(&case.images);
        plain.labels.clone_from(&case.labels);
        for (id, mut executor) in executors() {
            let (got, expected) = (logits(&mut *executor, &case), logits(&mut *executor, &plain));
            let far = |(a, b): (&f32, &f32)| (a - b).abs() > 1e-5;
            assert!(!got.iter().zip(&expected).any(far), "{id}, {primitive:?}");
            let (got, expected) =
                (gradients(&mut *executor, &case), gradients(&mut *executor, &plain));
            let (got, expected) = (got.get(ParamId(0)), expected.get(ParamId(0)));
            assert!(!got.iter().zip(expected).any(far), "{id}, {primitive:?}");
        }
    }
}

/// A step whose numbers overflow must show in its loss: it is skipped and counted, not learnt from.
/// Max pooling may pass over what is not a number while the window has others, so behind it a
/// whole channel is spoilt, as a batch norm leaves it.
#[test]
fn what_is_not_a_number_is_not_hidden() {
    type Body = fn(&mut NodeBuilder<'_>) -> Result<ValueId, NetworkError>;
    let layers: [(&str, Body); 4] = [
        ("relu", |node| node.relu(ValueId::IMAGES)),
        ("batch norm", |node| node.batch_norm(ValueId::IMAGES)),
        ("batch norm and relu", |node| {
            let normal = node.batch_norm(ValueId::IMAGES)?;
            node.relu(normal)
        }),
        ("batch norm and max pooling", |node| {
            let normal = node.batch_norm(ValueId::IMAGES)?;
            node.max_pool(normal, Window { size: 2, stride: 1, padding: 0 })
        }),
    ];
    for (layer, body) in layers {
        let mut case = Case::new(network(Shape::new(1, 3, 3), 2, body), 2, 0);
        case.images[4] = f32::NAN;
        for (id, mut executor) in executors() {
            let logits = logits(&mut *executor, &case);
            assert!(!logits[0].is_finite(), "{id}, {layer}: {logits:?}");
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    for id in EXECUTORS {
        for seed in 100..110 {
            let case = random_network(seed);
            let run = |threads: usize| {
                let mut executor = build(id, &Settings::new(), Device::Cpu, threads).unwrap();
                (logits(&mut *executor, &case), gradients(&mut *executor, &case))
            };
            let (one, three) = (run(1), run(3));
            assert_eq!(one.0, three.0, "{id}, seed {seed}");
            assert_eq!(one.1.as_slice(), three.1.as_slice(), "{id}, seed {seed}");
        }
    }
}

#[test]
fn a_call_leaves_nothing_behind() {
    let (first, second) = (random_network(200), random_network(201));
    for (id, mut executor) in executors() {
        let fresh = gradients(&mut *executor, &second);
        gradients(&mut *executor, &first);
        logits(&mut *executor, &first);
        let again = gradients(&mut *executor, &second);
        assert_eq!(fresh.as_slice(), again.as_slice(), "{id}");
    }
}

#[test]
fn buffers_that_do_not_fit_are_refused() {
    let case = random_network(0);
    let other = random_network(1);
    let Case { network, weights, images, labels } = &case;
    let batch = case.batch();
    for (id, mut executor) in executors() {
        let mut refuse = |weights: &Weights, images: Images<'_>, labels: &[u16]| {
            let mut gradients = Weights::default();
            executor
                .loss_and_gradients(network, weights, images, labels, &mut gradients)
                .expect_err(id)
                .to_string()
        };
        assert!(refuse(&other.weights, batch, labels).contains("the weights"), "{id}");
        let short = Images { data: &images[1..], count: labels.len() };
        assert!(refuse(weights, short, labels).contains("the batch"), "{id}");
        let empty = Images { data: &[], count: 0 };
        assert!(refuse(weights, empty, &[]).contains("the batch"), "{id}");
        assert!(refuse(weights, batch, &labels[1..]).contains("the labels"), "{id}");
        let wrong = vec![network.classes() as u16; labels.len()];
        assert!(refuse(weights, batch, &wrong).contains("label"), "{id}");
        let result = executor.evaluate(network, weights, short, &mut Vec::new());
        assert!(matches!(result, Err(ExecutorError::Length { .. })), "{id}");
    }
}

#[test]
fn unknown_settings_and_absent_devices_are_named() {
    for id in EXECUTORS {
        let settings = Settings::from_iter([("precison".to_string(), "f32".into())]);
        let error = build(id, &settings, Device::Cpu, 1).err().expect(id).to_string();
        assert!(error.contains("precison"), "{id}: {error}");
    }
    let error = build("dfdx", &Settings::new(), Device::Cuda(0), 1).err().expect("no such build");
    assert!(error.to_string().contains("rebuild with --features cuda"), "{error}");
}
