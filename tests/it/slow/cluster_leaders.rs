//! The leaders change in the middle of a dump or a load, and no server is lost. The programs go on, or begin again by
//! themselves.

use crate::support::api;
use crate::support::archive::{Archive, load};
use crate::support::cluster::{self, Cluster};
use crate::support::faults::{self, Fed, News, UNDER_WAY};
use crate::support::programs::{program_for, spawn};
use crate::support::server::{LATEST, Server};
use anyhow::Result;
use serde_json::json;

/// One release of each snapshot format.
const FORMATS: [&str; 2] = ["2.14.5", LATEST];

/// A load that is in the middle of the large stream.
fn load_half(cluster: &Cluster, archive: &[u8]) -> Fed {
    let mut command = program_for("chatto-load", &cluster.nodes[0]);
    command.args(["--replicas", "3", "-v"]);
    let mut fed = Fed::spawn(command);
    fed.feed(&archive[..UNDER_WAY + (4 << 20)]);
    fed
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_cluster_in_the_middle_of_a_load() -> Result<()> {
    for release in FORMATS {
        let (source, archive) = faults::source(release, 24).await?;
        let cluster = Cluster::start_with_system(release).await?;
        let system = cluster.system().await?;
        let fed = load_half(&cluster, &archive);
        let leader = cluster.meta_leader_after(&system, None).await?;
        api::call(&system, "META.LEADER.STEPDOWN", json!(null)).await?;
        let rest = archive[UNDER_WAY + (4 << 20)..].to_vec();
        let loading = tokio::task::spawn_blocking(move || fed.finish(&rest));
        cluster.meta_leader_after(&system, Some(leader)).await?;
        loading.await?.expect_code(0);
        cluster::comes_to_equal(&source, &cluster.nodes[1]).await?;
    }
    Ok(())
}

/// Only a stream in memory has a leader, who can be asked to step down, while it is being restored.
#[tokio::test(flavor = "multi_thread")]
async fn of_the_stream_in_the_middle_of_a_load() -> Result<()> {
    let (_, archive) = faults::source(LATEST, 24).await?;
    let mut archive = Archive::read(&archive);
    archive.put_into_memory("LARGE/attempt-1");
    let archive = archive.with_sums();
    let source = Server::start(LATEST);
    load(&source, &[], &archive).expect_code(0);
    let cluster = Cluster::start(LATEST).await?;
    let client = cluster.nodes[1].client().await?;
    let fed = load_half(&cluster, &archive);
    api::call(&client, "STREAM.LEADER.STEPDOWN.LARGE", json!(null)).await?;
    fed.finish(&archive[UNDER_WAY + (4 << 20)..]).expect_code(0);
    cluster::comes_to_equal(&source, &cluster.nodes[1]).await
}

/// The commit has been answered, and the others have not fetched the stream from its leader yet.
#[tokio::test(flavor = "multi_thread")]
async fn of_the_stream_right_after_its_commit() -> Result<()> {
    for release in FORMATS {
        let (source, archive) = faults::source(release, 24).await?;
        let cluster = Cluster::start(release).await?;
        let client = cluster.nodes[1].client().await?;
        let mut elected = News::of(&client, "LEADER_ELECTED.LARGE").await?;
        let fed = load_half(&cluster, &archive);
        let rest = archive[UNDER_WAY + (4 << 20)..].to_vec();
        let loading = tokio::task::spawn_blocking(move || fed.finish(&rest));
        elected.happened().await?;
        api::call(&client, "STREAM.LEADER.STEPDOWN.LARGE", json!(null)).await?;
        loading.await?.expect_code(0);
        cluster::comes_to_equal(&source, &cluster.nodes[1]).await?;
    }
    Ok(())
}

/// The stream's leader steps down while it is being read.
#[tokio::test(flavor = "multi_thread")]
async fn of_the_stream_in_the_middle_of_a_dump() -> Result<()> {
    for release in FORMATS {
        let (source, archive) = faults::source(release, 24).await?;
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
        cluster::comes_to_equal(&source, &single).await?;
    }
    Ok(())
}
