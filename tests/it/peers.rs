//! Files that the real `chatto` and `nats` wrote (`tests/data/peers`) are read, and restored to the streams that they came
//! from.

// A failed expectation in a helper is a failed test.
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::api;
use crate::support::archive::{Archive, Entry, entries, pack};
use crate::support::programs::{program, program_for, refused, run, run_with};
use crate::support::server::Server;
use anyhow::{Context, Result, ensure};
use serde_json::{Value as Json, json};

/// What `chatto backup` does not leave out.
const BACKED_UP: [&str; 4] = ["EVT", "KV_RUNTIME_STATE", "NOTIFICATIONS", "OBJ_SERVER_ASSETS"];

/// What `nats backup account` takes: everything but what lives in memory.
const OF_AN_ACCOUNT: [&str; 6] = [
    "EVT",
    "KV_ENCRYPTION_KEYS",
    "KV_RUNTIME_STATE",
    "NOTIFICATIONS",
    "OBJ_ASSET_CACHE",
    "OBJ_SERVER_ASSETS",
];

fn peer(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/peers").join(file)
}

/// One of our programs, told the passphrase of the files by one that lives in `dir`.
fn unlocking(mut command: Command, dir: &Path) -> Command {
    let passphrase = dir.join("passphrase");
    if !passphrase.exists() {
        let mut install = Command::new("install");
        install.args(["-m", "600", "/dev/stdin"]).arg(&passphrase);
        run_with(install, "correct horse\n").expect_code(0);
    }
    command.arg("--passphrase-file").arg(passphrase);
    command
}

/// The server has `streams` as `expected.json` has them, and no others.
async fn came_out(server: &Server, of: &str, streams: &[&str]) -> Result<()> {
    let expected: Json = serde_json::from_slice(&std::fs::read(peer("expected.json"))?)?;
    let client = server.client().await?;
    let mut names = api::stream_names(&client).await?;
    names.sort();
    ensure!(names == streams, "{names:?}");
    for name in streams {
        let expected = &expected[of][name];
        let info = api::stream_info(&client, name).await?;
        let state = &info["state"];
        ensure!(state["last_seq"] == expected["last"], "{name}: {state}, not {expected}");
        // Notifications grow too old, some day.
        if info["config"]["max_age"] == 0 || state["messages"] != 0 {
            let found =
                json!([state["messages"], state["first_seq"], state["num_deleted"].as_u64().unwrap_or(0)]);
            let wanted = json!([expected["messages"], expected["first"], expected["deleted"]]);
            ensure!(found == wanted, "{name}: {state}, not {expected}");
        }
        let consumers = expected["consumers"].as_object().context("consumers")?;
        // nats looks at each stream with a consumer of its own, which 2.15 takes along and which expires.
        ensure!(state["consumer_count"].as_u64() >= Some(consumers.len() as u64), "{name}: {state}");
        for (consumer, wanted) in consumers {
            let info = api::call(&client, &format!("CONSUMER.INFO.{name}.{consumer}"), Json::Null).await?;
            let found = json!([
                info["delivered"]["stream_seq"],
                info["delivered"]["consumer_seq"],
                info["ack_floor"]["stream_seq"],
                info["num_ack_pending"],
            ]);
            ensure!(found == *wanted, "{name}, consumer {consumer}: {info}, not {wanted}");
        }
    }
    Ok(())
}

/// Restores an archive, or what was made one, and looks.
async fn restores(release: &str, archive: &[u8], of: &str, streams: &[&str]) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let server = Server::start(release);
    let load = unlocking(program_for("chatto-load", &server), dir.path());
    run_with(load, archive).expect_code(0);
    came_out(&server, of, streams).await.with_context(|| format!("on {release}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_of_chatto_backup() -> Result<()> {
    let dir = tempfile::tempdir()?;
    for file in ["chatto-backup.tar.gz", "chatto-backup.tar.gz.age"] {
        let mut verify = program("chatto-manifest");
        verify.arg("verify").arg(peer(file));
        let said = String::from_utf8(run(unlocking(verify, dir.path())).expect_code(0).stdout)?;
        ensure!(said.starts_with("sound: 4 whole streams, 340 messages"), "{said}");
    }
    for (release, file) in [
        ("2.12.8", "chatto-backup.tar.gz"),
        ("2.14.5", "chatto-backup.tar.gz.age"),
        ("2.15.1", "chatto-backup.tar.gz"),
    ] {
        restores(release, &std::fs::read(peer(file))?, "2.14.5", &BACKED_UP).await?;
    }
    Ok(())
}

/// Selected and joined, it is an archive of ours, with all that was in it.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_of_chatto_backup_made_one_of_ours() -> Result<()> {
    for action in ["select", "join"] {
        let mut make = program("chatto-manifest");
        make.arg(action).arg(peer("chatto-backup.tar.gz"));
        let ours = run(make).expect_code(0).stdout;
        let mut verify = program("chatto-manifest");
        verify.arg("verify");
        let said = String::from_utf8(run_with(verify, &ours).expect_code(0).stdout)?;
        ensure!(said == "sound: 4 whole streams, 340 messages, 236.2 KiB\n", "{action}: {said}");
        restores("2.14.5", &ours, "2.14.5", &BACKED_UP).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_nats_backup_account() -> Result<()> {
    for (of, releases) in [("2.14.5", &["2.14.5", "2.15.1"][..]), ("2.15.1", &["2.15.1"])] {
        let tar = peer(&format!("nats-backup-account-{of}.tar"));
        let on_it = |action: &str| {
            let mut manifest = program("chatto-manifest");
            manifest.arg(action).arg(&tar);
            run(manifest).expect_code(0).stdout
        };
        let said = String::from_utf8(on_it("verify"))?;
        ensure!(said.starts_with("sound: 6 whole streams, 349 messages"), "{said}");
        let archive = on_it("import");
        for release in releases {
            restores(release, &archive, of, &OF_AN_ACCOUNT).await?;
        }
    }
    Ok(())
}

/// The archive of `chatto backup`, with `NOTIFICATIONS` as it leaves a stream whose snapshot failed: two empty
/// files, and the reason in the manifest.
fn with_a_failed_stream() -> Archive {
    let unzip = Command::new("gunzip");
    let mut archive =
        Archive::read(&run_with(unzip, std::fs::read(peer("chatto-backup.tar.gz")).unwrap()).stdout);
    archive.edit_manifest("NOTIFICATIONS", |stream| {
        stream["messages"] = 0.into();
        stream["bytes"] = 0.into();
        stream["error"] = "snapshot: context deadline exceeded".into();
    });
    archive.edit("manifest.json", |manifest| {
        manifest["stats"]["total_streams"] = 3.into();
        manifest["stats"]["failed"] = 1.into();
    });
    for file in ["backup.json", "stream.tar.s2"] {
        archive.file(&format!("streams/NOTIFICATIONS/{file}")).clear();
    }
    archive
}

/// It is whole and incomplete: the rest is there, and whoever reads it is told what is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_failed_in_chatto_backup_is_named_and_the_rest_restored() -> Result<()> {
    let (dir, tar) = (tempfile::tempdir()?, with_a_failed_stream().tar());
    let file = dir.path().join("backup.tar");
    std::fs::write(&file, &tar)?;
    let rest = ["EVT", "KV_RUNTIME_STATE", "OBJ_SERVER_ASSETS"];
    let manifest = |arguments: &[&str], code| {
        let mut manifest = program("chatto-manifest");
        manifest.args(arguments).arg(&file);
        run(manifest).expect_code(code)
    };
    let said = String::from_utf8(manifest(&["verify"], 3).stdout)?;
    ensure!(
        said.starts_with("failed: NOTIFICATIONS: snapshot: context deadline exceeded\nincomplete: 3 whole"),
        "{said}"
    );
    let mut archives = vec![("the archive itself", tar.clone())];
    for action in ["select", "join", "import", "edit"] {
        let made = manifest(&[action], 3);
        ensure!(made.stderr.contains("stream NOTIFICATIONS: "), "{action}: {}", made.stderr);
        archives.push((action, made.stdout));
    }
    let taken = manifest(&["edit", "--rename", "EVT=NOTIFICATIONS"], 1);
    ensure!(taken.stdout.is_empty());
    ensure!(taken.stderr.contains("names a stream NOTIFICATIONS that failed"), "{}", taken.stderr);
    let without = manifest(&["select", "--exclude", "NOTIFICATIONS"], 0);
    ensure!(without.stderr.is_empty(), "{}", without.stderr);
    for (what, archive) in archives {
        let server = Server::start("2.14.5");
        let finished = run_with(program_for("chatto-load", &server), &archive).expect_code(3);
        ensure!(
            finished.stderr.contains("stream NOTIFICATIONS: not in the archive: "),
            "{}",
            finished.stderr
        );
        came_out(&server, "2.14.5", &rest).await.context(what)?;
        let mut load = program_for("chatto-load", &server);
        load.args(["-n", "--conflict", "skip", "--exclude", "NOTIFICATIONS"]);
        run_with(load, &archive).expect_code(0);
    }
    Ok(())
}

/// Nothing but the manifest says that a stream failed: without its word the stream is missing.
#[test]
fn an_empty_stream_that_the_manifest_does_not_explain_is_damage() {
    let server = Server::start("2.14.5");
    for is_listed in [true, false] {
        let mut archive = with_a_failed_stream();
        archive
            .edit_manifest("NOTIFICATIONS", |stream| drop(stream.as_object_mut().unwrap().remove("error")));
        if !is_listed {
            archive.edit("manifest.json", |manifest| {
                manifest["streams"]
                    .as_array_mut()
                    .unwrap()
                    .retain(|stream| stream["name"] != "NOTIFICATIONS");
            });
        }
        are_damaged(&server, &archive, "fault: streams/NOTIFICATIONS/");
        is_not_selected(&archive);
        // With its description, and without its snapshot.
        archive.file("streams/NOTIFICATIONS/backup.json").extend_from_slice(
            br#"{"config":{"name":"NOTIFICATIONS","subjects":["notif.>"],"storage":"file"},"state":{}}"#,
        );
        archive.0.retain(|entry| !entry.path.ends_with("NOTIFICATIONS/stream.tar.s2"));
        let fault = if is_listed {
            "fault: manifest.json: lists stream NOTIFICATIONS"
        } else {
            "fault: streams/NOTIF"
        };
        are_damaged(&server, &archive, fault);
        is_not_selected(&archive);
    }
}

/// Verify, load, and whatever else copies streams of it say so.
#[track_caller]
fn are_damaged(server: &Server, archive: &Archive, fault: &str) {
    let tar = archive.tar();
    let mut verify = program("chatto-manifest");
    verify.arg("verify");
    let said = String::from_utf8(run_with(verify, &tar).expect_code(4).stdout).unwrap();
    assert!(said.contains(fault), "no \"{fault}\" in: {said}");
    let mut load = program_for("chatto-load", server);
    load.arg("-n");
    let loaded = run_with(load, &tar).expect_code(4);
    assert!(loaded.stderr.contains("stream NOTIFICATIONS: "), "{}", loaded.stderr);
}

/// So does `select`.
#[track_caller]
fn is_not_selected(archive: &Archive) {
    let mut select = program("chatto-manifest");
    select.arg("select");
    let selected = run_with(select, archive.tar()).expect_code(4);
    assert!(selected.stderr.contains("NOTIFICATIONS"), "{}", selected.stderr);
}

/// Nothing has a sum of a description in an archive of `chatto backup` but the snapshot, which says the same.
#[test]
fn a_description_that_is_not_as_it_was_written_is_damage() {
    let server = Server::start("2.14.5");
    let gunzip = Command::new("gunzip");
    let archive =
        Archive::read(&run_with(gunzip, std::fs::read(peer("chatto-backup.tar.gz")).unwrap()).stdout);
    let said = |change: &dyn Fn(&mut Json)| {
        let mut archive = archive.clone();
        archive.edit("streams/NOTIFICATIONS/backup.json", |json| change(&mut json["config"]));
        are_damaged(
            &server,
            &archive,
            "streams/NOTIFICATIONS/backup.json: its backup.json is not as written",
        );
    };
    said(&|config| config["description"] = "x".into());
    said(&|config| config["subjects"] = json!(["notig.>"]));
    said(&|config| config["duplicate_window"] = 120_000_000_001_u64.into());
    // And what means the same is none: a default that is left out, and what servers note in the metadata.
    let mut same = archive.clone();
    same.edit("streams/NOTIFICATIONS/backup.json", |json| {
        let config = json["config"].as_object_mut().unwrap();
        assert!(config.remove("sealed").is_some() && config.remove("discard").is_some());
        config["metadata"] = json!({});
    });
    let mut verify = program("chatto-manifest");
    verify.arg("verify");
    run_with(verify, same.tar()).expect_code(0);
    let mut load = program_for("chatto-load", &server);
    load.arg("-n");
    run_with(load, same.tar()).expect_code(0);
}

/// Whatever a snapshot is called, it is read: in NATS's directories, and where they were made an archive.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_whose_snapshots_are_called_as_nats_calls_them() -> Result<()> {
    let mut import = program("chatto-manifest");
    import.arg("import").arg(peer("nats-backup-account-2.15.1.tar"));
    let mut archive = Archive::read(&run(import).expect_code(0).stdout);
    for entry in &mut archive.0 {
        entry.path = entry.path.replace("stream.tar.s2", "stream.arc.s2");
    }
    let (dir, tar) = (tempfile::tempdir()?, archive.with_sums());
    let file = dir.path().join("backup.tar");
    std::fs::write(&file, &tar)?;
    for action in ["select", "join", "verify"] {
        let mut manifest = program("chatto-manifest");
        manifest.arg(action).arg(&file);
        let written = run(manifest).expect_code(0).stdout;
        match action {
            "verify" => ensure!(written.starts_with(b"sound: 6 whole streams, 349 messages"), "{written:?}"),
            _ => ensure!(entries(&written)?.iter().any(|entry| entry.path.ends_with("/EVT/stream.tar.s2"))),
        }
    }
    restores("2.15.1", &tar, "2.15.1", &OF_AN_ACCOUNT).await?;
    // And a damaged one is named as it is called.
    archive.file("streams/EVT/stream.arc.s2")[5_000] ^= 1;
    let mut verify = program("chatto-manifest");
    verify.arg("verify");
    let said = String::from_utf8(run_with(verify, archive.with_sums()).expect_code(4).stdout)?;
    ensure!(said.contains("fault: streams/EVT/stream.arc.s2: the snapshot is damaged"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_export() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let server = Server::start("2.14.5");
    let mut import = program_for("chatto-keys", &server);
    import.arg("import").arg(peer("chatto-keys.age"));
    run(unlocking(import, dir.path())).expect_code(0);
    let mut account = program("chatto-manifest");
    account.arg("import").arg(peer("nats-backup-account-2.14.5.tar"));
    let account = run(account).expect_code(0).stdout;
    // The same keys as the bucket itself has.
    let other = Server::start("2.14.5");
    let mut load = program_for("chatto-load", &other);
    load.args(["--stream", "KV_ENCRYPTION_KEYS"]);
    run_with(load, &account).expect_code(0);
    let (here, there) = (values(&server).await?, values(&other).await?);
    ensure!(here.len() == 6 && here == there, "{here:?}, not {there:?}");
    Ok(())
}

/// It is no archive, and what says so names the programs that it is for.
#[test]
fn a_key_export_that_is_taken_for_an_archive() {
    let dir = tempfile::tempdir().unwrap();
    let mut open = program("chatto-keys");
    open.arg("open").arg(peer("chatto-keys.age"));
    let json = run(unlocking(open, dir.path())).expect_code(0).stdout;
    let in_a_tar =
        pack(&[Entry::new("backup/", ""), Entry::new("backup/keys.json", json.as_slice())]).unwrap();
    for keys in [&json, &in_a_tar] {
        for action in ["verify", "show", "list", "select"] {
            let mut manifest = program("chatto-manifest");
            manifest.arg(action);
            let finished = run_with(manifest, keys);
            assert!(finished.stdout.is_empty(), "{action}");
            let said = [
                "export of encryption keys",
                "hint: chatto-keys verify checks it, and chatto-keys import reads it",
            ];
            refused(finished, 4, &said);
        }
    }
    // And it does.
    let mut verify = program("chatto-keys");
    verify.arg("verify").arg(peer("chatto-keys.age"));
    run(unlocking(verify, dir.path())).expect_code(0);
}

/// The keys of the bucket, with their values in base64.
async fn values(server: &Server) -> Result<Vec<(String, String)>> {
    let client = server.client().await?;
    let mut values = Vec::new();
    for seq in 1..=6 {
        let message = api::call(&client, "STREAM.MSG.GET.KV_ENCRYPTION_KEYS", json!({ "seq": seq })).await?;
        let text = |field: &str| message["message"][field].as_str().unwrap_or_default().to_owned();
        values.push((text("subject"), text("data")));
    }
    values.sort();
    Ok(values)
}
