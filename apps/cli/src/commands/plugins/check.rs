//! `ghnas plugins check`: the conformance suite in a process of its own, so that a plugin that
//! dies is a line of the report.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result};
use ghnas_plugin_host::Plugin;
use ghnas_plugin_testkit::{Check, Report};
use serde::{Deserialize, Serialize};

use crate::PluginError;
use crate::args::Global;
use crate::session::{print, print_json};

/// What the other process says, a line each.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// A check begins.
    Begin(String),
    /// The suite is over.
    Report(Report),
}

/// Checks a library and prints the report.
pub(super) fn run(global: &Global, library: &Path) -> Result<()> {
    let report = watch(library)?;
    let again = watch(library)?;
    let mut checks = report.checks;
    let same = match report.digest == again.digest {
        true => None,
        false => Some("what it computes differs from process to process".to_string()),
    };
    checks.push(Check { name: "same seed, same bytes in another process".into(), error: same });
    let failed = checks.iter().filter(|check| check.error.is_some()).count();
    if global.json {
        print_json(&checks)?;
    } else {
        for Check { name, error } in &checks {
            match error {
                None => print(&format!("ok      {name}\n"))?,
                Some(error) => print(&format!("FAILED  {name}\n        {error}\n"))?,
            }
        }
    }
    match failed {
        0 => Ok(()),
        _ => {
            let words =
                format!("{}: {failed} of {} checks failed", library.display(), checks.len());
            Err(PluginError(words).into())
        }
    }
}

/// Runs the suite in another process; where that dies, the check it died in failed.
fn watch(library: &Path) -> Result<Report> {
    let executable = std::env::current_exe().context("cannot find this program")?;
    let mut child = Command::new(executable)
        .args(["plugins", "check-here"])
        .arg(library)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run this program again")?;
    let mut stderr = child.stderr.take().context("no standard error")?;
    // Read beside the lines, or a plugin that prints much would wait for ever.
    let noise = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = stderr.read_to_string(&mut text);
        text
    });
    let mut begun = Vec::new();
    let mut report = None;
    for line in BufReader::new(child.stdout.take().context("no output")?).lines() {
        match serde_json::from_str(&line?) {
            Ok(Line::Begin(name)) => begun.push(name),
            Ok(Line::Report(found)) => report = Some(found),
            // The plugin's own words on standard output.
            Err(_) => {}
        }
    }
    let status = child.wait()?;
    let noise = noise.join().unwrap_or_default();
    if let Some(report) = report {
        return Ok(report);
    }
    let Some(last) = begun.pop() else {
        let words = noise.lines().last().unwrap_or("it said nothing").to_string();
        let words = words.strip_prefix("error: ").unwrap_or(&words).to_string();
        return Err(PluginError(words).into());
    };
    let mut checks: Vec<Check> =
        begun.into_iter().map(|name| Check { name, error: None }).collect();
    checks.push(Check { name: last, error: Some(death(status)) });
    Ok(Report { checks, digest: String::new() })
}

fn death(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return format!(
            "the process died of signal {signal} (an abort is 6, a stack overflow too)"
        );
    }
    format!("the process ended with {status}")
}

/// Runs the suite in this process, which the plugin may take down.
pub(super) fn here(library: &Path) -> Result<()> {
    let say = |line: &Line| print(&(serde_json::to_string(line).unwrap_or_default() + "\n"));
    let plugin = Plugin::open(library)?;
    // On a thread of the usual size, whatever the caller's is.
    let report = std::thread::scope(|scope| {
        let suite = || {
            ghnas_plugin_testkit::run(&plugin, &mut |name| {
                let _ = say(&Line::Begin(name.into()));
            })
        };
        scope.spawn(suite).join()
    });
    let report = report.map_err(|_| PluginError("the suite panicked".into()))?;
    say(&Line::Report(report))
}
