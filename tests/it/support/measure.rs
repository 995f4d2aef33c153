//! Measures the peak memory of a program, and the bytes that it writes to file systems.

use std::process::Command;

use anyhow::{Context, Result};

/// Runs the program that its arguments name, and writes its peak memory in KiB and what it caused to
/// be written to a file system, in units of 512 bytes, as the last line of stderr.
const MEASURE: &str = "
import os, sys
pid = os.spawnvp(os.P_NOWAIT, sys.argv[1], sys.argv[1:])
_, status, used = os.wait4(pid, 0)
print(used.ru_maxrss, used.ru_oublock, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))
";

/// What a program has taken.
#[derive(Debug, PartialEq, Eq)]
pub struct Used {
    /// Its peak memory, in KiB.
    pub memory: u64,
    /// What it caused to be written to a file system, in bytes.
    pub written: u64,
}

/// The same program with the same arguments and environment, measured. The last line of its stderr is
/// for [`Used::of`].
pub fn measured(command: &Command) -> Command {
    let mut python = Command::new("python3");
    python.args(["-c", MEASURE]).arg(command.get_program()).args(command.get_args());
    python.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    python
}

impl Used {
    /// What was measured, and what the program itself said.
    pub fn of(stderr: &str) -> Result<(Used, &str)> {
        let text = stderr.trim_end_matches('\n');
        let (said, last) = text.rsplit_once('\n').unwrap_or(("", text));
        let (memory, blocks) = last.split_once(' ').with_context(|| format!("no measurement: {stderr}"))?;
        Ok((Used { memory: memory.parse()?, written: blocks.parse::<u64>()? * 512 }, said))
    }
}
