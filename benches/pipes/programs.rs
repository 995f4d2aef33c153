//! Programs, run and timed.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::support::programs::{path, program};
use crate::support::server::Server;

/// Runs the program that its arguments name, and writes its peak memory in KiB and what it caused to be
/// written to a file system, in units of 512 bytes, as the last line of stderr.
const MEASURE: &str = "
import os, sys
pid = os.spawnv(os.P_NOWAIT, sys.argv[1], sys.argv[1:])
_, status, used = os.wait4(pid, 0)
print(used.ru_maxrss, used.ru_oublock, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))
";

/// One of our programs, configured for the server at `url`.
pub fn ours(name: &str, url: &str, token: &str) -> Command {
    let mut command = program(name);
    command.envs(environment(url, token));
    command
}

/// One of our programs, configured for `server`.
pub fn ours_at(name: &str, server: &Server) -> Command {
    ours(name, &server.url(), server.token())
}

fn environment(url: &str, token: &str) -> [(&'static str, String); 3] {
    [
        ("CHATTO_NATS_CLIENT_URL", url.to_owned()),
        ("CHATTO_NATS_CLIENT_AUTH_METHOD", "token".to_owned()),
        ("CHATTO_NATS_CLIENT_TOKEN", token.to_owned()),
    ]
}

/// How long it runs. A program that fails is no measurement.
pub fn time(command: &mut Command) -> Result<Duration> {
    let begun = Instant::now();
    let status = command.status()?;
    let took = begun.elapsed();
    ensure!(status.success(), "{command:?}: {status}");
    Ok(took)
}

/// How long a shell's pipeline runs, of which `server`s are known as `FROM_URL`, `FROM_TOKEN`, `TO_URL` and `TO_TOKEN`.
pub fn time_shell(script: &str, from: &Server, to: &Server, directory: &Path) -> Result<Duration> {
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", script]).current_dir(directory);
    for (name, server) in [("FROM", from), ("TO", to)] {
        shell.env(format!("{name}_URL"), server.url()).env(format!("{name}_TOKEN"), server.token());
    }
    shell.env("DUMP", path("chatto-dump")).env("LOAD", path("chatto-load"));
    shell.env("CHATTO_NATS_CLIENT_AUTH_METHOD", "token");
    time(&mut shell)
}

/// Peak memory in KiB and bytes written to disk of a program of ours.
pub fn used(command: &Command) -> Result<(u64, u64)> {
    let mut python = Command::new("python3");
    python.args(["-c", MEASURE]).arg(command.get_program()).args(command.get_args());
    python.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
    python.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    measured(python)
}

/// The same with `input` on its stdin.
pub fn used_reading(command: &Command, input: &Path) -> Result<(u64, u64)> {
    let mut python = Command::new("python3");
    python.args(["-c", MEASURE]).arg(command.get_program()).args(command.get_args());
    python.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
    python.stdin(File::open(input)?).stdout(Stdio::null()).stderr(Stdio::piped());
    measured(python)
}

fn measured(mut python: Command) -> Result<(u64, u64)> {
    let output = python.output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{said}");
    let mut numbers = said.lines().last().context("a measurement")?.split(' ').map(str::parse::<u64>);
    let mut next = || numbers.next().context("a number").and_then(|n| Ok(n?));
    Ok((next()?, next()? * 512))
}

/// How long after `mark` first came the bytes that `until` looks for follow in what a program writes.
pub fn between(command: &mut Command, until: &[u8]) -> Result<(Duration, Duration)> {
    let begun = Instant::now();
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut stdout = child.stdout.take().context("a pipe")?;
    let mut seen = Vec::new();
    let mut piece = [0; 64 << 10];
    let mut first = None;
    let found = loop {
        let n = stdout.read(&mut piece)?;
        ensure!(n > 0, "it ended before {:?}", String::from_utf8_lossy(until));
        first.get_or_insert_with(|| begun.elapsed());
        seen.extend_from_slice(&piece[..n]);
        if seen.windows(until.len()).any(|window| window == until) {
            break begun.elapsed();
        }
    };
    child.kill()?;
    child.wait()?;
    let first = first.context("a byte")?;
    Ok((first, found - first))
}
