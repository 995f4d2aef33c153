//! The streams that a dump holds and leaves out, the reasons, the order, and the selection by options.

use crate::support::archive::{Entry, dump, entries, json, load, stream};
use crate::support::programs::{program_for, run};
use crate::support::server::{LATEST, Server};
use crate::support::{api, fixtures};
use anyhow::{Context, Result};
use serde_json::{Value as Json, json};

async fn source() -> Result<Server> {
    let server = Server::start(LATEST);
    fixtures::v0_4(&server.client().await?, server.version(), 11, 100).await?;
    Ok(server)
}

/// The streams of an archive, in the order in which they come.
fn order(entries: &[Entry]) -> Vec<&str> {
    let directory = |entry: &'_ &Entry| entry.kind == b'5' && entry.path.matches('/').count() == 3;
    entries.iter().filter(directory).filter_map(|entry| entry.path.split('/').nth(2)).collect()
}

/// What `chatto-dump` holds with these arguments, sorted.
fn held(server: &Server, arguments: &[&str]) -> Result<Vec<String>> {
    let entries = entries(&dump(server, arguments))?;
    let mut names: Vec<String> = order(&entries).into_iter().map(str::to_owned).collect();
    names.sort();
    Ok(names)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_out_is_listed_with_its_reason() -> Result<()> {
    let server = source().await?;
    let entries = entries(&dump(&server, &[]))?;
    let (index, manifest) = (json(&entries, "backup/index.json")?, json(&entries, "backup/manifest.json")?);
    for (name, words) in [
        ("KV_ENCRYPTION_KEYS", "encryption keys"),
        ("KV_AUTH_TOKENS", "session tokens"),
        ("KV_USER_PRESENCE", "ephemeral"),
        ("KV_CALL_STATE", "ephemeral"),
        ("KV_MEMORY_CACHE", "ephemeral"),
        ("KV_LINK_PREVIEW_CACHE", "cache"),
        ("OBJ_ASSET_CACHE", "cache"),
        ("OBJ_ASSET_CACHE_2", "cache"),
        ("SCRATCH", "ephemeral"),
    ] {
        for list in [&index, &manifest] {
            let entry = stream(list, name);
            assert_eq!(entry["type"], "skipped", "{entry}");
            assert!(entry["reason"].as_str().context("no reason")?.contains(words), "{entry}");
        }
    }
    assert_eq!(manifest["stats"]["skipped"], 9);
    assert_eq!(manifest["stats"]["total_streams"], 5);
    assert_eq!(manifest["include_keys"], false);
    for (name, kind) in [("EVT", "stream"), ("KV_RUNTIME_STATE", "kv"), ("OBJ_SERVER_ASSETS", "object_store")]
    {
        assert_eq!(stream(&manifest, name)["type"], kind);
        assert_eq!(stream(&manifest, name)["reason"], Json::Null);
    }
    Ok(())
}

/// Chatto's identity service may share the account; its keys are keys too.
#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_the_identity_service_count_as_keys() -> Result<()> {
    let server = Server::start(LATEST);
    let client = server.client().await?;
    for (name, subject) in [("KV_AUTHLING_KEYS", "$KV.AUTHLING_KEYS.>"), ("EVT", "evt.>")] {
        let config = json!({ "name": name, "subjects": [subject] });
        api::call(&client, &format!("STREAM.CREATE.{name}"), config).await?;
    }
    let without = dump(&server, &[]);
    let manifest = crate::support::archive::manifest(&without)?;
    let reason = stream(&manifest, "KV_AUTHLING_KEYS")["reason"].as_str().context("no reason")?.to_owned();
    assert!(reason.contains("--include-keys"), "{reason}");
    assert_eq!(held(&server, &[])?, ["EVT"]);
    assert_eq!(held(&server, &["--include-keys"])?, ["EVT", "KV_AUTHLING_KEYS"]);
    Ok(())
}

/// The keys' values are nowhere in an archive without them, in any form that they are stored in.
#[tokio::test(flavor = "multi_thread")]
async fn keys_come_only_when_asked_for() -> Result<()> {
    let server = source().await?;
    assert!(!held(&server, &[])?.contains(&"KV_ENCRYPTION_KEYS".into()));
    let entries = entries(&dump(&server, &["--include-keys"]))?;
    assert!(order(&entries).contains(&"KV_ENCRYPTION_KEYS"));
    for list in ["index", "manifest"] {
        let list = json(&entries, &format!("backup/{list}.json"))?;
        assert_eq!(list["include_keys"], true);
        assert_eq!(stream(&list, "KV_ENCRYPTION_KEYS")["type"], "kv");
    }
    // Nothing else comes with them.
    assert_eq!(order(&entries).len(), 6);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn events_first_notifications_last_and_small_before_large() -> Result<()> {
    let server = source().await?;
    for arguments in [&[][..], &["-j", "1"], &["-j", "100"]] {
        let entries = entries(&dump(&server, arguments))?;
        let order = order(&entries);
        assert_eq!((order.first(), order.last()), (Some(&"EVT"), Some(&"NOTIFICATIONS")));
        let index = json(&entries, "backup/index.json")?;
        let bytes: Vec<u64> = order[1..order.len() - 1]
            .iter()
            .filter_map(|name| stream(&index, name)["bytes"].as_u64())
            .collect();
        assert!(bytes.len() == 3 && bytes.is_sorted(), "{order:?}: {bytes:?}");
        let listed = index["streams"].as_array().context("streams")?;
        let listed: Vec<&str> =
            listed.iter().filter(|s| s["type"] != "skipped").filter_map(|s| s["name"].as_str()).collect();
        assert_eq!(listed, order, "the index knows the order");
    }
    Ok(())
}

/// `-n` says what would be done, in columns for awk, and does nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_lists_the_same() -> Result<()> {
    let server = source().await?;
    let mut list = program_for("chatto-dump", &server);
    list.arg("-n");
    let list = String::from_utf8(run(list).expect_code(0).stdout)?;
    let columns: Vec<Vec<&str>> = list.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(columns.len(), 14);
    let archive = entries(&dump(&server, &[]))?;
    let coming: Vec<&str> = columns.iter().filter(|c| c[1] != "skipped").map(|c| c[0]).collect();
    assert_eq!(coming, order(&archive));
    let index = json(&archive, "backup/index.json")?;
    for line in &columns {
        let entry = stream(&index, line[0]);
        assert_eq!(line[1], entry["type"], "{list}");
        assert_eq!(
            (json!(line[2].parse::<u64>()?), json!(line[3].parse::<u64>()?)),
            (entry["messages"].clone(), entry["bytes"].clone())
        );
        assert_eq!(line.get(4).copied(), entry["reason"].as_str(), "{list}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_chosen_by_glob_when_dumped() -> Result<()> {
    let server = source().await?;
    assert_eq!(held(&server, &["--stream", "EVT"])?, ["EVT"]);
    assert_eq!(held(&server, &["--stream", "KV_*", "--stream", "E?T"])?, ["EVT", "KV_RUNTIME_STATE"]);
    assert_eq!(held(&server, &["--exclude", "OBJ_*"])?, ["EVT", "KV_RUNTIME_STATE", "NOTIFICATIONS"]);
    let both = ["--stream", "OBJ_*", "--exclude", "*SNAPSHOTS"];
    assert_eq!(held(&server, &both)?, ["OBJ_SERVER_ASSETS"]);
    // Chatto's policy stands: a glob is no way to the keys.
    let mut keys = program_for("chatto-dump", &server);
    keys.args(["--stream", "KV_ENCRYPTION_KEYS"]);
    let refused = run(keys).expect_code(1);
    let hint = "hint: add --include-keys";
    assert!(refused.stdout.is_empty() && refused.stderr.contains(hint), "{}", refused.stderr);
    // Said too where there is something else to dump.
    let mut both = program_for("chatto-dump", &server);
    both.args(["-n", "--stream", "EVT", "--stream", "KV_ENCRYPTION_KEYS"]);
    let both = run(both).expect_code(0);
    assert!(both.stderr.contains("warning: stream KV_ENCRYPTION_KEYS is chosen"), "{}", both.stderr);
    let mut none = program_for("chatto-dump", &server);
    none.args(["--stream", "NONE"]);
    let none = run(none).expect_code(1);
    assert!(none.stderr.contains("select no stream"), "{}", none.stderr);
    assert_eq!(held(&server, &["--stream", "KV_ENC*", "--include-keys"])?, ["KV_ENCRYPTION_KEYS"]);

    let manifest = crate::support::archive::manifest(&dump(&server, &["--stream", "EVT"]))?;
    let entry = stream(&manifest, "NOTIFICATIONS");
    assert_eq!(entry["type"], "skipped");
    assert!(entry["reason"].as_str().context("a reason")?.contains("--stream"), "{entry}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_chosen_by_glob_when_loaded() -> Result<()> {
    let backup = dump(&source().await?, &[]);
    for (arguments, expected) in [
        (&["--stream", "EVT"][..], &["EVT"][..]),
        (&["--stream", "OBJ_*", "--exclude", "*SNAPSHOTS"], &["OBJ_SERVER_ASSETS"]),
        (&["--exclude", "OBJ_*", "--exclude", "N*"], &["EVT", "KV_RUNTIME_STATE"]),
    ] {
        let destination = Server::start(LATEST);
        let finished = load(&destination, arguments, &backup).expect_code(0);
        assert_eq!(finished.stderr, "");
        let mut names = api::stream_names(&destination.client().await?).await?;
        names.sort();
        assert_eq!(names, expected);
    }
    // What is not chosen is in nobody's way.
    let destination = Server::start(LATEST);
    let client = destination.client().await?;
    let config = json!({ "name": "NOTIFICATIONS", "subjects": ["notify.>"] });
    api::call(&client, "STREAM.CREATE.NOTIFICATIONS", config).await?;
    load(&destination, &["--exclude", "NOTIFICATIONS"], &backup).expect_code(0);
    assert_eq!(api::stream_names(&client).await?.len(), 5);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_consumers() -> Result<()> {
    for release in ["2.14.5", LATEST] {
        let server = Server::start(release);
        let built = fixtures::v0_4(&server.client().await?, server.version(), 11, 100).await?;
        let backup = dump(&server, &["--no-consumers"]);
        assert_eq!(stream(&crate::support::archive::manifest(&backup)?, "EVT")["consumers"], 0);

        let destination = Server::start(release);
        let loaded = load(&destination, &[], &backup);
        assert_eq!((loaded.code, loaded.stderr.as_str()), (Some(0), ""), "{release}");
        let (source, destination) = (server.client().await?, destination.client().await?);
        let found =
            crate::support::equality::differences(&source, &destination, |name| built.is_kept(name)).await?;
        let about_consumers =
            |text: &String| text.contains(": consumer ") || text.contains(".consumer_count");
        assert!(!found.is_empty() && found.iter().all(about_consumers), "{release}: {found:#?}");
        let info = api::stream_info(&destination, "EVT").await?;
        assert_eq!(info["state"]["consumer_count"], 0);
    }
    Ok(())
}
