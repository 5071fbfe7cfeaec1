//! A study's configuration: its keys, their defaults and their ranges.
//!
//! Files, flags and presets are put on top of each other in [`resolve`].

mod layers;
mod overlays;
#[cfg(test)]
mod tests;

pub(crate) use layers::flatten;
pub use layers::{ConfigError, Leaf, Resolved, Source, resolve};
pub use overlays::{
    ComparisonConfig, ComparisonKeys, MethodConfig, MethodKind, TruthConfig, TruthKeys,
    resolve_comparison,
};

use std::path::PathBuf;

use ghnas_core::Settings;
use serde::{Deserialize, Serialize};

/// Everything that a study's results depend on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Seed of every random draw; at most 2^63 - 1, the largest integer of TOML.
    pub seed: u64,
    /// The images.
    pub data: DataConfig,
    /// The search space.
    pub space: SpaceConfig,
    /// The weight generator.
    pub generator: EntryConfig,
    /// What runs networks.
    pub executor: EntryConfig,
    /// Training of the weight generator.
    pub train: TrainConfig,
    /// What proposes candidates.
    pub searcher: EntryConfig,
    /// Scoring and ranking of candidates.
    pub search: SearchConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 0,
            data: DataConfig::default(),
            space: SpaceConfig::default(),
            generator: EntryConfig::of("ghn"),
            executor: EntryConfig::of("native"),
            train: TrainConfig::default(),
            searcher: EntryConfig::of("random"),
            search: SearchConfig::default(),
        }
    }
}

/// Which images, and how they are split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// The data set's name: `cifar10`.
    pub name: String,
    /// The folder with the data set's files; unset for the embedded excerpt of CIFAR-10.
    pub dir: Option<PathBuf>,
    /// Images split off the training set to score candidates on. The embedded excerpt has its own
    /// split.
    pub validation: usize,
    /// Whether training images are cropped and flipped at random. Generators that are trained for
    /// minutes underfit, and do better without.
    pub augment: bool,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self { name: "cifar10".into(), dir: None, validation: 5000, augment: false }
    }
}

/// Which search space, from which preset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpaceConfig {
    /// Id of the space.
    pub id: String,
    /// The preset that its settings start from; unset for the space's first.
    pub preset: Option<String>,
    /// Settings that differ from the preset; after resolution all of them.
    pub settings: Settings,
}

impl Default for SpaceConfig {
    fn default() -> Self {
        Self { id: "cell".into(), preset: None, settings: Settings::new() }
    }
}

/// An entry of the catalogue with its settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryConfig {
    /// Id of the entry.
    pub id: String,
    /// Settings that differ from the entry's defaults; after resolution all of them.
    pub settings: Settings,
}

impl EntryConfig {
    fn of(id: &str) -> Self {
        Self { id: id.into(), settings: Settings::new() }
    }
}

/// Training of the weight generator (section 5.1.1).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Steps of the optimiser; a time budget replaces this.
    pub steps: u64,
    /// Images a step.
    pub batch: usize,
    /// Learning rate at the start. The paper has 1e-3 for 200 epochs; generators that are trained
    /// for minutes do better with more.
    pub learning_rate: f64,
    /// How the learning rate falls.
    pub schedule: LearningRateSchedule,
    /// With `halve`: the shares of all steps at which it is halved, each between 0 and 1.
    pub halve_at: Vec<f64>,
    /// Gradients with a larger Euclidean norm are scaled down to this one.
    pub clip_norm: f64,
    /// Architectures whose gradients are averaged in one step.
    pub archs_per_step: usize,
    /// Whether each architecture of a step has images of its own, an equal part of the batch; where
    /// not, all of them have the whole batch.
    #[serde(default)]
    pub split_batch: bool,
    /// How the architectures of a step are drawn.
    #[serde(default)]
    pub sampling: Sampling,
    /// Architectures drawn for each that a step works on, where `sampling` chooses some of them.
    #[serde(default = "pool")]
    pub pool: usize,
    /// Steps between evaluations of the generator on the validation images of `search.images`, with
    /// one after the last step; 0 for none.
    #[serde(default)]
    pub evaluate_every: u64,
    /// Architectures that an evaluation scores, the same each time.
    #[serde(default = "probes")]
    pub probes: usize,
    /// Which of the evaluated states is the trained generator.
    #[serde(default)]
    pub select: Selection,
    /// With `select = "brief_training"`: steps that every probe is trained for from scratch, once,
    /// with what `search.rung_generator` and `search.rung_learning_rate` say.
    #[serde(default = "probe_steps")]
    pub probe_steps: u64,
    /// Evaluations in a row without one that is better by `select` (by validation loss, where that
    /// is the last state), after which training ends; 0 for never.
    #[serde(default)]
    pub patience: u64,
    /// Seconds between checkpoints; results do not depend on it.
    pub checkpoint_seconds: f64,
}

fn pool() -> usize {
    4
}

fn probes() -> usize {
    32
}

fn probe_steps() -> u64 {
    100
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            steps: 1500,
            batch: 64,
            learning_rate: 4e-3,
            schedule: LearningRateSchedule::Halve,
            halve_at: vec![0.5, 0.75],
            clip_norm: 5.0,
            archs_per_step: 1,
            split_batch: false,
            sampling: Sampling::Uniform,
            pool: pool(),
            evaluate_every: 0,
            probes: probes(),
            select: Selection::Last,
            probe_steps: probe_steps(),
            patience: 0,
            checkpoint_seconds: 15.0,
        }
    }
}

impl TrainConfig {
    /// Images that each architecture of a step is trained on.
    pub fn images_per_arch(&self) -> usize {
        if self.split_batch { self.batch / self.archs_per_step } else { self.batch }
    }

    /// The learning rate of a step, where training takes `steps`.
    pub fn learning_rate_at(&self, step: u64, steps: u64) -> f64 {
        let done = step as f64 / steps as f64;
        let factor = match self.schedule {
            LearningRateSchedule::Halve => {
                let passed = self.halve_at.iter().filter(|&&at| step as f64 >= at * steps as f64);
                0.5f64.powi(passed.count() as i32)
            }
            LearningRateSchedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
        };
        self.learning_rate * factor
    }
}

/// How the architectures of a training step are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// Each as the space draws it.
    #[default]
    Uniform,
    /// The first as the space draws it, the others from `train.pool` times as many such that
    /// operations occur about equally often within the step. Of one architecture a step that is the
    /// same as `uniform`.
    Fair,
    /// Of `train.pool` times as many, those with the most parameters. A generator's weights suit the
    /// networks that it is trained on best, and those that leave most operations out are easily
    /// told from the rest.
    Large,
}

/// Which state of a training is the trained generator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// That after the last step.
    #[default]
    Last,
    /// The evaluated one with the least mean validation loss over the probes.
    ValidationLoss,
    /// The evaluated one whose ranking of the probes is nearest to that of the evaluation before.
    Stability,
    /// The evaluated one whose ranking of the probes is nearest to that by their losses after a
    /// brief training of each.
    BriefTraining,
}

/// How a learning rate falls over training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LearningRateSchedule {
    /// By half at every share in `train.halve_at` (the paper's, for the GHN).
    Halve,
    /// To zero along one half period of a cosine (section 7.3).
    Cosine,
}

/// Scoring and ranking of candidates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchConfig {
    /// Candidates to score. May be raised later: the search then goes on.
    pub candidates: u64,
    /// Validation images that every candidate is scored on, the same for all.
    pub images: usize,
    /// The most images in a batch when scoring: batch norm takes the statistics of a batch. The
    /// images are split into the fewest batches, of sizes that differ by at most one.
    pub batch: usize,
    /// How many of the best candidates are reported.
    pub top: usize,
    /// What candidates are ranked by.
    pub objective: Objective,
    /// Whether a candidate's loss is after temperature scaling: its logits times the one factor
    /// with which the loss is least. Of networks larger than those that the generator was trained
    /// on, the plain loss measures mostly how far off their confidence is.
    #[serde(default)]
    pub calibrate: bool,
    /// The loss of an ensemble.
    #[serde(default)]
    pub ensemble: EnsembleLoss,
    /// Sampled architectures that are scored on `reference_images` before candidates are scored on
    /// `images`; 0 for none. The images then count for as much as makes the references' losses on
    /// them those on all, so that candidates are ranked as more images would rank them. That is for
    /// scores with generated weights alone.
    #[serde(default)]
    pub references: usize,
    /// With `references`: the validation images that these are scored on, the first of which are
    /// those of `images`.
    #[serde(default = "reference_images")]
    pub reference_images: usize,
    /// Networks that the space makes of a candidate with other settings, whose losses count for a
    /// share of the candidate's own. That is for scores of candidates with generated weights alone;
    /// evaluations during training do without.
    #[serde(default)]
    pub variants: Vec<VariantConfig>,
    /// Steps of training from scratch for candidates that a searcher promotes, such as successive
    /// halving does: to rung 1, 2 and so on. Rung 0 is the score with generated weights.
    #[serde(default)]
    pub rungs: Vec<u64>,
    /// With `rungs` or `train.select = "brief_training"`: id of the generator whose weights are
    /// trained, of which every architecture has its own; it has its default settings.
    #[serde(default = "rung_generator")]
    pub rung_generator: String,
    /// The learning rate of that, which stays the same.
    #[serde(default = "rung_learning_rate")]
    pub rung_learning_rate: f64,
}

fn reference_images() -> usize {
    5000
}

fn rung_generator() -> String {
    "sgd-steps".into()
}

fn rung_learning_rate() -> f64 {
    0.1
}

impl Default for SearchConfig {
    fn default() -> Self {
        Self {
            candidates: 200,
            images: 500,
            batch: 100,
            top: 10,
            objective: Objective::Loss,
            calibrate: false,
            ensemble: EnsembleLoss::default(),
            references: 0,
            reference_images: reference_images(),
            variants: Vec::new(),
            rungs: Vec::new(),
            rung_generator: rung_generator(),
            rung_learning_rate: rung_learning_rate(),
        }
    }
}

/// A further network of every candidate.
///
/// A generator that was trained on shallow networks makes weights for deeper ones too. They are
/// worse, and by how much says what a shallow network does not show: how well signals get through.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariantConfig {
    /// Settings of the space that are not as in `space.settings`.
    pub settings: Settings,
    /// What its loss counts for; what all of them leave of 1 is for the candidate's own network.
    pub share: f64,
    /// How many of the validation images it is scored on: the first of `search.images`. With
    /// references the same part of `search.reference_images`.
    pub images: usize,
}

/// The loss on an image of several generators' weights for one network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnsembleLoss {
    /// That of the mean of the members' probabilities. It is less than the mean of their losses by
    /// what they disagree, which they do most about networks with many convolutions.
    #[default]
    Probabilities,
    /// The mean of the members' losses: the score of one, with less chance in it.
    Mean,
}

/// What candidates are ranked by, on the validation images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// Mean cross-entropy, the least first. Finer than accuracy where candidates are close.
    Loss,
    /// Share of images classified correctly, the greatest first.
    Accuracy,
}

impl Objective {
    /// What to minimise.
    pub fn cost(self, loss: f64, accuracy: f64) -> f64 {
        match self {
            Self::Loss => loss,
            Self::Accuracy => -accuracy,
        }
    }
}

/// A value out of its range.
struct Violation {
    key: &'static str,
    expected: String,
}

impl Config {
    /// Keys that may change when a study is resumed: nothing that is in the study already
    /// depends on them. The images behind `data.dir` are compared on their own.
    pub(crate) const FREE_KEYS: [&'static str; 4] =
        ["data.dir", "train.checkpoint_seconds", "search.candidates", "search.top"];

    /// Keys that studies from before they existed lack. With their defaults they are no part of what
    /// tells one configuration from another, so that such studies go on.
    pub(crate) const LATER_KEYS: [&'static str; 1] = ["search.variants"];

    /// The first value that does not fit the others.
    fn check_together(&self) -> Result<(), Violation> {
        let TrainConfig { batch, archs_per_step: archs, split_batch, .. } = self.train;
        let TrainConfig { evaluate_every, select, patience, .. } = self.train;
        if split_batch && (batch % archs != 0 || batch / archs < 2) {
            let expected = format!(
                "a multiple of train.archs_per_step = {archs} with at least 2 images for each, \
                 because train.split_batch is true"
            );
            return Err(Violation { key: "train.batch", expected });
        }
        if evaluate_every == 0 && (select != Selection::Last || patience > 0) {
            let expected = "at least 1, because train.select and train.patience need evaluations";
            return Err(Violation { key: "train.evaluate_every", expected: expected.into() });
        }
        let SearchConfig { images, references, reference_images, .. } = self.search;
        if references > 0 && reference_images < images {
            let expected = format!("at least search.images = {images}");
            return Err(Violation { key: "search.reference_images", expected });
        }
        let variants = &self.search.variants;
        if variants.iter().any(|variant| !(2..=images).contains(&variant.images)) {
            let expected = format!("images from 2 to search.images = {images}");
            return Err(Violation { key: "search.variants", expected });
        }
        Ok(())
    }

    /// The first value that is out of its range.
    fn check(&self) -> Result<(), Violation> {
        let require = |holds: bool, key, expected: &str| {
            if holds { Ok(()) } else { Err(Violation { key, expected: expected.into() }) }
        };
        let Self { data, train, search, .. } = self;
        require(self.seed <= i64::MAX as u64, "seed", "at most 9223372036854775807")?;
        require(data.name == "cifar10", "data.name", "cifar10")?;
        require(data.validation >= 2, "data.validation", "at least 2")?;
        require((1..=1 << 40).contains(&train.steps), "train.steps", "at least 1")?;
        require((2..=1 << 20).contains(&train.batch), "train.batch", "2 to 1048576")?;
        let positive = |x: f64| x.is_finite() && x > 0.0;
        require(positive(train.learning_rate), "train.learning_rate", "a number above 0")?;
        let ascending = train.halve_at.is_sorted_by(|a, b| a < b);
        let shares = train.halve_at.iter().all(|&at| at > 0.0 && at < 1.0);
        let expected = "ascending numbers between 0 and 1";
        require(ascending && shares, "train.halve_at", expected)?;
        require(positive(train.clip_norm), "train.clip_norm", "a number above 0")?;
        require((1..=1024).contains(&train.archs_per_step), "train.archs_per_step", "1 to 1024")?;
        require((1..=64).contains(&train.pool), "train.pool", "1 to 64")?;
        let (steps, few) = (0..=1 << 40, "0 or more, up to 1099511627776");
        require(steps.contains(&train.evaluate_every), "train.evaluate_every", few)?;
        require((3..=4096).contains(&train.probes), "train.probes", "3 to 4096")?;
        require(train.probe_steps >= 1, "train.probe_steps", "at least 1")?;
        require(steps.contains(&train.patience), "train.patience", few)?;
        let pause = train.checkpoint_seconds;
        let expected = "seconds from 0 to 86400";
        require((0.0..=86400.0).contains(&pause), "train.checkpoint_seconds", expected)?;
        let many = 1..=1 << 40;
        require(many.contains(&search.candidates), "search.candidates", "at least 1")?;
        require(search.images >= 2, "search.images", "at least 2")?;
        require((2..=1 << 20).contains(&search.batch), "search.batch", "2 to 1048576")?;
        require(search.references <= 1024, "search.references", "0 to 1024")?;
        require(search.reference_images >= 2, "search.reference_images", "at least 2")?;
        let shares: f64 = search.variants.iter().map(|variant| variant.share).sum();
        let positive_all = search.variants.iter().all(|variant| positive(variant.share));
        let expected = "shares above 0 that together are less than 1";
        require(positive_all && shares < 1.0, "search.variants", expected)?;
        require(search.top >= 1, "search.top", "at least 1")?;
        let steps = search.rungs.iter().all(|steps| (1..=1 << 40).contains(steps));
        let ascending = search.rungs.is_sorted_by(|a, b| a < b);
        require(steps && ascending, "search.rungs", "ascending numbers of steps from 1 on")?;
        require(
            positive(search.rung_learning_rate),
            "search.rung_learning_rate",
            "a number above 0",
        )
    }
}
