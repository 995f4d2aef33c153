//! A stream's settings are restored, or named. A server that does not know one drops it silently (before 2.12) or refuses the
//! stream.

use std::collections::BTreeSet;

use crate::support::archive::{self, Archive};
use crate::support::builder::Builder;
use crate::support::server::Server;
use crate::support::{api, equality, faults};
use anyhow::Result;
use serde_json::{Value as Json, json};

/// An archive of a server of 2.14 with one stream that uses these settings, one that uses none and one bucket that
/// is not restored.
async fn archive(settings: Json) -> Result<(Server, Archive)> {
    let source = Server::start("2.14.5");
    let client = source.client().await?;
    let mut b = Builder::new(&client, source.version(), 3).await?;
    b.stream("NEW", json!(["new.>"]), settings).await?;
    b.stream("PLAIN", json!(["plain.>"]), json!({})).await?;
    for n in 0..20 {
        b.publisher.send(&format!("new.{n}"), &[], vec![n; 100]).await?;
        b.publisher.send(&format!("plain.{n}"), &[], vec![n; 50]).await?;
    }
    b.consumer("NEW", "mailer", json!({})).await?;
    b.finish().await?;
    let archive = Archive::read(&archive::dump(&source, &[]));
    Ok((source, archive))
}

/// The options that the hint gives.
fn options(stderr: &str) -> Vec<&str> {
    let (_, hint) = stderr.split_once("or without them: ").unwrap_or_else(|| panic!("{stderr}"));
    hint.lines().next().unwrap_or_default().split(' ').collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_older_server_does_not_know_is_refused_and_goes_only_when_told() -> Result<()> {
    let (source, archive) = archive(json!({
        "allow_msg_ttl": true, "subject_delete_marker_ttl": 5_000_000_000_u64, "allow_atomic": true,
        "allow_batched": true,
    }))
    .await?;
    let index = archive::json(&archive.0, "backup/index.json")?;
    assert_eq!(
        archive::stream(&index, "NEW")["settings"],
        json!(["allow_msg_ttl", "subject_delete_marker_ttl", "allow_atomic", "allow_batched"])
    );
    assert!(archive::stream(&index, "PLAIN").get("settings").is_none());
    // One of chatto backup has nothing to tell by before the stream comes.
    let mut blind = archive.clone();
    blind.edit("index.json", |index| {
        for stream in index["streams"].as_array_mut().unwrap() {
            stream.as_object_mut().unwrap().remove("settings");
        }
    });
    let source = source.client().await?;
    for (release, lacking) in [
        ("2.10.26", &["allow_msg_ttl", "subject_delete_marker_ttl", "allow_atomic", "allow_batched"][..]),
        ("2.11.11", &["allow_atomic", "allow_batched"]),
        ("2.12.8", &["allow_batched"]),
    ] {
        let destination = Server::start(release);
        let client = destination.client().await?;
        let refused = archive::load(&destination, &[], &archive.tar()).expect_code(1);
        assert_eq!(api::stream_names(&client).await?, [""; 0], "{release}");
        for setting in lacking {
            assert!(refused.stderr.contains(&format!("{setting} of NEW")), "{release}: {}", refused.stderr);
        }
        let given = options(&refused.stderr);
        let named: BTreeSet<_> = given.iter().filter(|word| **word != "--drop-setting").collect();
        assert_eq!(named, lacking.iter().collect(), "{release}: {given:?}");

        let partial = archive::load(&destination, &[], &blind.with_sums()).expect_code(3);
        assert_eq!(api::stream_names(&client).await?, ["PLAIN"], "{release}");
        let said =
            format!("stream NEW: this server is {release} and does not know its {}", lacking.join(", "));
        assert!(partial.stderr.contains(&said), "{said}:\n{}", partial.stderr);

        let arguments: Vec<&str> = given.into_iter().chain(["--stream", "NEW"]).collect();
        let loaded = archive::load(&destination, &arguments, &archive.tar()).expect_code(0);
        let left_out = loaded.stderr.strip_prefix("chatto-load: stream NEW: ").unwrap_or_default();
        for setting in lacking {
            assert!(left_out.contains(setting), "{release}: {}", loaded.stderr);
        }
        let info = api::stream_info(&client, "NEW").await?;
        assert!(lacking.iter().all(|setting| info["config"].get(setting).is_none()), "{info}");
        // A server before 2.11 keeps what is noted there, and its successor would believe it.
        assert_ne!(info["config"]["metadata"]["_nats.req.level"], "4", "{info}");
        let found = equality::differences(&source, &client, |_| true).await?;
        let of_messages: Vec<_> = found.iter().filter(|line| !line.contains(": config.")).collect();
        assert_eq!(of_messages, [""; 0], "{release}");
    }
    Ok(())
}

/// Also a setting that no list here has yet, as the next release will bring it.
#[tokio::test(flavor = "multi_thread")]
async fn a_setting_that_the_server_did_not_keep_fails_its_stream() -> Result<()> {
    let (_source, mut archive) = archive(json!({ "description": "d" })).await?;
    archive.edit("streams/NEW/backup.json", |backup| backup["config"]["from_the_future"] = json!({ "x": 1 }));
    let archive = archive.with_sums();
    for (release, said) in [
        ("2.11.11", "stream NEW: the server did not keep its from_the_future"),
        ("2.12.8", "from_the_future"),
    ] {
        let destination = Server::start(release);
        let client = destination.client().await?;
        let load = archive::load(&destination, &[], &archive).expect_code(3);
        assert!(load.stderr.contains(said) && load.stderr.contains("--drop-setting"), "{}", load.stderr);
        assert_eq!(api::stream_names(&client).await?, ["PLAIN"], "{release}");

        let arguments = ["--stream", "NEW", "--drop-setting", "from_the_future"];
        let load = archive::load(&destination, &arguments, &archive).expect_code(0);
        assert_eq!(load.stderr, "chatto-load: stream NEW: from_the_future left out\n");
        let state = faults::state_of(&client, "NEW").await?;
        assert_eq!(state.map(|state| state["messages"].clone()), Some(json!(20)), "{release}");
    }
    Ok(())
}

/// Consumers are in the snapshot, and a server before 2.11 restores those of a later one without their settings.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_consumer_asks_for_is_refused_before_its_stream_stands() -> Result<()> {
    let source = Server::start("2.14.5");
    let client = source.client().await?;
    let mut b = Builder::new(&client, source.version(), 4).await?;
    b.stream("JOBS", json!(["jobs.>"]), json!({})).await?;
    b.publisher.send("jobs.1", &[], vec![1; 10]).await?;
    let of_groups = json!({ "priority_groups": ["g"], "priority_policy": "overflow" });
    b.consumer("JOBS", "worker", of_groups).await?;
    b.finish().await?;
    let archive = archive::dump(&source, &[]);
    for (release, knows) in [("2.10.26", false), ("2.11.11", true)] {
        let destination = Server::start(release);
        let client = destination.client().await?;
        let mut arguments = Vec::new();
        let refused;
        if !knows {
            refused = archive::load(&destination, &[], &archive).expect_code(1).stderr;
            assert!(refused.contains("priority_groups of consumer worker"), "{refused}");
            assert_eq!(api::stream_names(&client).await?, [""; 0]);
            arguments = options(&refused);
        }
        archive::load(&destination, &arguments, &archive).expect_code(0);
        let info = api::call(&client, "CONSUMER.INFO.JOBS.worker", Json::Null).await?;
        assert_eq!(info["config"].get("priority_groups").is_some(), knows, "{release}: {info}");
    }
    Ok(())
}
