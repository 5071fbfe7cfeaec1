//! `ghnas search --evaluator table`: searchers against a table of accuracies.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use ghnas_engine::{
    Config, Context, Observer, Spares, SystemClock, TableColumns, TabularReport, TabularTable,
    TabularWork, regret_csv, regret_svg, replace_file, search_table, study_encoder,
};

use crate::args::{ConfigArgs, Evaluator, Global, StudyArgs, TableArgs};
use crate::progress::Bars;
use crate::session::{Session, print, print_json};
use crate::table::{self, Align};
use crate::{Stopped, UsageError, interrupt};

/// Runs of each searcher, where no number is given.
const SEEDS: u64 = 100;

/// Refuses flags of tables where there is none.
pub(crate) fn refuse_without_table(table: &TableArgs) -> Result<()> {
    let flags = [
        ("--table", table.table.is_some()),
        ("--column", !table.column.is_empty()),
        ("--report-column", table.report_column.is_some()),
        ("--multiply-adds-column", table.multiply_adds_column.is_some()),
        ("--searcher", !table.searcher.is_empty()),
        ("--embeddings", table.embeddings.is_some()),
        ("--seeds", table.seeds.is_some()),
        ("--out", table.out.is_some()),
    ];
    match flags.iter().find(|(_, given)| *given && table.evaluator != Evaluator::Table) {
        Some(("--searcher", _)) => {
            let reason = "--searcher is for --evaluator table; add --set searcher.id=ID instead";
            Err(UsageError(reason.into()).into())
        }
        Some((flag, _)) => Err(UsageError(format!("{flag} needs --evaluator table")).into()),
        None => Ok(()),
    }
}

pub(crate) fn run(
    global: Global,
    config: &ConfigArgs,
    study: &StudyArgs,
    args: &TableArgs,
) -> Result<()> {
    let missing = |flag: &str| UsageError(format!("--evaluator table needs {flag}"));
    if study.resume || study.budget.is_some() {
        let reason = "--resume and --budget are not for --evaluator table, which keeps no study";
        return Err(UsageError(reason.into()).into());
    }
    let path = args.table.as_ref().ok_or_else(|| missing("--table FILE"))?;
    let last = args.column.last().ok_or_else(|| missing("--column NAME"))?;
    let columns = TableColumns {
        searched: args.column.clone(),
        reported: args.report_column.as_ref().unwrap_or(last).clone(),
        multiply_adds: args.multiply_adds_column.clone(),
    };
    let mut each: Vec<ConfigArgs> =
        args.searcher.iter().map(|id| with_searcher(config, id)).collect();
    if each.is_empty() {
        each.push(config.clone());
    }
    let session = Session::new(global, &each[0], None)?;
    let configs: Vec<Config> =
        each.iter().map(|config| session.resolve(config)).collect::<Result<_>>()?;
    let space = session.space()?;
    let table = TabularTable::read(path, &*space, columns)?;
    let mut bars = Bars::new(session.global.quiet);
    if args.multiply_adds_column.is_none() {
        bars.message("searchers see no multiply-adds; --multiply-adds-column has them");
    }
    let (device, threads) = (session.global.device, session.threads());
    let spares = Spares { catalogue: &session.catalogue, device, threads };
    let embed = |dir: &PathBuf| study_encoder(dir, &configs[0], spares);
    let encoder = args.embeddings.as_ref().map(embed).transpose()?;
    let clock = SystemClock::default();
    let interrupt = interrupt::on_signals()?;
    let mut context = Context { observer: &mut bars, interrupt, clock: &clock };
    let seeds = args.seeds.unwrap_or(SEEDS);
    let work = TabularWork {
        table: &table,
        space: &space,
        configs: &configs,
        catalogue: &session.catalogue,
        encoder: encoder.as_ref(),
        seeds,
        threads,
    };
    let report = search_table(&work, &mut context);
    bars.clear();
    let report = report?;
    if let Some(dir) = &args.out {
        write(dir, &report)?;
    }
    match session.global.json {
        true => print_json(&report)?,
        false => print(&summary(&report, args.out.as_ref()))?,
    }
    if report.interrupted {
        let done = report.runs.iter().map(|run| run.seeds).sum();
        return Err(Stopped { done, of: seeds * configs.len() as u64 }.into());
    }
    Ok(())
}

/// The same with another searcher, on top of all else.
fn with_searcher(config: &ConfigArgs, id: &str) -> ConfigArgs {
    let mut config = config.clone();
    config.set.push(format!("searcher.id={}", serde_json::Value::from(id)));
    config
}

fn write(dir: &Path, report: &TabularReport) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let file = |name: &str, text: String| replace_file(&dir.join(name), text.as_bytes());
    file("regret.csv", regret_csv(report))?;
    file("regret.svg", regret_svg(report))?;
    file("tabular.json", serde_json::to_string_pretty(report)? + "\n")?;
    Ok(())
}

/// A row a searcher, a column a number of evaluations.
fn summary(report: &TabularReport, out: Option<&PathBuf>) -> String {
    let of = &report.table;
    let digits: String = of.sha256.chars().take(16).collect();
    let mut text = format!(
        "table      {} (SHA-256 {digits}...): {} architectures, {} of them not isomorphic\n\
         searched   {}\nreported   {}, at best {:.2}\n\n",
        of.file.display(),
        of.rows,
        of.distinct,
        of.columns.join(", then "),
        of.report_column,
        report.optimum
    );
    let all = report.runs.iter().flat_map(|run| &run.regret).map(|point| point.evaluations);
    let mut columns: Vec<u64> = all.collect();
    columns.sort_unstable();
    columns.dedup();
    let names: Vec<String> = columns.iter().map(|at| format!("after {at} [95%]")).collect();
    let mut header = vec![("searcher", Align::Left), ("runs", Align::Right)];
    header.extend(names.iter().map(|name| (name.as_str(), Align::Right)));
    header.extend([("missing", Align::Right), ("ended early", Align::Right)]);
    let rows = report.runs.iter().map(|run| {
        let cell = |at: &u64| {
            let point = run.regret.iter().find(|point| point.evaluations == *at)?;
            let best = report.optimum - point.mean;
            Some(match point.ci95 {
                Some([low, high]) => {
                    format!("{best:.2} [{:.2}, {:.2}]", report.optimum - high, report.optimum - low)
                }
                None => format!("{best:.2}"),
            })
        };
        let mut cells = vec![run.searcher.clone(), run.seeds.to_string()];
        cells.extend(columns.iter().map(|at| cell(at).unwrap_or_else(|| "-".into())));
        cells.extend([run.missing.to_string(), run.ended_early.to_string()]);
        cells
    });
    text += &table::format(&header, &rows.collect::<Vec<_>>());
    text += &format!(
        "\nmeans over runs of {} of the architecture that is best by the column searched, in percent\n",
        of.report_column
    );
    if let Some(dir) = out {
        text += &format!("results    {}\n", dir.display());
    }
    text + &format!("time       {:.1} s\n", report.seconds)
}
