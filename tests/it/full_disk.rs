//! A full disk: the message names the directory and the setting for it, and nothing is lost.
//!
//! The tests need no root. A limit on the size of files (`ulimit -f`) makes the same writes fail at the same places, and
//! `/dev/full` is a full disk for stdout.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::Command;

use crate::support::programs::{run, run_with};
use crate::support::server::{LATEST, Server};
use crate::support::{api, equality, faults, programs};
use anyhow::Result;

/// `command` on a machine where no file can grow beyond 4 MiB.
fn on_a_full_disk(command: &Command) -> Command {
    let mut shell = Command::new("sh");
    // With the signal ignored, the write fails as on a full disk. Blocks have 512 bytes.
    shell.args(["-c", "trap '' XFSZ; ulimit -f 8192; exec \"$@\"", "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).unwrap().next().is_none()
}

async fn server_with_a_large_stream(seed: u64) -> Result<Server> {
    let server = Server::start(LATEST);
    faults::large_stream(&server.client().await?, server.version(), "LARGE", 10, seed).await?;
    Ok(server)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_without_space_fails_the_dump() -> Result<()> {
    let server = server_with_a_large_stream(1).await?;
    let spool = tempfile::tempdir()?;
    let path = spool.path().to_str().unwrap();
    let dump = run(on_a_full_disk(&faults::dump(&server, &["--spool-dir", path]))).expect_code(1);
    assert!(dump.stderr.contains(&format!("cannot write the spool in {path}: ")), "{}", dump.stderr);
    assert!(dump.stderr.contains("hint: make room there, choose another directory"), "{}", dump.stderr);
    assert!(is_empty(spool.path()), "the spool has no name");
    // What came out has no end record.
    let load = run_with(programs::program_for("chatto-load", &Server::start(LATEST)), dump.stdout);
    let load = load.expect_code(4);
    assert!(load.stderr.contains("cut short"), "{}", load.stderr);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_without_space_fails_the_dump() -> Result<()> {
    let server = server_with_a_large_stream(1).await?;
    let mut dump = faults::dump(&server, &[]);
    let dump = dump.stdout(OpenOptions::new().write(true).open("/dev/full")?);
    let dump = programs::finish(programs::spawn(dump)).expect_code(1);
    assert!(dump.stderr.contains("cannot write the archive: No space left on device"), "{}", dump.stderr);
    assert!(dump.stderr.contains("hint: is the disk of the archive full?"), "{}", dump.stderr);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rescue_directory_without_space_leaves_the_old_stream_untouched() -> Result<()> {
    let mut destination = server_with_a_large_stream(1).await?;
    let old = destination.twin(LATEST);
    let archive = faults::archive_of(&server_with_a_large_stream(2).await?);
    let rescue = tempfile::tempdir()?;
    let path = rescue.path().to_str().unwrap();
    let mut load = programs::program_for("chatto-load", &destination);
    load.args(["--conflict", "overwrite", "--rescue-dir", path]);
    let client = destination.client().await?;
    let created = api::call(&client, "STREAM.INFO.LARGE", serde_json::Value::Null).await?["created"].take();

    let finished = run_with(on_a_full_disk(&load), &archive);
    assert!(
        finished.stderr.contains(&format!("cannot keep stream LARGE in {path}: ")),
        "{}",
        finished.stderr
    );
    assert!(
        finished
            .stderr
            .contains("hint: choose another directory with --rescue-dir, or do without with --no-rescue"),
        "{}",
        finished.stderr
    );
    // Nothing at all could be restored.
    assert_eq!(finished.code, Some(1), "{}", finished.stderr);
    assert!(is_empty(rescue.path()), "half an archive is none");
    let differences = equality::differences(&old.client().await?, &client, |_| true).await?;
    assert_eq!(differences, [""; 0]);
    let info = api::call(&client, "STREAM.INFO.LARGE", serde_json::Value::Null).await?;
    assert_eq!(info["created"], created, "it was never replaced");

    // The same with space.
    run_with(load, &archive).expect_code(0);
    assert!(is_empty(rescue.path()));
    Ok(())
}
