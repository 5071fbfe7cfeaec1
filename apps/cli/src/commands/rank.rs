//! `ghnas rank`: given architectures by a study's trained generator, or by a zero-cost proxy.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use ghnas_core::{Architecture, SearchSpace};
use ghnas_engine::{
    Context, EngineError, Parts, ProxyWork, Ranked, Spares, Study, SystemClock, load_data,
    rank_by_proxy, replace_file,
};

use crate::args::{ConfigArgs, Global};
use crate::progress::Bars;
use crate::session::{Session, print, print_json};
use crate::{interrupt, summary};

/// Flags of the command.
pub(crate) struct Options {
    pub(crate) study: PathBuf,
    pub(crate) proxy: Option<String>,
    pub(crate) archs: PathBuf,
    pub(crate) out: Option<PathBuf>,
}

pub(crate) fn run(global: Global, config: &ConfigArgs, options: &Options) -> Result<()> {
    let (json, quiet) = (global.json, global.quiet);
    let mut bars = Bars::new(quiet);
    let clock = SystemClock::default();
    let interrupt = interrupt::on_signals()?;
    let mut context = Context { observer: &mut bars, interrupt, clock: &clock };
    let ranked = match &options.proxy {
        Some(proxy) => by_proxy(global, config, proxy, &options.archs, &mut context),
        None => by_study(global, config, options, &mut context),
    };
    bars.clear();
    let rows = ranked?;
    if let Some(path) = &options.out {
        replace_file(path, summary::csv(&rows).as_bytes())?;
    }
    if json {
        return print_json(&rows);
    }
    print(&summary::of_rows(&rows))
}

fn by_study(
    global: Global,
    config: &ConfigArgs,
    options: &Options,
    context: &mut Context<'_>,
) -> Result<Vec<Ranked>> {
    let dir = &options.study;
    let study = Study::load(dir)?;
    let session = Session::new(global, config, Some(dir))?;
    let config = &session.resolved.config;
    // Before parts are built that are not the study's.
    study.check_ranking(config)?;
    let (device, threads) = (session.global.device, session.threads());
    let mut parts = Parts::build(config, &session.catalogue, device, threads)?;
    let archs = read_architectures(&*parts.space, &options.archs)?;
    let spares = Spares { catalogue: &session.catalogue, device, threads };
    Ok(ghnas_engine::rank(&study, config, &mut parts, spares, context, archs)?)
}

fn by_proxy(
    global: Global,
    config: &ConfigArgs,
    proxy: &str,
    archs: &Path,
    context: &mut Context<'_>,
) -> Result<Vec<Ranked>> {
    let session = Session::new(global, config, None)?;
    let config = &session.resolved.config;
    let (space, data) = (session.space()?, load_data(config)?);
    let found = data.validation().len();
    if config.search.batch > found {
        let (key, wanted, split) = ("search.batch", config.search.batch, "validation");
        return Err(EngineError::FewImages { key, wanted, found, split }.into());
    }
    let archs = read_architectures(&*space, archs)?;
    let (device, threads) = (session.global.device, session.threads());
    let spares = Spares { catalogue: &session.catalogue, device, threads };
    let work = ProxyWork { config, proxy, data: &data, space: &space, spares };
    Ok(rank_by_proxy(&work, context, archs)?)
}

/// One architecture a line; empty lines are skipped.
pub(crate) fn read_architectures(
    space: &dyn SearchSpace,
    path: &Path,
) -> Result<Vec<Architecture>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| {
            let place = || format!("{}, line {}", path.display(), number + 1);
            space.parse(line.trim()).with_context(place)
        })
        .collect()
}
