//! Images in memory: the splits that a search sees, and the test split that it never does.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use ghnas_core::{Shape, Task};

use super::DataError;

/// What is true of every image of a data set.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageSetInfo {
    /// The data set's name, as in the config key `data.name`.
    pub name: String,
    /// The shape of one image.
    pub shape: Shape,
    /// Names of the classes; a label is a position in this list.
    pub class_names: Vec<String>,
    /// Mean of each channel over the training images, in pixel values 0 to 255.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel over the training images, in pixel values.
    pub deviation: Vec<f32>,
}

impl ImageSetInfo {
    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.class_names.len()
    }

    /// What networks for these images are for.
    pub fn task(&self) -> Task {
        Task { image: self.shape, classes: self.classes() }
    }

    /// What every pixel value of every channel becomes: `(value - mean) / deviation`.
    pub(super) fn normalised_values(&self) -> Vec<[f32; 256]> {
        let channels = self.mean.iter().zip(&self.deviation);
        let table = |(mean, deviation): (&f32, &f32)| {
            std::array::from_fn(|value| (value as f32 - mean) / deviation)
        };
        channels.map(table).collect()
    }
}

/// Where images came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The excerpt that is built into the program.
    Excerpt,
    /// A folder of files.
    Folder(PathBuf),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Excerpt => write!(f, "the built-in excerpt"),
            Self::Folder(folder) => write!(f, "{}", folder.display()),
        }
    }
}

/// Images with their labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    shape: Shape,
    // [images, channels, height, width]
    pixels: Vec<u8>,
    labels: Vec<u16>,
}

impl Split {
    /// Images of `info`'s shape, row-major [images, channels, height, width], and a label each.
    ///
    /// # Errors
    /// [`DataError::Length`] where there are not as many images as labels, [`DataError::Label`]
    /// for the first label that names no class.
    pub fn new(info: &ImageSetInfo, pixels: Vec<u8>, labels: Vec<u16>) -> Result<Self, DataError> {
        let expected = labels.len() * info.shape.elements();
        if pixels.len() != expected {
            let got = pixels.len();
            return Err(DataError::Length { what: "the list of pixels", got, expected });
        }
        match labels.iter().position(|&label| usize::from(label) >= info.classes()) {
            Some(record) => Err(DataError::Label {
                file: info.name.clone(),
                record,
                value: labels[record].into(),
                largest: info.classes().saturating_sub(1),
            }),
            None => Ok(Self { shape: info.shape, pixels, labels }),
        }
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The label of each image.
    pub fn labels(&self) -> &[u16] {
        &self.labels
    }

    /// Pixel values of one image, row-major [channels, height, width].
    pub fn image(&self, index: usize) -> &[u8] {
        let elements = self.shape.elements();
        &self.pixels[index * elements..][..elements]
    }

    /// The images at `indices`, normalised [indices, channels, height, width], and their labels.
    fn normalised(&self, info: &ImageSetInfo, indices: &[usize]) -> (Vec<f32>, Vec<u16>) {
        let values = info.normalised_values();
        let mut images = Vec::with_capacity(indices.len() * self.shape.elements());
        for &index in indices {
            let channels = self.image(index).chunks_exact(self.shape.pixels());
            for (channel, values) in channels.zip(&values) {
                images.extend(channel.iter().map(|&pixel| values[usize::from(pixel)]));
            }
        }
        (images, indices.iter().map(|&index| self.labels[index]).collect())
    }

    /// All positions, ordered so that the classes take turns for as long as each has images left.
    fn classes_in_turn(&self, classes: usize) -> Vec<usize> {
        let mut seen = vec![0_usize; classes];
        let turn = |&label: &u16| {
            let round = &mut seen[usize::from(label)];
            *round += 1;
            (*round, label)
        };
        let turns: Vec<(usize, u16)> = self.labels.iter().map(turn).collect();
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_by_key(|&index| turns[index]);
        order
    }
}

/// What a search may see: images to train on and others to validate with. Never test images.
///
/// Cloning shares the images.
#[derive(Debug, Clone)]
pub struct DataSet {
    info: Arc<ImageSetInfo>,
    source: Source,
    train: Arc<Split>,
    validation: Arc<Split>,
}

impl DataSet {
    /// A data set from its two splits.
    ///
    /// # Errors
    /// [`DataError::Length`] where a split's images, the means or the deviations do not have
    /// `info`'s shape; [`DataError::Label`] where a label names none of its classes.
    pub fn new(
        info: ImageSetInfo,
        source: Source,
        train: Split,
        validation: Split,
    ) -> Result<Self, DataError> {
        let length = |what, got: usize, expected: usize| {
            if got == expected { Ok(()) } else { Err(DataError::Length { what, got, expected }) }
        };
        length("the list of means", info.mean.len(), info.shape.channels)?;
        length("the list of deviations", info.deviation.len(), info.shape.channels)?;
        // A split that was made for another data set is checked against this one.
        let train = Split::new(&info, train.pixels, train.labels)?;
        let validation = Split::new(&info, validation.pixels, validation.labels)?;
        let (train, validation) = (Arc::new(train), Arc::new(validation));
        Ok(Self { info: Arc::new(info), source, train, validation })
    }

    /// What is true of every image.
    pub fn info(&self) -> &ImageSetInfo {
        &self.info
    }

    /// Where the images came from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The images to train on.
    pub fn train(&self) -> &Split {
        &self.train
    }

    /// The images to validate with.
    pub fn validation(&self) -> &Split {
        &self.validation
    }

    /// The first `count` validation images (all, where there are fewer), normalised
    /// [images, channels, height, width], with their labels. The classes take turns, so that any
    /// prefix is as balanced as its length allows, and the order is always the same.
    pub fn validation_images(&self, count: usize) -> (Vec<f32>, Vec<u16>) {
        let mut order = self.validation.classes_in_turn(self.info.classes());
        order.truncate(count);
        self.validation.normalised(&self.info, &order)
    }
}

/// Test images, for a network that has been chosen already.
///
/// Nothing turns it into a [`Split`] or a [`DataSet`], so that nothing that ranks can be given it:
///
/// ```
/// use ghnas_engine::{Scorer, data::DataSet};
/// fn scorer(validation: &DataSet) -> Scorer {
///     Scorer::new(validation, 500, 100)
/// }
/// ```
///
/// ```compile_fail,E0308
/// use ghnas_engine::{Scorer, data::TestSplit};
/// fn scorer(test: &TestSplit) -> Scorer {
///     Scorer::new(test, 500, 100)
/// }
/// ```
#[derive(Debug, Clone)]
pub struct TestSplit {
    info: ImageSetInfo,
    split: Split,
}

impl TestSplit {
    pub(super) fn new(info: ImageSetInfo, split: Split) -> Self {
        Self { info, split }
    }

    /// What is true of every image.
    pub fn info(&self) -> &ImageSetInfo {
        &self.info
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.split.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.split.is_empty()
    }

    /// Normalised images from `start` on, at most `count`, [images, channels, height, width], with
    /// their labels, in the order of the file.
    pub fn images(&self, start: usize, count: usize) -> (Vec<f32>, Vec<u16>) {
        let end = start.saturating_add(count).min(self.len());
        let indices: Vec<usize> = (start.min(end)..end).collect();
        self.split.normalised(&self.info, &indices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two classes of images of 2 channels and 1x2 pixels.
    fn info() -> ImageSetInfo {
        ImageSetInfo {
            name: "tiny".to_owned(),
            shape: Shape::new(2, 1, 2),
            class_names: vec!["a".to_owned(), "b".to_owned()],
            mean: vec![10.0, 20.0],
            deviation: vec![2.0, 4.0],
        }
    }

    fn images(labels: &[u16]) -> Split {
        let pixels = (0..labels.len() as u8).flat_map(|i| [i, i + 10, i + 20, 255]).collect();
        Split::new(&info(), pixels, labels.to_vec()).unwrap()
    }

    #[test]
    fn validation_images_are_normalised_and_take_turns() {
        let (train, validation) = (images(&[0]), images(&[1, 1, 1, 0, 0]));
        let data = DataSet::new(info(), Source::Excerpt, train, validation).unwrap();
        let (values, labels) = data.validation_images(100);
        assert_eq!(labels, [0, 1, 0, 1, 1]);
        let first: Vec<f32> = values.iter().step_by(4).copied().collect();
        assert_eq!(first, [-3.5, -5.0, -3.0, -4.5, -4.0]); // images 3, 0, 4, 1, 2
        assert_eq!(values[..4], [-3.5, 1.5, 0.75, 58.75]);
        let (prefix, labels) = data.validation_images(2);
        assert_eq!((prefix.as_slice(), labels.len()), (&values[..8], 2));
    }

    #[test]
    fn test_images_keep_their_order() {
        let test = TestSplit::new(info(), images(&[1, 1, 0]));
        assert_eq!(test.images(0, 10).1, [1, 1, 0]);
        assert_eq!(test.images(1, 2).0[0], -4.5);
        assert_eq!(test.images(3, 1), (vec![], vec![]));
        assert_eq!(test.images(9, usize::MAX), (vec![], vec![]));
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        let error = Split::new(&info(), vec![0; 7], vec![0, 1]).unwrap_err().to_string();
        assert_eq!(error, "the list of pixels has 7 values, expected 8");
        let error = Split::new(&info(), vec![0; 8], vec![0, 2]).unwrap_err().to_string();
        assert_eq!(error, "tiny: record 1 has label 2, but labels are 0 to 1");
        let wrong = ImageSetInfo { mean: vec![1.0], ..info() };
        let error = DataSet::new(wrong, Source::Excerpt, images(&[0]), images(&[1])).unwrap_err();
        assert_eq!(error.to_string(), "the list of means has 1 values, expected 2");
        let wrong = ImageSetInfo { shape: Shape::new(2, 3, 3), ..info() };
        assert!(DataSet::new(wrong, Source::Excerpt, images(&[0]), images(&[1])).is_err());
    }
}
