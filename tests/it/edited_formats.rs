//! `chatto-manifest edit --format`: after a conversion, an archive holds the same for every server and for NATS's own tool,
//! and can be converted back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use async_nats::Client;
use chatto_pipes::command::manifest::verify::{Verdict, verify};
use chatto_pipes::names::StreamName;
use chatto_pipes::snapshot::{self, ReportedState};
use serde_json::{Value as Json, json};

use crate::support::archive::{self, Archive, dump, entries, load};
use crate::support::builder::Builder;
use crate::support::captures::{self, CAPTURED, Shape};
use crate::support::fixtures::Built;
use crate::support::nats::nats;
use crate::support::programs::{Finished, program, refused, run, run_with};
use crate::support::server::{LATEST, Server};
use crate::support::{api, equality, fixtures};

/// `chatto-manifest edit` of a file in `dir` with this content.
fn edit(dir: &Path, arguments: &[&str], archive: &[u8]) -> Finished {
    let file = dir.join("source.tar");
    std::fs::write(&file, archive).unwrap();
    let mut edit = program("chatto-manifest");
    edit.arg("edit").args(arguments).arg(file);
    run(edit)
}

/// The archive in another format, which is sound; nothing else is asked for.
#[track_caller]
fn written_as(format: &str, dir: &Path, archive: &[u8]) -> Vec<u8> {
    let finished = edit(dir, &["--format", format], archive).expect_code(0);
    assert_eq!(finished.stderr, "");
    let report = verify(finished.stdout.as_slice()).unwrap();
    assert_eq!((report.verdict, report.end_record), (Verdict::Sound, true), "{report}");
    let manifest = archive::manifest(&finished.stdout).unwrap();
    let streams = manifest["streams"].as_array().unwrap().iter();
    let held: Vec<&Json> = streams.filter(|stream| stream["type"] != "skipped").collect();
    assert!(held.iter().all(|stream| stream["format"] == format), "{held:#?}");
    assert!(!held.is_empty());
    let edit = manifest["edited"].as_array().unwrap().last().unwrap();
    assert_eq!(edit["options"], json!(["--format", format]));
    assert_eq!(edit["source"], archive::sha256(archive));
    finished.stdout
}

/// Without an end record it is no archive for anybody.
#[track_caller]
fn is_no_archive(output: &[u8]) {
    if let Ok(report) = verify(output) {
        assert_eq!(report.verdict, Verdict::Damaged, "{report}");
    }
}

/// What `tar` leaves in `dir` of an archive: the directories of its streams.
fn extracted(archive: &[u8], dir: &Path) -> Vec<PathBuf> {
    let mut tar = Command::new("tar");
    tar.args(["-x", "-C"]).arg(dir);
    run_with(tar, archive).expect_code(0);
    let streams = std::fs::read_dir(dir.join("backup/streams")).unwrap();
    streams.map(|stream| stream.unwrap().path()).collect()
}

/// Both generations of Chatto, without what a server of `version` does not know.
async fn both_generations(source: &Server, version: &str) -> Result<Built> {
    let client = source.client().await?;
    let version = version.parse().unwrap();
    let mut built = fixtures::v0_4(&client, version, 1, 200).await?;
    built.kept.extend(fixtures::v0_0(&client, version, 2, 2).await?.kept);
    Ok(built)
}

async fn equal(source: &Client, destination: &Server, built: &Built, what: &str) -> Result<()> {
    let there = destination.client().await?;
    let mut found = equality::differences(source, &there, |stream| built.is_kept(stream)).await?;
    if what.ends_with("after a restart") {
        // From 2.14 on a server that starts puts a consumer that is to begin beyond the stream's end back to it.
        found.retain(|difference| !difference.starts_with("EVT: consumer late."));
    }
    ensure!(found.is_empty(), "{what}: {found:#?}");
    Ok(())
}

/// Message by message and consumer by consumer, through our own program and through NATS's.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_in_natsarc1_is_the_same_to_every_server() -> Result<()> {
    for release in ["2.14.5", LATEST] {
        let dir = tempfile::tempdir()?;
        let source = Server::start(release);
        let client = source.client().await?;
        let built = both_generations(&source, "2.12.8").await?;
        let arc = written_as("natsarc1", dir.path(), &dump(&source, &[]));
        for to in ["2.12.8", LATEST] {
            let destination = Server::start(to);
            load(&destination, &[], &arc).expect_code(0);
            equal(&client, &destination, &built, &format!("{release} into {to}")).await?;
        }

        // As it is, by the program that reads this format for itself.
        let mut destination = Server::start(LATEST);
        for stream in extracted(&arc, dir.path()) {
            let mut validate = nats(&destination);
            validate.args(["backup", "validate", "--no-progress"]).arg(&stream);
            let said = run(validate).expect_code(0);
            ensure!(String::from_utf8_lossy(&said.stdout).contains("OK: "), "{said:?}");
        }
        let mut restore = nats(&destination);
        restore.args(["backup", "restore", "account"]).arg(dir.path().join("backup/streams"));
        run(restore).expect_code(0);
        equal(&client, &destination, &built, &format!("{release}, by nats")).await?;
        destination.restart();
        equal(&client, &destination, &built, &format!("{release}, by nats and after a restart")).await?;
    }
    Ok(())
}

/// A backup of 2.15 as files for a server that was never told of NATSARC1.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_in_tar_is_restored_by_nats_into_the_oldest_server() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let source = Server::start(LATEST);
    let client = source.client().await?;
    let built = both_generations(&source, "2.10.26").await?;
    let backup = dump(&source, &[]);
    let tar = written_as("tar", dir.path(), &backup);
    extracted(&tar, dir.path());
    let mut destination = Server::start("2.10.26");
    let mut restore = nats(&destination);
    restore.args(["backup", "restore", "account"]).arg(dir.path().join("backup/streams"));
    run(restore).expect_code(0);
    equal(&client, &destination, &built, "after the restore").await?;
    destination.restart();
    equal(&client, &destination, &built, "after a restart").await?;

    // There and back again: the same messages, and once more the same bytes. Only the order of settings changed.
    let back = |archive: &[u8]| written_as("tar", dir.path(), &written_as("natsarc1", dir.path(), archive));
    let again = back(&tar);
    ensure!(messages(&again)? == messages(&tar)? && messages(&tar)? == messages(&backup)?);
    ensure!(snapshots(&back(&again))? == snapshots(&again)?);
    Ok(())
}

/// The snapshots of an archive, by their paths.
fn snapshots(archive: &[u8]) -> Result<BTreeMap<String, Vec<u8>>> {
    let all = entries(archive)?.into_iter();
    Ok(all.filter(|entry| entry.path.ends_with(".s2")).map(|entry| (entry.path, entry.data)).collect())
}

/// A sum over all messages of each, and where it begins and ends.
fn messages(archive: &[u8]) -> Result<Vec<(String, [u64; 5])>> {
    let mut all = Vec::new();
    for (path, bytes) in snapshots(archive)? {
        let name = StreamName::new(path.split('/').nth(2).context("a name")?)?;
        let held = snapshot::inspect(&name, &ReportedState::default(), bytes.as_slice())?;
        let sum = held.sum.context("a sum")?;
        all.push((path, [held.messages, held.first_seq, held.last_seq, held.consumers, sum]));
    }
    Ok(all)
}

/// What NATS's tool edits was ours, and what it wrote is what we would have written.
#[tokio::test(flavor = "multi_thread")]
async fn nats_edits_an_archive_in_natsarc1_as_we_do() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let archive = captures::archive("2.14.5", Shape::Parts);
    let arc = written_as("natsarc1", dir.path(), &archive);
    extracted(&arc, dir.path());
    let server = Server::start(LATEST);
    for (theirs, ours) in [
        (&["--last-seq", "20"][..], &["--last-seq", "20"][..]),
        (&["--exclude-subject", "evt.room0.>"], &["--drop-subject", "evt.room0.>"]),
        (&["--last-per-subject", "2"], &["--last-per-subject=2"]),
    ] {
        let target = dir.path().join(theirs.concat());
        let mut edited = nats(&server);
        edited.args(["backup", "edit", "--no-progress"]).args(theirs);
        edited.arg(dir.path().join("backup/streams/EVT")).arg(&target);
        run(edited).expect_code(0);
        let restored = Server::start(LATEST);
        let mut restore = nats(&restored);
        restore.args(["backup", "restore", "stream"]).arg(&target);
        run(restore).expect_code(0);

        let ours = [ours, &["--format", "natsarc1", "--stream", "EVT"]].concat();
        let loaded = Server::start(LATEST);
        load(&loaded, &["--stream", "EVT"], &edit(dir.path(), &ours, &archive).expect_code(0).stdout)
            .expect_code(0);
        let (theirs, ours) = (restored.client().await?, loaded.client().await?);
        let mut found = equality::differences(&ours, &theirs, |_| true).await?;
        // To the tool, a message that is gone goes on waiting for its acknowledgement.
        found.retain(|difference| !difference.starts_with("EVT: consumer mailer."));
        ensure!(found.is_empty(), "{found:#?}");
        ensure!(api::stream_info(&ours, "EVT").await?["state"]["messages"].as_u64() < Some(47));
    }
    Ok(())
}

/// A stream in memory has no place in a tar, and one in the other format.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_in_memory_is_edited_in_natsarc1_only() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let source = Server::start(LATEST);
    let client = source.client().await?;
    let mut b = Builder::new(&client, source.version(), 3).await?;
    b.stream("S", json!(["s.>"]), json!({})).await?;
    for n in 0..9 {
        b.publisher.send(&format!("s.{n}"), &[], "text").await?;
    }
    b.finish().await?;
    let mut archive = Archive::read(&dump(&source, &[]));
    archive.put_into_memory("S");
    let archive = archive.with_sums();
    for arguments in [&["--last-seq", "5"][..], &["--format", "tar"]] {
        let words = ["stream S is kept in memory", "--format natsarc1", "--exclude S"];
        refused(edit(dir.path(), arguments, &archive), 1, &words);
    }
    let edited = edit(dir.path(), &["--format", "natsarc1", "--last-seq", "5"], &archive).expect_code(0);
    let destination = Server::start(LATEST);
    load(&destination, &[], &edited.stdout).expect_code(0);
    let info = api::stream_info(&destination.client().await?, "S").await?;
    ensure!(info["config"]["storage"] == "memory" && info["state"]["messages"] == 5, "{info}");
    ensure!(info["state"]["last_seq"] == 9, "{info}");
    Ok(())
}

#[test]
fn a_capture_of_any_release_in_either_format_holds_the_same() {
    let dir = tempfile::tempdir().unwrap();
    for release in CAPTURED {
        for shape in [Shape::Whole, Shape::Parts] {
            let archive = captures::archive(release, shape);
            let arc = written_as("natsarc1", dir.path(), &archive);
            assert_eq!(archive::counts(&arc), archive::counts(&archive), "{release}");
            assert_eq!(
                archive::counts(&written_as("tar", dir.path(), &arc)),
                archive::counts(&archive),
                "{release}"
            );
            // From a pipe, once there is room for a copy.
            let mut spooled = program("chatto-manifest");
            spooled.args(["edit", "--format", "natsarc1", "--spool-dir"]).arg(dir.path());
            assert!(run_with(spooled, &archive).expect_code(0).stdout == arc, "{release}");
        }
    }
}

#[test]
fn what_makes_no_sense_is_refused_and_a_dry_run_says_the_format() {
    let dir = tempfile::tempdir().unwrap();
    let archive = captures::archive("2.14.5", Shape::Parts);
    let mut piped = program("chatto-manifest");
    piped.args(["edit", "--format", "natsarc1"]);
    refused(run_with(piped, &archive), 2, &["edit --format natsarc1 reads its input more than once", "FILE"]);
    for (arguments, words) in [
        (&["--format", "natsarc1", "--rsyncable"][..], "--rsyncable writes tars"),
        (&["--format", "zip"], "invalid value 'zip'"),
        (&["--format", "tar", "--spool-dir", "."], "the input is read once"),
    ] {
        refused(edit(dir.path(), arguments, &archive), 2, &[words]);
    }
    for format in ["tar", "natsarc1"] {
        let dry = edit(dir.path(), &["-n", "--format", format, "--stream", "EVT"], &archive).expect_code(0);
        let said = String::from_utf8(dry.stdout).unwrap();
        assert!(said.starts_with("EVT: 0 messages, 0 B go; 47 messages, "), "{said}");
        assert!(said.ends_with(&format!(" stay, as {format}\n")) && said.lines().count() == 1, "{said}");
    }
}

/// The survey that comes before must notice it as the edit itself does.
#[test]
fn damage_is_never_edited_into_a_whole_archive_in_natsarc1() {
    let dir = tempfile::tempdir().unwrap();
    for release in ["2.14.5", "2.15.1"] {
        for shape in [Shape::Whole, Shape::Parts] {
            let archive = captures::archive(release, shape);
            let format = ["--format", "natsarc1"];
            for at in (600..archive.len() - 1024).step_by(1997) {
                is_no_archive(&edit(dir.path(), &format, &archive[..at]).expect_code(4).stdout);
            }
            let all = entries(&archive).unwrap();
            let snapshot = all.iter().find(|e| e.path.contains("EVT") && e.data.len() > 900).unwrap();
            let mut flipped = archive.clone();
            flipped[snapshot.data_at + 700] ^= 1;
            is_no_archive(&edit(dir.path(), &format, &flipped).expect_code(4).stdout);
        }
    }
}
