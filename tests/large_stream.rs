//! A gigabyte flows through `chatto-dump | chatto-load` in constant memory, and nothing of it touches a
//! disk on the way.

mod support;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use async_nats::Client;
use chatto_pipes::jetstream::private_server::Options;
use serde_json::json;
use support::api;
use support::programs::{finish, path, pipeline, program_for, spawn};
use support::publish::Publisher;
use support::random::Random;
use support::server::{LATEST, Server};

/// The size of one message, in bytes; the servers are told to take it.
const MESSAGE: usize = 4 << 20;

/// The stream has so many: 1 GB.
const MESSAGES: usize = 256;

/// The promise, in KiB.
const MEMORY: u64 = 96 << 10;

/// Runs the program that its arguments name, and writes its peak memory in KiB and what it caused to
/// be written to a file system, in units of 512 bytes, as the last line of stderr.
const MEASURE: &str = "
import os, sys
pid = os.spawnv(os.P_NOWAIT, sys.argv[1], sys.argv[1:])
_, status, used = os.wait4(pid, 0)
print(used.ru_maxrss, used.ru_oublock, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))
";

fn server(release: &str) -> Server {
    let max_payload = u32::try_from(2 * MESSAGE).ok();
    Server::start_with(release, Options { max_payload, ..Options::default() })
}

/// A program of ours, measured, with `directory` as all that it knows of the file system.
fn measured(name: &str, server: &Server, directory: &Path) -> Command {
    let ours = program_for(name, server);
    let mut python = Command::new("python3");
    python.args(["-c", MEASURE]).arg(path(name)).current_dir(directory);
    python.envs(ours.get_envs().filter_map(|(key, value)| Some((key, value?))));
    python.env("TMPDIR", directory).env("HOME", directory);
    python
}

async fn fill(server: &Server) -> Result<()> {
    let client = server.client().await?;
    let config = json!({ "name": "LARGE", "subjects": ["large.*"], "allow_direct": true });
    api::call(&client, "STREAM.CREATE.LARGE", config).await?;
    let mut publisher = Publisher::new(&client).await?;
    let mut payload = Random::new(7).bytes(MESSAGE);
    for n in 0..MESSAGES {
        // No two messages are the same, and none compresses.
        payload[..8].copy_from_slice(&(n as u64).to_be_bytes());
        publisher.send(&format!("large.{}", n % 10), &[], payload.clone()).await?;
        if n % 16 == 0 {
            publisher.settle().await?;
        }
    }
    publisher.settle().await
}

/// The judge asks for 64 messages at once, in base64; here they are read one by one, as they are.
async fn equal(source: &Client, destination: &Client) -> Result<()> {
    let (a, b) = (api::stream_info(source, "LARGE").await?, api::stream_info(destination, "LARGE").await?);
    assert_eq!(a["state"], b["state"]);
    for sequence in 1..=MESSAGES {
        let get = async |client: &Client| {
            let body = json!({ "seq": sequence }).to_string();
            client.request("$JS.API.DIRECT.GET.LARGE", body.into()).await
        };
        let (a, b) = tokio::try_join!(get(source), get(destination))?;
        assert_eq!(a.payload.len(), MESSAGE);
        // The headers hold subject, sequence and time.
        assert!(a.payload == b.payload && a.headers == b.headers, "message {sequence} differs");
    }
    Ok(())
}

async fn a_gigabyte(release: &str) -> Result<()> {
    let (source, destination) = (server(release), server(release));
    fill(&source).await?;
    let directory = tempfile::tempdir()?;

    let finished = pipeline([
        measured("chatto-dump", &source, directory.path()),
        measured("chatto-load", &destination, directory.path()),
    ]);

    assert_eq!(std::fs::read_dir(directory.path())?.count(), 0);
    for (finished, name) in finished.into_iter().zip(["chatto-dump", "chatto-load"]) {
        let said = finished.expect_code(0).stderr;
        let mut lines = said.lines().rev();
        let numbers = lines.next().context("no measurement")?.split(' ').map(str::parse);
        let [memory, written] = numbers.collect::<Result<Vec<u64>, _>>()?[..] else {
            anyhow::bail!("{said}")
        };
        assert_eq!(lines.next(), None, "{said}");
        assert!(memory < MEMORY, "{name} took {} MiB of memory", memory >> 10);
        assert_eq!(written, 0, "{name} wrote to a file system");
    }
    equal(&source.client().await?, &destination.client().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_gigabyte_as_natsarc1() -> Result<()> {
    a_gigabyte(LATEST).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_gigabyte_as_tar() -> Result<()> {
    a_gigabyte("2.14.5").await
}

/// The measurement itself: it sees what is written and what is taken.
#[test]
fn the_measurement_can_fail() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let script = "open('file', 'wb').write(b'x' * (200 << 20))";
    let mut python = Command::new("python3");
    let here = String::from_utf8(Command::new("which").arg("python3").output()?.stdout)?;
    python.args(["-c", MEASURE, here.trim(), "-c", script]).current_dir(directory.path());
    let said = finish(spawn(&mut python)).expect_code(0).stderr;
    let numbers: Vec<u64> = said.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    assert!(numbers[0] > 200 << 10 && numbers[1] >= 200 << 11, "{said}");
    Ok(())
}
