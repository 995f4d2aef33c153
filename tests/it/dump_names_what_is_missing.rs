//! `chatto-dump` names what a whole snapshot lacks: the end of a batch, consumers in memory that the server leaves out, and
//! consumers that are ahead. It adds the consumers that only other servers keep.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use crate::support::archive::{Archive, load};
use crate::support::cluster::Cluster;
use crate::support::programs::{finish, program, program_for, refused, run, run_with, spawn};
use crate::support::random::Random;
use crate::support::s2::{unwrapped, wrapped};
use crate::support::server::{LATEST, Server};
use crate::support::{api, archive, builder, faults};
use anyhow::{Context as _, Result};
use async_nats::Client;
use futures_util::StreamExt as _;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value as Json, json};

async fn create(client: &Client, stream: &str, more: Json) -> Result<()> {
    let mut config = json!({ "name": stream, "subjects": [stream] });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    api::call(client, &format!("STREAM.CREATE.{stream}"), config).await.map(drop)
}

async fn create_consumer(client: &Client, stream: &str, name: &str, more: Json) -> Result<()> {
    let mut config = json!({ "name": name, "ack_policy": "explicit" });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let body = json!({ "stream_name": stream, "config": config });
    api::call(client, &format!("CONSUMER.CREATE.{stream}.{name}"), body).await.map(drop)
}

/// An archive of a stream that ends with a message of a batch and without the batch's end.
async fn archive_of_half_a_batch() -> Result<Vec<u8>> {
    let server = Server::start(LATEST);
    let client = server.client().await?;
    create(&client, "EVT", json!({})).await?;
    for n in 1..=3 {
        let mut headers = async_nats::HeaderMap::new();
        // As long as the real one, with which no server takes half a batch.
        headers.insert("Nats-Patch-Id", "b");
        headers.insert("Nats-Batch-Sequence", n.to_string());
        client.request_with_headers("EVT", headers, "text".into()).await?;
    }
    let dump = run(program_for("chatto-dump", &server)).expect_code(0);
    let mut archive = Archive::read(&dump.stdout);
    let snapshot = archive.file("streams/EVT/stream.tar.s2");
    let mut content = unwrapped(snapshot);
    let (before, after) = (b"Nats-Patch-Id", b"Nats-Batch-Id");
    let found: Vec<_> = (0..content.len()).filter(|at| content[*at..].starts_with(before)).collect();
    assert_eq!(found.len(), 3);
    for at in found {
        content[at..at + after.len()].copy_from_slice(after);
    }
    *snapshot = wrapped(&content);
    let (bytes, sum) = (snapshot.len(), crate::support::archive::sha256(snapshot));
    archive.edit_manifest("EVT", |entry| {
        entry["bytes"] = bytes.into();
        entry["sha256"] = sum.into();
    });
    archive.edit("manifest.json", |manifest| manifest["stats"]["total_bytes"] = bytes.into());
    Ok(archive.with_sums())
}

/// It stays restorable, and everybody says what it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_ends_within_a_batch() -> Result<()> {
    const HALF: &str = "it ends within an atomic batch, and the rest of the batch is not in it";
    let archive = archive_of_half_a_batch().await?;
    let mut verify = program("chatto-manifest");
    verify.args(["verify"]);
    let verified = run_with(verify, &archive).expect_code(0);
    let verified = String::from_utf8(verified.stdout)?;
    assert!(verified.contains(&format!("warning: streams/EVT: {HALF}")), "{verified}");

    let server = Server::start(LATEST);
    let loaded = load(&server, &[], &archive).expect_code(0);
    assert!(loaded.stderr.contains(&format!("warning: stream EVT: {HALF}")), "{}", loaded.stderr);

    let dump = run(program_for("chatto-dump", &server));
    let entry = Archive::read(&dump.stdout).in_manifest("EVT");
    refused(dump, 3, &[&format!("error: stream EVT: in the archive, but {HALF}"), "1 stream not complete"]);
    // Another attempt finds the same: it is the stream that is so.
    assert_eq!((&entry["within_batch"], &entry["attempts"]), (&json!(true), &json!(2)), "{entry}");
    assert_eq!((&entry["messages"], &entry["error"]), (&json!(3), &Json::Null), "{entry}");
    Ok(())
}

/// A server before 2.15 leaves out what is in memory; ephemeral ones are said with `-v`.
#[tokio::test(flavor = "multi_thread")]
async fn consumers_in_memory() -> Result<()> {
    let server = Server::start("2.14.5");
    let client = server.client().await?;
    create(&client, "EVT", json!({})).await?;
    create_consumer(&client, "EVT", "kept", json!({ "durable_name": "kept" })).await?;
    let passing = json!({ "inactive_threshold": 3_600_000_000_000_u64, "mem_storage": true });
    create_consumer(&client, "EVT", "passing", passing).await?;
    becomes_old(&client, "EVT", "passing").await?;
    let dump = run(program_for("chatto-dump", &server)).expect_code(0);
    assert_eq!(dump.stderr, "");
    let mut verbose = program_for("chatto-dump", &server);
    verbose.arg("-v");
    let dump = run(verbose).expect_code(0);
    let said = "stream EVT: ephemeral and not in its snapshot: consumer \"passing\"";
    assert!(dump.stderr.contains(said), "{}", dump.stderr);

    let mailer = json!({ "durable_name": "mailer", "mem_storage": true });
    create_consumer(&client, "EVT", "mailer", mailer).await?;
    becomes_old(&client, "EVT", "mailer").await?;
    let dump = run(program_for("chatto-dump", &server));
    let archive = dump.stdout.clone();
    assert_eq!(Archive::read(&archive).in_manifest("EVT")["missing_consumers"], json!(["mailer"]));
    let said = "error: stream EVT: the server left out of its snapshot: consumer \"mailer\"";
    refused(dump, 3, &[said, "hint: ", "1 stream not complete in the archive"]);
    let loaded = load(&Server::start("2.14.5"), &[], &archive).expect_code(0);
    assert!(loaded.stderr.contains("stream EVT: the archive lacks consumer \"mailer\""), "{}", loaded.stderr);
    Ok(())
}

/// Waits until a consumer is so old that it was there before any snapshot that begins now, by the server's
/// own clock.
async fn becomes_old(client: &Client, stream: &str, name: &str) -> Result<()> {
    loop {
        let info = api::call(client, &format!("CONSUMER.INFO.{stream}.{name}"), Json::Null).await?;
        let time = |field: &str| info[field].as_str().unwrap().parse::<jiff::Timestamp>();
        if time("ts")?.duration_since(time("created")?) > jiff::SignedDuration::from_secs(3) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// nats-server, issue 7829: of a stream with replicas a server sends the consumers that it keeps itself. The
/// others are added.
#[tokio::test(flavor = "multi_thread")]
async fn consumers_that_other_nodes_keep() -> Result<()> {
    let cluster = Cluster::start("2.14.5").await?;
    let client = cluster.nodes[0].client().await?;
    create(&client, "EVT", json!({ "num_replicas": 3 })).await?;
    for _ in 0..20 {
        client.request("EVT", "text".into()).await?;
    }
    let (mut all, mut nodes) = (BTreeSet::new(), BTreeSet::new());
    // Whichever node leads the stream, another one keeps a consumer.
    while nodes.len() < 2 {
        let name = format!("reader{}", all.len());
        let config = json!({ "durable_name": name, "num_replicas": 1, "ack_wait": builder::HOUR });
        create_consumer(&client, "EVT", &name, config).await?;
        // Of ten messages the first four are acknowledged, and the seventh.
        builder::consume(&client, "EVT", &name, 10, |n| (n < 4 || n == 6).then_some("+ACK")).await?;
        let info = api::call(&client, &format!("CONSUMER.INFO.EVT.{name}"), Json::Null).await?;
        nodes.insert(info["cluster"]["leader"].to_string());
        all.insert(name);
    }
    becomes_old(&client, "EVT", all.last().unwrap()).await?;
    let dump = run(program_for("chatto-dump", &cluster.nodes[0])).expect_code(0);
    assert_eq!(dump.stderr, "");
    let entry = Archive::read(&dump.stdout).in_manifest("EVT");
    let added: BTreeSet<String> = serde_json::from_value(entry["consumers_added"].clone())?;
    // All, where the stream's leader keeps none.
    assert!(!added.is_empty(), "{entry}");
    assert_eq!((&entry["consumers"], &entry["missing_consumers"]), (&json!(all.len()), &Json::Null));
    let mut verify = program("chatto-manifest");
    verify.args(["verify"]);
    run_with(verify, &dump.stdout).expect_code(0);

    let before = api::list(&client, "CONSUMER.LIST.EVT", "consumers").await?;
    for release in ["2.14.5", LATEST] {
        let mut destination = Server::start(release);
        let loaded = load(&destination, &[], &dump.stdout).expect_code(0);
        assert!(!loaded.stderr.contains("consumer"), "{}", loaded.stderr);
        destination.restart();
        let client = destination.client().await?;
        for consumer in &before {
            let name = consumer["name"].as_str().unwrap();
            let info = api::call(&client, &format!("CONSUMER.INFO.EVT.{name}"), Json::Null).await?;
            let floor = json!({ "consumer_seq": 4, "stream_seq": 4 });
            assert_eq!(without_time(&info["ack_floor"]), floor, "{release}, {name}: {info}");
            for field in ["durable_name", "ack_policy", "ack_wait", "deliver_policy"] {
                assert_eq!(info["config"][field], consumer["config"][field], "{release}, {name}: {field}");
            }
        }
        assert_eq!(before.len(), all.len());
        // What is not known to be acknowledged is delivered again, and all that follows.
        for name in &added {
            assert_eq!(delivered(&client, "EVT", name, 16).await?, (5..=20).collect::<Vec<_>>(), "{release}");
        }
    }
    Ok(())
}

/// The node that leads the only replica of a consumer stands still for a while: the dump asks again until it answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_whose_leader_comes_back() -> Result<()> {
    let cluster = Cluster::start_with_system("2.14.5").await?;
    let meta_leader = cluster.meta_leader_after(&cluster.system().await?, None).await?;
    let client = cluster.nodes[meta_leader].client().await?;
    create(&client, "EVT", json!({ "num_replicas": 3 })).await?;
    let leaders = [meta_leader, cluster.leader_of(&client, "EVT").await?];
    let idle = (0..3).find(|node| !leaders.contains(node)).context("a node that leads neither")?;
    let mut readers = 0;
    loop {
        let name = format!("reader{readers}");
        let config = json!({ "durable_name": name, "num_replicas": 1 });
        create_consumer(&client, "EVT", &name, config).await?;
        readers += 1;
        let info = api::call(&client, &format!("CONSUMER.INFO.EVT.{name}"), Json::Null).await?;
        if info["cluster"]["leader"] == format!("n{}", idle + 1) {
            becomes_old(&client, "EVT", &name).await?;
            break;
        }
    }
    let process = Pid::from_raw(i32::try_from(cluster.nodes[idle].process_id())?).context("a process")?;
    let lists = client.subscribe("$JS.API.CONSUMER.LIST.EVT").await?;
    client.flush().await?;
    kill_process(process, Signal::STOP)?;
    let dump = spawn(program_for("chatto-dump", &cluster.nodes[meta_leader]).stdout(Stdio::piped()));
    let listed_twice = tokio::time::timeout(Duration::from_secs(60), lists.take(2).count()).await;
    kill_process(process, Signal::CONT).unwrap();
    let dump = finish(dump).expect_code(0);
    assert_eq!(listed_twice.context("the consumers are not listed again")?, 2);
    assert_eq!(dump.stderr, "");
    let entry = Archive::read(&dump.stdout).in_manifest("EVT");
    assert_eq!((&entry["consumers"], &entry["missing_consumers"]), (&json!(readers), &Json::Null), "{entry}");
    Ok(())
}

fn without_time(floor: &Json) -> Json {
    json!({ "consumer_seq": floor["consumer_seq"], "stream_seq": floor["stream_seq"] })
}

/// The stream's sequences of the next messages that a consumer delivers.
async fn delivered(client: &Client, stream: &str, consumer: &str, count: usize) -> Result<Vec<u64>> {
    let inbox = client.new_inbox();
    let messages = client.subscribe(inbox.clone()).await?;
    let next = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}");
    let body = json!({ "batch": count, "expires": 30 * builder::SECOND }).to_string();
    client.publish_with_reply(next, inbox, body.into()).await?;
    // $JS.ACK.STREAM.CONSUMER.times.sequence.…
    let sequence = |message: async_nats::Message| {
        message.reply.and_then(|reply| reply.split('.').nth(5)?.parse().ok()).unwrap_or(0)
    };
    Ok(messages.take(count).map(sequence).collect().await)
}

/// nats-server, issue 7693: what is published and consumed at once, a consumer may have beyond what a
/// snapshot holds.
#[tokio::test(flavor = "multi_thread")]
async fn consumers_that_run_while_their_stream_is_captured() -> Result<()> {
    let server = Server::start("2.14.5");
    let client = server.client().await?;
    create(&client, "EVT", json!({})).await?;
    create_consumer(&client, "EVT", "reader", json!({ "durable_name": "reader" })).await?;
    let publishing = tokio::spawn({
        let client = client.clone();
        async move {
            loop {
                let published = (0..100).map(|_| client.request("EVT", "text".into()));
                futures_util::future::try_join_all(published).await?;
            }
            #[expect(unreachable_code, reason = "says what goes wrong meanwhile")]
            anyhow::Ok(())
        }
    });
    let consuming = tokio::spawn({
        let context = async_nats::jetstream::new(client.clone());
        async move {
            let stream = context.get_stream("EVT").await?;
            let reader: async_nats::jetstream::consumer::PullConsumer =
                stream.get_consumer("reader").await.map_err(anyhow::Error::from_boxed)?;
            let mut messages = reader.messages().await?;
            while let Some(message) = messages.next().await {
                message?.ack().await.map_err(anyhow::Error::from_boxed)?;
            }
            anyhow::Ok(())
        }
    });
    for _ in 0..3 {
        let dump = run(program_for("chatto-dump", &server)).expect_code(0);
        let entry = Archive::read(&dump.stdout).in_manifest("EVT");
        let destination = Server::start("2.14.5");
        load(&destination, &[], &dump.stdout).expect_code(0);
        let client = destination.client().await?;
        let state = &api::stream_info(&client, "EVT").await?["state"];
        let reader = api::call(&client, "CONSUMER.INFO.EVT.reader", Json::Null).await?;
        let is_ahead = reader["delivered"]["stream_seq"].as_u64() > state["last_seq"].as_u64();
        // Where the restored stream ends by its index, it may end later than its messages do.
        assert!(!is_ahead || entry["consumers_ahead"] == json!(["reader"]), "{entry}, {reader}");
    }
    publishing.abort();
    consuming.abort();
    Ok(())
}

/// A last sequence never falls. If it is lower than when the dump began, the server has lost messages, or somebody has put
/// back an older state, as here; one that was made anew is another stream.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_goes_back_during_a_dump_is_named() -> Result<()> {
    let server = Server::start("2.14.5");
    let client = server.client().await?;
    for (stream, messages) in [("A", 40), ("BACK", 45), ("NEW", 50)] {
        create(&client, stream, json!({})).await?;
        client.request(stream, "first".into()).await?;
        if stream != "BACK" {
            publish(&client, stream, messages).await?;
        }
    }
    let old = archive::dump(&server, &["--stream", "BACK"]);
    publish(&client, "BACK", 45).await?;

    let mut dump = spawn(&mut faults::dump(&server, &[]));
    let begin = faults::take(&mut dump, 3 << 20);
    for stream in ["BACK", "NEW"] {
        api::call(&client, &format!("STREAM.DELETE.{stream}"), Json::Null).await?;
    }
    load(&server, &[], &old).expect_code(0);
    create(&client, "NEW", json!({})).await?;
    let finished = faults::finish(dump, begin);
    let archive = Archive::read(&finished.stdout);
    refused(finished, 3, &["error: stream BACK: it went back: it ended at sequence 46", "older archives"]);
    assert!(archive.in_manifest("BACK")["error"].is_string());
    assert_eq!(archive.in_manifest("NEW")["messages"], 0);
    Ok(())
}

/// So many messages of half a MiB that do not compress.
async fn publish(client: &Client, stream: &str, messages: usize) -> Result<()> {
    let mut random = Random::new(3);
    for _ in 0..messages {
        client.request(stream.to_owned(), random.bytes(512 << 10).into()).await?;
    }
    Ok(())
}
