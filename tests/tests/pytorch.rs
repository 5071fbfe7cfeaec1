//! Executors give what PyTorch gives, on one network with every primitive and awkward geometry.
//!
//! The expected numbers are those of PyTorch 2.15 for this program:
//!
//! ```python
//! import torch
//! from torch.nn import functional as F
//!
//! def fill(*shape):
//!     k = torch.arange(torch.Size(shape).numel())
//!     return ((k * 37 % 101) / 50.0 - 1.0).double().reshape(shape)
//!
//! names = ["first", "scale", "shift", "second", "depthwise", "matrix", "bias", "early", "early_bias"]
//! shapes = [(4, 1, 3, 2), (4,), (4,), (3, 4, 3, 3), (6, 1, 5, 5), (3, 6), (3,), (3, 4), (3,)]
//! params = [fill(*shape).requires_grad_() for shape in shapes]
//! first, scale, shift, second, depthwise, matrix, bias, early, early_bias = params
//!
//! images = fill(2, 2, 6, 5)
//! labels = torch.tensor([2, 0])
//! a = F.conv2d(images, first, stride=2, padding=(1, 2), groups=2)
//! b = F.relu(F.batch_norm(a, None, None, scale, shift, training=True, eps=1e-5))
//! c = F.conv2d(b, second, padding=2, dilation=2)
//! d = F.max_pool2d(c, 3, 2, 1) + F.avg_pool2d(c, 3, 2, 1, count_include_pad=False)
//! e = torch.cat([d, F.avg_pool2d(c, 3, 2, 1, count_include_pad=True)], 1)
//! f = F.interpolate(e, scale_factor=2, mode="nearest")
//! g = F.conv2d(f, depthwise, stride=3, padding=2, groups=6)
//! g = F.relu(F.batch_norm(g, None, None, training=True))
//! exit = F.linear(b.mean((2, 3)), early, early_bias)
//! last = F.linear(g.mean((2, 3)), matrix, bias)
//! (0.5 * F.cross_entropy(exit, labels) + F.cross_entropy(last, labels)).backward()
//! print(torch.cat([exit, last]).flatten().tolist())
//! print(F.cross_entropy(last, labels, reduction="sum").item())
//! for name, param in zip(names, params):
//!     g = param.grad.flatten()
//!     ramp = torch.arange(1, g.numel() + 1) / g.numel()
//!     print(f"{name} {(g * ramp).sum():.6e}, {(g * ramp**2).sum():.6e}, {g.norm():.6e}")
//! ```

use ghnas_core::registry::{BuildContext, Settings};
use ghnas_core::{
    Catalogue, Convolution, Images, Network, NetworkBuilder, NetworkError, ParamId, ParamRequest,
    Primitive, Shape, Weights, Window,
};
use {ghnas_executor_dfdx as _, ghnas_executor_native as _};

const LOGITS: [f64; 12] = [
    -0.817596, -0.55359, 0.656229, -0.790773, -0.555954, 0.640612, //
    -1.581091, -0.686389, 0.429558, -1.386045, -0.594989, 0.424599,
];

/// Of the last output, summed over the images.
const LOSS: f64 = 2.611642669570777;

/// Of each parameter's gradient: its sum weighted with (1 .. n) / n, its sum weighted with the
/// squares of these, its Euclidean norm.
const GRADIENTS: [(&str, [f64; 3]); 9] = [
    ("first", [-1.626008e-01, -5.984009e-02, 7.315626e-01]),
    ("scale", [-2.759321e-01, -4.215937e-01, 7.757637e-01]),
    ("shift", [1.654828e-01, 3.049245e-01, 6.926618e-01]),
    ("second", [-4.150124e-01, -2.867074e-01, 5.544465e-01]),
    ("depthwise", [8.862118e-02, 2.568403e-02, 2.895566e-01]),
    ("matrix", [4.663963e-01, 4.328457e-01, 5.133897e-01]),
    ("bias", [1.902256e-01, 2.280332e-01, 4.924111e-01]),
    ("early", [4.484737e-02, 4.630983e-02, 1.083301e-01]),
    ("early_bias", [8.321371e-02, 1.000799e-01, 2.133560e-01]),
];

fn fill(values: &mut [f32]) {
    for (k, value) in values.iter_mut().enumerate() {
        *value = ((k * 37 % 101) as f64 / 50.0 - 1.0) as f32;
    }
}

fn network() -> Result<Network, NetworkError> {
    fn request<'a>(name: &'a str, largest: &[usize]) -> ParamRequest<'a> {
        ParamRequest { name, kind: name, largest: largest.to_vec() }
    }
    let mut network = NetworkBuilder::new(Shape::new(2, 6, 5), 3);
    network.module("network");
    let mut node = network.node("all", vec![], true);
    let plain = Convolution {
        weight: ParamId(0),
        out_channels: 4,
        kernel: [3, 2],
        stride: 2,
        dilation: 1,
        padding: [1, 2],
        groups: 2,
    };
    let images = ghnas_core::ValueId::IMAGES;
    let a = node.conv2d(images, plain, request("first", &[4, 1, 3, 2]))?;
    let b = node.batch_norm_affine(a, request("scale", &[4]), request("shift", &[4]))?;
    let b = node.relu(b)?;
    let dilated = Convolution {
        out_channels: 3,
        kernel: [3, 3],
        stride: 1,
        dilation: 2,
        padding: [2, 2],
        groups: 1,
        ..plain
    };
    let c = node.conv2d(b, dilated, request("second", &[3, 4, 3, 3]))?;
    let window = Window { size: 3, stride: 2, padding: 1 };
    let (top, mean) = (node.max_pool(c, window)?, node.average_pool(c, window, false)?);
    let d = node.add(&[top, mean])?;
    let padded_mean = node.average_pool(c, window, true)?;
    let e = node.concat(&[d, padded_mean])?;
    let f = node.step(Primitive::Upsample { factor: 2 }, &[e])?;
    let depthwise = Convolution {
        out_channels: 6,
        kernel: [5, 5],
        stride: 3,
        padding: [2, 2],
        groups: 6,
        ..plain
    };
    let g = node.conv2d(f, depthwise, request("depthwise", &[6, 1, 5, 5]))?;
    let g = node.batch_norm(g)?;
    let g = node.relu(g)?;
    let pooled = node.step(Primitive::GlobalAveragePool, &[g])?;
    let last = node.linear(pooled, 3, request("matrix", &[3, 6]), request("bias", &[3]))?;
    let pooled = node.step(Primitive::GlobalAveragePool, &[b])?;
    let exit = node.linear(pooled, 3, request("early", &[3, 4]), request("early_bias", &[3]))?;
    network.output(exit, 0.5);
    network.output(last, 1.0);
    network.finish()
}

#[track_caller]
fn check(what: &str, got: f64, expected: f64) {
    assert!((got - expected).abs() <= 1e-5, "{what}: {got}, PyTorch has {expected}");
}

fn check_executor(id: &str) {
    let catalogue = Catalogue::built_in().unwrap();
    let context = BuildContext::new(&catalogue);
    let mut executor = catalogue.executors.build(id, &Settings::new(), &context).unwrap();
    let network = network().unwrap();
    let mut weights = Weights::zeros_for(network.params());
    for id in 0..network.params().len() {
        fill(weights.get_mut(ParamId(id as u32)));
    }
    let mut data = vec![0.0; 2 * network.input().elements()];
    fill(&mut data);
    let images = Images { data: &data, count: 2 };
    let (mut logits, mut gradients) = (Vec::new(), Weights::default());
    executor.evaluate(&network, &weights, images, &mut logits).unwrap();
    let loss =
        executor.loss_and_gradients(&network, &weights, images, &[2, 0], &mut gradients).unwrap();

    assert_eq!(logits.len(), LOGITS.len());
    for (at, (&got, expected)) in logits.iter().zip(LOGITS).enumerate() {
        check(&format!("{id}: logit {at}"), got.into(), expected);
    }
    check(&format!("{id}: loss"), loss.loss, LOSS);
    assert_eq!((loss.correct, loss.count), (1, 2), "{id}");
    for (name, [ramp, squares, norm]) in GRADIENTS {
        let suffix = format!(".{name}");
        let at = network.params().iter().position(|param| param.name.ends_with(&suffix)).unwrap();
        let gradient = gradients.get(ParamId(at as u32));
        let weighted = |power: i32| -> f64 {
            let count = gradient.len() as f64;
            let term = |(k, &g): (usize, &f32)| ((k + 1) as f64 / count).powi(power) * f64::from(g);
            gradient.iter().enumerate().map(term).sum()
        };
        let squared: f64 = gradient.iter().map(|&g| f64::from(g).powi(2)).sum();
        check(&format!("{id}: gradient of {name}, ramp"), weighted(1), ramp);
        check(&format!("{id}: gradient of {name}, squares"), weighted(2), squares);
        check(&format!("{id}: gradient of {name}, norm"), squared.sqrt(), norm);
    }
}

#[test]
fn dfdx_gives_what_pytorch_gives() {
    check_executor("dfdx");
}

#[test]
fn native_gives_what_pytorch_gives() {
    check_executor("native");
}
