//! `chatto-keys seal` and `open`: age(1) reads what they write, and they read what age(1) writes.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::support::programs::{program, run, run_for_nobody, run_with};
use anyhow::Result;
use tempfile::TempDir;

/// A directory with a passphrase, an age identity, and SSH keys.
struct Keyring(TempDir);

impl Keyring {
    fn new() -> Result<Keyring> {
        let ring = Keyring(tempfile::tempdir()?);
        ring.write("pass", "correct horse\n")?;
        command("age-keygen", &["-o", &ring.path("identity")]);
        command("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &ring.path("ed25519")]);
        command("ssh-keygen", &["-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", &ring.path("rsa")]);
        let recipient = command("age-keygen", &["-y", &ring.path("identity")]);
        ring.write("recipients", String::from_utf8(recipient)?)?;
        Ok(ring)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        use std::os::unix::fs::PermissionsExt;
        let path = self.0.path().join(name);
        fs::write(&path, content)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(path)
    }
}

#[track_caller]
fn command(name: &str, arguments: &[&str]) -> Vec<u8> {
    let mut command = Command::new(name);
    command.args(arguments);
    run(command).expect_code(0).stdout
}

fn keys(arguments: &[&str]) -> Command {
    let mut command = program("chatto-keys");
    command.args(arguments);
    command
}

/// Longer than any chunk or buffer, and not a multiple of one.
fn content() -> Vec<u8> {
    crate::support::random::Random::new(1).bytes(300_001)
}

#[test]
fn age_opens_what_we_seal_to_recipients() -> Result<()> {
    let ring = Keyring::new()?;
    let recipient = fs::read_to_string(ring.path("recipients"))?.trim().to_string();
    let rsa = fs::read_to_string(ring.path("rsa.pub"))?;
    for (option, value, identity) in [
        ("-r", &recipient, "identity"),
        ("-R", &ring.path("recipients"), "identity"),
        ("-R", &ring.path("ed25519.pub"), "ed25519"),
        ("-r", &rsa, "rsa"),
    ] {
        let sealed = run_with(keys(&["seal", option, value]), content()).expect_code(0);
        assert_eq!(sealed.stderr, "");
        let mut age = Command::new("age");
        age.args(["-d", "-i", &ring.path(identity)]);
        assert!(run_with(age, sealed.stdout).expect_code(0).stdout == content(), "{identity}");
    }
    Ok(())
}

#[test]
fn we_open_what_age_seals_to_recipients() -> Result<()> {
    let ring = Keyring::new()?;
    for (recipients, identity) in [("recipients", "identity"), ("ed25519.pub", "ed25519"), ("rsa.pub", "rsa")]
    {
        for armor in [&[][..], &["-a"]] {
            let mut age = Command::new("age");
            age.args(armor).args(["-R", &ring.path(recipients)]);
            let sealed = run_with(age, content()).expect_code(0).stdout;
            let opened = run_with(keys(&["open", "-i", &ring.path(identity)]), sealed).expect_code(0);
            assert!(opened.stdout == content(), "{identity}");
        }
    }
    Ok(())
}

#[test]
fn a_passphrase_comes_from_a_file_a_descriptor_or_an_option() -> Result<()> {
    let ring = Keyring::new()?;
    let file = ring.write(
        "sealed",
        run_with(keys(&["seal", "--passphrase-file", &ring.path("pass")]), "x").expect_code(0).stdout,
    )?;
    let file = file.display().to_string();

    let stdin = run_with(keys(&["open", "--passphrase-file", "-", &file]), "correct horse\n").expect_code(0);
    assert_eq!((&stdin.stdout[..], &stdin.stderr[..]), (&b"x"[..], ""));

    let script = format!(
        "{} open --passphrase-file /dev/fd/3 3<{} <{file}",
        keys(&[]).get_program().display(),
        ring.path("pass")
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]);
    assert_eq!(run(shell).expect_code(0).stdout, b"x");

    let option = run(keys(&["open", "--passphrase", "correct horse", &file])).expect_code(0);
    assert_eq!(option.stdout, b"x");
    assert!(option.stderr.contains("warning: other users can see --passphrase"), "{}", option.stderr);
    Ok(())
}

#[test]
fn a_wrong_secret_is_status_6_after_one_try() -> Result<()> {
    let ring = Keyring::new()?;
    let sealed =
        run_with(keys(&["seal", "--passphrase-file", &ring.path("pass")]), "x").expect_code(0).stdout;
    ring.write("wrong", "incorrect horse")?;
    let opened = run_with(keys(&["open", "--passphrase-file", &ring.path("wrong")]), sealed).expect_code(6);
    assert_eq!(opened.stderr, "chatto-keys: error: wrong passphrase\n");
    assert_eq!(opened.stdout, b"");

    let sealed = run_with(keys(&["seal", "-R", &ring.path("recipients")]), "x").expect_code(0).stdout;
    let opened = run_with(keys(&["open", "-i", &ring.path("ed25519")]), &sealed).expect_code(6);
    assert!(opened.stderr.contains("none of the identities"), "{}", opened.stderr);
    let opened = run_with(keys(&["open"]), &sealed).expect_code(6);
    assert!(opened.stderr.contains("hint: name the identity file: -i FILE"), "{}", opened.stderr);
    Ok(())
}

#[test]
fn a_cut_or_changed_file_is_status_4() -> Result<()> {
    let ring = Keyring::new()?;
    let open = || keys(&["open", "-i", &ring.path("identity")]);
    let sealed = run_with(keys(&["seal", "-R", &ring.path("recipients")]), content()).expect_code(0).stdout;
    for cut in [100, 1000, 200_000, sealed.len() - 1] {
        let opened = run_with(open(), &sealed[..cut]).expect_code(4);
        assert!(content().starts_with(&opened.stdout));
        assert!(opened.stderr.starts_with("chatto-keys: error: age layer is"), "{}", opened.stderr);
    }
    let mut changed = sealed.clone();
    changed[200_000] ^= 1;
    let opened = run_with(open(), changed).expect_code(4);
    assert!(content().starts_with(&opened.stdout) && opened.stdout.len() <= 200_000);
    let opened = run_with(open(), "not encrypted at all").expect_code(4);
    assert!(opened.stderr.contains("not encrypted with age"), "{}", opened.stderr);
    Ok(())
}

#[test]
fn open_takes_off_one_layer_only() -> Result<()> {
    let ring = Keyring::new()?;
    let gzip = run_with(Command::new("gzip"), content()).expect_code(0).stdout;
    let sealed = run_with(keys(&["seal", "-R", &ring.path("recipients")]), &gzip).expect_code(0).stdout;
    let opened = run_with(keys(&["open", "-i", &ring.path("identity")]), sealed).expect_code(0).stdout;
    assert!(opened == gzip);
    Ok(())
}

#[test]
fn a_reader_that_goes_away_makes_seal_and_open_fail() -> Result<()> {
    let ring = Keyring::new()?;
    let file = ring.write("content", content())?.display().to_string();
    let sealed = ring.write("sealed", run(keys(&["seal", "-R", &ring.path("recipients"), &file])).stdout)?;
    let sealed = sealed.display().to_string();
    for arguments in
        [["seal", "-R", &ring.path("recipients"), &file], ["open", "-i", &ring.path("identity"), &sealed]]
    {
        let finished = run_for_nobody(keys(&arguments)).expect_code(1);
        assert!(
            finished.stderr.contains("hint: the program that reads it ended early"),
            "{}",
            finished.stderr
        );
    }
    Ok(())
}

#[test]
fn passphrase_files_that_are_no_use_are_refused_without_being_shown() -> Result<()> {
    let ring = Keyring::new()?;
    for (content, words) in [
        (&b""[..], "the passphrase is empty"),
        (b"\n", "the passphrase is empty"),
        (b"SECRET\xff\n", "not UTF-8"),
        (b"SECRET\nSECRET\n", "line break"),
        (b"SECRET\r\n", "line break"),
        (&[b'S'; 5000], "longer than"),
    ] {
        let file = ring.write("bad", content)?.display().to_string();
        let sealed = run_with(keys(&["seal", "--passphrase-file", &file]), "x").expect_code(1);
        assert!(sealed.stderr.contains(words) && !sealed.stderr.contains("SECRET"), "{}", sealed.stderr);
        assert_eq!(sealed.stdout, b"");
    }
    run_with(keys(&["seal", "--passphrase-file", "/nonexistent"]), "x").expect_code(2);
    Ok(())
}

#[test]
fn a_passphrase_file_that_others_can_read_is_warned_about() -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let ring = Keyring::new()?;
    fs::set_permissions(ring.path("pass"), fs::Permissions::from_mode(0o640))?;
    let sealed = run_with(keys(&["seal", "--passphrase-file", &ring.path("pass")]), "x").expect_code(0);
    assert!(sealed.stderr.contains("warning: others can read the passphrase file"), "{}", sealed.stderr);
    Ok(())
}

#[test]
fn nothing_is_attempted_with_options_that_cannot_be() -> Result<()> {
    let ring = Keyring::new()?;
    let (pass, list, file) = (ring.path("pass"), ring.path("recipients"), ring.path("identity"));
    for arguments in [
        &["seal", "--passphrase-file", &pass, "--passphrase", "x"][..],
        &["seal", "--passphrase-file", &pass, "-R", &list],
        &["seal", "-r", "age1nonsense"],
        &["seal", "-R", &file],
        &["seal", "--passphrase-file", "-"],
        &["seal", "-R", "-", "-"],
        &["open", "--passphrase-file", "-"],
        &["open", "-i", "-", "-"],
        &["open", "-i", "-", "--passphrase-file", "/dev/stdin", &file],
        &["export", "--plaintext", "-R", &list],
        &["frobnicate"],
        &[],
    ] {
        let finished = run_with(keys(arguments), "x");
        assert_eq!(finished.code, Some(2), "{arguments:?}: {}", finished.stderr);
        assert_eq!(finished.stdout, b"");
    }
    Ok(())
}
