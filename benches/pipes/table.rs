//! The table, for a terminal and for BENCHMARKS.md.

use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::Asked;
use crate::spent::Spent;
use crate::support::server::LATEST;

/// What a figure must be to be good.
#[derive(Clone, Copy)]
pub enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// Whatever it is: it is shown for comparison.
    Shown,
}

impl Goal {
    fn met(self, value: f64) -> &'static str {
        let met = match self {
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

struct Row {
    what: String,
    baseline: String,
    ours: String,
    figure: String,
    goal: String,
    met: &'static str,
}

/// The figures so far.
pub struct Table {
    header: String,
    rows: Vec<Row>,
    growth: Vec<String>,
    spent: Vec<String>,
}

impl Table {
    pub fn new(asked: &Asked) -> Table {
        let machine = format!(
            "{} cores ({}), {}; nats-server {LATEST}; scale {}, the fastest of {}",
            std::thread::available_parallelism().map_or(1, usize::from),
            first_line("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".into()),
            Command::new("uname").arg("-sr").output().map_or_else(
                |_| "unknown".into(),
                |output| String::from_utf8_lossy(&output.stdout).trim().to_owned()
            ),
            asked.scale,
            asked.rounds,
        );
        Table { header: machine, rows: Vec::new(), growth: Vec::new(), spent: Vec::new() }
    }

    /// A ratio of two speeds or two times.
    pub fn ratio(&mut self, what: &str, baseline: String, ours: String, ratio: f64, goal: Goal) {
        self.row(what, baseline, ours, ratio, "", goal);
    }

    /// A figure that stands alone.
    pub fn figure(&mut self, what: &str, ours: String, value: f64, unit: &str, goal: Goal) {
        self.row(what, "–".into(), ours, value, unit, goal);
    }

    fn row(&mut self, what: &str, baseline: String, ours: String, value: f64, unit: &str, goal: Goal) {
        let met = goal.met(value);
        let digits = if value >= 10.0 { 0 } else { 2 };
        let row = Row {
            what: what.into(),
            baseline,
            ours,
            figure: format!("{value:.digits$}{unit}"),
            goal: goal.words(unit),
            met,
        };
        eprintln!("  {what}: {} ({}), goal {}: {met}", row.figure, row.ours, row.goal);
        self.rows.push(row);
    }

    /// A row without figures, and why it has none.
    pub fn nothing(&mut self, what: &str, why: &str) {
        eprintln!("  {what}: {why}");
        let [baseline, ours, figure, goal] = [why, "–", "–", "–"].map(str::to_owned);
        self.rows.push(Row { what: what.into(), baseline, ours, figure, goal, met: "–" });
    }

    /// What a measurement cost.
    pub fn spent(&mut self, what: &str, spent: Spent) {
        let Spent { wall, servers, others } = spent;
        let line = format!("{what}  {}  {servers:.1} s  {others:.1} s", seconds(wall));
        eprintln!("  {line}");
        self.spent.push(line);
    }

    /// A line of how cost grows.
    pub fn growth(&mut self, line: String) {
        eprintln!("  {line}");
        self.growth.push(line);
    }

    fn lines(&self) -> Vec<[&str; 6]> {
        let heads = [["what", "baseline", "ours", "figure", "goal", "met"]];
        let rows = self
            .rows
            .iter()
            .map(|row| [&row.what[..], &row.baseline, &row.ours, &row.figure, &row.goal, row.met]);
        heads.into_iter().chain(rows).collect()
    }

    pub fn text(&self) -> String {
        let lines = self.lines();
        let widths: Vec<usize> =
            (0..6).map(|n| lines.iter().map(|line| line[n].chars().count()).max().unwrap_or(0)).collect();
        let mut text = format!("{}\n\n", self.header);
        for line in lines {
            let cells: Vec<_> =
                line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            let _ = writeln!(text, "{}", cells.join("  ").trim_end());
        }
        for line in self.spent.iter().chain(&self.growth) {
            let _ = writeln!(text, "{line}");
        }
        text
    }

    /// The page: what a person wrote stays, the figures between the marks are new.
    pub fn markdown(&self) -> Result<String> {
        const BEGIN: &str = "<!-- figures: written by make bench -->\n";
        const END: &str = "<!-- end of figures -->\n";
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/BENCHMARKS.md"))?;
        let mut figures = format!("{BEGIN}\n{}\n\n", self.header);
        for (n, line) in self.lines().iter().enumerate() {
            let _ = writeln!(figures, "| {} |", line.join(" | "));
            if n == 0 {
                figures += "|---|---|---|---|---|---|\n";
            }
        }
        figures +=
            "\n| what a run costs | time | CPU of the servers | of everything else |\n|---|---|---|---|\n";
        for line in &self.spent {
            let _ = writeln!(figures, "| {} |", line.replace("  ", " | "));
        }
        figures += "\n| how cost grows | time | per unit |\n|---|---|---|\n";
        for line in &self.growth {
            let _ = writeln!(figures, "| {} |", line.replace("  ", " | "));
        }
        let (before, rest) = page.split_once(BEGIN).unwrap_or((&page, ""));
        let after = rest.split_once(END).map_or("", |(_, after)| after);
        Ok(format!("{before}{figures}\n{END}{after}"))
    }
}

fn first_line(file: &str, key: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
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
