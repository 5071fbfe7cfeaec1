//! `ghnas export`: an architecture as DOT, SVG or JSON; the lowered network as JSON.

use std::path::Path;

use anyhow::Result;
use ghnas_core::Task;
use ghnas_engine::draw;
use serde_json::json;

use crate::UsageError;
use crate::args::{ConfigArgs, ExportFormat, Global};
use crate::session::{Session, print, print_json};

pub(crate) fn run(
    global: Global,
    config: &ConfigArgs,
    arch: &str,
    format: ExportFormat,
    lowered: bool,
    out: Option<&Path>,
) -> Result<()> {
    if lowered && format != ExportFormat::Json {
        return Err(UsageError("--lowered goes with --format json".into()).into());
    }
    if out.is_none() && global.json {
        return Err(UsageError("--json prints where the file is: add --out FILE".into()).into());
    }
    let session = Session::new(global, config, None)?;
    let space = session.space()?;
    let arch = session.architecture(&*space, arch)?;
    let text = match format {
        ExportFormat::Dot => draw::to_dot(&arch),
        ExportFormat::Svg => draw::to_svg(&arch),
        ExportFormat::Json if lowered => {
            serde_json::to_string(&space.lower(&arch, Task::CIFAR10)?)? + "\n"
        }
        ExportFormat::Json => serde_json::to_string_pretty(&arch)? + "\n",
    };
    let Some(path) = out else { return print(&text) };
    ghnas_engine::replace_file(path, text.as_bytes())?;
    if session.global.json {
        return print_json(&json!({"path": path}));
    }
    print(&format!("{}\n", path.display()))
}
