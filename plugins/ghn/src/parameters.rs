//! The GHN's own parameters, in host memory: values, averages, gradients and Adam's moments.
//!
//! They grow: an operation's embedding and a kind's output branch are made when they are first
//! seen, from a stream of randomness that is named by them. So what a new operation adds neither
//! disturbs what is there nor depends on when it came.

use std::collections::BTreeMap;
use std::sync::Arc;

use ghnas_core::rng;
use ghnas_core::{Averaging, GeneratorError, ParamRole, ParamSpec, StepOptions, StepReport};
use rand::Rng;

use crate::adam::{self, Moments, Move, sums_of_squares};
use crate::pass::Values;
use crate::settings::GhnSettings;
use crate::threads::{Divide, Threads};

/// Position of a parameter in [`Parameters`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ParameterId(usize);

impl ParameterId {
    pub(crate) fn index(self) -> usize {
        self.0
    }
}

/// A fully connected layer: weight [out, in] and bias [1, out].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layer {
    pub(crate) weight: ParameterId,
    pub(crate) bias: ParameterId,
}

/// The layers that every module and node shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shared {
    /// The message network M of Eq. 4.
    pub(crate) message: [Layer; 2],
    /// The GRU's gates from the message, [3 * hidden, hidden]: reset, update, new.
    pub(crate) gru_input: Layer,
    /// The GRU's gates from the embedding, in the same order.
    pub(crate) gru_state: Layer,
    /// The hypernetwork's first layer.
    pub(crate) hypernetwork: Layer,
}

/// What the name of an operation's embedding starts with.
pub(crate) const EMBEDDING: &str = "embedding.";

/// What the names of a kind's branch start with.
pub(crate) const BRANCH: &str = "branch.";

/// One matrix of parameters.
#[derive(Debug, Clone)]
pub(crate) struct Parameter {
    pub(crate) name: String,
    /// Rows and columns.
    pub(crate) shape: [usize; 2],
    /// Row-major.
    pub(crate) values: Arc<Vec<f32>>,
    /// The moving average of the values; none before the first step, and where none is kept.
    pub(crate) average: Option<Arc<Vec<f32>>>,
    pub(crate) moments: Moments,
    /// What has been added up since the last step.
    gradient: Vec<f32>,
    /// The sums of squares of pieces of the gradient, when last asked for.
    squares: Vec<f64>,
    /// Whether anything was added: a parameter rests in a step that it had no part in.
    has_gradient: bool,
}

impl Parameter {
    pub(crate) fn new(name: String, shape: [usize; 2], values: Vec<f32>) -> Self {
        let (moments, gradient) = (Moments::zeros(values.len()), vec![0.0; values.len()]);
        let squares = vec![0.0; values.len().div_ceil(adam::PIECE)];
        let (values, average) = (Arc::new(values), None);
        Self { name, shape, values, average, moments, gradient, squares, has_gradient: false }
    }

    /// Moves against `factor` times the gradient, and forgets it.
    fn step(&mut self, threads: &Threads, factor: f64, learning_rate: f64, averaging: Averaging) {
        let Self { values, average, moments, gradient, .. } = self;
        if averaging.is_on() {
            average.get_or_insert_with(|| Arc::clone(values));
        }
        let average = average.as_mut().map(Arc::make_mut);
        let average = average.map_or(&mut [][..], Vec::as_mut_slice);
        let share = averaging.share(moments.steps + 1);
        let by = Move { factor, learning_rate, share };
        let values: &mut Vec<f32> = Arc::make_mut(values);
        moments.step(threads, values, average, gradient, by);
    }
}

/// All parameters.
#[derive(Debug, Clone)]
pub(crate) struct Parameters {
    /// Names the streams of initial values.
    pub(crate) seed: u64,
    list: Vec<Parameter>,
    by_name: BTreeMap<String, ParameterId>,
    /// By kind: the largest shape that its branch makes.
    pub(crate) largest: BTreeMap<String, Vec<usize>>,
}

/// The most values of one branch: with gradient, moments and average, five times as many are held.
const LARGEST_BRANCH: usize = 1 << 28;

/// Standard deviation of the initial embedding of an operation, as of torch.nn.Embedding.
const EMBEDDING_DEVIATION: f64 = 1.0;

/// Root mean square of the entries of embeddings after propagation at the start, measured over
/// random networks of the cell space; the branches divide by what it makes of the features.
const EMBEDDING_SCALE: f64 = 0.23;

/// Initial bias of the GRU's update gate: a node then still knows its operation after many
/// updates, as an LSTM does with a forget gate that starts open (Jozefowicz et al., 2015).
const UPDATE_BIAS: f32 = 1.0;

/// Standard deviation of initial scales' distance from one, and of initial shifts.
const SHIFT_DEVIATION: f64 = 0.1;

impl Parameters {
    /// No parameters yet.
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, list: Vec::new(), by_name: BTreeMap::new(), largest: BTreeMap::new() }
    }

    /// All parameters, by id.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Parameter> {
        self.list.iter()
    }

    /// All parameters, by name: an order that does not depend on when they were made.
    pub(crate) fn by_name(&self) -> impl Iterator<Item = &Parameter> {
        self.by_name.values().map(|id| &self.list[id.0])
    }

    /// The number of values.
    pub(crate) fn count(&self) -> usize {
        self.list.iter().map(|parameter| parameter.values.len()).sum()
    }

    /// Fills `values` with all parameters, by id.
    pub(crate) fn snapshot(&self, values: &mut Vec<Values<f32>>) {
        self.fill(values, |parameter| &parameter.values);
    }

    /// As [`snapshot`](Self::snapshot), with the average of each parameter that has one.
    pub(crate) fn averages(&self, values: &mut Vec<Values<f32>>) {
        self.fill(values, |parameter| parameter.average.as_ref().unwrap_or(&parameter.values));
    }

    fn fill(&self, values: &mut Vec<Values<f32>>, of: impl Fn(&Parameter) -> &Arc<Vec<f32>>) {
        values.clear();
        values.extend(
            self.list.iter().map(|parameter| Values {
                shape: parameter.shape,
                data: Arc::clone(of(parameter)),
            }),
        );
    }

    pub(crate) fn insert(&mut self, parameter: Parameter) -> ParameterId {
        let id = ParameterId(self.list.len());
        self.by_name.insert(parameter.name.clone(), id);
        self.list.push(parameter);
        id
    }

    /// The layers that every module shares.
    pub(crate) fn shared(&mut self, settings: &GhnSettings) -> Shared {
        let GhnSettings { hidden, message_hidden, hypernetwork_hidden, .. } = *settings;
        // As torch.nn.Linear and torch.nn.GRUCell start: uniform up to 1 / sqrt(fan_in).
        let plain = |fan_in: usize| (fan_in as f64).powf(-0.5);
        let known = self.by_name.len();
        let mut layer = |name, out, fan_in| {
            let bound = plain(fan_in);
            self.layer(name, [out, fan_in], bound, bound)
        };
        let message = [
            layer("message.0", message_hidden, hidden),
            layer("message.1", hidden, message_hidden),
        ];
        let gru_input = layer("gru.input", 3 * hidden, hidden);
        let gru_state = layer("gru.state", 3 * hidden, hidden);
        // Features keep the embeddings' scale (He et al., 2015): a variance of 2 / fan_in.
        let bound = (6.0 / hidden as f64).sqrt();
        let shape = [hypernetwork_hidden, hidden];
        let hypernetwork = self.layer("hypernetwork.shared", shape, bound, 0.0);
        if known == 0 {
            let gates = Arc::make_mut(&mut self.list[gru_input.bias.0].values);
            gates[hidden..2 * hidden].iter_mut().for_each(|bias| *bias += UPDATE_BIAS);
        }
        Shared { message, gru_input, gru_state, hypernetwork }
    }

    /// The embedding [1, hidden] of an operation.
    pub(crate) fn embedding(&mut self, op: &str, hidden: usize) -> ParameterId {
        let bound = EMBEDDING_DEVIATION * 3f64.sqrt();
        self.uniform(format!("{EMBEDDING}{op}"), [1, hidden], bound)
    }

    /// The output branch of a kind: weight [values of the largest shape, hidden].
    ///
    /// # Errors
    /// Where the kind was seen with another largest shape, or the branch would be too large.
    pub(crate) fn branch(
        &mut self,
        param: &ParamSpec,
        settings: &GhnSettings,
    ) -> Result<Layer, GeneratorError> {
        let refuse =
            |reason: String| Err(GeneratorError::Param { param: param.name.clone(), reason });
        match self.largest.get(&param.kind) {
            Some(known) if *known != param.largest => {
                return refuse(format!(
                    "the branch of '{}' makes {known:?}, not {:?}; \
                     train a generator for these channels",
                    param.kind, param.largest
                ));
            }
            Some(_) => {}
            None => {
                self.largest.insert(param.kind.clone(), param.largest.clone());
            }
        }
        let largest: usize = param.largest.iter().product();
        let hidden = settings.hypernetwork_hidden;
        if largest.saturating_mul(hidden) > LARGEST_BRANCH {
            return refuse(format!(
                "the branch of '{}' would have {largest} x {hidden} weights, \
                 more than {LARGEST_BRANCH}",
                param.kind
            ));
        }
        let deviation = match param.role {
            ParamRole::Kernel | ParamRole::Matrix if settings.normalize => 1.0,
            ParamRole::Kernel | ParamRole::Matrix => (2.0 / param.fan_in as f64).sqrt(),
            ParamRole::Shift | ParamRole::Scale => SHIFT_DEVIATION,
        };
        let features = EMBEDDING_SCALE * (hidden as f64).sqrt();
        let bound = 3f64.sqrt() * deviation / features;
        let known = self.list.len();
        let layer = self.layer(&format!("{BRANCH}{}", param.kind), [largest, hidden], bound, 0.0);
        let is_new = layer.bias.0 >= known;
        if is_new && param.role == ParamRole::Kernel && settings.identity > 0.0 {
            let biases = Arc::make_mut(&mut self.list[layer.bias.0].values);
            add_identity(&param.largest, settings.identity * deviation, biases);
        }
        Ok(layer)
    }

    /// Moves the sums of gradients, by id, to `sums`, where more is added to them.
    pub(crate) fn take_gradients(&mut self, sums: &mut Vec<Vec<f32>>) {
        sums.clear();
        let take = |parameter: &mut Parameter| std::mem::take(&mut parameter.gradient);
        sums.extend(self.list.iter_mut().map(take));
    }

    /// Puts back the sums that were taken; `added` says to which parameters something was added.
    pub(crate) fn put_gradients(
        &mut self,
        sums: &mut Vec<Vec<f32>>,
        added: impl Iterator<Item = ParameterId>,
    ) {
        for (parameter, sum) in self.list.iter_mut().zip(sums.drain(..)) {
            parameter.gradient = sum;
        }
        for id in added {
            self.list[id.0].has_gradient = true;
        }
    }

    /// Forgets every gradient.
    pub(crate) fn clear_gradients(&mut self) {
        for parameter in &mut self.list {
            parameter.has_gradient = false;
            parameter.gradient.fill(0.0);
        }
    }

    /// Clips the gradients by their global norm, takes a step of Adam and forgets them.
    /// Parameters without a gradient rest, and so do their averages. Nothing moves where the norm
    /// is not finite.
    pub(crate) fn step(
        &mut self,
        threads: &Threads,
        options: StepOptions,
        averaging: Averaging,
    ) -> StepReport {
        threads.share(List(&mut self.list), |some| {
            for parameter in some.0.iter_mut().filter(|parameter| parameter.has_gradient) {
                sums_of_squares(threads, &parameter.gradient, &mut parameter.squares);
            }
        });
        // By name, so that a generator that was saved and loaded adds in the same order.
        let learning = self.by_name.values().map(|id| &self.list[id.0]);
        let squares = learning.filter(|parameter| parameter.has_gradient);
        let square: f64 = squares.flat_map(|parameter| &parameter.squares).sum();
        let gradient_norm = square.sqrt();
        let applied = gradient_norm.is_finite();
        let factor =
            if gradient_norm > options.clip_norm { options.clip_norm / gradient_norm } else { 1.0 };
        threads.share(List(&mut self.list), |some| {
            for parameter in some.0 {
                if !std::mem::take(&mut parameter.has_gradient) {
                    continue;
                }
                if applied {
                    parameter.step(threads, factor, options.learning_rate, averaging);
                } else {
                    parameter.gradient.fill(0.0);
                }
            }
        });
        StepReport { gradient_norm, applied }
    }

    /// The layer of this name; where there is none, one with uniform values up to these bounds.
    fn layer(&mut self, name: &str, shape: [usize; 2], weights: f64, biases: f64) -> Layer {
        Layer {
            weight: self.uniform(format!("{name}.weight"), shape, weights),
            bias: self.uniform(format!("{name}.bias"), [1, shape[0]], biases),
        }
    }

    /// The parameter of this name; where there is none, one with values from -bound to bound.
    fn uniform(&mut self, name: String, shape: [usize; 2], bound: f64) -> ParameterId {
        if let Some(&id) = self.by_name.get(&name) {
            return id;
        }
        let mut rng = rng::stream(self.seed, &format!("ghn/{name}"), 0);
        // The upper 24 bits: as many as an f32 holds.
        let mut draw = || f64::from(rng.next_u32() >> 8) / f64::from(1u32 << 23) - 1.0;
        let values = (0..shape[0] * shape[1]).map(|_| (bound * draw()) as f32).collect();
        self.insert(Parameter::new(name, shape, values))
    }
}

/// Adds the convolution that passes channels through to a kernel [out, in, height, width] that keeps
/// their number: with as many inputs as outputs, or depthwise. Where it changes, as in a stem or in a
/// shortcut between stages, no channel has a place to pass to. The convolution's deviation is `share`
/// of that of a random kernel with deviation 1.
fn add_identity(shape: &[usize], share: f64, kernel: &mut [f32]) {
    let [outputs, inputs, height, width] = *shape else { return };
    if inputs != outputs && inputs != 1 {
        return;
    }
    let value = share * ((inputs * height * width) as f64).sqrt();
    let centre = height / 2 * width + width / 2;
    for output in 0..outputs {
        let plane = output * inputs + output % inputs;
        kernel[plane * height * width + centre] += value as f32;
    }
}

/// Some parameters.
struct List<'a>(&'a mut [Parameter]);

impl Divide for List<'_> {
    fn divide(self) -> Result<(Self, Self), Self> {
        if self.0.len() < 2 {
            return Err(self);
        }
        let (one, other) = self.0.split_at_mut(self.0.len() / 2);
        Ok((Self(one), Self(other)))
    }
}
