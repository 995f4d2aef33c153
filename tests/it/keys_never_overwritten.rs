//! An import never overwrites a key, even if somebody else writes at the same time.

use std::collections::BTreeMap;
use std::ops::Range;
use std::process::{Command, Stdio};

use crate::support::programs::{finish, program_for, run_with, spawn};
use crate::support::server::{LATEST, Server};
use anyhow::Result;
use async_nats::Client;
use async_nats::jetstream::kv::{self, CreateErrorKind};
use futures_util::StreamExt as _;

const KEYS: usize = 400;

async fn bucket(client: &Client) -> Result<kv::Store> {
    let config = kv::Config { bucket: "ENCRYPTION_KEYS".into(), history: 1, ..kv::Config::default() };
    Ok(crate::support::api::jetstream(client.clone()).create_key_value(config).await?)
}

/// An export of `count` user keys, each of 32 times `fill`.
fn export(count: usize, fill: u8) -> String {
    use base64::prelude::{BASE64_STANDARD, Engine};
    let key = BASE64_STANDARD.encode([fill; 32]);
    let keys: Vec<_> = (0..count).map(|n| format!(r#"{{"key_ref":"user.u{n}","key":"{key}"}}"#)).collect();
    format!(r#"{{"version":3,"key_count":{count},"keys":[{}]}}"#, keys.join(","))
}

fn import(server: &Server) -> Command {
    let mut command = program_for("chatto-keys", server);
    command.args(["import", "-v"]);
    command
}

async fn fills(store: &kv::Store, count: usize) -> Result<Vec<u8>> {
    let mut fills = Vec::new();
    for n in 0..count {
        let value = store.get(format!("user.u{n}")).await?.unwrap();
        assert_eq!(value.as_ref(), [value[0]; 32], "user.u{n} is torn");
        fills.push(value[0]);
    }
    Ok(fills)
}

/// How often anything was ever written into the bucket.
async fn last_sequence(server: &Server) -> Result<u64> {
    let info = crate::support::api::stream_info(&server.client().await?, "KV_ENCRYPTION_KEYS").await?;
    Ok(info["state"]["last_seq"].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_another_value_stays_and_is_named() -> Result<()> {
    let server = Server::start(LATEST);
    let store = bucket(&server.client().await?).await?;
    store.put("user.u1", vec![9; 32].into()).await?;
    let first = run_with(import(&server), export(3, 1)).expect_code(3);
    assert!(first.stderr.contains("key user.u1: the server has another value"), "{}", first.stderr);
    assert!(first.stderr.contains("2 keys imported, 0 already there, 1 different"), "{}", first.stderr);
    assert_eq!(fills(&store, 3).await?, [1, 9, 1]);

    let again = run_with(import(&server), export(3, 1)).expect_code(3);
    assert!(again.stderr.contains("0 keys imported, 2 already there, 1 different"), "{}", again.stderr);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_writes_nothing() -> Result<()> {
    let server = Server::start(LATEST);
    run_with(import(&server), export(5, 1)).expect_code(0);
    let before = last_sequence(&server).await?;
    let again = run_with(import(&server), export(5, 1)).expect_code(0);
    assert!(again.stderr.contains("0 keys imported, 5 already there"), "{}", again.stderr);
    assert_eq!(before, 5);
    assert_eq!(last_sequence(&server).await?, before);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_or_purged_key_can_come_back() -> Result<()> {
    let server = Server::start(LATEST);
    let store = bucket(&server.client().await?).await?;
    for n in 0..2 {
        store.put(format!("user.u{n}"), vec![9; 32].into()).await?;
    }
    store.delete("user.u0").await?;
    store.purge("user.u1").await?;
    run_with(import(&server), export(2, 1)).expect_code(0);
    assert_eq!(fills(&store, 2).await?, [1, 1]);
    Ok(())
}

/// Several imports that disagree, at once: each key has one winner, and every loser says so.
#[tokio::test(flavor = "multi_thread")]
async fn imports_at_once_do_not_overwrite_each_other() -> Result<()> {
    let server = Server::start(LATEST);
    let children: Vec<_> = [1, 2, 3]
        .map(|fill| {
            let mut child = spawn(import(&server).stdin(Stdio::piped()).stdout(Stdio::null()));
            let mut stdin = child.stdin.take().unwrap();
            std::thread::spawn(move || std::io::Write::write_all(&mut stdin, export(KEYS, fill).as_bytes()));
            child
        })
        .into_iter()
        .collect();
    let mut imported = BTreeMap::new();
    let mut different = 0;
    for (fill, child) in (1u8..).zip(children) {
        let finished = finish(child);
        assert!(matches!(finished.code, Some(0 | 3)), "{}", finished.stderr);
        for line in finished.stderr.lines() {
            if let Some(key) = line.strip_suffix(": imported") {
                let key = key.rsplit(' ').next().unwrap().to_string();
                assert_eq!(imported.insert(key, fill), None, "imported twice: {line}");
            }
            different += usize::from(line.contains("the server has another value"));
        }
    }
    assert_eq!((imported.len(), different), (KEYS, 2 * KEYS));
    let jetstream = crate::support::api::jetstream(server.client().await?);
    let store = jetstream.get_key_value("ENCRYPTION_KEYS").await?;
    for (n, fill) in fills(&store, KEYS).await?.into_iter().enumerate() {
        assert_eq!(imported[&format!("user.u{n}")], fill);
    }
    // One revision a key was all that was ever written.
    assert_eq!(last_sequence(&server).await?, KEYS as u64);
    Ok(())
}

/// A server that creates keys while they are imported, as Chatto does for new users: half of them before the
/// import has written anything, and the others when it has begun.
#[tokio::test(flavor = "multi_thread")]
async fn keys_created_meanwhile_stay() -> Result<()> {
    let server = Server::start(LATEST);
    let store = bucket(&server.client().await?).await?;
    let mut created = create(&store, KEYS / 2..KEYS).await?;
    let mut first = store.watch("user.u0").await?;
    let others = tokio::spawn({
        let store = store.clone();
        async move {
            first.next().await;
            create(&store, 0..KEYS / 2).await
        }
    });
    let import = tokio::task::block_in_place(|| run_with(import(&server), export(KEYS, 1)));
    assert_eq!(import.code, Some(3), "{}", import.stderr);
    created.extend(others.await??);
    for (n, fill) in fills(&store, KEYS).await?.into_iter().enumerate() {
        assert_eq!(fill, if created.contains(&n) { 9 } else { 1 }, "user.u{n}");
    }
    assert_eq!(last_sequence(&server).await?, KEYS as u64);
    Ok(())
}

/// Creates those keys that are not there, from the last to the first: an import goes the other way, and the
/// two meet.
async fn create(store: &kv::Store, keys: Range<usize>) -> Result<Vec<usize>> {
    let mut created = Vec::new();
    for n in keys.rev() {
        match store.create(format!("user.u{n}"), vec![9; 32].into()).await {
            Ok(_) => created.push(n),
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(created)
}
