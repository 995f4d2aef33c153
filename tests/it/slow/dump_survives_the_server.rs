//! A server, or the link to it, fails in the middle of a `chatto-dump`. The attempt is abandoned and marked so in the archive,
//! another one follows, and the valid one is verified. A stream that fails for good is named, and the rest of the archive is
//! whole.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::support::archive::Archive;
use crate::support::builder::Builder;
use crate::support::cluster::{self, Cluster};
use crate::support::faults::{self, News};
use crate::support::programs::{Finished, program_for, run, run_with, spawn};
use crate::support::proxy::{Fate, Passing, Proxy};
use crate::support::server::{LATEST, Server};
use crate::support::{api, equality};
use anyhow::{Context, Result, ensure};
use async_nats::Client;
use serde_json::{Value as Json, json};

/// One release of each snapshot format.
const FORMATS: [&str; 2] = ["2.14.5", LATEST];

/// Large enough that a dump with a buffer of 8 MiB stops in the middle when nobody reads.
const MIB: usize = 24;

/// When so much of the archive has been read, the large stream is under way.
const UNDER_WAY: usize = 3 << 20;

async fn fill(client: &Client, server: &Server) -> Result<()> {
    faults::small_bucket(client, server.version(), "SMALL", 1).await?;
    faults::large_stream(client, server.version(), "LARGE", MIB, 1).await
}

/// Loads the archive into a new server of the release and compares.
async fn assert_loads_equal(source: &Server, archive: &[u8], release: &str) -> Result<()> {
    let destination = Server::start(release);
    run_with(program_for("chatto-load", &destination), archive).expect_code(0);
    let (source, destination) = (source.client().await?, destination.client().await?);
    let differences = equality::differences(&source, &destination, |_| true).await?;
    assert_eq!(differences, [""; 0], "{release}");
    Ok(())
}

/// The first attempt was abandoned with `reason`, the second one counts.
#[track_caller]
fn assert_second_attempt_counts(dump: &Finished, reason: &str) {
    let mut archive = Archive::read(&dump.stdout);
    let entry = archive.in_manifest("LARGE");
    let abandoned: Json =
        serde_json::from_slice(archive.file("streams/LARGE/attempt-1/abandoned.json")).unwrap();
    assert!(abandoned["reason"].as_str().unwrap().contains(reason), "{abandoned}");
    assert_eq!((&entry["attempt"], &entry["attempts"]), (&json!(2), &json!(2)), "{entry}");
    assert_eq!(entry["error"], Json::Null, "{entry}");
}

/// sha256sum(1) agrees with the archive that tar(1) takes apart.
fn assert_sums_hold(archive: &[u8]) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(dir.path()).args(["-xf", "-"]);
    run_with(tar, archive).expect_code(0);
    let mut sums = Command::new("sha256sum");
    sums.args(["--quiet", "--strict", "-c", "SHA256SUMS"]).current_dir(dir.path().join("backup"));
    run(sums).expect_code(0);
    assert!(Path::new(&dir.path().join("backup/streams/LARGE/attempt-1/abandoned.json")).is_file());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_and_comes_back() -> Result<()> {
    for release in ["2.12.8", "2.14.5", LATEST] {
        let mut server = Server::start(release);
        fill(&server.client().await?, &server).await?;
        let mut dump = spawn(&mut faults::dump(&server, &["-v"]));
        let begin = faults::take(&mut dump, UNDER_WAY);
        server.kill();
        server.start_again();
        let dump = faults::finish(dump, begin).expect_code(0);
        assert!(dump.stderr.contains("stream LARGE: attempt 1: the connection"), "{}", dump.stderr);
        assert_second_attempt_counts(&dump, "the connection to the server was lost");
        assert_sums_hold(&dump.stdout)?;
        assert_loads_equal(&server, &dump.stdout, release).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_for_good() -> Result<()> {
    for release in FORMATS {
        let mut server = Server::start(release);
        let client = server.client().await?;
        fill(&client, &server).await?;
        // Comes after LARGE, whose turn is the largest's.
        faults::large_stream(&client, server.version(), "ZLARGER", MIB + 2, 1).await?;
        let mut dump = spawn(&mut faults::dump(&server, &["--timeout", "10"]));
        let begin = faults::take(&mut dump, UNDER_WAY);
        server.kill();
        let dump = faults::finish(dump, begin).expect_code(3);
        for stream in ["LARGE", "ZLARGER"] {
            assert!(dump.stderr.contains(&format!("error: stream {stream}: ")), "{}", dump.stderr);
        }
        assert!(dump.stderr.contains("2 streams not in the archive"), "{}", dump.stderr);

        let archive = Archive::read(&dump.stdout);
        let entry = archive.in_manifest("LARGE");
        assert!(entry["error"].as_str().unwrap().ends_with("and it does not come back"), "{entry}");
        // Nobody is asked any more when the server is known to be gone.
        let entry = archive.in_manifest("ZLARGER");
        assert!(entry["error"].is_string() && entry["attempts"] == 0, "{entry}");
        assert_sums_hold(&dump.stdout)?;

        // The rest is restored, and what is missing named.
        server.start_again();
        let destination = Server::start(release);
        let load = run_with(program_for("chatto-load", &destination), &dump.stdout).expect_code(3);
        assert!(load.stderr.contains("stream ZLARGER: not in the archive: "), "{}", load.stderr);
        let (source, destination) = (server.client().await?, destination.client().await?);
        let differences = equality::differences(&source, &destination, |name| name == "KV_SMALL").await?;
        assert_eq!(differences, [""; 0], "{release}");
    }
    Ok(())
}

fn through(proxy: &Proxy, mut command: Command) -> Command {
    command.env("CHATTO_NATS_CLIENT_URL", proxy.url());
    command
}

/// Whether this is a full chunk of a snapshot.
fn is_chunk(message: &Passing) -> bool {
    message.reply.starts_with("$JS.SNAPSHOT.ACK.LARGE.")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_link() -> Result<()> {
    a_chunk_meets(Fate::Cut, "the connection to the server was lost").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_chunk() -> Result<()> {
    a_chunk_meets(Fate::Swallow, "chunk 162 came after chunk 160").await
}

async fn a_chunk_meets(fate: Fate, said: &str) -> Result<()> {
    // 10 MiB in. The server sends 5 MiB ahead of the acks, so that more has been taken by then than a
    // dump keeps to itself (2 MiB): the attempt stands in the archive however fast the fault comes.
    const CHUNK: u64 = 160;
    for release in FORMATS {
        let server = Server::start(release);
        fill(&server.client().await?, &server).await?;
        let chunks = AtomicU64::new(0);
        let proxy = Proxy::start(&server, move |message| {
            match is_chunk(message) && chunks.fetch_add(1, Ordering::Relaxed) == CHUNK {
                true => fate,
                false => Fate::Pass,
            }
        })
        .await?;
        let dump = run(through(&proxy, faults::dump(&server, &[]))).expect_code(0);
        assert_second_attempt_counts(&dump, said);
        assert_loads_equal(&server, &dump.stdout, release).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_final_message() -> Result<()> {
    for release in FORMATS {
        let server = Server::start(release);
        fill(&server.client().await?, &server).await?;
        let (under_way, done) = (AtomicBool::new(false), AtomicBool::new(false));
        // The end is empty and has nobody to answer, which the chunk before it has not either.
        let proxy = Proxy::start(&server, move |message| {
            if is_chunk(message) {
                under_way.store(true, Ordering::Relaxed);
            }
            let end = under_way.load(Ordering::Relaxed) && message.reply.is_empty() && message.payload == 0;
            match end && !done.swap(true, Ordering::Relaxed) {
                true => Fate::Swallow,
                false => Fate::Pass,
            }
        })
        .await?;
        let dump = run(through(&proxy, faults::dump(&server, &["--timeout", "10"]))).expect_code(0);
        assert_second_attempt_counts(&dump, "the server sent nothing for 10 s");
        assert_loads_equal(&server, &dump.stdout, release).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_falls_silent() -> Result<()> {
    let server = Server::start(LATEST);
    let client = server.client().await?;
    fill(&client, &server).await?;
    faults::large_stream(&client, server.version(), "ZLARGER", MIB + 2, 1).await?;
    let proxy = Proxy::start(&server, |message| match message.before > 6 << 20 {
        true => Fate::Stall,
        false => Fate::Pass,
    })
    .await?;
    let dump = faults::dump(&server, &["--timeout", "10", "--retries", "1"]);
    let dump = run(through(&proxy, dump)).expect_code(3);
    assert!(dump.stderr.contains("error: stream LARGE: "), "{}", dump.stderr);
    // The connection stands, but a server that answers nothing is as good as gone.
    let entry = Archive::read(&dump.stdout).in_manifest("LARGE");
    assert!(entry["error"].as_str().unwrap().ends_with("and it answers nothing any more"), "{entry}");
    let entry = Archive::read(&dump.stdout).in_manifest("ZLARGER");
    assert!(entry["error"].is_string() && entry["attempts"] == 0, "{entry}");
    assert_sums_hold(&dump.stdout)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_loses_the_streams_leader() -> Result<()> {
    for release in FORMATS {
        let mut cluster = Cluster::start(release).await?;
        let client = cluster.nodes[0].client().await?;
        let mut b = Builder::new(&client, cluster.nodes[0].version(), 1).await?;
        b.stream("LARGE", json!(["large"]), json!({ "num_replicas": 3 })).await?;
        for _ in 0..MIB * 16 {
            let bytes = b.random.bytes(64 << 10);
            b.publisher.send("large", &[], bytes).await?;
        }
        b.publisher.settle().await?;
        b.consumer("LARGE", "reader", json!({})).await?;
        // Until the consumer's leader is known everywhere, nobody answers.
        while let Err(error) = b.consume("LARGE", "reader", 20, |n| (n % 3 != 1).then_some("+ACK")).await {
            ensure!(error.to_string().contains("503) instead of message 0"), error);
        }
        b.finish().await?;
        let info = api::stream_info(&client, "LARGE").await?;
        let leader = info["cluster"]["leader"].as_str().context("a leader")?.to_owned();
        let at = leader.trim_start_matches('n').parse::<usize>()? - 1;

        let mut dump = faults::dump(&cluster.nodes[0], &["-v", "--timeout", "10"]);
        dump.env(
            "CHATTO_NATS_CLIENT_URL",
            cluster.nodes.iter().map(Server::url).collect::<Vec<_>>().join(","),
        );
        let mut dump = spawn(&mut dump);
        let begin = faults::take(&mut dump, UNDER_WAY);
        let elsewhere = cluster.nodes[(at + 1) % 3].client().await?;
        let mut elected = News::of(&elsewhere, "LEADER_ELECTED.LARGE").await?;
        cluster.nodes[at].kill();
        elected.happened().await?;
        let dump = faults::finish(dump, begin).expect_code(0);
        assert!(dump.stderr.contains("stream LARGE: attempt 1: "), "{}", dump.stderr);
        let mut archive = Archive::read(&dump.stdout);
        archive.file("streams/LARGE/attempt-1/abandoned.json");

        // Back into a single server; there its replicas differ, and nothing else.
        let destination = Server::start(release);
        run_with(program_for("chatto-load", &destination), &dump.stdout).expect_code(0);
        cluster::comes_to_equal(&destination, &cluster.nodes[(at + 1) % 3]).await?;
    }
    Ok(())
}
