//! `chatto-dump` of a server in use: the valid snapshots are whole, each as of one moment, and streams that cannot be captured
//! are named.

use std::collections::BTreeSet;

use crate::support::archive::Archive;
use crate::support::builder::Builder;
use crate::support::faults::{self, UNDER_WAY};
use crate::support::programs::{pipeline, program, program_for, refused, run, run_with, spawn};
use crate::support::server::{LATEST, RELEASES, Server, binary};
use crate::support::{api, equality};
use anyhow::{Result, ensure};
use async_nats::{Client, HeaderMap};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chatto_pipes::jetstream::Version;
use serde_json::{Value as Json, json};

const KEYS: usize = 300;

/// The subjects of a bucket's messages.
async fn keys_of(client: &Client, stream: &str) -> Result<BTreeSet<String>> {
    let body = json!({ "subjects_filter": ">" });
    let info = api::call(client, &format!("STREAM.INFO.{stream}"), body).await?;
    Ok(info["state"]["subjects"].as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect())
}

/// A key that is overwritten while 2.15 takes the snapshot may be missing from it. Such a snapshot does not
/// count: either another attempt has all keys, or the bucket is named as failed.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_overwritten_all_the_time() -> Result<()> {
    for release in ["2.12.8", "2.14.5", LATEST] {
        let server = Server::start(release);
        let client = server.client().await?;
        let mut b = Builder::new(&client, server.version(), 1).await?;
        b.bucket("BUSY", json!({})).await?;
        for n in 0..KEYS {
            b.put("BUSY", &format!("key.{n}"), vec![b'x'; 2000]).await?;
        }
        b.finish().await?;
        let writer = server.client().await?;
        let version = server.version();
        let writing = tokio::spawn(async move {
            let mut b = Builder::new(&writer, version, 2).await?;
            for n in 0.. {
                b.put("BUSY", &format!("key.{}", n * 7 % KEYS), vec![b'y'; 2000]).await?;
            }
            anyhow::Ok(())
        });
        for _ in 0..4 {
            let dump = run(program_for("chatto-dump", &server));
            let archive = Archive::read(&dump.stdout);
            let entry = archive.in_manifest("KV_BUSY");
            match dump.code {
                Some(0) => {
                    assert!(entry["messages"].as_u64() >= Some(KEYS as u64), "{release}: {entry}");
                    let destination = Server::start(release);
                    run_with(program_for("chatto-load", &destination), &dump.stdout).expect_code(0);
                    let keys = keys_of(&destination.client().await?, "KV_BUSY").await?;
                    assert_eq!(keys.len(), KEYS, "{release}: {entry}");
                }
                Some(3) => {
                    assert!(entry["error"].as_str().unwrap().contains("promised"), "{release}: {entry}");
                    assert!(dump.stderr.contains("error: stream KV_BUSY: "), "{}", dump.stderr);
                }
                other => panic!("{release}: {other:?}: {}", dump.stderr),
            }
        }
        writing.abort();
    }
    Ok(())
}

/// The same for certain: every key is overwritten while the snapshot waits for its reader.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_overwritten_while_the_reader_stalls() -> Result<()> {
    for release in ["2.12.8", "2.14.5", LATEST] {
        let server = Server::start(release);
        let client = server.client().await?;
        let mut b = Builder::new(&client, server.version(), 1).await?;
        b.bucket("BUSY", json!({})).await?;
        for n in 0..KEYS {
            let value = b.random.bytes(80_000);
            b.put("BUSY", &format!("key.{n}"), value).await?;
        }
        b.publisher.settle().await?;
        let mut dump = spawn(&mut faults::dump(&server, &[]));
        let begin = faults::take(&mut dump, 3 << 20);
        for n in 0..KEYS {
            b.put("BUSY", &format!("key.{n}"), "new").await?;
        }
        b.publisher.settle().await?;
        let dump = faults::finish(dump, begin).expect_code(0);
        let entry = Archive::read(&dump.stdout).in_manifest("KV_BUSY");
        let destination = Server::start(release);
        run_with(program_for("chatto-load", &destination), &dump.stdout).expect_code(0);
        let keys = keys_of(&destination.client().await?, "KV_BUSY").await?;
        assert_eq!(keys.len(), KEYS, "{release}: {entry}");
        assert_eq!(entry["attempts"], 2, "{release}: {entry}");
    }
    Ok(())
}

/// The index of such a snapshot is later than its blocks, and what a server restores from it has gaps at its end
/// that are in no record.
#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_judges_as_a_load_does() -> Result<()> {
    let release = "2.11.11";
    let server = Server::start(release);
    let client = server.client().await?;
    let mut b = Builder::new(&client, server.version(), 1).await?;
    b.stream("BUSY", json!(["busy.>"]), json!({ "max_msgs": 400 })).await?;
    b.finish().await?;
    let busy = client.clone();
    let writing = tokio::spawn(async move {
        let acks = api::jetstream(busy);
        for n in 0_u64.. {
            let ack = acks.publish(format!("busy.{}", n % 9), vec![b'y'; 500].into()).await?;
            if n % 40 == 0 {
                ack.await?;
            }
        }
        anyhow::Ok(())
    });
    for _ in 0..4 {
        let dump = run(program_for("chatto-dump", &server));
        let mut rehearsal = program("chatto-load");
        rehearsal.args(["--rehearse", "--nats-server"]).arg(binary(release));
        let rehearsal = run_with(rehearsal, &dump.stdout);
        let load = run_with(program_for("chatto-load", &Server::start(release)), &dump.stdout);
        assert_eq!(rehearsal.code, load.code, "{}\n{}", rehearsal.stderr, load.stderr);
    }
    writing.abort();
    Ok(())
}

/// Publishes batches of `size` messages, one after another and for ever; each appears at once.
async fn publish_batches(client: Client, size: usize) -> Result<()> {
    for batch in 0.. {
        for n in 1..=size {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Batch-Id", format!("batch-{batch}"));
            headers.insert("Nats-Batch-Sequence", n.to_string());
            if n < size {
                client.publish_with_headers("evt.x", headers, "some text".into()).await?;
                continue;
            }
            headers.insert("Nats-Batch-Commit", "1");
            let answer = client.request_with_headers("evt.x", headers, "some text".into()).await?;
            let answer: Json = serde_json::from_slice(&answer.payload)?;
            ensure!(answer["error"].is_null(), "{answer}");
        }
    }
    Ok(())
}

/// What was published as one is restored as one, or the stream is named.
#[tokio::test(flavor = "multi_thread")]
async fn batches_that_are_published_meanwhile() -> Result<()> {
    for release in ["2.12.8", LATEST] {
        let server = Server::start(release);
        let client = server.client().await?;
        let config = json!({ "name": "EVT", "subjects": ["evt.>"], "allow_atomic": true, "max_msgs": 5_000 });
        api::call(&client, "STREAM.CREATE.EVT", config).await?;
        let publishing = tokio::spawn(publish_batches(client.clone(), 500));
        while api::stream_info(&client, "EVT").await?["state"]["messages"] == 0 {}
        for _ in 0..6 {
            let dump = run(program_for("chatto-dump", &server));
            let entry = Archive::read(&dump.stdout).in_manifest("EVT");
            let destination = Server::start(release);
            let load = run_with(program_for("chatto-load", &destination), &dump.stdout);
            let client = destination.client().await?;
            // Where it ends by its state may lie beyond its last message.
            let body = json!({ "last_by_subj": "evt.x" });
            let last = api::call(&client, "STREAM.MSG.GET.EVT", body).await?;
            let headers = BASE64_STANDARD.decode(last["message"]["hdrs"].as_str().unwrap())?;
            let is_whole = String::from_utf8(headers)?.contains("Nats-Batch-Commit: 1");
            assert_eq!(dump.code, Some(if is_whole { 0 } else { 3 }), "{release}: {}", dump.stderr);
            assert_eq!(entry["within_batch"], if is_whole { json!(null) } else { json!(true) }, "{entry}");
            assert_eq!(dump.stderr.contains("stream EVT: in the archive, but it ends within"), !is_whole);
            assert_eq!(load.stderr.contains("stream EVT: it ends within"), !is_whole);
        }
        publishing.abort();
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_deleted_while_it_is_captured() -> Result<()> {
    for release in ["2.12.8", "2.14.5", LATEST] {
        let server = Server::start(release);
        let client = server.client().await?;
        faults::small_bucket(&client, server.version(), "SMALL", 1).await?;
        faults::large_stream(&client, server.version(), "LARGE", 24, 1).await?;
        let mut dump = spawn(&mut faults::dump(&server, &["--timeout", "10"]));
        let begin = faults::take(&mut dump, 3 << 20);
        api::call(&client, "STREAM.DELETE.LARGE", json!(null)).await?;
        let dump = faults::finish(dump, begin);
        let archive = Archive::read(&dump.stdout);
        let entry = archive.in_manifest("LARGE");
        // A server may have sent all of it all the same.
        assert_eq!(dump.code, Some(if entry["error"].is_null() { 0 } else { 3 }), "{}", dump.stderr);
        let destination = Server::start(release);
        let load = run_with(program_for("chatto-load", &destination), &dump.stdout);
        assert_eq!(load.code, dump.code, "{}", load.stderr);
    }
    Ok(())
}

/// A server before 2.15 makes one snapshot of a stream at a time.
#[tokio::test(flavor = "multi_thread")]
async fn another_backup_that_is_under_way() -> Result<()> {
    for release in RELEASES {
        let server = Server::start(release);
        faults::large_stream(&server.client().await?, server.version(), "LARGE", 60, 1).await?;
        // A machine that stands still for 2 s may cost the first its attempt, and then it is not under way.
        let second = (0..5).find_map(|_| {
            let mut first = spawn(&mut faults::dump(&server, &[]));
            let begin = faults::take(&mut first, UNDER_WAY);
            let second = run(faults::dump(&server, &["--retries", "0"]));
            let first = faults::finish(first, begin).expect_code(0);
            (Archive::read(&first.stdout).in_manifest("LARGE")["attempts"] == 1).then_some(second)
        });
        let second = second.expect("a first that was under way all the time");
        if server.version() < Version(2, 15, 0) {
            refused(second, 3, &["stream LARGE: ", "hint: another backup of this stream is under way"]);
        } else {
            second.expect_code(0);
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_every_retention_with_consumers_of_every_kind() -> Result<()> {
    for release in ["2.12.8", "2.14.5", LATEST] {
        let (server, destination) = (Server::start(release), Server::start(release));
        let client = server.client().await?;
        let mut b = Builder::new(&client, server.version(), 1).await?;
        for retention in ["interest", "workqueue"] {
            let name = retention.to_uppercase();
            b.stream(&name, json!([format!("{retention}.>")]), json!({ "retention": retention })).await?;
            b.consumer(&name, "worker", json!({})).await?;
            for n in 0..30 {
                b.publisher.send(&format!("{retention}.{}", n % 3), &[], "work").await?;
            }
            b.publisher.settle().await?;
            b.consume(&name, "worker", 12, |n| (n % 3 != 1).then_some("+ACK")).await?;
        }
        b.finish().await?;
        let ephemeral = json!({ "stream_name": "INTEREST", "config": {
            "name": "passing", "ack_policy": "explicit", "inactive_threshold": 3_600_000_000_000_u64,
        }});
        api::call(&client, "CONSUMER.CREATE.INTEREST.passing", ephemeral).await?;
        for finished in
            pipeline([program_for("chatto-dump", &server), program_for("chatto-load", &destination)])
        {
            finished.expect_code(0);
        }
        let differences = equality::differences(&client, &destination.client().await?, |_| true).await?;
        assert_eq!(differences, [""; 0], "{release}");
    }
    Ok(())
}
