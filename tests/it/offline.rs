//! The directory of a stopped Chatto is dumped and loaded by a private server, which is gone afterwards.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::archive::Archive;
use crate::support::faults::{self, Fed, UNDER_WAY};
use crate::support::processes::{End, children};
use crate::support::programs::{program, program_that_hangs_up, run, run_with, spawn};
use crate::support::server::{LATEST, Server, binary};
use crate::support::{api, equality, fixtures, programs};
use anyhow::Result;
use chatto_pipes::jetstream::private_server::Options;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::json;
use tempfile::TempDir;

/// One of our programs on a directory, with a temporary directory of its own to look into.
fn on(name: &str, release: &str, dir: &Path, temporary: &TempDir) -> Command {
    let mut command = program_that_hangs_up(name);
    command.arg("--data-dir").arg(dir).arg("--nats-server").arg(binary(release));
    command.env("TMPDIR", temporary.path());
    command
}

/// The archive of a directory.
#[track_caller]
fn dump(release: &str, dir: &Path) -> Vec<u8> {
    let temporary = tempfile::tempdir().unwrap();
    let dump = run(on("chatto-dump", release, dir, &temporary)).expect_code(0);
    assert_eq!(dump.stderr, "");
    assert_eq!(temporary.path().read_dir().unwrap().count(), 0, "something is left behind");
    dump.stdout
}

/// A Chatto of either generation is stopped, dumped, and loaded into a directory that is not there; a
/// server on that directory holds the same.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_directory_holds_another_holds_after_dump_and_load() -> Result<()> {
    for (from, to) in [("2.12.8", "2.12.8"), ("2.14.5", "2.14.5"), ("2.14.5", LATEST), (LATEST, LATEST)] {
        let mut source = Server::start(from);
        let client = source.client().await?;
        let built = match from {
            "2.12.8" => fixtures::v0_0(&client, source.version(), 7, 3).await?,
            _ => fixtures::v0_4(&client, source.version(), 7, 300).await?,
        };
        source.stop();
        let archive = dump(from, source.store());

        let (parent, temporary) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let data = parent.path().join("data");
        let load = run_with(on("chatto-load", to, &data, &temporary), &archive).expect_code(0);
        assert_eq!(load.stderr, "", "{from} to {to}");
        assert_eq!(temporary.path().read_dir()?.count(), 0, "something is left behind");
        assert_eq!(fs::metadata(&data)?.permissions().mode() & 0o777, 0o700);
        assert_eq!(parent.path().read_dir()?.count(), 1);

        source.start_again();
        let destination = Server::on_directory(to, &data);
        let kept = |name: &str| built.kept.iter().any(|kept| kept == name);
        let found =
            equality::differences(&source.client().await?, &destination.client().await?, kept).await?;
        assert!(found.is_empty(), "{from} to {to}: {found:#?}");
    }
    Ok(())
}

/// A directory with a large stream, and its archive.
async fn large(release: &str) -> Result<(Server, Vec<u8>)> {
    let mut source = Server::start(release);
    let client = source.client().await?;
    faults::small_bucket(&client, source.version(), "SMALL", 1).await?;
    faults::large_stream(&client, source.version(), "LARGE", 14, 1).await?;
    source.stop();
    let archive = dump(release, source.store());
    Ok((source, archive))
}

/// A load into `data` that has `LARGE` half restored.
async fn half_loaded(release: &str, data: &Path, temporary: &TempDir, archive: &[u8]) -> Fed {
    let mut load = on("chatto-load", release, data, temporary);
    load.args(["--timeout", "20"]).process_group(0);
    let mut load = Fed::spawn(load);
    let middle = Archive::read(archive).entry("streams/LARGE/attempt-1/backup.json").header_at + UNDER_WAY;
    load.feed(&archive[..middle]);
    // The pipe has it; that the server has begun is to be seen on the disk, in the one place or the other.
    let account = data.join("jetstream/$G");
    let mut again = tokio::time::interval(Duration::from_millis(10));
    while !["__snapshots__", "streams/LARGE/meta.sum"].iter().any(|there| account.join(there).exists()) {
        assert!(load.0.try_wait().unwrap().is_none(), "the load ended before that");
        again.tick().await;
    }
    load
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_is_killed_leaves_a_directory_that_opens_and_no_server() -> Result<()> {
    for release in ["2.14.5", LATEST] {
        let (mut source, archive) = large(release).await?;
        let (parent, temporary) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let data = parent.path().join("data");
        let mut load = half_loaded(release, &data, &temporary, &archive).await;
        let servers: Vec<End> = children(&load.0).map(End::of).collect();
        assert_eq!(servers.len(), 1, "{release}");
        load.0.kill()?;
        load.0.wait()?;
        servers.into_iter().for_each(End::wait);
        assert_eq!(temporary.path().read_dir()?.count(), 0, "{release}: something is left behind");

        // 2.15 keeps what it has of the stream that was being restored.
        let mut again = on("chatto-load", release, &data, &temporary);
        again.args(["--conflict", "overwrite"]);
        run_with(again, &archive).expect_code(0);
        source.start_again();
        let destination = Server::on_directory(release, &data);
        let found =
            equality::differences(&source.client().await?, &destination.client().await?, |_| true).await?;
        assert!(found.is_empty(), "{release}: {found:#?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_is_interrupted_leaves_what_was_complete() -> Result<()> {
    for (release, signal) in [("2.14.5", Signal::INT), (LATEST, Signal::TERM), (LATEST, Signal::HUP)] {
        let (mut source, archive) = large(release).await?;
        let (parent, temporary) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let data = parent.path().join("data");
        let load = half_loaded(release, &data, &temporary, &archive).await;
        let servers: Vec<End> = children(&load.0).map(End::of).collect();
        // As a terminal does: to the whole process group. The server is in another.
        kill_process_group(Pid::from_child(&load.0), signal)?;
        let load = programs::finish(load.0);
        assert_eq!(load.signal, Some(signal.as_raw()), "{release}: {}", load.stderr);
        assert!(servers.iter().all(End::is_over), "{release}: a server runs on");
        assert_eq!(temporary.path().read_dir()?.count(), 0, "{release}: something is left behind");
        source.start_again();
        let destination = Server::on_directory(release, &data);
        let is_small = |name: &str| name == "KV_SMALL";
        let found =
            equality::differences(&source.client().await?, &destination.client().await?, is_small).await?;
        assert!(found.is_empty(), "{release}: {found:#?}");
    }
    Ok(())
}

/// Whatever ends a dump, the server is gone before it, and the directory opens again.
#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_ends_early_leaves_no_server() -> Result<()> {
    let (source, _) = large(LATEST).await?;
    let temporary = tempfile::tempdir()?;
    for signal in [None, Some(Signal::INT), Some(Signal::TERM), Some(Signal::HUP)] {
        let mut dump = on("chatto-dump", LATEST, source.store(), &temporary);
        let mut dump = spawn(dump.args(["--buffer", "8M"]).stdout(Stdio::piped()));
        faults::take(&mut dump, 1 << 20);
        let servers: Vec<End> = children(&dump).map(End::of).collect();
        assert_eq!(servers.len(), 1);
        match signal {
            // The reader goes away.
            None => drop(dump.stdout.take()),
            Some(signal) => faults::signal(&dump, signal),
        }
        let ended = programs::finish(dump);
        match signal {
            None => assert_eq!(ended.expect_code(1).signal, None),
            Some(signal) => assert_eq!(ended.signal, Some(signal.as_raw()), "{}", ended.stderr),
        }
        assert!(servers.iter().all(End::is_over), "{signal:?}: a server runs on");
        assert_eq!(temporary.path().read_dir()?.count(), 0, "{signal:?}: something is left behind");
    }
    dump(LATEST, source.store());
    Ok(())
}

/// A load that fails before anything is restored leaves nothing where nothing was.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_restores_nothing_leaves_no_directory() -> Result<()> {
    let (parent, temporary) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let data = parent.path().join("data");
    run_with(on("chatto-load", LATEST, &data, &temporary), "no archive at all").expect_code(4);
    assert!(!data.exists());
    fs::create_dir(&data)?;
    run_with(on("chatto-load", LATEST, &data, &temporary), "no archive at all").expect_code(4);
    assert_eq!(data.read_dir()?.count(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_go_from_one_directory_to_another() -> Result<()> {
    let mut source = Server::start("2.14.5");
    fixtures::v0_4(&source.client().await?, source.version(), 7, 100).await?;
    source.stop();
    let temporary = tempfile::tempdir()?;
    let keys = |action: &str, dir: &Path| {
        let mut command = program("chatto-keys");
        command.arg(action).arg("--data-dir").arg(dir).arg("--nats-server").arg(binary("2.14.5"));
        command.env("TMPDIR", temporary.path());
        command
    };
    let exported = run(keys("export", source.store())).expect_code(0).stdout;
    let mut destination = Server::start("2.14.5");
    let client = destination.client().await?;
    faults::small_bucket(&client, destination.version(), "SMALL", 1).await?;
    destination.stop();
    run_with(keys("import", destination.store()), &exported).expect_code(0);
    let list = |dir: &Path| run(keys("list", dir)).expect_code(0).stdout;
    let listed = String::from_utf8(list(destination.store()))?;
    assert!(listed.contains("\tkek") && !listed.contains("invalid"), "{listed}");
    let exports = |dir: &Path| {
        let json: serde_json::Value =
            serde_json::from_slice(&run(keys("export", dir)).expect_code(0).stdout).unwrap();
        json["keys"].clone()
    };
    assert_eq!(exports(source.store()), exports(destination.store()));
    assert_eq!(temporary.path().read_dir()?.count(), 0, "something is left behind");
    Ok(())
}

/// The directory of `chatto.toml`, where that is read.
#[tokio::test(flavor = "multi_thread")]
async fn the_directory_is_the_configured_one() -> Result<()> {
    let mut source = Server::start(LATEST);
    faults::small_bucket(&source.client().await?, source.version(), "SMALL", 1).await?;
    source.stop();
    let here = tempfile::tempdir()?;
    std::os::unix::fs::symlink(source.store(), here.path().join("data"))?;
    let toml = "[nats.embedded]\nenabled = true\ndata_dir = \"./data\"\n";
    fs::write(here.path().join("chatto.toml"), toml)?;
    let listed = |command: &mut Command| {
        let mut dump = program("chatto-dump");
        dump.args(["--offline", "-n"]).env("NATS_SERVER", binary(LATEST)).current_dir(here.path());
        dump.args(command.get_args());
        for (name, value) in command.get_envs() {
            dump.env(name, value.unwrap());
        }
        run(dump)
    };
    let mut plain = Command::new("x");
    let found = listed(&mut plain).expect_code(0);
    assert!(String::from_utf8(found.stdout)?.starts_with("KV_SMALL\t"));
    let mut elsewhere = Command::new("x");
    elsewhere.env("CHATTO_NATS_EMBEDDED_DATA_DIR", "/nowhere/at/all");
    let missing = listed(&mut elsewhere).expect_code(1);
    assert!(missing.stderr.contains("cannot open /nowhere/at/all"), "{}", missing.stderr);
    // A relative one, of a file that lies somewhere else, may be any.
    let other = tempfile::tempdir()?;
    let file = other.path().join("chatto.toml");
    fs::write(&file, toml)?;
    let mut relative = Command::new("x");
    relative.arg("-c").arg(&file);
    let unknown = listed(&mut relative).expect_code(2);
    assert!(unknown.stderr.contains("hint: give --data-dir DIR"), "{}", unknown.stderr);
    Ok(())
}

/// Streams that reserve more than the disk has are there all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_larger_than_the_disk_opens() -> Result<()> {
    let huge = Options { max_store: Some(1 << 60), ..Options::default() };
    let mut source = Server::start_with(LATEST, huge);
    let client = source.client().await?;
    let huge = json!({ "name": "HUGE", "subjects": ["huge"], "max_bytes": 1_u64 << 55 });
    api::call(&client, "STREAM.CREATE.HUGE", huge).await?;
    client.request("huge", "one".into()).await?;
    source.stop();
    let archive = dump(LATEST, source.store());
    let temporary = tempfile::tempdir()?;
    let data = temporary.path().join("data");
    run_with(on("chatto-load", LATEST, &data, &tempfile::tempdir()?), &archive).expect_code(0);
    Ok(())
}
