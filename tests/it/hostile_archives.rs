//! Archives that somebody made to do harm are refused with status 4, before anything changes, and in little memory.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::support::api;
use crate::support::archive::Archive;
use crate::support::captures::{self, Shape};
use crate::support::measure::{Used, measured};
use crate::support::programs::{Finished, finish, program, program_for, run, run_with, spawn};
use crate::support::server::{LATEST, Server};
use anyhow::Result;
use serde_json::json;
use tar::{EntryType, Header};

/// The memory that a load may use, address space included, in KiB. That is mostly what threads reserve and do
/// not use; the entries of these archives announce far more.
const MEMORY: &str = "1500000";

/// A load that dies when it wants more than [`MEMORY`].
fn load(server: &Server) -> Command {
    let load = program_for("chatto-load", server);
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -v {MEMORY}; exec \"$@\""), "sh"]).arg(load.get_program());
    for (name, value) in load.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    // As on a machine with two processors: each has a thread, and each thread reserves memory.
    shell.envs([("TOKIO_WORKER_THREADS", "2"), ("MALLOC_ARENA_MAX", "2")]);
    shell
}

/// A header as it comes, whatever it says.
fn header(path: &str, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o600);
    if matches!(kind, EntryType::Symlink | EntryType::Link) {
        header.set_link_name_literal("/etc/passwd").unwrap();
    }
    header.set_cksum();
    header
}

/// A sound archive of one stream, and where its first stream begins.
async fn sound() -> Result<(Vec<u8>, usize)> {
    let server = Server::start(LATEST);
    crate::support::faults::small_bucket(&server.client().await?, server.version(), "SMALL", 1).await?;
    let archive = run(program_for("chatto-dump", &server)).expect_code(0).stdout;
    let at = Archive::read(&archive).entry("streams/KV_SMALL/").header_at;
    Ok((archive, at))
}

/// Feeds `pieces` to a load; one that has seen enough reads no more.
fn fed(server: &Server, pieces: impl Iterator<Item = Vec<u8>>) -> Finished {
    let mut child = spawn(load(server).stdin(Stdio::piped()).stdout(Stdio::null()));
    let mut stdin = child.stdin.take().unwrap();
    for piece in pieces {
        if stdin.write_all(&piece).is_err() {
            break;
        }
    }
    drop(stdin);
    finish(child)
}

async fn assert_refused(server: &Server, pieces: impl Iterator<Item = Vec<u8>>, said: &str) -> Result<()> {
    let load = fed(server, pieces);
    assert_eq!(load.code, Some(4), "{said}: {:?} {}", load.signal, load.stderr);
    assert!(load.stderr.contains(said), "{said}: {}", load.stderr);
    let names = api::stream_names(&server.client().await?).await?;
    assert_eq!(names, ["THERE"], "{said}: {}", load.stderr);
    Ok(())
}

async fn destination() -> Result<Server> {
    let server = Server::start(LATEST);
    let config = json!({ "name": "THERE", "subjects": ["there"] });
    api::call(&server.client().await?, "STREAM.CREATE.THERE", config).await?;
    Ok(server)
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_no_backup_has() -> Result<()> {
    let server = destination().await?;
    let (archive, streams) = sound().await?;
    for (path, kind, size, said) in [
        ("/etc/cron.d/x", EntryType::Regular, 0, "/etc/cron.d/x: "),
        ("backup/../../x", EntryType::Regular, 0, "backup/../../x: "),
        ("backup/streams/../x", EntryType::Regular, 0, "backup/streams/../x: "),
        ("backup/x", EntryType::Symlink, 0, "backup/x: a symbolic link"),
        ("backup/x", EntryType::Link, 0, "backup/x: a hard link"),
        ("backup/x", EntryType::Char, 0, "backup/x: a device"),
        ("backup/x", EntryType::Block, 0, "backup/x: a device"),
        ("backup/x", EntryType::Fifo, 0, "backup/x: "),
        ("backup/x", EntryType::Regular, 1 << 60, "backup/x: 1152921504606846976 bytes, more than"),
        ("backup/manifest.json", EntryType::Regular, 1 << 34, "manifest.json"),
        ("backup/index.json", EntryType::Regular, 0, "index.json: comes twice"),
        ("backup/streams/a b/backup.json", EntryType::Regular, 0, "stream name \"a b\""),
        ("\u{1b}[2J/x", EntryType::Regular, 0, "\\u{1b}[2J/x: "),
    ] {
        let entry = header(path, kind, size).as_bytes().to_vec();
        let pieces = [archive[..streams].to_vec(), entry, archive[streams..].to_vec()];
        assert_refused(&server, pieces.into_iter(), said).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_comes_twice() -> Result<()> {
    let server = Server::start(LATEST);
    let (archive, _) = sound().await?;
    let mut twice = Archive::read(&archive);
    let stream: Vec<_> = twice.0.iter().filter(|entry| entry.path.contains("/KV_SMALL/")).cloned().collect();
    let end = twice.0.iter().position(|entry| entry.path.ends_with("manifest.json")).unwrap();
    twice.0.splice(end..end, stream);
    let load = fed(&server, [twice.tar()].into_iter());
    assert_eq!(load.code, Some(4), "{}", load.stderr);
    assert!(load.stderr.contains("comes twice"), "{}", load.stderr);
    assert!(load.stderr.contains("restored before that, and kept: KV_SMALL"), "{}", load.stderr);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_thousand_entries() -> Result<()> {
    let server = destination().await?;
    // No archive of ours by its first file, so it may have 100,000 entries.
    let many =
        (0..200_000).map(|n| header(&format!("backup/{n}"), EntryType::Regular, 0).as_bytes().to_vec());
    assert_refused(&server, many, "one entry too many: an archive has at most 100000").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_unpacks_without_end() -> Result<()> {
    let server = destination().await?;
    let (archive, _) = sound().await?;
    let mut bomb = Archive::read(&archive);
    // A frame of 4 MiB of one byte, many times: a thousandth of that on its way.
    let block = minlz::s2::encode(&vec![0; 4 << 20]);
    let crc = crc32c::crc32c(&vec![0; 4 << 20]).rotate_right(15).wrapping_add(0xa282_ead8);
    let mut frame = vec![0];
    frame.extend(&u32::try_from(4 + block.len())?.to_le_bytes()[..3]);
    frame.extend(crc.to_le_bytes());
    frame.extend(&block);
    let snapshot = bomb.file("streams/KV_SMALL/stream.tar.s2");
    snapshot.truncate(10);
    for _ in 0..1000 {
        snapshot.extend(&frame);
    }
    assert_refused(&server, [bomb.with_sums()].into_iter(), "stream KV_SMALL: ").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_padding() -> Result<()> {
    let server = destination().await?;
    let (archive, _) = sound().await?;
    let mut padded = Archive::read(&archive);
    let snapshot = padded.file("streams/KV_SMALL/stream.tar.s2");
    snapshot.truncate(10);
    for _ in 0..40 {
        snapshot.extend([0xfe, 0, 0, 0x10]);
        snapshot.resize(snapshot.len() + (1 << 20), 0);
    }
    assert_refused(&server, [padded.with_sums()].into_iter(), "too much padding").await
}

#[tokio::test(flavor = "multi_thread")]
async fn descriptions_without_end() -> Result<()> {
    const SIZE: usize = 2 << 20;
    let server = destination().await?;
    let description = |n: usize| {
        let header = header(&format!("backup/streams/S{n}/backup.json"), EntryType::Regular, SIZE as u64);
        [header.as_bytes(), vec![b' '; SIZE].as_slice()].concat()
    };
    let load = fed(&server, (0..400).map(description));
    assert_eq!(load.code, Some(1), "{:?} {}", load.signal, load.stderr);
    assert!(load.stderr.contains("describes its streams long before"), "{}", load.stderr);
    Ok(())
}

#[test]
fn json_that_takes_a_hundred_times_its_length_in_memory() -> Result<()> {
    /// What chatto-archive(5) promises, in KiB.
    const PROMISED: u64 = 96 << 10;
    let archive = captures::archive("2.14.5", Shape::Whole);
    let inserted = |path: &str, at: &str, member: &str, value: &str, size: usize| {
        let mut archive = Archive::read(&archive);
        let text = String::from_utf8(archive.file(path).clone()).unwrap();
        let values = format!("[{}{value}]", format!("{value},").repeat(size / (value.len() + 1)));
        let (before, after) = text.split_once(at).unwrap();
        *archive.file(path) = format!("{before}{at}\"{member}\":{values},{after}").into_bytes();
        archive.with_sums()
    };
    let description = "streams/EVT/backup.json";
    for (archive, said) in [
        (
            inserted(description, "{\"config\": {", "new", r#"{"":0}"#, 4_000_000),
            "its config has more than 16384",
        ),
        (
            inserted("manifest.json", "\"streams\": [\n    {", "missing_consumers", r#""""#, 16_000_000),
            "manifest.json: has more than",
        ),
        (
            inserted("index.json", "\"streams\": [\n    {", "settings", r#""""#, 16_000_000),
            "index.json: has more than",
        ),
    ] {
        let mut verify = program("chatto-manifest");
        verify.arg("verify");
        let verify = run_with(measured(&verify), archive).expect_code(4);
        let found = String::from_utf8(verify.stdout)?;
        assert!(found.contains(said), "{found}");
        let (used, _) = Used::of(&verify.stderr)?;
        assert!(used.memory < PROMISED, "{said}: {} KiB", used.memory);
    }
    Ok(())
}
