//! What our programs are measured against: clients that do the least that the protocol asks for.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::{Value as Json, json};

use crate::support::api;

/// Room for chunks that arrived: more than a server's window.
const CAPACITY: usize = 64 << 10;

/// Takes a snapshot of every stream, acknowledges its chunks and throws them away. The chunk and the window
/// are those that chatto-dump asks for. Gives the bytes.
pub async fn take_and_drop(url: &str, token: &str) -> Result<u64> {
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
                break;
            }
            taken += chunk.payload.len() as u64;
            if let Some(reply) = chunk.reply {
                client.publish(reply, Bytes::new()).await?;
            }
        }
    }
    Ok(taken)
}

/// Restores one stream by a request and its answer for every 64 KiB, as the Go library does.
pub async fn restore_one_at_a_time(url: &str, token: &str, backup: &Backup) -> Result<()> {
    let client = api::connect(url, Some(token)).await?;
    let name = backup.json["config"]["name"].as_str().context("a name")?;
    let begun = api::call(&client, &format!("STREAM.RESTORE.{name}"), backup.json.clone()).await?;
    let to = begun["deliver_subject"].as_str().context("a subject")?.to_owned();
    for chunk in backup.snapshot.chunks(64 << 10) {
        let answer = client.request(to.clone(), Bytes::copy_from_slice(chunk)).await?;
        ensure!(answer.payload.is_empty(), "{}", String::from_utf8_lossy(&answer.payload));
    }
    let answer = client.request(to, Bytes::new()).await?;
    let answer: Json = serde_json::from_slice(&answer.payload)?;
    ensure!(answer.get("error").is_none(), "{answer}");
    Ok(())
}

/// A snapshot in memory, with its description.
pub struct Backup {
    pub json: Json,
    pub snapshot: Vec<u8>,
}

impl Backup {
    /// The only stream of an archive.
    pub fn of_archive(archive: &std::path::Path) -> Result<Backup> {
        let mut backup = Backup { json: Json::Null, snapshot: Vec::new() };
        for entry in tar::Archive::new(std::fs::File::open(archive)?).entries()? {
            let mut entry = entry?;
            let path = entry.path()?.to_string_lossy().into_owned();
            if path.ends_with("/backup.json") {
                backup.json = serde_json::from_reader(&mut entry)?;
            } else if path.contains("/part-") || path.ends_with("/stream.tar.s2") {
                std::io::copy(&mut entry, &mut backup.snapshot)?;
            }
        }
        Ok(backup)
    }
}
