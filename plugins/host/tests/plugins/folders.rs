//! Plugin folders: manifests, hashes, permissions, pins, order.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ghnas_core::Catalogue;
use ghnas_plugin_host::{Found, MANIFEST, Manifest, Origin, Pins, Plugins, SearchPath, install};
use tempfile::TempDir;

use crate::common::{compile, example};

/// A folder with the example space installed, and pins that do not know it.
fn installed() -> (TempDir, PathBuf, Pins) {
    let holder = tempfile::tempdir().unwrap();
    let (folder, _) = install(&example("space"), &holder.path().join("plugins")).unwrap();
    let pins = Pins::read(&holder.path().join("config")).unwrap();
    (holder, folder, pins)
}

fn pinned() -> (TempDir, PathBuf, Pins) {
    let (holder, folder, mut pins) = installed();
    let found = Found::in_folder(&folder).unwrap();
    pins.pin(&found.manifest.id, &found.verified().unwrap().1).unwrap();
    (holder, folder, pins)
}

#[track_caller]
fn refused(folder: &Path, pins: &Pins, part: &str) {
    let mut path = SearchPath::default();
    path.push(Origin::User, folder.parent().unwrap());
    let plugins = Plugins::load(&path, pins);
    assert!(plugins.loaded.is_empty());
    let error = plugins.refused[0].error.to_string();
    assert!(error.contains(part), "{error}");
    assert!(error.contains(folder.to_str().unwrap()), "{error}");
}

#[test]
fn only_pinned_plugins_run() {
    let (holder, folder, mut pins) = installed();
    refused(&folder, &pins, "'ghnas-example-space'");
    refused(&folder, &pins, "ghnas plugins trust");
    let found = Found::in_folder(&folder).unwrap();
    pins.pin("ghnas-example-space", &found.verified().unwrap().1).unwrap();
    assert_eq!(found.load(&pins).unwrap().id(), "ghnas-example-space");
    let again = Pins::read(&holder.path().join("config")).unwrap();
    assert_eq!(again.get("ghnas-example-space"), pins.get("ghnas-example-space"));
    assert!(again.path().ends_with("config/plugins.lock"));
}

#[test]
fn plugins_beside_the_executable_are_pinned_by_their_manifests() {
    let (_holder, folder, pins) = installed();
    let mut path = SearchPath::default();
    path.push(Origin::Bundled, folder.parent().unwrap());
    assert_eq!(Plugins::load(&path, &pins).loaded.len(), 1);
}

#[test]
fn a_changed_library_is_refused_by_both_hashes() {
    let (_holder, folder, pins) = pinned();
    let library = Found::in_folder(&folder).unwrap().library().unwrap();
    let mut bytes = std::fs::read(&library).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&library, &bytes).unwrap();
    refused(&folder, &pins, "its manifest says");
    // One who changes the manifest as well is caught by the pin.
    install(&example("space"), folder.parent().unwrap()).unwrap();
    let mut other = pins.clone();
    other.pin("ghnas-example-space", &"0".repeat(64)).unwrap();
    refused(&folder, &other, "plugins.lock says 0000");
}

#[test]
fn a_manifest_that_lies_is_refused() {
    let changes: [(&str, &str, &str); 5] = [
        ("id = \"ghnas-example-space\"", "id = \"cell\"", "its manifest says id cell"),
        ("version = \"0", "version = \"9", "its manifest says version 9"),
        ("abi = \"1.", "abi = \"7.", "its manifest says abi 7."),
        ("\"search-space\"", "\"searcher\"", "its manifest says kinds searcher"),
        ("\"search-space\"", "\"search-space\", \"operation\"", "kinds operation, search-space"),
    ];
    for (from, to, part) in changes {
        let (_holder, folder, mut pins) = pinned();
        let hash = pins.get("ghnas-example-space").unwrap().to_string();
        pins.pin("cell", &hash).unwrap();
        edit(&folder, from, to);
        refused(&folder, &pins, part);
    }
}

#[track_caller]
fn edit(folder: &Path, from: &str, to: &str) {
    let manifest = folder.join(MANIFEST);
    let text = std::fs::read_to_string(&manifest).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(&manifest, text.replace(from, to)).unwrap();
}

#[test]
fn broken_manifests_are_named() {
    for (from, to, part) in [
        ("kinds =", "kind =", "unknown field `kind`"),
        ("id = \"ghnas-example-space\"", "id = \"../x\"", "expected letters"),
        ("file = \"lib", "file = \"../lib", "does not lie in the plugin's folder"),
        ("file = \"lib", "file = \"/lib", "does not lie in the plugin's folder"),
        ("file = \"lib", "file = \"absent", "No such file"),
        (&ghnas_plugin_host::target(), "pdp11-unix", "only for pdp11-unix"),
    ] {
        let (_holder, folder, pins) = pinned();
        edit(&folder, from, to);
        refused(&folder, &pins, part);
    }
}

#[cfg(unix)]
#[test]
fn what_anybody_may_write_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let (_holder, folder, pins) = pinned();
    let library = Found::in_folder(&folder).unwrap().library().unwrap();
    for path in [&library, &folder.join(MANIFEST), &folder] {
        let before = std::fs::metadata(path).unwrap().permissions();
        let open = std::fs::Permissions::from_mode(before.mode() | 0o002);
        std::fs::set_permissions(path, open).unwrap();
        refused(&folder, &pins, "anybody may write it");
        std::fs::set_permissions(path, before).unwrap();
    }
    let lock = pins.path().to_path_buf();
    std::fs::set_permissions(&lock, std::fs::Permissions::from_mode(0o666)).unwrap();
    let error = Pins::read(lock.parent().unwrap()).unwrap_err().to_string();
    assert!(error.contains("anybody may write it"), "{error}");
}

#[test]
fn the_first_of_two_places_wins_and_broken_ones_stop_nobody() {
    let (_one, first, pins) = pinned();
    let (_two, second, _) = installed();
    std::fs::create_dir(second.with_file_name("broken")).unwrap();
    std::fs::write(second.with_file_name("broken").join(MANIFEST), "id = 3").unwrap();
    let mut path = SearchPath::default();
    path.push(Origin::Flag, &first);
    let variable = std::env::join_paths([PathBuf::new(), second.parent().unwrap().into()]).unwrap();
    path.push_all(Origin::Environment, &variable);
    path.push(Origin::User, second.join("absent"));
    let (found, broken) = path.find();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].origin, &found[0].folder), (Origin::Flag, &first));
    assert_eq!(broken.len(), 1);
    let plugins = Plugins::load(&path, &pins);
    assert_eq!((plugins.loaded.len(), plugins.refused.len()), (1, 1));
    plugins.add_to(&mut Catalogue::built_in().unwrap()).unwrap();
    // A folder that a flag names and that is not there is a slip of the pen.
    let mut path = SearchPath::default();
    path.push(Origin::Flag, second.join("absent"));
    assert_eq!(path.find().1.len(), 1);
}

/// The manifest can be read where nothing can be loaded.
#[test]
fn listing_runs_nothing() {
    let (_holder, folder, _) = installed();
    let library = Found::in_folder(&folder).unwrap().library().unwrap();
    std::fs::write(library, "not a library").unwrap();
    let manifest = Manifest::read(&folder).unwrap();
    let abi = format!("{}.{}", ghnas_plugin_abi::MAJOR, ghnas_plugin_abi::MINOR);
    assert_eq!((manifest.id, manifest.abi), ("ghnas-example-space".to_owned(), abi));
}

/// Ten copies of a small plugin, each with its own id, in under 50 ms.
#[test]
fn ten_plugins_load_in_no_time() {
    let holder = tempfile::tempdir().unwrap();
    for number in 0..10 {
        let id = format!("ID=\"faulty-{number}\"");
        let entry = format!("ENTRIES=ENTRY(\"space-{number}\")");
        let (_folder, library) =
            compile("tests/plugins/faulty.c", "libmany.so", &[&id, &entry, "ONLY_SPACES"]);
        install(&library, holder.path()).unwrap();
    }
    let pins = Pins::read(holder.path()).unwrap();
    let mut path = SearchPath::default();
    path.push(Origin::Bundled, holder.path());
    let mut least = Duration::MAX;
    for _ in 0..5 {
        let started = Instant::now();
        let plugins = Plugins::load(&path, &pins);
        plugins.add_to(&mut Catalogue::empty()).unwrap();
        least = least.min(started.elapsed());
        assert_eq!(plugins.loaded.len(), 10, "{:?}", plugins.refused);
    }
    assert!(least < Duration::from_millis(50), "{least:?}");
}
