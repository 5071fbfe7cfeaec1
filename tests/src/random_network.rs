//! Random small networks in which every primitive occurs, with all of its options.

use ghnas_core::rng::stream;
use ghnas_core::{
    Convolution, Images, Network, NetworkBuilder, NetworkError, NodeBuilder, ParamId, ParamRequest,
    ParamRole, Primitive, Shape, ValueId, Weights, Window,
};
use rand::RngExt;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;

/// A network, and all that it takes to run it.
#[derive(Debug, Clone)]
pub struct Case {
    /// The network.
    pub network: Network,
    /// Weights that keep activations near one.
    pub weights: Weights,
    /// A batch, [labels, network input].
    pub images: Vec<f32>,
    /// One label an image.
    pub labels: Vec<u16>,
}

impl Case {
    /// Random weights and a random batch of `count` images for `network`.
    pub fn new(network: Network, count: usize, seed: u64) -> Self {
        let mut rng = stream(seed, "case", 0);
        let mut weights = Weights::zeros_for(network.params());
        for (id, param) in network.params().iter().enumerate() {
            let (centre, spread) = match param.role {
                ParamRole::Kernel | ParamRole::Matrix => (0.0, (3.0 / param.fan_in as f32).sqrt()),
                ParamRole::Shift => (0.0, 0.5),
                ParamRole::Scale => (1.0, 0.5),
            };
            for value in weights.get_mut(ParamId(id as u32)) {
                *value = centre + spread * rng.random_range(-1.0..1.0f32);
            }
        }
        let length = count * network.input().elements();
        let images = (0..length).map(|_| rng.random_range(-2.0..2.0f32)).collect();
        let labels = (0..count).map(|_| rng.random_range(0..network.classes() as u16)).collect();
        Self { network, weights, images, labels }
    }

    /// The batch as executors take it.
    pub fn batch(&self) -> Images<'_> {
        Images { data: &self.images, count: self.labels.len() }
    }
}

/// A network with every primitive at least once and one to three outputs; a function of `seed`.
///
/// Each value that nothing else reads flows into the last output, so that every parameter has a
/// gradient.
pub fn random_network(seed: u64) -> Case {
    let mut rng = stream(seed, "random network", 0);
    let side = 5..=9;
    let input =
        Shape::new(rng.random_range(1..=4), rng.random_range(side.clone()), rng.random_range(side));
    let classes = rng.random_range(2..=5);
    let mut builder = NetworkBuilder::new(input, classes);
    builder.module("body");
    let mut draw = Draw { rng, values: vec![ValueId::IMAGES], read: vec![false] };
    let mut kinds = Kind::ALL.to_vec();
    kinds.shuffle(&mut draw.rng);
    // Common operations once more, on what the others made.
    kinds.extend([Kind::Conv2d, Kind::BatchNorm, Kind::Conv2d, Kind::Add]);
    for (position, kind) in kinds.into_iter().enumerate() {
        let mut node = builder.node(format!("op{position}"), vec![], true);
        let made = draw.node(kind, &mut node).expect("choices are checked before they are made");
        draw.values.push(made);
        draw.read.push(false);
    }
    let extra = draw.rng.random_range(0..=2);
    for exit in 0..extra {
        let value = draw.recent();
        head(&mut builder, &format!("exit{exit}"), &[value], classes, 0.25 + exit as f32);
    }
    let unread: Vec<ValueId> =
        draw.values.iter().zip(&draw.read).filter(|&(_, &read)| !read).map(|(&v, _)| v).collect();
    head(&mut builder, "head", &unread, classes, 1.0);
    let network = builder.finish().expect("every step was checked when it was added");
    Case::new(network, draw.rng.random_range(3..=5), seed)
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Conv2d,
    Depthwise,
    BatchNorm,
    AffineBatchNorm,
    Relu,
    MaxPool,
    AveragePool,
    GlobalAveragePool,
    Linear,
    Add,
    Concat,
    Upsample,
    Zero,
}

impl Kind {
    const ALL: [Self; 13] = [
        Self::Conv2d,
        Self::Depthwise,
        Self::BatchNorm,
        Self::AffineBatchNorm,
        Self::Relu,
        Self::MaxPool,
        Self::AveragePool,
        Self::GlobalAveragePool,
        Self::Linear,
        Self::Add,
        Self::Concat,
        Self::Upsample,
        Self::Zero,
    ];
}

/// The most values that a convolution reads or writes for one image.
const MOST_ELEMENTS: usize = 600;

/// Draws what a node computes and from what.
struct Draw {
    rng: ChaCha8Rng,
    /// The images, and the values that the nodes made.
    values: Vec<ValueId>,
    /// Whether a node reads them.
    read: Vec<bool>,
}

impl Draw {
    /// Writes one node of a kind and returns its value.
    fn node(&mut self, kind: Kind, node: &mut NodeBuilder<'_>) -> Result<ValueId, NetworkError> {
        let fits = |node: &NodeBuilder<'_>, kind: Kind, value: ValueId| {
            let shape = node.shape(value);
            match kind {
                Kind::Upsample => shape.pixels() <= 36,
                // Over one pixel a kernel is but a linear layer.
                Kind::Conv2d | Kind::Depthwise => {
                    shape.pixels() > 4 && shape.elements() <= MOST_ELEMENTS
                }
                // Over a handful of values a batch norm turns rounding errors into gradients.
                Kind::BatchNorm | Kind::AffineBatchNorm => shape.pixels() > 4,
                Kind::MaxPool | Kind::AveragePool => shape.pixels() > 4,
                Kind::Linear => shape.elements() <= 200,
                _ => true,
            }
        };
        let input = loop {
            let value = self.recent();
            // The images fit every kind but upsampling and, sometimes, a linear layer.
            let last_resort = matches!(kind, Kind::Upsample | Kind::Linear)
                && self.values.iter().all(|&value| !fits(node, kind, value));
            if fits(node, kind, value) || last_resort {
                break value;
            }
        };
        self.mark(input);
        match kind {
            Kind::Conv2d => self.conv2d(node, input, false),
            Kind::Depthwise => self.conv2d(node, input, true),
            Kind::BatchNorm => node.batch_norm(input),
            Kind::AffineBatchNorm => {
                let channels = vec![node.shape(input).channels];
                let scale = request("scale", &channels);
                node.batch_norm_affine(input, scale, request("shift", &channels))
            }
            Kind::Relu => node.relu(input),
            Kind::MaxPool => {
                let window = self.window(node.shape(input));
                node.max_pool(input, window)
            }
            Kind::AveragePool => {
                let window = self.window(node.shape(input));
                node.average_pool(input, window, self.rng.random_bool(0.5))
            }
            Kind::GlobalAveragePool => node.step(Primitive::GlobalAveragePool, &[input]),
            Kind::Linear => {
                let out_features = self.rng.random_range(1..=6);
                let matrix = vec![out_features, node.shape(input).elements()];
                let bias = request("bias", &[out_features]);
                node.linear(input, out_features, request("matrix", &matrix), bias)
            }
            Kind::Add => {
                let others = self.partners(node, input, |a, b| a == b);
                node.step(Primitive::Add, &others)
            }
            Kind::Concat => {
                let same = |a: Shape, b: Shape| (a.height, a.width) == (b.height, b.width);
                let others = self.partners(node, input, same);
                node.step(Primitive::Concat, &others)
            }
            Kind::Upsample => {
                let factor = self.rng.random_range(1..=3);
                node.step(Primitive::Upsample { factor }, &[input])
            }
            Kind::Zero => {
                // Zeros alone would leave a batch norm behind them nothing but rounding errors,
                // so they are added to the input itself, thinned out to the same shape.
                let stride = self.rng.random_range(1..=3);
                let zeros = node.step(Primitive::Zero { stride }, &[input])?;
                let thinned = node.max_pool(input, Window { size: 1, stride, padding: 0 })?;
                node.step(Primitive::Add, &[zeros, thinned])
            }
        }
    }

    /// One of the values, a late one more often than an early one.
    fn recent(&mut self) -> ValueId {
        let count = self.values.len();
        let position = self.rng.random_range(0..count).max(self.rng.random_range(0..count));
        self.values[position]
    }

    /// `input` and up to two more values that go with it, the same one perhaps again.
    fn partners(
        &mut self,
        node: &NodeBuilder<'_>,
        input: ValueId,
        together: impl Fn(Shape, Shape) -> bool,
    ) -> Vec<ValueId> {
        let with = |&value: &ValueId| together(node.shape(input), node.shape(value));
        let candidates: Vec<ValueId> = self.values.iter().copied().filter(with).collect();
        let mut inputs = vec![input];
        for _ in 0..self.rng.random_range(0..=2) {
            inputs.push(*candidates.choose(&mut self.rng).expect("the input is one of them"));
        }
        inputs.iter().for_each(|&value| self.mark(value));
        inputs
    }

    fn mark(&mut self, value: ValueId) {
        let position = self.values.iter().position(|&known| known == value);
        self.read[position.expect("inputs are drawn from the values")] = true;
    }

    fn conv2d(
        &mut self,
        node: &mut NodeBuilder<'_>,
        input: ValueId,
        depthwise: bool,
    ) -> Result<ValueId, NetworkError> {
        let shape = node.shape(input);
        let divisors = (1..=shape.channels).filter(|n| shape.channels.is_multiple_of(*n));
        let divisors: Vec<usize> = divisors.collect();
        let groups = match depthwise {
            true => shape.channels,
            false => *divisors.choose(&mut self.rng).expect("one divides everything"),
        };
        loop {
            // A depthwise convolution may have two filters a channel.
            let filters = self.rng.random_range(1..=if depthwise { 2 } else { 4 });
            let mut draw = |range: std::ops::RangeInclusive<usize>| self.rng.random_range(range);
            let geometry = Convolution {
                weight: ParamId(0),
                out_channels: groups * filters,
                kernel: [draw(1..=5), draw(1..=5)],
                stride: draw(1..=3),
                dilation: draw(1..=2),
                padding: [draw(0..=3), draw(0..=3)],
                groups,
            };
            let Ok(output) = Primitive::Conv2d(geometry).infer(&[shape]) else { continue };
            // One filter of one tap is always small enough, so this ends.
            if output.elements() <= MOST_ELEMENTS {
                let [rows, columns] = geometry.kernel;
                let largest = [output.channels, shape.channels / groups, rows, columns];
                return node.conv2d(input, geometry, request("kernel", &largest));
            }
        }
    }

    fn window(&mut self, shape: Shape) -> Window {
        loop {
            let size = self.rng.random_range(1..=4);
            let (stride, padding) = (self.rng.random_range(1..=3), self.rng.random_range(0..size));
            let window = Window { size, stride, padding };
            if Primitive::MaxPool(window).infer(&[shape]).is_ok() {
                return window;
            }
        }
    }
}

/// Adds a module that pools and joins `values`, and classifies.
fn head(builder: &mut NetworkBuilder, name: &str, values: &[ValueId], classes: usize, weight: f32) {
    builder.module(name);
    let mut node = builder.node("head", vec![], true);
    let pool = |value: &ValueId| node.step(Primitive::GlobalAveragePool, &[*value]);
    let pooled: Result<Vec<ValueId>, NetworkError> = values.iter().map(pool).collect();
    let logits = pooled.and_then(|pooled| {
        let joined = node.concat(&pooled)?;
        let matrix = [classes, node.shape(joined).channels];
        node.linear(joined, classes, request("matrix", &matrix), request("bias", &[classes]))
    });
    builder.output(logits.expect("pooled values can be joined and classified"), weight);
}

/// A parameter of a kind of its own, generated in the size it has.
fn request<'a>(name: &'a str, shape: &[usize]) -> ParamRequest<'a> {
    ParamRequest { name, kind: name, largest: shape.to_vec() }
}
