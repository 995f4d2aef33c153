//! What a measurement costs: time on the clock, and what the servers, the program that is measured and everything
//! else on this machine took of its CPUs meanwhile. Where all of them were busy all the time, only less work would be
//! faster.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// The unit of times in `/proc`, on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Compared by the clock.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Spent {
    pub wall: Duration,
    /// CPU of the servers.
    pub servers: Duration,
    /// CPU of the program that was measured, as getrusage(2) has it.
    pub program: Duration,
    /// CPU of everything else that ran, and of the kernel.
    pub others: Duration,
}

impl Spent {
    /// Runs something with the servers of those numbers. It gives the CPU time of the program that is measured.
    pub async fn on(servers: &[u32], run: impl AsyncFnOnce() -> Result<Duration>) -> Result<Spent> {
        let of_servers = || servers.iter().map(|server| cpu_of(*server)).sum::<Result<Duration>>();
        let before = (of_servers()?, of_machine()?);
        let begun = Instant::now();
        let program = run().await?;
        let wall = begun.elapsed();
        let servers = of_servers()? - before.0;
        let others = (of_machine()? - before.1).saturating_sub(servers + program);
        Ok(Spent { wall, servers, program, others })
    }
}

/// Runs something in this process, and gives the CPU time of it.
pub async fn in_this_process(run: impl AsyncFnOnce() -> Result<()>) -> Result<Duration> {
    let of_this = || fields(&stat_of(std::process::id())?, 11, 2);
    let before = of_this()?;
    run().await?;
    Ok(of_this()? - before)
}

/// User and system time of a process, with those of its children that it has waited for.
pub fn cpu_of(pid: u32) -> Result<Duration> {
    fields(&stat_of(pid)?, 11, 4)
}

/// What `/proc` says of a process, from its third field on: the second is its name in parentheses, and may hold
/// anything. The 14th to 17th are the times.
fn stat_of(pid: u32) -> Result<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    Ok(stat.rsplit_once(')').context("a name")?.1.to_owned())
}

/// The same of all processes and of the kernel's own work.
fn of_machine() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    // cpu, user, nice, system, idle, iowait, irq, softirq
    Ok(fields(&stat, 1, 3)? + fields(&stat, 6, 2)?)
}

fn fields(text: &str, first: usize, count: usize) -> Result<Duration> {
    let ticks = text.split_whitespace().skip(first).take(count).map(str::parse::<u64>);
    Ok(Duration::from_secs_f64(ticks.sum::<Result<u64, _>>()? as f64 / TICKS_PER_SECOND))
}
