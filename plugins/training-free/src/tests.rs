//! Proxies against PyTorch, executors and the laws they obey.

use ghnas_core::{
    BuildContext, Catalogue, Convolution, Executor, Images, Network, NetworkBuilder, NodeBuilder,
    ParamId, ParamRequest, Primitive, Settings, Shape, ValueId, Weights, Window,
};
use ghnas_executor_native::{NativeExecutor, NativeSettings};
use ghnas_tests::random_network;

use crate::forward::run;
use crate::naswot::{Codes, log_determinant};
use crate::synflow::response;

/// `((i * factor) % modulus - centre) / scale` for i from 0: numbers that PyTorch has exactly too.
fn pattern(values: &mut [f32], [factor, modulus, centre, scale]: [i32; 4]) {
    for (i, value) in values.iter_mut().enumerate() {
        *value = ((i as i32 * factor) % modulus - centre) as f32 / scale as f32;
    }
}

fn request(name: &str) -> ParamRequest<'_> {
    ParamRequest { name, kind: name, largest: vec![8; 4] }
}

fn conv(
    node: &mut NodeBuilder<'_>,
    input: ValueId,
    name: &str,
    [out_channels, kernel, stride, groups]: [usize; 4],
) -> ValueId {
    let geometry = Convolution {
        weight: ParamId(0),
        out_channels,
        kernel: [kernel; 2],
        stride,
        dilation: 1,
        padding: [kernel / 2; 2],
        groups,
    };
    node.conv2d(input, geometry, request(name)).unwrap()
}

fn classify(node: &mut NodeBuilder<'_>, input: ValueId, classes: usize) -> ValueId {
    let pooled = node.step(Primitive::GlobalAveragePool, &[input]).unwrap();
    let largest = vec![classes, node.shape(pooled).channels];
    let matrix = ParamRequest { name: "matrix", kind: "matrix", largest };
    let bias = ParamRequest { name: "bias", kind: "bias", largest: vec![classes] };
    node.linear(pooled, classes, matrix, bias).unwrap()
}

/// In PyTorch, with `norm` the batch norm without parameters in training mode:
///
/// ```text
/// a = relu(norm(conv2d(x, w1, padding=1)))
/// d = norm(conv2d(a, w2, stride=2, padding=1, groups=4))
/// r = relu(max_pool2d(a, 3, 2, 1) + d)
/// p = avg_pool2d(r, 3, 1, 1, count_include_pad=False)
/// linear(cat([r, p], 1).mean((2, 3)), wl)
/// ```
fn small_network() -> (Network, Weights) {
    let mut builder = NetworkBuilder::new(Shape::new(3, 6, 6), 3);
    builder.module("body");
    let mut node = builder.node("all", vec![], true);
    let a = conv(&mut node, ValueId::IMAGES, "w1", [4, 3, 1, 1]);
    let a = node.batch_norm(a).unwrap();
    let a = node.relu(a).unwrap();
    let d = conv(&mut node, a, "w2", [4, 3, 2, 4]);
    let d = node.batch_norm(d).unwrap();
    let m = node.max_pool(a, Window { size: 3, stride: 2, padding: 1 }).unwrap();
    let r = node.add(&[m, d]).unwrap();
    let r = node.relu(r).unwrap();
    let p = node.average_pool(r, Window { size: 3, stride: 1, padding: 1 }, false).unwrap();
    let c = node.concat(&[r, p]).unwrap();
    let logits = classify(&mut node, c, 3);
    builder.output(logits, 1.0);
    let network = builder.finish().unwrap();
    let mut weights = Weights::zeros_for(network.params());
    let patterns = [[37, 101, 50, 64], [41, 103, 51, 64], [43, 107, 53, 64]];
    for (id, numbers) in patterns.into_iter().enumerate() {
        pattern(weights.get_mut(ParamId(id as u32)), numbers);
    }
    (network, weights)
}

/// PyTorch 2.15 in f64: K = sum over rectifiers of c c^T + (1 - c)(1 - c)^T, numpy.linalg.slogdet.
#[test]
fn naswot_is_that_of_pytorch() {
    let (network, weights) = small_network();
    let mut images = vec![0.0; 5 * 3 * 6 * 6];
    pattern(&mut images, [53, 97, 48, 32]);
    let score = log_determinant(&network, &weights, &images).unwrap();
    assert!((score - 17.99097712213532).abs() < 1e-10, "{score}");
}

/// PyTorch 2.15 in f64, without norm, weights replaced by their magnitudes, an image of ones: R is
/// the sum of the logits, the flow the sum of |w dR/dw| over all weights.
#[test]
fn synflow_is_that_of_pytorch() {
    let (network, weights) = small_network();
    let got = response(&network, &weights);
    assert!((got.value - 401.04271365978104).abs() < 1e-9, "{got:?}");
    assert!((got.slope - 1091.1474280887178).abs() < 1e-9, "{got:?}");
}

#[test]
fn logits_are_those_of_the_native_executor() {
    let mut executor = NativeExecutor::new(NativeSettings::default(), 1).unwrap();
    for seed in 0..40 {
        let case = random_network(seed);
        let mut expect = Vec::new();
        executor.evaluate(&case.network, &case.weights, case.batch(), &mut expect).unwrap();
        let mut codes = Codes::new(case.labels.len());
        let got = run(&case.network, &case.weights, case.images.clone(), &mut codes).concat();
        let scale = expect.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        assert_eq!(got.len(), expect.len());
        for (got, expect) in got.iter().zip(&expect) {
            assert!((got - expect).abs() <= 1e-4 * scale, "seed {seed}: {got}, {expect}");
        }
    }
}

/// The flow is the derivative of R when all parameters are scaled together.
#[test]
fn flow_is_the_slope_of_the_response() {
    const STEP: f32 = 1.0 / (1 << 12) as f32;
    for seed in 0..40 {
        let case = random_network(seed);
        let scaled = |factor: f32| {
            let mut weights = case.weights.clone();
            weights.as_mut_slice().iter_mut().for_each(|value| *value *= factor);
            response(&case.network, &weights).value
        };
        let slope = (scaled(1.0 + STEP) - scaled(1.0 - STEP)) / f64::from(2.0 * STEP);
        let got = response(&case.network, &case.weights);
        // Scaled weights are rounded to f32, which the step magnifies to about 2e-4.
        assert!((got.slope - slope).abs() <= 2e-3 * slope, "seed {seed}: {got:?}, {slope}");
    }
}

/// Tanaka et al. 2020, theorem 1: in a chain, the flow of each layer is R.
#[test]
fn layers_of_a_chain_conserve_the_flow() {
    for depth in 1..=5 {
        let mut builder = NetworkBuilder::new(Shape::new(2, 7, 5), 4);
        builder.module("chain");
        let mut node = builder.node("all", vec![], true);
        let mut value = ValueId::IMAGES;
        for layer in 0..depth {
            let (name, kernel) = (format!("w{layer}"), [1, 3, 5][layer % 3]);
            value = conv(&mut node, value, &name, [3 + layer, kernel, 1 + layer % 2, 1]);
            value = node.relu(value).unwrap();
        }
        let logits = classify(&mut node, value, 4);
        builder.output(logits, 1.0);
        let network = builder.finish().unwrap();
        let weights = crate::initial::he_normal(&network, depth as u64);
        let whole = response(&network, &weights);
        let layers = depth as f64 + 1.0;
        assert!((whole.slope - layers * whole.value).abs() < 1e-9 * whole.slope, "{whole:?}");
        // R is linear in each layer, so its flow is what R gains when the layer is doubled.
        for layer in 0..=depth {
            let mut doubled = weights.clone();
            doubled.get_mut(ParamId(layer as u32)).iter_mut().for_each(|value| *value *= 2.0);
            let flow = response(&network, &doubled).value - whole.value;
            assert!((flow - whole.value).abs() < 1e-9 * whole.value, "layer {layer}: {flow}");
        }
    }
}

fn score(
    id: &str,
    seed: u64,
    threads: usize,
    network: &Network,
    images: Images<'_>,
) -> Result<f64, String> {
    let catalogue = Catalogue::built_in().unwrap();
    let context = BuildContext { seed, threads, ..BuildContext::new(&catalogue) };
    let mut proxy = catalogue.proxies.build(id, &Settings::new(), &context).unwrap();
    proxy.score(network, images).map_err(|error| error.to_string())
}

#[test]
fn scores_do_not_depend_on_threads_but_on_the_seed() {
    let case = random_network(3);
    for (id, drawn) in
        [("params", false), ("multiply-adds", false), ("naswot", true), ("synflow", true)]
    {
        let score = |seed, threads| score(id, seed, threads, &case.network, case.batch()).unwrap();
        assert_eq!(score(1, 1).to_bits(), score(1, 3).to_bits(), "{id}");
        assert_eq!(score(1, 1) != score(2, 1), drawn, "{id}");
    }
    let params = score("params", 0, 1, &case.network, case.batch());
    assert_eq!(params, Ok(case.network.param_count() as f64));
}

/// A network of one layer, whose logits are cut off from the image where `zero` says so.
fn one_layer(rectified: bool, zero: bool) -> Network {
    let mut builder = NetworkBuilder::new(Shape::new(1, 4, 4), 2);
    builder.module("body");
    let mut node = builder.node("all", vec![], true);
    let mut value = conv(&mut node, ValueId::IMAGES, "w", [2, 3, 1, 1]);
    if rectified {
        value = node.relu(value).unwrap();
    }
    if zero {
        value = node.step(Primitive::Zero { stride: 1 }, &[value]).unwrap();
    }
    let logits = classify(&mut node, value, 2);
    builder.output(logits, 1.0);
    builder.finish().unwrap()
}

#[test]
fn networks_without_a_score_say_why() {
    let mut pixels = [0.0; 48];
    pattern(&mut pixels, [53, 97, 48, 32]);
    let naswot = |network: &Network, data: &[f32], count| {
        score("naswot", 0, 1, network, Images { data, count }).unwrap_err()
    };
    let plain = one_layer(true, false);
    let error = naswot(&one_layer(false, false), &pixels, 3);
    assert!(error.contains("no rectifier"), "{error}");
    assert!(naswot(&plain, &pixels[..16], 1).contains("it takes 2"));
    assert!(naswot(&plain, &pixels, 2).contains("48 values for 2 images of 1x4x4"));
    let mut twice = pixels;
    twice.copy_within(16..32, 32);
    let error = naswot(&plain, &twice, 3);
    assert!(error.starts_with("images 1 and 2 have the same code"), "{error}");
    twice[20] = f32::NAN;
    assert_eq!(naswot(&plain, &twice, 3), "image 1 has a value that is not finite");
    twice[16..32].fill(f32::MAX);
    assert_eq!(naswot(&plain, &twice, 3), "its activations are not finite");
    let error = score("synflow", 0, 1, &one_layer(true, true), Images { data: &pixels, count: 3 })
        .unwrap_err();
    assert!(error.contains("every path is cut"), "{error}");
}

/// Four codes of two units differ, but span too little.
#[test]
fn a_singular_kernel_is_no_score() {
    use crate::forward::Rules;
    let mut codes = Codes::new(4);
    codes.rectifier(&[-1.0, -1.0, -1.0, 1.0, 1.0, -1.0, 1.0, 1.0], 2);
    let error = codes.log_determinant().unwrap_err();
    assert_eq!(error.0, "the kernel of its codes is singular; use fewer images");
}

#[test]
fn a_flow_beyond_all_numbers_is_no_score() {
    let mut builder = NetworkBuilder::new(Shape::new(1, 1, 1), 2);
    builder.module("body");
    let mut node = builder.node("all", vec![], true);
    let mut value = ValueId::IMAGES;
    // The sum of 4096 equal values grows by the factor 4096 at each of 100 additions.
    for _ in 0..100 {
        value = node.step(Primitive::Add, &vec![value; 4096]).unwrap();
    }
    let logits = classify(&mut node, value, 2);
    builder.output(logits, 1.0);
    let network = builder.finish().unwrap();
    let error = score("synflow", 0, 1, &network, Images { data: &[0.0], count: 1 }).unwrap_err();
    assert_eq!(error, "its synaptic flow exceeds the range of numbers");
}

#[test]
fn settings_are_checked() {
    let catalogue = Catalogue::built_in().unwrap();
    let context = BuildContext::new(&catalogue);
    let refuse = |id: &str, key: &str, value: i64| {
        let settings = Settings::from_iter([(key.to_string(), value.into())]);
        let built = catalogue.proxies.build(id, &settings, &context);
        built.err().expect("the settings are wrong").to_string()
    };
    assert!(refuse("naswot", "batch", 1).contains("batch = 1"));
    assert!(refuse("naswot", "bach", 8).contains("unknown field `bach`"));
    for id in ["params", "multiply-adds", "synflow"] {
        assert!(refuse(id, "batch", 8).contains("unknown field `batch`"), "{id}");
    }
}
