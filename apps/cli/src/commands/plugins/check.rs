//! `ghnas plugins check`: the conformance suite in a process of its own, so that a plugin that
//! dies, or never comes back, is a line of the report.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

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
    /// The library is a plugin, with this id and file.
    Plugin(String),
    /// A check begins.
    Begin(String),
    /// The suite is over.
    Report(Report),
}

/// What one process found.
struct Found {
    /// The plugin with its file; the file alone where it was not loaded.
    plugin: String,
    checks: Vec<Check>,
    /// Nothing where the process did not come to the end.
    digest: Option<String>,
}

/// Checks a library and prints the report. No check takes longer than `timeout`.
pub(super) fn run(global: &Global, library: &Path, timeout: Duration) -> Result<()> {
    let Found { plugin, mut checks, digest } = watch(library, timeout)?;
    // Where one process did not come to the end, there is nothing to compare.
    if digest.is_some() {
        let again = watch(library, timeout)?.digest;
        let error = "what it computes differs from process to process";
        let error = (digest != again).then(|| error.into());
        checks.push(Check { name: "same seed, same bytes in another process".into(), error });
    }
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
    let failures: Vec<&Check> = checks.iter().filter(|check| check.error.is_some()).collect();
    match failures[..] {
        [] => Ok(()),
        [Check { name, error }, ..] => {
            let (failed, all) = (failures.len(), checks.len());
            let error = error.as_deref().unwrap_or_default();
            let words =
                format!("{plugin}: {failed} of {all} checks failed, the first: {name}: {error}");
            Err(PluginError(words).into())
        }
    }
}

/// Runs the suite in another process; where that dies or is ended, the check it was in failed.
fn watch(library: &Path, timeout: Duration) -> Result<Found> {
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
    let stdout = child.stdout.take().context("no output")?;
    let (send, lines) = mpsc::channel();
    std::thread::spawn(move || {
        // What is no such line is the plugin's own words on standard output.
        let lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let lines = lines.filter_map(|line| serde_json::from_str(&line).ok());
        // Where the receiver is gone, the process is being ended.
        lines.map_while(|line: Line| send.send(line).ok()).for_each(drop);
    });
    let mut found =
        Found { plugin: format!("plugin {}", library.display()), checks: Vec::new(), digest: None };
    let came_back = listen(&lines, timeout, &mut found);
    if !came_back {
        // Only the process that was started here, by its handle.
        child.kill().context("cannot end the process of a plugin that does not come back")?;
    }
    let status = child.wait()?;
    if found.digest.is_some() {
        return Ok(found);
    }
    let end = match came_back {
        true => death(status),
        false => format!("no end after {} s; the process was ended", timeout.as_secs_f64()),
    };
    match found.checks.last_mut() {
        Some(last) => last.error = Some(end),
        None if !came_back => {
            let words = format!("{}: while it was loaded: {end}", found.plugin);
            return Err(PluginError(words).into());
        }
        None => {
            let noise = noise.join().unwrap_or_default();
            let words = noise.lines().last().unwrap_or("it said nothing").to_string();
            let words = words.strip_prefix("error: ").unwrap_or(&words).to_string();
            return Err(PluginError(words).into());
        }
    }
    Ok(found)
}

/// Takes what the process says until it says no more, or begins nothing for the time of a check.
/// Whether it came to an end by itself.
fn listen(lines: &Receiver<Line>, timeout: Duration, found: &mut Found) -> bool {
    let mut deadline = Instant::now() + timeout;
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Line::Plugin(plugin)) => found.plugin = plugin,
            Ok(Line::Begin(name)) => found.checks.push(Check { name, error: None }),
            Ok(Line::Report(report)) => {
                (found.checks, found.digest) = (report.checks, Some(report.digest));
            }
            Err(RecvTimeoutError::Disconnected) => return true,
            Err(RecvTimeoutError::Timeout) => return false,
        }
        deadline = Instant::now() + timeout;
    }
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
    say(&Line::Plugin(plugin.source()))?;
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
