//! Scores a network with generated weights, without training it (section 5.1).

use std::ops::Range;
use std::sync::Arc;

use ghnas_core::loss::{LossSum, cross_entropy};
use ghnas_core::{
    Counting, Executor, ExecutorError, GeneratorError, Images, Network, WeightGenerator, Weights,
    multiply_adds,
};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::calibration::calibrated_loss;
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
    /// Of one batch, [outputs, count, classes].
    logits: Vec<f32>,
    /// Of all images by the last output, where the loss is after temperature scaling.
    to_calibrate: Option<Vec<f32>>,
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
            logits: Vec::new(),
            to_calibrate: None,
        }
    }

    /// A scorer on the images that `config` says, with the loss that it says.
    pub fn of(data: &DataSet, config: &SearchConfig) -> Self {
        let scorer = Self::new(data, config.images, config.batch);
        Self { to_calibrate: config.calibrate.then(Vec::new), ..scorer }
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
    /// the statistics of each batch.
    ///
    /// # Errors
    /// [`ScoreError`] says what failed.
    pub fn score(
        &mut self,
        network: &Network,
        generator: &mut dyn WeightGenerator,
        executor: &mut dyn Executor,
    ) -> Result<Score, ScoreError> {
        self.weights.reset_for(network.params());
        generator.predict(network, &mut self.weights).map_err(ScoreError::Generator)?;
        let size = network.input().elements();
        let mut sum = LossSum::default();
        self.to_calibrate.iter_mut().for_each(Vec::clear);
        let (mut images, mut labels) = (&self.images[..], &self.labels[..]);
        for &count in &self.batches {
            let (batch, rest) = images.split_at(count * size);
            let (batch_labels, rest_labels) = labels.split_at(count);
            (images, labels) = (rest, rest_labels);
            let Self { weights, logits, to_calibrate, .. } = self;
            let loss = batch_loss(network, weights, (batch, batch_labels), executor, logits);
            sum += loss.map_err(ScoreError::Executor)?;
            if let Some(all) = to_calibrate {
                all.extend_from_slice(&logits[logits.len() - count * network.classes()..]);
            }
        }
        let loss = match &self.to_calibrate {
            Some(all) => calibrated_loss(all, &self.labels, network.classes()),
            None => sum.mean_loss(),
        };
        if !loss.is_finite() {
            return Err(ScoreError::NotFinite);
        }
        Ok(Score {
            loss,
            accuracy: sum.accuracy(),
            params: network.param_count() as u64,
            multiply_adds: multiply_adds(network, Counting::default()).0,
        })
    }
}

/// The fewest batches of at most `batch` of `count` images, in order; their sizes differ by at most
/// one.
pub(crate) fn even_batches(count: usize, batch: usize) -> impl Iterator<Item = Range<usize>> {
    let batches = count.div_ceil(batch);
    (0..batches).map(move |number| number * count / batches..(number + 1) * count / batches)
}

/// The loss of a batch by the network's last output; `logits` is a buffer.
pub(crate) fn batch_loss(
    network: &Network,
    weights: &Weights,
    (images, labels): (&[f32], &[u16]),
    executor: &mut dyn Executor,
    logits: &mut Vec<f32>,
) -> Result<LossSum, ExecutorError> {
    let (count, classes) = (labels.len(), network.classes());
    executor.evaluate(network, weights, Images { data: images, count }, logits)?;
    let last = logits.len() - count * classes;
    Ok(cross_entropy(&logits[last..], labels, classes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy;

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
