//! Scores a network with generated weights, without training it (section 5.1).

use std::iter::zip;
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
use crate::config::{EnsembleLoss, SearchConfig, VariantConfig};
use crate::data::DataSet;
use crate::error::EngineError;

/// How good a network is, and how large.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Score {
    /// Mean cross-entropy on the validation images, in nats; with `search.calibrate` after
    /// temperature scaling, of an ensemble what `search.ensemble` says, and with the share of each
    /// of `search.variants`.
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
    /// The most images in a batch.
    most: usize,
    weights: Weights,
    /// Logits of one batch, [outputs, count, classes].
    batch: Vec<f32>,
    /// Of all images by the last output, [images, classes].
    logits: Vec<f32>,
    /// [images]
    losses: Vec<f64>,
    /// Sums over the members of an ensemble, [images, classes].
    probabilities: Vec<f64>,
    /// What the loss of an ensemble is.
    ensemble: EnsembleLoss,
    /// Whether the loss is after temperature scaling.
    calibrate: bool,
    /// What each image counts for in the loss; all the same where there are none.
    image_weights: Option<Arc<[f64]>>,
    /// What each of `search.variants` counts for.
    variants: Arc<[Part]>,
}

/// What one of an architecture's networks counts for.
#[derive(Debug, Clone, Copy)]
struct Part {
    /// The share of the loss.
    share: f64,
    /// How many images it is run on: the first.
    images: usize,
}

impl Scorer {
    /// A scorer on the first `images` validation images of `data`, in the fewest batches of at
    /// most `batch` images; their sizes differ by at most one.
    pub fn new(data: &DataSet, images: usize, batch: usize) -> Self {
        let (images, labels) = data.validation_images(images);
        Self {
            most: batch,
            images: images.into(),
            labels: labels.into(),
            weights: Weights::default(),
            batch: Vec::new(),
            logits: Vec::new(),
            losses: Vec::new(),
            probabilities: Vec::new(),
            ensemble: EnsembleLoss::default(),
            calibrate: false,
            image_weights: None,
            variants: Arc::new([]),
        }
    }

    /// A scorer on the images that `config` says, with the loss that it says.
    pub fn of(data: &DataSet, config: &SearchConfig) -> Self {
        Self::on(data, config.images, config)
    }

    /// As [`of`](Self::of), on another number of images, of which variants are scored on the same
    /// part.
    pub(crate) fn on(data: &DataSet, images: usize, config: &SearchConfig) -> Self {
        let SearchConfig { calibrate, ensemble, batch, images: few, .. } = *config;
        let part = |variant: &VariantConfig| Part {
            share: variant.share,
            images: variant.images * images / few,
        };
        let variants = config.variants.iter().map(part).collect();
        Self { calibrate, ensemble, variants, ..Self::new(data, images, batch) }
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
    /// the statistics of each batch. The accuracy of an ensemble is by the mean of its members'
    /// probabilities.
    ///
    /// # Errors
    /// [`ScoreError`] says what failed.
    pub fn score(
        &mut self,
        network: &Network,
        generator: &mut dyn WeightGenerator,
        executor: &mut dyn Executor,
    ) -> Result<Score, ScoreError> {
        self.score_with(network, &[], generator, executor)
    }

    /// As [`score`](Self::score), but that the networks of `search.variants` count for their share
    /// of the loss.
    ///
    /// # Errors
    /// [`ScoreError`] says what failed.
    pub(crate) fn score_with(
        &mut self,
        network: &Network,
        variants: &[Network],
        generator: &mut dyn WeightGenerator,
        executor: &mut dyn Executor,
    ) -> Result<Score, ScoreError> {
        self.losses(network, variants, generator, executor)?;
        let losses = self.losses.iter().copied();
        let loss = match &self.image_weights {
            None => mean(losses),
            Some(weights) => losses.zip(&weights[..]).map(|(loss, weight)| loss * weight).sum(),
        };
        Ok(Score {
            loss,
            accuracy: cross_entropy(&self.logits, &self.labels, network.classes()).accuracy(),
            params: network.param_count() as u64,
            multiply_adds: multiply_adds(network, Counting::default()).0,
        })
    }

    /// The loss of every image, in order, in nats. A variant that is run on a part of the images
    /// counts for as much more on these, so that the mean has its share of the variant's mean.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    pub(crate) fn losses(
        &mut self,
        network: &Network,
        variants: &[Network],
        generator: &mut dyn WeightGenerator,
        executor: &mut dyn Executor,
    ) -> Result<&[f64], ScoreError> {
        let all = self.image_count();
        self.losses.clear();
        self.losses.resize(all, 0.0);
        let parts = self.variants.clone();
        let mut own = Part { share: 1.0, images: all };
        for (variant, &part) in zip(variants, &*parts) {
            self.add_network(variant, part, generator, executor)?;
            own.share -= part.share;
        }
        // The last, so that the logits are its.
        self.add_network(network, own, generator, executor)?;
        match self.losses.iter().all(|loss| loss.is_finite()) {
            true => Ok(&self.losses),
            false => Err(ScoreError::NotFinite),
        }
    }

    /// Adds what a network counts for to the losses, and finds its logits: of an ensemble the
    /// logarithms of the members' mean probabilities.
    fn add_network(
        &mut self,
        network: &Network,
        part: Part,
        generator: &mut dyn WeightGenerator,
        executor: &mut dyn Executor,
    ) -> Result<(), ScoreError> {
        match generator.members() {
            [] => {
                self.run(network, part.images, generator, executor)?;
                self.add_losses(network.classes(), part.share);
                Ok(())
            }
            members => self.add_ensemble(network, part, members, executor),
        }
    }

    fn add_ensemble(
        &mut self,
        network: &Network,
        Part { share, images }: Part,
        members: &mut [Box<dyn WeightGenerator>],
        executor: &mut dyn Executor,
    ) -> Result<(), ScoreError> {
        let (classes, count) = (network.classes(), members.len() as f64);
        self.probabilities.clear();
        self.probabilities.resize(images * classes, 0.0);
        for member in members {
            self.run(network, images, &mut **member, executor)?;
            let rows = self.logits.chunks_exact(classes);
            for (sums, row) in self.probabilities.chunks_exact_mut(classes).zip(rows) {
                add_probabilities(sums, row);
            }
            if self.ensemble == EnsembleLoss::Mean {
                self.add_losses(classes, share / count);
            }
        }
        let all = self.logits.iter_mut().zip(&self.probabilities);
        all.for_each(|(logit, sum)| *logit = (sum / count).ln() as f32);
        if self.ensemble == EnsembleLoss::Probabilities {
            self.add_losses(classes, share);
        }
        Ok(())
    }

    /// Adds the losses of the images that there are logits of, so that their mean counts for
    /// `share` of the mean over all images.
    fn add_losses(&mut self, classes: usize, share: f64) {
        let Self { logits, labels, losses, .. } = self;
        let labels = &labels[..logits.len() / classes];
        let share = share * (losses.len() as f64 / labels.len() as f64);
        let factor = match self.calibrate {
            true => calibrating_factor(logits, labels, classes),
            false => 1.0,
        };
        let all = losses.iter_mut().zip(scaled_losses(logits, labels, classes, factor));
        all.for_each(|(sum, loss)| *sum += share * loss);
    }

    /// Finds the logits of the first `images` with the weights of one generator.
    fn run(
        &mut self,
        network: &Network,
        images: usize,
        generator: &mut dyn WeightGenerator,
        executor: &mut dyn Executor,
    ) -> Result<(), ScoreError> {
        let Self { images: all, most, weights, batch, logits, .. } = self;
        weights.reset_for(network.params());
        generator.predict(network, weights).map_err(ScoreError::Generator)?;
        let size = network.input().elements();
        logits.clear();
        for range in even_batches(images, *most) {
            let count = range.len();
            let data = &all[range.start * size..range.end * size];
            let last = last_logits(network, weights, Images { data, count }, executor, batch);
            logits.extend_from_slice(last.map_err(ScoreError::Executor)?);
        }
        Ok(())
    }
}

/// Adds the probabilities of an image's logits.
fn add_probabilities(sums: &mut [f64], logits: &[f32]) {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mass = |logit: f32| f64::from(logit - largest).exp();
    let total: f64 = logits.iter().map(|&logit| mass(logit)).sum();
    sums.iter_mut().zip(logits).for_each(|(sum, &logit)| *sum += mass(logit) / total);
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
    fn an_ensemble_scores_with_the_mean_of_losses_or_of_probabilities() {
        let config = toy::config(&[]);
        let mut parts = toy::parts(&config);
        let network = parts.space.lower(&toy::chain(&["wide", "narrow"]), parts.task()).unwrap();
        let member = |seed: u64| toy::parts(&toy::config(&[&format!("seed={seed}")])).generator;
        let mut losses = |ensemble: &str, seeds: &[u64]| {
            let config = toy::config(&[&format!("search.ensemble={ensemble}")]);
            let mut scorer = Scorer::of(&parts.data, &config.search);
            let mut several = Several(seeds.iter().map(|&seed| member(seed)).collect());
            scorer.losses(&network, &[], &mut several, &mut *parts.executor).unwrap().to_vec()
        };
        let (one, other) = (losses("mean", &[1]), losses("mean", &[2]));
        let (mean, probabilities) = (losses("mean", &[1, 2]), losses("probabilities", &[1, 2]));
        for (index, (one, other)) in one.iter().zip(&other).enumerate() {
            assert!(one != other && (mean[index] - 0.5 * (one + other)).abs() < 1e-12);
            // The loss of an image is the logarithm of its label's probability.
            let expected = -(0.5 * ((-one).exp() + (-other).exp())).ln();
            let got = probabilities[index];
            assert!((got - expected).abs() < 1e-6, "{one}, {other}: {got}");
        }
        let mut single = |ensemble| losses(ensemble, &[1]);
        let both = single("mean").into_iter().zip(single("probabilities")).zip(&one);
        for ((mean, probabilities), one) in both {
            assert!(mean == *one && (probabilities - one).abs() < 1e-6);
        }
        let mut scorer = Scorer::of(&parts.data, &config.search);
        let alone = scorer.losses(&network, &[], &mut *member(1), &mut *parts.executor).unwrap();
        assert_eq!(alone, one);
    }

    #[test]
    fn a_variant_counts_for_its_share() {
        let variants = "search.variants=[{ settings = { repeats = 3 }, share = 0.25, images = 4 }]";
        let config = toy::config(&[variants]);
        let mut parts = toy::parts(&config);
        let lowered = parts.lowering().lower(&toy::chain(&["wide", "narrow"])).unwrap();
        let (generator, executor) = (&mut *parts.generator, &mut *parts.executor);
        let mut scorer = Scorer::of(&parts.data, &config.search);
        let own = scorer.score(&lowered.network, generator, executor).unwrap();
        let variant = &lowered.variants[0];
        let layers = |network: &Network| network.params().len() / 2;
        assert_eq!(layers(variant), 1 + 3 * (layers(&lowered.network) - 1));
        let mut few = Scorer::new(&parts.data, 4, 4);
        let variant = few.score(variant, generator, executor).unwrap();
        let both = scorer.score_with(&lowered.network, &lowered.variants, generator, executor);
        let both = both.unwrap();
        assert!((both.loss - (0.75 * own.loss + 0.25 * variant.loss)).abs() < 1e-12);
        assert!(own.loss != variant.loss);
        assert_eq!(Score { loss: own.loss, ..both }, own);
        // Of other images the same part.
        let mut half = Scorer::on(&parts.data, 5, &config.search);
        let [own, both] = [&[][..], &lowered.variants].map(|variants| {
            mean(
                half.losses(&lowered.network, variants, generator, executor)
                    .unwrap()
                    .iter()
                    .copied(),
            )
        });
        let mut few = Scorer::new(&parts.data, 2, 4);
        let variant = few.score(&lowered.variants[0], generator, executor).unwrap();
        assert!((both - (0.75 * own + 0.25 * variant.loss)).abs() < 1e-12);
    }

    #[test]
    fn batches_are_even_and_cover_all_images() {
        for (images, batch, expected) in
            [(10, 4, vec![3, 3, 4]), (12, 4, vec![4, 4, 4]), (3, 100, vec![3])]
        {
            let batches: Vec<usize> =
                even_batches(images, batch).map(|range| range.len()).collect();
            assert_eq!(batches, expected);
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
