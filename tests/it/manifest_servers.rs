//! `chatto-manifest` with archives of real servers of every release: they verify, selected streams can be loaded, and `diff`
//! shows the changes between two of them.

// A failed expectation in a helper is a failed test.
use std::fs;
use std::process::Command;

use crate::support::programs::{program, program_for, run, run_with};
use crate::support::server::{RELEASES, Server};
use crate::support::{api, equality, fixtures};
use anyhow::Result;
use serde_json::json;

fn manifest(arguments: &[&str]) -> Command {
    let mut command = program("chatto-manifest");
    command.args(arguments);
    command
}

fn dump(server: &Server) -> Vec<u8> {
    run(program_for("chatto-dump", server)).expect_code(0).stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_every_release_verifies_and_its_halves_load() -> Result<()> {
    // The oldest that is supported is dumped and read, if not tested as a destination everywhere.
    for release in ["2.10.26"].into_iter().chain(RELEASES) {
        let (source, destination) = (Server::start(release), Server::start(release));
        let client = source.client().await?;
        let built = fixtures::v0_4(&client, source.version(), 21, 300).await?;
        let archive = dump(&source);
        let verdict = String::from_utf8(run_with(manifest(&["verify"]), &archive).expect_code(0).stdout)?;
        assert!(verdict.starts_with(&format!("sound: {} whole streams, ", built.kept.len())), "{verdict}");
        assert!(run_with(manifest(&["select"]), &archive).expect_code(0).stdout == archive, "{release}");

        for half in [["select", "--stream", "KV_*"], ["select", "--exclude", "KV_*"]] {
            let selected = run_with(manifest(&half), &archive).expect_code(0).stdout;
            run_with(manifest(&["verify"]), &selected).expect_code(0);
            let loaded = run_with(program_for("chatto-load", &destination), selected).expect_code(0);
            assert_eq!(loaded.stderr, "");
        }
        let differences =
            equality::differences(&client, &destination.client().await?, |name| built.is_kept(name)).await?;
        assert_eq!(differences, Vec::<String>::new(), "{release}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_split_from_data() -> Result<()> {
    let server = Server::start("2.14.5");
    let client = server.client().await?;
    fixtures::v0_4(&client, server.version(), 22, 200).await?;
    let mut with_keys = program_for("chatto-dump", &server);
    with_keys.arg("--include-keys");
    let archive = run(with_keys).expect_code(0).stdout;
    for (option, include) in [("--stream", true), ("--exclude", false)] {
        let selected =
            run_with(manifest(&["select", option, "KV_ENCRYPTION_KEYS"]), &archive).expect_code(0).stdout;
        run_with(manifest(&["verify"]), &selected).expect_code(0);
        let shown = run_with(manifest(&["show"]), &selected).expect_code(0).stdout;
        let shown: serde_json::Value = serde_json::from_slice(&shown)?;
        assert_eq!(shown["include_keys"], include);
        let names = String::from_utf8(run_with(manifest(&["list"]), &selected).expect_code(0).stdout)?;
        assert_eq!(names.lines().any(|name| name == "KV_ENCRYPTION_KEYS"), include);
    }
    // A directory of the nats tool has no manifest that says so: import does.
    let dir = tempfile::tempdir()?;
    let mut tar = Command::new("sh");
    tar.args(["-ec", "tar -xf -; tar -cf - -C backup streams"]).current_dir(dir.path());
    let directories = run_with(tar, &archive).expect_code(0).stdout;
    fs::write(dir.path().join("account.tar"), directories)?;
    let account = dir.path().join("account.tar").display().to_string();
    let imported = run(manifest(&["import", &account])).expect_code(0);
    assert!(imported.stderr.contains("warning: stream KV_ENCRYPTION_KEYS holds keys"), "{}", imported.stderr);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn diff_tells_what_happened_between_two_dumps() -> Result<()> {
    for release in RELEASES {
        let server = Server::start(release);
        let client = server.client().await?;
        let built = fixtures::v0_4(&client, server.version(), 23, 200).await?;
        let dir = tempfile::tempdir()?;
        let file = |name: &str| dir.path().join(name).display().to_string();
        let (a, b) = (file("a"), file("b"));
        fs::write(&a, dump(&server))?;
        fs::write(&b, dump(&server))?;
        let equal = run(manifest(&["diff", &a, &b]));
        assert_eq!((equal.code, String::from_utf8(equal.stdout)?), (Some(0), String::new()), "{release}");

        let last = api::stream_info(&client, "EVT").await?["state"]["last_seq"].as_u64().unwrap();
        for n in 0..3 {
            client.publish(format!("evt.room1.late{n}"), "late".into()).await?;
        }
        client.flush().await?;
        let mut config = api::stream_info(&client, "NOTIFICATIONS").await?["config"].take();
        config["description"] = json!("changed");
        api::call(&client, "STREAM.UPDATE.NOTIFICATIONS", config).await?;
        api::call(&client, "STREAM.DELETE.KV_RUNTIME_STATE", json!(null)).await?;
        while api::stream_info(&client, "EVT").await?["state"]["last_seq"].as_u64() < Some(last + 3) {}
        fs::write(&b, dump(&server))?;
        let different = run(manifest(&["diff", &a, &b])).expect_code(1);
        let text = String::from_utf8(different.stdout)?;
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{release}: {text}");
        let grown = format!("EVT: grown: 3 messages written, sequences {}-{}", last + 1, last + 3);
        assert_eq!(lines[0], grown, "{release}");
        assert!(lines[1].starts_with("KV_RUNTIME_STATE: removed: "), "{text}");
        assert_eq!(lines[2], "NOTIFICATIONS: reconfigured: description", "{release}");
        assert!(built.kept.iter().any(|name| name == "EVT"));
    }
    Ok(())
}
