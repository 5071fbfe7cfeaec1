//! `ghnas plugins`: everything about plugins but their use.

mod check;
mod new;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use ghnas_plugin_host::{Found, LoadError, MANIFEST, Plugin, PluginKind, install};
use serde_json::{Value, json};

use crate::UsageError;
use crate::args::{Global, PluginsCommand};
use crate::plugin_folders::{PluginFolders, user_folder};
use crate::session::{print, print_json};
use crate::table::{self, Align};

pub(crate) fn run(global: &Global, command: PluginsCommand) -> Result<()> {
    match command {
        PluginsCommand::List => list(global),
        PluginsCommand::Info { plugin } => info(global, &plugin),
        PluginsCommand::Check { plugin, timeout } => {
            check::run(global, &library(global, &plugin)?, timeout)
        }
        PluginsCommand::CheckHere { library } => check::here(&library),
        PluginsCommand::Trust { plugin } => trust(global, &plugin),
        PluginsCommand::Install { library, to } => install_to(global, &library, to),
        PluginsCommand::New { kind, name, sources } => new::run(global, kind, &name, sources),
    }
}

fn list(global: &Global) -> Result<()> {
    let folders = PluginFolders::of(global)?;
    let (found, refused) = folders.find();
    let mut documents = Vec::new();
    let mut rows = Vec::new();
    for found in &found {
        let error = found.trusted(folders.pins()).err();
        let state = match &error {
            None => "trusted",
            Some(LoadError::Untrusted { .. }) => "not trusted",
            Some(LoadError::Hash { .. }) => "changed",
            Some(_) => "broken",
        };
        let manifest = &found.manifest;
        documents.push(json!({
            "id": manifest.id,
            "version": manifest.version,
            "abi": manifest.abi,
            "kinds": manifest.kinds,
            "origin": found.origin.to_string(),
            "folder": found.folder,
            "state": state,
            "error": error.as_ref().map(ToString::to_string),
        }));
        rows.push(vec![
            manifest.id.clone(),
            manifest.version.clone(),
            kinds(&manifest.kinds),
            state.into(),
            found.folder.display().to_string(),
        ]);
        if let Some(error) = error {
            tracing::warn!("{error}");
        }
    }
    for refused in refused {
        documents.push(json!({
            "folder": refused.folder, "state": "broken", "error": refused.error.to_string()
        }));
        tracing::warn!("{}", refused.error);
    }
    if global.json {
        return print_json(&documents);
    }
    if rows.is_empty() {
        return print("no plugins; ghnas plugins new begins one\n");
    }
    let header = ["plugin", "version", "kinds", "state", "folder"].map(|name| (name, Align::Left));
    print(&table::format(&header, &rows))
}

fn kinds(kinds: &[PluginKind]) -> String {
    kinds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn info(global: &Global, argument: &str) -> Result<()> {
    let plugin: Arc<Plugin> = match Path::new(argument) {
        path if path.is_file() => Plugin::open(path)?,
        _ => {
            let folders = PluginFolders::of(global)?;
            find(&folders, argument)?.load(folders.pins())?
        }
    };
    let entries: Vec<Value> = plugin
        .entries()
        .map(|(kind, entry)| {
            json!({
                "kind": kind, "id": entry.id, "summary": entry.summary, "presets": entry.presets
            })
        })
        .collect();
    let (major, minor) = plugin.abi();
    if global.json {
        return print_json(&json!({
            "id": plugin.id(),
            "version": plugin.version(),
            "abi": format!("{major}.{minor}"),
            "compiler": plugin.compiler(),
            "file": plugin.file(),
            "evolves": plugin.evolves(),
            "enumerates": plugin.enumerates(),
            "unknown_interfaces": plugin.unknown_interfaces(),
            "entries": entries,
        }));
    }
    print(&format!(
        "{} {}\nfile   {}\nabi    {major}.{minor}, {}\n",
        plugin.id(),
        plugin.version(),
        plugin.file().display(),
        plugin.compiler()
    ))?;
    for (kind, entry) in plugin.entries() {
        print(&format!("{kind} '{}': {}\n", entry.id, entry.summary))?;
        for preset in &entry.presets {
            let settings = serde_json::to_string(&preset.settings)?;
            print(&format!("  preset {}: {settings}\n", preset.name))?;
        }
    }
    Ok(())
}

fn trust(global: &Global, argument: &str) -> Result<()> {
    let mut folders = PluginFolders::of(global)?;
    let found = find(&folders, argument)?;
    let (_, sha256) = found.verified()?;
    let id = found.manifest.id.clone();
    folders.pins_mut().pin(&id, &sha256)?;
    report(global, &id, &found.folder, &sha256, Some(folders.pins().path()))
}

fn install_to(global: &Global, library: &Path, to: Option<PathBuf>) -> Result<()> {
    let holder = match &to {
        Some(folder) => folder.clone(),
        None => user_folder()?,
    };
    let (folder, manifest) = install(library, &holder)?;
    let sha256 = manifest.for_this_target(&folder)?.sha256.clone();
    if to.is_some() {
        return report(global, &manifest.id, &folder, &sha256, None);
    }
    let mut folders = PluginFolders::of(global)?;
    folders.pins_mut().pin(&manifest.id, &sha256)?;
    report(global, &manifest.id, &folder, &sha256, Some(folders.pins().path()))
}

/// Says what lies where, and which file pins it.
fn report(
    global: &Global,
    id: &str,
    folder: &Path,
    sha256: &str,
    pinned: Option<&Path>,
) -> Result<()> {
    if global.json {
        let document = json!({"id": id, "folder": folder, "sha256": sha256, "pinned": pinned});
        return print_json(&document);
    }
    let pinned = pinned.map(|path| format!("pinned in {}\n", path.display())).unwrap_or_default();
    print(&format!("{id} in {}\nSHA-256 {sha256}\n{pinned}", folder.display()))
}

/// The plugin in a folder, or with an id in the search path.
fn find(folders: &PluginFolders, argument: &str) -> Result<Found> {
    let folder = Path::new(argument);
    if folder.join(MANIFEST).is_file() {
        return Ok(Found::in_folder(folder)?);
    }
    let (found, _) = folders.find();
    let known: Vec<String> = found.iter().map(|found| found.manifest.id.clone()).collect();
    let found = found.into_iter().find(|found| found.manifest.id == argument);
    Ok(found.ok_or_else(|| {
        let nearest = ghnas_core::registry::nearest(argument, known.iter().map(String::as_str));
        let hint = nearest.map(|id| format!(", did you mean '{id}'?")).unwrap_or_default();
        UsageError(format!("no plugin '{argument}'{hint}; ghnas plugins list shows all"))
    })?)
}

/// The library that an argument names.
fn library(global: &Global, argument: &str) -> Result<PathBuf> {
    match Path::new(argument) {
        path if path.is_file() => Ok(path.into()),
        _ => Ok(find(&PluginFolders::of(global)?, argument)?.library()?),
    }
}
