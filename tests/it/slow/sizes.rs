//! Streams of every size: nothing, very little, very much, very long names and very large gaps.

use std::process::Command;

use crate::support::archive::{dump, load, manifest};
use crate::support::programs::{program, run_with};
use crate::support::publish::Publisher;
use crate::support::random::Random;
use crate::support::server::{LATEST, Server, binary};
use crate::support::{api, equality};
use anyhow::Result;
use async_nats::Client;
use chatto_pipes::jetstream::private_server::Options;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;

/// One release for each format of snapshots.
const BOTH_FORMATS: [&str; 2] = ["2.14.5", LATEST];

/// The largest message that the servers here take, in bytes.
const MAX_PAYLOAD: u32 = 3_000_001;

fn server(release: &str) -> Server {
    Server::start_with(release, Options { max_payload: Some(MAX_PAYLOAD), ..Options::default() })
}

async fn create(client: &Client, name: &str) -> Result<()> {
    let config = json!({ "name": name, "subjects": [subject(name)] });
    api::call(client, &format!("STREAM.CREATE.{name}"), config).await.map(drop)
}

fn subject(stream: &str) -> String {
    format!("s.{stream}")
}

async fn publish(client: &Client, stream: &str, payloads: &[&[u8]]) -> Result<()> {
    let mut publisher = Publisher::new(client).await?;
    for payload in payloads {
        publisher.send(&subject(stream), &[], *payload).await?;
    }
    publisher.settle().await
}

/// Dumps and loads all of it into a fresh server, which is then equal. Returns the archive.
async fn goes_through(source: &Server) -> Result<Vec<u8>> {
    let release = source.version().to_string();
    let destination = server(&release);
    let backup = dump(source, &[]);
    let loaded = load(&destination, &[], &backup);
    assert_eq!((loaded.stderr.as_str(), loaded.code), ("", Some(0)), "{release}");
    let (source, destination) = (source.client().await?, destination.client().await?);
    let found = equality::differences(&source, &destination, |_| true).await?;
    assert_eq!(found, Vec::<String>::new(), "{release}");
    Ok(backup)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_account() -> Result<()> {
    for release in BOTH_FORMATS {
        let backup = goes_through(&server(release)).await?;
        assert_eq!(manifest(&backup)?["streams"], json!([]));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_streams_and_streams_of_one_message() -> Result<()> {
    for release in BOTH_FORMATS {
        let source = server(release);
        let client = source.client().await?;
        for name in ["EMPTY", "ONE", "ONE_OF_NO_BYTES", "KV_EMPTY", "OBJ_EMPTY"] {
            create(&client, name).await?;
        }
        publish(&client, "ONE", &[b"1"]).await?;
        publish(&client, "ONE_OF_NO_BYTES", &[b""]).await?;
        goes_through(&source).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_255_bytes() -> Result<()> {
    for release in BOTH_FORMATS {
        let source = server(release);
        let client = source.client().await?;
        let (ascii, umlauts) = ("N".repeat(255), "ü".repeat(127) + "x");
        for name in [&ascii, &umlauts] {
            create(&client, name).await?;
            publish(&client, name, &[b"1", b"2"]).await?;
            let consumer = "c".repeat(100);
            let config = json!({ "durable_name": consumer, "ack_policy": "explicit" });
            let api = format!("CONSUMER.DURABLE.CREATE.{name}.{consumer}");
            api::call(&client, &api, json!({ "stream_name": name, "config": config })).await?;
        }
        let backup = goes_through(&source).await?;
        let mut tar = Command::new("tar");
        tar.args(["tf", "-", "--quoting-style=literal"]);
        let listed = String::from_utf8(run_with(tar, backup).expect_code(0).stdout)?;
        for name in [&ascii, &umlauts] {
            assert!(listed.contains(&format!("\nbackup/streams/{name}/stream.tar.s2\n")), "{listed}");
        }
    }
    Ok(())
}

/// Both of nats-server's lists come in pages (1,024 names, 256 descriptions); all pages count.
#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_streams() -> Result<()> {
    let source = server(LATEST);
    let client = source.client().await?;
    let names: Vec<String> = (0..2000).map(|n| format!("SPACE_{n:04}_EVENTS")).collect();
    stream::iter(&names).map(|name| create(&client, name)).buffer_unordered(16).try_collect::<()>().await?;
    let mut publisher = Publisher::new(&client).await?;
    for name in names.iter().step_by(2) {
        publisher.send(&subject(name), &[], name.as_bytes()).await?;
    }
    publisher.settle().await?;
    let backup = goes_through(&source).await?;
    assert_eq!(manifest(&backup)?["stats"]["total_streams"], 2000);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_one_byte_and_of_the_largest_size() -> Result<()> {
    for release in BOTH_FORMATS {
        let source = server(release);
        let client = source.client().await?;
        create(&client, "SMALL").await?;
        publish(&client, "SMALL", &[&b"x"[..]; 3000]).await?;
        create(&client, "LARGE").await?;
        let random = Random::new(5).bytes(MAX_PAYLOAD as usize);
        // Zeros compress to nearly nothing: the snapshot is small, and what is in it is not.
        let zeros = vec![0; MAX_PAYLOAD as usize];
        publish(&client, "LARGE", &[&random, &zeros, &zeros, &zeros, &random]).await?;
        let backup = goes_through(&source).await?;
        // A private server takes what any server can be configured to take.
        let mut rehearse = program("chatto-load");
        rehearse.arg("--rehearse").arg("--nats-server").arg(binary(release));
        let rehearsed = run_with(rehearse, &backup).expect_code(0);
        assert_eq!(rehearsed.stderr, "", "{release}");
    }
    Ok(())
}

/// Streams that have had messages and hold none: each remembers where it was.
#[tokio::test(flavor = "multi_thread")]
async fn streams_with_nothing_but_gaps() -> Result<()> {
    for release in BOTH_FORMATS {
        let source = server(release);
        let client = source.client().await?;
        for name in ["PURGED", "DELETED", "PURGED_TO", "LAST_DELETED"] {
            create(&client, name).await?;
            publish(&client, name, &[&b"x"[..]; 20]).await?;
        }
        api::call(&client, "STREAM.PURGE.PURGED", json!(null)).await?;
        api::call(&client, "STREAM.PURGE.PURGED_TO", json!({ "seq": 1_000_000 })).await?;
        for sequence in 1..=20 {
            api::call(&client, "STREAM.MSG.DELETE.DELETED", json!({ "seq": sequence })).await?;
        }
        for sequence in 15..=20 {
            api::call(&client, "STREAM.MSG.DELETE.LAST_DELETED", json!({ "seq": sequence })).await?;
        }
        goes_through(&source).await?;
    }
    Ok(())
}

/// Two messages in a hundred survive, and one sequence in ten thousand.
#[tokio::test(flavor = "multi_thread")]
async fn sparse_streams() -> Result<()> {
    for release in BOTH_FORMATS {
        let source = server(release);
        let client = source.client().await?;
        create(&client, "SPARSE").await?;
        publish(&client, "SPARSE", &[&b"x"[..]; 1000]).await?;
        let gone = (1..=1000).filter(|sequence| sequence % 50 != 3);
        let delete = |sequence: u64| {
            api::call(&client, "STREAM.MSG.DELETE.SPARSE", json!({ "seq": sequence, "no_erase": true }))
        };
        stream::iter(gone).map(delete).buffer_unordered(32).try_for_each(async |_| Ok(())).await?;

        // A bucket with one key that never changes and one that changes all the time.
        let config = json!({ "name": "KV_BUSY", "subjects": ["$KV.BUSY.>"], "max_msgs_per_subject": 1 });
        api::call(&client, "STREAM.CREATE.KV_BUSY", config).await?;
        let mut publisher = Publisher::new(&client).await?;
        publisher.send("$KV.BUSY.still", &[], "1").await?;
        for n in 0..10_000 {
            publisher.send("$KV.BUSY.clock", &[], format!("{n}")).await?;
        }
        publisher.settle().await?;
        goes_through(&source).await?;
    }
    Ok(())
}

/// Streams that fill a dump's memory a few at a time, and are captured many at a time. The memory of an
/// earlier one must not be taken by later ones, which wait for it to be written: of dumps that let that
/// happen one of four never ended.
#[tokio::test(flavor = "multi_thread")]
async fn many_streams_that_just_fit() -> Result<()> {
    const STREAMS: usize = 30;
    // With what is reckoned for the store, just under the room for one: a quarter of the buffer.
    const MESSAGES: usize = 10;
    const MESSAGE: usize = 130_000;
    for release in BOTH_FORMATS {
        let source = server(release);
        let client = source.client().await?;
        let message = Random::new(1).bytes(MESSAGE);
        for n in 0..STREAMS {
            let name = format!("S{n}");
            create(&client, &name).await?;
            publish(&client, &name, &[message.as_slice(); MESSAGES]).await?;
        }
        let mut sizes = Vec::new();
        for _ in 0..15 {
            // A dump that stands still ends by itself, with an error.
            let backup = dump(&source, &["--buffer", "8M", "--timeout", "10"]);
            let streams = manifest(&backup)?["stats"]["total_streams"].clone();
            assert_eq!(streams, STREAMS, "{release}");
            sizes.push(backup.len());
        }
        sizes.dedup();
        assert_eq!(sizes.len(), 1, "{release}: {sizes:?}");
    }
    Ok(())
}
