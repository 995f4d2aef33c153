//! Faults of a directory are reported before a server is started on it, and the directory does not change.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::cluster::Cluster;
use crate::support::faults::{self, Fed};
use crate::support::programs::{Finished, install_copy, program, run, run_with, spawn};
use crate::support::server::{LATEST, Server, binary};
use crate::support::{api, fixtures};
use anyhow::Result;
use chatto_pipes::jetstream::private_server::{Authorization, Options, PrivateServer};
use tempfile::TempDir;

/// One of our programs on a directory.
fn on(name: &str, arguments: &[&str], release: &str, dir: &Path) -> Command {
    let mut command = program(name);
    command.args(arguments).arg("--data-dir").arg(dir).arg("--nats-server").arg(binary(release));
    command
}

/// Every program refuses the directory with the same words, and nothing in it changes.
#[track_caller]
fn refused(release: &str, dir: &Path, words: &[&str]) {
    let before = tree(dir);
    let programs: [(&str, &[&str]); 4] = [
        ("chatto-dump", &[]),
        ("chatto-keys", &["export"]),
        ("chatto-keys", &["list"]),
        ("chatto-load", &[]),
    ];
    for (name, arguments) in programs {
        let refusal = run(on(name, arguments, release, dir)).expect_code(1);
        assert_eq!(refusal.stdout, b"", "{name}");
        for word in words {
            assert!(refusal.stderr.contains(word), "{name}: {word:?} is not in:\n{}", refusal.stderr);
        }
        assert_eq!(tree(dir), before, "{name} changed the directory");
    }
}

/// Every file below a directory, with its content.
fn tree(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut directories = vec![dir.to_path_buf()];
    while let Some(dir) = directories.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => directories.push(entry.path()),
                false => found.push((entry.path(), fs::read(entry.path()).unwrap())),
            }
        }
    }
    found.sort();
    found
}

/// A stopped server with one bucket.
async fn stopped(release: &str, options: Options) -> Result<Server> {
    let mut server = Server::start_with(release, options);
    faults::small_bucket(&server.client().await?, server.version(), "SMALL", 1).await?;
    server.stop();
    Ok(server)
}

/// A process that ends with the test.
struct Kept(Child);

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_the_store_that_is_open() -> Result<()> {
    let mut server = stopped(LATEST, Options::default()).await?;
    server.start_again();
    // It has nothing open until somebody writes.
    let client = server.client().await?;
    client.request("$KV.SMALL.key", "value".into()).await?;
    let by_another_name = tempfile::tempdir()?;
    let link = by_another_name.path().join("data");
    symlink(server.store(), &link)?;
    for dir in [server.store(), &link] {
        refused(LATEST, dir, &["(nats-server) uses ", "it has ", ".blk open", "hint: stop Chatto first"]);
    }
    Ok(())
}

/// A server that nobody writes to has no file open.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_server_that_was_started_on_the_directory() -> Result<()> {
    let mut server = stopped(LATEST, Options::default()).await?;
    server.start_again();
    refused(LATEST, server.store(), &["(nats-server) uses ", "its command line names the directory"]);
    Ok(())
}

/// Chatto's server is inside Chatto: neither its files nor its command line tell of it when it is idle.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_chatto() -> Result<()> {
    let server = stopped(LATEST, Options::default()).await?;
    let home = tempfile::tempdir()?;
    let data = home.path().join("data");
    fs::create_dir(&data)?;
    assert!(
        Command::new("cp").arg("-a").arg(server.store().join("jetstream")).arg(&data).status()?.success()
    );
    let elsewhere = tempfile::tempdir()?;
    let chatto = elsewhere.path().join("chatto");
    install_copy(&chatto, Path::new("/bin/sleep"));
    let start = |dir: &Path, variable: Option<&Path>| {
        let mut command = Command::new(&chatto);
        command.arg("1000").current_dir(dir).env_remove("CHATTO_NATS_EMBEDDED_DATA_DIR");
        command.envs(variable.map(|dir| ("CHATTO_NATS_EMBEDDED_DATA_DIR", dir)));
        Kept(command.spawn().unwrap())
    };
    for dir in [home.path(), &data] {
        let _chatto = start(dir, None);
        refused(LATEST, &data, &["(chatto) uses ", "it runs in or above the directory"]);
    }
    let there = start(elsewhere.path(), Some(&data));
    refused(LATEST, &data, &["(chatto) uses ", "its CHATTO_NATS_EMBEDDED_DATA_DIR is the directory"]);
    drop(there);
    // Another Chatto is no obstacle.
    let (_one, _two) = (start(elsewhere.path(), None), start(home.path(), Some(elsewhere.path())));
    run(on("chatto-dump", &["-n"], LATEST, &data)).expect_code(0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_answers_where_chatto_s_would() -> Result<()> {
    let server = stopped(LATEST, Options::default()).await?;
    let other = PrivateServer::start(&binary(LATEST), &Options::default())?;
    let home = tempfile::tempdir()?;
    let toml = format!(
        "[nats.embedded]\nenabled = true\nport = {}\ndata_dir = \"{}\"\n",
        other.port(),
        server.store().display()
    );
    fs::write(home.path().join("chatto.toml"), toml)?;
    let data_dir = server.store().to_str().unwrap();
    for arguments in [&["--offline"][..], &["--data-dir", data_dir]] {
        let mut dump = program("chatto-dump");
        dump.args(arguments).env("NATS_SERVER", binary(LATEST)).current_dir(home.path());
        let dump = run(dump).expect_code(1);
        assert!(dump.stderr.contains("Chatto's server runs: nats://127.0.0.1:"), "{}", dump.stderr);
        let hint = "hint: do without --offline and --data-dir while Chatto runs, or stop it";
        assert!(dump.stderr.contains(hint), "{}", dump.stderr);
    }
    // Of another directory it is another server.
    let third = stopped(LATEST, Options::default()).await?;
    let mut dump = on("chatto-dump", &["-n"], LATEST, third.store());
    run({
        dump.current_dir(home.path());
        dump
    })
    .expect_code(0);
    // And where it does not answer, the other way is named.
    other.stop()?;
    let mut dump = program("chatto-dump");
    dump.current_dir(home.path());
    let dump = run(dump).expect_code(7);
    let hint = "hint: the server is part of Chatto: start Chatto, or, while it is stopped, give --offline";
    assert!(dump.stderr.contains(hint), "{}", dump.stderr);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_server_than_the_one_that_wrote() -> Result<()> {
    // By the index, which a server writes when it stops.
    for (wrote, opens, line) in
        [("2.14.5", "2.12.8", "2.14.0"), (LATEST, "2.12.8", "2.14.0"), ("2.12.8", "2.11.11", "2.12.0")]
    {
        let server = stopped(wrote, Options::default()).await?;
        let release = format!("stream KV_SMALL was written by {line} or later");
        refused(
            opens,
            server.store(),
            &[
                "is too old for ",
                &release,
                &format!("hint: name nats-server {line} or later with --nats-server"),
            ],
        );
    }
    // By what its streams use, where it could not write an index any more.
    let mut server = Server::start("2.14.5");
    fixtures::v0_4(&server.client().await?, server.version(), 7, 100).await?;
    server.stop();
    for stream in fs::read_dir(server.store().join("jetstream/$G/streams"))? {
        fs::remove_file(stream?.path().join("msgs/index.db"))?;
    }
    refused("2.11.11", server.store(), &["is too old for ", " uses what 2.12.0 brought (API level 2)"]);
    run(on("chatto-dump", &["-n"], "2.12.8", server.store())).expect_code(0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_store() -> Result<()> {
    let key = Options { extra: "jetstream { key: \"a key for the test\" }".into(), ..Options::default() };
    let server = stopped(LATEST, key).await?;
    refused(
        LATEST,
        server.store(),
        &["is encrypted: there is ", "KV_SMALL/meta.key", "hint: start nats-server with the configuration"],
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_another_account() -> Result<()> {
    let accounts = "accounts { CHAT { jetstream: enabled, users: [ { user: u, password: p } ] } }";
    let options = Options { access: Authorization::Open, extra: accounts.into(), ..Options::default() };
    let mut server = Server::start_with(LATEST, options);
    let options = async_nats::ConnectOptions::new().user_and_password("u".into(), "p".into());
    let client = api::connect_with(options, &server.url()).await?;
    faults::small_bucket(&client, server.version(), "SMALL", 1).await?;
    server.stop();
    refused(LATEST, server.store(), &["holds streams of other accounts: CHAT", "hint: "]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_a_cluster() -> Result<()> {
    let mut cluster = Cluster::start(LATEST).await?;
    let mut node = cluster.nodes.remove(0);
    node.stop();
    refused(LATEST, node.store(), &["belongs to a node of a cluster", "hint: "]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_beside_the_right_one() -> Result<()> {
    let server = stopped(LATEST, Options::default()).await?;
    let right = fs::canonicalize(server.store())?;
    let hint = format!("hint: give {}\n", right.display());
    for deeper in ["jetstream", "jetstream/$G", "jetstream/$G/streams", "jetstream/$G/streams/KV_SMALL"] {
        // One that is not there is not made there.
        let new = right.join(deeper).join("new");
        let load = run(on("chatto-load", &[], LATEST, &new)).expect_code(1);
        assert!(load.stderr.contains(&hint) && !new.exists(), "{}", load.stderr);
        refused(LATEST, &right.join(deeper), &["is not the store directory, but lies inside it", &hint]);
    }
    let above = tempfile::tempdir()?;
    let below = above.path().join("data");
    fs::create_dir(&below)?;
    fs::rename(right.join("jetstream"), below.join("jetstream"))?;
    refused(
        LATEST,
        above.path(),
        &["is not the store directory, but holds it", &below.display().to_string()],
    );
    Ok(())
}

/// An empty dump of an empty directory would be worse than none.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_without_streams() -> Result<()> {
    let (dir, empty) = (tempfile::tempdir()?, tempfile::tempdir()?);
    PrivateServer::start(
        &binary(LATEST),
        &Options { store_dir: Some(empty.path().into()), ..Options::default() },
    )?
    .stop()?;
    for dir in [&dir, &empty] {
        for (name, arguments) in
            [("chatto-dump", &[][..]), ("chatto-keys", &["export"]), ("chatto-keys", &["import"])]
        {
            let refusal = run(on(name, arguments, LATEST, dir.path())).expect_code(1);
            assert!(refusal.stderr.contains("holds no streams"), "{}", refusal.stderr);
        }
    }
    assert_eq!(dir.path().read_dir()?.count(), 0);
    let nowhere = dir.path().join("no/such/directory");
    for name in ["chatto-dump", "chatto-load"] {
        let refusal = run(on(name, &[], LATEST, &nowhere)).expect_code(1);
        assert!(refusal.stderr.contains("no/such/directory: "), "{}", refusal.stderr);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_run_of_ours() -> Result<()> {
    let server = stopped(LATEST, Options::default()).await?;
    // Waits for its input.
    let mut load = on("chatto-load", &["-v"], LATEST, server.store());
    let mut load = spawn(load.stdin(Stdio::piped()).stdout(Stdio::null()));
    wait_for_line(&mut load, "a private nats-server");
    let other = run(on("chatto-dump", &[], LATEST, server.store())).expect_code(1);
    assert!(other.stderr.contains("another program of ours works on "), "{}", other.stderr);
    Fed(load).finish(b"");
    run(on("chatto-dump", &["-n"], LATEST, server.store())).expect_code(0);
    Ok(())
}

/// Reads a program's words up to a line.
fn wait_for_line(child: &mut Child, with: &str) {
    use std::io::{BufRead as _, BufReader};
    let mut lines = BufReader::new(child.stderr.as_mut().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains(with)), "{with:?} was not said");
}

/// A stream that a server passes over is missed.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_the_server_cannot_read() -> Result<()> {
    let mut server = Server::start("2.14.5");
    let client = server.client().await?;
    fixtures::v0_4(&client, server.version(), 7, 100).await?;
    server.stop();
    let damage = |stream: &str| {
        fs::write(server.store().join("jetstream/$G/streams").join(stream).join("meta.sum"), "0").unwrap()
    };
    damage("EVT");
    let dump = run(on("chatto-dump", &[], "2.14.5", server.store())).expect_code(3);
    let said = "stream EVT: it is on the disk, and nats-server cannot read it";
    assert!(dump.stderr.contains(said), "{}", dump.stderr);
    // What is there is in the way.
    let destination = run_with(on("chatto-load", &["--stream", "EVT"], "2.14.5", server.store()), &whole()?);
    assert!(destination.expect_code(5).stderr.contains("EVT"));
    damage("KV_ENCRYPTION_KEYS");
    for action in ["export", "list"] {
        let keys = run(on("chatto-keys", &[action], "2.14.5", server.store())).expect_code(1);
        assert!(keys.stderr.contains("stream KV_ENCRYPTION_KEYS: it is on the disk"), "{}", keys.stderr);
    }
    Ok(())
}

/// A server that is stopped while it creates a stream leaves a directory without a stream in it. One with
/// messages in it is another matter.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_no_stream_is_none() -> Result<()> {
    let server = stopped(LATEST, Options::default()).await?;
    let streams = server.store().join("jetstream/$G/streams");
    let half = streams.join("HALF/msgs");
    fs::create_dir_all(&half)?;
    run(on("chatto-dump", &["-n"], LATEST, server.store())).expect_code(0);
    fs::copy(streams.join("KV_SMALL/msgs/1.blk"), half.join("1.blk"))?;
    let dump = run(on("chatto-dump", &[], LATEST, server.store())).expect_code(3);
    assert!(dump.stderr.contains("stream HALF: it is on the disk, and nats-server"), "{}", dump.stderr);
    Ok(())
}

/// An archive with a stream `EVT`.
fn whole() -> Result<Vec<u8>> {
    tokio::task::block_in_place(|| {
        tokio::runtime::Handle::current().block_on(async {
            let server = Server::start("2.14.5");
            fixtures::v0_4(&server.client().await?, server.version(), 8, 100).await?;
            Ok(faults::archive_of(&server))
        })
    })
}

#[test]
fn options_that_contradict_each_other() {
    let usage = |name: &str, arguments: &[&str]| -> Finished {
        let mut command = program(name);
        command.args(arguments);
        run(command).expect_code(2)
    };
    usage("chatto-dump", &["--offline", "-s", "nats://here"]);
    usage("chatto-dump", &["--offline", "--data-dir", "."]);
    usage("chatto-dump", &["--data-dir", ".", "--token-file", "token"]);
    usage("chatto-dump", &["--nats-server", "nats-server"]);
    usage("chatto-load", &["--rehearse", "--offline"]);
    let nowhere: TempDir = tempfile::tempdir().unwrap();
    for toml in
        ["", "[nats.embedded]\nenabled = false\ndata_dir = \"data\"\n", "[nats.embedded]\nenabled = true\n"]
    {
        fs::write(nowhere.path().join("chatto.toml"), toml).unwrap();
        let mut command = program("chatto-dump");
        command.arg("--offline").current_dir(nowhere.path());
        let refusal = run(command).expect_code(2);
        assert!(refusal.stderr.contains("hint: give --data-dir DIR"), "{}", refusal.stderr);
    }
}
