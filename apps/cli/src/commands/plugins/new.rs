//! `ghnas plugins new`: a crate for a plugin, from the examples that the tests run.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::UsageError;
use crate::args::{Global, NewKind};
use crate::session::{print, print_json};

/// An example's files, and what the new name replaces in them.
struct Example {
    code: &'static str,
    conformance: &'static str,
    id: &'static str,
    crate_name: &'static str,
}

fn example(kind: NewKind) -> Example {
    macro_rules! example {
        ($name:literal, $file:literal) => {
            include_str!(concat!("../../../../../plugins/examples/", $name, "/", $file))
        };
        ($name:literal) => {
            Example {
                code: example!($name, "src/lib.rs"),
                conformance: example!($name, "tests/conformance.rs"),
                id: concat!("example-", $name),
                crate_name: concat!("ghnas_example_", $name),
            }
        };
    }
    match kind {
        NewKind::SearchSpace => example!("space"),
        NewKind::Operation => example!("operation"),
        NewKind::Searcher => example!("searcher"),
        NewKind::Propagator => example!("propagator"),
        NewKind::WeightGenerator => example!("generator"),
    }
}

/// How an entry of this kind is used.
fn usage(kind: NewKind, name: &str) -> String {
    match kind {
        NewKind::SearchSpace => format!("ghnas search --space {name}"),
        NewKind::Operation => {
            format!("ghnas search --set 'space.settings.operations=[\"conv_1x1\", \"{name}\"]'")
        }
        NewKind::Searcher => format!("ghnas search --set searcher.id={name}"),
        NewKind::Propagator => {
            format!("ghnas search --set generator.settings.propagator={name}")
        }
        NewKind::WeightGenerator => format!("ghnas search --set generator.id={name}"),
    }
}

pub(super) fn run(
    global: &Global,
    kind: NewKind,
    name: &str,
    sources: Option<PathBuf>,
) -> Result<()> {
    check_name(name)?;
    let sources = match sources {
        Some(folder) => {
            ensure!(is_sources(&folder), UsageError(no_sources(&folder.display())));
            std::path::absolute(folder)?
        }
        None => find_sources()?,
    };
    let folder = Path::new(name);
    ensure!(!folder.exists(), UsageError(format!("{name} exists already; choose another name")));
    let crate_name = name.replace('-', "_");
    let Example { code, conformance, id, crate_name: example_crate } = example(kind);
    let files = [
        ("Cargo.toml", manifest(name, &sources)?),
        ("src/lib.rs", code.replace(id, name)),
        ("tests/conformance.rs", conformance.replace(example_crate, &crate_name)),
        (".gitignore", "/target\n".into()),
    ];
    for (file, content) in files {
        let path = folder.join(file);
        let holder = path.parent().expect("a file lies in a folder");
        std::fs::create_dir_all(holder)
            .and_then(|()| std::fs::write(&path, content))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if global.json {
        return print_json(&json!({"folder": std::path::absolute(folder)?, "name": name}));
    }
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
    print(&format!(
        "{name}/ is a plugin that works as it stands; change src/lib.rs to what you want.\n\n  \
         cd {name}\n  \
         cargo test\n  \
         cargo build --release\n  \
         ghnas plugins install target/release/{DLL_PREFIX}{crate_name}{DLL_SUFFIX}\n  \
         {}\n",
        usage(kind, name)
    ))
}

/// Names of crates that cannot be a plugin's: they are taken by the language.
const RESERVED: [&str; 8] = ["test", "core", "std", "alloc", "self", "super", "crate", "ghnas"];

fn check_name(name: &str) -> Result<()> {
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let fits = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(letters)
        && name.len() <= 64
        && !RESERVED.contains(&name);
    let expected = "expected lower-case letters, digits, '-' and '_', a letter first";
    ensure!(fits, UsageError(format!("'{name}' cannot be a plugin's name: {expected}")));
    Ok(())
}

fn manifest(name: &str, sources: &Path) -> Result<String> {
    let path = |part: &str| -> Result<String> {
        let path = sources.join("plugins").join(part);
        let text = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
        // As TOML quotes: JSON's escapes are TOML's.
        Ok(serde_json::to_string(text)?)
    };
    Ok(format!(
        r#"[package]
name = "{name}"
version = "0.1.0"
edition = "2024"

[lib]
crate-type = ["cdylib", "rlib"]

[dependencies]
ghnas-plugin-sdk = {{ path = {} }}

[dev-dependencies]
ghnas-plugin-testkit = {{ path = {} }}

# A workspace of its own, wherever it lies.
[workspace]
"#,
        path("sdk")?,
        path("testkit")?
    ))
}

fn is_sources(folder: &Path) -> bool {
    folder.join("plugins/sdk/Cargo.toml").is_file()
}

fn no_sources(place: &dyn std::fmt::Display) -> String {
    format!("{place}: no sources of ghnas, whose SDK a plugin is built with; give --sources DIR")
}

/// The sources around the working directory, or around this program.
fn find_sources() -> Result<PathBuf> {
    let here = std::env::current_dir()?;
    let program = std::env::current_exe().and_then(|path| path.canonicalize()).ok();
    let folders = here.ancestors().chain(program.iter().flat_map(|path| path.ancestors()));
    let mut folders = folders.filter(|folder| is_sources(folder));
    let found = folders.next().map(Path::to_path_buf);
    Ok(found.ok_or_else(|| UsageError(no_sources(&here.display())))?)
}
