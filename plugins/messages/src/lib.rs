//! The messages that cross the C ABI, for the SDK and the host alike: one struct a request or
//! response, JSON unless it says otherwise. `docs/abi.md` lists them by method.

pub mod state;

use ghnas_core::{
    Architecture, CandidateId, OperationContext, Outcome, Phase, Preset, Settings, Shape,
    StepReport, Task,
};
use serde::{Deserialize, Serialize};

/// Names of methods, by interface.
pub mod method {
    /// Search space: [`Sample`](crate::Sample) to an architecture.
    pub const SAMPLE: &str = "sample";
    /// Search space: [`OfArchitecture`](crate::OfArchitecture) to nothing, or an error.
    pub const VALIDATE: &str = "validate";
    /// Search space: [`Lower`](crate::Lower) to a network.
    pub const LOWER: &str = "lower";
    /// Search space: [`Parse`](crate::Parse) to an architecture.
    pub const PARSE: &str = "parse";
    /// Search space: [`OfArchitecture`](crate::OfArchitecture) to a string, the space's notation.
    /// Since 1.1.
    pub const FORMAT: &str = "format";
    /// Evolution: nothing to whether this instance has it.
    pub const AVAILABLE: &str = "available";
    /// Evolution: [`Mutate`](crate::Mutate) to an architecture.
    pub const MUTATE: &str = "mutate";
    /// Evolution: [`Cross`](crate::Cross) to an architecture.
    pub const CROSS: &str = "cross";
    /// Enumeration: nothing to the number of architectures; null where this instance has none.
    pub const SIZE: &str = "size";
    /// Enumeration: [`Nth`](crate::Nth) to an architecture.
    pub const NTH: &str = "nth";
    /// Searcher: [`Suggest`](crate::Suggest) to a list of commands.
    pub const SUGGEST: &str = "suggest";
    /// Searcher: a list of [`Reported`](crate::Reported) to nothing.
    pub const REPORT: &str = "report";
    /// Searcher and weight generator: nothing to state, which is bytes.
    pub const SAVE: &str = "save";
    /// Searcher and weight generator: state, which is bytes, to nothing.
    pub const LOAD: &str = "load";
    /// Propagator: [`ScheduleOf`](crate::ScheduleOf) to a schedule.
    pub const SCHEDULE: &str = "schedule";
    /// Operation: [`Expand`](crate::Expand) to a fragment.
    pub const EXPAND: &str = "expand";
    /// Weight generator: a network to the number of a plan.
    pub const PLAN: &str = "plan";
    /// Weight generator: the number of a plan to nothing; forgets it.
    pub const DROP_PLAN: &str = "drop_plan";
    /// Weight generator: the number of a ticket to nothing; forgets it.
    pub const DISCARD: &str = "discard";
    /// Weight generator: [`Step`](crate::Step) to [`Stepped`](crate::Stepped).
    pub const STEP: &str = "step";
    /// Weight generator: nothing to the number of its own parameters.
    pub const PARAMETER_COUNT: &str = "parameter_count";
    /// Every interface, for tests: panics with the request as its words. Plugins that cannot panic
    /// do not have it.
    pub const PANIC: &str = "panic";
    /// Host: a [`Kind`](crate::Kind) to a list of [`Offered`](crate::Offered).
    pub const LIST: &str = "list";
    /// Host: [`Build`](crate::Build) to a handle; only during `create`.
    pub const BUILD: &str = "build";
}

/// An entry that a plugin offers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryInfo {
    /// Unique among entries of one kind.
    pub id: String,
    /// One line for listings.
    pub summary: String,
    /// The first is the default.
    #[serde(default)]
    pub presets: Vec<PresetInfo>,
}

/// A named set of settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresetInfo {
    /// The preset's name.
    pub name: String,
    /// All settings of the entry.
    pub settings: Settings,
}

impl From<Preset> for PresetInfo {
    fn from(Preset { name, settings }: Preset) -> Self {
        Self { name, settings }
    }
}

impl From<PresetInfo> for Preset {
    fn from(PresetInfo { name, settings }: PresetInfo) -> Self {
        Self { name, settings }
    }
}

/// What an instance is made from.
#[derive(Debug, Serialize, Deserialize)]
pub struct Create {
    /// The id of the entry.
    pub entry: String,
    /// Its settings.
    pub settings: Settings,
    /// Seed of everything that it draws.
    pub seed: u64,
    /// How many threads it may use.
    pub threads: usize,
    /// `cpu`, or `cuda:0` and so on.
    pub device: String,
}

/// Asks for an architecture.
#[derive(Debug, Serialize, Deserialize)]
pub struct Sample {
    /// What it is for.
    pub phase: Phase,
    /// Of the sample.
    pub seed: u64,
}

/// Carries an architecture.
#[derive(Debug, Serialize, Deserialize)]
pub struct OfArchitecture {
    /// The architecture.
    pub arch: Architecture,
}

/// Asks for a network.
#[derive(Debug, Serialize, Deserialize)]
pub struct Lower {
    /// The architecture.
    pub arch: Architecture,
    /// What the network is for.
    pub task: Task,
}

/// Carries the space's own notation.
#[derive(Debug, Serialize, Deserialize)]
pub struct Parse {
    /// What is parsed.
    pub text: String,
}

/// Asks for a neighbour.
#[derive(Debug, Serialize, Deserialize)]
pub struct Mutate {
    /// The parent.
    pub arch: Architecture,
    /// Of the mutation.
    pub seed: u64,
}

/// Asks for a child.
#[derive(Debug, Serialize, Deserialize)]
pub struct Cross {
    /// One parent.
    pub first: Architecture,
    /// The other.
    pub second: Architecture,
    /// Of the crossover.
    pub seed: u64,
}

/// Asks for an architecture of an enumeration.
#[derive(Debug, Serialize, Deserialize)]
pub struct Nth {
    /// Counted from 0.
    pub index: u64,
}

/// Asks for commands.
#[derive(Debug, Serialize, Deserialize)]
pub struct Suggest {
    /// At most this many.
    pub n: usize,
}

/// An [`Outcome`]; JSON has no infinities, so an objective that is not finite is null.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reported {
    /// The candidate.
    pub candidate: CandidateId,
    /// What to minimise.
    pub objective: Option<f64>,
    /// Multiply-adds for one image.
    pub multiply_adds: u64,
    /// The fidelity of the evaluation. Since 1.2.
    #[serde(default)]
    pub rung: u32,
}

impl From<&Outcome> for Reported {
    fn from(outcome: &Outcome) -> Self {
        let Outcome { candidate, objective, multiply_adds, rung } = *outcome;
        Self { candidate, objective: finite(objective), multiply_adds, rung }
    }
}

impl From<Reported> for Outcome {
    fn from(Reported { candidate, objective, multiply_adds, rung }: Reported) -> Self {
        Self { candidate, objective: objective.unwrap_or(f64::INFINITY), multiply_adds, rung }
    }
}

/// Asks for a schedule over a graph.
#[derive(Debug, Serialize, Deserialize)]
pub struct ScheduleOf {
    /// Of each node, the nodes that it reads.
    pub inputs: Vec<Vec<usize>>,
    /// How many rounds.
    pub rounds: usize,
    /// Which propagator; for calls to the host only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handle: Option<u64>,
}

/// Asks what an operation writes.
#[derive(Debug, Serialize, Deserialize)]
pub struct Expand {
    /// Shapes of the inputs.
    pub inputs: Vec<Shape>,
    /// Channels that it must put out.
    pub channels: usize,
    /// The most channels that a node of the network has.
    pub max_channels: usize,
    /// Which operation; for calls to the host only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handle: Option<u64>,
}

impl Expand {
    /// Where the operation stands.
    pub fn context(&self) -> OperationContext {
        OperationContext { channels: self.channels, max_channels: self.max_channels }
    }
}

/// Asks a generator to move.
#[derive(Debug, Serialize, Deserialize)]
pub struct Step {
    /// Learning rate.
    pub learning_rate: f64,
    /// Gradients with a larger norm are scaled down to this one; null for no bound.
    pub clip_norm: Option<f64>,
}

/// What a step did.
#[derive(Debug, Serialize, Deserialize)]
pub struct Stepped {
    /// Norm of the gradient before clipping; null where it is not finite.
    pub gradient_norm: Option<f64>,
    /// Whether anything was moved.
    pub applied: bool,
}

impl From<StepReport> for Stepped {
    fn from(StepReport { gradient_norm, applied }: StepReport) -> Self {
        Self { gradient_norm: finite(gradient_norm), applied }
    }
}

impl From<Stepped> for StepReport {
    fn from(Stepped { gradient_norm, applied }: Stepped) -> Self {
        Self { gradient_norm: gradient_norm.unwrap_or(f64::NAN), applied }
    }
}

/// The value, or nothing where JSON cannot say it.
pub fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// A kind of entry that a plugin may ask the host for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Operations.
    Operation,
    /// Propagators.
    Propagator,
}

/// An entry that the host has.
#[derive(Debug, Serialize, Deserialize)]
pub struct Offered {
    /// Its id.
    pub id: String,
    /// One line for listings.
    pub summary: String,
}

/// Asks the host to build an entry.
#[derive(Debug, Serialize, Deserialize)]
pub struct Build {
    /// The kind of entry.
    pub kind: Kind,
    /// The id of the entry.
    pub id: String,
    /// Its settings.
    pub settings: Settings,
}
