//! `chatto-manifest` reads a tar of a directory of `nats backup account` or `nats backup stream` as it is. Actions that need an
//! archive say how to make one.

// A failed expectation in a helper is a failed test.
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::captures::{CAPTURED, STREAMS, Shape, archive, capture};
use crate::support::programs::{program, program_for, run, run_with};
use crate::support::server::{LATEST, Server};
use chatto_pipes::command::manifest::verify::{Verdict, VerifyReport, verify};
use serde_json::Value;

fn manifest(arguments: &[&str]) -> Command {
    let mut command = program("chatto-manifest");
    command.args(arguments);
    command
}

/// The directory `account` below `dir`, as the nats tool writes it of a release's captures.
fn account(dir: &Path, release: &str) {
    for stream in STREAMS {
        let (json, snapshot) = capture(release, stream);
        let directory = dir.join("account").join(stream);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("backup.json"), json).unwrap();
        // Newer tools name it after the format.
        let name = if release == "2.15.1" { "stream.arc.s2" } else { "stream.tar.s2" };
        fs::write(directory.join(name), snapshot).unwrap();
    }
}

/// What tar(1) makes of `arguments`.
fn tar(dir: &Path, arguments: &str) -> Vec<u8> {
    let mut shell = Command::new("sh");
    shell.args(["-euc", &format!("tar -cf - {arguments}")]).current_dir(dir).stdin(Stdio::null());
    run(shell).expect_code(0).stdout
}

/// The files of `account` with each description before its snapshot, and behind it.
const ORDERS: [&str; 2] = ["$(find account -type f | sort)", "$(find account -type f | sort -r)"];

fn report(tar: &[u8]) -> VerifyReport {
    verify(tar).unwrap()
}

#[test]
fn every_snapshot_is_held_against_its_description_in_any_order() {
    for release in CAPTURED {
        let dir = tempfile::tempdir().unwrap();
        account(dir.path(), release);
        // The directory of one stream may have any name, or none.
        fs::rename(dir.path().join("account/EVT"), dir.path().join("account/today")).unwrap();
        for (arguments, streams) in [
            ("account", 3),
            ("-C account .", 3),
            (ORDERS[0], 3),
            (ORDERS[1], 3),
            ("-C account/today .", 1),
            ("-C account/today $(cd account/today; ls -r)", 1),
        ] {
            let report = report(&tar(dir.path(), arguments));
            assert_eq!(report.faults, [], "{release} {arguments}");
            assert_eq!((report.verdict, report.end_record), (Verdict::Sound, false));
            assert_eq!((report.streams, report.messages >= 47), (streams, true), "{report}");
        }
    }
}

#[test]
fn what_is_damaged_missing_or_too_much_is_named() {
    let dir = tempfile::tempdir().unwrap();
    account(dir.path(), "2.14.5");
    let path = |file: &str| dir.path().join("account").join(file);
    let mut snapshot = fs::read(path("EVT/stream.tar.s2")).unwrap();
    let middle = snapshot.len() / 2;
    snapshot[middle] ^= 1;
    fs::write(path("EVT/stream.tar.s2"), snapshot).unwrap();
    fs::remove_file(path("EMPTY/stream.tar.s2")).unwrap();
    // The description of another stream.
    fs::copy(path("EVT/backup.json"), path("KV_ROOMS/backup.json")).unwrap();
    for order in ORDERS {
        let report = report(&tar(dir.path(), order));
        assert_eq!(report.verdict, Verdict::Damaged);
        let places: Vec<&str> = report.faults.iter().map(|fault| &*fault.place).collect();
        for place in ["account/EVT/stream.tar.s2", "account/EMPTY/stream.tar.s2", "/backup.json"] {
            assert!(places.iter().any(|found| found.ends_with(place)), "{place} is not in {report}");
        }
    }
    fs::remove_file(path("KV_ROOMS/backup.json")).unwrap();
    let undescribed = report(&tar(dir.path(), ORDERS[0])).to_string();
    assert!(undescribed.contains("account/KV_ROOMS/backup.json: is missing"), "{undescribed}");
    let whole = tar(dir.path(), "account/EVT");
    for cut in [600, 2_000, whole.len() / 2, whole.len() - 10_000] {
        assert_eq!(report(&whole[..cut]).verdict, Verdict::Damaged, "cut at {cut} of {}", whole.len());
    }
}

/// The snapshot itself says how its stream was configured, whichever of the two comes first.
#[test]
fn a_description_is_held_against_what_the_snapshot_says_itself() {
    let dir = tempfile::tempdir().unwrap();
    for release in ["2.9.25", "2.10.26", "2.14.5"] {
        account(dir.path(), release);
        let description = dir.path().join("account/KV_ROOMS/backup.json");
        let mut json: Value = serde_json::from_slice(&fs::read(&description).unwrap()).unwrap();
        json["config"]["duplicate_window"] = 1.into();
        fs::write(&description, json.to_string()).unwrap();
        for order in ORDERS {
            let tar = tar(dir.path(), order);
            let report = report(&tar);
            let found: Vec<_> = report.faults.iter().map(|fault| fault.what.clone()).collect();
            let place = "account/KV_ROOMS/backup.json";
            let what = "its backup.json is not as written: the snapshot itself has another duplicate_window";
            assert_eq!((found, report.faults[0].place.as_str()), (vec![what.to_owned()], place), "{release}");
            let file = dir.path().join("account.tar");
            fs::write(&file, &tar).unwrap();
            let imported = run(manifest(&["import", &file.display().to_string()])).expect_code(3);
            assert!(imported.stderr.contains(&format!("stream KV_ROOMS: {what}\n")), "{}", imported.stderr);
        }
        fs::remove_dir_all(dir.path().join("account")).unwrap();
    }
}

/// Which of them is the stream's, nobody can know, so nothing is written.
#[test]
fn a_stream_with_two_snapshots_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    account(dir.path(), "2.14.5");
    let evt = dir.path().join("account/EVT");
    fs::copy(evt.join("stream.tar.s2"), evt.join("stream.arc.s2")).unwrap();
    for (order, second, first) in
        [(ORDERS[0], "stream.tar.s2", "stream.arc.s2"), (ORDERS[1], "stream.arc.s2", "stream.tar.s2")]
    {
        let tar = tar(dir.path(), order);
        let file = dir.path().join("account.tar");
        fs::write(&file, &tar).unwrap();
        let said = format!("account/EVT/{second}: comes beside {first}, and a stream has one snapshot");
        for action in ["import", "list", "show"] {
            let refused = run(manifest(&[action, &file.display().to_string()])).expect_code(4);
            assert!(refused.stderr.contains(&said), "{action}: {}", refused.stderr);
            assert!(refused.stdout.is_empty(), "{action}");
        }
        let report = report(&tar).to_string();
        assert!(report.contains(&said), "{report}");
    }
}

#[test]
fn show_list_and_diff_say_what_the_descriptions_promise() {
    let dir = tempfile::tempdir().unwrap();
    account(dir.path(), "2.14.5");
    let text = |arguments: &[&str], input: &[u8]| {
        String::from_utf8(run_with(manifest(arguments), input).expect_code(0).stdout).unwrap()
    };
    for order in ORDERS {
        let tar = tar(dir.path(), order);
        assert_eq!(text(&["list"], &tar), "EMPTY\nEVT\nKV_ROOMS\n");
        let long = text(&["list", "-l"], &tar);
        assert!(long.contains("\nEVT\tstream\t47\t3\t61\t"), "{long}");
        let shown: Value = serde_json::from_str(&text(&[], &tar)).unwrap();
        assert_eq!(shown["streams"][1]["messages"], 47, "{shown}");
        assert_eq!(shown.as_object().unwrap().len(), 1, "{shown}");
        let table = text(&["--table"], &tar);
        assert!(table.contains("as promised") && table.contains("3 streams, 54 messages"), "{table}");
        for action in ["show", "list"] {
            let refused = run_with(manifest(&[action, "--index"]), &tar).expect_code(1);
            assert!(refused.stderr.contains("hint: do without --index"), "{}", refused.stderr);
        }
        // Against the archive of the same snapshots, and against itself without a stream.
        let other = dir.path().join("other.tar");
        fs::write(&other, archive("2.14.5", Shape::Parts)).unwrap();
        let other = other.display().to_string();
        assert_eq!(text(&["diff", "-", &other], &tar), "");
        let fewer = self::tar(dir.path(), "account/EVT account/EMPTY");
        let removed = run_with(manifest(&["diff", &other, "-"]), &fewer).expect_code(1);
        assert_eq!(String::from_utf8(removed.stdout).unwrap(), "KV_ROOMS: removed: 7 messages\n");
    }
}

#[test]
fn what_wants_an_archive_names_import() {
    let dir = tempfile::tempdir().unwrap();
    account(dir.path(), LATEST);
    let server = Server::start(LATEST);
    for arguments in ["account", "-C account .", "-C account/EVT ."] {
        let tar = tar(dir.path(), arguments);
        let file = dir.path().join("x.tar");
        fs::write(&file, &tar).unwrap();
        for mut refused in [manifest(&["select"]), manifest(&["join"]), program_for("chatto-load", &server)] {
            let name = refused.get_program().to_string_lossy().into_owned();
            let refused = run({
                refused.arg(&file);
                refused
            })
            .expect_code(4);
            assert!(refused.stdout.is_empty());
            assert!(
                refused.stderr.contains("a tar of a directory of nats backup account"),
                "{}",
                refused.stderr
            );
            let hint = match name.ends_with("chatto-load") {
                true => "hint: make an archive of it: chatto-manifest import FILE | chatto-load\n",
                false => "hint: make an archive of it: chatto-manifest import FILE > backup.tar\n",
            };
            assert!(refused.stderr.contains(hint), "{}", refused.stderr);
        }
        // And the hint is good.
        let imported = run(manifest(&["import", &file.display().to_string()])).expect_code(0).stdout;
        let mut load = program_for("chatto-load", &server);
        load.arg("--dry-run");
        run_with(load, imported).expect_code(0);
    }
}
