//! `ghnas correlate`: every method of a comparison against ground truth (section 5.3, Table 4).

use std::path::PathBuf;

use anyhow::{Result, bail};
use ghnas_core::BuildContext;
use ghnas_engine::comparison::{CompareOptions, Comparison, compare, scatter_svg};
use ghnas_engine::{
    Context, MemoryPoint, MethodsWork, Observer, SystemClock, TruthTable, build_space, load_data,
    memory, read_csv, replace_file, score_methods, truth_column,
};
use serde::Serialize;

use crate::args::{ConfigArgs, Global};
use crate::interrupt;
use crate::progress::Bars;
use crate::session::{self, print, print_json};
use crate::table::{self, Align};

/// Flags of the command.
pub(crate) struct Options {
    /// The folder for the methods' studies, their scores and the result.
    pub(crate) study: PathBuf,
    /// A CSV table of ground truth instead of the configured one, and its column of accuracies.
    pub(crate) table: Option<(PathBuf, String)>,
}

/// What is printed with `--json`.
#[derive(Serialize)]
struct Document {
    study: PathBuf,
    /// Architectures of the truth without an accuracy.
    failed: Vec<String>,
    #[serde(flatten)]
    comparison: Comparison,
    memory: Vec<MemoryPoint>,
}

pub(crate) fn run(global: Global, config: &ConfigArgs, options: &Options) -> Result<()> {
    let (catalogue, config) = session::comparison(&global, config)?;
    if config.methods.is_empty() {
        bail!("there is nothing to compare; name methods, such as [methods.ghn], in the config");
    }
    let shared = &config.shared;
    let (device, threads) = (global.device, global.threads());
    let context =
        BuildContext { seed: shared.seed, device, threads, ..BuildContext::new(&catalogue) };
    let statistics =
        CompareOptions { seed: shared.seed, resamples: config.comparison.resamples, threads };
    let mut bars = Bars::new(global.quiet);
    let truth = match &options.table {
        Some((path, column)) => {
            read_csv(path, &*build_space(shared, &context)?, "arch_str", column)?
        }
        None => {
            let keys = &config.truth.keys;
            let table = TruthTable::read(&keys.file)?;
            table.expect_space(shared)?;
            let truth = table.truth()?;
            let (holds, asked) = (truth.archs().len() + truth.failed().len(), keys.archs);
            if (holds as u64) < asked {
                bars.message(&format!(
                    "{} holds {holds} of {asked} architectures (truth.archs), and those are \
                     compared; go on with ghnas truth to train the rest",
                    keys.file.display()
                ));
            }
            truth
        }
    };
    let column = truth_column(&truth);
    statistics.check(&column)?;
    let data = load_data(shared)?;
    for hash in truth.failed() {
        bars.message(&format!("architecture {hash} is left out: its training diverged"));
    }
    let work = MethodsWork {
        config: &config,
        catalogue: &catalogue,
        data: &data,
        archs: truth.archs(),
        dir: &options.study,
        device,
        threads,
    };
    let clock = SystemClock::default();
    let interrupt = interrupt::on_signals()?;
    let mut context = Context { observer: &mut bars, interrupt, clock: &clock };
    let scores = score_methods(&work, &mut context);
    bars.clear();
    let scores = scores?;
    let comparison = compare(&column, &scores, statistics)?;
    let memory = memory(&work)?;

    let write = |name: &str, text: &str| replace_file(&options.study.join(name), text.as_bytes());
    write("comparison.csv", &comparison.to_csv())?;
    write("differences.csv", &comparison.differences_csv())?;
    write("comparison.svg", &scatter_svg(&comparison, &column, &scores))?;
    let sizes = sizes(&memory);
    write("comparison.md", &format!("{}{}", comparison.to_markdown(), markdown(&sizes)))?;
    let failed = truth.failed().to_vec();
    let document = Document { study: options.study.clone(), failed, comparison, memory };
    write("comparison.json", &(serde_json::to_string_pretty(&document)? + "\n"))?;
    if global.json {
        return print_json(&document);
    }
    let mut text = String::new();
    for table in document.comparison.tables() {
        let align = |at: usize| if at < table.words { Align::Left } else { Align::Right };
        let header: Vec<_> =
            table.header.iter().enumerate().map(|(at, name)| (*name, align(at))).collect();
        text += &format!("{}\n{}\n", table.title, table::format(&header, &table.rows));
    }
    if !sizes.is_empty() {
        let align = [Align::Left, Align::Left, Align::Right, Align::Right];
        let header: Vec<_> = SIZES.into_iter().zip(align).collect();
        text += &format!("size by operations and nodes\n{}\n", table::format(&header, &sizes));
    }
    for note in document.comparison.notes() {
        text += &format!("{note}\n");
    }
    print(&format!("{text}results    {}\n", options.study.display()))
}

const SIZES: [&str; 4] = ["method", "settings", "parameters", "bytes"];

/// Rows of generators' sizes; lists of operations are shown by their length.
fn sizes(memory: &[MemoryPoint]) -> Vec<Vec<String>> {
    let setting = |(key, value): (&String, &serde_json::Value)| match value.as_array() {
        Some(list) => format!("{} {key}", list.len()),
        None => format!("{key} = {value}"),
    };
    memory
        .iter()
        .map(|point| {
            let settings: Vec<String> = point.settings.iter().map(setting).collect();
            let [parameters, bytes] = [point.parameters, point.bytes].map(|n| n.to_string());
            vec![point.method.clone(), settings.join(", "), parameters, bytes]
        })
        .collect()
}

fn markdown(sizes: &[Vec<String>]) -> String {
    if sizes.is_empty() {
        return String::new();
    }
    let row = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rows: String = sizes.iter().map(|cells| row(cells)).collect();
    format!(
        "\n## Size by operations and nodes\n\n{}|---|---|---:|---:|\n{rows}",
        row(&SIZES.map(String::from))
    )
}
