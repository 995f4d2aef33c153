//! A minute without a byte, at either end of the pipe, in the middle of a stream: a backup waits for a slow archive, and a
//! restore waits for a slow source, although a server waits for neither.
//!
//! The minute is a real minute, so the tests wait for all releases at once.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::archive::Archive;
use crate::support::equality;
use crate::support::faults::{self, Fed, News, UNDER_WAY};
use crate::support::programs::{program_for, run_with, spawn};
use crate::support::server::{RELEASES, Server};
use anyhow::Result;
use chatto_pipes::jetstream::Version;

/// Much longer than any server waits for us (2 s, 5 s).
const STALL: Duration = Duration::from_secs(60);

/// Lets the minute pass. Gives the longest time for which this machine stood still meanwhile.
async fn stall() -> Duration {
    let (begun, mut longest) = (Instant::now(), Duration::ZERO);
    while begun.elapsed() < STALL {
        let before = Instant::now();
        tokio::time::sleep(Duration::from_millis(100)).await;
        longest = longest.max(before.elapsed());
    }
    longest
}

async fn source(release: &str, mib: usize) -> Result<Server> {
    let server = Server::start(release);
    faults::large_stream(&server.client().await?, server.version(), "LARGE", mib, 3).await?;
    Ok(server)
}

async fn assert_equal(source: &Server, destination: &Server) -> Result<()> {
    let (source, destination) = (source.client().await?, destination.client().await?);
    let differences = equality::differences(&source, &destination, |_| true).await?;
    assert_eq!(differences, [""; 0], "{}", source.server_info().version);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stalls_for_a_minute() -> Result<()> {
    let mut sources = Vec::new();
    for release in RELEASES {
        // More than the pipe, the dump (32 MiB) and the server's window hold together.
        sources.push(source(release, 60).await?);
    }
    // What a dump can bridge is limited, so that nothing else happens while they wait.
    let mut stalled = Vec::new();
    for source in &sources {
        let mut dump = spawn(program_for("chatto-dump", source).stdout(Stdio::piped()));
        let begin = faults::take(&mut dump, 3 << 20);
        stalled.push((dump, begin));
    }
    let stood_still = stall().await;
    let dumps: Vec<_> = stalled.into_iter().map(|(dump, begin)| faults::finish(dump, begin)).collect();
    for ((release, source), dump) in RELEASES.iter().zip(sources).zip(dumps) {
        let dump = dump.expect_code(0);
        // Where a server waits for 2 s only, or the machine itself stands still for what a server allows beyond
        // the 2 s between two signs of life, another attempt may be needed.
        if source.version() >= Version(2, 12, 5) && stood_still < Duration::from_secs(2) {
            let attempts = &Archive::read(&dump.stdout).in_manifest("LARGE")["attempts"];
            assert_eq!(*attempts, 1, "{release}: bridged, not tried again");
        }
        let destination = Server::start(release);
        run_with(program_for("chatto-load", &destination), &dump.stdout).expect_code(0);
        assert_equal(&source, &destination).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_stalls_for_a_minute() -> Result<()> {
    let mut stalled = Vec::new();
    for release in RELEASES {
        let source = source(release, 16).await?;
        let archive = faults::archive_of(&source);
        let destination = Server::start(release);
        let mut begun = News::of(&destination.client().await?, "RESTORE_CREATE.LARGE").await?;
        let mut load = Fed::spawn(program_for("chatto-load", &destination));
        load.feed(&archive[..UNDER_WAY]);
        begun.happened().await?;
        stalled.push((source, destination, archive, load));
    }
    stall().await;
    for (source, destination, archive, load) in stalled {
        load.finish(&archive[UNDER_WAY..]).expect_code(0);
        assert_equal(&source, &destination).await?;
    }
    Ok(())
}
