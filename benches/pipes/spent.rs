//! What a measurement costs: time on the clock, and what the servers and everything else on this machine took
//! of its CPUs meanwhile. Where all of them were busy all the time, only less work would be faster.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::support::server::Server;

/// The unit of times in `/proc`, on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Compared by the clock.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Spent {
    pub wall: Duration,
    /// CPU of the servers, in seconds.
    pub servers: f64,
    /// CPU of everything else that ran, in seconds: of our programs, if the machine is otherwise quiet.
    pub others: f64,
}

impl Spent {
    /// Runs something with `servers`.
    pub async fn on(servers: &[&Server], run: impl AsyncFnOnce() -> Result<()>) -> Result<Spent> {
        let of_servers = || servers.iter().map(|server| of_process(server.process_id())).sum::<Result<f64>>();
        let before = (of_servers()?, of_machine()?);
        let begun = Instant::now();
        run().await?;
        let wall = begun.elapsed();
        let servers = of_servers()? - before.0;
        Ok(Spent { wall, servers, others: of_machine()? - before.1 - servers })
    }
}

/// User and system time of a process, in seconds.
fn of_process(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the program's name in parentheses, and may hold anything. They are the 14th and 15th.
    let (_, after_name) = stat.rsplit_once(')').context("a name")?;
    seconds(after_name.split_whitespace().skip(11).take(2))
}

/// The same of all processes and of the kernel's own work.
fn of_machine() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    // cpu, user, nice, system, idle, iowait, irq, softirq
    let fields: Vec<_> = stat.split_whitespace().take(8).collect();
    seconds([1, 2, 3, 6, 7].into_iter().filter_map(|n| fields.get(n).copied()))
}

fn seconds<'a>(ticks: impl Iterator<Item = &'a str>) -> Result<f64> {
    Ok(ticks.map(str::parse::<u64>).sum::<Result<u64, _>>()? as f64 / TICKS_PER_SECOND)
}
