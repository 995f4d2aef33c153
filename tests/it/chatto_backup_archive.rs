//! An archive of `chatto backup` can be loaded: with the manifest first, no index, no sums, compressed with gzip, its entries
//! in any order, and any name of its directory.

use std::process::Command;

use crate::support::archive::{Entry, dump, entries, file, load, pack};
use crate::support::fixtures::Built;
use crate::support::programs::run_with;
use crate::support::server::{LATEST, Server};
use crate::support::{api, equality, fixtures};
use anyhow::{Context, Result};
use serde_json::{Value as Json, json};

/// A server that holds a small Chatto, and its backup as Chatto lays it out, made of the same snapshots.
async fn chatto_backup(release: &str, top: &str) -> Result<(Server, Built, Vec<Entry>)> {
    let server = Server::start(release);
    let built = fixtures::v0_4(&server.client().await?, server.version(), 8, 100).await?;
    let ours = entries(&dump(&server, &[]))?;
    let manifest: Json = serde_json::from_slice(file(&ours, "backup/manifest.json")?)?;

    // Version 1 and nothing else; the number of messages is what the server promised.
    let mut streams = Vec::new();
    let mut files = Vec::new();
    for stream in manifest["streams"].as_array().context("streams")? {
        let name = stream["name"].as_str().context("a name")?;
        let (kind, mut messages) = (&stream["type"], json!(0));
        if kind != "skipped" {
            let dir = format!("streams/{name}");
            let description = file(&ours, &format!("backup/{dir}/backup.json"))?;
            let snapshot = file(&ours, &format!("backup/{dir}/stream.tar.s2"))?;
            messages = serde_json::from_slice::<Json>(description)?["state"]["messages"].take();
            files.push(Entry::new(format!("{top}/{dir}/"), ""));
            files.push(Entry::new(format!("{top}/{dir}/backup.json"), description));
            files.push(Entry::new(format!("{top}/{dir}/stream.tar.s2"), snapshot));
        }
        streams.push(json!({ "name": name, "type": kind, "messages": messages, "bytes": stream["bytes"] }));
    }
    let manifest = json!({
        "version": 1, "created_at": "2026-08-01T02:00:00.123456789+02:00", "streams": streams,
        "stats": manifest["stats"],
    });
    let mut entries = vec![
        Entry::new(format!("{top}/"), ""),
        Entry::new(format!("{top}/manifest.json"), serde_json::to_vec_pretty(&manifest)?),
        Entry::new(format!("{top}/streams/"), ""),
    ];
    entries.append(&mut files);
    Ok((server, built, entries))
}

/// The archive goes into a fresh server, which is then equal to the source.
async fn loads(source: &Server, built: &Built, archive: &[u8]) -> Result<()> {
    let destination = Server::start(&source.version().to_string());
    let finished = load(&destination, &[], archive).expect_code(0);
    assert_eq!(finished.stderr, "");
    let (source, destination) = (source.client().await?, destination.client().await?);
    let found = equality::differences(&source, &destination, |stream| built.is_kept(stream)).await?;
    assert_eq!(found, Vec::<String>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn as_it_is_gzipped() -> Result<()> {
    for release in ["2.14.5", LATEST] {
        let (source, built, entries) = chatto_backup(release, "backup").await?;
        let gzipped = run_with(Command::new("gzip"), pack(&entries)?).expect_code(0).stdout;
        loads(&source, &built, &gzipped).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn unpacked_and_packed_again() -> Result<()> {
    let (source, built, entries) = chatto_backup(LATEST, "backup").await?;
    let mut tar = Command::new("bash");
    let script = "set -euo pipefail; cd $(mktemp -d); tar xf -; tar c backup; rm -r $PWD";
    tar.args(["-c", script]);
    let packed = run_with(tar, pack(&entries)?).expect_code(0).stdout;
    loads(&source, &built, &packed).await
}

#[tokio::test(flavor = "multi_thread")]
async fn descriptions_after_their_snapshots() -> Result<()> {
    let (source, built, mut entries) = chatto_backup(LATEST, "backup").await?;
    entries.sort_by_key(|entry| (entry.path.rsplit('/').nth(1).map(str::to_owned), entry.path.clone()));
    let at = |end: &str| entries.iter().position(|entry| entry.path.ends_with(end)).context("an entry");
    let (a, b) = (at("EVT/backup.json")?, at("EVT/stream.tar.s2")?);
    entries.swap(a, b);
    loads(&source, &built, &pack(&entries)?).await
}

/// The manifest last, the streams backwards, and all descriptions after all snapshots.
#[tokio::test(flavor = "multi_thread")]
async fn all_descriptions_last() -> Result<()> {
    let (source, built, mut entries) = chatto_backup(LATEST, "backup").await?;
    entries.retain(|entry| !entry.path.ends_with('/'));
    entries.reverse();
    entries.sort_by_key(|entry| entry.path.ends_with(".json"));
    loads(&source, &built, &pack(&entries)?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn descriptions_first_and_the_manifest_last() -> Result<()> {
    let (source, built, mut entries) = chatto_backup(LATEST, "backup").await?;
    entries.sort_by_key(|entry| {
        (entry.path.ends_with("/manifest.json"), entry.path.ends_with("/stream.tar.s2"))
    });
    loads(&source, &built, &pack(&entries)?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn under_another_name() -> Result<()> {
    let (source, built, mut entries) = chatto_backup(LATEST, "chatto-2026-08-01").await?;
    // Files that a later release of Chatto may add are none of our business.
    entries.push(Entry::new("chatto-2026-08-01/checksums.txt", "later"));
    loads(&source, &built, &pack(&entries)?).await
}

/// It has no end record; whoever wants to know is told.
#[tokio::test(flavor = "multi_thread")]
async fn without_an_end_record() -> Result<()> {
    let (_source, _, entries) = chatto_backup(LATEST, "backup").await?;
    let destination = Server::start(LATEST);
    let said = load(&destination, &["-v"], &pack(&entries)?).expect_code(0).stderr;
    assert!(said.contains("no end record"), "{said}");
    Ok(())
}

/// Without sums the manifest is what finds a missing stream.
#[tokio::test(flavor = "multi_thread")]
async fn with_a_stream_missing() -> Result<()> {
    let (_source, _, mut entries) = chatto_backup(LATEST, "backup").await?;
    entries.retain(|entry| !entry.path.contains("/NOTIFICATIONS/"));
    let destination = Server::start(LATEST);
    let finished = load(&destination, &[], &pack(&entries)?).expect_code(4);
    assert!(finished.stderr.contains("stream NOTIFICATIONS: the archive lists it"), "{}", finished.stderr);
    Ok(())
}

/// A conflict shows in the manifest, and nothing has changed by then.
#[tokio::test(flavor = "multi_thread")]
async fn with_a_conflict() -> Result<()> {
    let (_source, _, entries) = chatto_backup(LATEST, "backup").await?;
    let destination = Server::start(LATEST);
    let client = destination.client().await?;
    let config = json!({ "name": "NOTIFICATIONS", "subjects": ["notify.>"] });
    api::call(&client, "STREAM.CREATE.NOTIFICATIONS", config).await?;
    let finished = load(&destination, &[], &pack(&entries)?).expect_code(5);
    assert!(finished.stderr.contains("NOTIFICATIONS"), "{}", finished.stderr);
    assert_eq!(api::stream_names(&client).await?, ["NOTIFICATIONS"]);
    Ok(())
}
