//! Clusters: every node can be used, a node that retires is replaced by another, and there is a message for things that a
//! cluster cannot do.

use std::time::Duration;

use crate::support::archive::{Archive, dump, load};
use crate::support::cluster::{self, Cluster};
use crate::support::faults;
use crate::support::programs::{program_for, refused, run_with, spawn};
use crate::support::server::{LATEST, Server};
use crate::support::{api, equality};
use anyhow::{Context, Result};
use async_nats::{ConnectOptions, Event};
use chatto_pipes::jetstream::private_server::Options;
use futures_util::StreamExt as _;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

/// One release of each snapshot format.
const FORMATS: [&str; 2] = ["2.14.5", LATEST];

/// Among three there is always one that leads neither the cluster nor the stream.
#[tokio::test(flavor = "multi_thread")]
async fn any_node_will_do() -> Result<()> {
    for release in FORMATS {
        let (source, archive) = faults::source(release, 10).await?;
        let cluster = Cluster::start(release).await?;
        let client = cluster.nodes[0].client().await?;
        for node in &cluster.nodes {
            cluster::clear(&client).await?;
            load(node, &["--replicas", "3"], &archive).expect_code(0);
            for other in &cluster.nodes {
                let single = Server::start(release);
                load(&single, &[], &dump(other, &[])).expect_code(0);
                cluster::comes_to_equal(&source, &single).await?;
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_placement_that_is_not_to_be_had() -> Result<()> {
    for release in FORMATS {
        let source =
            Server::start_with(release, Options { extra: "server_tags: [ssd]".into(), ..Options::default() });
        let client = source.client().await?;
        let placed = json!({ "name": "PLACED", "subjects": ["placed"], "placement": { "tags": ["ssd"] } });
        api::call(&client, "STREAM.CREATE.PLACED", placed).await?;
        faults::small_bucket(&client, source.version(), "SMALL", 1).await?;
        let archive = dump(&source, &[]);

        let cluster = Cluster::start(release).await?;
        let there = cluster.nodes[1].client().await?;
        let finished = load(&cluster.nodes[0], &[], &archive).expect_code(3);
        for words in ["stream PLACED: ", "hint: ", "--no-placement"] {
            assert!(finished.stderr.contains(words), "{release}: no \"{words}\" in:\n{}", finished.stderr);
        }
        assert_eq!(api::stream_names(&there).await?, ["KV_SMALL"]);

        let arguments = ["--conflict", "skip", "--no-placement"];
        let finished = load(&cluster.nodes[2], &arguments, &archive).expect_code(0);
        assert_eq!(finished.stderr, "chatto-load: 1 stream: placement left out\n");
        let info = api::stream_info(&there, "PLACED").await?;
        assert_eq!(info["config"]["placement"], json!(null), "{info}");
        let (a, b) = (source.client().await?, cluster.nodes[0].client().await?);
        let mut found = equality::differences(&a, &b, |_| true).await?;
        found.retain(|text| !text.contains("placement"));
        assert_eq!(found, [""; 0], "{release}");
    }
    Ok(())
}

/// A cluster is looked at some seconds after the restore, when what nobody uses may have gone as it must.
#[tokio::test(flavor = "multi_thread")]
async fn an_ephemeral_consumer_may_expire_before_the_last_look() -> Result<()> {
    let source = Server::start("2.14.5");
    let client = source.client().await?;
    faults::small_bucket(&client, source.version(), "SMALL", 1).await?;
    let lasting = json!({ "durable_name": "lasting", "ack_policy": "explicit" });
    let ephemeral = json!({ "ack_policy": "explicit", "inactive_threshold": 2_000_000_000_u64 });
    let created = json!({ "stream_name": "KV_SMALL", "config": lasting });
    api::call(&client, "CONSUMER.DURABLE.CREATE.KV_SMALL.lasting", created).await?;
    // On a slow machine it may have gone before the dump.
    let archive = loop {
        let created = json!({ "stream_name": "KV_SMALL", "config": ephemeral });
        api::call(&client, "CONSUMER.CREATE.KV_SMALL", created).await?;
        let archive = dump(&source, &[]);
        if Archive::read(&archive).in_manifest("KV_SMALL")["consumers"].as_u64() > Some(1) {
            break archive;
        }
    };
    let cluster = Cluster::start("2.14.5").await?;
    load(&cluster.nodes[0], &["--replicas", "3"], &archive).expect_code(0);
    let there = cluster.nodes[1].client().await?;
    let info = api::call(&there, "CONSUMER.INFO.KV_SMALL.lasting", json!(null)).await?;
    assert_eq!(info["config"]["durable_name"], "lasting");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn more_replicas_than_servers() -> Result<()> {
    for release in FORMATS {
        let (_, archive) = faults::source(release, 10).await?;
        let cluster = Cluster::start(release).await?;
        let refusal = load(&cluster.nodes[0], &["--replicas", "5"], &archive);
        refused(
            refusal,
            1,
            &["stream KV_SMALL: ", "stream LARGE: ", "no suitable peers", "hint: ", "--replicas N"],
        );
        assert_eq!(api::stream_names(&cluster.nodes[1].client().await?).await?, [""; 0]);
    }
    Ok(())
}

/// One server of three cannot decide anything.
#[tokio::test(flavor = "multi_thread")]
async fn too_few_servers_are_left() -> Result<()> {
    for release in FORMATS {
        let (source, archive) = faults::source(release, 10).await?;
        let mut cluster = Cluster::start(release).await?;
        load(&cluster.nodes[0], &["--replicas", "3"], &archive).expect_code(0);
        cluster.nodes[1].kill();
        cluster.nodes[2].kill();
        let client = cluster.nodes[0].client().await?;
        Cluster::knows_no_leader(&client).await;
        for name in ["chatto-dump", "chatto-load"] {
            let mut command = program_for(name, &cluster.nodes[0]);
            command.args(["--timeout", "6"]);
            let refusal = run_with(command, &archive);
            assert!(refusal.stdout.is_empty(), "{release}: {name}");
            refused(refusal, 1, &["(10008)", "hint: ", "more than half of the cluster's servers"]);
        }
        cluster.nodes[1].start_again();
        cluster.nodes[2].start_again();
        cluster.settled().await?;
        cluster::comes_to_equal(&source, &cluster.nodes[0]).await?;
    }
    Ok(())
}

/// A program that comes while the cluster has no leader goes on when there is one. There is no stream, whose leader might
/// be late.
#[tokio::test(flavor = "multi_thread")]
async fn a_dump_waits_for_a_leader() -> Result<()> {
    for release in FORMATS {
        let mut cluster = Cluster::start(release).await?;
        let client = cluster.nodes[0].client().await?;
        cluster.nodes[1].kill();
        cluster.nodes[2].kill();
        Cluster::knows_no_leader(&client).await;
        let mut asked = client.subscribe("$JS.API.INFO").await?;
        client.flush().await?;
        let mut command = faults::dump(&cluster.nodes[0], &["--timeout", "120"]);
        let child = spawn(&mut command);
        assert!(asked.next().await.is_some(), "the connection ended");
        cluster.nodes[1].start_again();
        cluster.nodes[2].start_again();
        faults::finish(child, Vec::new()).expect_code(0);
    }
    Ok(())
}

/// A snapshot to which consumers may have to be added is in memory twice: as it came, and as it goes on. Both together must
/// leave room for what comes while the reader stalls.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stalls_again_and_again() -> Result<()> {
    for release in FORMATS {
        let (_, archive) = faults::source(release, 40).await?;
        let cluster = Cluster::start(release).await?;
        let node = &cluster.nodes[0];
        load(node, &["--replicas", "3"], &archive).expect_code(0);
        let client = node.client().await?;
        let mut acks = client.subscribe("$JS.SNAPSHOT.ACK.LARGE.>").await?;
        client.flush().await?;

        let mut child = spawn(&mut faults::dump(node, &["-v"]));
        let mut begin = Vec::new();
        for _ in 0..2 {
            begin.extend(faults::take(&mut child, 3 << 20));
            // The first ack that was not given for bytes that were taken.
            while let Ok(ack) = tokio::time::timeout(Duration::from_secs(1), acks.next()).await {
                ack.context("the connection ended")?;
            }
            let ack = tokio::time::timeout(Duration::from_secs(60), acks.next()).await;
            ack.context("no ack comes any more")?.context("the connection ended")?;
        }
        let dumped = faults::finish(child, begin).expect_code(0);
        assert!(!dumped.stderr.contains("the reader of the archive has stalled"), "{}", dumped.stderr);
    }
    Ok(())
}

/// A server in lame duck mode sends its clients away, after a grace period of 10 s.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_retires_in_the_middle_of_a_dump() -> Result<()> {
    for release in FORMATS {
        let (source, archive) = faults::source(release, 24).await?;
        let cluster = Cluster::start(release).await?;
        load(&cluster.nodes[0], &["--replicas", "3"], &archive).expect_code(0);
        let retires = &cluster.nodes[cluster.leader_of(&cluster.nodes[0].client().await?, "LARGE").await?];
        let (gone, mut sent_away) = tokio::sync::mpsc::unbounded_channel();
        let options = ConnectOptions::with_token(retires.token().into()).event_callback(move |event| {
            if event == Event::Disconnected {
                let _ = gone.send(());
            }
            std::future::ready(())
        });
        let _client = api::connect_with(options, &retires.url()).await?;

        let mut child = spawn(&mut faults::dump(retires, &["-v"]));
        let begin = faults::take(&mut child, 3 << 20);
        let process = Pid::from_raw(i32::try_from(retires.process_id())?).context("a process")?;
        kill_process(process, Signal::USR2)?;
        sent_away.recv().await.context("it sends its clients away")?;
        let dumped = faults::finish(child, begin).expect_code(0);
        assert!(dumped.stderr.contains("stream LARGE: attempt 1: the connection"), "{}", dumped.stderr);
        let single = Server::start(release);
        load(&single, &[], &dumped.stdout).expect_code(0);
        cluster::comes_to_equal(&source, &single).await?;
    }
    Ok(())
}
