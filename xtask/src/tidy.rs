//! House rules that no compiler checks. Each complaint names the file and the line.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The longest Rust file: beyond this, one noun rarely describes it.
const LONGEST_FILE: usize = 700;

/// Words that must not stand in the code, and why. Split, so that this list does not find itself.
const FORBIDDEN: [(&str, &str); 7] = [
    (concat!("TO", "DO"), "finish it, or file an issue"),
    (concat!("FIX", "ME"), "finish it, or file an issue"),
    (concat!("#[ig", "nore"), "a test that does not run tests nothing"),
    (concat!("allow(dead", "_code)"), "delete what nothing calls"),
    (concat!("target-cpu", "=native"), "the binary must run on other machines"),
    (concat!("/ho", "me/"), "a path of one machine"),
    (concat!("/ro", "ot/"), "a path of one machine"),
];

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().expect("this crate lies in the workspace").to_path_buf()
}

/// Checks every rule.
pub(crate) fn check() -> Result<()> {
    let mut complaints = Vec::new();
    for path in files(&root())? {
        let rust = path.extension().is_some_and(|extension| extension == "rs");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.strip_prefix(root()).unwrap_or(&path).display().to_string();
        for (number, line) in text.lines().enumerate() {
            for (word, reason) in FORBIDDEN {
                if line.contains(word) {
                    complaints.push(format!("{name}:{}: '{word}': {reason}", number + 1));
                }
            }
        }
        if rust && text.lines().count() > LONGEST_FILE {
            complaints.push(format!("{name}: longer than {LONGEST_FILE} lines; split it"));
        }
        if rust && !text.starts_with("//!") {
            complaints.push(format!("{name}:1: a file opens with //! and what it owns"));
        }
    }
    complaints.extend(undocumented_dependencies()?);
    complaints.extend(crate::abi::check()?);
    match complaints.is_empty() {
        true => Ok(()),
        false => bail!("tidy:\n  {}", complaints.join("\n  ")),
    }
}

/// Dependencies and crates of the workspace that ARCHITECTURE.md does not mention.
fn undocumented_dependencies() -> Result<Vec<String>> {
    let read = |name: &str| {
        std::fs::read_to_string(root().join(name)).with_context(|| format!("cannot read {name}"))
    };
    let architecture = read("ARCHITECTURE.md")?;
    let manifest: toml::Table = read("Cargo.toml")?.parse().context("Cargo.toml")?;
    let workspace = manifest["workspace"].as_table().context("no [workspace]")?;
    let dependencies = workspace["dependencies"].as_table().context("no dependencies")?;
    let members = workspace["members"].as_array().context("no members")?;
    let names = dependencies.keys().map(String::as_str);
    let names = names.chain(members.iter().filter_map(toml::Value::as_str));
    let missing = names.filter(|name| !architecture.contains(&format!("`{name}`")));
    Ok(missing.map(|name| format!("ARCHITECTURE.md: says nothing of `{name}`")).collect())
}

/// Rust and TOML files of the workspace, sorted.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("cannot list {}", folder.display()))?
        .collect::<Result<Vec<_>, _>>()?;
    for path in entries.into_iter().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && !name.starts_with('.') && !["target", "studies"].contains(&&*name) {
            found.extend(files(&path)?);
        } else if name.ends_with(".rs") || name.ends_with(".toml") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
