//! CIFAR-10 in its official binary version: five files to train on and one to test with, of
//! 10,000 records each; a record is a label and an image, row-major [3, 32, 32].

use std::fs;
use std::path::{Path, PathBuf};

use ghnas_core::Shape;
use md5::{Digest, Md5};

use super::split::{Division, divide};
use super::{DataError, DataSet, ImageSetInfo, Source, Split, TestSplit};

pub(super) const SHAPE: Shape = Shape::new(3, 32, 32);
pub(super) const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// Bytes of a label and an image.
pub(super) const RECORD: usize = 1 + SHAPE.elements();

/// One official file.
#[derive(Debug, Clone)]
pub(super) struct BinaryFile {
    pub(super) name: &'static str,
    pub(super) md5: String,
}

/// The files of one edition of the data set. There is one official edition; tests make small ones.
#[derive(Debug, Clone)]
pub(super) struct Edition {
    pub(super) train: Vec<BinaryFile>,
    pub(super) test: BinaryFile,
    /// Records in every file.
    pub(super) records: usize,
}

impl Edition {
    pub(super) fn official() -> Self {
        let file = |name, md5: &str| BinaryFile { name, md5: md5.to_owned() };
        Self {
            train: vec![
                file("data_batch_1.bin", "5dd7e06a14cb22eb9f671a540d1b7c25"),
                file("data_batch_2.bin", "5ea93a67294ea407fff1d09f752e9692"),
                file("data_batch_3.bin", "942cd6a4bcdd0dd3c604fbe906cb4421"),
                file("data_batch_4.bin", "ae636b3ba5c66a11e91e8cb52e771fcb"),
                file("data_batch_5.bin", "53f37980c15c3d472c316c40844f3f0d"),
            ],
            test: file("test_batch.bin", "803d5f7f4d78ea53de84dbe85f74fb6d"),
            records: 10_000,
        }
    }

    /// The files to train on, then the one to test with.
    pub(super) fn files(&self) -> impl Iterator<Item = &BinaryFile> + Clone {
        self.train.iter().chain([&self.test])
    }

    /// `dir`, or the folder in it that the official archive unpacks to, whichever holds every
    /// file in `files`.
    pub(super) fn locate<'a>(
        dir: &Path,
        files: impl Iterator<Item = &'a BinaryFile> + Clone,
    ) -> Result<PathBuf, DataError> {
        let missing = |dir: &Path| -> Vec<String> {
            let absent = files.clone().filter(|file| !dir.join(file.name).is_file());
            absent.map(|file| file.name.to_owned()).collect()
        };
        let below = dir.join("cifar-10-batches-bin");
        let here = missing(dir);
        if here.is_empty() {
            return Ok(dir.to_owned());
        }
        if !below.is_dir() {
            return Err(DataError::Missing { dir: dir.to_owned(), files: here });
        }
        match missing(&below) {
            files if files.is_empty() => Ok(below),
            files => Err(DataError::Missing { dir: below, files }),
        }
    }

    /// Checks that `bytes` are the records of one file, in length and labels.
    pub(super) fn check_records(&self, file: &str, bytes: &[u8]) -> Result<(), DataError> {
        self.check_length(file, bytes.len() as u64)?;
        for (record, bytes) in bytes.chunks_exact(RECORD).enumerate() {
            let (value, largest) = (bytes[0].into(), CLASSES.len() - 1);
            if value > largest as u64 {
                return Err(DataError::Label { file: file.to_owned(), record, value, largest });
            }
        }
        Ok(())
    }

    fn check_length(&self, file: &str, length: u64) -> Result<(), DataError> {
        let file = file.to_owned();
        if !length.is_multiple_of(RECORD as u64) {
            return Err(DataError::PartialRecord { file, length, record: RECORD });
        }
        let got = (length / RECORD as u64) as usize;
        if got != self.records {
            let (what, expected) = ("images", self.records);
            return Err(DataError::Count { file, what, got, expected });
        }
        Ok(())
    }

    /// Checks that `bytes`, which errors call `place`, are the official contents of `file`.
    pub(super) fn verify(
        &self,
        file: &BinaryFile,
        place: &str,
        bytes: &[u8],
    ) -> Result<(), DataError> {
        let got = md5(bytes);
        if got == file.md5 {
            return Ok(());
        }
        Err(DataError::Digest { file: place.to_owned(), got, expected: file.md5.clone() })
    }

    /// Reads one file and checks its records.
    pub(super) fn read(&self, path: &Path) -> Result<Vec<u8>, DataError> {
        let unreadable = |source| DataError::read(path, source);
        let file = path.display().to_string();
        // A foreign file may be huge, so its length is judged before it is read.
        self.check_length(&file, fs::metadata(path).map_err(unreadable)?.len())?;
        let bytes = fs::read(path).map_err(unreadable)?;
        self.check_records(&file, &bytes)?;
        Ok(bytes)
    }

    /// The training images in `dir`, in the order of the files.
    pub(super) fn training_records(&self, dir: &Path) -> Result<Records, DataError> {
        let dir = Self::locate(dir, self.train.iter())?;
        let read = |file: &BinaryFile| self.read(&dir.join(file.name));
        Ok(Records(self.train.iter().map(read).collect::<Result<Vec<_>, _>>()?.concat()))
    }

    fn load_for_search(
        &self,
        dir: &Path,
        validation: usize,
        seed: u64,
    ) -> Result<DataSet, DataError> {
        let records = self.training_records(dir)?;
        let Division { train, validation } =
            divide(&records.labels(), CLASSES.len(), validation, seed)?;
        let (train, validation) = (records.split(&train)?, records.split(&validation)?);
        DataSet::new(info(), Source::Folder(dir.to_owned()), train, validation)
    }

    fn load_test(&self, dir: &Path) -> Result<TestSplit, DataError> {
        let dir = Self::locate(dir, [&self.test].into_iter())?;
        let records = Records(self.read(&dir.join(self.test.name))?);
        let all: Vec<usize> = (0..records.labels().len()).collect();
        Ok(TestSplit::new(info(), records.split(&all)?))
    }
}

/// Checked records, one after another.
pub(super) struct Records(Vec<u8>);

impl Records {
    pub(super) fn labels(&self) -> Vec<u16> {
        self.0.chunks_exact(RECORD).map(|record| record[0].into()).collect()
    }

    /// The records at `indices`, in this order.
    pub(super) fn split(&self, indices: &[usize]) -> Result<Split, DataError> {
        let mut pixels = Vec::with_capacity(indices.len() * SHAPE.elements());
        let mut labels = Vec::with_capacity(indices.len());
        for index in indices {
            let record = &self.0[index * RECORD..][..RECORD];
            labels.push(record[0].into());
            pixels.extend_from_slice(&record[1..]);
        }
        Split::new(&info(), pixels, labels)
    }
}

/// The MD5 sum, hexadecimal.
pub(super) fn md5(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is true of every CIFAR-10 image.
pub(super) fn info() -> ImageSetInfo {
    ImageSetInfo {
        name: "cifar10".to_owned(),
        shape: SHAPE,
        class_names: CLASSES.map(str::to_owned).to_vec(),
        // Over the 50,000 training images; a test computes them where these are at hand.
        mean: vec![125.307, 122.950, 113.865],
        deviation: vec![62.99, 62.09, 66.70],
    }
}

/// The training images in `dir` (or in `cifar-10-batches-bin` below it), of which `validation`
/// are kept to validate with: the same number of every class, chosen by a shuffle that `seed`
/// fixes. Test images are not opened.
///
/// # Errors
/// [`DataError`] where a file is missing, truncated or foreign, or has a label above 9, and where
/// `validation` leaves a class without images.
pub fn load_for_search(dir: &Path, validation: usize, seed: u64) -> Result<DataSet, DataError> {
    Edition::official().load_for_search(dir, validation, seed)
}

/// The 10,000 test images in `dir` (or in `cifar-10-batches-bin` below it).
///
/// # Errors
/// [`DataError`] where the file is missing, truncated or foreign, or has a label above 9.
pub fn load_test(dir: &Path) -> Result<TestSplit, DataError> {
    Edition::official().load_test(dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::fixture::{Fixture, RECORDS, full_set};

    /// The message of the error for a folder in which one file has been changed.
    #[track_caller]
    fn refusal(change: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut fixture = Fixture::new();
        change(&mut fixture.files[2].1);
        let place = tempfile::tempdir().unwrap();
        fixture.write_folder(place.path());
        let error = fixture.edition.load_for_search(place.path(), 10, 0).unwrap_err().to_string();
        let path = place.path().join("data_batch_3.bin").display().to_string();
        error.strip_prefix(&path).unwrap_or_else(|| panic!("{error} names {path}")).to_owned()
    }

    #[test]
    fn a_truncated_file_is_refused() {
        let message = refusal(|bytes| bytes.truncate(3 * RECORD + 5));
        assert_eq!(
            message,
            ": 9224 bytes are no multiple of 3073 (one label and one image each); it is \
             truncated, or not CIFAR-10's binary version"
        );
    }

    #[test]
    fn a_file_with_whole_images_missing_is_refused() {
        let message = refusal(|bytes| bytes.truncate(3 * RECORD));
        assert_eq!(message, ": it holds 3 images, expected 4");
        assert_eq!(refusal(Vec::clear), ": it holds 0 images, expected 4");
    }

    #[test]
    fn a_label_above_nine_is_refused() {
        let message = refusal(|bytes| bytes[2 * RECORD] = 10);
        assert_eq!(message, ": record 2 has label 10, but labels are 0 to 9");
    }

    #[test]
    fn missing_files_are_all_named() {
        let place = tempfile::tempdir().unwrap();
        let fixture = Fixture::new();
        fixture.write_folder(place.path());
        std::fs::remove_file(place.path().join("data_batch_2.bin")).unwrap();
        std::fs::remove_file(place.path().join("data_batch_5.bin")).unwrap();
        let error = fixture.edition.load_for_search(place.path(), 10, 0).unwrap_err().to_string();
        assert!(error.contains("has no data_batch_2.bin, data_batch_5.bin;"), "{error}");
        assert!(error.contains("`ghnas data fetch cifar10` gets the data set"), "{error}");
        assert!(load_for_search(&place.path().join("nowhere"), 10, 0).is_err());
    }

    #[test]
    fn every_training_image_is_loaded_with_its_label() {
        let place = tempfile::tempdir().unwrap();
        let fixture = Fixture::new();
        fixture.write_folder(&place.path().join("cifar-10-batches-bin"));
        let data = fixture.edition.load_for_search(place.path(), 10, 3).unwrap();
        assert_eq!((data.train().len(), data.validation().len()), (10, 10));
        assert_eq!(data.source(), &Source::Folder(place.path().to_owned()));

        let mut loaded = Vec::new();
        for split in [data.train(), data.validation()] {
            let mut labels = split.labels().to_vec();
            loaded.extend((0..split.len()).map(|i| [&[labels[i] as u8], split.image(i)].concat()));
            labels.sort_unstable();
            assert_eq!(labels, (0..10).collect::<Vec<_>>());
        }
        let training = &fixture.files[..5];
        let mut expected: Vec<Vec<u8>> = training
            .iter()
            .flat_map(|(_, bytes)| bytes.chunks_exact(RECORD).map(<[u8]>::to_vec))
            .collect();
        loaded.sort();
        expected.sort();
        assert_eq!(loaded, expected);
    }

    #[test]
    fn a_search_needs_no_test_file_and_a_test_no_other() {
        let place = tempfile::tempdir().unwrap();
        let fixture = Fixture::new();
        fixture.write_folder(place.path());
        let test = place.path().join("test_batch.bin");
        let set_aside = place.path().join("elsewhere");
        std::fs::create_dir(&set_aside).unwrap();
        std::fs::rename(test, set_aside.join("test_batch.bin")).unwrap();
        assert!(fixture.edition.load_for_search(place.path(), 10, 0).is_ok());
        let test = fixture.edition.load_test(&set_aside).unwrap();
        assert_eq!(test.len(), RECORDS);
        assert_eq!(test.images(0, RECORDS).1, [0, 1, 2, 3]);
        let first = f32::from(fixture.files[5].1[1]);
        assert_eq!(test.images(0, 1).0[0], (first - 125.307) / 62.99);
    }

    /// Where `GHNAS_DATA` names the full data set: the published means and deviations are those
    /// of its training images, and the default split is balanced.
    #[test]
    fn the_statistics_are_those_of_the_training_images() {
        let Some(dir) = full_set() else { return };
        let data = load_for_search(&dir, 5_000, 0).unwrap();
        assert_eq!((data.train().len(), data.validation().len()), (45_000, 5_000));
        for class in 0..10 {
            let of_class = data.validation().labels().iter().filter(|&&label| label == class);
            assert_eq!(of_class.count(), 500);
        }
        for channel in 0..SHAPE.channels {
            let mut histogram = [0_u64; 256];
            for split in [data.train(), data.validation()] {
                for image in 0..split.len() {
                    let plane = &split.image(image)[channel * SHAPE.pixels()..][..SHAPE.pixels()];
                    plane.iter().for_each(|&pixel| histogram[usize::from(pixel)] += 1);
                }
            }
            let count: u64 = histogram.iter().sum();
            let mean_of = |value: &dyn Fn(f64) -> f64| -> f64 {
                let terms = histogram.iter().enumerate();
                terms.map(|(pixel, &n)| value(pixel as f64) * n as f64).sum::<f64>() / count as f64
            };
            let mean = mean_of(&|pixel| pixel);
            let deviation = mean_of(&|pixel| (pixel - mean).powi(2)).sqrt();
            assert!((mean - f64::from(info().mean[channel])).abs() < 0.001, "{mean}");
            assert!(
                (deviation - f64::from(info().deviation[channel])).abs() < 0.006,
                "{deviation}"
            );
        }
    }
}
