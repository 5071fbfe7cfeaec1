//! A search space, generator, executor and searcher small enough to run a study in milliseconds.
//!
//! Networks are chains of linear layers, but the toy executor looks at their parameters alone:
//! a logit is a sum of weights times pixels, so that losses fall and gradients are exact.

mod searchers;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ghnas_core::executor::check_call;
use ghnas_core::loss::{LossSum, cross_entropy_gradient};
use ghnas_core::registry::{default_preset, from_settings, settings_of};
use ghnas_core::{
    Architecture, ArchitectureError, Catalogue, Device, Embed, Evolve, Executor, ExecutorError,
    Factory, GeneratorError, GeneratorState, Images, Motif, MotifNode, Network, NetworkBuilder,
    ParamRequest, Phase, Preset, Registration, SearchSpace, Settings, Shape, SpaceError,
    StateTensor, StepOptions, StepReport, Task, Ticket, ValueId, WeightGenerator, Weights, rng,
};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use self::searchers::{ToyEvolution, ToyHalving};
use crate::config::{Config, resolve};
use crate::data::{DataSet, ImageSetInfo, Source, Split};
use crate::observer::Clock;
use crate::parts::Parts;
use crate::spares::Spares;

/// A clock on which every look takes `pace` seconds.
pub(crate) struct Ticks {
    now: Cell<u64>,
    pub(crate) pace: Cell<u64>,
}

impl Default for Ticks {
    fn default() -> Self {
        Self { now: Cell::new(0), pace: Cell::new(1) }
    }
}

impl Clock for Ticks {
    fn now(&self) -> Duration {
        self.now.set(self.now.get() + self.pace.get());
        Duration::from_secs(self.now.get())
    }
}

/// The catalogue with the toys and the engine's own searcher.
pub(crate) fn catalogue() -> Catalogue {
    let mut catalogue = Catalogue::built_in().expect("ids are unique");
    for registration in registrations() {
        catalogue.add(&registration).expect("ids are unique");
    }
    catalogue
}

fn registrations() -> [Registration; 5] {
    let of =
        |id, presets, factory| Registration { id, summary: "", source: "toy", presets, factory };
    let space = Factory::SearchSpace(|settings, _| {
        Ok(Arc::new(ToySpace { settings: from_settings(settings)? }))
    });
    let generator =
        Factory::WeightGenerator(|_, context| Ok(Box::new(ToyGenerator::new(context.seed))));
    let executor = Factory::Executor(|_, _| Ok(Box::new(ToyExecutor)));
    let evolution = Factory::Searcher(|_, _| Ok(Box::new(ToyEvolution::default())));
    let halving = Factory::Searcher(|_, _| Ok(Box::new(ToyHalving::default())));
    [
        of("toy", space_presets as fn() -> Vec<Preset>, space),
        of("toy-generator", no_settings, generator),
        of("toy-executor", no_settings, executor),
        of("toy-evolution", no_settings, evolution),
        of("toy-halving", no_settings, halving),
    ]
}

fn space_presets() -> Vec<Preset> {
    let preset = |name: &str, settings: ToySettings| Preset {
        name: name.into(),
        settings: settings_of(&settings),
    };
    let ops = vec!["narrow".into(), "wide".into()];
    let small = ToySettings { nodes: 4, ops, evolves: None, repeats: 1 };
    let large = ToySettings { nodes: 9, ..small.clone() };
    vec![preset("small", small), preset("large", large)]
}

fn no_settings() -> Vec<Preset> {
    default_preset(&Settings::new())
}

/// A configuration of toys: 6 steps, 5 candidates, changed by `flags`.
pub(crate) fn config(flags: &[&str]) -> Config {
    let toys = [
        "space.id=toy",
        "generator.id=toy-generator",
        "executor.id=toy-executor",
        "data.augment=false",
        "train.steps=6",
        "train.batch=4",
        "train.learning_rate=0.05",
        "train.checkpoint_seconds=0",
        "search.candidates=5",
        "search.images=10",
        "search.batch=4",
    ];
    let flags: Vec<String> = toys.iter().chain(flags).map(|&flag| flag.into()).collect();
    resolve(&[] as &[&Path], &flags, &catalogue()).expect("the toys' config is right").config
}

/// The parts that `config` chooses, on toy images.
pub(crate) fn parts(config: &Config) -> Parts {
    Parts::with_data(data(0), config, &catalogue(), Device::Cpu, 1).expect("the toys are built")
}

/// Where as many more of the toys come from.
pub(crate) fn spares(threads: usize) -> Spares<'static> {
    static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(catalogue);
    Spares { catalogue: &CATALOGUE, device: Device::Cpu, threads }
}

/// Images of 1 x 2 x 2 pixels in two classes, 24 to train on and 12 to validate with.
pub(crate) fn data(seed: u64) -> DataSet {
    let info = ImageSetInfo {
        name: "toy".into(),
        shape: Shape::new(1, 2, 2),
        class_names: vec!["dark".into(), "bright".into()],
        mean: vec![128.0],
        deviation: vec![64.0],
    };
    let split = |purpose, count: usize| {
        let mut random = rng::stream(seed, purpose, 0);
        let labels: Vec<u16> = (0..count).map(|i| (i % 2) as u16).collect();
        let pixels = labels.iter().flat_map(|&label| {
            let pixel = |random: &mut _| {
                RngExt::random_range(random, 0..128u8) + if label == 1 { 96 } else { 0 }
            };
            [pixel(&mut random), pixel(&mut random), pixel(&mut random), pixel(&mut random)]
        });
        Split::new(&info, pixels.collect(), labels.clone()).expect("one label an image")
    };
    let (train, validation) = (split("toy-train", 24), split("toy-validation", 12));
    DataSet::new(info.clone(), Source::Excerpt, train, validation).expect("the shapes fit")
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ToySettings {
    /// Layers when scored; half of them when trained.
    nodes: usize,
    /// `narrow` and `wide` layers; `broken` and `foreign` ones fail.
    ops: Vec<String>,
    /// Whether there is mutation and crossover; unset for yes.
    evolves: Option<bool>,
    /// How often a network has the layers of its architecture, one after the other.
    repeats: usize,
}

struct ToySpace {
    settings: ToySettings,
}

/// A chain of the given operations.
pub(crate) fn chain(ops: &[&str]) -> Architecture {
    let nodes = ops.iter().enumerate().map(|(i, &op)| MotifNode::new(op, i.checked_sub(1)));
    let motif = Motif::new("chain", nodes.collect()).expect("a chain is a DAG");
    Architecture::new("toy", vec![motif]).canonical()
}

impl SearchSpace for ToySpace {
    fn id(&self) -> &str {
        "toy"
    }

    fn sample(&self, phase: Phase, seed: u64) -> Result<Architecture, SpaceError> {
        let ToySettings { nodes, ops, .. } = &self.settings;
        let nodes = if phase == Phase::Train { nodes.div_ceil(2) } else { *nodes };
        let mut random = rng::stream(seed, "toy-sample", 0);
        let chosen: Vec<&str> = (0..random.random_range(1..=nodes))
            .map(|_| ops[random.random_range(0..ops.len())].as_str())
            .collect();
        Ok(chain(&chosen))
    }

    /// Operations with `-` in between, or with `+`; or JSON.
    fn parse(&self, text: &str) -> Result<Architecture, ArchitectureError> {
        let arch = match text.starts_with('{') {
            true => text.parse()?,
            false => chain(&text.split(['-', '+']).collect::<Vec<_>>()),
        };
        self.validate(&arch)?;
        Ok(arch)
    }

    fn format(&self, arch: &Architecture) -> String {
        ops_of(arch).join("-")
    }

    fn validate(&self, arch: &Architecture) -> Result<(), ArchitectureError> {
        let ops = arch.motifs().iter().flat_map(|motif| motif.nodes()).map(|node| &node.op);
        for op in ops {
            if !["narrow", "wide", "broken", "foreign"].contains(&op.as_str()) {
                return Err(ArchitectureError::Shape(format!("no operation '{op}'")));
            }
        }
        Ok(())
    }

    fn lower(&self, arch: &Architecture, task: Task) -> Result<Network, SpaceError> {
        self.validate(arch)?;
        let mut network = NetworkBuilder::new(task.image, task.classes);
        let mut value = ValueId::IMAGES;
        for repeat in 0..self.settings.repeats {
            network.module(&if repeat == 0 { "chain".into() } else { format!("chain{repeat}") });
            for node in arch.motifs()[0].nodes() {
                let width = if node.op == "wide" { 3 } else { 2 };
                let inputs: Vec<usize> = node.inputs.iter().map(|edge| edge.from()).collect();
                let entry = inputs.is_empty();
                value = layer(&mut network, value, (&node.op, width, inputs, entry))?;
            }
        }
        let last = arch.motifs()[0].nodes().len() - 1;
        let logits = layer(&mut network, value, ("head", task.classes, vec![last], false))?;
        network.output(logits, 1.0);
        Ok(network.finish()?)
    }

    fn evolve(&self) -> Option<&dyn Evolve> {
        self.settings.evolves.unwrap_or(true).then_some(self)
    }
}

fn layer(
    network: &mut NetworkBuilder,
    input: ValueId,
    (op, width, inputs, entry): (&str, usize, Vec<usize>, bool),
) -> Result<ValueId, SpaceError> {
    let mut node = network.node(op, inputs, entry);
    let matrix = ParamRequest { name: "matrix", kind: "matrix", largest: vec![4, 4] };
    let bias = ParamRequest { name: "bias", kind: "bias", largest: vec![4] };
    Ok(node.linear(input, width, matrix, bias)?)
}

fn ops_of(arch: &Architecture) -> Vec<&str> {
    arch.motifs()[0].nodes().iter().map(|node| node.op.as_str()).collect()
}

impl Evolve for ToySpace {
    fn mutate(&self, arch: &Architecture, seed: u64) -> Result<Architecture, SpaceError> {
        let mut ops = ops_of(arch);
        let place = rng::stream(seed, "toy-mutate", 0).random_range(0..ops.len());
        ops[place] = if ops[place] == "wide" { "narrow" } else { "wide" };
        Ok(chain(&ops))
    }

    fn cross(
        &self,
        first: &Architecture,
        second: &Architecture,
        _: u64,
    ) -> Result<Architecture, SpaceError> {
        Ok(chain(&[&ops_of(first)[..1], &ops_of(second)[1..]].concat()))
    }
}

/// A table of values for each kind of parameter, from which weights are read in turn; trained by
/// descent with momentum.
struct ToyGenerator {
    seed: u64,
    values: BTreeMap<String, Vec<f32>>,
    momentum: BTreeMap<String, Vec<f32>>,
    gradient: BTreeMap<String, Vec<f32>>,
    tickets: BTreeMap<u64, Vec<(String, usize)>>,
    next_ticket: u64,
    steps: u64,
}

impl ToyGenerator {
    fn new(seed: u64) -> Self {
        let empty = BTreeMap::new;
        let (values, momentum, gradient) = (empty(), empty(), empty());
        let tickets = BTreeMap::new();
        Self { seed, values, momentum, gradient, tickets, next_ticket: 0, steps: 0 }
    }
}

impl WeightGenerator for ToyGenerator {
    fn generate(
        &mut self,
        network: &Network,
        weights: &mut Weights,
    ) -> Result<Ticket, GeneratorError> {
        self.predict(network, weights)?;
        let params = network.params().iter().map(|param| (param.kind.clone(), param.len()));
        self.next_ticket += 1;
        self.tickets.insert(self.next_ticket, params.collect());
        Ok(Ticket(self.next_ticket))
    }

    fn predict(&mut self, network: &Network, weights: &mut Weights) -> Result<(), GeneratorError> {
        for (index, param) in (0..).zip(network.params()) {
            let values = self.values.entry(param.kind.clone()).or_insert_with(|| {
                let mut random = rng::stream(self.seed, &param.kind, 0);
                (0..8).map(|_| random.random_range(-0.5..0.5)).collect()
            });
            let made = weights.get_mut(ghnas_core::ParamId(index)).iter_mut();
            made.zip(values.iter().cycle()).for_each(|(weight, value)| *weight = *value);
        }
        Ok(())
    }

    fn vjp(&mut self, ticket: Ticket, gradients: &Weights) -> Result<(), GeneratorError> {
        let params = self.tickets.remove(&ticket.0).ok_or(GeneratorError::Ticket(ticket.0))?;
        for (index, (kind, _)) in (0..).zip(params) {
            let sum = self.gradient.entry(kind).or_insert_with(|| vec![0.0; 8]);
            let values = gradients.get(ghnas_core::ParamId(index));
            values.iter().enumerate().for_each(|(i, value)| sum[i % 8] += value);
        }
        Ok(())
    }

    fn discard(&mut self, ticket: Ticket) {
        self.tickets.remove(&ticket.0);
    }

    fn step(&mut self, options: StepOptions) -> Result<StepReport, GeneratorError> {
        assert!(self.tickets.is_empty(), "every ticket is redeemed or discarded");
        let gradient = std::mem::take(&mut self.gradient);
        let squares = gradient.values().flatten().map(|value| f64::from(*value).powi(2));
        let gradient_norm = squares.sum::<f64>().sqrt();
        for (kind, gradient) in gradient {
            let momentum = self.momentum.entry(kind.clone()).or_insert_with(|| vec![0.0; 8]);
            let values = self.values.get_mut(&kind).expect("its weights were generated");
            for ((value, momentum), gradient) in values.iter_mut().zip(momentum).zip(gradient) {
                *momentum = 0.9 * *momentum + gradient;
                *value -= options.learning_rate as f32 * *momentum;
            }
        }
        self.steps += 1;
        Ok(StepReport { gradient_norm, applied: true })
    }

    fn parameter_count(&self) -> usize {
        self.values.len() * 8
    }

    fn save(&self) -> Result<GeneratorState, GeneratorError> {
        let mut state = GeneratorState::default();
        for (prefix, tables) in [("value", &self.values), ("momentum", &self.momentum)] {
            for (kind, data) in tables {
                let tensor = StateTensor { shape: vec![2, 4], data: data.clone() };
                state.tensors.insert(format!("{prefix}.{kind}"), tensor);
            }
        }
        // Two entries, because the order of several is what a file format may lose.
        state.entries.insert("steps".into(), self.steps.to_string());
        state.entries.insert("next_ticket".into(), self.next_ticket.to_string());
        Ok(state)
    }

    fn load(&mut self, state: &GeneratorState) -> Result<(), GeneratorError> {
        let missing = |name: &str| GeneratorError::State {
            name: name.into(),
            reason: "missing or no number".into(),
        };
        let number = |name: &str| {
            let text = state.entries.get(name);
            text.and_then(|text| text.parse().ok()).ok_or_else(|| missing(name))
        };
        (self.steps, self.next_ticket) = (number("steps")?, number("next_ticket")?);
        (self.values, self.momentum) = (BTreeMap::new(), BTreeMap::new());
        for (name, tensor) in &state.tensors {
            let (prefix, kind) = name.split_once('.').ok_or_else(|| missing(name))?;
            let table = if prefix == "value" { &mut self.values } else { &mut self.momentum };
            table.insert(kind.into(), tensor.data.clone());
        }
        Ok(())
    }

    fn embed(&mut self) -> Option<&mut dyn Embed> {
        Some(self)
    }
}

/// The first value of each kind of parameter; not a number for a network with a `broken` layer.
impl Embed for ToyGenerator {
    fn embedding(&mut self, network: &Network) -> Result<Vec<f32>, GeneratorError> {
        let mut weights = Weights::zeros_for(network.params());
        self.predict(network, &mut weights)?;
        let first = self.values.values().map(|values| values[0]);
        Ok(match ToyExecutor::has(network, "broken") {
            true => vec![f32::NAN],
            false => first.collect(),
        })
    }
}

/// Logit `c` of an image is the sum of weights times pixels, turned by `c`.
struct ToyExecutor;

impl ToyExecutor {
    fn feature(image: &[f32], weight: usize, class: usize) -> f32 {
        image[(weight + class) % image.len()] * (1.0 + ((weight * 7 + class) % 3) as f32) * 0.1
    }

    fn has(network: &Network, op: &str) -> bool {
        network.modules().iter().flat_map(|module| &module.nodes).any(|node| node.op == op)
    }
}

impl Executor for ToyExecutor {
    fn evaluate(
        &mut self,
        network: &Network,
        weights: &Weights,
        images: Images<'_>,
        logits: &mut Vec<f32>,
    ) -> Result<(), ExecutorError> {
        check_call(network, weights, images, None)?;
        if Self::has(network, "foreign") {
            let reason = "it is foreign".into();
            return Err(ExecutorError::Unsupported { step: 0, primitive: "linear", reason });
        }
        logits.clear();
        for image in images.data.chunks_exact(network.input().elements()) {
            for class in 0..network.classes() {
                let terms = weights.as_slice().iter().enumerate();
                let sum: f32 = terms.map(|(i, w)| w * Self::feature(image, i, class)).sum();
                logits.push(if Self::has(network, "broken") { f32::NAN } else { sum });
            }
        }
        Ok(())
    }

    fn loss_and_gradients(
        &mut self,
        network: &Network,
        weights: &Weights,
        images: Images<'_>,
        labels: &[u16],
        gradients: &mut Weights,
    ) -> Result<LossSum, ExecutorError> {
        check_call(network, weights, images, Some(labels))?;
        let mut logits = Vec::new();
        self.evaluate(network, weights, images, &mut logits)?;
        let mut slopes = vec![0.0; logits.len()];
        let classes = network.classes();
        let sum = cross_entropy_gradient(&logits, labels, classes, 1.0, &mut slopes);
        let rows = images.data.chunks_exact(network.input().elements());
        for (image, slopes) in rows.zip(slopes.chunks_exact(classes)) {
            for (i, gradient) in gradients.as_mut_slice().iter_mut().enumerate() {
                let terms = slopes.iter().enumerate();
                *gradient +=
                    terms.map(|(c, slope)| slope * Self::feature(image, i, c)).sum::<f32>();
            }
        }
        Ok(sum)
    }
}
