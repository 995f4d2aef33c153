//! `chatto-keys verify` and `import -n` test an export, without a server and against one, and change nothing. Chatto v0.0.x
//! reads the output of `export --format-version 2`; an export that it cannot hold is refused.

use std::fs;
use std::process::Command;

use crate::support::api;
use crate::support::programs::{Finished, program, program_for, refused, run, run_with};
use crate::support::server::{LATEST, Server};
use anyhow::Result;
use async_nats::jetstream::kv;
use serde_json::Value as Json;

/// What the real programs wrote, see its README. The passphrase of the key export is `correct horse`.
const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/peers");

/// The key whose bytes are all 1, and one whose bytes are all 2.
const ONE: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const TWO: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";
const KEK: &str = "kek.abcdefghijklABCDEFGH0123";

fn verify(arguments: &[&str], input: impl AsRef<[u8]>) -> Finished {
    let mut command = program("chatto-keys");
    command.arg("verify").args(arguments);
    run_with(command, input.as_ref())
}

fn said(finished: Finished) -> String {
    assert_eq!(finished.stderr, "");
    String::from_utf8(finished.stdout).unwrap()
}

#[test]
fn an_export_of_chattos_is_sound_and_one_that_was_cut_is_not() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let pass = dir.path().join("pass");
    fs::write(&pass, "correct horse\n")?;
    run(with(Command::new("chmod"), &["600", pass.to_str().unwrap()])).expect_code(0);
    let open = ["--passphrase-file", pass.to_str().unwrap()];
    let chattos = format!("{PEERS}/chatto-keys.age");
    let sound = verify(&[&open[..], &[&chattos]].concat(), "").expect_code(0);
    assert_eq!(said(sound), "sound: 6 keys (3 user, 3 kek), version 3\n");
    let whole = fs::read(&chattos)?;
    refused(verify(&open, &whole[..whole.len() - 1]), 4, &["age layer is"]);
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    refused(verify(&open, &flipped), 4, &["age layer is"]);
    fs::write(&pass, "wrong\n")?;
    verify(&open, &whole).expect_code(6);
    Ok(())
}

fn with(mut command: Command, arguments: &[&str]) -> Command {
    command.args(arguments);
    command
}

#[test]
fn each_record_and_the_count_are_checked() {
    let good = format!(r#"{{"key_ref":"user.U1","key":"{ONE}"}}"#);
    let call = r#"{"key_ref":"call.e2ee.C","key":"AA=="}"#;
    let json = format!(r#"{{"version":3,"key_count":2,"keys":[{good},{call}]}}"#);
    let sound = "sound: 1 key (1 user), version 3; an import skips 1 call\n";
    assert_eq!(said(verify(&[], &json).expect_code(0)), sound);
    let gzipped = run_with(Command::new("gzip"), json.as_bytes()).expect_code(0).stdout;
    assert_eq!(said(verify(&["-"], gzipped).expect_code(0)), sound);
    for (bad, words) in [
        (json.replace(r#""key_count":2"#, r#""key_count":3"#), "holds 2 keys and says 3"),
        (json.replace(ONE, "AQ=="), "key 1 of the export (user.U1): not a key of 32 bytes"),
        (json.replace("user.U1", "space.S"), "unknown kind of key"),
        (json.replace(r#""version":3"#, r#""version":4"#), "version 4"),
        (format!(r#"{{"version":3,"keys":[{call}]}}"#), "no key that an import would take"),
        (json[..json.len() - 1].to_owned(), "not a key export"),
        (String::new(), "not a key export"),
    ] {
        refused(verify(&[], &bad), 4, &[words, "make another export"]);
    }
    let backup = fs::read(format!("{PEERS}/chatto-backup.tar.gz")).unwrap();
    refused(verify(&[], backup), 4, &["holds no keys.json", "chatto-manifest verify"]);
}

async fn bucket(server: &Server) -> Result<kv::Store> {
    let config = kv::Config { bucket: "ENCRYPTION_KEYS".into(), history: 1, ..kv::Config::default() };
    Ok(api::jetstream(server.client().await?).create_key_value(config).await?)
}

fn keys(server: &Server, arguments: &[&str]) -> Command {
    with(program_for("chatto-keys", server), arguments)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_of_an_import_says_what_it_would_do_and_does_nothing() -> Result<()> {
    let server = Server::start(LATEST);
    let export = format!(
        r#"{{"version":3,"keys":[{{"key_ref":"user.U1","key":"{ONE}"}},{{"key_ref":"user.U2","key":"{ONE}"}},{{"key_ref":"user.U3","key":"{ONE}"}}]}}"#
    );
    let new = run_with(keys(&server, &["import", "-nv"]), export.as_bytes()).expect_code(0);
    for words in ["bucket ENCRYPTION_KEYS would be made", "3 keys would be imported, 0 already there"] {
        assert!(new.stderr.contains(words), "{}", new.stderr);
    }
    assert_eq!(api::stream_names(&server.client().await?).await?, Vec::<String>::new());

    let store = bucket(&server).await?;
    store.put("user.U1", vec![1; 32].into()).await?;
    store.put("user.U2", vec![2; 32].into()).await?;
    let other = run_with(keys(&server, &["import", "-nv"]), export.as_bytes()).expect_code(3);
    for words in [
        "1 key would be imported, 1 already there, 1 different",
        "key user.U2: the server has another value for it",
        "1 key would not be imported",
    ] {
        assert!(other.stderr.contains(words), "{}", other.stderr);
    }
    assert!(store.get("user.U3").await?.is_none());
    // It fails as the import itself would.
    run_with(keys(&server, &["import", "-n"]), "rubbish").expect_code(4);
    let mut nowhere = program("chatto-keys");
    nowhere.args(["import", "-n", "-s", "nats://127.0.0.1:1", "--timeout", "5"]);
    run_with(nowhere, export.as_bytes()).expect_code(7);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn version_2_holds_user_keys_and_is_refused_where_there_are_others() -> Result<()> {
    let from = Server::start(LATEST);
    let store = bucket(&from).await?;
    store.put("user.U1", vec![1; 32].into()).await?;
    store.put("user.U2", vec![2; 32].into()).await?;
    store.put("call.e2ee.C", "of a call".into()).await?;
    let export = run(keys(&from, &["export", "--format-version", "2"])).expect_code(0);
    assert_eq!(export.stderr, "", "silent on success");
    let mut json: Json = serde_json::from_slice(&export.stdout)?;
    assert!(json["created_at"].take().is_string());
    let expected = serde_json::json!({
        "version": 2,
        "created_at": null,
        "key_count": 2,
        "keys": [{ "user_id": "U1", "key": ONE }, { "user_id": "U2", "key": TWO }],
    });
    assert_eq!(json, expected);
    assert_eq!(said(verify(&[], &export.stdout).expect_code(0)), "sound: 2 keys (2 user), version 2\n");
    let to = Server::start(LATEST);
    run_with(keys(&to, &["import"]), &export.stdout).expect_code(0);
    let refs = said(run(keys(&to, &["list"])).expect_code(0));
    assert_eq!(refs, "user.U1\tuser\nuser.U2\tuser\n");

    store.put(KEK, vec![9; 32].into()).await?;
    let other = run(keys(&from, &["export", "--format-version", "2"]));
    assert_eq!(other.stdout, b"");
    refused(other, 1, &[KEK, "leave --format-version out"]);
    for wrong in ["1", "4", "two"] {
        run(keys(&from, &["export", "--format-version", wrong])).expect_code(2);
    }
    Ok(())
}

/// Said where somebody reads it: at a terminal, and with `-v`.
#[tokio::test(flavor = "multi_thread")]
async fn plaintext_that_goes_into_a_pipe_is_noticed() -> Result<()> {
    let server = Server::start(LATEST);
    bucket(&server).await?.put("user.U1", vec![1; 32].into()).await?;
    let piped = run(keys(&server, &["export", "-v"])).expect_code(0);
    assert!(piped.stderr.contains("1 key exported; the pipe gets them unencrypted"), "{}", piped.stderr);
    let meant = run(keys(&server, &["export", "-v", "--plaintext"])).expect_code(0);
    assert!(meant.stderr.contains("1 key exported\n"), "{}", meant.stderr);
    Ok(())
}
