//! `ghnas data fetch | import | check`: getting CIFAR-10 and verifying it.

use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::Result;
use ghnas_engine::data::{self, DataReport};

use crate::args::{DataCommand, DataName, Global};
use crate::interrupt;
use crate::session::{print, print_json};

pub(crate) fn run(global: &Global, command: DataCommand) -> Result<()> {
    let folder = |dir: Option<PathBuf>| dir.map_or_else(data::default_dir, Ok);
    let interrupt = interrupt::on_signals()?;
    let mut last = String::new();
    let mut on_progress = |progress: &data::Progress| {
        if !global.quiet && progress.doing != last {
            eprintln!("[{}/{}] {}", progress.done, progress.total, progress.doing);
            last.clone_from(&progress.doing);
        }
        if interrupt.is_requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let report = match command {
        DataCommand::Fetch { name: DataName::Cifar10, dir } => {
            data::fetch(&folder(dir)?, &mut on_progress)?
        }
        DataCommand::Import { path, dir } => data::import(&path, &folder(dir)?, &mut on_progress)?,
        DataCommand::Check { dir } => data::check(&folder(dir)?)?,
    };
    if global.json {
        return print_json(&report);
    }
    let DataReport { dataset, dir, train, test, .. } = &report;
    print(&format!(
        "{dataset}: {train} training and {test} test images in {}, verified\n\
         use it: ghnas search --set data.dir={}\n",
        dir.display(),
        dir.display()
    ))
}
