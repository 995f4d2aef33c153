//! The programs in a poor environment: closed descriptors, little memory, no core files.

// In the helpers, as in the tests, a failed expectation is a failed test.
use std::fs;
use std::process::{Command, Stdio};

use crate::support::faults::{hear, small_bucket};
use crate::support::programs::{self, path, program_for, refused, run, run_with};
use crate::support::server::{LATEST, Server};
use anyhow::Result;

/// Runs `"$@"` after `script`, in a shell.
fn in_shell(script: &str, command: &Command) -> Command {
    let mut shell = Command::new("bash");
    shell.args(["-c", script, "bash"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell.stdin(Stdio::null());
    shell
}

fn with(program: &str, arguments: &[&str]) -> Command {
    let mut command = programs::program(program);
    command.args(arguments);
    command
}

const CLOSED: &str = "stdout is closed, and the output would be lost";

#[tokio::test]
async fn a_closed_stdout_is_refused_and_a_null_device_is_not() -> Result<()> {
    let server = Server::start(LATEST);
    small_bucket(&server.client().await?, server.version(), "SMALL", 1).await?;
    let dir = tempfile::tempdir()?;
    let archive = dir.path().join("backup.tar");
    fs::write(&archive, run(program_for("chatto-dump", &server)).expect_code(0).stdout)?;
    let archive = archive.to_str().unwrap();

    let mut dump = program_for("chatto-dump", &server);
    for arguments in [&[][..], &["-n"]] {
        refused(run(in_shell("exec \"$@\" >&-", dump.args(arguments))), 2, &[CLOSED, "hint: write it to"]);
    }
    let keys = ["export", "list", "seal", "open"].map(|action| with("chatto-keys", &[action]));
    let manifest = ["show", "list", "verify", "select", "join", "import"]
        .map(|action| with("chatto-manifest", &[action, archive]));
    let diff = with("chatto-manifest", &["diff", archive, archive]);
    let help = with("chatto-dump", &["--help"]);
    for command in keys.iter().chain(&manifest).chain([&diff, &help]) {
        refused(run(in_shell("exec \"$@\" >&-", command)), 2, &[CLOSED]);
    }

    // Some programs open the null device for reading and writing too, as the standard library does.
    let whole = |script| run(in_shell(script, &program_for("chatto-dump", &server))).expect_code(0);
    for script in ["exec \"$@\" >/dev/null", "exec \"$@\" 1<>/dev/null", "exec \"$@\" 0<&- 2>&- >/dev/null"] {
        whole(script);
        run(in_shell(script, &manifest[2])).expect_code(0);
    }
    // What has no output needs no stdout, and what has no input is told so.
    let mut load = program_for("chatto-load", &server);
    run(in_shell("exec \"$@\" >&-", load.args(["-n", "--conflict", "skip", archive]))).expect_code(0);
    refused(run(in_shell("exec \"$@\" <&-", &with("chatto-manifest", &[]))), 2, &["stdin is closed"]);
    Ok(())
}

#[test]
fn too_little_memory_for_a_passphrase_is_a_message_and_a_status() {
    let mut seal = with("chatto-keys", &["seal", "--passphrase-file", "-", "/dev/null"]);
    seal.stdin(Stdio::piped());
    let mut seal = in_shell("ulimit -v 150000; exec \"$@\"", &seal);
    seal.stdin(Stdio::piped());
    refused(run_with(seal, "a passphrase\n"), 1, &["a passphrase takes 256.0 MiB of memory"]);
}

/// What the system says of a running program.
#[test]
fn no_core_is_made_of_a_program_that_may_hold_a_secret() {
    let mut child = programs::spawn(
        Command::new(path("chatto-keys"))
            .args(["open", "--passphrase", "secret"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped()),
    );
    // It has said this, so it has begun.
    hear(&mut child, "--passphrase-file");
    let limits = fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    drop(child.stdin.take());
    programs::finish(child).expect_code(4);
}
