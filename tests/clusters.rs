//! Clusters: any node will do, a node may be lost in the middle of a load, and streams that want to be
//! where nothing is are explained.

mod support;

use std::time::{Duration, Instant};

use anyhow::Result;
use chatto_pipes::jetstream::private_server::Options;
use serde_json::json;
use support::archive::{dump, load};
use support::cluster::Cluster;
use support::faults::{self, Fed, News, UNDER_WAY};
use support::programs::{program_for, run_with, spawn};
use support::server::{LATEST, Server};
use support::{api, equality};

/// How long a cluster may take until every consumer has its leader.
const SETTLED: Duration = Duration::from_secs(30);

/// One release of each snapshot format.
const FORMATS: [&str; 2] = ["2.14.5", LATEST];

async fn source(release: &str, mib: usize) -> Result<(Server, Vec<u8>)> {
    let server = Server::start(release);
    let client = server.client().await?;
    faults::small_bucket(&client, server.version(), "SMALL", 1).await?;
    faults::large_stream(&client, server.version(), "LARGE", mib, 1).await?;
    let archive = faults::archive_of(&server);
    Ok((server, archive))
}

async fn differences(a: &Server, b: &Server) -> Result<Vec<String>> {
    let mut found = equality::differences(&a.client().await?, &b.client().await?, |_| true).await?;
    // In a cluster, 2.15.1 restores consumers as of their acknowledgement floor.
    found.retain(|text| a.version().to_string() != LATEST || !text.starts_with("LARGE: consumer reader."));
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn any_node_will_do() -> Result<()> {
    for release in FORMATS {
        let (source, archive) = source(release, 10).await?;
        let cluster = Cluster::start(release).await?;
        let client = cluster.nodes[0].client().await?;
        for node in &cluster.nodes {
            for name in api::stream_names(&client).await? {
                api::call(&client, &format!("STREAM.DELETE.{name}"), json!(null)).await?;
            }
            load(node, &["--replicas", "3"], &archive).expect_code(0);
            for other in &cluster.nodes {
                let single = Server::start(release);
                load(&single, &[], &dump(other, &[])).expect_code(0);
                assert_eq!(differences(&source, &single).await?, [""; 0], "{release}");
            }
        }
    }
    Ok(())
}

/// The stream's leader steps down while it is being read.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_leaders_in_the_middle_of_a_dump() -> Result<()> {
    for release in FORMATS {
        let (source, archive) = source(release, 24).await?;
        let cluster = Cluster::start(release).await?;
        load(&cluster.nodes[0], &["--replicas", "3"], &archive).expect_code(0);
        let mut child = spawn(&mut faults::dump(&cluster.nodes[0], &["-v"]));
        let begin = faults::take(&mut child, 3 << 20);
        let client = cluster.nodes[1].client().await?;
        let mut elected = News::of(&client, "LEADER_ELECTED.LARGE").await?;
        api::call(&client, "STREAM.LEADER.STEPDOWN.LARGE", json!(null)).await?;
        elected.happened().await?;
        let dumped = faults::finish(child, begin).expect_code(0);
        let single = Server::start(release);
        load(&single, &[], &dumped.stdout).expect_code(0);
        assert_eq!(differences(&source, &single).await?, [""; 0], "{release}:\n{}", dumped.stderr);
    }
    Ok(())
}

/// Whoever is lost, be it the node that we talk to, the one that restores or a third: the stream is restored
/// whole, or is named and not there; and once the node is back, another run makes the rest of it.
async fn a_node_is_lost_in_the_middle_of_a_load(release: &str) -> Result<()> {
    let (source, archive) = source(release, 24).await?;
    let mut cluster = Cluster::start(release).await?;
    for lost in 0..3 {
        let load = |connected: usize, arguments: &[&str], cluster: &Cluster| {
            let mut command = program_for("chatto-load", &cluster.nodes[connected]);
            command.args(["--replicas", "3"]).args(arguments);
            command
        };
        let mut fed = Fed::spawn(load(0, &[], &cluster));
        let (begin, rest) = archive.split_at(UNDER_WAY + (4 << 20));
        fed.feed(begin);
        cluster.nodes[lost].kill();
        let finished = fed.finish(rest);

        // Two of three nodes may take long to agree on anything; what counts is what they come to.
        cluster.nodes[lost].start_again();
        cluster.settled().await?;
        let node = &cluster.nodes[(lost + 1) % 3];
        let client = node.client().await?;
        let state = faults::state_of(&client, "LARGE").await?;
        match finished.code {
            Some(0) => {}
            Some(3) => {
                assert!(finished.stderr.contains("error: stream LARGE: "), "{}", finished.stderr);
                assert!(state.is_none(), "{release}: {state:?} is left:\n{}", finished.stderr);
            }
            _ => anyhow::bail!("{release}, node {lost}: {finished:?}"),
        }
        // After a restore that was broken off, 2.14.5 may once create the stream and take no chunks for it.
        let again = || run_with(load((lost + 1) % 3, &["--conflict", "skip"], &cluster), &archive);
        let second = again();
        if second.code != Some(0) {
            let words = "it names no subject for the chunks";
            assert!(second.code == Some(3) && second.stderr.contains(words), "{}", second.stderr);
            assert!(faults::state_of(&client, "LARGE").await?.is_none(), "{}", second.stderr);
            again().expect_code(0);
        }
        // Every stream and consumer has to find its leader, whose word counts.
        let deadline = Instant::now() + SETTLED;
        loop {
            api::list(&client, "STREAM.LIST", "streams").await?;
            let found = differences(&source, node).await?;
            if found.is_empty() || Instant::now() >= deadline {
                assert_eq!(found, [""; 0], "{release}");
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        for name in api::stream_names(&client).await? {
            api::call(&client, &format!("STREAM.DELETE.{name}"), json!(null)).await?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_lost_in_the_middle_of_a_load_on_2_15() -> Result<()> {
    a_node_is_lost_in_the_middle_of_a_load(LATEST).await
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
        let mut found = differences(&source, &cluster.nodes[0]).await?;
        found.retain(|text| !text.contains("placement"));
        assert_eq!(found, [""; 0], "{release}");
    }
    Ok(())
}
