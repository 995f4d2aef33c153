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
