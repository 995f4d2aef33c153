//! A cluster loses a server in the middle of a load, or right after one. A stream that a load has called restored is there and
//! stays, and a stream that it could not restore is named.

use crate::support::api;
use crate::support::archive::load;
use crate::support::cluster::{self, Cluster};
use crate::support::faults::{self, Fed, UNDER_WAY};
use crate::support::programs::{Finished, program_for, refused};
use crate::support::server::{LATEST, Server};
use anyhow::{Result, bail};
use async_nats::Client;
use serde_json::json;

/// Every stream is there, or was named. What comes to light only after the commit is left there, and said
/// to be; that is cleared away.
async fn assert_honest(finished: &Finished, client: &Client) -> Result<()> {
    let mut failed = 0;
    for stream in ["KV_SMALL", "LARGE"] {
        let is_there = faults::state_of(client, stream).await?.is_some();
        if !finished.stderr.contains(&format!("error: stream {stream}: ")) {
            assert!(is_there, "{stream}: {finished:?}");
            continue;
        }
        failed += 1;
        if is_there {
            let words = "hint: what is there of it was left";
            assert!(finished.stderr.contains(words), "{stream}: {finished:?}");
            api::call(client, &format!("STREAM.DELETE.{stream}"), json!(null)).await?;
        }
    }
    assert_eq!(finished.code, Some([0, 3, 1][failed]), "{finished:?}");
    Ok(())
}

/// Loads what is not there. After a restore that was broken off, 2.14.5 may once more say that it has failed:
/// to whoever asks for the next one, or by removing that; it is named, and another run gets it.
async fn load_the_rest(node: &Server, archive: &[u8]) -> Result<()> {
    let client = node.client().await?;
    for _ in 0..3 {
        let finished = load(node, &["--replicas", "3", "--conflict", "skip"], archive);
        if finished.code == Some(0) {
            return Ok(());
        }
        assert_eq!(node.version().to_string(), "2.14.5", "{}", finished.stderr);
        assert_honest(&finished, &client).await?;
    }
    bail!("three loads have failed")
}

/// Whoever is lost, be it the node that we talk to, the one that restores or a third: the stream is restored
/// whole, or is named and not there; and once the node is back, another run makes the rest of it.
async fn a_node_is_lost_in_the_middle_of_a_load(release: &str) -> Result<()> {
    let (source, archive) = faults::source(release, 24).await?;
    let mut cluster = Cluster::start(release).await?;
    for lost in 0..3 {
        let mut command = program_for("chatto-load", &cluster.nodes[0]);
        command.args(["--replicas", "3"]);
        let mut fed = Fed::spawn(command);
        let (begin, rest) = archive.split_at(UNDER_WAY + (4 << 20));
        fed.feed(begin);
        cluster.nodes[lost].kill();
        let finished = fed.finish(rest);

        // Two of three nodes may take long to agree on anything; what counts is what they come to.
        cluster.nodes[lost].start_again();
        cluster.settled().await?;
        let node = &cluster.nodes[(lost + 1) % 3];
        let client = node.client().await?;
        if finished.code == Some(0) {
            // The third was away to the end.
            let words = "warning: stream LARGE: 2 of its 3 replicas are current";
            assert!(finished.stderr.contains(words), "{release}, node {lost}: {finished:?}");
        }
        assert_honest(&finished, &client).await?;
        load_the_rest(node, &archive).await?;
        cluster::comes_to_equal(&source, node).await?;
        cluster::clear(&client).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_lost_in_the_middle_of_a_load_on_2_14() -> Result<()> {
    a_node_is_lost_in_the_middle_of_a_load("2.14.5").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_lost_in_the_middle_of_a_load_on_2_15() -> Result<()> {
    a_node_is_lost_in_the_middle_of_a_load(LATEST).await
}

/// A snapshot goes to one server of a cluster, and the others fetch the stream from there: a load ends
/// only when they have it.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_restored_outlives_the_server_that_took_it() -> Result<()> {
    for release in ["2.14.5", LATEST] {
        let (source, archive) = faults::source(release, 24).await?;
        let mut cluster = Cluster::start(release).await?;
        load(&cluster.nodes[0], &["--replicas", "3"], &archive).expect_code(0);
        let lost = cluster.leader_of(&cluster.nodes[0].client().await?, "LARGE").await?;
        cluster.nodes[lost].kill();
        cluster::comes_to_equal(&source, &cluster.nodes[(lost + 1) % 3]).await?;
    }
    Ok(())
}

/// A cluster may remove a stream after it has called it restored. When it will cannot be arranged, so
/// somebody else does it here.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_stream_comes_back_when_the_new_one_is_gone_in_the_end() -> Result<()> {
    let (source, archive) = faults::source(LATEST, 24).await?;
    let cluster = Cluster::start(LATEST).await?;
    let node = &cluster.nodes[0];
    let client = node.client().await?;
    faults::small_bucket(&client, node.version(), "SMALL", 2).await?;
    let old = api::stream_info(&client, "KV_SMALL").await?;

    let rescue = tempfile::tempdir()?;
    let mut command = program_for("chatto-load", node);
    command.args(["-v", "--conflict", "overwrite", "--rescue-dir"]).arg(rescue.path());
    let mut fed = Fed::spawn(command);
    let (begin, rest) = archive.split_at(UNDER_WAY);
    fed.feed(begin);
    faults::hear(&mut fed.0, "stream KV_SMALL: 15 messages");
    api::call(&client, "STREAM.DELETE.KV_SMALL", json!(null)).await?;

    let words = ["error: stream KV_SMALL: it is gone after its restore", "KV_SMALL: the old one is back"];
    refused(fed.finish(rest), 3, &words);
    let back = api::stream_info(&client, "KV_SMALL").await?;
    assert_eq!(
        (&back["config"]["description"], &back["state"]),
        (&old["config"]["description"], &old["state"])
    );
    assert_eq!(rescue.path().read_dir()?.count(), 0);
    let large = faults::state_of(&client, "LARGE").await?;
    assert_eq!(large, faults::state_of(&source.client().await?, "LARGE").await?);
    Ok(())
}
