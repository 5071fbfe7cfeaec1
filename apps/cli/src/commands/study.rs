//! `ghnas search`, `train-generator` and `score`: commands over a study.

use std::time::Duration;

use anyhow::Result;
use ghnas_engine::{
    Context, EngineError, Opening, Parts, Spares, Study, StudyReport, SystemClock, front_svg,
};

use super::tabular::refuse_without_table;
use crate::args::{ConfigArgs, Global, StudyArgs, TableArgs};
use crate::progress::Bars;
use crate::session::{Session, print, print_json};
use crate::{interrupt, summary};

pub(crate) fn search(
    global: Global,
    config: &ConfigArgs,
    study: &StudyArgs,
    table: &TableArgs,
) -> Result<()> {
    refuse_without_table(table)?;
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

fn run(
    global: Global,
    config: &ConfigArgs,
    args: &StudyArgs,
    work: impl FnOnce(
        &mut Study,
        &mut Parts,
        Spares<'_>,
        &mut Context<'_>,
        Option<Duration>,
    ) -> Result<StudyReport, EngineError>,
) -> Result<()> {
    let opening = if args.resume { Opening::Resume } else { Opening::Create };
    let begun = args.resume && Study::exists(&args.study);
    let session = Session::new(global, config, begun.then_some(args.study.as_path()))?;
    let config = &session.resolved.config;
    // Parts before the study: a wrong setting leaves no study behind.
    let (device, threads) = (session.global.device, session.threads());
    let mut parts = Parts::build(config, &session.catalogue, device, threads)?;
    let spares = Spares { catalogue: &session.catalogue, device, threads };
    let mut study = Study::open(&args.study, config, opening)?;
    let mut bars = Bars::new(session.global.quiet);
    announce(&mut bars, &parts, &study);
    let interrupt = interrupt::on_signals()?;
    let clock = SystemClock::default();
    let mut context = Context { observer: &mut bars, interrupt, clock: &clock };
    let report = work(&mut study, &mut parts, spares, &mut context, args.budget);
    bars.clear();
    let report = report?;
    summary::write_drawings(&study.top_dir(), &report, || front_svg(&study))?;
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
