//! `chatto-keys export` and `import`: keys from one server reach another one byte for byte, also through age(1).

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use crate::support::api;
use crate::support::programs::{Finished, pipeline, program_for, run, run_for_nobody, run_with};
use crate::support::server::{LATEST, RELEASES, Server};
use anyhow::Result;
use async_nats::Client;
use async_nats::jetstream::kv;
use futures_util::TryStreamExt;
use serde_json::Value as Json;

const KEK: &str = "kek.abcdefghijklABCDEFGH0123";
const CALL: &str = "call.e2ee.c1";

type Keys = BTreeMap<String, Vec<u8>>;

fn message(key: u8, algorithm: &str) -> Vec<u8> {
    let length = u8::try_from(algorithm.len()).unwrap();
    [&[0x0a, 32], &[key; 32][..], &[0x12, length], algorithm.as_bytes()].concat()
}

/// The keys that an export holds.
fn exported() -> Keys {
    let kek = message(9, "builtin-xchacha20-poly1305-v1");
    [("user.U1", vec![1; 32]), ("user.U2", vec![0xff; 32]), (KEK, kek)].map(|(k, v)| (k.into(), v)).into()
}

async fn bucket(client: &Client) -> Result<kv::Store> {
    let config = kv::Config {
        bucket: "ENCRYPTION_KEYS".into(),
        description: "KMS key-encryption keys (excluded from backups)".into(),
        history: 1,
        ..kv::Config::default()
    };
    Ok(api::jetstream(client.clone()).create_key_value(config).await?)
}

/// A server with [`exported`] keys, a call key and a deleted one.
async fn source(release: &str) -> Result<Server> {
    let server = Server::start(release);
    let store = bucket(&server.client().await?).await?;
    for (key, value) in exported() {
        store.put(key, value.into()).await?;
    }
    store.put(CALL, message(5, "livekit-call-e2ee-v1").into()).await?;
    store.put("user.GONE", vec![3; 32].into()).await?;
    store.delete("user.GONE").await?;
    Ok(server)
}

async fn keys_of(client: &Client) -> Result<Keys> {
    let store = api::jetstream(client.clone()).get_key_value("ENCRYPTION_KEYS").await?;
    let mut keys = Keys::new();
    for key in store.keys().await?.try_collect::<Vec<_>>().await? {
        let value = store.get(&key).await?.unwrap_or_default();
        keys.insert(key, value.into());
    }
    Ok(keys)
}

fn keys(server: &Server, arguments: &[&str]) -> Command {
    let mut command = program_for("chatto-keys", server);
    command.args(arguments);
    command
}

fn age(arguments: &[&str]) -> Command {
    let mut command = Command::new("age");
    command.args(arguments);
    command
}

#[track_caller]
fn all_well(finished: Vec<Finished>) -> Vec<u8> {
    finished.into_iter().map(|f| f.expect_code(0)).map(|f| f.stdout).next_back().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_back_on_every_release() -> Result<()> {
    for release in ["2.10.26"].iter().chain(&RELEASES) {
        let from = source(release).await?;
        let to = Server::start(release);
        let export = run(keys(&from, &["export"])).expect_code(0);
        assert_eq!(export.stderr, "", "silent on success");
        run_with(keys(&to, &["import"]), &export.stdout).expect_code(0);
        assert_eq!(keys_of(&to.client().await?).await?, exported(), "{release}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_chattos_json() -> Result<()> {
    let from = source(LATEST).await?;
    let export = run(keys(&from, &["export", "-v"])).expect_code(0);
    assert!(export.stderr.contains("3 keys exported; 1 of calls left out"), "{}", export.stderr);
    let json: Json = serde_json::from_slice(&export.stdout)?;
    assert_eq!((&json["version"], &json["key_count"]), (&3.into(), &3.into()));
    let refs: Vec<_> = json["keys"].as_array().unwrap().iter().map(|key| &key["key_ref"]).collect();
    assert_eq!(refs, [KEK, "user.U1", "user.U2"]);
    assert_eq!(json["keys"][1]["key"], "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bucket_is_made_as_a_client_makes_it() -> Result<()> {
    let from = source(LATEST).await?;
    let to = Server::start(LATEST);
    let export = run(keys(&from, &["export"])).expect_code(0);
    run_with(keys(&to, &["import"]), &export.stdout).expect_code(0);
    let config = async |server: &Server| -> Result<Json> {
        let mut info = api::stream_info(&server.client().await?, "KV_ENCRYPTION_KEYS").await?;
        Ok(info["config"].take())
    };
    assert_eq!(config(&from).await?, config(&to).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn age_takes_and_gives_exports() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (identity, armored) = (path("identity"), path("keys.txt"));
    run(with(Command::new("age-keygen"), &["-o", &identity])).expect_code(0);
    let recipient = all_well(vec![run(with(Command::new("age-keygen"), &["-y", &identity]))]);
    let recipient = String::from_utf8(recipient)?.trim().to_string();
    let from = source(LATEST).await?;

    // export | age -r > file; age -d file | import
    let sealed = all_well(pipeline([keys(&from, &["export"]), age(&["-a", "-r", &recipient])]));
    fs::write(&armored, &sealed)?;
    let to = Server::start(LATEST);
    all_well(pipeline([age(&["-d", "-i", &identity, &armored]), keys(&to, &["import"])]));
    assert_eq!(keys_of(&to.client().await?).await?, exported());

    // import opens it by itself
    let to = Server::start(LATEST);
    run(keys(&to, &["import", "-i", &identity, &armored])).expect_code(0);
    assert_eq!(keys_of(&to.client().await?).await?, exported());

    // export -r, -R; age -d
    let list = path("recipients");
    fs::write(&list, format!("# ours\n\n{recipient}\n"))?;
    for arguments in [["export", "-r", &recipient], ["export", "-R", &list]] {
        let json = all_well(pipeline([keys(&from, &arguments), age(&["-d", "-i", &identity])]));
        assert_eq!(serde_json::from_slice::<Json>(&json)?["key_count"], 3);
    }
    Ok(())
}

fn with(mut command: Command, arguments: &[&str]) -> Command {
    command.args(arguments);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tar_of_the_export_is_imported_too() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let from = source(LATEST).await?;
    let tar = run(keys(&from, &["export", "--tar"])).expect_code(0).stdout;
    let archive = dir.path().join("keys.tar");
    fs::write(&archive, &tar)?;
    run(with(Command::new("tar"), &["-C", dir.path().to_str().unwrap(), "-xf", archive.to_str().unwrap()]))
        .expect_code(0);
    let json: Json = serde_json::from_slice(&fs::read(dir.path().join("backup/keys.json"))?)?;
    assert_eq!(json["key_count"], 3);

    let gzip = |input: &[u8]| run_with(Command::new("gzip"), input).expect_code(0).stdout;
    let to = Server::start(LATEST);
    run_with(keys(&to, &["import"]), gzip(&tar)).expect_code(0);
    assert_eq!(keys_of(&to.client().await?).await?, exported());

    let empty =
        run_with(with(Command::new("tar"), &["-cf", "-", "-T", "/dev/null"]), "").expect_code(0).stdout;
    for cut in [&tar[..600], &tar[..1024], &tar[..1500]] {
        run_with(keys(&to, &["import"]), cut).expect_code(4);
    }
    run_with(keys(&to, &["import"]), empty).expect_code(4);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_key_is_named_and_the_others_exported() -> Result<()> {
    let from = source(LATEST).await?;
    let store = bucket(&from.client().await?).await?;
    store.put("user.BAD", "SECRET".into()).await?;
    store.put("space.S1", vec![4; 32].into()).await?;
    let export = run(keys(&from, &["export"])).expect_code(3);
    assert!(export.stderr.contains("key user.BAD: not a key of 32 bytes"), "{}", export.stderr);
    assert!(export.stderr.contains("key space.S1: unknown kind of key"), "{}", export.stderr);
    assert!(!export.stderr.contains("SECRET"), "{}", export.stderr);
    assert_eq!(serde_json::from_slice::<Json>(&export.stdout)?["key_count"], 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_to_export_is_an_error_and_writes_nothing() -> Result<()> {
    let server = Server::start(LATEST);
    let export = run(keys(&server, &["export"])).expect_code(1);
    assert!(export.stderr.contains("there is no bucket ENCRYPTION_KEYS"), "{}", export.stderr);
    let store = bucket(&server.client().await?).await?;
    let export = run(keys(&server, &["export"])).expect_code(1);
    assert!(export.stderr.contains("the server has no keys"), "{}", export.stderr);
    assert_eq!(export.stdout, b"");
    store.put(CALL, message(5, "livekit-call-e2ee-v1").into()).await?;
    let export = run(keys(&server, &["export"])).expect_code(1);
    assert!(export.stderr.contains("but those of 1 calls"), "{}", export.stderr);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_shows_refs_and_kinds_and_no_key() -> Result<()> {
    let from = source(LATEST).await?;
    bucket(&from.client().await?).await?.put("user.BAD", "SECRET".into()).await?;
    let list = run(keys(&from, &["list"])).expect_code(0);
    let expected = format!(
        "{CALL}\tcall\n{KEK}\tkek\nuser.BAD\tinvalid\tnot a key of 32 bytes\nuser.U1\tuser\nuser.U2\tuser\n"
    );
    assert_eq!(String::from_utf8(list.stdout)?, expected);

    run_for_nobody(keys(&from, &["list"])).expect_code(0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_export_changes_nothing() -> Result<()> {
    let to = Server::start(LATEST);
    let good = r#"{"key_ref":"user.U1","key":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="}"#;
    for bad in [
        "".to_string(),
        "not json".into(),
        r#"{"version":9,"keys":[]}"#.into(),
        format!(r#"{{"version":3,"keys":[{good},{{"key_ref":"user.U2","key":"AQ=="}}]}}"#),
        format!(r#"{{"version":3,"key_count":2,"keys":[{good}]}}"#),
        format!(r#"{{"version":3,"keys":[{good}]"#),
    ] {
        let import = run_with(keys(&to, &["import"]), &bad).expect_code(4);
        assert!(import.stderr.starts_with("chatto-keys: error: "), "{}", import.stderr);
    }
    assert_eq!(api::stream_names(&to.client().await?).await?, Vec::<String>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_keys_go_through() -> Result<()> {
    let from = Server::start(LATEST);
    let client = from.client().await?;
    bucket(&client).await?;
    let mut publisher = crate::support::publish::Publisher::new(&client).await?;
    for n in 0..5000u32 {
        let key = [n.to_le_bytes(); 8].concat();
        publisher.send(&format!("$KV.ENCRYPTION_KEYS.user.u{n}"), &[], key).await?;
    }
    publisher.settle().await?;
    let to = Server::start(LATEST);
    all_well(pipeline([keys(&from, &["export"]), keys(&to, &["import"])]));
    let (before, after) = (keys_of(&client).await?, keys_of(&to.client().await?).await?);
    assert_eq!(before.len(), 5000);
    assert!(before == after);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_server_is_status_7() -> Result<()> {
    let mut command = crate::support::programs::program("chatto-keys");
    command.args(["export", "-s", "nats://127.0.0.1:1", "--timeout", "5"]);
    run(command).expect_code(7);
    Ok(())
}
