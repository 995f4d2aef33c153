//! `chatto-load -j`: many small streams that are restored at once are the same as before. A stream that fails is named, and
//! removed or put back, and does not stop the others. No restore is begun during the commit of another one, because servers
//! die of that.

use std::collections::BTreeSet;

use crate::support::archive::Archive;
use crate::support::builder::Builder;
use crate::support::equality;
use crate::support::faults::{self, Fed, News};
use crate::support::programs::{Finished, program_for, run_with};
use crate::support::server::{LATEST, Server};
use anyhow::{Context as _, Result};
use async_nats::Client;
use futures_util::StreamExt as _;
use rustix::process::Signal;
use serde_json::json;

/// The oldest release that is supported and the newest: they send and restore different formats.
const RELEASES: [&str; 2] = ["2.10.26", LATEST];

/// More than are restored at once.
const STREAMS: usize = 40;

/// Two in the middle, which a server with a stream for `taken.>` refuses.
const REFUSED: [&str; 2] = ["S-17", "S-23"];

/// A server with many small streams, which `seed` tells from others of the same names.
async fn streams(release: &str, seed: u64) -> Result<Server> {
    let server = Server::start(release);
    let client = server.client().await?;
    let mut b = Builder::new(&client, server.version(), seed).await?;
    for n in 0..STREAMS {
        let name = format!("S-{n:02}");
        let root = if REFUSED.contains(&&*name) && seed == 1 { "taken" } else { "free" };
        let subject = format!("{root}.{n}");
        b.stream(&name, json!([subject]), json!({ "description": format!("seed {seed}") })).await?;
        for _ in 0..n % 7 {
            // One in seven does not fit into a chunk.
            let size = if n % 7 == 6 { 200 << 10 } else { 300 };
            let bytes = b.random.bytes(size);
            b.publisher.send(&subject, &[], bytes).await?;
        }
        if n % 5 == 1 {
            b.consumer(&name, "reader", json!({})).await?;
        }
    }
    b.finish().await?;
    Ok(server)
}

/// Has `server` refuse the streams that are to be refused.
async fn refusing(server: &Server) -> Result<()> {
    let client = server.client().await?;
    let mut b = Builder::new(&client, server.version(), 3).await?;
    b.stream("OTHER", json!(["taken.>"]), json!({})).await?;
    b.finish().await?;
    Ok(())
}

fn load(destination: &Server, arguments: &[&str], archive: &[u8]) -> Finished {
    let mut load = program_for("chatto-load", destination);
    load.args(arguments);
    run_with(load, archive)
}

/// How the streams that are `compared` differ.
async fn differences(a: &Server, b: &Server, compared: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let found = equality::differences(&a.client().await?, &b.client().await?, |_| true).await?;
    Ok(found.into_iter().filter(|text| compared(text.split(':').next().unwrap_or(text))).collect())
}

/// How many were at once.
#[derive(Default)]
struct Most {
    /// Requested, and not completed.
    begun: usize,
    /// Sent chunks after their first ones, and not completed.
    committed: usize,
}

/// Follows a load by what the server tells. No restore may be requested or opened while another one is committed: the
/// server would read its list of streams without a lock, and write to it.
async fn most_at_once(client: &Client, load: impl FnOnce() -> Finished + Send + 'static) -> Result<Most> {
    // One subscription, so that the order is the server's.
    let mut news = client.subscribe("$JS.>").await?;
    client.flush().await?;
    tokio::task::spawn_blocking(load).await?.expect_code(0);
    let (mut requested, mut opened, mut committed) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let (mut most, mut completed) = (Most::default(), 0);
    while completed < STREAMS {
        let message = news.next().await.context("the connection ended")?;
        match message.subject.split('.').collect::<Vec<_>>()[..] {
            ["$JS", "EVENT", "ADVISORY", "STREAM", "RESTORE_CREATE", stream] => {
                assert!(committed.is_empty(), "{stream} is requested while {committed:?} are committed");
                requested.insert(stream.to_owned());
            }
            ["$JS", "SNAPSHOT", "RESTORE", stream, _] if opened.insert(stream.to_owned()) => {
                assert!(committed.is_empty(), "{stream} is opened while {committed:?} are committed");
                requested.remove(stream);
            }
            ["$JS", "SNAPSHOT", "RESTORE", stream, _] => {
                assert!(requested.is_empty(), "{stream} is committed before {requested:?} are opened");
                committed.insert(stream.to_owned());
            }
            ["$JS", "EVENT", "ADVISORY", "STREAM", "RESTORE_COMPLETE", stream] => {
                assert!(opened.remove(stream) && committed.remove(stream), "{stream}");
                completed += 1;
            }
            _ => {}
        }
        most.begun = most.begun.max(requested.len() + opened.len());
        most.committed = most.committed.max(committed.len());
    }
    Ok(most)
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_as_are_asked_for_and_each_comes_out_as_it_was() -> Result<()> {
    for release in ["2.10.26", "2.12.8", LATEST] {
        let source = streams(release, 1).await?;
        let archive = faults::archive_of(&source);
        for (jobs, begun) in [("1", 1..=1), ("3", 2..=3), ("16", 2..=16)] {
            let destination = Server::start(release);
            let client = destination.client().await?;
            let mut command = program_for("chatto-load", &destination);
            command.args(["-j", jobs]);
            let archive = archive.clone();
            let most = most_at_once(&client, || run_with(command, archive)).await?;
            assert!(begun.contains(&most.begun), "{release}, -j {jobs}: {}", most.begun);
            // Servers before 2.14.3 read without a lock what another commit writes.
            assert!(release == LATEST || most.committed == 1, "{release}, -j {jobs}: {}", most.committed);
            assert_eq!(differences(&source, &destination, |_| true).await?, [""; 0]);
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn some_that_the_server_refuses_are_named_and_all_others_restored() -> Result<()> {
    for release in RELEASES {
        let source = streams(release, 1).await?;
        let destination = Server::start(release);
        refusing(&destination).await?;
        let load = load(&destination, &[], &faults::archive_of(&source)).expect_code(3);
        for stream in REFUSED {
            assert!(load.stderr.contains(&format!("error: stream {stream}: ")), "{}", load.stderr);
        }
        assert_eq!(load.stderr.matches("error: ").count(), REFUSED.len(), "{}", load.stderr);
        let compared = |name: &str| name != "OTHER" && !REFUSED.contains(&name);
        assert_eq!(differences(&source, &destination, compared).await?, [""; 0]);
        let client = destination.client().await?;
        for stream in REFUSED {
            assert!(faults::state_of(&client, stream).await?.is_none(), "{stream}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn some_that_are_damaged_are_named_and_all_others_restored() -> Result<()> {
    let source = streams(LATEST, 1).await?;
    let mut archive = Archive::read(&faults::archive_of(&source));
    for stream in REFUSED {
        let snapshot = archive.file(&format!("streams/{stream}/stream.tar.s2"));
        let middle = snapshot.len() / 2;
        snapshot[middle] ^= 1;
    }
    let destination = Server::start(LATEST);
    let load = load(&destination, &[], &archive.with_sums()).expect_code(4);
    for stream in REFUSED {
        assert!(load.stderr.contains(&format!("error: stream {stream}: ")), "{}", load.stderr);
    }
    assert_eq!(differences(&source, &destination, |name| !REFUSED.contains(&name)).await?, [""; 0]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn overwriting_keeps_every_old_stream_until_the_new_one_is_there() -> Result<()> {
    for release in RELEASES {
        let (source, mut destination) = (streams(release, 1).await?, streams(release, 2).await?);
        let old = destination.twin(release);
        refusing(&destination).await?;
        let rescue = tempfile::tempdir()?;
        let dir = rescue.path().to_str().unwrap();
        let archive = faults::archive_of(&source);
        let load =
            load(&destination, &["--conflict", "overwrite", "--rescue-dir", dir], &archive).expect_code(3);
        for stream in REFUSED {
            let back = format!("stream {stream}: the old one is back");
            assert!(load.stderr.contains(&back), "{}", load.stderr);
        }
        let compared = |name: &str| name != "OTHER" && !REFUSED.contains(&name);
        assert_eq!(differences(&source, &destination, compared).await?, [""; 0]);
        assert_eq!(differences(&old, &destination, |name| REFUSED.contains(&name)).await?, [""; 0]);
        // As something has failed, every other old one is kept.
        let kept = std::fs::read_dir(rescue.path())?.count();
        assert_eq!(kept, STREAMS - REFUSED.len(), "{}", load.stderr);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_cut_archive_every_stream_that_came_whole_is_restored_and_named() -> Result<()> {
    let source = streams(LATEST, 1).await?;
    let archive = faults::archive_of(&source);
    let mut cut = Archive::read(&archive);
    let at = cut.entry("streams/S-30/stream.tar.s2").data_at + 9;
    let whole: Vec<String> = cut
        .0
        .iter()
        .filter(|entry| entry.data_at + entry.data.len() < at && entry.path.ends_with("/stream.tar.s2"))
        .map(|entry| entry.path.split('/').rev().nth(1).unwrap().to_owned())
        .collect();
    let destination = Server::start(LATEST);
    let load = load(&destination, &[], &archive[..at]).expect_code(4);
    let named = load.stderr.split_once("restored before that, and kept: ").unwrap().1.lines().next().unwrap();
    let named: BTreeSet<_> = named.split(", ").map(ToOwned::to_owned).collect();
    assert_eq!(named, whole.iter().cloned().collect());
    assert!(!whole.is_empty() && whole.len() < STREAMS);
    assert_eq!(differences(&source, &destination, |name| named.contains(name)).await?, [""; 0]);
    let there = destination.client().await?;
    let mut names = crate::support::api::call(&there, "STREAM.NAMES", json!({})).await?["streams"].take();
    assert_eq!(names.as_array_mut().unwrap().len(), whole.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_load_is_gone_on_with() -> Result<()> {
    for release in RELEASES {
        let source = streams(release, 1).await?;
        let archive = faults::archive_of(&source);
        let middle = Archive::read(&archive).entry("streams/S-30/stream.tar.s2").data_at;
        for restores in [1, 12] {
            let destination = Server::start(release);
            let client = destination.client().await?;
            let mut begun = News::of(&client, "RESTORE_CREATE.*").await?;
            let mut killed = Fed::spawn(program_for("chatto-load", &destination));
            killed.feed(&archive[..middle]);
            for _ in 0..restores {
                begun.happened().await?;
            }
            killed.0.kill()?;
            killed.finish(&[]);
            load(&destination, &["--conflict", "skip"], &archive).expect_code(0);
            assert_eq!(differences(&source, &destination, |_| true).await?, [""; 0]);
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_interruption_each_is_whole_or_not_there() -> Result<()> {
    let source = streams(LATEST, 1).await?;
    let archive = faults::archive_of(&source);
    let destination = Server::start(LATEST);
    let client = destination.client().await?;
    let mut begun = News::of(&client, "RESTORE_CREATE.*").await?;
    let mut interrupted = Fed::spawn(program_for("chatto-load", &destination));
    interrupted.feed(&archive[..Archive::read(&archive).entry("streams/S-30/stream.tar.s2").data_at]);
    begun.happened().await?;
    faults::signal(&interrupted.0, Signal::INT);
    let Finished { stderr, .. } = interrupted.ended();
    assert!(stderr.contains("restored before that, and kept: "), "{stderr}");
    load(&destination, &["--conflict", "skip"], &archive).expect_code(0);
    assert_eq!(differences(&source, &destination, |_| true).await?, [""; 0]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_server_dies_the_load_is_gone_on_with() -> Result<()> {
    let source = streams(LATEST, 1).await?;
    let archive = faults::archive_of(&source);
    for restores in [1, 12] {
        let mut destination = Server::start(LATEST);
        let client = destination.client().await?;
        let mut begun = News::of(&client, "RESTORE_CREATE.*").await?;
        let mut command = program_for("chatto-load", &destination);
        command.args(["--timeout", "1"]);
        let mut load_of_it = Fed::spawn(command);
        load_of_it.feed(&archive);
        for _ in 0..restores {
            begun.happened().await?;
        }
        destination.kill();
        let failed = load_of_it.ended();
        assert!(failed.stderr.contains("the server is gone"), "{}", failed.stderr);
        destination.start_again();
        load(&destination, &["--conflict", "skip"], &archive).expect_code(0);
        assert_eq!(differences(&source, &destination, |_| true).await?, [""; 0]);
    }
    Ok(())
}
