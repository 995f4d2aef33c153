//! How fast and how flat: every figure is a ratio between two things measured in one run on one machine.
//!
//! ```text
//! cargo bench --bench pipes -- [--scale F] [--rounds N] [NAME...]
//! ```
//!
//! Prints a table, and writes it to BENCHMARKS.md when all of it was measured at full scale. `--scale 0.01` is for trying the
//! benchmark itself; `NAME`s are those of the first column. Everything happens on loopback and in
//! `$TMPDIR`; a real link's delay and bandwidth come from `link`.

// A table is all that a benchmark makes.
#![allow(clippy::print_stdout, clippy::print_stderr)]

#[path = "../../tests/it/support/mod.rs"]
mod support;

mod baseline;
mod convert;
mod data;
mod growth;
mod link;
mod measure;
mod others;
mod programs;
mod repositories;
mod spent;
mod table;
mod turns;

use anyhow::{Context, Result, bail};

use table::Table;

/// What a run is asked for.
pub struct Asked {
    /// 1 for the sizes that the table names.
    scale: f64,
    /// How often each side of a ratio is measured; the fastest counts.
    rounds: usize,
    /// The measurements to make; all when empty.
    names: Vec<String>,
}

impl Asked {
    fn new(arguments: impl Iterator<Item = String>) -> Result<Asked> {
        let mut asked = Asked { scale: 1.0, rounds: 3, names: Vec::new() };
        let mut arguments = arguments.filter(|argument| argument != "--bench");
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--scale" => asked.scale = arguments.next().context("--scale F")?.parse()?,
                "--rounds" => asked.rounds = arguments.next().context("--rounds N")?.parse()?,
                name if measure::ALL.iter().any(|(known, _)| *known == name) => asked.names.push(name.into()),
                other => {
                    let names: Vec<_> = measure::ALL.iter().map(|(name, _)| *name).collect();
                    bail!("{other} is none of: --scale, --rounds, {}", names.join(", "))
                }
            }
        }
        Ok(asked)
    }

    /// So many at full scale.
    pub fn scaled(&self, full: usize) -> usize {
        ((full as f64 * self.scale) as usize).max(1)
    }

    fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|wanted| wanted == name)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let asked = Asked::new(std::env::args().skip(1))?;
    let mut table = Table::new(&asked);
    for (name, measure) in measure::ALL {
        if asked.wants(name) {
            eprintln!("measuring: {name}");
            measure(&asked, &mut table).await.with_context(|| name.to_string())?;
        }
    }
    print!("{}", table.text());
    if asked.names.is_empty() && asked.scale == 1.0 {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/BENCHMARKS.md"), table.markdown()?)?;
    }
    Ok(())
}
