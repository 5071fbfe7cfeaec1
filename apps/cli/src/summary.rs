//! What a study found, for people: the table of the best, and the best block drawn.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use ghnas_core::MultiplyAdds;
use ghnas_engine::{
    EngineError, Objective, Ranked, Selection, SelectionReport, StudyReport, draw, replace_file,
};

use crate::table::{self, Align};

/// Digits of a hash in tables.
const HASH_DIGITS: usize = 10;

/// The chart of the objective against multiply-adds, beside the drawings.
const FRONT: &str = "front.svg";

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
    if let Some(selection) = &generator.selection {
        writeln!(text, "selected   {}", of_selection(selection)).expect("writing to a string");
    }
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
    if report.front.len() > 1 {
        let name = match report.objective {
            Objective::Loss => "loss",
            Objective::Accuracy => "accuracy",
        };
        writeln!(text, "\nPareto front of {name} and multiply-adds").expect("writing to a string");
        text += &of_rows(&report.front);
    }
    if let Some(best) = report.top.first() {
        write!(text, "\nbest {}", draw::to_text(&best.arch)).expect("writing to a string");
        writeln!(text, "drawings   {}", drawings.display()).expect("writing to a string");
    }
    text
}

/// Which state of the generator is the trained one, and why.
fn of_selection(selection: &SelectionReport) -> String {
    let SelectionReport { by, step, loss, stability, agreement, evaluations, stopped_early } =
        selection;
    let by = match by {
        Selection::Last => "the last",
        Selection::ValidationLoss => "the least validation loss",
        Selection::Stability => "the most stable ranking",
        Selection::BriefTraining => "the ranking nearest to that after a brief training",
    };
    let mut text = format!("the state after {step} steps: {by} of {evaluations} evaluations");
    if let Some(loss) = loss {
        write!(text, ", validation loss {loss:.4}").expect("writing to a string");
    }
    if let Some(stability) = stability {
        write!(text, ", rank correlation with the evaluation before {stability:.3}")
            .expect("writing to a string");
    }
    if let Some(agreement) = agreement {
        write!(text, ", with that after a brief training {agreement:.3}")
            .expect("writing to a string");
    }
    if *stopped_early {
        text.push_str("; training ended early, since evaluations got no better");
    }
    text
}

/// Ranked architectures as a table, the best first.
pub(crate) fn of_rows(rows: &[Ranked]) -> String {
    let mut columns: Vec<Column> = vec![
        ("hash", Align::Left, |row| row.hash.chars().take(HASH_DIGITS).collect()),
        ("rung", Align::Right, |row| row.rung.to_string()),
        ("score", Align::Right, |row| or_dash(row.score.map(|score| format!("{score:.4}")))),
        ("loss", Align::Right, |row| or_dash(row.loss.map(|loss| format!("{loss:.4}")))),
        ("accuracy", Align::Right, |row| or_dash(row.accuracy.map(percent))),
        ("parameters", Align::Right, |row| or_dash(row.params.map(|count| count.to_string()))),
        ("multiply-adds", Align::Right, |row| {
            or_dash(row.multiply_adds.map(|count| MultiplyAdds(count).to_string()))
        }),
        ("architecture", Align::Left, |row| or_dash(row.notation.clone())),
        ("", Align::Left, |row| row.error.clone().unwrap_or_default()),
    ];
    let scored = rows.iter().any(|row| row.score.is_some());
    columns.retain(|(name, ..)| match *name {
        "rung" => rows.iter().any(|row| row.rung > 0),
        "score" => scored,
        "loss" | "accuracy" => !scored,
        "architecture" => rows.iter().any(|row| row.notation.is_some()),
        _ => true,
    });
    let header: Vec<(&str, Align)> = std::iter::once(("rank", Align::Right))
        .chain(columns.iter().map(|&(name, align, _)| (name, align)))
        .collect();
    let cells = |(index, row): (usize, &Ranked)| {
        let rank = (index + 1).to_string();
        std::iter::once(rank).chain(columns.iter().map(|(.., cell)| cell(row))).collect()
    };
    table::format(&header, &rows.iter().enumerate().map(cells).collect::<Vec<_>>())
}

/// A column of a table of architectures: header, alignment and cell.
type Column = (&'static str, Align, fn(&Ranked) -> String);

fn or_dash(cell: Option<String>) -> String {
    cell.unwrap_or_else(|| "-".into())
}

/// Ranked architectures as CSV (RFC 4180), the best first.
pub(crate) fn csv(rows: &[Ranked]) -> String {
    let mut text =
        String::from("hash,loss,accuracy,params,multiply_adds,arch,error,notation,score\r\n");
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
            quoted(row.notation.as_deref().unwrap_or_default()),
            cell(row.score.map(|score| score.to_string())),
        ];
        text += &cells.join(",");
        text += "\r\n";
    }
    text
}

/// Writes `01-hash.svg` and `01-hash.json` for each of the best to `folder`, and `front.svg`, and
/// removes those of an earlier ranking.
pub(crate) fn write_drawings(
    folder: &Path,
    report: &StudyReport,
    front: impl FnOnce() -> Result<String, EngineError>,
) -> Result<()> {
    let rows = &report.top;
    if rows.is_empty() {
        return Ok(());
    }
    let failed = || format!("cannot write drawings to {}", folder.display());
    std::fs::create_dir_all(folder).with_context(failed)?;
    replace_file(&folder.join(FRONT), front()?.as_bytes())?;
    let mut written = BTreeSet::from([FRONT.to_string()]);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_says_which_state_and_why() {
        let mut selection = SelectionReport {
            by: Selection::ValidationLoss,
            step: 600,
            loss: Some(1.23456),
            stability: Some(0.9),
            agreement: Some(0.75),
            evaluations: 8,
            stopped_early: true,
        };
        assert_eq!(
            of_selection(&selection),
            "the state after 600 steps: the least validation loss of 8 evaluations, validation loss \
             1.2346, rank correlation with the evaluation before 0.900, with that after a brief \
             training 0.750; training ended early, since evaluations got no better"
        );
        selection = SelectionReport {
            by: Selection::Last,
            loss: None,
            stability: None,
            agreement: None,
            stopped_early: false,
            ..selection
        };
        assert_eq!(
            of_selection(&selection),
            "the state after 600 steps: the last of 8 evaluations"
        );
    }
}
