//! A dump of a server of any supported release can be restored into every release, and stays equal after a restart.

use std::time::Duration;

use crate::support::archive::Archive;
use crate::support::builder::Builder;
use crate::support::fixtures::Built;
use crate::support::programs::{program, run_with};
use crate::support::publish::header_map;
use crate::support::server::{LATEST, Server};
use crate::support::{api, archive, builder, equality, fixtures, s2};
use anyhow::{Context as _, Result};
use async_nats::Client;
use chatto_pipes::snapshot::{ConsumerState, SequencePair};
use serde_json::{Value as Json, json};

const NOTHING: [&str; 0] = [];

/// What 2.10 does not know of a consumer.
const PAUSE: &str = "pause_until";

/// Every release that is read and restored.
const ALL: [&str; 5] = ["2.10.26", "2.11.11", "2.12.8", "2.14.5", LATEST];

/// Loads `backup` into `release` and compares before and after a restart. The release must not have a word to say,
/// but for settings that it does not know: they are named first, and then left out.
async fn comes_back(source: &Server, built: &Built, backup: &[u8], release: &str) -> Result<()> {
    let mut destination = Server::start(release);
    let mut loaded = archive::load(&destination, &[], backup);
    let mut dropped = Vec::new();
    if let Some((_, hint)) = loaded.stderr.split_once("or without them: ") {
        assert_eq!(loaded.code, Some(1), "{release}");
        assert_eq!(api::stream_names(&destination.client().await?).await?, NOTHING, "{release}");
        let mut options: Vec<_> = hint.lines().next().unwrap_or_default().split(' ').collect();
        dropped = options.iter().filter(|word| !word.starts_with("--")).map(ToString::to_string).collect();
        assert!(!dropped.is_empty(), "{release}: {}", loaded.stderr);
        if release == ALL[0] {
            // That of a consumer is named when the consumer comes.
            options.extend(["--drop-setting", PAUSE]);
        }
        let pauses = options.contains(&PAUSE);
        loaded = archive::load(&destination, &options, backup);
        let (said, others): (Vec<_>, Vec<_>) =
            loaded.stderr.lines().map(str::to_owned).partition(|line| line.ends_with(" left out"));
        assert!(
            dropped.iter().all(|name| said.iter().any(|line| line.contains(name))),
            "{release}: {said:?}"
        );
        loaded.stderr = others.join("\n");
        dropped.extend(pauses.then(|| PAUSE.to_owned()));
    }
    assert_eq!((loaded.stderr.as_str(), loaded.code), ("", Some(0)), "{release}");
    let source = source.client().await?;
    for when in ["after the restore", "after a restart"] {
        let client = destination.client().await?;
        let mut found = equality::differences(&source, &client, |stream| built.is_kept(stream)).await?;
        // What was left out is not there, and nothing else differs. What a server had noted of it goes with it.
        let left_out = |text: &str| {
            dropped.iter().any(|name| text.contains(&format!("config.{name}: ")))
                || text.contains("config.metadata") && text.contains("_nats.req.level")
                || dropped.iter().any(|name| name == PAUSE)
                    && text.starts_with("EVT: consumer audit.paused: ")
        };
        found.retain(|text| dropped.is_empty() || !left_out(text));
        if when == "after a restart" {
            // From 2.14 on a server that starts puts a consumer that is to begin beyond the stream's end back
            // to it.
            found.retain(|difference| !difference.starts_with("EVT: consumer late."));
        }
        assert_eq!(found, NOTHING, "{release}, {when}");
        destination.restart();
    }
    Ok(())
}

/// Both generations of Chatto, with every setting that `release` knows, into every release.
async fn into_all(release: &str) -> Result<()> {
    let source = Server::start(release);
    let client = source.client().await?;
    let mut built = fixtures::v0_4(&client, source.version(), 1, 300).await?;
    built.kept.extend(fixtures::v0_0(&client, source.version(), 2, 2).await?.kept);
    // A name that does not fit into a plain tar header.
    let long = "long".repeat(50);
    api::call(
        &client,
        &format!("CONSUMER.CREATE.EVT.{long}"),
        json!({ "stream_name": "EVT", "config": { "name": long, "durable_name": long } }),
    )
    .await?;
    let backup = archive::dump(&source, &[]);
    for to in ALL {
        comes_back(&source, &built, &backup, to).await.with_context(|| format!("{release} into {to}"))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn from_2_10_into_all() -> Result<()> {
    into_all("2.10.26").await
}

#[tokio::test(flavor = "multi_thread")]
async fn from_2_11_into_all() -> Result<()> {
    into_all("2.11.11").await
}

#[tokio::test(flavor = "multi_thread")]
async fn from_2_12_into_all() -> Result<()> {
    into_all("2.12.8").await
}

#[tokio::test(flavor = "multi_thread")]
async fn from_2_14_into_all() -> Result<()> {
    into_all("2.14.5").await
}

#[tokio::test(flavor = "multi_thread")]
async fn from_2_15_into_all() -> Result<()> {
    into_all(LATEST).await
}

/// Streams at their edges: never written to, emptied, begun at a later sequence, with deletes at either end.
#[tokio::test(flavor = "multi_thread")]
async fn the_edges_of_streams_from_2_15_into_all() -> Result<()> {
    let source = Server::start(LATEST);
    let client = source.client().await?;
    let mut b = Builder::new(&client, "2.10.26".parse().unwrap(), 3).await?;
    for (name, more) in [
        ("NEW", json!({})),
        ("PURGED", json!({})),
        ("BEGUN", json!({ "first_seq": 5_000_000 })),
        ("ENDS", json!({})),
        ("FAR", json!({ "first_seq": 3_000_000 })),
    ] {
        b.stream(name, json!([format!("{name}.>")]), more).await?;
    }
    for name in ["PURGED", "ENDS", "FAR"] {
        for n in 0..10 {
            b.publisher.send(&format!("{name}.{n}"), &[], "text").await?;
        }
    }
    b.publisher.settle().await?;
    b.purge("PURGED", json!(null)).await?;
    for sequence in [1, 2, 5, 9, 10] {
        b.delete_message("ENDS", sequence, sequence % 2 == 0).await?;
    }
    // A purge of everything up to a sequence beyond the last one: the stream goes on there.
    b.purge("FAR", json!({ "seq": 9_000_000 })).await?;
    b.publisher.send("FAR.last", &[], "text").await?;
    b.publisher.settle().await?;
    b.consumer("ENDS", "reader", json!({})).await?;
    b.consume("ENDS", "reader", 3, |n| (n == 0).then_some("+ACK")).await?;
    let built = b.finish().await?;
    let backup = archive::dump(&source, &[]);
    for release in ALL {
        comes_back(&source, &built, &backup, release).await?;
    }
    Ok(())
}

/// What 2.15 forgets when it restores its own format.
#[tokio::test(flavor = "multi_thread")]
async fn the_duplicate_window_and_the_position_in_sources_are_kept() -> Result<()> {
    let source = Server::start(LATEST);
    let client = source.client().await?;
    let mut b = Builder::new(&client, source.version(), 4).await?;
    b.stream("ORIGIN", json!(["origin.>"]), json!({})).await?;
    b.stream("COPY", json!([]), json!({ "sources": [{ "name": "ORIGIN" }] })).await?;
    for n in 0..20 {
        let id = format!("id-{n}");
        b.publisher.send(&format!("origin.{n}"), &[("Nats-Msg-Id", &id)], "text").await?;
    }
    b.publisher.settle().await?;
    arrives(&client, "COPY", "origin.19").await?;

    let backup = archive::dump(&source, &[]);
    let destination = Server::start(LATEST);
    archive::load(&destination, &[], &backup).expect_code(0);
    let client = destination.client().await?;

    // One of before is recognised, and one that is new is not.
    for (id, is_duplicate) in [("id-3", true), ("id-new", false)] {
        let headers = header_map(&[("Nats-Msg-Id", id)]);
        let ack = client.request_with_headers("origin.new", headers, "text".into()).await?;
        let ack: Json = serde_json::from_slice(&ack.payload)?;
        assert_eq!(ack["duplicate"] == true, is_duplicate, "{id}: {ack}");
    }
    // The new one comes behind everything that is taken of its source: nothing was taken twice.
    arrives(&client, "COPY", "origin.new").await?;
    assert_eq!(api::stream_info(&client, "COPY").await?["state"]["messages"], 21);
    Ok(())
}

/// Waits until a message with this subject is in the stream.
async fn arrives(client: &Client, stream: &str, subject: &str) -> Result<()> {
    let api = format!("STREAM.MSG.GET.{stream}");
    while api::answer(client, &api, json!({ "last_by_subj": subject })).await?["message"].is_null() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// A server reads its consumers while the stream goes on (nats-server #7693). What is stored behind the
/// snapshot's end would never reach one that stands there already.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_ahead_of_its_stream_gets_what_is_stored_next() -> Result<()> {
    let source = Server::start("2.14.5");
    let client = source.client().await?;
    let mut b = Builder::new(&client, source.version(), 5).await?;
    b.stream("S", json!(["s"]), json!({})).await?;
    for _ in 0..10 {
        b.publisher.send("s", &[], "text").await?;
    }
    b.publisher.settle().await?;
    b.consumer("S", "reader", json!({})).await?;
    b.consume("S", "reader", 10, |_| Some("+ACK")).await?;
    b.finish().await?;

    let mut archive = Archive::read(&archive::dump(&source, &[]));
    let snapshot = archive.file("streams/S/stream.tar.s2");
    let mut files = archive::entries(&s2::unwrapped(snapshot))?;
    let state = files.iter_mut().find(|file| file.path == "obs/reader/o.dat").unwrap();
    let at = SequencePair { consumer: 10, stream: 470 };
    state.data = ConsumerState { delivered: at, ack_floor: at, ..ConsumerState::default() }.encode();
    *snapshot = s2::wrapped(&archive::pack(&files)?);
    let (bytes, sha256) = (snapshot.len(), archive::sha256(snapshot));
    archive.edit_manifest("S", |entry| (entry["bytes"], entry["sha256"]) = (json!(bytes), json!(sha256)));
    let archive = archive.with_sums();

    for release in ["2.10.26", "2.14.5", LATEST] {
        let destination = Server::start(release);
        archive::load(&destination, &[], &archive).expect_code(0);
        let client = destination.client().await?;
        let info = api::call(&client, "CONSUMER.INFO.S.reader", json!(null)).await?;
        for place in ["delivered", "ack_floor"] {
            assert_eq!(info[place]["stream_seq"], 10, "{release}: {info}");
        }
        client.request("s", "next".into()).await?;
        builder::consume(&client, "S", "reader", 1, |_| Some("+ACK")).await?;
    }
    Ok(())
}

/// A tar has no place for what such a consumer has seen.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_in_memory_begins_anew_and_is_named() -> Result<()> {
    let source = Server::start(LATEST);
    let client = source.client().await?;
    let mut b = Builder::new(&client, source.version(), 6).await?;
    b.stream("S", json!(["s"]), json!({})).await?;
    for _ in 0..10 {
        b.publisher.send("s", &[], "text").await?;
    }
    b.publisher.settle().await?;
    for (name, in_memory) in [("fleeting", true), ("lasting", false)] {
        b.consumer("S", name, json!({ "mem_storage": in_memory })).await?;
        b.consume("S", name, 5, |_| Some("+ACK")).await?;
    }
    // Nobody misses the position of one that goes when it is not used.
    let ephemeral = json!({ "stream_name": "S", "config": { "mem_storage": true, "inactive_threshold": 60_000_000_000u64 } });
    api::call(&client, "CONSUMER.CREATE.S", ephemeral).await?;
    b.finish().await?;

    let destination = Server::start(LATEST);
    let load = archive::load(&destination, &[], &archive::dump(&source, &[])).expect_code(0);
    let said =
        "chatto-load: warning: stream S: consumers in memory lose their position and begin anew: fleeting\n";
    assert_eq!(load.stderr, said);
    let client = destination.client().await?;
    for (name, position) in [("fleeting", 0), ("lasting", 5)] {
        let info = api::call(&client, &format!("CONSUMER.INFO.S.{name}"), json!(null)).await?;
        assert_eq!(info["ack_floor"]["stream_seq"], position, "{info}");
    }
    Ok(())
}

/// NATSARC1, the only format that brings a stream into memory, has no place for either.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_stream_in_memory_forgets_is_said_before() -> Result<()> {
    let source = Server::start(LATEST);
    let client = source.client().await?;
    for (name, more) in
        [("ORIGIN", json!({ "subjects": ["s"] })), ("SUM", json!({ "sources": [{ "name": "ORIGIN" }] }))]
    {
        let mut config = more;
        config["name"] = name.into();
        api::call(&client, &format!("STREAM.CREATE.{name}"), config).await?;
    }
    let mut archive = Archive::read(&archive::dump(&source, &[]));
    for name in ["ORIGIN", "SUM"] {
        archive.put_into_memory(name);
    }
    let archive = archive.with_sums();
    let destination = Server::start(LATEST);
    let load = archive::load(&destination, &[], &archive).expect_code(0);
    for said in [
        "warning: stream ORIGIN: the server forgets the message ids of a stream in memory\n",
        "warning: stream SUM: the server forgets the message ids of a stream in memory, and takes all messages of \
         its sources again\n",
        "--drop-setting sources\n",
    ] {
        assert!(load.stderr.contains(said), "{said}{}", load.stderr);
    }
    // Nobody publishes to a server that is thrown away.
    let mut dry = archive::load(&Server::start(LATEST), &["-n"], &archive).expect_code(0);
    assert_eq!(std::mem::take(&mut dry.stderr), "");
    Ok(())
}

/// A limit leaves the records of what it removes, and only the index says that they are not live. An older server does not
/// read that index, and must not bring them back, nor remove others for them: also where the limit is no more.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_limit_removed_stays_removed_on_an_older_server() -> Result<()> {
    let source = Server::start("2.14.5");
    let client = source.client().await?;
    let mut b = Builder::new(&client, source.version(), 11).await?;
    b.stream("FEW", json!(["few.>"]), json!({ "max_msgs": 3 })).await?;
    b.stream("ONE", json!(["one.>"]), json!({ "max_msgs_per_subject": 1 })).await?;
    for n in 0..20 {
        b.publisher.send(&format!("few.{n}"), &[], "few").await?;
        b.publisher.send("one.a", &[], "one").await?;
    }
    b.publisher.send("one.b", &[], "one").await?;
    b.consumer("ONE", "reader", json!({})).await?;
    b.finish().await?;
    for (stream, subjects) in [("FEW", "few.>"), ("ONE", "one.>")] {
        let config = json!({ "name": stream, "subjects": [subjects] });
        api::call(&client, &format!("STREAM.UPDATE.{stream}"), config).await?;
    }
    let backup = archive::dump(&source, &[]);
    for release in ALL {
        let mut destination = Server::start(release);
        let loaded = archive::load(&destination, &[], &backup);
        assert_eq!((loaded.stderr.as_str(), loaded.code), ("", Some(0)), "{release}");
        for _ in 0..2 {
            let to = destination.client().await?;
            let found = equality::differences(&client, &to, |_| true).await?;
            assert_eq!(found, NOTHING, "{release}");
            destination.restart();
        }
    }
    Ok(())
}

/// Without an index, no file of a tar says that the records before the first sequence are of messages that were removed.
/// They do not stay restored; where the stream may not be purged, it fails, and the old one is there.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_removed_stays_removed_without_an_index() -> Result<()> {
    const STREAMS: [&str; 3] = ["FEW", "KEPT", "SEEN"];
    // Every release reads the blocks of the first.
    let source = Server::start(ALL[0]);
    let client = source.client().await?;
    let mut b = Builder::new(&client, source.version(), 12).await?;
    for stream in STREAMS {
        let more = json!({ "max_msgs": 3, "deny_purge": stream == "KEPT" });
        b.stream(stream, json!([format!("{stream}.>")]), more).await?;
        for n in 0..12 {
            b.publisher.send(&format!("{stream}.{n}"), &[], stream).await?;
        }
    }
    b.publisher.settle().await?;
    b.consumer("SEEN", "reader", json!({})).await?;
    b.consume("SEEN", "reader", 1, |_| Some("+ACK")).await?;
    b.finish().await?;
    for stream in STREAMS {
        let config =
            json!({ "name": stream, "subjects": [format!("{stream}.>")], "deny_purge": stream == "KEPT" });
        api::call(&client, &format!("STREAM.UPDATE.{stream}"), config).await?;
    }
    let mut backup = Archive::read(&archive::dump(&source, &[]));
    for stream in STREAMS {
        backup.remove_index(stream)?;
    }
    let backup = backup.with_sums();
    for release in ALL {
        let mut destination = Server::start(release);
        let to = destination.client().await?;
        api::call(&to, "STREAM.CREATE.KEPT", json!({ "name": "KEPT", "subjects": ["old"] })).await?;
        let loaded = archive::load(&destination, &["--conflict", "overwrite"], &backup).expect_code(3);
        for words in [
            "error: stream KEPT: the server took removed messages for live ones, from message 1 on, and does not \
             remove what is before message 10, where the archive's stream begins: ",
            "hint: chatto-manifest edit --rsyncable writes an archive without them\n",
            "stream KEPT: the old one is back\n",
        ] {
            assert!(loaded.stderr.contains(words), "{release}: {words}:\n{}", loaded.stderr);
        }
        assert_eq!(api::stream_info(&to, "KEPT").await?["config"]["subjects"], json!(["old"]), "{release}");
        api::call(&to, "STREAM.DELETE.KEPT", json!(null)).await?;
        for _ in 0..2 {
            let to = destination.client().await?;
            let found = equality::differences(&client, &to, |stream| stream != "KEPT").await?;
            assert_eq!(found, NOTHING, "{release}");
            destination.restart();
        }
    }

    let mut edit = program("chatto-manifest");
    edit.args(["edit", "--rsyncable"]);
    let edited = run_with(edit, &backup).expect_code(0).stdout;
    let destination = Server::start(LATEST);
    archive::load(&destination, &[], &edited).expect_code(0);
    let found = equality::differences(&client, &destination.client().await?, |_| true).await?;
    assert_eq!(found, NOTHING);
    Ok(())
}
