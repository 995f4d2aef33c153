//! What our programs are measured against: clients that do the least that the protocol asks for.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};

use crate::support::api;

/// Room for chunks that arrived: more than a server's window.
const CAPACITY: usize = 64 << 10;

/// What chatto-load sends at once, and how many of these it has in flight.
const CHUNK: usize = 512 << 10;
const WINDOW: usize = 16;

/// Takes a snapshot of every stream, acknowledges its chunks and throws them away. The chunk and the window
/// are those that chatto-dump asks for. Gives the bytes.
pub async fn take_and_drop(url: &str, token: &str) -> Result<u64> {
    take(url, token, |_| {}).await
}

/// The same with a SHA-256 of all bytes. No program that uses this client library and has a sum of its archive does less.
pub async fn take_and_sum(url: &str, token: &str) -> Result<u64> {
    let mut sum = Sha256::new();
    let taken = take(url, token, |chunk| sum.update(chunk)).await?;
    std::hint::black_box(sum.finalize());
    Ok(taken)
}

async fn take(url: &str, token: &str, mut each: impl FnMut(&[u8])) -> Result<u64> {
    let client = async_nats::ConnectOptions::new()
        .token(token.to_owned())
        .subscription_capacity(CAPACITY)
        .connect(url)
        .await?;
    let mut taken = 0;
    for name in api::stream_names(&client).await? {
        let inbox = client.new_inbox();
        let mut chunks = client.subscribe(inbox.clone()).await?;
        let request = json!({ "deliver_subject": inbox, "chunk_size": 64 << 10, "window_size": 20 << 20 });
        api::call(&client, &format!("STREAM.SNAPSHOT.{name}"), request).await?;
        loop {
            let chunk = chunks.next().await.context("the connection ended")?;
            if chunk.payload.is_empty() {
                // A failed one would be fast.
                let good = chunk.status.is_none_or(|status| status.as_u16() == 204);
                ensure!(good, "{:?} {:?}", chunk.status, chunk.description);
                break;
            }
            taken += chunk.payload.len() as u64;
            each(&chunk.payload);
            if let Some(reply) = chunk.reply {
                client.publish(reply, Bytes::new()).await?;
            }
        }
    }
    Ok(taken)
}

/// Restores one stream by a request and its answer for every 64 KiB, as the Go library does.
pub async fn restore_one_at_a_time(url: &str, token: &str, backup: &Backup) -> Result<()> {
    let (client, to) = backup.begin(url, token).await?;
    for chunk in backup.snapshot.chunks(64 << 10) {
        let answer = client.request(to.clone(), backup.snapshot.slice_ref(chunk)).await?;
        ensure!(answer.payload.is_empty(), "{}", String::from_utf8_lossy(&answer.payload));
    }
    backup.commit(&client, to).await
}

/// Restores one stream by chunks as large and as many at once as chatto-load's, and checks nothing.
pub async fn restore_windowed(url: &str, token: &str, backup: &Backup) -> Result<()> {
    let (client, to) = backup.begin(url, token).await?;
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await?;
    let mut in_flight = 0;
    let chunks = backup.snapshot.chunks(CHUNK).map(Some);
    // Then nothing more is sent, and as many answers are awaited.
    for chunk in chunks.chain(std::iter::repeat_n(None, WINDOW)) {
        if in_flight == WINDOW || (chunk.is_none() && in_flight > 0) {
            let answer = answers.next().await.context("the connection ended")?;
            ensure!(answer.payload.is_empty(), "{}", String::from_utf8_lossy(&answer.payload));
            in_flight -= 1;
        }
        if let Some(chunk) = chunk {
            let chunk = backup.snapshot.slice_ref(chunk);
            client.publish_with_reply(to.clone(), inbox.clone(), chunk).await?;
            in_flight += 1;
        }
    }
    backup.commit(&client, to).await
}

/// A snapshot in memory, with its description.
pub struct Backup {
    json: Json,
    snapshot: Bytes,
}

impl Backup {
    /// The only stream of an archive.
    pub fn of_archive(archive: &Path) -> Result<Backup> {
        let (mut json, mut snapshot) = (Json::Null, Vec::new());
        for entry in tar::Archive::new(std::fs::File::open(archive)?).entries()? {
            let mut entry = entry?;
            let path = entry.path()?.to_string_lossy().into_owned();
            if path.ends_with("/backup.json") {
                json = serde_json::from_reader(&mut entry)?;
            } else if path.contains("/part-") || path.ends_with("/stream.tar.s2") {
                std::io::copy(&mut entry, &mut snapshot)?;
            }
        }
        Ok(Backup { json, snapshot: snapshot.into() })
    }

    /// Its size.
    pub fn bytes(&self) -> u64 {
        self.snapshot.len() as u64
    }

    /// Connects and begins a restore. Gives the subject to which the chunks go.
    async fn begin(&self, url: &str, token: &str) -> Result<(async_nats::Client, String)> {
        let client = api::connect(url, Some(token)).await?;
        let name = self.json["config"]["name"].as_str().context("a name")?;
        let begun = api::call(&client, &format!("STREAM.RESTORE.{name}"), self.json.clone()).await?;
        let to = begun["deliver_subject"].as_str().context("a subject")?.to_owned();
        Ok((client, to))
    }

    async fn commit(&self, client: &async_nats::Client, to: String) -> Result<()> {
        let answer = client.request(to, Bytes::new()).await?;
        let answer: Json = serde_json::from_slice(&answer.payload)?;
        let messages = |state: &Json| state["messages"].as_u64();
        // What restores less would be faster.
        ensure!(messages(&answer["state"]) == messages(&self.json["state"]), "{answer}");
        Ok(())
    }
}
