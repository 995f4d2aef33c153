//! No message repeats a secret, wherever the user gave it. If other users can read a file with a secret, there is a warning.

// In the helpers, as in the tests, a failed expectation is a failed test.
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use crate::support::programs::{Finished, program, refused, run};

fn program_with(name: &str, arguments: &[&str]) -> Finished {
    let mut command = program(name);
    command.args(arguments);
    run(command)
}

#[test]
fn of_a_url_nothing_but_host_and_port_is_shown() {
    for url in [
        "nats://u:PASS/WORD@127.0.0.1:1",
        "nats://u:PASS?WORD@127.0.0.1:1",
        "nats://u:PASS#WORD@127.0.0.1:1",
        "nats://127.0.0.1:1?token=PASS@WORD",
        "http://u:PASSWORD@127.0.0.1:1/PASSWORD",
        "nats://u:PASS%2FWORD@127.0.0.1:PASSWORD",
        "nats://u:PASSWORD@[::1",
    ] {
        let finished = program_with("chatto-dump", &["-s", url]).expect_code(2);
        assert!(finished.stderr.starts_with("chatto-dump: error: server URL: "), "{}", finished.stderr);
        assert!(
            !finished.stderr.contains("PASS") && !finished.stderr.contains("WORD"),
            "{}",
            finished.stderr
        );
    }
    for url in [
        "nats://u:PASSWORD@127.0.0.1:1",
        "nats://127.0.0.1:1?token=PASSWORD",
        "nats://127.0.0.1:1#PASSWORD",
        "nats://PASS%2FWORD@127.0.0.1:1/PASSWORD",
    ] {
        let finished = program_with("chatto-dump", &["--timeout", "1", "-s", url]).expect_code(7);
        let said = "chatto-dump: error: cannot reach nats://127.0.0.1:1: ";
        assert!(finished.stderr.starts_with(said), "{}", finished.stderr);
        assert!(!finished.stderr.contains("PASS"), "{}", finished.stderr);
    }
}

#[test]
fn an_argument_that_looks_like_a_secret_is_not_repeated() {
    let age = "AGE-SECRET-KEY-1QQPQYSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSQRQ";
    let seed = &format!("SU{}", "A2".repeat(28));
    let jwt = "eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ.eyJqdGkiOiJ.x-y";
    let given = program_with("chatto-keys", &["seal", "-r", age]);
    refused(given, 2, &["this is a secret key, and no recipient", "hint: give its public key"]);
    for secret in [age, seed, jwt] {
        for (name, arguments) in [
            ("chatto-keys", &["seal", "-r", secret][..]),
            ("chatto-keys", &[secret]),
            ("chatto-keys", &["open", "-i", secret, "/dev/null"]),
            ("chatto-load", &["-n", "-s", "nats://127.0.0.1:1", secret]),
            ("chatto-dump", &[secret]),
            ("chatto-dump", &["-s", "nats://127.0.0.1:1", "--nkey", secret]),
            ("chatto-manifest", &["show", "--index", secret]),
        ] {
            let finished = program_with(name, arguments);
            assert!(finished.code.is_some_and(|code| code > 0), "{finished:?}");
            assert!(!finished.stderr.contains(&secret[..20]), "{arguments:?}: {}", finished.stderr);
        }
    }
}

#[test]
fn a_file_with_a_secret_that_others_can_read_is_warned_about() {
    let here = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str, mode| {
        fs::write(here.path().join(name), text).unwrap();
        fs::set_permissions(here.path().join(name), Permissions::from_mode(mode)).unwrap();
    };
    let dump = |arguments: &[&str]| {
        let mut command = program("chatto-dump");
        command.args(["--timeout", "1", "-s", "nats://127.0.0.1:1"]).args(arguments);
        run({
            command.current_dir(here.path());
            command
        })
        .expect_code(7)
        .stderr
    };
    write("token", "x\n", 0o640);
    write("chatto.toml", "[nats.client]\ntoken = \"x\"\n", 0o644);
    let warned = dump(&["--token-file", "token"]);
    assert!(warned.contains("warning: others can read the secret in token: chmod 600 token"), "{warned}");
    assert!(warned.contains("warning: others can read the secret in chatto.toml: chmod"), "{warned}");
    assert!(!dump(&["-q", "--token-file", "token"]).contains("warning"));

    // A configuration without a secret is anybody's to read.
    write("token", "x\n", 0o600);
    write("chatto.toml", "[nats.client]\nurl = \"nats://127.0.0.1:1\"\n", 0o644);
    assert!(!dump(&["--token-file", "token"]).contains("warning"));
    write("chatto.toml", "[nats.client]\ntoken = \"x\"\n", 0o600);
    assert!(!dump(&[]).contains("warning"));
}
