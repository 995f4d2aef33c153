//! The tools of every system can read an archive: tar, sha256sum, jq and cat. `chatto restore` would accept an archive that
//! was spooled.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use crate::support::archive::{Entry, dump, entries, file, json, pack, stream};
use crate::support::programs::{Finished, program, run, run_with};
use crate::support::publish::Publisher;
use crate::support::server::{LATEST, Server};
use crate::support::{api, fixtures};
use anyhow::{Context, Result, ensure};
use serde_json::{Value as Json, json};

/// A Chatto with one stream whose snapshot does not fit the buffer.
async fn server_with_a_large_stream(release: &str) -> Result<Server> {
    let server = Server::start(release);
    let client = server.client().await?;
    fixtures::v0_4(&client, server.version(), 3, 100).await?;
    api::call(&client, "STREAM.CREATE.LARGE", json!({ "name": "LARGE", "subjects": ["large"] })).await?;
    let mut random = crate::support::random::Random::new(3);
    let mut publisher = Publisher::new(&client).await?;
    for _ in 0..26 {
        publisher.send("large", &[], random.bytes(700_000)).await?;
    }
    publisher.settle().await?;
    Ok(server)
}

/// Runs a shell script in `directory` with `input`.
fn shell(directory: &Path, script: &str, input: &[u8]) -> Finished {
    let mut sh = Command::new("bash");
    sh.current_dir(directory).args(["-euo", "pipefail", "-c", script]).env("LC_ALL", "C");
    run_with(sh, input)
}

#[tokio::test(flavor = "multi_thread")]
async fn tar_sha256sum_jq_and_cat_read_it() -> Result<()> {
    let server = server_with_a_large_stream(LATEST).await?;
    let backup = dump(&server, &[]);
    let dir = tempfile::tempdir()?;
    let sh = |script: &str, input: &[u8]| {
        let done = shell(dir.path(), script, input);
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{script}");
        String::from_utf8(done.stdout).unwrap()
    };

    let listed = sh("tar tf -", &backup);
    let paths: Vec<&str> = listed.lines().collect();
    assert_eq!(paths[..3], ["backup/", "backup/index.json", "backup/streams/"]);
    assert_eq!(paths[paths.len() - 2..], ["backup/manifest.json", "backup/SHA256SUMS"]);
    for part in ["backup.json", "part-000001", "part-000002", "part-000003"] {
        assert!(paths.contains(&format!("backup/streams/LARGE/attempt-1/{part}").as_str()), "{listed}");
    }

    sh("tar xf -", &backup);
    sh("cd backup && sha256sum --quiet -c SHA256SUMS", b"");
    let files = sh("cd backup && find . -type f ! -name SHA256SUMS -printf '%P\\n' | sort", b"");
    assert_eq!(sh("cd backup && cut -c67- SHA256SUMS | sort", b""), files, "every file has its sum");
    let modes = sh("find backup -type f ! -perm 0600 -o -type d ! -perm 0700", b"");
    assert_eq!(modes, "");

    sh("find backup -name '*.json' | while read -r f; do jq -e . \"$f\" > /dev/null; done", b"");
    let large = sh("jq -r '.streams[] | select(.name == \"LARGE\") | .messages' backup/manifest.json", b"");
    assert_eq!(large, "26\n");
    let sums = sh(
        "for name in $(jq -r '.streams[] | select(.type != \"skipped\") | .name' backup/manifest.json); do
            jq \".streams[] | select(.name == \\\"$name\\\")\" backup/manifest.json > entry
            if [ -e backup/streams/$name/attempt-1 ]; then
                sha256sum backup/streams/$name/attempt-1/part-* | cut -c -64 > sums
                echo \"$(jq -r .parts_sha256 entry)  sums\" | sha256sum -c
            else
                echo \"$(jq -r .sha256 entry)  backup/streams/$name/stream.tar.s2\" | sha256sum -c
            fi
        done",
        b"",
    );
    assert!(sums.lines().count() >= 6 && sums.lines().all(|line| line.ends_with(": OK")), "{sums}");
    assert_eq!(sums.lines().filter(|line| *line == "sums: OK").count(), 1, "{sums}");
    Ok(())
}

/// The rules of `chatto restore` for an archive, one after another.
fn chatto_restore_takes(gzipped: &[u8], unpacked: &[u8]) -> Result<()> {
    ensure!(gzipped.len() as u64 <= 128 << 30, "more than 128 GiB compressed");
    let entries = entries(unpacked)?;
    ensure!(entries.len() <= 100_000, "more than 100,000 entries");
    let total: u64 = entries.iter().map(|entry| entry.data.len() as u64).sum();
    ensure!(total <= 1 << 40, "more than 1 TiB");
    let mut paths = BTreeSet::new();
    let mut tops = BTreeSet::new();
    for Entry { path, kind, data, .. } in &entries {
        ensure!(matches!(kind, b'0' | b'5'), "{path} is neither a file nor a directory");
        ensure!(paths.insert(path.trim_end_matches('/')), "{path} comes twice");
        ensure!(data.len() as u64 <= 64 << 30, "{path} has more than 64 GiB");
        tops.insert(path.split('/').next());
    }
    ensure!(tops.len() == 1, "not one top-level directory: {tops:?}");

    let manifest = json(&entries, "backup/manifest.json")?;
    ensure!(manifest["version"] == 1, "not version 1");
    let created_at = manifest["created_at"].as_str().context("no created_at")?;
    created_at.parse::<jiff::Timestamp>().context("created_at")?;
    let (mut names, mut count, mut bytes) = (BTreeSet::new(), BTreeMap::new(), 0);
    for entry in manifest["streams"].as_array().context("no streams")? {
        let name = entry["name"].as_str().context("no name")?;
        let forbidden = |c: char| "/\\.*>".contains(c) || c.is_whitespace();
        ensure!(!name.is_empty() && !name.contains(forbidden), "{name:?} is no stream name");
        ensure!(names.insert(name), "stream {name} comes twice");
        let kind = entry["type"].as_str().context("no type")?;
        ensure!(["stream", "kv", "object_store", "skipped"].contains(&kind), "{name} is a {kind}");
        ensure!(entry["messages"].is_u64() && entry["bytes"].is_u64(), "{name} has no numbers");
        if kind == "skipped" || !entry["error"].is_null() {
            let state = if kind == "skipped" { "skipped" } else { "failed" };
            *count.entry(state).or_insert(0) += 1;
            continue;
        }
        *count.entry("total_streams").or_insert(0) += 1;
        let backup = json(&entries, &format!("backup/streams/{name}/backup.json"))?;
        ensure!(backup["config"]["name"] == name && backup["state"].is_object(), "{name}: {backup}");
        let snapshot = file(&entries, &format!("backup/streams/{name}/stream.tar.s2"))?;
        ensure!(entry["bytes"] == snapshot.len(), "{name} has another size");
        bytes += snapshot.len();
    }
    let stats = &manifest["stats"];
    for key in ["total_streams", "skipped", "failed"] {
        ensure!(stats[key] == count.get(key).copied().unwrap_or(0), "stats.{key} is {}", stats[key]);
    }
    ensure!(stats["total_bytes"] == bytes && stats["duration_ms"].is_u64(), "stats is {stats}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn chatto_restore_would_take_a_spooled_one() -> Result<()> {
    for release in ["2.14.5", LATEST] {
        let server = server_with_a_large_stream(release).await?;
        let (spool, dir) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let gzip = |tar: &[u8]| shell(dir.path(), "gzip", tar).expect_code(0).stdout;

        let backup = dump(&server, &["--spool-dir", spool.path().to_str().context("a path")?]);
        chatto_restore_takes(&gzip(&backup), &backup).context(release)?;
        assert_eq!(std::fs::read_dir(spool.path())?.count(), 0, "the spool is empty again");

        // Nor does an edit make it another thing.
        let mut edit = program("chatto-manifest");
        edit.args(["edit", "--rename", "EVT=OLD", "--last-seq", "90"]);
        let edited = dir.path().join("edited.tar");
        std::fs::write(&edited, run_with(edit, &backup).expect_code(0).stdout)?;
        let mut join = program("chatto-manifest");
        join.arg("join").arg(&edited);
        let joined = run(join).expect_code(0).stdout;
        chatto_restore_takes(&gzip(&joined), &joined).context(release)?;
        for format in ["tar", "natsarc1"] {
            let mut edit = program("chatto-manifest");
            edit.args(["edit", "--format", format]).arg(dir.path().join("edited.tar"));
            let mut join = program("chatto-manifest");
            join.arg("join").arg(dir.path().join("other.tar"));
            std::fs::write(dir.path().join("other.tar"), run(edit).expect_code(0).stdout)?;
            let joined = run(join).expect_code(0).stdout;
            chatto_restore_takes(&gzip(&joined), &joined).with_context(|| format!("{release}, {format}"))?;
        }

        // One with parts is not for it, and the checker knows.
        let in_parts = dump(&server, &[]);
        let refused = chatto_restore_takes(&gzip(&in_parts), &in_parts).unwrap_err().to_string();
        assert_eq!(refused, "no backup/streams/LARGE/backup.json in the archive");
    }
    Ok(())
}

/// The checker itself: it refuses what breaks a rule.
#[tokio::test(flavor = "multi_thread")]
async fn the_rules_of_chatto_restore_can_be_broken() -> Result<()> {
    let server = Server::start(LATEST);
    fixtures::v0_4(&server.client().await?, server.version(), 3, 100).await?;
    let sound = entries(&dump(&server, &[]))?;
    let refused = |change: &dyn Fn(&mut Vec<Entry>)| {
        let mut changed = sound.clone();
        change(&mut changed);
        let tar = pack(&changed).unwrap();
        chatto_restore_takes(&tar, &tar).unwrap_err().to_string()
    };
    let manifest = |change: &dyn Fn(&mut Json)| {
        refused(&|entries| {
            let entry = entries.iter_mut().find(|entry| entry.path == "backup/manifest.json").unwrap();
            let mut manifest = serde_json::from_slice(&entry.data).unwrap();
            change(&mut manifest);
            entry.data = serde_json::to_vec(&manifest).unwrap();
        })
    };
    let twice = refused(&|entries| entries.push(entries[1].clone()));
    assert_eq!(twice, "backup/index.json comes twice");
    let two = refused(&|entries| entries.push(Entry::new("other/", "")));
    assert!(two.starts_with("not one top-level directory"), "{two}");
    let link = refused(&|entries| entries[1].kind = b'2');
    assert_eq!(link, "backup/index.json is neither a file nor a directory");
    let gone = refused(&|entries| entries.retain(|entry| !entry.path.ends_with("EVT/stream.tar.s2")));
    assert_eq!(gone, "no backup/streams/EVT/stream.tar.s2 in the archive");
    assert_eq!(manifest(&|m| m["version"] = json!(2)), "not version 1");
    assert_eq!(manifest(&|m| m["streams"][0]["name"] = json!("a.b")), "\"a.b\" is no stream name");
    assert_eq!(manifest(&|m| m["streams"][1] = m["streams"][0].clone()), "stream EVT comes twice");
    assert_eq!(manifest(&|m| m["stats"]["failed"] = json!(1)), "stats.failed is 1");
    Ok(())
}

/// `entries` without what two dumps of an unchanged server may differ in: times, and what follows from
/// a snapshot's bytes, which the server writes anew each time.
fn without_times(entries: &[Entry]) -> Result<Vec<(Entry, Json)>> {
    let mut same = Vec::new();
    for entry in entries {
        let mut content = match entry.path.rsplit('/').next() {
            Some("index.json" | "manifest.json" | "backup.json") => serde_json::from_slice(&entry.data)?,
            _ => Json::Null,
        };
        for key in ["created_at", "duration_ms", "total_bytes"] {
            if let Some(object) = content.as_object_mut() {
                object.remove(key);
            }
            if let Some(stats) = content.get_mut("stats").and_then(Json::as_object_mut) {
                stats.remove(key);
            }
        }
        if entry.path == "backup/manifest.json" {
            for stream in content["streams"].as_array_mut().into_iter().flatten() {
                for key in ["captured_at", "duration_ms", "bytes", "sha256"] {
                    stream.as_object_mut().context("an object")?.remove(key);
                }
            }
        }
        same.push((Entry { mtime: 0, data: Vec::new(), header_at: 0, data_at: 0, ..entry.clone() }, content));
    }
    Ok(same)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_dumps_of_an_unchanged_server_differ_only_in_times() -> Result<()> {
    for release in ["2.14.5", LATEST] {
        let server = Server::start(release);
        fixtures::v0_0(&server.client().await?, server.version(), 3, 4).await?;
        let (one, two) = (entries(&dump(&server, &[]))?, entries(&dump(&server, &[]))?);
        assert_eq!(without_times(&one)?, without_times(&two)?, "{release}");
        for backup in [&one, &two] {
            assert!(backup.iter().all(|entry| entry.mtime == backup[0].mtime), "one time for all");
            let created = json(backup, "backup/index.json")?["created_at"].as_str().unwrap().to_owned();
            assert_eq!(created.parse::<jiff::Timestamp>()?.as_second(), i64::try_from(backup[0].mtime)?);
        }
        // The sums differ where the server's bytes do, and nowhere else.
        let (first, second) = (json(&one, "backup/manifest.json")?, json(&two, "backup/manifest.json")?);
        for entry in one.iter().filter(|entry| entry.path.ends_with("/stream.tar.s2")) {
            let name = entry.path.split('/').nth(2).context("a name")?;
            let same = entry.data == file(&two, &entry.path)?;
            assert_eq!(stream(&first, name)["sha256"] == stream(&second, name)["sha256"], same, "{name}");
        }
    }
    Ok(())
}
