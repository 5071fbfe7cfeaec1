//! What a study found, for people: the table of the best, and the best block drawn.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use ghnas_core::MultiplyAdds;
use ghnas_engine::{Ranked, StudyReport, draw, replace_file};

use crate::table::{self, Align};

/// Digits of a hash in tables.
const HASH_DIGITS: usize = 10;

/// The summary of a study, whose drawings lie in `drawings`.
pub(crate) fn of_study(report: &StudyReport, drawings: &Path) -> String {
    let generator = &report.generator;
    let mut text = format!(
        "generator  {}: {} parameters, {} steps in {}",
        generator.id,
        generator.parameters,
        generator.steps,
        minutes(report.seconds.train)
    );
    if let Some(loss) = generator.final_loss {
        write!(text, ", training loss {loss:.3}").expect("writing to a string");
    }
    if generator.skipped > 0 {
        write!(text, ", {} steps skipped", generator.skipped).expect("writing to a string");
    }
    text.push('\n');
    if report.candidates == 0 {
        return text;
    }
    write!(
        text,
        "candidates {} scored on {} images each in {}",
        report.candidates,
        report.images,
        minutes(report.seconds.score)
    )
    .expect("writing to a string");
    if report.failed > 0 {
        write!(text, "; {} could not be scored", report.failed).expect("writing to a string");
    }
    if let (Some(mean), Some(best)) = (report.mean_accuracy, report.best_accuracy) {
        write!(text, "; accuracy mean {}, best {}", percent(mean), percent(best))
            .expect("writing to a string");
    }
    text.push_str("\n\n");
    text += &of_rows(&report.top);
    if let Some(best) = report.top.first() {
        write!(text, "\nbest {}", draw::to_text(&best.arch)).expect("writing to a string");
        writeln!(text, "drawings   {}", drawings.display()).expect("writing to a string");
    }
    text
}

/// Ranked architectures as a table, the best first.
pub(crate) fn of_rows(rows: &[Ranked]) -> String {
    let header = [
        ("rank", Align::Right),
        ("hash", Align::Left),
        ("loss", Align::Right),
        ("accuracy", Align::Right),
        ("parameters", Align::Right),
        ("multiply-adds", Align::Right),
        ("", Align::Left),
    ];
    let none = || "-".to_string();
    let cells = |(index, row): (usize, &Ranked)| {
        vec![
            (index + 1).to_string(),
            row.hash.chars().take(HASH_DIGITS).collect(),
            row.loss.map_or_else(none, |loss| format!("{loss:.4}")),
            row.accuracy.map_or_else(none, percent),
            row.params.map_or_else(none, |params| params.to_string()),
            row.multiply_adds.map_or_else(none, |count| MultiplyAdds(count).to_string()),
            row.error.clone().unwrap_or_default(),
        ]
    };
    table::format(&header, &rows.iter().enumerate().map(cells).collect::<Vec<_>>())
}

/// Ranked architectures as CSV (RFC 4180), the best first.
pub(crate) fn csv(rows: &[Ranked]) -> String {
    let mut text = String::from("hash,loss,accuracy,params,multiply_adds,arch,error\r\n");
    for row in rows {
        let cell = |value: Option<String>| value.unwrap_or_default();
        let cells = [
            row.hash.clone(),
            cell(row.loss.map(|loss| loss.to_string())),
            cell(row.accuracy.map(|accuracy| accuracy.to_string())),
            cell(row.params.map(|params| params.to_string())),
            cell(row.multiply_adds.map(|count| count.to_string())),
            quoted(&row.arch.to_string()),
            quoted(row.error.as_deref().unwrap_or_default()),
        ];
        text += &cells.join(",");
        text += "\r\n";
    }
    text
}

/// Writes `01-hash.svg` and `01-hash.json` for each row to `folder`, and removes those of an
/// earlier ranking.
pub(crate) fn write_drawings(folder: &Path, rows: &[Ranked]) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let failed = || format!("cannot write drawings to {}", folder.display());
    std::fs::create_dir_all(folder).with_context(failed)?;
    let mut written = BTreeSet::new();
    for (index, row) in rows.iter().enumerate() {
        let hash: String = row.hash.chars().take(HASH_DIGITS).collect();
        let contents = [("svg", draw::to_svg(&row.arch)), ("json", format!("{}\n", row.arch))];
        for (ending, content) in contents {
            let name = format!("{:02}-{hash}.{ending}", index + 1);
            replace_file(&folder.join(&name), content.as_bytes())?;
            written.insert(name);
        }
    }
    for entry in std::fs::read_dir(folder).with_context(failed)? {
        let entry = entry.with_context(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !written.contains(&name) {
            std::fs::remove_file(entry.path()).with_context(failed)?;
        }
    }
    Ok(())
}

fn quoted(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}

fn percent(share: f64) -> String {
    format!("{:.2}%", 100.0 * share)
}

fn minutes(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    format!("{}:{:02} min", whole / 60, whole % 60)
}
