//! How fast and how flat: every figure is a ratio between two things measured in one run on one machine.
//!
//! ```text
//! cargo bench --bench pipes -- [--scale F] [--rounds N] [--update] [NAME...]
//! ```
//!
//! `NAME`s are measurements, in [`ALL`]; without any, all are made. Prints tables. When all of it was measured at full
//! scale, BENCHMARKS.md has these figures and no others afterwards; `--update` puts the rows of some measurements into
//! those that the page has. `--scale 0.01` is for trying the benchmark itself. Everything happens on loopback and in
//! `$TMPDIR`; a real link's delay and bandwidth come from `link`.
//!
//! What cannot be measured has a row that says why. The others are measured all the same, and the status is 1.

// A table is all that a benchmark makes.
#![allow(clippy::print_stdout, clippy::print_stderr)]

#[path = "../../tests/it/support/mod.rs"]
mod support;

mod baseline;
mod compressors;
mod convert;
mod data;
mod dump;
mod growth;
mod link;
mod load;
mod memory;
mod peers;
mod pipe;
mod programs;
mod repositories;
mod rsyncable;
mod spent;
mod start;
mod streams;
mod table;
mod turns;
mod verify;

use std::path::Path;
use std::pin::Pin;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use support::server::LATEST;
use table::Table;

/// A measurement adds its rows to the table.
type Measure = for<'a> fn(&'a Asked, &'a mut Table) -> Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

/// All of them in the order of the table, by the names that a run can ask for.
const ALL: &[(&str, Measure)] = &[
    ("dump", |asked, table| Box::pin(dump::all(asked, table))),
    ("load", |asked, table| Box::pin(load::all(asked, table))),
    ("links", |asked, table| Box::pin(load::over_links(asked, table))),
    ("streams", |asked, table| Box::pin(streams::all(asked, table))),
    ("verify", |asked, table| Box::pin(verify::all(asked, table))),
    ("nats", |asked, table| Box::pin(peers::nats(asked, table))),
    ("chatto", |asked, table| Box::pin(peers::chatto(asked, table))),
    ("memory", |asked, table| Box::pin(memory::all(asked, table))),
    ("convert", |asked, table| Box::pin(convert::all(asked, table))),
    ("rsyncable", |asked, table| Box::pin(rsyncable::all(asked, table))),
    ("repositories", |asked, table| Box::pin(repositories::all(asked, table))),
    ("pipe", |asked, table| Box::pin(pipe::all(asked, table))),
    ("start", |asked, table| Box::pin(start::all(asked, table))),
    ("compressors", |asked, table| Box::pin(compressors::all(asked, table))),
    ("growth", |asked, table| Box::pin(growth::all(asked, table))),
];

/// What a run is asked for.
struct Asked {
    /// 1 for the sizes that the table names.
    scale: f64,
    /// How often each side of a ratio is measured; the fastest counts.
    rounds: usize,
    /// Whether the page gets the rows of these measurements.
    update: bool,
    /// The measurements to make; all when empty.
    names: Vec<String>,
}

impl Asked {
    fn new(arguments: impl Iterator<Item = String>) -> Result<Asked> {
        let mut asked = Asked { scale: 1.0, rounds: 3, update: false, names: Vec::new() };
        let mut arguments = arguments.filter(|argument| argument != "--bench");
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--scale" => asked.scale = arguments.next().context("--scale F")?.parse()?,
                "--rounds" => asked.rounds = arguments.next().context("--rounds N")?.parse()?,
                "--update" => asked.update = true,
                name if ALL.iter().any(|(known, _)| *known == name) => asked.names.push(name.into()),
                other => {
                    let names: Vec<_> = ALL.iter().map(|(name, _)| *name).collect();
                    bail!("{other} is none of: --scale, --rounds, --update, {}", names.join(", "))
                }
            }
        }
        ensure!(!asked.update || asked.scale == 1.0, "--update is for figures of full scale");
        Ok(asked)
    }

    /// So many at full scale.
    fn scaled(&self, full: usize) -> usize {
        ((full as f64 * self.scale) as usize).max(1)
    }

    fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|wanted| wanted == name)
    }

    fn header(&self) -> String {
        format!(
            "{} cores ({}), {}; nats-server {LATEST} where no other is named; scale {}, the fastest of {}",
            std::thread::available_parallelism().map_or(1, usize::from),
            first_line("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".into()),
            Command::new("uname").arg("-sr").output().map_or_else(
                |_| "unknown".into(),
                |output| String::from_utf8_lossy(&output.stdout).trim().to_owned()
            ),
            self.scale,
            self.rounds,
        )
    }
}

fn first_line(file: &str, key: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[tokio::main]
async fn main() -> Result<()> {
    let asked = Asked::new(std::env::args().skip(1))?;
    let mut table = Table::new(asked.header());
    let begun = Instant::now();
    for (name, measure) in ALL {
        if asked.wants(name) {
            eprintln!("{:4.0} s: {name}", begun.elapsed().as_secs_f64());
            table.measure(name, async |table| measure(&asked, table).await).await;
        }
    }
    eprintln!("{:4.0} s: all\n", begun.elapsed().as_secs_f64());
    print!("{}", table.text());
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("BENCHMARKS.md");
    let before = std::fs::read_to_string(&page)?;
    if asked.update {
        std::fs::write(&page, table.update(&before))?;
    } else if asked.names.is_empty() && asked.scale == 1.0 {
        std::fs::write(&page, table.replace(&before))?;
    }
    ensure!(table.failed().is_empty(), "not measured: {}", table.failed().join(", "));
    Ok(())
}
