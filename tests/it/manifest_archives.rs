//! `chatto-manifest select`, `join` and `import` write archives: the same one, smaller ones, and ones without parts, from
//! every kind of input.

// A failed expectation in a helper is a failed test.
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::archive::Archive;
use crate::support::captures::{CAPTURED, STREAMS, Shape, archive, capture};
use crate::support::programs::{Finished, program, run, run_with};
use chatto_pipes::command::manifest::verify::{ArchiveFault, Verdict, verify};

fn manifest(arguments: &[&str]) -> Command {
    let mut command = program("chatto-manifest");
    command.args(arguments);
    command
}

fn list(archive: &[u8]) -> Vec<String> {
    let listed = run_with(manifest(&["list"]), archive).expect_code(0).stdout;
    String::from_utf8(listed).unwrap().lines().map(str::to_owned).collect()
}

#[track_caller]
fn sound(archive: &[u8]) {
    let report = verify(archive).unwrap();
    assert_eq!((report.verdict, report.end_record), (Verdict::Sound, true), "{report}");
}

/// A directory whose `name` holds a file.
fn file(dir: &Path, name: &str, content: &[u8]) -> String {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    path.display().to_string()
}

fn shell(dir: &Path, script: &str) -> Finished {
    let mut shell = Command::new("sh");
    shell.args(["-euc", script]).current_dir(dir).stdin(Stdio::null());
    run(shell).expect_code(0)
}

#[test]
fn selecting_everything_gives_the_same_bytes() {
    for release in CAPTURED {
        for shape in [Shape::Whole, Shape::Parts] {
            let archive = archive(release, shape);
            for arguments in [&["select"][..], &["select", "--stream", "*"], &["select", "--exclude", "NONE"]]
            {
                let selected = run_with(manifest(arguments), &archive).expect_code(0);
                assert!(selected.stdout == archive, "{release} {arguments:?}");
                assert_eq!(selected.stderr, "");
            }
        }
    }
}

#[test]
fn any_selection_is_a_sound_archive_of_its_own() {
    let archive = archive("2.12.8", Shape::Parts);
    for (arguments, want) in [
        (&["select", "--stream", "EVT"][..], &["EVT"][..]),
        (&["select", "--exclude", "EVT"], &["KV_ROOMS", "EMPTY"]),
        (&["select", "--stream", "KV_*", "--stream", "EM*"], &["KV_ROOMS", "EMPTY"]),
        (&["select", "--stream", "*", "--exclude", "*V*"], &["EMPTY"]),
    ] {
        let selected = run_with(manifest(arguments), &archive).expect_code(0).stdout;
        sound(&selected);
        assert_eq!(list(&selected), want, "{arguments:?}");
        // What was selected once is selected again, to the byte.
        assert!(run_with(manifest(&["select"]), &selected).expect_code(0).stdout == selected);
        let table = run_with(manifest(&["--table"]), &selected).expect_code(0).stdout;
        assert_eq!(String::from_utf8(table).unwrap().matches("left out: ").count(), 3 - want.len());
    }
    let nothing = run_with(manifest(&["select", "--stream", "NONE"]), &archive).expect_code(1);
    assert!(nothing.stdout.is_empty());
    assert!(nothing.stderr.contains("select no stream"), "{}", nothing.stderr);
}

#[test]
fn a_selection_of_a_damaged_archive_has_no_end() {
    let mut archive = archive("2.14.5", Shape::Parts);
    let at = archive
        .windows(7)
        .position(|bytes| bytes == b"S2sTwO\x00" || bytes == b"S2sTwO\xfe")
        .unwrap_or(9_000);
    archive[at] ^= 1;
    let selected = run_with(manifest(&["select", "--stream", "EMPTY"]), &archive).expect_code(4);
    let report = verify(selected.stdout.as_slice()).unwrap();
    assert_eq!(report.verdict, Verdict::Damaged);
    let cut = run_with(manifest(&["select"]), &archive[..archive.len() - 2_000]).expect_code(4);
    assert_eq!(verify(cut.stdout.as_slice()).unwrap().verdict, Verdict::Damaged);
}

/// Of a stream in parts, each byte has one sum: that of its part.
#[test]
fn a_flipped_bit_in_any_part_is_found_by_all_who_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let sound = archive("2.14.5", Shape::Parts);
    let entries = Archive::read(&sound).0;
    let parts = entries.iter().filter(|entry| entry.path.contains("/attempt-2/part-"));
    let places: Vec<_> = parts.flat_map(|part| [0, part.data.len() - 1].map(|at| (part, at))).collect();
    assert_eq!(places.len(), 10);
    for (part, at) in places {
        let mut flipped = sound.clone();
        flipped[part.data_at + at] ^= 1;
        let report = verify(flipped.as_slice()).unwrap();
        let path = part.path.trim_start_matches("backup/");
        let named =
            |fault: &ArchiveFault| fault.place == path && fault.what == "its bytes do not match SHA256SUMS";
        assert!(report.faults.iter().any(named), "{path}: {report}");
        let file = file(dir.path(), "flipped.tar", &flipped);
        assert_eq!(run(manifest(&["join", &file])).expect_code(4).stdout, b"");
        for arguments in
            [&["select"][..], &["edit", "--rename", "EVT=OTHER"], &["edit", "--rename", "EMPTY=NONE"]]
        {
            let written = run_with(manifest(arguments), &flipped).expect_code(4).stdout;
            assert_eq!(verify(written.as_slice()).unwrap().verdict, Verdict::Damaged, "{arguments:?}");
        }
        // Whoever makes the sums anew makes none of the manifest's.
        let mut summed = Archive::read(&sound);
        summed.file(path)[at] ^= 1;
        let summed = summed.with_sums();
        run_with(manifest(&["select"]), &summed).expect_code(4);
        let report = verify(summed.as_slice()).unwrap();
        let said = "has another digest for stream EVT than its snapshot";
        assert!(report.faults.iter().any(|fault| fault.what == said), "{path}: {report}");
    }
}

#[test]
fn joining_makes_every_stream_one_entry() {
    let dir = tempfile::tempdir().unwrap();
    for release in CAPTURED {
        let (parts, whole) = (archive(release, Shape::Parts), archive(release, Shape::Whole));
        let file = file(dir.path(), "parts.tar", &parts);
        let joined = run(manifest(&["join", &file])).expect_code(0).stdout;
        sound(&joined);
        // The two differ only in how many attempts it took.
        let once = String::from_utf8_lossy(&joined).replacen("\"attempts\": 2", "\"attempts\": 1", 1);
        assert_eq!(once.len(), String::from_utf8_lossy(&whole).len(), "{release}");
        let spool = dir.path().display().to_string();
        let spooled = run_with(manifest(&["join", "--spool-dir", &spool]), &parts).expect_code(0).stdout;
        assert!(spooled == joined);
        assert!(run_with(manifest(&["join", "--spool-dir", &spool]), &whole).expect_code(0).stdout == whole);
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "something was left in the spool");
    let refused = run_with(manifest(&["join"]), archive("2.15.1", Shape::Parts)).expect_code(2);
    assert!(refused.stderr.contains("reads its input more than once"), "{}", refused.stderr);
    assert!(refused.stderr.contains("--spool-dir DIR"), "{}", refused.stderr);
}

#[test]
fn joining_a_damaged_archive_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let archive = archive("2.15.1", Shape::Parts);
    let file = file(dir.path(), "cut.tar", &archive[..archive.len() - 1_024]);
    assert!(run(manifest(&["join", &file])).expect_code(4).stdout.is_empty());
}

#[test]
fn an_encrypted_file_is_joined_with_one_passphrase() {
    let dir = tempfile::tempdir().unwrap();
    let parts = archive("2.14.5", Shape::Parts);
    let pass = file(dir.path(), "pass", b"correct horse\n");
    shell(dir.path(), "chmod 600 pass");
    let mut seal = program("chatto-keys");
    seal.args(["seal", "--passphrase-file", &pass]);
    let sealed = file(dir.path(), "sealed", &run_with(seal, &parts).expect_code(0).stdout);
    // A descriptor can be read only once.
    let mut join = Command::new("sh");
    join.args(["-c", "\"$0\" join --passphrase-file /dev/fd/3 \"$1\" 3<\"$2\""]);
    join.arg(crate::support::programs::path("chatto-manifest")).args([&sealed, &pass]);
    sound(&run(join).expect_code(0).stdout);
    run(manifest(&["join", "--passphrase", "wrong", &sealed])).expect_code(6);
}

#[test]
fn archives_of_chatto_backup_are_read_wrapped_or_not() {
    let dir = tempfile::tempdir().unwrap();
    let (json, snapshot) = capture("2.14.5", "EVT");
    file(dir.path(), "backup/streams/EVT/backup.json", &json);
    file(dir.path(), "backup/streams/EVT/stream.tar.s2", &snapshot);
    let list_json = format!(
        r#"{{"version":1,"created_at":"2026-08-01T00:00:00Z",
            "streams":[{{"name":"EVT","type":"stream","messages":57,"bytes":{}}},{{"name":"KV_A","type":"skipped","messages":0,"bytes":0}}],
            "stats":{{"total_streams":1,"total_bytes":{},"duration_ms":1,"skipped":1,"failed":0}}}}"#,
        snapshot.len(),
        snapshot.len()
    );
    file(dir.path(), "backup/manifest.json", list_json.as_bytes());
    let pack = "tar -cf - backup/manifest.json backup/streams/EVT/backup.json backup/streams/EVT/stream.tar.s2 | gzip";
    let chatto = shell(dir.path(), pack).stdout;
    assert_eq!(list(&chatto), ["EVT"]);
    assert_eq!(run_with(manifest(&["show"]), &chatto).expect_code(0).stdout, list_json.as_bytes());
    let verdict = run_with(manifest(&["verify"]), &chatto).expect_code(0).stdout;
    assert!(String::from_utf8(verdict).unwrap().contains("; no end record, "));
    let selected = run_with(manifest(&["select"]), &chatto).expect_code(0).stdout;
    sound(&selected);
    assert_eq!(list(&selected), ["EVT"]);

    // With the manifest last, as other tars pack it, there is no index to be made in one pass.
    let pack =
        "tar -cf - backup/streams/EVT/backup.json backup/streams/EVT/stream.tar.s2 backup/manifest.json";
    let repacked = shell(dir.path(), pack).stdout;
    run_with(manifest(&["verify"]), &repacked).expect_code(0);
    let refused = run_with(manifest(&["select"]), &repacked).expect_code(1);
    assert!(
        refused.stderr.contains("hint: put it in order first: chatto-manifest import"),
        "{}",
        refused.stderr
    );
    let spool = dir.path().display().to_string();
    let imported = run_with(manifest(&["import", "--spool-dir", &spool]), &repacked).expect_code(0).stdout;
    sound(&imported);
}

#[test]
fn tars_of_nats_backup_directories_become_archives() {
    for release in CAPTURED {
        let dir = tempfile::tempdir().unwrap();
        for stream in STREAMS {
            let (json, snapshot) = capture(release, stream);
            file(dir.path(), &format!("account/{stream}/backup.json"), &json);
            // Newer tools name it after the format.
            let name = if release == "2.15.1" { "stream.arc.s2" } else { "stream.tar.s2" };
            file(dir.path(), &format!("account/{stream}/{name}"), &snapshot);
        }
        // An account's directory in either order, and that of one stream, which has no directory above it.
        for (script, want) in [
            ("tar -cf x.tar --sort=name account", &["EMPTY", "EVT", "KV_ROOMS"][..]),
            ("tar -cf x.tar $(find account -type f | sort -r)", &["KV_ROOMS", "EVT", "EMPTY"]),
            ("tar -czf x.tar -C account/EVT .", &["EVT"]),
        ] {
            shell(dir.path(), script);
            let tar = dir.path().join("x.tar").display().to_string();
            let imported = run(manifest(&["import", &tar])).expect_code(0);
            assert_eq!(imported.stderr, "");
            sound(&imported.stdout);
            assert_eq!(list(&imported.stdout), want, "{release}: {script}");
        }
    }
}

#[test]
fn an_archive_of_ours_is_not_imported() {
    for shape in [Shape::Whole, Shape::Parts] {
        let refused = run_with(manifest(&["import", "--spool-dir", "/tmp"]), archive("2.15.1", shape));
        let refused = refused.expect_code(2);
        assert!(refused.stdout.is_empty());
        assert!(refused.stderr.contains("error: the input is an archive already\n"), "{}", refused.stderr);
        assert!(refused.stderr.contains("hint: chatto-manifest join "), "{}", refused.stderr);
    }
}
