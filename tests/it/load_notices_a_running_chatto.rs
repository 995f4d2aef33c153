//! `chatto-load` changes nothing while somebody waits on a consumer at the destination, even if the archive does not hold that
//! stream.

use std::process::Command;
use std::time::Duration;

use crate::support::programs::{program_for, run_with};
use crate::support::server::{RELEASES, Server};
use crate::support::{api, faults};
use anyhow::{Result, ensure};
use async_nats::{Client, Subscriber};
use serde_json::{Value as Json, json};
use tokio::time::timeout;

/// Minutes that no test takes, in nanoseconds.
const LONG: u64 = 600_000_000_000;

/// A destination with a stream that the archive does not hold, and the archive of `KV_SMALL`.
async fn scene(release: &str) -> Result<(Server, Client, Vec<u8>)> {
    let (source, destination) = (Server::start(release), Server::start(release));
    faults::small_bucket(&source.client().await?, source.version(), "SMALL", 1).await?;
    let client = destination.client().await?;
    api::call(&client, "STREAM.CREATE.EVT", json!({ "name": "EVT", "subjects": ["evt.>"] })).await?;
    Ok((destination, client, faults::archive_of(&source)))
}

fn load(destination: &Server, arguments: &[&str]) -> Command {
    let mut command = program_for("chatto-load", destination);
    command.args(arguments);
    command
}

/// Asks until the consumer is as it ought to become.
async fn until(client: &Client, consumer: &str, is: impl Fn(&Json) -> bool) -> Result<()> {
    let request = format!("CONSUMER.INFO.EVT.{consumer}");
    timeout(Duration::from_secs(60), async {
        while !is(&api::call(client, &request, json!(null)).await?) {}
        Ok(())
    })
    .await?
}

/// Somebody waits: nothing but `--force` loads. Nobody does: everything loads.
async fn noticed(
    destination: &Server,
    archive: &[u8],
    chatto: (Client, Subscriber),
    consumer: &str,
) -> Result<()> {
    let client = destination.client().await?;
    for arguments in [&[][..], &["--conflict", "skip"], &["--conflict", "overwrite"], &["-n"]] {
        let refusal = run_with(load(destination, arguments), archive).expect_code(1);
        let said = format!("clients wait on 1 consumer: {consumer} of stream EVT");
        assert!(refusal.stderr.contains(&said), "{}", refusal.stderr);
        assert!(refusal.stderr.contains("hint: stop Chatto, or give --force"), "{}", refusal.stderr);
        ensure!(faults::state_of(&client, "KV_SMALL").await?.is_none(), "something was restored");
    }
    run_with(load(destination, &["--force"]), archive).expect_code(0);
    // A connection that ends takes its requests and subscriptions with it, when the server has seen it.
    drop(chatto);
    until(&client, consumer, |info| info["num_waiting"] == 0 && info["push_bound"] != true).await?;
    run_with(load(destination, &["--conflict", "overwrite"]), archive).expect_code(0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_waits() -> Result<()> {
    for release in RELEASES {
        let (destination, client, archive) = scene(release).await?;
        let durable = json!({ "durable_name": "projector", "ack_policy": "explicit" });
        let create = json!({ "stream_name": "EVT", "config": durable });
        api::call(&client, "CONSUMER.DURABLE.CREATE.EVT.projector", create).await?;
        // A consumer that nobody waits on is no obstacle.
        run_with(load(&destination, &["-n"]), &archive).expect_code(0);
        let chatto = destination.client().await?;
        let inbox = chatto.new_inbox();
        let answers = chatto.subscribe(inbox.clone()).await?;
        let pull = json!({ "batch": 1, "expires": LONG }).to_string();
        chatto.publish_with_reply("$JS.API.CONSUMER.MSG.NEXT.EVT.projector", inbox, pull.into()).await?;
        until(&client, "projector", |info| info["num_waiting"] == 1).await?;
        noticed(&destination, &archive, (chatto, answers), "projector").await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_is_listened_to() -> Result<()> {
    for release in RELEASES {
        let (destination, client, archive) = scene(release).await?;
        let durable =
            json!({ "durable_name": "watcher", "ack_policy": "none", "deliver_subject": "watched.here" });
        let create = json!({ "stream_name": "EVT", "config": durable });
        api::call(&client, "CONSUMER.DURABLE.CREATE.EVT.watcher", create).await?;
        run_with(load(&destination, &["-n"]), &archive).expect_code(0);
        let chatto = destination.client().await?;
        let pushed = chatto.subscribe("watched.here").await?;
        until(&client, "watcher", |info| info["push_bound"] == true).await?;
        noticed(&destination, &archive, (chatto, pushed), "watcher").await?;
    }
    Ok(())
}
