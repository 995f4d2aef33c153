//! A gigabyte flows through `chatto-dump | chatto-load` in constant memory, and is never written to a disk on the way.

use std::path::Path;
use std::process::Command;

use crate::support::api;
use crate::support::measure::{Used, measured};
use crate::support::programs::{finish, pipeline, program_for, spawn};
use crate::support::publish::Publisher;
use crate::support::random::Random;
use crate::support::server::{LATEST, Server};
use anyhow::Result;
use async_nats::Client;
use chatto_pipes::jetstream::private_server::Options;
use serde_json::json;
use tempfile::TempDir;

/// The size of one message, in bytes; the servers are told to take it.
const MESSAGE: usize = 4 << 20;

/// The stream has so many: 1 GB.
const MESSAGES: usize = 256;

/// The promise, in KiB.
const MEMORY: u64 = 96 << 10;

fn server(release: &str) -> Server {
    let max_payload = u32::try_from(2 * MESSAGE).ok();
    Server::start_with(release, Options { max_payload, ..Options::default() })
}

/// A directory on a disk, where the build is. What goes into a memory file system, as `/tmp` may be one, counts as
/// written to none.
fn on_disk() -> Result<TempDir> {
    Ok(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?)
}

/// A program of ours, measured, with `directory` as all that it knows of the file system.
fn confined(name: &str, server: &Server, directory: &Path) -> Command {
    let mut command = measured(&program_for(name, server));
    command.current_dir(directory).env("TMPDIR", directory).env("HOME", directory);
    command
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
    let directory = on_disk()?;

    let finished = pipeline([
        confined("chatto-dump", &source, directory.path()),
        confined("chatto-load", &destination, directory.path()),
    ]);

    assert_eq!(std::fs::read_dir(directory.path())?.count(), 0);
    for (finished, name) in finished.into_iter().zip(["chatto-dump", "chatto-load"]) {
        let said = finished.expect_code(0).stderr;
        let (used, said) = Used::of(&said)?;
        assert_eq!(said, "");
        assert!(used.memory < MEMORY, "{name} took {} MiB of memory", used.memory >> 10);
        assert_eq!(used.written, 0, "{name} wrote to a file system");
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
    let directory = on_disk()?;
    let mut python = Command::new("python3");
    python.args(["-c", "open('file', 'wb').write(b'x' * (200 << 20))"]);
    let said = finish(spawn(measured(&python).current_dir(directory.path()))).expect_code(0).stderr;
    let (used, _) = Used::of(&said)?;
    assert!(used.memory > 200 << 10 && used.written >= 200 << 20, "{said}");
    Ok(())
}
