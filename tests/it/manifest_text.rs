//! The output of `chatto-manifest show`, `list` and `diff`, for jq, awk and people, and their exit codes.

// A failed expectation in a helper is a failed test.
use std::fs::{self, File};
use std::process::{Command, Stdio};

use crate::support::captures::{Shape, archive};
use crate::support::programs::{path, program, run, run_for_nobody, run_with};
use serde_json::Value;

fn manifest(arguments: &[&str]) -> Command {
    let mut command = program("chatto-manifest");
    command.args(arguments);
    command
}

fn text(arguments: &[&str], archive: &[u8]) -> String {
    String::from_utf8(run_with(manifest(arguments), archive).expect_code(0).stdout).unwrap()
}

#[test]
fn show_is_the_manifest_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let archive = archive("2.14.5", Shape::Parts);
    let tar = dir.path().join("a.tar");
    fs::write(&tar, &archive).unwrap();
    let name = tar.display().to_string();
    let mut extract = Command::new("tar");
    extract.args(["-xOf", &name, "backup/manifest.json"]);
    let want = String::from_utf8(run(extract).expect_code(0).stdout).unwrap();
    // With and without its name, from a pipe and from a file.
    for arguments in [&["show"][..], &[], &["show", "-"], &["-"]] {
        assert_eq!(text(arguments, &archive), want, "{arguments:?}");
    }
    for arguments in [&["show", &name][..], &[&name]] {
        assert_eq!(String::from_utf8(run(manifest(arguments)).expect_code(0).stdout).unwrap(), want);
    }
    let index: Value = serde_json::from_str(&text(&["show", "--index"], &archive)).unwrap();
    assert_eq!(index["streams"][0]["name"], "EVT");
    // A file that is called like an action needs a path.
    fs::write(dir.path().join("list"), &archive).unwrap();
    let mut show = manifest(&["./list"]);
    assert_eq!(
        run({
            show.current_dir(dir.path());
            show
        })
        .expect_code(0)
        .stdout,
        want.as_bytes()
    );
}

#[test]
fn a_table_is_for_people() {
    let table = text(&["--table"], &archive("2.14.5", Shape::Parts));
    let mut lines = table.lines();
    assert_eq!(lines.next(), Some("2026-11-22T08:00:00Z, by chatto-pipes 0, of nats-server 2.14.5"));
    assert!(table.contains("\nSTREAM    KIND    MESSAGES  SEQUENCES"), "{table}");
    assert!(table.contains("first and last capture 2.000 s apart"), "{table}");
    let index = text(&["--index", "--table"], &archive("2.14.5", Shape::Parts));
    assert!(index.contains("announced"), "{index}");
}

#[test]
fn list_names_the_streams_for_people_and_for_xargs() {
    let archive = archive("2.15.1", Shape::Whole);
    assert_eq!(text(&["list"], &archive), "EVT\nKV_ROOMS\nEMPTY\n");
    assert_eq!(text(&["list", "-0"], &archive), "EVT\0KV_ROOMS\0EMPTY\0");
    assert_eq!(text(&["list", "--index"], &archive), "EVT\nKV_ROOMS\nEMPTY\n");
    let long = text(&["list", "-l"], &archive);
    let fields: Vec<_> = long.lines().nth(1).unwrap().split('\t').collect();
    assert_eq!((fields.len(), fields[0], fields[1]), (7, "KV_ROOMS", "kv"), "{long}");
    assert_eq!(fields[6], "2026-11-22T08:00:01.25Z");
}

#[test]
fn the_head_is_enough_for_the_index() {
    let archive = archive("2.15.1", Shape::Whole);
    assert_eq!(text(&["list", "--index"], &archive[..4_096]), "EVT\nKV_ROOMS\nEMPTY\n");
    run_with(manifest(&["list"]), &archive[..4_096]).expect_code(4);
}

#[test]
fn diff_ends_as_diff_does() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        fs::write(dir.path().join(name), bytes).unwrap();
        dir.path().join(name).display().to_string()
    };
    let (whole, parts) = (archive("2.12.8", Shape::Whole), archive("2.12.8", Shape::Parts));
    let (a, b) = (file("a", &whole), file("b", &parts));
    assert_eq!(run(manifest(&["diff", &a, &b])).expect_code(0).stdout, b"");
    assert_eq!(run_with(manifest(&["diff", "-", &b]), &whole).expect_code(0).stdout, b"");

    let fewer = run_with(manifest(&["select", "--exclude", "KV_*"]), &whole).expect_code(0).stdout;
    let c = file("c", &fewer);
    let removed = run(manifest(&["diff", &a, &c])).expect_code(1);
    assert_eq!(String::from_utf8(removed.stdout).unwrap(), "KV_ROOMS: removed: 7 messages\n");
    let added = run(manifest(&["diff", &c, &a])).expect_code(1);
    assert_eq!(String::from_utf8(added.stdout).unwrap(), "KV_ROOMS: added: 7 messages\n");
    let other = file("d", &archive("2.14.5", Shape::Whole));
    let rewritten = run(manifest(&["diff", &a, &other])).expect_code(1);
    assert!(String::from_utf8(rewritten.stdout).unwrap().contains("EVT: rewritten: was "));

    // Trouble is never 1.
    run(manifest(&["diff", &a])).expect_code(2);
    run(manifest(&["diff", "-", "-"])).expect_code(2);
    run(manifest(&["diff", &a, "/nonexistent"])).expect_code(2);
    let cut = file("cut", &whole[..9_000]);
    let damaged = run(manifest(&["diff", &a, &cut])).expect_code(4);
    assert!(damaged.stderr.contains("/cut: the archive is cut short"), "{}", damaged.stderr);
}

/// A reader that goes away: enough for text, too little for an archive.
#[test]
fn a_reader_that_goes_away_fails_only_archives() {
    let dir = tempfile::tempdir().unwrap();
    let tar = dir.path().join("a.tar");
    fs::write(&tar, archive("2.14.5", Shape::Parts)).unwrap();
    let other = dir.path().join("b.tar");
    fs::write(&other, archive("2.15.1", Shape::Parts)).unwrap();
    let (tar, other) = (tar.display().to_string(), other.display().to_string());
    for (arguments, code) in [
        (&["show", &tar][..], 0),
        (&["list", &tar], 0),
        (&["verify", &tar], 0),
        (&["diff", &tar, &other], 1),
        (&["select", &tar], 1),
        (&["join", &tar], 1),
    ] {
        let finished = run_for_nobody(manifest(arguments)).expect_code(code);
        let said = finished.stderr.contains("ended early");
        assert_eq!(said, matches!(arguments[0], "select" | "join"), "{}", finished.stderr);
    }
}

#[test]
fn terminals_get_tables_and_no_archives_and_give_none() {
    let dir = tempfile::tempdir().unwrap();
    let tar = dir.path().join("a.tar");
    fs::write(&tar, archive("2.14.5", Shape::Parts)).unwrap();
    // script(1) runs a command at a terminal of its own and ends as the command does.
    let at_a_terminal = |arguments: &str| {
        let mut script = Command::new("script");
        let command = format!("{} {arguments}", path("chatto-manifest").display());
        script.args(["-qec", &command, "/dev/null"]).env("SHELL", "/bin/sh").current_dir(dir.path());
        script.stdin(Stdio::from(File::open("/dev/null").unwrap()));
        run(script)
    };
    let table = String::from_utf8(at_a_terminal("a.tar").expect_code(0).stdout).unwrap();
    assert!(table.contains("STREAM    KIND    MESSAGES"), "{table}");
    for arguments in ["select a.tar", "join a.tar", "import a.tar"] {
        let refused = String::from_utf8(at_a_terminal(arguments).expect_code(2).stdout).unwrap();
        assert!(refused.contains("stdout is a terminal"), "{refused}");
    }
    let refused = String::from_utf8(at_a_terminal("verify").expect_code(2).stdout).unwrap();
    assert!(refused.contains("stdin is a terminal"), "{refused}");
}

#[test]
fn what_is_no_archive_is_called_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    for action in ["show", "list", "verify", "select"] {
        for (input, word) in [(&b""[..], "it is empty"), (b"hello\n", "it looks like text")] {
            let finished = run_with(manifest(&[action]), input).expect_code(4);
            let said = [finished.stderr, String::from_utf8(finished.stdout).unwrap()].concat();
            assert!(said.contains(&format!("not an archive: {word}")), "{action}: {said}");
        }
        let refused = run(manifest(&[action, &dir.path().display().to_string()])).expect_code(2);
        assert!(refused.stderr.contains("is a directory\n"), "{}", refused.stderr);
        assert!(refused.stderr.contains("hint: feed its tar: tar cf - DIR |"), "{}", refused.stderr);
    }
}

#[test]
fn what_is_locked_and_what_holds_keys_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let pass = dir.path().join("pass");
    fs::write(&pass, "one\n").unwrap();
    let mut seal = program("chatto-keys");
    seal.args(["seal", "--passphrase", "one"]);
    let sealed = run_with(seal, archive("2.14.5", Shape::Whole)).expect_code(0).stdout;
    let opened = run_with(manifest(&["list", "--passphrase", "one"]), &sealed).expect_code(0);
    assert_eq!(opened.stdout, b"EVT\nKV_ROOMS\nEMPTY\n");
    for action in ["show", "list", "verify", "select"] {
        run_with(manifest(&[action, "--passphrase", "two"]), &sealed).expect_code(6);
    }
    let keys = chatto_pipes::archive::write_keys(Vec::new(), 0, b"{}").unwrap();
    for action in ["show", "list", "verify", "select"] {
        let finished = run_with(manifest(&[action]), &keys).expect_code(4);
        let said = [finished.stderr, String::from_utf8(finished.stdout).unwrap()].concat();
        assert!(said.contains("encryption keys"), "{said}");
    }
}
