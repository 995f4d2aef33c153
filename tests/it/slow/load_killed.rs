//! `chatto-load` is killed. The next run recognises what it left, and after the command that the manual names, every stream is
//! as in the archive.

use std::time::Duration;

use crate::support::archive::Archive;
use crate::support::cluster::Cluster;
use crate::support::faults::{self, Fed, News, UNDER_WAY};
use crate::support::programs::{Finished, program_for, refused, run, run_with};
use crate::support::random::Random;
use crate::support::server::{LATEST, Server};
use crate::support::{api, equality};
use anyhow::Result;
use async_nats::Client;
use serde_json::Value as Json;

const KEY: &str = "chatto-pipes.restoring";

fn load(destination: &Server, archive: &[u8], arguments: &[&str]) -> Finished {
    let mut load = program_for("chatto-load", destination);
    load.args(arguments);
    run_with(load, archive)
}

async fn mark_of(client: &Client, stream: &str) -> Result<Json> {
    let info = api::answer(client, &format!("STREAM.INFO.{stream}"), Json::Null).await?;
    Ok(info["config"]["metadata"][KEY].clone())
}

/// Puts a mark on a stream that is there.
async fn mark(client: &Client, stream: &str, mark: &str) -> Result<()> {
    let mut config = api::stream_info(client, stream).await?["config"].take();
    config["metadata"][KEY] = mark.into();
    api::call(client, &format!("STREAM.UPDATE.{stream}"), config).await?;
    Ok(())
}

/// Kills loads of this archive somewhere in the large stream, has each gone on with, and gives how many had left
/// half of it. What is there in the end is compared with `expected`.
async fn kills(archive: &[u8], release: &str, expected: &Client, times: usize) -> Result<usize> {
    let destination = Server::start(release);
    let client = destination.client().await?;
    let whole = api::stream_info(expected, "LARGE").await?["state"]["messages"].clone();
    let large = Archive::read(archive).entry("streams/LARGE/attempt-1/backup.json").header_at;
    let mut random = Random::new(times as u64);
    let mut halves = 0;
    for n in 0..times {
        let at = large + UNDER_WAY + random.below(archive.len() - large - UNDER_WAY);
        let mut begun = News::of(&client, "RESTORE_CREATE.LARGE").await?;
        let mut killed = Fed::spawn(program_for("chatto-load", &destination));
        killed.feed(&archive[..at]);
        begun.happened().await?;
        killed.0.kill()?;
        killed.finish(&[]);
        let state = faults::state_of(&client, "LARGE").await?;
        let is_marked = mark_of(&client, "LARGE").await?.is_string();
        if state.is_some_and(|state| state["messages"] != whole) {
            halves += 1;
            assert!(is_marked, "kill {n} at {at}");
        }
        let mode = ["skip", "skip", "overwrite"][n % 3];
        let load = load(&destination, archive, &["--conflict", mode]).expect_code(0);
        assert!(
            !is_marked || load.stderr.contains("stream LARGE: what a restore had left"),
            "{}",
            load.stderr
        );
        let differences = equality::differences(expected, &client, |_| true).await?;
        assert_eq!(differences, [""; 0], "kill {n} at {at}: {}", load.stderr);
        for stream in ["LARGE", "KV_SMALL"] {
            api::call(&client, &format!("STREAM.DELETE.{stream}"), Json::Null).await?;
        }
    }
    Ok(halves)
}

/// A server restores a stream in memory only from NATSARC1, and shows it meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn kill_9_anywhere_in_a_stream_that_can_be_seen_before_its_commit() -> Result<()> {
    let (_source, archive) = faults::source(LATEST, 14).await?;
    let mut archive = Archive::read(&archive);
    archive.put_into_memory("LARGE/attempt-1");
    let archive = archive.with_sums();
    let expected = Server::start(LATEST);
    load(&expected, &archive, &[]).expect_code(0);
    assert!(kills(&archive, LATEST, &expected.client().await?, 9).await? > 0);
    Ok(())
}

/// A single server shows nothing of a tar before it has all of it, from whatever release it comes.
#[tokio::test(flavor = "multi_thread")]
async fn kill_9_anywhere_in_a_stream_that_cannot_be_seen_before_its_commit() -> Result<()> {
    for (from, to) in [(LATEST, LATEST), ("2.14.5", "2.14.5"), ("2.14.5", LATEST)] {
        let (source, archive) = faults::source(from, 14).await?;
        assert_eq!(kills(&archive, to, &source.client().await?, 4).await?, 0);
    }
    Ok(())
}

/// Whoever saves a server meanwhile does not save half a stream for a whole one.
#[tokio::test(flavor = "multi_thread")]
async fn a_dump_does_not_take_half_a_stream_for_a_whole_one() -> Result<()> {
    let (source, _) = faults::source(LATEST, 2).await?;
    mark(&source.client().await?, "LARGE", "2020-01-01T00:00:00Z another-run").await?;
    let dump = || {
        let mut dump = program_for("chatto-dump", &source);
        dump.stdout(std::process::Stdio::piped());
        dump
    };
    let dumped = run(dump()).expect_code(3);
    let said = "error: stream LARGE: a restore of it is under way or was cut off";
    assert!(dumped.stderr.contains(said), "{}", dumped.stderr);
    assert!(!Archive::read(&dumped.stdout).0.iter().any(|entry| entry.path.contains("/LARGE/")));
    let mut list = dump();
    list.arg("-n");
    let listed = run(list).expect_code(3);
    assert!(String::from_utf8(listed.stdout)?.contains("LARGE\tunavailable"));
    Ok(())
}

/// Killed between the commit and the moment when the mark is taken away: it is whole, and nobody can know.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_a_mark_is_restored_again_unless_somebody_has_written_to_it() -> Result<()> {
    const OF_BEFORE: &str = "2020-01-01T00:00:00Z another-run";
    const OF_LATER: &str = "2100-01-01T00:00:00Z another-run";
    let (source, archive) = faults::source(LATEST, 2).await?;
    let destination = Server::start(LATEST);
    let (client, source) = (destination.client().await?, source.client().await?);
    load(&destination, &archive, &[]).expect_code(0);
    for mode in ["error", "skip", "overwrite"] {
        for stream in ["LARGE", "KV_SMALL"] {
            mark(&client, stream, OF_LATER).await?;
        }
        load(&destination, &archive, &["-n", "--conflict", mode]).expect_code(0);
        assert_eq!(mark_of(&client, "LARGE").await?, OF_LATER);
        let load = load(&destination, &archive, &["--conflict", mode]).expect_code(0);
        for stream in ["LARGE", "KV_SMALL"] {
            let said = format!("stream {stream}: what a restore had left that was cut off is removed");
            assert!(load.stderr.contains(&said), "{}", load.stderr);
        }
        assert!(!load.stderr.contains("chatto-rescue"), "{}", load.stderr);
        assert_eq!(equality::differences(&source, &client, |_| true).await?, [""; 0]);
    }

    // What is not brought is named and stays.
    mark(&client, "LARGE", OF_LATER).await?;
    let other = load(&destination, &archive, &["--conflict", "skip", "--exclude", "LARGE"]).expect_code(0);
    assert!(other.stderr.contains("warning: stream LARGE: half of it is there"), "{}", other.stderr);

    // The messages are older than this mark.
    mark(&client, "LARGE", OF_BEFORE).await?;
    refused(load(&destination, &archive, &[]), 5, &["exists at the destination already: KV_SMALL, LARGE"]);
    let skipped = load(&destination, &archive, &["--conflict", "skip"]);
    refused(skipped, 3, &["stream LARGE: a restore of it was cut off", "somebody has written to it since"]);
    let overwritten = load(&destination, &archive, &["--conflict", "overwrite"]);
    refused(overwritten, 3, &["stream LARGE: not replaced: the old one could not be rescued first"]);
    assert_eq!(mark_of(&client, "LARGE").await?, OF_BEFORE);
    load(&destination, &archive, &["--conflict", "overwrite", "--no-rescue"]).expect_code(0);
    assert_eq!(equality::differences(&source, &client, |_| true).await?, [""; 0]);
    Ok(())
}

/// Another program has saved the server in the middle of a restore.
#[tokio::test(flavor = "multi_thread")]
async fn half_a_stream_in_an_archive_is_named() -> Result<()> {
    let (_source, archive) = faults::source(LATEST, 2).await?;
    let mut archive = Archive::read(&archive);
    let backup = archive.file("streams/LARGE/backup.json");
    let mut half: Json = serde_json::from_slice(backup)?;
    half["config"]["metadata"][KEY] = "2020-01-01T00:00:00Z another-run".into();
    *backup = half.to_string().into_bytes();
    let destination = Server::start(LATEST);
    let load = load(&destination, &archive.with_sums(), &[]);
    refused(load, 3, &["stream LARGE: the archive holds no more of it than a restore had brought"]);
    assert!(mark_of(&destination.client().await?, "LARGE").await?.is_null());
    Ok(())
}

/// A stream of before may be what another program has left of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_alone_and_lacks_what_the_archive_holds_is_named() -> Result<()> {
    let (source, archive) = faults::source(LATEST, 2).await?;
    let client = source.client().await?;
    let same = load(&source, &archive, &["-v", "--conflict", "skip"]).expect_code(0);
    assert!(
        same.stderr.contains("stream LARGE: exists, left alone; as long as in the archive"),
        "{}",
        same.stderr
    );
    api::jetstream(client.clone()).publish("LARGE.new", "more".into()).await?.await?;
    let longer = load(&source, &archive, &["-v", "--conflict", "skip"]).expect_code(0);
    assert!(
        longer.stderr.contains("stream LARGE: exists, left alone; it holds 30 messages up to 33"),
        "{}",
        longer.stderr
    );
    assert!(!longer.stderr.contains("warning: "), "{}", longer.stderr);

    api::call(&client, "STREAM.DELETE.LARGE", Json::Null).await?;
    let empty = serde_json::json!({ "name": "LARGE", "subjects": ["LARGE.>"] });
    api::call(&client, "STREAM.CREATE.LARGE", empty).await?;
    let shorter = load(&source, &archive, &["--conflict", "skip"]).expect_code(0);
    let said = "warning: stream LARGE: exists, left alone, and differs: it holds 0 messages up to 0, and the archive 29 up to 32";
    assert!(shorter.stderr.contains(said), "{}", shorter.stderr);
    assert!(shorter.stderr.contains("--conflict overwrite --stream NAME replaces it"), "{}", shorter.stderr);
    Ok(())
}

/// A cluster keeps an empty stream of a restore that was cut off, whatever the format.
#[tokio::test(flavor = "multi_thread")]
async fn kill_9_into_a_cluster() -> Result<()> {
    let (source, archive) = faults::source("2.14.5", 14).await?;
    let cluster = Cluster::start("2.14.5").await?;
    let (client, source) = (cluster.nodes[0].client().await?, source.client().await?);
    let large = Archive::read(&archive).entry("streams/LARGE/attempt-1/backup.json").header_at;
    let mut begun = News::of(&client, "RESTORE_CREATE.LARGE").await?;
    let mut killed = program_for("chatto-load", &cluster.nodes[0]);
    killed.args(["--replicas", "3"]);
    let mut killed = Fed::spawn(killed);
    killed.feed(&archive[..large + UNDER_WAY]);
    begun.happened().await?;
    killed.0.kill()?;
    killed.finish(&[]);
    // It cannot be looked at before the cluster has noticed.
    let go_on = ["--replicas", "3", "--conflict", "skip"];
    let early = load(&cluster.nodes[0], &archive, &go_on);
    assert!(early.code == Some(0) || early.stderr.contains("error: stream LARGE: "), "{early:?}");
    if early.code != Some(0) {
        noticed(&client).await?;
    }
    load(&cluster.nodes[0], &archive, &go_on).expect_code(0);
    assert_eq!(equality::differences(&source, &client, |_| true).await?, [""; 0]);
    Ok(())
}

/// Returns when the cluster answers for `LARGE`, which has our mark.
async fn noticed(client: &Client) -> Result<()> {
    loop {
        // While it has not, nobody answers.
        let marked = tokio::time::timeout(Duration::from_secs(1), mark_of(client, "LARGE")).await;
        if matches!(marked, Ok(Ok(mark)) if mark.is_string()) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
