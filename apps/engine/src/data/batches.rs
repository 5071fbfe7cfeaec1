//! Training batches, each a function of the seed and of its step alone.

use ghnas_core::rng;
use rand::seq::SliceRandom;

use super::augment::Augmentation;
use super::{DataError, DataSet};

/// How batches are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchOptions {
    /// Images a batch.
    pub batch: usize,
    /// Whether images are cropped and flipped at random.
    pub augment: bool,
}

/// The training images in random order, epoch after epoch.
///
/// Every epoch shuffles the images anew and gives each at most once; images left over when the
/// epoch does not divide into whole batches are dropped (those of another shuffle the next time).
/// Batch `step` can be asked for at any time, so to go on after an interruption takes nothing but
/// the step's number.
///
/// ```
/// use ghnas_engine::data::{BatchOptions, Batches, DataSet};
/// let data = DataSet::excerpt();
/// let mut batches = Batches::new(&data, BatchOptions { batch: 64, augment: true }, 7).unwrap();
/// let (mut images, mut labels) = (Vec::new(), Vec::new());
/// batches.fill(1_000, &mut images, &mut labels);
/// assert_eq!((images.len(), labels.len()), (64 * 3 * 32 * 32, 64));
/// ```
#[derive(Debug)]
pub struct Batches {
    data: DataSet,
    options: BatchOptions,
    seed: u64,
    values: Vec<[f32; 256]>,
    // The order of the epoch that was asked for last, kept because the next step mostly needs it.
    epoch: Option<u64>,
    order: Vec<u32>,
}

impl Batches {
    /// Batches of `data`'s training images.
    ///
    /// # Errors
    /// [`DataError::Batch`] where a batch would be empty or hold more images than there are.
    pub fn new(data: &DataSet, options: BatchOptions, seed: u64) -> Result<Self, DataError> {
        let images = data.train().len();
        if options.batch == 0 || options.batch > images {
            return Err(DataError::Batch { batch: options.batch, images });
        }
        let values = data.info().normalised_values();
        Ok(Self { data: data.clone(), options, seed, values, epoch: None, order: Vec::new() })
    }

    /// Whole batches in one epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        (self.data.train().len() / self.options.batch) as u64
    }

    /// Replaces the contents of `images` by batch `step`, normalised
    /// [batch, channels, height, width], and those of `labels` by the labels, one an image.
    pub fn fill(&mut self, step: u64, images: &mut Vec<f32>, labels: &mut Vec<u16>) {
        let (epoch, position) = (step / self.steps_per_epoch(), step % self.steps_per_epoch());
        self.shuffle_for(epoch);
        let BatchOptions { batch, augment } = self.options;
        let (split, shape) = (self.data.train(), self.data.info().shape);
        let chosen = &self.order[position as usize * batch..][..batch];

        // Every value is written below, so what an earlier batch left need not be cleared.
        images.resize(batch * shape.elements(), 0.0);
        labels.clear();
        let mut rng = rng::stream(self.seed, "augment", step);
        for (&index, output) in chosen.iter().zip(images.chunks_exact_mut(shape.elements())) {
            let index = index as usize;
            let drawn = if augment { Augmentation::draw(&mut rng) } else { Augmentation::NONE };
            drawn.apply(split.image(index), shape, &self.values, output);
            labels.push(split.labels()[index]);
        }
    }

    fn shuffle_for(&mut self, epoch: u64) {
        if self.epoch != Some(epoch) {
            self.order.clear();
            self.order.extend(0..self.data.train().len() as u32);
            self.order.shuffle(&mut rng::stream(self.seed, "shuffle", epoch));
            self.epoch = Some(epoch);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ghnas_core::Shape;
    use proptest::prelude::*;

    use super::*;
    use crate::data::{ImageSetInfo, Source, Split};

    /// Images of one pixel, so that image `i` is `i` once normalised; its label is `i % 2`.
    fn numbered(train: usize) -> DataSet {
        let info = ImageSetInfo {
            name: "numbered".to_owned(),
            shape: Shape::new(1, 1, 1),
            class_names: vec!["even".to_owned(), "odd".to_owned()],
            mean: vec![0.0],
            deviation: vec![1.0],
        };
        let split = |images: usize| {
            let labels = (0..images as u16).map(|image| image % 2).collect();
            Split::new(&info, (0..images as u8).collect(), labels).unwrap()
        };
        let (train, validation) = (split(train), split(4));
        DataSet::new(info, Source::Excerpt, train, validation).unwrap()
    }

    fn fill(batches: &mut Batches, step: u64) -> (Vec<f32>, Vec<u16>) {
        let (mut images, mut labels) = (vec![f32::NAN; 3], vec![9]);
        batches.fill(step, &mut images, &mut labels);
        (images, labels)
    }

    #[test]
    fn an_epoch_shows_each_image_at_most_once_and_drops_the_rest() {
        let data = numbered(11);
        let options = BatchOptions { batch: 4, augment: false };
        let mut batches = Batches::new(&data, options, 3).unwrap();
        assert_eq!(batches.steps_per_epoch(), 2);
        let mut seen = BTreeMap::new();
        for epoch in 0..50 {
            let mut of_epoch = Vec::new();
            for step in 0..2 {
                let (images, labels) = fill(&mut batches, epoch * 2 + step);
                for (image, label) in images.iter().zip(labels) {
                    assert_eq!(*image as u16 % 2, label);
                    of_epoch.push(*image as u8);
                }
            }
            of_epoch.iter().for_each(|&image| *seen.entry(image).or_insert(0) += 1);
            of_epoch.sort_unstable();
            of_epoch.dedup();
            assert_eq!(of_epoch.len(), 8);
        }
        // 400 places for 11 images: each is dropped in some epochs and shown in most.
        assert_eq!(seen.len(), 11);
        assert!(seen.values().all(|times| (20..50).contains(times)), "{seen:?}");
    }

    #[test]
    fn a_batch_has_one_image_at_least_and_the_whole_set_at_most() {
        let data = numbered(5);
        let make = |batch| Batches::new(&data, BatchOptions { batch, augment: true }, 0);
        for batch in [0, 6, usize::MAX] {
            let error = make(batch).unwrap_err().to_string();
            assert!(error.contains("cannot be drawn from 5; choose 1 to 5"), "{error}");
        }
        assert_eq!(make(5).unwrap().steps_per_epoch(), 1);
    }

    #[test]
    fn another_seed_is_another_order_and_other_crops() {
        let data = DataSet::excerpt();
        let batch = |seed| {
            let options = BatchOptions { batch: 8, augment: true };
            fill(&mut Batches::new(&data, options, seed).unwrap(), 0)
        };
        assert_ne!(batch(1), batch(2));
        assert_eq!(batch(1), batch(1));
    }

    #[test]
    fn augmentation_leaves_the_order_alone() {
        let data = DataSet::excerpt();
        let labels = |augment| {
            let options = BatchOptions { batch: 64, augment };
            fill(&mut Batches::new(&data, options, 1).unwrap(), 40).1
        };
        assert_eq!(labels(true), labels(false));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// What makes it possible to resume from a step's number.
        #[test]
        fn a_batch_depends_on_seed_and_step_alone(
            seed: u64,
            steps in proptest::collection::vec(0_u64..200, 1..6),
        ) {
            let data = numbered(100);
            let options = BatchOptions { batch: 7, augment: true };
            let mut wandering = Batches::new(&data, options, seed).unwrap();
            for step in steps {
                let mut fresh = Batches::new(&data, options, seed).unwrap();
                prop_assert_eq!(fill(&mut wandering, step), fill(&mut fresh, step));
            }
        }
    }
}
