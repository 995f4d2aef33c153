//! Whatever comes in, and in whatever pieces: a program takes at most 96 MiB of memory, and what passes a bound
//! is refused by name.

// A failed expectation is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::Result;
use support::faults;
use support::measure::{Used, measured};
use support::programs::{Finished, finish, program_for, spawn};
use support::server::{LATEST, Server};

/// The promise, in KiB.
const MEMORY: u64 = 96 << 10;

/// How a program ended, within its memory. What it said is without the measurement.
#[track_caller]
fn bounded(what: &str, mut finished: Finished) -> Finished {
    let (used, said) = Used::of(&finished.stderr).unwrap();
    assert!(used.memory < MEMORY, "{what}: {} KiB; {said}", used.memory);
    finished.stderr = said.to_owned();
    finished
}

/// Starts `command`, measured, and feeds it what `feed` writes; one that has seen enough reads no more.
fn fed(
    command: &Command,
    feed: impl FnOnce(&mut std::process::ChildStdin) -> std::io::Result<()> + Send,
) -> Finished {
    let mut child = spawn(measured(command).stdin(Stdio::piped()).stdout(Stdio::null()));
    let mut stdin = child.stdin.take().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || feed(&mut stdin));
        finish(child)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_in_pieces_of_any_size() -> Result<()> {
    // So much that all of it is held before the restore begins.
    let (_source, archive) = faults::source(LATEST, 7).await?;
    for piece in [1448, 512] {
        let destination = Server::start(LATEST);
        let load = fed(&program_for("chatto-load", &destination), |stdin| {
            for piece in archive.chunks(piece) {
                // One piece at a time: the next when this one has been read.
                while rustix::io::ioctl_fionread(&*stdin)? > 0 {
                    thread::yield_now();
                }
                stdin.write_all(piece)?;
            }
            Ok(())
        });
        bounded(&format!("pieces of {piece}"), load).expect_code(0);
    }
    Ok(())
}
