//! `ghnas search`, `train-generator`, `score` and `rank`: commands over a study.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use ghnas_core::{Architecture, SearchSpace};
use ghnas_engine::{Context, EngineError, Opening, Parts, Ranked, Study, StudyReport, SystemClock};

use crate::args::{ConfigArgs, Global, StudyArgs};
use crate::progress::Bars;
use crate::session::{Session, print, print_json};
use crate::{interrupt, summary};

/// What is run over an open study.
type Run = fn(
    &mut Study,
    &mut Parts,
    &mut Context<'_>,
    Option<Duration>,
) -> Result<StudyReport, EngineError>;

pub(crate) fn search(global: Global, config: &ConfigArgs, study: &StudyArgs) -> Result<()> {
    run(global, config, study, ghnas_engine::search)
}

pub(crate) fn train(global: Global, config: &ConfigArgs, study: &StudyArgs) -> Result<()> {
    run(global, config, study, ghnas_engine::train)
}

/// The study must have a trained generator, so it is always gone on with.
pub(crate) fn score(global: Global, config: &ConfigArgs, args: &StudyArgs) -> Result<()> {
    if !Study::exists(&args.study) {
        return Err(EngineError::NoStudy { dir: args.study.clone() }.into());
    }
    let args = StudyArgs { study: args.study.clone(), resume: true, budget: args.budget };
    run(global, config, &args, ghnas_engine::score)
}

fn run(global: Global, config: &ConfigArgs, args: &StudyArgs, work: Run) -> Result<()> {
    let opening = if args.resume { Opening::Resume } else { Opening::Create };
    let begun = args.resume && Study::exists(&args.study);
    let session = Session::new(global, config, begun.then_some(args.study.as_path()))?;
    let config = &session.resolved.config;
    // Parts before the study: a wrong setting leaves no study behind.
    let mut parts =
        Parts::build(config, &session.catalogue, session.global.device, session.threads())?;
    let mut study = Study::open(&args.study, config, opening)?;
    let mut bars = Bars::new(session.global.quiet);
    announce(&mut bars, &parts, &study);
    let interrupt = interrupt::on_signals()?;
    let clock = SystemClock::default();
    let mut context = Context { observer: &mut bars, interrupt, clock: &clock };
    let report = work(&mut study, &mut parts, &mut context, args.budget);
    bars.clear();
    let report = report?;
    summary::write_drawings(&study.top_dir(), &report.top)?;
    if session.global.json {
        return print_json(&report);
    }
    print(&summary::of_study(&report, &study.top_dir()))
}

fn announce(bars: &mut Bars, parts: &Parts, study: &Study) {
    use ghnas_engine::Observer;
    let data = &parts.data;
    let (train, validation) = (data.train().len(), data.validation().len());
    bars.message(&format!(
        "data   {}: {train} training and {validation} validation images",
        data.source()
    ));
    if study.config().data.dir.is_none() {
        bars.message(
            "       for all of CIFAR-10: ghnas data fetch cifar10, then add --set data.dir=DIR",
        );
    }
    bars.message(&format!("study  {}", study.dir().display()));
}

pub(crate) fn rank(global: Global, dir: &Path, archs: &Path, out: Option<&Path>) -> Result<()> {
    let study = Study::load(dir)?;
    let session = Session::new(global, &ConfigArgs::default(), Some(dir))?;
    let mut parts =
        Parts::build(study.config(), &session.catalogue, session.global.device, session.threads())?;
    let architectures = read_architectures(&*parts.space, archs)?;
    let mut bars = Bars::new(session.global.quiet);
    let clock = SystemClock::default();
    let interrupt = interrupt::on_signals()?;
    let mut context = Context { observer: &mut bars, interrupt, clock: &clock };
    let ranked = ghnas_engine::rank(&study, &mut parts, &mut context, architectures);
    bars.clear();
    let rows: Vec<Ranked> = ranked?;
    if let Some(path) = out {
        ghnas_engine::replace_file(path, summary::csv(&rows).as_bytes())?;
    }
    if session.global.json {
        return print_json(&rows);
    }
    print(&summary::of_rows(&rows))
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
