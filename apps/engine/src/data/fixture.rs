//! A tiny edition of CIFAR-10 for tests, in each of the forms that the full one comes in.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use rand::Rng;

use super::cifar10::{Edition, RECORD, SHAPE, md5};
use super::sheet::{self, Layout};
use super::tfjs;

/// Names and contents of files.
pub(super) type NamedFiles = Vec<(String, Vec<u8>)>;

/// Images in each of the six files: every class is twice among those to train on.
pub(super) const RECORDS: usize = 4;

pub(super) struct Fixture {
    pub(super) edition: Edition,
    /// Name and contents of each file; the test file is the last.
    pub(super) files: NamedFiles,
}

impl Fixture {
    /// Random pixels; the labels go round.
    pub(super) fn new() -> Self {
        let mut edition = Edition::official();
        edition.records = RECORDS;
        let mut files = Vec::new();
        let every = edition.train.iter_mut().chain([&mut edition.test]);
        for (number, file) in every.enumerate() {
            let mut bytes = vec![0; RECORDS * RECORD];
            ghnas_core::rng::stream(0, "fixture", number as u64).fill_bytes(&mut bytes);
            for (index, record) in bytes.chunks_exact_mut(RECORD).enumerate() {
                record[0] = ((number * RECORDS + index) % 10) as u8;
            }
            file.md5 = md5(&bytes);
            files.push((file.name.to_owned(), bytes));
        }
        Self { edition, files }
    }

    pub(super) fn write_folder(&self, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        self.files.iter().for_each(|(name, bytes)| fs::write(folder.join(name), bytes).unwrap());
    }

    /// The members of the official archive.
    pub(super) fn official(&self) -> NamedFiles {
        let member = |(name, bytes): &(String, Vec<u8>)| {
            (format!("cifar-10-batches-bin/{name}"), bytes.clone())
        };
        self.files.iter().map(member).collect()
    }

    /// The members of the npm package, in the order that it has: labels behind the sheets.
    pub(super) fn package(&self) -> NamedFiles {
        let layout = Layout::Rows { images: RECORDS, pixels: SHAPE.pixels() };
        let mut members = Vec::new();
        for ((_, bytes), file) in self.files.iter().zip(self.edition.files()) {
            let pixels: Vec<u8> =
                bytes.chunks_exact(RECORD).flat_map(|record| &record[1..]).copied().collect();
            let sheet = sheet::encode(&pixels, layout).unwrap();
            members.push((format!("package/{}", tfjs::sheet_of(file)), sheet));
        }
        let labels = |files: &[(String, Vec<u8>)]| {
            let labels: Vec<u8> =
                files.iter().flat_map(|(_, bytes)| bytes.iter().step_by(RECORD)).copied().collect();
            serde_json::to_vec(&labels).unwrap()
        };
        let (test, train) = self.files.split_last().unwrap();
        members.push(("package/test_lables.json".to_owned(), labels(std::slice::from_ref(test))));
        members.push(("package/train_lables.json".to_owned(), labels(train)));
        members
    }
}

/// The folder of the full data set, where `GHNAS_DATA` names one that holds it.
pub(super) fn full_set() -> Option<PathBuf> {
    let dir = PathBuf::from(std::env::var_os("GHNAS_DATA")?);
    Edition::locate(&dir, Edition::official().files()).ok()
}

/// Writes a `.tar.gz` with these members.
pub(super) fn write_archive(path: &Path, members: &[(String, Vec<u8>)]) {
    let encoder = GzEncoder::new(File::create(path).unwrap(), Compression::fast());
    let mut archive = tar::Builder::new(encoder);
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap();
}
