//! A backup of a cluster can be restored into a single server, and the other way round. Every change of replicas is reported.

use std::time::{Duration, Instant};

use crate::support::archive::{dump, load};
use crate::support::builder::Builder;
use crate::support::cluster::{Cluster, clear};
use crate::support::fixtures::Built;
use crate::support::programs::{program_for, run_with};
use crate::support::server::{LATEST, Server};
use crate::support::{api, equality, fixtures};
use anyhow::Result;
use async_nats::Client;
use serde_json::json;

async fn replicas(client: &Client) -> Result<Vec<u64>> {
    let streams = api::list(client, "STREAM.LIST", "streams").await?;
    let mut replicas: Vec<u64> =
        streams.iter().filter_map(|stream| stream["config"]["num_replicas"].as_u64()).collect();
    replicas.sort_unstable();
    replicas.dedup();
    Ok(replicas)
}

async fn source(release: &str) -> Result<(Server, Built)> {
    let server = Server::start(release);
    let built = fixtures::v0_4(&server.client().await?, server.version(), 12, 100).await?;
    Ok((server, built))
}

/// How long a cluster may take until every consumer has its leader, also on a busy machine.
const SETTLED: Duration = Duration::from_secs(120);

/// Asserts that nothing differs but for what a server of 2.15.1 does to consumers in a cluster, which no
/// client can mend: its snapshot of a replicated stream has no messages that await their
/// acknowledgement (they will be delivered again), and one that it restores sets a consumer that waits
/// for a sequence far ahead back to the stream's end.
///
/// In a cluster, streams and consumers have to find their leaders first, who then count: what differs, or is
/// not answered, must be gone in the end.
async fn equal(source: &Server, destination: &Server, built: &Built) -> Result<()> {
    let (a, b) = (source.client().await?, destination.client().await?);
    let deadline = Instant::now() + SETTLED;
    let mut again = tokio::time::interval(Duration::from_millis(100));
    loop {
        again.tick().await;
        let compared = equality::differences(&a, &b, |name| built.is_kept(name)).await;
        let mut found = compared.unwrap_or_else(|error| vec![format!("{error:#}")]);
        if source.version().to_string() == LATEST {
            let of_servers = ["delivered.", "num_ack_pending:", "num_pending:", "num_redelivered:"];
            found.retain(|text| {
                let field = text.split_once(": consumer ").and_then(|(_, rest)| rest.split_once('.'));
                !field.is_some_and(|(consumer, field)| {
                    of_servers.iter().any(|of_server| field.starts_with(of_server))
                        || (consumer == "late" && field.starts_with("ack_floor."))
                })
            });
        }
        if found.is_empty() || Instant::now() >= deadline {
            assert_eq!(found, Vec::<String>::new());
            return Ok(());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_single_server_to_a_cluster_and_back_on_2_14() -> Result<()> {
    to_a_cluster_and_back("2.14.5").await
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_single_server_to_a_cluster_and_back_on_2_15() -> Result<()> {
    to_a_cluster_and_back(LATEST).await
}

async fn to_a_cluster_and_back(release: &str) -> Result<()> {
    let (source, built) = source(release).await?;
    let cluster = Cluster::start(release).await?;
    let [one, two, three] = &cluster.nodes[..] else { anyhow::bail!("three nodes") };
    let client = one.client().await?;
    let backup = dump(&source, &[]);

    // As the option says.
    let said = load(two, &["--replicas", "3"], &backup).expect_code(0).stderr;
    assert_eq!(said, "chatto-load: 5 streams: replicas 1 in the archive, 3 here\n");
    assert_eq!(replicas(&client).await?, [3]);
    equal(&source, one, &built).await?;

    // A cluster's archive, onto a single server: 1, as there can be no more.
    let from_cluster = dump(three, &[]);
    let single = Server::start(release);
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
    let backup = dump(&source(LATEST).await?.0, &[]);
    let single = Server::start(LATEST);
    let finished = load(&single, &["--replicas", "3"], &backup).expect_code(1);
    for words in ["stream EVT: ", "replicas", "hint: ", "--replicas"] {
        assert!(finished.stderr.contains(words), "no \"{words}\" in:\n{}", finished.stderr);
    }
    assert_eq!(finished.stderr.matches("hint: ").count(), 1, "{}", finished.stderr);
    assert_eq!(api::stream_names(&single.client().await?).await?, Vec::<String>::new());
    Ok(())
}

/// A consumer may ask for replicas of its own, which the option does not change.
#[tokio::test(flavor = "multi_thread")]
async fn too_many_of_a_consumer_for_a_single_server() -> Result<()> {
    for release in ["2.14.5", LATEST] {
        let cluster = Cluster::start(release).await?;
        let client = cluster.nodes[0].client().await?;
        let mut b = Builder::new(&client, cluster.nodes[0].version(), 1).await?;
        b.stream("EVT", json!(["evt.>"]), json!({ "num_replicas": 3 })).await?;
        b.consumer("EVT", "mailer", json!({ "num_replicas": 3 })).await?;
        b.finish().await?;
        let backup = dump(&cluster.nodes[0], &[]);
        let single = Server::start(release);
        let finished = load(&single, &[], &backup).expect_code(1);
        for words in ["stream EVT: ", "hint: consumer \"mailer\" asks for more replicas", "--no-consumers"] {
            assert!(finished.stderr.contains(words), "{release}: no \"{words}\" in:\n{}", finished.stderr);
        }
        assert_eq!(api::stream_names(&single.client().await?).await?, Vec::<String>::new());
    }
    Ok(())
}
