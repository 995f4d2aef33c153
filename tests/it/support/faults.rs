//! Makes a fault at the right moment: streams that are long enough to be interrupted, pipes that are read or written only so
//! far, signals, and events of a server.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_nats::{Client, Subscriber};
use chatto_pipes::jetstream::Version;
use futures_util::StreamExt as _;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value as Json, json};

use super::builder::Builder;
use super::programs::{self, Finished};
use super::server::Server;

/// More than a load proves before it begins to restore (8 MiB) and an input holds under way (2 MiB):
/// what was fed beyond this is being restored.
pub const UNDER_WAY: usize = 11 << 20;

/// How long something may take that is sure to happen, on a machine that runs many tests at once.
const LIMIT: Duration = Duration::from_secs(120);

/// A stream `name` of `mib` MiB that do not compress, with a few gaps and a consumer in use. Two seeds
/// make two streams that have only their names and subjects in common.
pub async fn large_stream(
    client: &Client,
    version: Version,
    name: &str,
    mib: usize,
    seed: u64,
) -> Result<()> {
    const MESSAGE: usize = 64 << 10;
    let mut b = Builder::new(client, version, seed).await?;
    b.stream(name, json!([format!("{name}.>")]), json!({ "description": format!("seed {seed}") })).await?;
    let messages = (mib << 20) / MESSAGE;
    for n in 0..messages {
        let bytes = b.random.bytes(MESSAGE);
        b.publisher.send(&format!("{name}.{}", n % 9), &[("Number", &n.to_string())], bytes).await?;
    }
    for sequence in [2, 5 + seed, messages as u64 - 1] {
        b.delete_message(name, sequence, true).await?;
    }
    b.consumer(name, "reader", json!({})).await?;
    b.consume(name, "reader", 20, |n| (n % 3 != 1).then_some("+ACK")).await?;
    b.finish().await?;
    Ok(())
}

/// A bucket with some keys, of which `seed` decides the values.
pub async fn small_bucket(client: &Client, version: Version, bucket: &str, seed: u64) -> Result<()> {
    let mut b = Builder::new(client, version, seed).await?;
    b.bucket(bucket, json!({ "description": format!("seed {seed}") })).await?;
    for n in 0..20 {
        let text = b.random.text(9);
        b.put(bucket, &format!("key.{}", n % 15), text).await?;
    }
    b.finish().await?;
    Ok(())
}

/// A `chatto-dump` of `server` that holds little in memory, so that a reader who stops stops it soon.
pub fn dump(server: &Server, arguments: &[&str]) -> Command {
    let mut command = programs::program_for("chatto-dump", server);
    command.args(["--buffer", "8M"]).args(arguments).stdout(Stdio::piped());
    command
}

/// The archive of a server.
#[track_caller]
pub fn archive_of(server: &Server) -> Vec<u8> {
    programs::run(dump(server, &[])).expect_code(0).stdout
}

/// A server with a small bucket `SMALL` and a large stream `LARGE`, and its archive.
pub async fn source(release: &str, mib: usize) -> Result<(Server, Vec<u8>)> {
    let server = Server::start(release);
    let client = server.client().await?;
    small_bucket(&client, server.version(), "SMALL", 1).await?;
    large_stream(&client, server.version(), "LARGE", mib, 1).await?;
    let archive = archive_of(&server);
    Ok((server, archive))
}

/// A program that is being fed through a pipe.
pub struct Fed(pub Child);

impl Fed {
    pub fn spawn(mut command: Command) -> Fed {
        Fed(programs::spawn(command.stdin(Stdio::piped()).stdout(Stdio::null())))
    }

    /// Writes `bytes`; returns when the pipe has taken them. A program that reads no more is no fault.
    pub fn feed(&mut self, bytes: &[u8]) {
        let _ = self.0.stdin.as_mut().unwrap().write_all(bytes);
    }

    /// Waits for the program's end, which does not come from the pipe: that stays as it is.
    pub fn ended(mut self) -> Finished {
        let _open = self.0.stdin.take();
        programs::finish(self.0)
    }

    /// Writes the last bytes, closes the pipe and waits for the program's end.
    pub fn finish(mut self, rest: &[u8]) -> Finished {
        self.feed(rest);
        drop(self.0.stdin.take());
        programs::finish(self.0)
    }
}

/// Takes `n` bytes out of a running program's stdout.
#[track_caller]
pub fn take(child: &mut Child, n: usize) -> Vec<u8> {
    let mut bytes = vec![0; n];
    child.stdout.as_mut().unwrap().read_exact(&mut bytes).expect("the program ended before that");
    bytes
}

/// Reads a running program's stderr until it has said `words`, and no further.
#[track_caller]
pub fn hear(child: &mut Child, words: &str) {
    let (mut said, mut byte) = (Vec::new(), [0]);
    while !said.ends_with(words.as_bytes()) {
        child.stderr.as_mut().unwrap().read_exact(&mut byte).expect("the program ended before that");
        said.extend(byte);
    }
}

/// Reads on to the program's end; what was taken before and what came since are one stdout.
pub fn finish(child: Child, before: Vec<u8>) -> Finished {
    let mut finished = programs::finish(child);
    finished.stdout = [before, finished.stdout].concat();
    finished
}

/// Sends a program a signal.
pub fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// What a server tells of its streams: `what` is e.g. `DELETED.EVT` or `RESTORE_CREATE.*`.
pub struct News(Subscriber);

impl News {
    /// Returns when the server surely knows that we listen.
    pub async fn of(client: &Client, what: &str) -> Result<News> {
        let news = News(client.subscribe(format!("$JS.EVENT.ADVISORY.STREAM.{what}")).await?);
        super::api::call(client, "INFO", Json::Null).await?;
        Ok(news)
    }

    /// Waits until it has happened (again).
    pub async fn happened(&mut self) -> Result<()> {
        let news = tokio::time::timeout(LIMIT, self.0.next()).await;
        news.context("it does not happen")?.context("the connection ended")?;
        Ok(())
    }
}

/// The state of a stream, or nothing where there is none.
pub async fn state_of(client: &Client, stream: &str) -> Result<Option<Json>> {
    const NOT_FOUND: u64 = 10059;
    let mut info = super::api::asked_again(client, &format!("STREAM.INFO.{stream}")).await?;
    if info["error"]["err_code"] == NOT_FOUND {
        return Ok(None);
    }
    ensure!(info["state"].is_object(), "{stream}: {info}");
    Ok(Some(info["state"].take()))
}
