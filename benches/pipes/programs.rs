//! Programs, run and timed.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::support::measure::{Used, measured};
use crate::support::programs::{path, program};
use crate::support::server::Server;

use super::spent::cpu_of;

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

/// A run of a program.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Ran {
    /// How long it took.
    pub wall: Duration,
    /// How long it had a CPU, with those of its children that it waited for.
    pub cpu: Duration,
}

/// Runs it to its end. A program that fails is no measurement.
pub fn ran(command: &mut Command) -> Result<Ran> {
    let begun = Instant::now();
    let (cpu, _) = Running::start(command)?.end()?;
    Ok(Ran { wall: begun.elapsed(), cpu })
}

/// A program that runs, with a process group of its own.
struct Running {
    child: Child,
    stderr: File,
}

impl Running {
    fn start(command: &mut Command) -> Result<Running> {
        let stderr = tempfile::tempfile()?;
        command.stderr(stderr.try_clone()?).process_group(0);
        let child = command.spawn().with_context(|| format!("{}", command.get_program().display()))?;
        Ok(Running { child, stderr })
    }

    /// Waits for its end. Gives the CPU time that it took, and what it said. One that does not end is no measurement
    /// either.
    fn end(mut self) -> Result<(Duration, String)> {
        const LIMIT: Timespec = Timespec { tv_sec: 600, tv_nsec: 0 };
        let pid = Pid::from_child(&self.child);
        let end = pidfd_open(pid, PidfdFlags::empty())?;
        let in_time = poll(&mut [PollFd::new(&end, PollFlags::IN)], Some(&LIMIT))? == 1;
        if !in_time {
            kill_process_group(pid, Signal::KILL)?;
        }
        // The kernel keeps the times of what has ended until it is waited for.
        let cpu = cpu_of(self.child.id());
        let status = self.child.wait()?;
        let mut said = String::new();
        self.stderr.rewind()?;
        self.stderr.read_to_string(&mut said)?;
        ensure!(in_time, "{} s were too short for it", LIMIT.tv_sec);
        ensure!(status.success(), "{status}: {said}");
        Ok((cpu?, said))
    }
}

/// How long it runs.
pub fn time(command: &mut Command) -> Result<Duration> {
    Ok(ran(command)?.wall)
}

/// A shell's pipeline. `$FROM` and `$TO` stand before a program that works with that server,
/// `$DUMP` and `$LOAD` are ours.
pub fn shell(script: &str, [from, to]: [&str; 2], tokens: [&str; 2], directory: &Path) -> Command {
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", script]).current_dir(directory).stdout(Stdio::null());
    for (name, url, token) in [("FROM", from, tokens[0]), ("TO", to, tokens[1])] {
        // No configuration of this user's.
        let mut with = format!("env HOME={}", directory.display());
        with += &format!(" NATS_URL={}", url.replace("//", &format!("//{token}@")));
        for (name, value) in environment(url, token) {
            with += &format!(" {name}={value}");
        }
        shell.env(name, with);
    }
    shell.env("DUMP", path("chatto-dump")).env("LOAD", path("chatto-load"));
    shell
}

/// What a program of ours takes that reads what `feed` writes.
pub fn used(command: &Command, feed: impl FnOnce(&mut ChildStdin) -> Result<()>) -> Result<Used> {
    let mut running = Running::start(measured(command).stdin(Stdio::piped()).stdout(Stdio::null()))?;
    let fed = feed(&mut running.child.stdin.take().context("a pipe")?);
    // One that fails has stopped reading, and says more than that.
    let (_, said) = running.end()?;
    fed?;
    Ok(Used::of(&said)?.0)
}

/// What a program of ours takes that writes an archive which nobody reads for a while: long enough for all of
/// its buffers to be full once, however much it has to send.
pub fn used_held_back(command: &Command) -> Result<Used> {
    const HELD_BACK: Duration = Duration::from_secs(3);
    let mut running = Running::start(measured(command).stdin(Stdio::null()).stdout(Stdio::piped()))?;
    let mut archive = running.child.stdout.take().context("a pipe")?;
    std::thread::sleep(HELD_BACK);
    std::io::copy(&mut archive, &mut std::io::sink())?;
    Ok(Used::of(&running.end()?.1)?.0)
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

/// Whether one of our programs has this option.
pub fn has_option(name: &str, option: &str) -> Result<bool> {
    let help = program(name).arg("--help").output()?;
    Ok(String::from_utf8_lossy(&help.stdout).contains(option))
}

/// Whether `program` is on `$PATH`.
pub fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}
