//! `chatto-manifest edit`: after a restore of an edited archive, a server holds the same as before, without the messages that
//! were dropped, and under the new names.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use async_nats::Client;
use futures_util::TryStreamExt as _;
use serde_json::{Value as Json, json};
use tokio::io::AsyncReadExt as _;

use crate::support::archive::{self, Archive, dump, entries, load};
use crate::support::builder::Builder;
use crate::support::captures::{self, CAPTURED, Shape};
use crate::support::programs::{program, refused, run, run_with};
use crate::support::publish::Publisher;
use crate::support::random::Random;
use crate::support::server::{LATEST, Server};
use crate::support::{api, equality, fixtures, s2};
use chatto_pipes::command::manifest::verify::{Verdict, verify};

fn edit(arguments: &[&str]) -> Command {
    let mut command = program("chatto-manifest");
    command.arg("edit").args(arguments);
    command
}

/// What it writes, which is sound; it must succeed, and without a word.
#[track_caller]
fn edited(arguments: &[&str], archive: &[u8]) -> Vec<u8> {
    let finished = run_with(edit(arguments), archive).expect_code(0);
    assert_eq!(finished.stderr, "");
    sound(&finished.stdout);
    finished.stdout
}

#[track_caller]
fn sound(archive: &[u8]) {
    let report = verify(archive).unwrap();
    assert_eq!((report.verdict, report.end_record), (Verdict::Sound, true), "{report}");
}

/// Without an end record it is no archive for anybody.
#[track_caller]
fn is_no_archive(output: &[u8]) {
    if let Ok(report) = verify(output) {
        assert_eq!(report.verdict, Verdict::Damaged, "{report}");
    }
}

/// The messages of a stream: sequence, time, subject, headers, payload.
async fn messages(client: &Client, stream: &str) -> Result<BTreeMap<u64, Json>> {
    let info = api::stream_info(client, stream).await?;
    let last = info["state"]["last_seq"].as_u64().context("a last sequence")?;
    let mut all = BTreeMap::new();
    for sequence in 1..=last {
        let answer =
            api::answer(client, &format!("STREAM.MSG.GET.{stream}"), json!({ "seq": sequence })).await?;
        if answer["message"].is_object() {
            all.insert(sequence, answer["message"].clone());
        }
    }
    Ok(all)
}

/// Yesterday's buckets beside today's: each is read by the clients of its kind, and today's is as it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_bucket_is_one_beside_the_other() -> Result<()> {
    for release in ["2.14.5", LATEST] {
        let server = Server::start(release);
        let client = server.client().await?;
        let mut b = Builder::new(&client, server.version(), 4).await?;
        b.bucket("X", json!({})).await?;
        b.put("X", "a", "yesterday").await?;
        b.put("X", "b.c", "gone").await?;
        b.delete_key("X", "b.c").await?;
        b.object_store("Y", json!({})).await?;
        b.stream("EVT", json!(["evt.>"]), json!({})).await?;
        b.publisher.send("evt.a.b", &[], "event").await?;
        b.consumer("EVT", "mailer", json!({ "filter_subject": "evt.a.>" })).await?;
        b.finish().await?;
        let js = api::jetstream(client.clone());
        let today = js.get_object_store("Y").await?;
        let content: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
        today.put("file", &mut content.as_slice()).await?;
        today.add_link("link", &today.get("file").await?.info).await?;
        let old = dump(&server, &[]);
        js.get_key_value("X").await?.put("a", "today".into()).await?;
        today.put("file", &mut &b"today"[..]).await?;

        let arguments = ["--rename", "KV_X=KV_X_YESTERDAY", "--rename", "OBJ_Y=OBJ_Z", "--rename", "EVT=OLD"];
        let both = edited(&[&arguments[..], &["--subject", "evt=old.evt"]].concat(), &old);
        load(&server, &["--stream", "*_YESTERDAY", "--stream", "OBJ_Z", "--stream", "OLD"], &both)
            .expect_code(0);

        for (bucket, value) in [("X", "today"), ("X_YESTERDAY", "yesterday")] {
            let bucket = js.get_key_value(bucket).await?;
            ensure!(bucket.get("a").await?.context("a value")? == value, "{release}");
            ensure!(bucket.get("b.c").await?.is_none());
            ensure!(bucket.keys().await?.try_collect::<Vec<_>>().await? == ["a"]);
        }
        js.get_key_value("X_YESTERDAY").await?.put("new", "works".into()).await?;
        let yesterday = js.get_object_store("Z").await?;
        for name in ["file", "link"] {
            let mut object = yesterday.get(name).await?;
            let mut read = Vec::new();
            object.read_to_end(&mut read).await?;
            ensure!(read == content, "{release}: {name}");
            ensure!(object.info.bucket == "Z");
        }
        let link = yesterday.info("link").await?;
        let link = link.options.and_then(|options| options.link).context("a link")?;
        ensure!(link.name.as_deref() == Some("file") && link.bucket == "Z", "{link:?}");
        let mut read = Vec::new();
        today.get("file").await?.read_to_end(&mut read).await?;
        ensure!(read == b"today", "{release}");

        // And by the program of NATS.
        let mut nats = crate::support::nats::nats(&server);
        nats.args(["kv", "get", "X_YESTERDAY", "a", "--raw"]);
        ensure!(String::from_utf8(run(nats).expect_code(0).stdout)?.trim() == "yesterday");

        let mut nats = crate::support::nats::nats(&server);
        nats.args(["object", "get", "Z", "file", "--force", "--no-progress", "--output"])
            .arg(server.store().join("got"));
        run(nats).expect_code(0);
        ensure!(std::fs::read(server.store().join("got"))? == content, "{release}");

        let old = messages(&client, "OLD").await?;
        ensure!(old[&1]["subject"] == "old.evt.a.b" && old.len() == 1, "{old:?}");
        let mailer = api::call(&client, "CONSUMER.INFO.OLD.mailer", Json::Null).await?;
        ensure!(mailer["config"]["filter_subject"] == "old.evt.a.>", "{mailer}");
        ensure!(mailer["num_pending"] == 1, "{mailer}");
        api::call(&client, "STREAM.INFO.EVT", Json::Null).await?;
        client.publish("old.evt.new", "goes on".into()).await?;
        client.flush().await?;
        js.get_stream("OLD").await?;
    }
    Ok(())
}

/// Both generations, of both formats, and everything in them: equal, also when the server has been started again.
#[tokio::test(flavor = "multi_thread")]
async fn an_edit_with_nothing_to_do_changes_nothing_that_a_server_shows() -> Result<()> {
    for release in ["2.14.5", LATEST] {
        let source = Server::start(release);
        let built = fixtures::v0_4(&source.client().await?, source.version(), 3, 200).await?;
        let same = edited(&["--exclude", "KV_MEMORY*"], &dump(&source, &[]));
        let destination = Server::start(release);
        load(&destination, &[], &same).expect_code(0);
        let clients = (source.client().await?, destination.client().await?);
        let found = equality::differences(&clients.0, &clients.1, |stream| built.is_kept(stream)).await?;
        ensure!(found.is_empty(), "{release}: {found:#?}");
    }
    Ok(())
}

#[test]
fn a_capture_of_any_release_is_edited_whole_or_in_parts() {
    for release in CAPTURED {
        for shape in [Shape::Whole, Shape::Parts] {
            let archive = captures::archive(release, shape);
            let same = edited(&[], &archive);
            assert_eq!(archive::counts(&same), archive::counts(&archive), "{release}");
            let manifest = archive::manifest(&same).unwrap();
            assert_eq!(manifest["edited"][0]["source"], archive::sha256(&archive), "{release}");
            // What was edited once is edited again to the same, but for the list of edits.
            let again = edited(&[], &same);
            let snapshot = |archive: &[u8]| {
                entries(archive).unwrap().into_iter().filter(|e| e.path.ends_with(".s2")).collect::<Vec<_>>()
            };
            assert_eq!(
                snapshot(&again).iter().map(|e| &e.data).collect::<Vec<_>>(),
                snapshot(&same).iter().map(|e| &e.data).collect::<Vec<_>>()
            );
            assert_eq!(archive::manifest(&again).unwrap()["edited"].as_array().unwrap().len(), 2);
        }
    }
}

#[test]
fn what_cannot_be_done_is_refused_before_anything_is_written() {
    let archive = captures::archive("2.14.5", Shape::Whole);
    for (arguments, code, words) in [
        (&["--rename", "EVT=KV_ROOMS"][..], 2, "a bucket stays one of its kind"),
        (&["--rename", "EVT="], 2, "neither of them empty"),
        (&["--rename", "EVT"], 2, "write OLD=NEW"),
        (&["--rename", "EVT=EVT"], 2, "the new name is the old one"),
        (&["--rename", "EVT=A", "--rename", "EVT=B"], 2, "names stream EVT twice"),
        (&["--rename", "EVT=A", "--rename", "EMPTY=A"], 2, "gives two streams the name A"),
        (&["--rename", "EVT=EMPTY"], 1, "holds a stream of that name"),
        (&["--rename", "NONE=A"], 1, "holds no stream NONE"),
        (&["--subject", "evt"], 2, "write OLD=NEW"),
        (&["--subject", "evt.>=x"], 2, "no wildcards"),
        (&["--keep-subject", "a..b"], 2, "no empty tokens"),
        (&["--first-seq", "5", "--last-seq", "4"], 2, "nothing is left"),
        (&["--after", "2026-01-02T00:00:00Z", "--before", "2026-01-01T00:00:00Z"], 2, "nothing is left"),
        (&["--before", "2999-01-01T00:00:00Z"], 2, "is in the future"),
        (&["--before", "yesterday"], 2, "with its zone"),
        (&["--stream", "NONE", "--no-consumers"], 1, "select no stream"),
    ] {
        let finished = run_with(edit(arguments), &archive);
        assert!(finished.stdout.is_empty(), "{arguments:?}");
        refused(finished, code, &["chatto-manifest: error: ".to_owned().as_str(), words]);
    }
    // Known only at the end, and so without one.
    let finished = run_with(edit(&["--keep-subject", "none.at.all"]), &archive);
    is_no_archive(&finished.stdout);
    refused(finished, 1, &["no message has a subject that matches none.at.all"]);
    let finished = run_with(edit(&["--drop-subject", "none.at.all"]), &archive).expect_code(0);
    assert!(finished.stderr.contains("none was dropped"), "{}", finished.stderr);
    sound(&finished.stdout);
    // Two streams may change their names with one another.
    edited(&["--rename", "EVT=EMPTY", "--rename", "EMPTY=EVT"], &archive);
}

#[test]
fn damage_is_never_edited_into_a_whole_archive() {
    for release in ["2.14.5", "2.15.1"] {
        for shape in [Shape::Whole, Shape::Parts] {
            let archive = captures::archive(release, shape);
            for at in (600..archive.len() - 1024).step_by(997) {
                let finished = run_with(edit(&[]), &archive[..at]);
                is_no_archive(&finished.stdout);
                assert_eq!(finished.code, Some(4), "{release}, cut at {at}: {}", finished.stderr);
            }
            let snapshot = entries(&archive)
                .unwrap()
                .into_iter()
                .find(|e| e.path.contains("EVT") && e.data.len() > 900)
                .unwrap();
            let mut flipped = archive.clone();
            flipped[snapshot.data_at + 700] ^= 1;
            let finished = run_with(edit(&[]), &flipped);
            is_no_archive(&finished.stdout);
            assert_eq!(finished.code, Some(4), "{release}: {}", finished.stderr);
        }
    }
}

/// A person's key is gone from an old archive: from every block, from every list, and what proves the rest holds.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_erased_is_nowhere_in_the_archive() -> Result<()> {
    for release in ["2.14.5", LATEST] {
        let server = Server::start(release);
        let client = server.client().await?;
        let mut b = Builder::new(&client, server.version(), 5).await?;
        b.bucket("ENCRYPTION_KEYS", json!({})).await?;
        // The values that were replaced still lie in the blocks of the tar format.
        for n in 0..30 {
            b.put("ENCRYPTION_KEYS", "user.forgotten-one", format!("secret-of-one-{n}")).await?;
            b.put("ENCRYPTION_KEYS", &format!("user.other-{}", n % 3), format!("stays-{n}")).await?;
        }
        b.stream("EVT", json!(["evt.>"]), json!({})).await?;
        b.publisher.send("evt.a", &[], "event").await?;
        b.finish().await?;
        let whole = dump(&server, &["--include-keys"]);
        let arguments =
            ["--stream", "KV_ENCRYPTION_KEYS", "--drop-subject", "$KV.ENCRYPTION_KEYS.user.forgotten-one"];
        let erased = edited(&arguments, &whole);
        let rsyncable = edited(&[&arguments[..], &["--rsyncable"]].concat(), &whole);

        let holds = |archive: &[u8], text: &str| -> Result<bool> {
            let found = |bytes: &[u8]| bytes.windows(text.len()).any(|part| part == text.as_bytes());
            let mut any = found(archive);
            for entry in entries(archive)?.iter().filter(|entry| entry.path.ends_with(".s2")) {
                any |= found(&s2::unwrapped(&entry.data));
            }
            Ok(any)
        };
        for text in ["forgotten-one", "secret-of-one"] {
            ensure!(holds(&whole, text)?, "{release}: {text}");
            ensure!(!holds(&erased, text)? && !holds(&rsyncable, text)?, "{release}: {text}");
        }
        for archive in [&erased, &rsyncable] {
            ensure!(holds(archive, "user.other-2")? && holds(archive, "stays-29")?);
        }
        let options = &archive::manifest(&erased)?["edited"][0]["options"];
        let digest = archive::sha256(b"$KV.ENCRYPTION_KEYS.user.forgotten-one");
        ensure!(options.to_string().contains(&digest), "{options}");
        // What was not selected is the same to the byte.
        let evt = |archive: &[u8]| -> Result<Vec<u8>> {
            Ok(archive::file(&entries(archive)?, "backup/streams/EVT/stream.tar.s2")?.to_vec())
        };
        ensure!(evt(&erased)? == evt(&whole)?);
        ensure!(evt(&rsyncable)? == evt(&whole)?);

        for archive in [&erased, &rsyncable] {
            let destination = Server::start(release);
            load(&destination, &[], archive).expect_code(0);
            let mut expected = messages(&client, "KV_ENCRYPTION_KEYS").await?;
            expected.retain(|_, message| message["subject"] != "$KV.ENCRYPTION_KEYS.user.forgotten-one");
            let after = messages(&destination.client().await?, "KV_ENCRYPTION_KEYS").await?;
            ensure!(after == expected && after.len() == 3, "{release}: {after:#?}");
        }
    }
    Ok(())
}

/// What a consumer takes is part of its configuration: it stays, and is named, unless the consumers go.
#[tokio::test(flavor = "multi_thread")]
async fn consumers_that_take_only_what_is_dropped_are_named() -> Result<()> {
    for release in ["2.14.5", LATEST] {
        let server = Server::start(release);
        let client = server.client().await?;
        let mut b = Builder::new(&client, server.version(), 5).await?;
        b.stream("EVT", json!(["evt.>"]), json!({})).await?;
        for subject in ["evt.forgotten.a", "evt.forgotten.b", "evt.other"] {
            b.publisher.send(subject, &[], "event").await?;
        }
        b.consumer("EVT", "one", json!({ "filter_subject": "evt.forgotten.a" })).await?;
        b.consumer("EVT", "two", json!({ "filter_subjects": ["evt.forgotten.a", "evt.forgotten.b"] }))
            .await?;
        b.consumer("EVT", "both", json!({ "filter_subjects": ["evt.forgotten.*", "evt.other"] })).await?;
        b.consumer("EVT", "wide", json!({ "filter_subject": "evt.>" })).await?;
        b.consumer("EVT", "all", json!({})).await?;
        b.finish().await?;
        let archive = dump(&server, &[]);
        let finished = run_with(edit(&["--drop-subject", "evt.forgotten.*"]), &archive).expect_code(0);
        assert_eq!(
            finished.stderr,
            "chatto-manifest: warning: stream EVT: all messages for consumers \"one\", \"two\" are dropped, and the \
             configuration still names their subjects: leave consumers out with --no-consumers\n",
            "{release}"
        );
        sound(&finished.stdout);
        let holds = |archive: &[u8]| -> Result<bool> {
            let all = entries(archive)?;
            let found = |bytes: &[u8]| bytes.windows(9).any(|part| part == b"forgotten");
            let snapshots = all.iter().filter(|entry| entry.path.ends_with(".s2"));
            Ok(found(archive) || snapshots.map(|entry| s2::unwrapped(&entry.data)).any(|bytes| found(&bytes)))
        };
        ensure!(holds(&finished.stdout)?, "{release}");
        let without = edited(&["--drop-subject", "evt.forgotten.*", "--no-consumers"], &archive);
        ensure!(!holds(&without)?, "{release}");
        // What is said to be kept is written down.
        let arguments = ["--no-consumers", "--keep-subject", "evt.other", "--subject", "evt=new"];
        let options = archive::manifest(&edited(&arguments, &archive))?["edited"][0]["options"].to_string();
        ensure!(options.contains("\"evt.other\"") && options.contains("\"evt=new\""), "{options}");
    }
    Ok(())
}

/// All streams as they were at one moment; those that have forgotten what they were are named.
#[tokio::test(flavor = "multi_thread")]
async fn the_streams_of_one_moment_and_those_that_have_forgotten_it() -> Result<()> {
    for release in ["2.14.5", LATEST] {
        let server = Server::start(release);
        let client = server.client().await?;
        let mut b = Builder::new(&client, server.version(), 6).await?;
        b.stream("EVT", json!(["evt.>"]), json!({})).await?;
        for bucket in ["CHANGED", "SAME"] {
            b.bucket(bucket, json!({})).await?;
            b.put(bucket, "a", "1").await?;
            b.put(bucket, "a", "2").await?;
        }
        b.publisher.send("evt.a", &[], "before").await?;
        b.publisher.settle().await?;
        b.publisher.send("evt.b", &[], "since").await?;
        b.publisher.settle().await?;
        b.put("CHANGED", "a", "3").await?;
        b.finish().await?;
        let events = messages(&client, "EVT").await?;
        let moment = events[&2]["time"].as_str().context("a time")?;
        let archive = dump(&server, &[]);
        let finished = run_with(edit(&["--before", moment]), &archive);
        let then = finished.stdout.clone();
        sound(&then);
        refused(finished, 3, &["stream KV_CHANGED is not as it was", "it keeps 1 message for each subject"]);
        let manifest = archive::manifest(&then)?;
        let named: Vec<_> = manifest["streams"]
            .as_array()
            .context("streams")?
            .iter()
            .filter(|s| s["not_rewound"].is_string())
            .collect();
        ensure!(named.len() == 1 && named[0]["name"] == "KV_CHANGED", "{named:#?}");
        ensure!(run_with(edit(&["--before", moment, "--exclude", "KV_CHANGED"]), &archive).code == Some(0));

        let destination = Server::start(release);
        load(&destination, &[], &then).expect_code(0);
        let there = destination.client().await?;
        let mut expected = events.clone();
        expected.remove(&2);
        ensure!(messages(&there, "EVT").await? == expected, "{release}");
        let state = &api::stream_info(&there, "EVT").await?["state"];
        ensure!(state["last_seq"] == 2, "it goes on counting: {state}");
        let same = api::jetstream(there).get_key_value("SAME").await?.get("a").await?;
        ensure!(same.context("a value")? == "2", "{release}");
    }
    Ok(())
}

#[test]
fn a_dry_run_says_what_would_go_and_writes_nothing_else() {
    let archive = captures::archive("2.14.5", Shape::Parts);
    let finished = run_with(edit(&["-n", "--stream", "EVT", "--last-seq", "20", "--no-consumers"]), &archive)
        .expect_code(0);
    assert_eq!(finished.stderr, "");
    let said = String::from_utf8(finished.stdout).unwrap();
    let manifest =
        archive::manifest(&edited(&["--stream", "EVT", "--last-seq", "20", "--no-consumers"], &archive))
            .unwrap();
    let stay = archive::stream(&manifest, "EVT")["messages"].as_u64().unwrap();
    assert!(stay > 0 && stay < 47);
    assert!(
        said.starts_with(&format!("EVT: {} messages, ", 47 - stay))
            && said.contains(&format!(" go; {stay} messages, ")),
        "{said}"
    );
    assert!(said.ends_with("; 2 consumers go\n") && said.lines().count() == 1, "{said}");
}

/// An archive in which EVT has failed: before its first bytes, or after some of them.
fn with_a_failed_stream(has_begun: bool) -> Vec<u8> {
    let mut archive = Archive::read(&captures::archive("2.14.5", Shape::Parts));
    let gone = if has_begun { "backup/streams/EVT/attempt-2" } else { "backup/streams/EVT" };
    archive.0.retain(|entry| !entry.path.starts_with(gone));
    let bytes = archive.in_manifest("EVT")["bytes"].as_u64().unwrap();
    archive.edit_manifest("EVT", |entry| {
        *entry = json!({ "name": "EVT", "type": "stream", "error": "the server fell", "attempts": 1 });
    });
    archive.edit("manifest.json", |manifest| {
        let stats = &mut manifest["stats"];
        (stats["total_streams"], stats["failed"]) = (json!(2), json!(1));
        stats["total_bytes"] = json!(stats["total_bytes"].as_u64().unwrap() - bytes);
    });
    archive.with_sums()
}

/// It is named as failed in the edited archive too, and under its new name.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_has_failed_gets_its_new_name_too() -> Result<()> {
    let dir = tempfile::tempdir()?;
    for has_begun in [false, true] {
        let whole = with_a_failed_stream(has_begun);
        let mut select = program("chatto-manifest");
        select.args(["select", "--exclude", "EMPTY"]);
        let without = run_with(select, &whole).expect_code(3).stdout;
        let file = dir.path().join("backup.tar");
        for (archive, arguments, name) in [
            (&whole, &[][..], "EVT"),
            (&whole, &["--rename", "EVT=OLD"], "OLD"),
            (&whole, &["--rename", "EVT=EMPTY", "--rename", "EMPTY=EVT"], "EMPTY"),
            (&whole, &["--rename", "EVT=OLD", "--subject", "evt=old", "--rsyncable"], "OLD"),
            (&whole, &["--rename", "EVT=OLD", "--format", "natsarc1"], "OLD"),
            (&whole, &["--rename", "EVT=OLD", "--last-per-subject", "--no-consumers"], "OLD"),
            (&whole, &["--rename", "EVT=OLD", "--drop-subject", "$KV.ROOMS.room.1"], "OLD"),
            (&whole, &["--rename", "EVT=OLD", "--before", "1h"], "OLD"),
            (&without, &["--rename", "EVT=EMPTY"], "EMPTY"),
        ] {
            std::fs::write(&file, archive)?;
            let mut command = edit(arguments);
            command.arg(&file);
            let finished = run(command).expect_code(3);
            let report = verify(finished.stdout.as_slice())?;
            assert_eq!(
                (report.verdict, report.end_record),
                (Verdict::Incomplete, true),
                "{arguments:?}: {report}"
            );
            let failed: Vec<_> = report.failed.iter().map(|failed| failed.stream.as_str()).collect();
            assert_eq!(failed, [name], "{arguments:?}");

            let destination = Server::start(LATEST);
            let finished = load(&destination, &[], &finished.stdout).expect_code(3);
            assert!(finished.stderr.contains(&format!("stream {name}: ")), "{}", finished.stderr);
            assert!(finished.stderr.contains("the server fell"), "{}", finished.stderr);
        }
    }
    Ok(())
}

/// The newest message of each subject that is live and kept: known only at the end, so the input is read again.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_message_of_each_subject() -> Result<()> {
    let dir = tempfile::tempdir()?;
    for release in ["2.14.5", LATEST] {
        let server = Server::start(release);
        let client = server.client().await?;
        let mut b = Builder::new(&client, server.version(), 7).await?;
        b.stream("EVT", json!(["evt.>"]), json!({})).await?;
        for n in 0..40 {
            b.publisher.send(&format!("evt.{}", n % 4), &[], format!("{n}")).await?;
        }
        b.publisher.settle().await?;
        api::call(&client, "STREAM.MSG.DELETE.EVT", json!({ "seq": 40 })).await?;
        b.finish().await?;
        let archive = dump(&server, &[]);
        let file = dir.path().join("backup.tar");
        std::fs::write(&file, &archive)?;
        let mut last = edit(&["--last-per-subject"]);
        last.arg(&file);
        let last = run(last).expect_code(0).stdout;
        sound(&last);
        let destination = Server::start(release);
        load(&destination, &[], &last).expect_code(0);
        let after = messages(&destination.client().await?, "EVT").await?;
        let mut expected = messages(&client, "EVT").await?;
        expected.retain(|sequence, _| (36..40).contains(sequence));
        ensure!(after == expected, "{release}: {after:#?}");

        let mut two = edit(&["-n", "--last-per-subject=2", "--last-seq", "20"]);
        two.arg(&file);
        let said = String::from_utf8(run(two).expect_code(0).stdout)?;
        ensure!(said.starts_with("EVT: 31 messages, ") && said.contains("8 messages, "), "{said}");
        refused(run_with(edit(&["--last-per-subject"]), &archive), 2, &["more than once", "--spool-dir DIR"]);
        let spool = dir.path().to_str().context("a path")?;
        let spooled = edited(&["--last-per-subject", "--spool-dir", spool], &archive);
        ensure!(
            archive::file(&entries(&spooled)?, "backup/streams/EVT/stream.tar.s2")?
                == archive::file(&entries(&last)?, "backup/streams/EVT/stream.tar.s2")?
        );
    }
    Ok(())
}

/// What does not fit into memory goes in parts, before anybody knows what it will hold.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_stream_goes_in_parts_and_is_restored_from_them() -> Result<()> {
    let server = Server::start("2.14.5");
    let client = server.client().await?;
    let mut b = Builder::new(&client, server.version(), 8).await?;
    b.stream("EVT", json!(["evt.>"]), json!({})).await?;
    for n in 0..50 {
        let payload = b.random.bytes(900_000);
        b.publisher.send(&format!("evt.{n}"), &[], payload).await?;
    }
    b.publisher.settle().await?;
    api::call(&client, "STREAM.MSG.DELETE.EVT", json!({ "seq": 30 })).await?;
    b.finish().await?;
    let archive = dump(&server, &[]);
    for (arguments, name, kept) in [
        (&["--rename", "EVT=OLD"][..], "OLD", 49),
        (&["--rsyncable"], "EVT", 49),
        (&["--rsyncable", "--last-seq", "47"], "EVT", 46),
        (&["--first-seq", "3", "--drop-subject", "evt.49"], "EVT", 46),
    ] {
        let parts = edited(arguments, &archive);
        let manifest = archive::manifest(&parts)?;
        let stream = archive::stream(&manifest, name);
        ensure!(stream["attempt"] == 1 && stream["messages"] == kept, "{stream}");
        if arguments.contains(&"--rsyncable") {
            let all = entries(&parts)?;
            let parts = all.iter().filter(|entry| entry.path.contains("/part-")).count();
            ensure!(parts > 25, "{parts} parts: one for each piece of the content");
            let described = archive::file(&all, "backup/streams/EVT/attempt-1/backup.json")?;
            let described: Json = serde_json::from_slice(described)?;
            ensure!(described["state"]["last_seq"] == 0, "{described}");
        }
        let mut join = program("chatto-manifest");
        let file = server.store().join("parts.tar");
        std::fs::write(&file, &parts)?;
        join.arg("join").arg(&file);
        let joined = run(join).expect_code(0).stdout;
        sound(&joined);
        for archive in [&parts, &joined] {
            let destination = Server::start("2.14.5");
            load(&destination, &[], archive).expect_code(0);
            let state = api::stream_info(&destination.client().await?, name).await?["state"].take();
            ensure!(state["messages"] == kept && state["last_seq"] == 50, "{state}");
        }
    }
    Ok(())
}

/// Appends `count` events with random texts, and those of other lengths for another `seed`.
async fn events(server: &Server, seed: u64, count: usize) -> Result<()> {
    let client = server.client().await?;
    let mut publisher = Publisher::new(&client).await?;
    let mut random = Random::new(seed);
    for _ in 0..count {
        let (room, len) = (random.below(500), random.below(1_000));
        publisher.send(&format!("evt.room{room}"), &[], random.bytes(1_500 + len)).await?;
    }
    publisher.settle().await
}

/// The bytes in `after` that lie in no frame of `before`, which are snapshots in frames of some 64 KiB.
fn new_bytes(before: &[u8], after: &[u8]) -> usize {
    fn frames(mut rest: &[u8]) -> BTreeSet<&[u8]> {
        let mut all = BTreeSet::new();
        while let [_, a, b, c, ..] = *rest {
            let (frame, later) = rest.split_at(4 + u32::from_le_bytes([a, b, c, 0]) as usize);
            all.insert(frame);
            rest = later;
        }
        all
    }
    frames(after).difference(&frames(before)).map(|frame| frame.len()).sum()
}

/// What a program stores that stores the same data only once: of two edited archives, what changed between them.
#[tokio::test(flavor = "multi_thread")]
async fn archives_edited_to_be_rsyncable_share_what_is_unchanged() -> Result<()> {
    const OF_ONE_EDIT: [&str; 2] = ["backup/manifest.json", "backup/SHA256SUMS"];
    for release in ["2.14.5", LATEST] {
        let server = Server::start(release);
        let client = server.client().await?;
        for (stream, subject) in [("EVT", "evt.>"), ("EMPTY", "empty")] {
            let config = json!({ "name": stream, "subjects": [subject] });
            api::call(&client, &format!("STREAM.CREATE.{stream}"), config).await?;
        }
        let consumer = json!({ "durable_name": "mailer", "ack_policy": "explicit" });
        let consumer = json!({ "stream_name": "EVT", "config": consumer });
        api::call(&client, "CONSUMER.DURABLE.CREATE.EVT.mailer", consumer).await?;
        events(&server, 1, 5_000).await?;
        let rsyncable = || edited(&["--rsyncable"], &dump(&server, &[]));
        let before = entries(&rsyncable())?;
        ensure!(before.iter().all(|entry| entry.mtime == 0));
        let again = entries(&rsyncable())?;
        let differing = before.iter().zip(&again).filter(|(a, b)| (&a.path, &a.data) != (&b.path, &b.data));
        let differing: Vec<_> = differing.map(|(entry, _)| entry.path.as_str()).collect();
        ensure!(differing == OF_ONE_EDIT && before.len() == again.len(), "{release}: {differing:?}");

        events(&server, 2, 20).await?;
        api::call(&client, "STREAM.MSG.DELETE.EVT", json!({ "seq": 100 })).await?;
        let after = entries(&rsyncable())?;
        let index = |all: &[archive::Entry]| archive::file(all, "backup/index.json").map(<[u8]>::to_vec);
        ensure!(index(&before)? == index(&after)?, "{release}");
        let evt = "backup/streams/EVT/stream.tar.s2";
        let (before, after) = (archive::file(&before, evt)?, archive::file(&after, evt)?);
        let new = new_bytes(before, after);
        ensure!(after.len() > 10_000_000 && new < after.len() / 4, "{release}: {new} of {}", after.len());
    }
    Ok(())
}

/// Both generations of Chatto, and everything in them; and what the dump itself would have written.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_edited_to_be_rsyncable_is_restored_by_every_release() -> Result<()> {
    for release in ["2.14.5", LATEST] {
        let server = Server::start(release);
        let client = server.client().await?;
        let built = match release {
            LATEST => fixtures::v0_0(&client, "2.10.26".parse().unwrap(), 2, 2).await?,
            _ => fixtures::v0_4(&client, "2.10.26".parse().unwrap(), 1, 200).await?,
        };
        let arguments = ["--rsyncable", "--exclude", "KV_MEMORY*"];
        let rsyncable = edited(&arguments, &dump(&server, &[]));
        let dumped = dump(&server, &["--rsyncable"]);
        let snapshots = |archive: &[u8]| -> Result<BTreeMap<String, Vec<u8>>> {
            let all = entries(archive)?.into_iter();
            Ok(all.filter(|e| e.path.ends_with(".s2")).map(|e| (e.path, e.data)).collect())
        };
        // NATSARC1 does not say when a stream was created; a dump asks the server.
        ensure!(release == LATEST || snapshots(&rsyncable)? == snapshots(&dumped)?);
        // And again is the same.
        ensure!(snapshots(&edited(&arguments, &rsyncable))? == snapshots(&rsyncable)?, "{release}");
        for release in ["2.10.26", "2.15.1"] {
            let destination = Server::start(release);
            load(&destination, &[], &rsyncable).expect_code(0);
            let there = destination.client().await?;
            let found = equality::differences(&client, &there, |stream| built.is_kept(stream)).await?;
            ensure!(found.is_empty(), "into {release}: {found:#?}");
        }
    }
    Ok(())
}

/// An archive says of itself that it is rsyncable only if all of it is.
#[test]
fn only_an_archive_of_rsyncable_streams_says_that_it_is_one() {
    let says = |arguments: &[&str], archive: &[u8]| {
        let edited = edited(arguments, archive);
        let manifest = archive::manifest(&edited).unwrap();
        (manifest["rsyncable"] == true, edited)
    };
    for release in CAPTURED {
        for shape in [Shape::Whole, Shape::Parts] {
            let archive = captures::archive(release, shape);
            let (is, all) = says(&["--rsyncable"], &archive);
            assert!(is, "{release}");
            let manifest = archive::manifest(&all).unwrap();
            assert_eq!(manifest["created_at"], archive::manifest(&archive).unwrap()["created_at"]);
            assert_eq!(manifest["edited"][0]["options"], json!(["--rsyncable"]));
            assert!(
                !says(&["--rsyncable", "--exclude", "EVT"], &archive).0,
                "{release}: EVT passes as it is"
            );
            assert!(says(&["--rsyncable", "--exclude", "EVT"], &all).0, "{release}: it is one already");
            assert!(says(&["--rsyncable", "--rename", "EVT=OLD", "--stream", "*"], &archive).0, "{release}");
            for arguments in [&[][..], &["--rename", "EVT=OLD"]] {
                assert!(!says(arguments, &all).0, "{release}: {arguments:?} writes it in another way");
            }
        }
    }
}

/// What somebody hardly meant, and what a restored stream would do behind their back, is named.
#[tokio::test(flavor = "multi_thread")]
async fn what_new_names_and_subjects_bring_about_is_named() -> Result<()> {
    let server = Server::start(LATEST);
    let client = server.client().await?;
    let mut b = Builder::new(&client, server.version(), 5).await?;
    b.bucket("X", json!({})).await?;
    b.put("X", "a", "1").await?;
    let transforms = json!([{ "src": "$KV.X.>", "dest": "$KV.Y.>" }]);
    b.bucket("Y", json!({ "sources": [{ "name": "KV_X", "subject_transforms": transforms }] })).await?;
    b.stream("EVT", json!(["evt.>"]), json!({})).await?;
    b.publisher.send("evt.a.b", &[], "event").await?;
    b.consumer("EVT", "mailer", json!({ "deliver_subject": "mail" })).await?;
    b.finish().await?;
    let taken = async |client: &Client, bucket: &str| -> Result<u64> {
        loop {
            let info = api::stream_info(client, &format!("KV_{bucket}")).await?;
            match info["state"]["last_seq"].as_u64() {
                Some(last) if last > 0 && info["sources"][0]["lag"] == 0 => return Ok(last),
                _ => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            }
        }
    };
    ensure!(taken(&client, "Y").await? == 1);
    let archive = dump(&server, &[]);
    for (arguments, words) in [
        (&["--subject", "none.at=all"][..], "replaces: none was replaced"),
        (&["--subject", "evt.a=x"], "stream EVT holds messages with subjects such as x.b now"),
        (&["--rename", "EVT=OLD"], "the subscribers of EVT get its messages too, from its consumer"),
        (&["--rename", "KV_Y=KV_Z"], "and takes all of their messages again"),
    ] {
        let finished = run_with(edit(arguments), &archive).expect_code(0);
        assert_eq!(finished.stderr.matches("warning").count(), 1, "{}", finished.stderr);
        assert!(finished.stderr.contains(words), "{arguments:?}: {}", finished.stderr);
        sound(&finished.stdout);
    }
    edited(&["--subject", "evt=x"], &archive);
    edited(&["--stream", "EVT", "--rename", "EVT=OLD", "--no-consumers"], &archive);

    // It does take them again, which no server says.
    let again = run_with(edit(&["--rename", "KV_Y=KV_Z"]), &archive).expect_code(0);
    let destination = Server::start(LATEST);
    load(&destination, &[], &again.stdout).expect_code(0);
    let client = destination.client().await?;
    while taken(&client, "Z").await? < 2 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    Ok(())
}

/// The earliest times that there are, too: a bound that no message can have is still one.
#[test]
fn nothing_is_older_than_the_first_time() {
    let archive = captures::archive("2.14.5", Shape::Whole);
    for (option, stay) in [("--before", false), ("--after", true)] {
        let argument = format!("{option}=-009000-01-01T00:00:00Z");
        let finished = run_with(edit(&["-n", "--stream", "EVT", &argument]), &archive);
        let said = String::from_utf8(finished.stdout).unwrap();
        assert_eq!(said.starts_with("EVT: 0 messages, 0 B go"), stay, "{said}");
        assert_eq!(said.contains("go; 0 messages, 0 B stay"), !stay, "{said}");
    }
}
