//! The data set that is built in: 3,000 of CIFAR-10's training images, pixel for pixel.
//!
//! They are kept as two PNG sheets of tiles, so that a person can look at them. Tiles are grouped
//! by class, in the order of the labels, so that a tile's position gives its label. The means and
//! deviations are those of all of CIFAR-10.

use std::fs;
use std::path::Path;

use ghnas_core::rng;
use rand::seq::SliceRandom;

use super::cifar10::{self, CLASSES, Edition, SHAPE};
use super::sheet::{self, Layout};
use super::{DataError, DataSet, Source, Split};

/// One sheet.
struct Sheet {
    file: &'static str,
    png: &'static [u8],
    of_each_class: usize,
}

const TRAIN: Sheet = Sheet {
    file: "cifar10-excerpt-train.png",
    png: include_bytes!("../../assets/cifar10-excerpt-train.png"),
    of_each_class: 200,
};

const VALIDATION: Sheet = Sheet {
    file: "cifar10-excerpt-validation.png",
    png: include_bytes!("../../assets/cifar10-excerpt-validation.png"),
    of_each_class: 100,
};

impl Sheet {
    fn layout(&self) -> Layout {
        let images = self.of_each_class * CLASSES.len();
        Layout::Tiles { images, side: SHAPE.width, columns: 50 }
    }

    fn split(&self) -> Result<Split, DataError> {
        let pixels = sheet::decode(self.file, self.png, self.layout())?;
        let labels = (0..CLASSES.len() as u16)
            .flat_map(|class| std::iter::repeat_n(class, self.of_each_class))
            .collect();
        Split::new(&cifar10::info(), pixels, labels)
    }
}

impl DataSet {
    /// The built-in excerpt of CIFAR-10: 2,000 images to train on and 1,000 to validate with, the
    /// same number of every class, all from the training images of the full data set.
    pub fn excerpt() -> Self {
        let split = |sheet: Sheet| sheet.split().expect("a test decodes the built-in sheets");
        Self::new(cifar10::info(), Source::Excerpt, split(TRAIN), split(VALIDATION))
            .expect("both sheets hold images of CIFAR-10's shape")
    }
}

/// Chooses the excerpt from the training images in `cifar10` and writes its two sheets to
/// `folder`. This made the sheets that are built in.
///
/// # Errors
/// [`DataError`] where the training images cannot be read or a sheet cannot be written.
pub fn write_excerpt(cifar10: &Path, folder: &Path) -> Result<(), DataError> {
    for (sheet, split) in [TRAIN, VALIDATION].iter().zip(choose(cifar10)?) {
        let path = folder.join(sheet.file);
        let images: Vec<u8> = (0..split.len()).flat_map(|i| split.image(i)).copied().collect();
        let png = sheet::encode(&images, sheet.layout())
            .map_err(|error| DataError::write(&path, error.into()))?;
        fs::write(&path, png).map_err(|error| DataError::write(&path, error))?;
    }
    Ok(())
}

/// The excerpt's two splits, drawn from the training images in `cifar10`.
fn choose(cifar10: &Path) -> Result<[Split; 2], DataError> {
    let records = Edition::official().training_records(cifar10)?;
    let labels = records.labels();
    let mut chosen = [Vec::new(), Vec::new()];
    for class in 0..CLASSES.len() as u16 {
        let mut indices: Vec<usize> = (0..labels.len()).filter(|&i| labels[i] == class).collect();
        indices.shuffle(&mut rng::stream(0, "excerpt", class.into()));
        let mut rest = indices.into_iter();
        for (sheet, chosen) in [TRAIN, VALIDATION].iter().zip(&mut chosen) {
            chosen.extend(rest.by_ref().take(sheet.of_each_class));
        }
    }
    let [train, validation] = chosen;
    Ok([records.split(&train)?, records.split(&validation)?])
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::data::fixture::full_set;

    fn check_split(split: &Split, of_each_class: usize, sha256: &str) {
        assert_eq!(split.len(), of_each_class * 10);
        for class in 0..10 {
            let images = split.labels().iter().filter(|&&label| label == class).count();
            assert_eq!(images, of_each_class, "class {class}");
        }
        let mut hasher = Sha256::new();
        (0..split.len()).for_each(|image| hasher.update(split.image(image)));
        let got: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(got, sha256);
    }

    // The sums are over the pixels in memory order, and were taken when the sheets were made from
    // files with the official MD5 sums; a separate PNG decoder gave the same.
    #[test]
    fn the_sheets_hold_the_images_they_were_made_of() {
        let data = DataSet::excerpt();
        check_split(
            data.train(),
            200,
            "0da6a60111cc9dd49b171fe16dc379baf5676d8dc543454acc32413554056288",
        );
        check_split(
            data.validation(),
            100,
            "b16084294717d1f761767148ed7c4b6582f0ea412a47e862fa23091e2a98602f",
        );
    }

    #[test]
    fn no_image_is_in_both_splits() {
        let data = DataSet::excerpt();
        let images = |split: &Split| -> std::collections::BTreeSet<Vec<u8>> {
            (0..split.len()).map(|image| split.image(image).to_vec()).collect()
        };
        assert!(images(data.train()).is_disjoint(&images(data.validation())));
    }

    /// Where `GHNAS_DATA` names the full data set, the sheets are made again from it.
    #[test]
    fn the_sheets_can_be_made_again() {
        let Some(cifar10) = full_set() else { return };
        let [train, validation] = choose(&cifar10).unwrap();
        assert_eq!(train, TRAIN.split().unwrap());
        assert_eq!(validation, VALIDATION.split().unwrap());
    }
}
