//! A comparison as tables: for terminals, as Markdown and as CSV.

use std::fmt::Write;

use super::correlation::Statistic;
use super::report::{Comparison, Difference, MethodReport, Subset, SubsetReport};

/// Cells under a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// What it shows.
    pub title: &'static str,
    /// One a column.
    pub header: Vec<&'static str>,
    /// How many of the first columns are words; the others are numbers, aligned to the right.
    pub words: usize,
    /// One cell a column.
    pub rows: Vec<Vec<String>>,
}

/// The statistics' columns.
const CORRELATIONS: [&str; 3] = ["Pearson [95%]", "Spearman [95%]", "Kendall [95%]"];

impl Comparison {
    /// Correlations, cost and regret, and the differences of the first method from each other one.
    pub fn tables(&self) -> Vec<Table> {
        let mut tables = vec![self.correlation_table(), self.cost_table()];
        if self.methods.len() > 1 {
            tables.push(self.difference_table());
        }
        tables
    }

    /// What a reader must know about the tables: one sentence a line.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = vec![format!(
            "{} architectures, trained with {} seed(s) each; 95% percentile intervals over {} paired \
             bootstrap resamples of the architectures, seed {}.",
            self.architectures, self.truth_seeds, self.resamples, self.seed
        )];
        match (&self.noise_ceiling, &self.noise_ceiling_missing) {
            (Some(ceiling), _) => notes.push(format!(
                "Two seeds of the truth correlate with {:.2} (Pearson), {:.2} (Spearman), {:.2} \
                 (Kendall); the reliability of their mean is {:.2}.",
                ceiling.between_seeds.pearson,
                ceiling.between_seeds.spearman,
                ceiling.between_seeds.kendall,
                ceiling.reliability
            )),
            (None, Some(reason)) => notes.push(format!("No noise ceiling: {reason}.")),
            (None, None) => {}
        }
        for method in &self.methods {
            let MethodReport { name, by, missing, .. } = method;
            if let Some(first) = missing.first() {
                notes.push(format!(
                    "{name} by {by} has no score for {} architecture(s), the first of them {}: {}.",
                    missing.len(),
                    first.hash,
                    first.reason
                ));
            }
            for (subset, report) in method.subsets() {
                let name = format!("{name} by {by}, {}", words(subset));
                if let Some(error) = &report.error {
                    notes.push(format!("{name}: {error}."));
                } else if report.degenerate_resamples > 0 {
                    notes.push(format!(
                        "{name}: {} resamples have no correlation and are left out.",
                        report.degenerate_resamples
                    ));
                }
            }
        }
        notes
    }

    /// All tables and notes.
    pub fn to_markdown(&self) -> String {
        let mut text = String::new();
        for table in self.tables() {
            table.write_markdown(&mut text);
        }
        for note in self.notes() {
            text += &format!("- {}\n", escaped(&note));
        }
        text
    }

    /// A row a method, in full precision; empty cells where there is no value.
    pub fn to_csv(&self) -> String {
        let mut header: Vec<String> =
            ["name", "by", "initial_seconds", "per_arch_seconds", "memory_bytes", "n", "missing"]
                .map(String::from)
                .to_vec();
        for subset in Subset::ALL.map(Subset::name) {
            header.push(format!("{subset}_n"));
            for statistic in Statistic::ALL.map(Statistic::name) {
                header
                    .extend(["", "_low", "_high"].map(|end| format!("{subset}_{statistic}{end}")));
            }
        }
        for k in self.chosen() {
            header.extend(["", "_low", "_high"].map(|end| format!("regret_{k}{end}")));
        }
        let rows = self.methods.iter().map(|method| {
            let mut row = vec![
                method.name.clone(),
                method.by.clone(),
                method.initial_seconds.to_string(),
                method.per_arch_seconds.to_string(),
                method.memory_bytes.map(|bytes| bytes.to_string()).unwrap_or_default(),
                method.n.to_string(),
                method.missing.len().to_string(),
            ];
            for (_, report) in method.subsets() {
                row.push(report.n.to_string());
                for statistic in Statistic::ALL {
                    let interval = report.ci95.map(|ci95| ci95.get(statistic));
                    row.extend(exact(report.get(statistic), interval));
                }
            }
            for k in self.chosen() {
                let regret = method.regret.iter().find(|regret| regret.k == k);
                let interval = regret.and_then(|regret| regret.ci95);
                row.extend(exact(regret.map(|regret| regret.points), interval));
            }
            row
        });
        csv(header, rows)
    }

    /// A row a pair of methods, subset and statistic, in full precision.
    pub fn differences_csv(&self) -> String {
        let header = [
            "a",
            "a_by",
            "b",
            "b_by",
            "subset",
            "statistic",
            "n",
            "difference",
            "low",
            "high",
            "p",
        ];
        let row = |difference: &Difference| {
            let Difference { a, a_by, b, b_by, subset, statistic, n, .. } = difference;
            let words = [a, a_by, b, b_by].map(String::from).into_iter();
            let place = [subset.name().into(), statistic.name().into(), n.to_string()];
            let p = difference.p.map(|p| p.to_string()).unwrap_or_default();
            words
                .chain(place)
                .chain(exact(difference.difference, difference.ci95))
                .chain([p])
                .collect()
        };
        csv(header.map(String::from).to_vec(), self.differences.iter().map(row))
    }

    fn correlation_table(&self) -> Table {
        let mut rows = Vec::new();
        for subset in Subset::ALL {
            for method in &self.methods {
                let report = method.subset(subset);
                let mut row = vec![words(subset).into(), method.name.clone(), method.by.clone()];
                row.push(report.n.to_string());
                row.extend(Statistic::ALL.map(|statistic| {
                    let interval = report.ci95.map(|ci95| ci95.get(statistic));
                    rounded(report.get(statistic), interval)
                }));
                rows.push(row);
            }
            let ceiling = self.noise_ceiling.and_then(|ceiling| match subset {
                Subset::Random => ceiling.random,
                Subset::TopHalf => ceiling.top_half,
            });
            if let Some(ceiling) = ceiling {
                let mut row = vec![words(subset).into(), "noise ceiling".into()];
                row.extend([String::new(), String::new()]);
                row.extend(Statistic::ALL.map(|at| rounded(Some(ceiling.get(at)), None)));
                rows.push(row);
            }
        }
        let header = ["architectures", "method", "by", "n"].into_iter().chain(CORRELATIONS);
        Table {
            title: "Correlation with the accuracy of trained networks",
            header: header.collect(),
            words: 3,
            rows,
        }
    }

    fn cost_table(&self) -> Table {
        let row = |method: &MethodReport| {
            let mut row = vec![method.name.clone(), method.by.clone()];
            row.push(seconds(method.initial_seconds));
            row.push(seconds(method.per_arch_seconds));
            row.push(method.memory_bytes.map(mebibytes).unwrap_or_else(|| "-".into()));
            row.extend([1, 5, 10].map(|k| {
                let regret = method.regret.iter().find(|regret| regret.k == k);
                let interval = regret.and_then(|regret| regret.ci95);
                rounded(regret.map(|regret| regret.points), interval)
            }));
            row
        };
        Table {
            title: "Cost, and regret of choosing the best 1, 5 and 10 in percentage points",
            header: vec![
                "method",
                "by",
                "initial s",
                "s/arch",
                "MiB",
                "best 1 [95%]",
                "best 5 [95%]",
                "best 10 [95%]",
            ],
            words: 2,
            rows: self.methods.iter().map(row).collect(),
        }
    }

    fn difference_table(&self) -> Table {
        let first = &self.methods[0];
        let mut rows = Vec::new();
        for subset in Subset::ALL {
            for method in &self.methods[1..] {
                let mut row = vec![words(subset).into(), first.label(), method.label()];
                for statistic in Statistic::ALL {
                    let of = |difference: &&Difference| {
                        (&difference.a, &difference.a_by) == (&first.name, &first.by)
                            && (&difference.b, &difference.b_by) == (&method.name, &method.by)
                            && (difference.subset, difference.statistic) == (subset, statistic)
                    };
                    let difference = self.differences.iter().find(of);
                    let interval = difference.and_then(|difference| difference.ci95);
                    row.push(rounded(difference.and_then(|it| it.difference), interval));
                    let p = difference.and_then(|difference| difference.p);
                    row.push(p.map(|p| format!("{p:.4}")).unwrap_or_else(|| "-".into()));
                }
                rows.push(row);
            }
        }
        let numbers = CORRELATIONS.into_iter().flat_map(|name| [name, "p"]);
        Table {
            title: "Differences: the first method less each other one",
            header: ["architectures", "method", "less"].into_iter().chain(numbers).collect(),
            words: 3,
            rows,
        }
    }

    /// The numbers chosen of which some method has a regret.
    fn chosen(&self) -> Vec<usize> {
        let all = self.methods.iter().flat_map(|method| &method.regret);
        let mut chosen: Vec<usize> = all.map(|regret| regret.k).collect();
        chosen.sort_unstable();
        chosen.dedup();
        chosen
    }
}

impl MethodReport {
    /// The report on one subset.
    pub fn subset(&self, subset: Subset) -> &SubsetReport {
        match subset {
            Subset::Random => &self.random,
            Subset::TopHalf => &self.top_half,
        }
    }

    fn subsets(&self) -> [(Subset, &SubsetReport); 2] {
        Subset::ALL.map(|subset| (subset, self.subset(subset)))
    }

    fn label(&self) -> String {
        format!("{} by {}", self.name, self.by)
    }
}

impl Table {
    fn write_markdown(&self, text: &mut String) {
        let line = |cells: &mut dyn Iterator<Item = String>| {
            format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
        };
        let rule = |column: usize| if column < self.words { "---" } else { "--:" };
        *text += &format!("**{}**\n\n", self.title);
        *text += &line(&mut self.header.iter().map(ToString::to_string));
        *text += &line(&mut (0..self.header.len()).map(|column| rule(column).into()));
        for row in &self.rows {
            *text += &line(&mut row.iter().map(|cell| escaped(cell)));
        }
        text.push('\n');
    }
}

fn words(subset: Subset) -> &'static str {
    match subset {
        Subset::Random => "all",
        Subset::TopHalf => "better half",
    }
}

/// A value and its interval for people.
fn rounded(value: Option<f64>, interval: Option<[f64; 2]>) -> String {
    match (value, interval) {
        (None, _) => "-".into(),
        (Some(value), None) => format!("{value:.2}"),
        (Some(value), Some([low, high])) => format!("{value:.2} [{low:.2}, {high:.2}]"),
    }
}

/// A value and the ends of its interval for programs.
fn exact(value: Option<f64>, interval: Option<[f64; 2]>) -> [String; 3] {
    let ends = [value, interval.map(|[low, _]| low), interval.map(|[_, high]| high)];
    ends.map(|number| number.map(|number| number.to_string()).unwrap_or_default())
}

fn seconds(seconds: f64) -> String {
    match seconds {
        0.0 => "-".into(),
        s if s < 10.0 => format!("{s:.3}"),
        s => format!("{s:.0}"),
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}

fn escaped(cell: &str) -> String {
    cell.replace('|', "\\|").replace('\n', " ")
}

fn csv(header: Vec<String>, rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut text = String::new();
    for row in std::iter::once(header).chain(rows) {
        let cells: Vec<String> = row.iter().map(|cell| quoted(cell)).collect();
        writeln!(text, "{}", cells.join(",")).expect("writing to a string");
    }
    text
}

/// A cell as RFC 4180 has it.
fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.into()
    }
}
