//! Scores a network with generated weights, without training it (section 5.1).

use std::ops::Range;
use std::sync::Arc;

use ghnas_core::loss::cross_entropy;
use ghnas_core::{
    Counting, Executor, ExecutorError, GeneratorError, Images, Network, WeightGenerator, Weights,
    multiply_adds,
};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::calibration::{calibrating_factor, scaled_losses};
use crate::checkpoint::hex;
use crate::config::SearchConfig;
use crate::data::DataSet;
use crate::error::EngineError;

/// How good a network is, and how large.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Score {
    /// Mean cross-entropy on the validation images, in nats; with `search.calibrate` after
    /// temperature scaling.
    pub loss: f64,
    /// Share of the validation images classified correctly, 0 to 1.
    pub accuracy: f64,
    /// The network's parameters.
    pub params: u64,
    /// The network's multiply-adds for one image.
    pub multiply_adds: u64,
}

/// Why a network has no score.
#[derive(Debug, thiserror::Error)]
pub enum ScoreError {
    /// Its weights cannot be made.
    #[error("weight generator: {0}")]
    Generator(#[source] GeneratorError),
    /// It cannot be run.
    #[error("executor: {0}")]
    Executor(#[source] ExecutorError),
    /// Its loss is infinite or not a number.
    #[error("the loss is not finite")]
    NotFinite,
}

impl ScoreError {
    /// What is wrong with the network, in words.
    ///
    /// # Errors
    /// [`EngineError::Score`] where the fault is the device's or the generator's, and not the
    /// network's; `what` names it.
    pub(crate) fn of_network(self, what: impl FnOnce() -> String) -> Result<String, EngineError> {
        match self.is_fatal() {
            true => Err(EngineError::Score { what: what(), source: self }),
            false => Ok(self.to_string()),
        }
    }

    fn is_fatal(&self) -> bool {
        match self {
            Self::Generator(error) => {
                matches!(error, GeneratorError::Device(_) | GeneratorError::Broken(_))
            }
            Self::Executor(error) => matches!(error, ExecutorError::Device(_)),
            Self::NotFinite => false,
        }
    }
}

/// Scores networks on validation images that stay the same; copies share them.
#[derive(Clone)]
pub struct Scorer {
    /// [images, channels, height, width]
    images: Arc<[f32]>,
    labels: Arc<[u16]>,
    /// Images in each batch, in order.
    batches: Vec<usize>,
    weights: Weights,
    /// Logits of one batch, [outputs, count, classes].
    batch: Vec<f32>,
    /// Of all images by the last output, [images, classes].
    logits: Vec<f32>,
    /// Of all images, the mean over the members of an ensemble, [images].
    losses: Vec<f64>,
    /// Whether the loss is after temperature scaling.
    calibrate: bool,
    /// What each image counts for in the loss; all the same where there are none.
    image_weights: Option<Arc<[f64]>>,
}

impl Scorer {
    /// A scorer on the first `images` validation images of `data`, in the fewest batches of at
    /// most `batch` images; their sizes differ by at most one.
    pub fn new(data: &DataSet, images: usize, batch: usize) -> Self {
        let (images, labels) = data.validation_images(images);
        Self {
            batches: even_batches(labels.len(), batch).map(|images| images.len()).collect(),
            images: images.into(),
            labels: labels.into(),
            weights: Weights::default(),
            batch: Vec::new(),
            logits: Vec::new(),
            losses: Vec::new(),
            calibrate: false,
            image_weights: None,
        }
    }

    /// A scorer on the images that `config` says, with the loss that it says.
    pub fn of(data: &DataSet, config: &SearchConfig) -> Self {
        Self::on(data, config.images, config)
    }

    /// As [`of`](Self::of), on another number of images.
    pub(crate) fn on(data: &DataSet, images: usize, config: &SearchConfig) -> Self {
        Self { calibrate: config.calibrate, ..Self::new(data, images, config.batch) }
    }

    /// The same, but that images count for as much as `weights` says, [images].
    pub(crate) fn weighted(self, weights: Vec<f64>) -> Self {
        assert_eq!(weights.len(), self.image_count(), "a weight an image");
        Self { image_weights: Some(weights.into()), ..self }
    }

    /// Images that every network is scored on.
    pub fn image_count(&self) -> usize {
        self.labels.len()
    }

    /// SHA-256 of the images and labels, hexadecimal: tells one data set from another.
    pub(crate) fn fingerprint(&self) -> String {
        let mut hasher = Sha256::new();
        for values in self.images.chunks(1024) {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            hasher.update(bytes);
        }
        self.labels.iter().for_each(|label| hasher.update(label.to_le_bytes()));
        hex(&hasher.finalize())
    }

    /// The score of `network` by its last output, with weights from `generator` and batch norm by
    /// the statistics of each batch. That by an ensemble is the mean of its members' scores.
    ///
    /// # Errors
    /// [`ScoreError`] says what failed.
    pub fn score(
        &mut self,
        network: &Network,
        generator: &mut dyn WeightGenerator,
        executor: &mut dyn Executor,
    ) -> Result<Score, ScoreError> {
        let accuracy = self.run(network, generator, executor)?;
        let loss = match &self.image_weights {
            None => mean(self.losses.iter().copied()),
            Some(weights) => {
                self.losses.iter().zip(&weights[..]).map(|(loss, weight)| loss * weight).sum()
            }
        };
        if !loss.is_finite() {
            return Err(ScoreError::NotFinite);
        }
        Ok(Score {
            loss,
            accuracy,
            params: network.param_count() as u64,
            multiply_adds: multiply_adds(network, Counting::default()).0,
        })
    }

    /// The loss of every image, in order, in nats.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    pub(crate) fn losses(
        &mut self,
        network: &Network,
        generator: &mut dyn WeightGenerator,
        executor: &mut dyn Executor,
    ) -> Result<Vec<f64>, ScoreError> {
        self.run(network, generator, executor)?;
        match self.losses.iter().all(|loss| loss.is_finite()) {
            true => Ok(self.losses.clone()),
            false => Err(ScoreError::NotFinite),
        }
    }

    /// Finds the losses of all images, the mean over members of an ensemble; gives the accuracy.
    fn run(
        &mut self,
        network: &Network,
        generator: &mut dyn WeightGenerator,
        executor: &mut dyn Executor,
    ) -> Result<f64, ScoreError> {
        self.losses.clear();
        self.losses.resize(self.image_count(), 0.0);
        let mut correct = 0;
        let members = generator.members().len();
        if members == 0 {
            correct += self.add(network, generator, executor)?;
        }
        for member in generator.members() {
            correct += self.add(network, &mut **member, executor)?;
        }
        let runs = members.max(1) as f64;
        self.losses.iter_mut().for_each(|loss| *loss /= runs);
        Ok(correct as f64 / (runs * self.image_count() as f64))
    }

    /// Adds the losses with the weights of one generator; gives how many images are right.
    fn add(
        &mut self,
        network: &Network,
        generator: &mut dyn WeightGenerator,
        executor: &mut dyn Executor,
    ) -> Result<usize, ScoreError> {
        let Self { images, labels, batches, weights, batch, logits, losses, calibrate, .. } = self;
        weights.reset_for(network.params());
        generator.predict(network, weights).map_err(ScoreError::Generator)?;
        let (size, classes) = (network.input().elements(), network.classes());
        logits.clear();
        let mut images = &images[..];
        for &count in batches.iter() {
            let (data, rest) = images.split_at(count * size);
            images = rest;
            let last = last_logits(network, weights, Images { data, count }, executor, batch);
            logits.extend_from_slice(last.map_err(ScoreError::Executor)?);
        }
        let factor = match calibrate {
            true => calibrating_factor(logits, labels, classes),
            false => 1.0,
        };
        let own = scaled_losses(logits, labels, classes, factor);
        losses.iter_mut().zip(own).for_each(|(sum, loss)| *sum += loss);
        Ok(cross_entropy(logits, labels, classes).correct)
    }
}

/// The logits of a batch by the network's last output, [images, classes]; `logits` is a buffer.
pub(crate) fn last_logits<'a>(
    network: &Network,
    weights: &Weights,
    images: Images<'_>,
    executor: &mut dyn Executor,
    logits: &'a mut Vec<f32>,
) -> Result<&'a [f32], ExecutorError> {
    executor.evaluate(network, weights, images, logits)?;
    Ok(&logits[logits.len() - images.count * network.classes()..])
}

/// The mean of some values.
pub(crate) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    sum / f64::from(count)
}

/// The fewest batches of at most `batch` of `count` images, in order; their sizes differ by at most
/// one.
pub(crate) fn even_batches(count: usize, batch: usize) -> impl Iterator<Item = Range<usize>> {
    let batches = count.div_ceil(batch);
    (0..batches).map(move |number| number * count / batches..(number + 1) * count / batches)
}

#[cfg(test)]
mod tests {
    use ghnas_core::{GeneratorState, StepOptions, StepReport, Ticket};

    use super::*;
    use crate::toy;

    /// An ensemble that only scores.
    struct Several(Vec<Box<dyn WeightGenerator>>);

    impl WeightGenerator for Several {
        fn generate(&mut self, _: &Network, _: &mut Weights) -> Result<Ticket, GeneratorError> {
            unreachable!("nothing is trained")
        }

        fn predict(&mut self, _: &Network, _: &mut Weights) -> Result<(), GeneratorError> {
            unreachable!("each member predicts")
        }

        fn vjp(&mut self, _: Ticket, _: &Weights) -> Result<(), GeneratorError> {
            unreachable!("nothing is trained")
        }

        fn discard(&mut self, _: Ticket) {}

        fn step(&mut self, _: StepOptions) -> Result<StepReport, GeneratorError> {
            unreachable!("nothing is trained")
        }

        fn parameter_count(&self) -> usize {
            0
        }

        fn save(&self) -> Result<GeneratorState, GeneratorError> {
            unreachable!("nothing is kept")
        }

        fn load(&mut self, _: &GeneratorState) -> Result<(), GeneratorError> {
            unreachable!("nothing is kept")
        }

        fn members(&mut self) -> &mut [Box<dyn WeightGenerator>] {
            &mut self.0
        }
    }

    #[test]
    fn an_ensembles_score_is_the_mean_of_its_members() {
        let config = toy::config(&[]);
        let mut parts = toy::parts(&config);
        let network = parts.space.lower(&toy::chain(&["wide", "narrow"]), parts.task()).unwrap();
        let member = |seed: u64| toy::parts(&toy::config(&[&format!("seed={seed}")])).generator;
        for flag in ["search.calibrate=false", "search.calibrate=true"] {
            let mut scorer = Scorer::of(&parts.data, &toy::config(&[flag]).search);
            let mut score = |seeds: &[u64]| {
                let mut several = Several(seeds.iter().map(|&seed| member(seed)).collect());
                let score = scorer.score(&network, &mut several, &mut *parts.executor).unwrap();
                [score.loss, score.accuracy]
            };
            assert_eq!(score(&[1, 1]), score(&[1]));
            let (one, other, both) = (score(&[1]), score(&[2]), score(&[1, 2]));
            assert!(one[0] != other[0]);
            let misses = [0, 1].map(|at| both[at] - 0.5 * (one[at] + other[at]));
            assert!(misses.iter().all(|miss| miss.abs() < 1e-12), "{one:?}, {other:?}, {both:?}");
        }
    }

    #[test]
    fn batches_are_even_and_cover_all_images() {
        for (images, batch, expected) in
            [(10, 4, vec![3, 3, 4]), (12, 4, vec![4, 4, 4]), (3, 100, vec![3])]
        {
            assert_eq!(Scorer::new(&toy::data(0), images, batch).batches, expected);
        }
    }

    /// The toy executor knows no batch statistics, so batches of any size give the same mean.
    #[test]
    fn the_score_is_the_mean_over_images() {
        let config = toy::config(&[]);
        let mut parts = toy::parts(&config);
        let network = parts.space.lower(&toy::chain(&["wide", "narrow"]), parts.task()).unwrap();
        let mut score = |batch| {
            let mut scorer = Scorer::new(&parts.data, 10, batch);
            scorer.score(&network, &mut *parts.generator, &mut *parts.executor).unwrap()
        };
        let (split, whole) = (score(3), score(10));
        assert!((split.loss - whole.loss).abs() < 1e-12);
        assert_eq!((split.accuracy, split.params), (whole.accuracy, whole.params));
        // 4 -> 3 -> 2 -> 2 with biases: 15 + 8 + 6, each a multiply-add of its own.
        assert_eq!((whole.params, whole.multiply_adds), (29, 29));
    }
}
