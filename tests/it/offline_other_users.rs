//! The directory of a stopped Chatto belongs to another user. A user who may not open it gets a message and changes nothing. A
//! user who leaves files there that its owner may not open gets a message too.
//!
//! If root runs these tests, they become a user without rights. Otherwise they take their own rights away.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::faults;
use crate::support::programs::{self, install_copy, program, refused, run, run_with};
use crate::support::server::{LATEST, Server, binary};
use anyhow::{Context, Result};
use tempfile::TempDir;

/// Somebody who owns nothing.
const NOBODY: u32 = 65534;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A directory that everybody may enter, with copies of the programs and of nats-server that everybody may
/// run: the originals may be below somebody's home.
fn for_everybody() -> Result<TempDir> {
    // root's own temporary directory may be closed to everybody.
    let dir = if is_root() { tempfile::tempdir_in("/tmp")? } else { tempfile::tempdir()? };
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755))?;
    for name in ["chatto-dump", "chatto-load", "chatto-keys"] {
        install_copy(&dir.path().join(name), &programs::path(name));
    }
    install_copy(&dir.path().join("nats-server"), &binary(LATEST));
    Ok(dir)
}

/// A program on the data directory, run by somebody without rights there.
fn by_nobody(name: &str, arguments: &[&str], here: &Path, data: &Path) -> Command {
    let mut command = Command::new(here.join(name));
    command.args(arguments).arg("--data-dir").arg(data).arg("--nats-server").arg(here.join("nats-server"));
    command.env_clear().env("PATH", "/usr/bin:/bin").current_dir("/");
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// A directory with one bucket, and its archive.
async fn data(dir: &Path) -> Result<(PathBuf, Vec<u8>)> {
    let mut server = Server::start(LATEST);
    faults::small_bucket(&server.client().await?, server.version(), "SMALL", 1).await?;
    let archive = faults::archive_of(&server);
    server.stop();
    let data = dir.join("data");
    fs::create_dir(&data)?;
    let copied = Command::new("cp").arg("-a").arg(server.store().join("jetstream")).arg(&data).status()?;
    anyhow::ensure!(copied.success(), "cannot copy the store");
    Ok((data, archive))
}

/// Gives everything below and at `dir` these permissions. Rights are given from above and taken from below:
/// who has none in a directory does not get at what is in it.
fn set_all(dir: &Path, mode_of_directories: &str, mode_of_files: &str) -> Result<()> {
    let takes = !mode_of_directories.contains('7');
    let mut order = [("d", mode_of_directories), ("f", mode_of_files)];
    if takes {
        order.reverse();
    }
    for (kind, mode) in order {
        let mut find = Command::new("find");
        find.arg(dir)
            .args(takes.then_some("-depth"))
            .args(["-type", kind, "-exec", "chmod", mode, "{}", ";"]);
        anyhow::ensure!(find.status()?.success(), "cannot set permissions below {}", dir.display());
    }
    Ok(())
}

/// Every file below a directory, and what is in it.
fn sums(dir: &Path) -> Result<String> {
    let mut find = Command::new("find");
    find.arg(dir).args(["-type", "f", "-exec", "sha256sum", "{}", "+"]);
    let found = run(find).expect_code(0).stdout;
    let mut lines: Vec<_> = std::str::from_utf8(&found)?.lines().collect();
    lines.sort_unstable();
    Ok(lines.join("\n"))
}

const PROGRAMS: [(&str, &[&str]); 3] =
    [("chatto-dump", &[]), ("chatto-keys", &["list"]), ("chatto-load", &[])];

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_read_or_write_it_is_told_who_may() -> Result<()> {
    let here = for_everybody()?;
    let (data, archive) = data(here.path()).await?;
    let before = sums(&data)?;
    for (directories, files, said) in
        [("0555", "0444", "cannot write into "), ("0000", "0000", "cannot open ")]
    {
        set_all(&data, directories, files)?;
        for (name, arguments) in PROGRAMS {
            let refusal = run_with(by_nobody(name, arguments, here.path(), &data), &archive);
            let words = [said, "data", "Permission denied", "hint: run this as the user that Chatto runs as"];
            assert!(refusal.stdout.is_empty(), "{name}");
            refused(refusal, 1, &words);
        }
        set_all(&data, "0700", "0600")?;
        assert_eq!(sums(&data)?, before, "{said}");
    }

    // One stream of somebody else's is as good as all.
    let stream = data.join("jetstream/$G/streams/KV_SMALL");
    set_all(&data, "0777", "0666")?;
    set_all(&stream, "0000", "0000")?;
    let refusal = run(by_nobody("chatto-dump", &[], here.path(), &data));
    refused(refusal, 1, &["cannot read ", "KV_SMALL", "hint: run this as the user"]);
    set_all(&data, "0700", "0600")?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_is_nobody_in_particular() -> Result<()> {
    let here = for_everybody()?;
    let (data, archive) = data(here.path()).await?;
    if is_root() {
        let mut give = Command::new("chown");
        give.arg("-R").arg(format!("{NOBODY}:{NOBODY}")).arg(&data);
        anyhow::ensure!(give.status()?.success());
    }
    let dumped = run(by_nobody("chatto-dump", &[], here.path(), &data)).expect_code(0);
    let load = by_nobody("chatto-load", &["--conflict", "overwrite"], here.path(), &data);
    assert_eq!(run_with(load, &dumped.stdout).expect_code(0).stderr, "");
    let mut rehearse = Command::new(here.path().join("chatto-load"));
    rehearse.args(["--rehearse", "--nats-server"]).arg(here.path().join("nats-server")).env_remove("TMPDIR");
    if is_root() {
        rehearse.uid(NOBODY).gid(NOBODY);
    }
    run_with(rehearse, &archive).expect_code(0);
    Ok(())
}

/// Only root can leave files in a directory that its owner cannot open.
#[tokio::test(flavor = "multi_thread")]
async fn what_root_leaves_in_it_is_named() -> Result<()> {
    let here = for_everybody()?;
    let (data, archive) = data(here.path()).await?;
    let load = || {
        let mut load = program("chatto-load");
        load.args(["--conflict", "overwrite", "--data-dir"]).arg(&data);
        load.arg("--nats-server").arg(binary(LATEST));
        run_with(load, &archive).expect_code(0).stderr
    };
    let words = "belongs to us now, and not to the owner of the data directory";
    // To whom it belongs, it may belong.
    assert!(!load().contains(words));
    if is_root() {
        let mut give = Command::new("chown");
        give.arg("-R").arg(format!("{NOBODY}:{NOBODY}")).arg(&data);
        anyhow::ensure!(give.status()?.success());
        let said = load();
        let named = said.split_once("warning: ").context("a warning")?.1.split_once(" belongs").unwrap().0;
        assert!(said.contains(words), "{said}");
        assert_eq!(fs::metadata(named)?.uid(), 0, "{said}");
        // Something of ours was there before: it is not for us to judge.
        chown(&data, Some(NOBODY), None)?;
        assert!(!load().contains(words));
    }
    Ok(())
}
