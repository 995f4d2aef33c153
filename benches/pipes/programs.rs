//! Programs, run and timed.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::support::measure::{Used, measured};
use crate::support::programs::{path, program};
use crate::support::server::Server;

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

/// How long a shell's pipeline runs. `$FROM` and `$TO` stand before a program that works with that server,
/// `$DUMP` and `$LOAD` are ours, and `$MACHINE` has a program run where `ssh` reaches it.
pub fn time_shell(script: &str, from: &Server, to: &Server, directory: &Path) -> Result<Duration> {
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", script]).current_dir(directory).stdout(Stdio::null());
    for (name, server) in [("FROM", from), ("TO", to)] {
        let mut with =
            format!("env NATS_URL={}", server.url().replace("//", &format!("//{}@", server.token())));
        for (name, value) in environment(&server.url(), server.token()) {
            with += &format!(" {name}={value}");
        }
        shell.env(name, with);
    }
    shell.env("DUMP", path("chatto-dump")).env("LOAD", path("chatto-load"));
    time(&mut shell)
}

/// What a program of ours takes that reads `input`, if it reads anything.
pub fn used(command: &Command, input: Option<&Path>) -> Result<Used> {
    let mut command = measured(command);
    command.stdin(match input {
        Some(input) => File::open(input)?.into(),
        None => Stdio::null(),
    });
    used_by(command.stdout(Stdio::null()).stderr(Stdio::piped()).output()?)
}

fn used_by(output: Output) -> Result<Used> {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{said}");
    Ok(Used::of(&said)?.0)
}

/// What a program of ours takes that writes an archive which nobody reads for a while: long enough for all of
/// its buffers to be full once, however much it has to send.
pub fn used_held_back(command: &Command) -> Result<Used> {
    const HELD_BACK: Duration = Duration::from_secs(3);
    let mut child =
        measured(command).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut archive = child.stdout.take().context("a pipe")?;
    std::thread::sleep(HELD_BACK);
    std::io::copy(&mut archive, &mut std::io::sink())?;
    used_by(child.wait_with_output()?)
}

/// How long after its start a program's first byte comes, and how long after that the bytes `until`.
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
