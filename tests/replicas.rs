//! A backup of a cluster restores onto a single server and the other way round; every change of
//! replicas is reported.

mod support;

use anyhow::Result;
use async_nats::Client;
use serde_json::json;
use support::archive::{dump, load};
use support::cluster::Cluster;
use support::fixtures::Built;
use support::programs::{program_for, run_with};
use support::server::{LATEST, Server};
use support::{api, equality, fixtures};

async fn replicas(client: &Client) -> Result<Vec<u64>> {
    let streams = api::list(client, "STREAM.LIST", "streams").await?;
    let mut replicas: Vec<u64> =
        streams.iter().filter_map(|stream| stream["config"]["num_replicas"].as_u64()).collect();
    replicas.sort_unstable();
    replicas.dedup();
    Ok(replicas)
}

async fn source() -> Result<(Server, Built)> {
    let server = Server::start(LATEST);
    let client = server.client().await?;
    let built = fixtures::v0_4(&client, server.version(), 12, 100).await?;
    // A consumer that waits for a sequence far ahead: a cluster of 2.15.1 that restores its stream sets
    // it back to the stream's end.
    api::call(&client, "CONSUMER.DELETE.EVT.late", json!(null)).await?;
    Ok((server, built))
}

async fn equal(source: &Server, destination: &Server, built: &Built) -> Result<()> {
    let (source, destination) = (source.client().await?, destination.client().await?);
    let found = equality::differences(&source, &destination, |name| built.is_kept(name)).await?;
    assert_eq!(found, Vec::<String>::new());
    Ok(())
}

/// Empties a cluster for the next restore.
async fn clear(client: &Client) -> Result<()> {
    for name in api::stream_names(client).await? {
        api::call(client, &format!("STREAM.DELETE.{name}"), json!(null)).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_single_server_to_a_cluster_and_back() -> Result<()> {
    let (source, built) = source().await?;
    let cluster = Cluster::start(LATEST).await?;
    let [one, two, three] = &cluster.nodes[..] else { panic!("three nodes") };
    let client = one.client().await?;
    let backup = dump(&source, &[]);

    // As the option says.
    let said = load(two, &["--replicas", "3"], &backup).expect_code(0).stderr;
    assert_eq!(said, "chatto-load: 5 streams: replicas 1 in the archive, 3 here\n");
    assert_eq!(replicas(&client).await?, [3]);
    equal(&source, one, &built).await?;

    // A cluster's archive, onto a single server: 1, as there can be no more.
    let from_cluster = dump(three, &[]);
    let single = Server::start(LATEST);
    let said = load(&single, &[], &from_cluster).expect_code(0).stderr;
    assert_eq!(said, "chatto-load: 5 streams: replicas 3 in the archive, 1 here\n");
    assert_eq!(replicas(&single.client().await?).await?, [1]);
    equal(&source, &single, &built).await?;

    // Onto a cluster: as it was, and nothing to report.
    clear(&client).await?;
    let said = load(three, &[], &from_cluster).expect_code(0).stderr;
    assert_eq!(said, "");
    assert_eq!(replicas(&client).await?, [3]);
    equal(&source, two, &built).await?;

    // As the configuration says, unless an option does.
    clear(&client).await?;
    let mut configured = program_for("chatto-load", one);
    configured.env("CHATTO_NATS_REPLICAS", "3");
    let said = run_with(configured, &backup).expect_code(0).stderr;
    assert_eq!(said, "chatto-load: 5 streams: replicas 1 in the archive, 3 here\n");
    assert_eq!(replicas(&client).await?, [3]);
    equal(&source, three, &built).await?;
    clear(&client).await?;
    let mut overridden = program_for("chatto-load", one);
    overridden.env("CHATTO_NATS_REPLICAS", "3").args(["--replicas", "1"]);
    assert_eq!(run_with(overridden, &backup).expect_code(0).stderr, "");
    assert_eq!(replicas(&client).await?, [1]);
    equal(&source, three, &built).await
}

/// A single server cannot hold three replicas: the hint says what to do, and nothing is left behind.
#[tokio::test(flavor = "multi_thread")]
async fn too_many_for_a_single_server() -> Result<()> {
    let backup = dump(&source().await?.0, &[]);
    let single = Server::start(LATEST);
    let finished = load(&single, &["--replicas", "3"], &backup).expect_code(1);
    for words in ["stream EVT: ", "replicas", "hint: ", "--replicas"] {
        assert!(finished.stderr.contains(words), "no \"{words}\" in:\n{}", finished.stderr);
    }
    assert_eq!(finished.stderr.matches("hint: ").count(), 1, "{}", finished.stderr);
    assert_eq!(api::stream_names(&single.client().await?).await?, Vec::<String>::new());
    Ok(())
}
