//! The private nats-server is ready when it says so, accepts nobody else, and leaves nothing behind.

// In the helpers, as in the tests, a failed expectation is a failed test.
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::api;
use crate::support::cluster::Cluster;
use crate::support::processes::{End, children_of};
use crate::support::programs::install;
use crate::support::server::{LATEST, RELEASES, Server, binary};
use anyhow::Result;
use chatto_pipes::jetstream::private_server::{
    Authorization, Error, Options, PrivateServer, Starter, version,
};
use serde_json::json;

/// The private directory of a running server, by what its process was started with.
fn private_directory(server: &PrivateServer) -> PathBuf {
    let arguments = fs::read(format!("/proc/{}/cmdline", server.process_id())).unwrap();
    let mut arguments = arguments.split(|byte| *byte == 0).skip_while(|argument| *argument != b"--config");
    let configuration = arguments.nth(1).unwrap();
    Path::new(std::str::from_utf8(configuration).unwrap()).parent().unwrap().to_path_buf()
}

fn is_alive(process: u32) -> bool {
    Path::new(&format!("/proc/{process}")).exists()
}

/// What the server says to a connection that presents `token`.
fn greeting(port: u16, token: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let connect = json!({ "auth_token": token, "verbose": false, "pedantic": false });
    stream.write_all(format!("CONNECT {connect}\r\nPING\r\n").as_bytes()).unwrap();
    let answer = BufReader::new(stream).lines().map_while(Result::ok).find(|line| !line.starts_with("INFO "));
    answer.unwrap_or_default()
}

#[test]
fn every_release_starts_is_closed_to_others_and_leaves_nothing() {
    for release in ["2.10.26"].iter().chain(&RELEASES) {
        let server = PrivateServer::start(&binary(release), &Options::default()).unwrap();
        assert_eq!(server.version().to_string(), *release);
        assert_eq!(version(&binary(release)).unwrap(), server.version());
        assert_eq!(greeting(server.port(), server.token().unwrap()), "PONG", "{release}");
        assert_eq!(greeting(server.port(), "a guess"), "-ERR 'Authorization Violation'", "{release}");

        let directory = private_directory(&server);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&directory), 0o700);
        assert!(!directory.join("nats-server.conf").exists(), "{release}: the token is on the disk");

        let process = server.process_id();
        server.stop().unwrap();
        assert!(!is_alive(process) && !directory.exists(), "{release}");
    }
}

#[test]
fn dropping_it_stops_it_and_keeps_the_store_that_was_given() {
    let store = tempfile::tempdir().unwrap();
    let options =
        Options { store_dir: Some(store.path().into()), access: Authorization::Open, ..Options::default() };
    let server = PrivateServer::start(&binary(LATEST), &options).unwrap();
    assert_eq!((greeting(server.port(), "").as_str(), server.token()), ("PONG", None));
    let (process, directory) = (server.process_id(), private_directory(&server));
    assert!(!directory.exists(), "a crash would leave it behind");
    drop(server);
    assert!(!is_alive(process));
    assert!(store.path().join("jetstream").is_dir());
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let options = Options { extra: "no_such_setting: 1".into(), ..Options::default() };
    let error = PrivateServer::start(&binary(LATEST), &options).unwrap_err();
    assert!(matches!(error, Error::Early(_)), "{error:?}");
    assert!(error.to_string().contains("unknown field \"no_such_setting\""), "{error}");

    let first = PrivateServer::start(&binary(LATEST), &Options::default()).unwrap();
    let options = Options { port: Some(first.port()), ..Options::default() };
    let error = PrivateServer::start(&binary(LATEST), &options).unwrap_err();
    assert!(error.to_string().contains("address already in use"), "{error}");

    let error = PrivateServer::start(Path::new("/bin/true"), &Options::default()).unwrap_err();
    assert!(matches!(error, Error::Early(_)), "{error:?}");
    assert!(version(Path::new("/bin/true")).unwrap_err().to_string().contains("cannot run /bin/true"));
}

#[test]
fn a_start_that_is_called_off_ends_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (script, fifo) = (dir.path().join("nats-server"), dir.path().join("ready"));
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    // Only its owner may read the configuration, and it is there while the server starts.
    install(&script, "#!/bin/sh\nstat -c %a \"$2\" > \"${0%/*}/ready\"\nexec sleep 1000\n");
    let (starter, cancel) = Starter::new();
    let waiting = std::thread::spawn(move || starter.start(&script, &Options::default()));
    assert_eq!(fs::read_to_string(&fifo).unwrap(), "600\n");
    cancel.now();
    let error = waiting.join().unwrap().unwrap_err();
    assert!(matches!(error, Error::CalledOff), "{error:?}");
}

/// A thing that starts and never gets ready is given up after the limit, and stopped.
#[test]
fn a_server_that_is_never_ready_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("nats-server");
    install(&script, "#!/bin/sh\necho $$ > \"${0%/*}/process\"\necho so slow >&2\nexec sleep 1000\n");
    // What it says must have been said by then.
    let options = Options { start_limit: Duration::from_secs(20), ..Options::default() };
    let error = PrivateServer::start(&script, &options).unwrap_err();
    assert!(
        error.to_string().contains("not ready after 20s") && error.to_string().contains("so slow"),
        "{error}"
    );
    let process = fs::read_to_string(dir.path().join("process")).unwrap().trim().parse().unwrap();
    assert!(!is_alive(process));
}

/// The test program itself plays the parent that is killed: it runs this test again, as a child
/// that starts a server, tells its number and waits for its end. What the server stored goes with it.
#[test]
fn it_dies_with_its_parent() {
    const CHILD: &str = "CHATTO_TEST_IS_THE_PARENT_TO_KILL";
    if std::env::var_os(CHILD).is_some() {
        let server = PrivateServer::start(&binary(LATEST), &Options::default()).unwrap();
        println!("process {}.", server.process_id());
        loop {
            std::thread::park();
        }
    }
    let temporary = tempfile::tempdir().unwrap();
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "private_server::it_dies_with_its_parent", "--nocapture"])
        .env(CHILD, "1")
        .env("TMPDIR", temporary.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(parent.stdout.take().unwrap()).lines().map_while(Result::ok);
    let line = lines.find(|line| line.contains("process ")).unwrap();
    let process = line.split_once("process ").and_then(|(_, rest)| rest.strip_suffix('.')).unwrap();
    let end = End::of(process.parse().unwrap());
    let directory = fs::read_dir(&temporary).unwrap().next().unwrap().unwrap().path();
    assert!(directory.join("store/jetstream").is_dir(), "{}", directory.display());
    // The shell that removes the directory is the server's only child.
    let watcher = End::of(children_of(process.parse().unwrap()).next().unwrap());
    parent.kill().unwrap();
    parent.wait().unwrap();
    end.wait();
    watcher.wait();
    assert!(!directory.exists(), "decrypted streams are left behind");
}

#[tokio::test]
async fn the_store_outlives_a_restart_and_a_kill() -> Result<()> {
    let mut server = Server::start(LATEST);
    let client = server.client().await?;
    api::call(&client, "STREAM.CREATE.S", json!({ "name": "S", "subjects": ["s"] })).await?;
    client.request("s", "one".into()).await?;
    server.restart();
    server.kill();
    server.start_again();
    let info = api::stream_info(&server.client().await?, "S").await?;
    assert_eq!(info["state"]["messages"], 1, "{info}");
    Ok(())
}

#[tokio::test]
async fn three_of_them_form_a_cluster() -> Result<()> {
    let cluster = Cluster::start(LATEST).await?;
    let client = cluster.nodes[2].client().await?;
    api::call(&client, "STREAM.CREATE.S", json!({ "name": "S", "subjects": ["s"], "num_replicas": 3 }))
        .await?;
    let info = api::stream_info(&client, "S").await?;
    assert_eq!(info["cluster"]["replicas"].as_array().map(Vec::len), Some(2), "{info}");
    Ok(())
}
