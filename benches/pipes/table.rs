//! The table, for a terminal and for BENCHMARKS.md.

use std::fmt::Write as _;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use anyhow::{Result, anyhow};
use futures_util::FutureExt as _;

use super::spent::Spent;

/// What stands around the figures of BENCHMARKS.md, and what around those of growth.
const FIGURES: [&str; 2] = ["<!-- figures: written by make bench -->\n", "<!-- end of figures -->\n"];
const GROWTH: [&str; 2] = ["<!-- growth: written by make bench -->\n", "<!-- end of growth -->\n"];

/// What a figure must be to be good.
#[derive(Clone, Copy)]
pub enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// Whatever it is: it is shown for comparison.
    Shown,
}

impl Goal {
    /// A value as it is shown, rounded to the worse side, so that nobody reads "0.85, at least 0.85: no".
    fn rounded(self, value: f64) -> f64 {
        let scale = if value >= 10.0 { 1.0 } else { 100.0 };
        // What is exact in decimals is not in binary.
        let scaled = (value * scale * 1e6).round() / 1e6;
        let rounded = match self {
            Goal::AtLeast(_) => scaled.floor(),
            Goal::AtMost(_) => scaled.ceil(),
            Goal::Shown => scaled.round(),
        };
        rounded / scale
    }

    fn met(self, value: f64) -> &'static str {
        let met = match self {
            // What could not be divided is not good.
            _ if !value.is_finite() => false,
            Goal::AtLeast(least) => value >= least,
            Goal::AtMost(most) => value <= most,
            Goal::Shown => return "–",
        };
        if met { "yes" } else { "no" }
    }

    fn words(self, unit: &str) -> String {
        match self {
            Goal::AtLeast(least) => format!("at least {least}{unit}"),
            Goal::AtMost(most) => format!("at most {most}{unit}"),
            Goal::Shown => "–".into(),
        }
    }
}

/// One of the tables: its heads and its lines.
struct Lines<const N: usize> {
    heads: [&'static str; N],
    lines: Vec<[String; N]>,
}

impl<const N: usize> Lines<N> {
    fn new(heads: [&'static str; N]) -> Lines<N> {
        Lines { heads, lines: Vec::new() }
    }

    fn push(&mut self, line: [String; N]) {
        eprintln!("  {}", line.join("  "));
        self.lines.push(line);
    }

    fn text(&self) -> String {
        let heads = self.heads.map(str::to_owned);
        let all: Vec<_> = std::iter::once(&heads).chain(&self.lines).collect();
        let widths: [usize; N] =
            std::array::from_fn(|n| all.iter().map(|line| line[n].chars().count()).max().unwrap_or(0));
        let mut text = String::new();
        for line in if self.lines.is_empty() { &[] } else { &all[..] } {
            let cells: Vec<_> =
                line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            let _ = writeln!(text, "{}", cells.join("  ").trim_end());
        }
        text
    }

    fn markdown(&self) -> String {
        let mut text = format!("\n| {} |\n|{}\n", self.heads.join(" | "), "---|".repeat(N));
        self.rows().for_each(|(_, row)| text += &row);
        text
    }

    /// By their first cells.
    fn rows(&self) -> impl Iterator<Item = (&str, String)> {
        self.lines.iter().map(|line| (line[0].as_str(), format!("| {} |\n", line.join(" | "))))
    }
}

/// The figures so far.
pub struct Table {
    header: String,
    ratios: Lines<6>,
    spent: Lines<5>,
    piped: Lines<4>,
    growth: Lines<3>,
    failed: Vec<String>,
}

impl Table {
    /// `header` says where and how the figures were measured.
    pub fn new(header: String) -> Table {
        Table {
            header,
            ratios: Lines::new(["what", "baseline", "ours", "figure", "goal", "met"]),
            spent: Lines::new([
                "what a run costs",
                "time",
                "CPU of the servers",
                "of the program",
                "of everything else",
            ]),
            piped: Lines::new(["through a compressor", "dump", "load", "archive"]),
            growth: Lines::new(["how the cost of a dump grows", "time", "per unit"]),
            failed: Vec::new(),
        }
    }

    /// A ratio of two speeds or two times.
    pub fn ratio(&mut self, what: &str, baseline: String, ours: String, ratio: f64, goal: Goal) {
        self.row(what, baseline, ours, ratio, "", goal);
    }

    /// A figure that stands alone.
    pub fn figure(&mut self, what: &str, value: f64, unit: &str, goal: Goal) {
        self.row(what, "–".into(), "–".into(), value, unit, goal);
    }

    /// A figure in a unit.
    pub fn row(&mut self, what: &str, baseline: String, ours: String, value: f64, unit: &str, goal: Goal) {
        let value = goal.rounded(value);
        let digits = if value >= 10.0 { 0 } else { 2 };
        let met = goal.met(value).into();
        self.ratios.push([
            what.into(),
            baseline,
            ours,
            format!("{value:.digits$}{unit}"),
            goal.words(unit),
            met,
        ]);
    }

    /// A row without figures, and why it has none.
    pub fn nothing(&mut self, what: &str, why: &str) {
        let why = format!("not measured: {}", why.split_whitespace().collect::<Vec<_>>().join(" "));
        let why = why.replace('|', "/").chars().take(200).collect();
        let [ours, figure, goal, met] = ["–"; 4].map(str::to_owned);
        self.ratios.push([what.into(), why, ours, figure, goal, met]);
    }

    /// Measures something. What fails has a row that says why, and the others are measured all the same.
    pub async fn measure(&mut self, what: &str, measure: impl AsyncFnOnce(&mut Table) -> Result<()>) {
        const LIMIT: Duration = Duration::from_secs(900);
        let measured = tokio::time::timeout(LIMIT, AssertUnwindSafe(measure(self)).catch_unwind()).await;
        let why = match measured {
            Ok(Ok(Ok(()))) => return,
            Ok(Ok(Err(why))) => why,
            // Where a server does not start, for one.
            Ok(Err(panic)) => match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
                (Some(why), _) => anyhow!("{why}"),
                (None, why) => anyhow!("{}", why.unwrap_or(&"it panicked")),
            },
            Err(_) => anyhow!("{} s were too short for it", LIMIT.as_secs()),
        };
        self.failed.push(what.into());
        self.nothing(what, &format!("{why:#}"));
    }

    /// What could not be measured.
    pub fn failed(&self) -> &[String] {
        &self.failed
    }

    /// What a measurement cost.
    pub fn spent(&mut self, what: &str, spent: Spent) {
        let cpu =
            [spent.servers, spent.program, spent.others].map(|cpu| format!("{:.1} s", cpu.as_secs_f64()));
        let [servers, program, others] = cpu;
        self.spent.push([what.into(), seconds(spent.wall), servers, program, others]);
    }

    /// A line of what a compressor costs and saves.
    pub fn piped(&mut self, line: [String; 4]) {
        self.piped.push(line);
    }

    /// A line of how cost grows.
    pub fn growth(&mut self, line: [String; 3]) {
        self.growth.push(line);
    }

    pub fn text(&self) -> String {
        let tables = [self.ratios.text(), self.spent.text(), self.piped.text(), self.growth.text()];
        format!("{}\n\n{}", self.header, tables.join("\n"))
    }

    /// `page` with these figures alone: what a person wrote stays, and what is between the marks is new.
    pub fn replace(&self, page: &str) -> String {
        let tables = [self.ratios.markdown(), self.spent.markdown(), self.piped.markdown()];
        let page = between(page, FIGURES, &format!("{}\n{}", self.header, tables.concat()));
        between(&page, GROWTH, self.growth.markdown().trim_start())
    }

    /// `page` with these figures in the rows that have the same first cell, and the others as they are.
    pub fn update(&self, page: &str) -> String {
        let rows: Vec<_> = self
            .ratios
            .rows()
            .chain(self.spent.rows())
            .chain(self.piped.rows())
            .chain(self.growth.rows())
            .collect();
        let line = |line: &str| {
            let what = line.strip_prefix("| ").and_then(|line| line.split_once(" | "));
            let new = rows.iter().find(|(of, _)| what.is_some_and(|(what, _)| what == *of));
            new.map_or_else(|| line.to_owned(), |(_, row)| row.clone())
        };
        page.split_inclusive('\n').map(line).collect()
    }
}

/// `page` with `text` between two marks, in the place of what was there.
fn between(page: &str, [begin, end]: [&str; 2], text: &str) -> String {
    let (before, rest) = page.split_once(begin).unwrap_or((page, ""));
    let after = rest.split_once(end).map_or("", |(_, after)| after);
    format!("{before}{begin}\n{text}\n{end}{after}")
}

/// Bytes in a time, as MB/s.
pub fn speed(bytes: u64, time: Duration) -> String {
    format!("{:.0} MB/s", bytes as f64 / 1e6 / time.as_secs_f64())
}

/// A time in the unit that suits it.
pub fn seconds(time: Duration) -> String {
    match time.as_secs_f64() {
        short if short < 1.0 => format!("{:.0} ms", short * 1e3),
        long => format!("{long:.1} s"),
    }
}

/// Bytes, as MB.
pub fn megabytes(bytes: u64) -> String {
    let digits = if bytes < 10_000_000 { 2 } else { 0 };
    format!("{:.digits$} MB", bytes as f64 / 1e6)
}
