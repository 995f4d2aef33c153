//! A load is refused before anything changes if the destination cannot hold the streams. Losses on the way are explained.

use std::process::Command;
use std::time::Duration;

use crate::support::archive::{self, Archive};
use crate::support::builder::Builder;
use crate::support::programs::{program, program_for, run, run_with};
use crate::support::server::{LATEST, Server, binary};
use crate::support::{api, equality, faults};
use anyhow::Result;
use chatto_pipes::description::Description;
use chatto_pipes::jetstream::private_server::Options;
use chatto_pipes::names::StreamName;
use chatto_pipes::snapshot;
use serde_json::json;

async fn source(release: &str) -> Result<Server> {
    let server = Server::start(release);
    faults::small_bucket(&server.client().await?, server.version(), "SMALL", 1).await?;
    Ok(server)
}

fn load(server: &Server) -> Command {
    program_for("chatto-load", server)
}

/// No snapshot in the tar format keeps what is in memory.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_in_memory_of_2_15_is_refused_by_what_is_older_and_by_nothing_else() -> Result<()> {
    let source = Server::start(LATEST);
    let client = source.client().await?;
    let mut b = Builder::new(&client, source.version(), 1).await?;
    // One is proven before its restore begins, and the other is not.
    for (name, messages) in [("SMALL", 1), ("LARGE", 100)] {
        b.stream(name, json!([name]), json!({})).await?;
        for _ in 0..messages {
            let payload = b.random.bytes(100_000);
            b.publisher.send(name, &[], payload).await?;
        }
    }
    b.publisher.settle().await?;
    let mut archive = Archive::read(&archive::dump(&source, &[]));
    // A snapshot of 2.15 does not say where it was kept.
    for described in ["SMALL", "LARGE/attempt-1"] {
        archive.put_into_memory(described);
    }
    let archive = archive.with_sums();
    for options in [&[][..], &["-n"]] {
        let old = Server::start("2.14.5");
        let load = archive::load(&old, options, &archive).expect_code(1);
        for name in ["SMALL", "LARGE"] {
            let said =
                format!("stream {name}: a restore of streams in memory needs nats-server 2.15 or later");
            assert!(load.stderr.contains(&said), "{}", load.stderr);
        }
        assert_eq!(api::stream_names(&old.client().await?).await?, [""; 0]);
    }
    let same = Server::start(LATEST);
    archive::load(&same, &[], &archive).expect_code(0);
    let differences = equality::differences(&client, &same.client().await?, |_| true).await?;
    let expected =
        ["LARGE", "SMALL"].map(|name| format!("{name}: config.storage: \"file\" became \"memory\""));
    assert_eq!(
        differences.iter().filter(|difference| !difference.contains("state.bytes")).collect::<Vec<_>>(),
        expected.iter().collect::<Vec<_>>()
    );
    Ok(())
}

/// A server stores a stream in memory message by message, and takes no larger one than its clients may send. A tar
/// it takes as it is.
#[tokio::test(flavor = "multi_thread")]
async fn messages_larger_than_the_destination_takes_from_clients() -> Result<()> {
    let source = Server::start_with(LATEST, Options { max_payload: Some(4 << 20), ..Options::default() });
    let client = source.client().await?;
    let mut b = Builder::new(&client, source.version(), 2).await?;
    b.stream("LARGE", json!(["s"]), json!({})).await?;
    let payload = b.random.bytes(3 << 20);
    b.publisher.send("s", &[], payload).await?;
    b.publisher.settle().await?;
    let archive = archive::dump(&source, &[]);
    let destination = Server::start(LATEST);
    archive::load(&destination, &[], &archive).expect_code(0);
    let differences = equality::differences(&client, &destination.client().await?, |_| true).await?;
    assert_eq!(differences, [""; 0]);

    let mut archive = Archive::read(&archive);
    archive.put_into_memory("LARGE");
    let destination = Server::start(LATEST);
    let refused = archive::load(&destination, &[], &archive.with_sums()).expect_code(1);
    assert!(refused.stderr.contains("hint: set max_payload of this server to that of"), "{}", refused.stderr);
    assert_eq!(api::stream_names(&destination.client().await?).await?, [""; 0]);
    Ok(())
}

/// Of a tar no server restores what is in memory. One of 2.15 does from NATSARC1, which the tar becomes where it has
/// its consumers first, as what we write ourselves.
#[tokio::test(flavor = "multi_thread")]
async fn a_tar_of_a_stream_in_memory() -> Result<()> {
    let source = source("2.14.5").await?;
    let client = source.client().await?;
    let config = json!({ "name": "EVT", "subjects": ["evt"] });
    api::call(&client, "STREAM.CREATE.EVT", config).await?;
    client.request("evt", "text".into()).await?;
    let consumer = json!({ "stream_name": "EVT", "config": { "name": "reader", "durable_name": "reader" } });
    api::call(&client, "CONSUMER.CREATE.EVT.reader", consumer).await?;
    let mut archive = Archive::read(&faults::archive_of(&source));
    for name in ["EVT", "KV_SMALL"] {
        archive.put_into_memory(name);
    }
    let archive = archive.with_sums();
    let old = Server::start("2.14.5");
    let load = run_with(load(&old), archive.clone()).expect_code(1);
    for name in ["EVT", "KV_SMALL"] {
        let said = format!("stream {name}: it lives in memory, and a server before 2.15 restores none");
        assert!(load.stderr.contains(&said), "{}", load.stderr);
    }
    assert_eq!(api::stream_names(&old.client().await?).await?, [""; 0]);

    let new = Server::start(LATEST);
    let load = archive::load(&new, &[], &archive).expect_code(3);
    assert!(load.stderr.contains("stream EVT: it cannot be written again: a consumer comes after messages"));
    let differences = equality::differences(&client, &new.client().await?, |name| name == "KV_SMALL").await?;
    let expected = ["config.storage: \"file\" became \"memory\"", "state.bytes: "];
    assert!(
        differences.iter().all(|text| expected.iter().any(|part| text.contains(part))),
        "{differences:?}"
    );
    Ok(())
}

/// A stream in memory with everything that NATSARC1 may hold, from a tar that we wrote and from NATSARC1 that we
/// wrote, both of what the server sent.
#[tokio::test(flavor = "multi_thread")]
async fn what_we_write_brings_a_stream_into_memory() -> Result<()> {
    let source = Server::start(LATEST);
    let client = source.client().await?;
    let mut b = Builder::new(&client, source.version(), 3).await?;
    b.stream("S", json!(["s.>"]), json!({ "allow_msg_ttl": true })).await?;
    for n in 0..40 {
        let (id, ttl) = (format!("id-{n}"), if n % 2 == 0 { "12h" } else { "never" });
        let headers = [("Nats-Msg-Id", id.as_str()), ("Nats-TTL", ttl)];
        let payload = b.random.bytes(n * 300);
        b.publisher.send(&format!("s.{}", n % 3), &headers[..n % 3], payload).await?;
    }
    b.publisher.settle().await?;
    for sequence in [1, 2, 7, 21, 39, 40] {
        b.delete_message("S", sequence, false).await?;
    }
    b.consumer("S", "reader", json!({})).await?;
    b.consume("S", "reader", 20, |n| (n < 5 || n == 9).then_some("+ACK")).await?;
    b.consumer("S", "idle", json!({ "filter_subject": "s.1" })).await?;

    let mut archive = Archive::read(&archive::dump(&source, &[]));
    archive.put_into_memory("S");
    let backup = archive.clone().file("streams/S/backup.json").clone();
    let Description { config, reported, .. } = Description::from_json(&backup)?;
    let stream = StreamName::new("S")?;
    let sent = archive.clone().file("streams/S/stream.tar.s2").clone();
    let (mut tar, mut natsarc, mut from_tar) = (Vec::new(), Vec::new(), Vec::new());
    snapshot::to_tar(&stream, &config, sent.as_slice(), &mut tar)?;
    snapshot::to_natsarc1(&stream, &reported, sent.as_slice(), &mut natsarc)?;
    snapshot::to_natsarc1(&stream, &reported, tar.as_slice(), &mut from_tar)?;
    for (what, snapshot) in [("tar", tar), ("natsarc", natsarc), ("from a tar", from_tar)] {
        let (mut archive, format) = (archive.clone(), if what == "tar" { "tar" } else { "natsarc1" });
        let (bytes, sha256) = (snapshot.len(), archive::sha256(&snapshot));
        *archive.file("streams/S/stream.tar.s2") = snapshot;
        archive.edit_manifest("S", |entry| {
            (entry["bytes"], entry["sha256"], entry["format"]) = (json!(bytes), json!(sha256), json!(format));
        });
        let archive = archive.with_sums();
        let destination = Server::start(LATEST);
        archive::load(&destination, &[], &archive).expect_code(0);
        let differences = equality::differences(&client, &destination.client().await?, |_| true).await?;
        let (expected, others): (Vec<_>, Vec<_>) =
            differences.into_iter().partition(|text| text.contains("config.storage: \"file\" became"));
        assert_eq!(expected.len(), 1, "{what}: {others:?}");
        // In memory a message takes another number of bytes.
        assert!(others.iter().all(|text| text.starts_with("S: state.bytes: ")), "{what}: {others:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_past_their_time_are_counted() -> Result<()> {
    const TENTH_OF_A_SECOND: u64 = 100_000_000;
    for release in ["2.12.8", "2.14.5", LATEST] {
        let mut archive = Archive::read(&faults::archive_of(&source(release).await?));
        archive.edit("streams/KV_SMALL/backup.json", |backup| {
            backup["config"]["max_age"] = json!(TENTH_OF_A_SECOND);
            backup["config"]["duplicate_window"] = json!(TENTH_OF_A_SECOND);
        });
        let destination = Server::start(release);
        let load = run_with(load(&destination), archive.with_sums()).expect_code(0);
        // How many of the 15 are gone already when the server answers is a matter of time, as it removes them
        // one by one; that the report says so is not. In the end all are.
        let mut reports = (1..=15).map(|n| {
            let messages = if n == 1 { "message" } else { "messages" };
            format!("stream KV_SMALL: {n} {messages} past their time (max_age or TTL) and not restored")
        });
        let told = reports.any(|report| load.stderr.contains(&report));
        assert!(told || load.stderr.is_empty(), "{release}: {}", load.stderr);
        let client = destination.client().await?;
        let mut again = tokio::time::interval(Duration::from_millis(20));
        while api::stream_info(&client, "KV_SMALL").await?["state"]["messages"] != 0 {
            again.tick().await;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_restores_for_real_and_leaves_nothing_behind() -> Result<()> {
    for release in ["2.14.5", LATEST] {
        let archive = faults::archive_of(&source(release).await?);
        let temporary = tempfile::tempdir()?;
        let rehearsal = || {
            let mut load = program("chatto-load");
            load.args(["--rehearse", "-v", "--nats-server"]).arg(binary(release));
            load.env("TMPDIR", temporary.path());
            load
        };
        let good = run_with(rehearsal(), &archive).expect_code(0);
        assert!(good.stderr.contains("1 stream restored and read back"), "{}", good.stderr);
        let mut damaged = archive.clone();
        let at = Archive::read(&archive).entry("streams/KV_SMALL/stream.tar.s2").data_at + 100;
        damaged[at] ^= 1;
        run_with(rehearsal(), &damaged).expect_code(4);
        assert_eq!(temporary.path().read_dir()?.count(), 0);
    }
    Ok(())
}

/// On the server's own release, and on the newest, which stores and sends them in another format.
#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_reads_every_message_back() -> Result<()> {
    for (from, to) in [("2.12.8", "2.12.8"), ("2.14.5", LATEST), (LATEST, LATEST)] {
        let source = Server::start(from);
        let client = source.client().await?;
        let mut b = Builder::new(&client, source.version(), 7).await?;
        b.stream("EVT", json!(["evt.>"]), json!({ "compression": "s2" })).await?;
        for n in 0..300 {
            let headers: &[(&str, &str)] = if n % 2 == 0 { &[] } else { &[("Number", "odd")] };
            let bytes = b.random.bytes(n);
            b.publisher.send(&format!("evt.{}", n % 7), headers, bytes).await?;
        }
        b.consumer("EVT", "mailer", json!({})).await?;
        b.finish().await?;
        // Twenty puts to fifteen keys: five that were replaced.
        faults::small_bucket(&client, source.version(), "SMALL", 1).await?;
        let mut load = program("chatto-load");
        load.args(["--rehearse", "-v", "--nats-server"]).arg(binary(to));
        let load = run_with(load, faults::archive_of(&source)).expect_code(0);
        for said in [
            "stream EVT: read back: 300 messages, each as in the archive",
            "stream KV_SMALL: read back: 15 messages",
        ] {
            assert!(load.stderr.contains(said), "{from} to {to}, {said}:\n{}", load.stderr);
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_without_a_server_says_how_to_name_one() -> Result<()> {
    let mut load = program("chatto-load");
    load.args(["--rehearse", "--nats-server", "/nowhere/nats-server"]);
    let load = run(load).expect_code(1);
    assert!(load.stderr.contains("hint: name one with --nats-server PATH"), "{}", load.stderr);
    Ok(())
}
