//! Builds streams, KV buckets, object stores and consumers on a server as clients do, message by message.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use async_nats::{Client, StatusCode};
use chatto_pipes::jetstream::Version;
use futures_util::StreamExt as _;
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};

use super::api::call;
use super::fixtures::EXCLUDED;
use super::publish::Publisher;
use super::random::Random;

/// Stream settings and the minor release that brought them. An older server forgets or (since
/// 2.12) refuses a field that it does not know.
const UNKNOWN_BEFORE: [(&str, u32); 3] =
    [("allow_msg_ttl", 11), ("subject_delete_marker_ttl", 11), ("allow_atomic", 12)];

pub const SECOND: u64 = 1_000_000_000;
pub const HOUR: u64 = 3600 * SECOND;
pub const DAY: u64 = 24 * HOUR;

/// What was built.
#[derive(Debug, Default)]
pub struct Built {
    /// The streams that belong into a backup.
    pub kept: Vec<String>,
    /// The streams that do not.
    pub excluded: Vec<String>,
}

impl Built {
    /// Whether a stream belongs into a backup.
    pub fn is_kept(&self, stream: &str) -> bool {
        self.kept.iter().any(|kept| kept == stream)
    }
}

/// A server, a generator and a publisher, together: what builds.
pub struct Builder<'a> {
    pub client: &'a Client,
    version: Version,
    pub random: Random,
    pub publisher: Publisher<'a>,
    built: Built,
}

impl<'a> Builder<'a> {
    pub async fn new(client: &'a Client, version: Version, seed: u64) -> Result<Self> {
        let publisher = Publisher::new(client).await?;
        Ok(Builder { client, version, random: Random::new(seed), publisher, built: Built::default() })
    }

    pub fn has(&self, minor: u32) -> bool {
        self.version >= Version(2, minor, 0)
    }

    /// Creates a stream with Chatto's common settings and `more`, and notes where it belongs.
    pub async fn stream(&mut self, name: &str, subjects: Json, more: Json) -> Result<()> {
        let mut config = json!({
            "name": name, "subjects": subjects, "retention": "limits", "storage": "file", "discard": "old",
            "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "max_age": 0, "max_msgs_per_subject": -1,
            "max_msg_size": -1, "num_replicas": 1, "duplicate_window": 120 * SECOND, "allow_direct": true,
        });
        let fields = config.as_object_mut().context("an object")?;
        fields.extend(more.as_object().context("an object")?.clone());
        for (field, minor) in UNKNOWN_BEFORE {
            if !self.has(minor) {
                fields.remove(field);
            }
        }
        call(self.client, &format!("STREAM.CREATE.{name}"), config).await?;
        let list = if EXCLUDED.contains(&name) { &mut self.built.excluded } else { &mut self.built.kept };
        list.push(name.into());
        Ok(())
    }

    /// A KV bucket as clients create one, with history 1.
    pub async fn bucket(&mut self, bucket: &str, more: Json) -> Result<()> {
        let mut config = json!({
            "max_msgs_per_subject": 1, "discard": "new", "deny_delete": true, "allow_rollup_hdrs": true,
        });
        config.as_object_mut().context("an object")?.extend(more.as_object().context("an object")?.clone());
        let name = format!("KV_{bucket}");
        self.stream(&name, json!([format!("$KV.{bucket}.>")]), config).await
    }

    pub async fn put(&mut self, bucket: &str, key: &str, value: impl Into<Vec<u8>>) -> Result<()> {
        self.publisher.send(&format!("$KV.{bucket}.{key}"), &[], value).await
    }

    /// `DEL`, as a client deletes a key: the marker takes the place of the value.
    pub async fn delete_key(&mut self, bucket: &str, key: &str) -> Result<()> {
        self.publisher.send(&format!("$KV.{bucket}.{key}"), &[("KV-Operation", "DEL")], "").await
    }

    pub async fn purge_key(&mut self, bucket: &str, key: &str) -> Result<()> {
        let headers = [("KV-Operation", "PURGE"), ("Nats-Rollup", "sub")];
        self.publisher.send(&format!("$KV.{bucket}.{key}"), &headers, "").await
    }

    /// An object store as clients create one.
    pub async fn object_store(&mut self, store: &str, more: Json) -> Result<()> {
        let mut config = json!({ "discard": "new", "allow_rollup_hdrs": true });
        config.as_object_mut().context("an object")?.extend(more.as_object().context("an object")?.clone());
        let name = format!("OBJ_{store}");
        self.stream(&name, json!([format!("$O.{store}.C.>"), format!("$O.{store}.M.>")]), config).await
    }

    /// Puts an object in chunks of `chunk` bytes, then its description; returns that.
    pub async fn put_object(&mut self, store: &str, name: &str, data: &[u8], chunk: usize) -> Result<Json> {
        let nuid = self.random.id(22);
        for piece in data.chunks(chunk) {
            self.publisher.send(&format!("$O.{store}.C.{nuid}"), &[], piece).await?;
        }
        let about = json!({
            "name": name, "options": { "max_chunk_size": chunk }, "bucket": store, "nuid": nuid,
            "size": data.len(),
            "mtime": "0001-01-01T00:00:00Z", "chunks": data.len().div_ceil(chunk),
            "digest": format!("SHA-256={}", base64url(&Sha256::digest(data))),
            "headers": { "Content-Type": ["image/webp"] },
        });
        self.describe_object(store, &about).await?;
        Ok(about)
    }

    pub async fn describe_object(&mut self, store: &str, about: &Json) -> Result<()> {
        let name = base64url(about["name"].as_str().unwrap_or_default().as_bytes());
        self.publisher
            .send(&format!("$O.{store}.M.{name}"), &[("Nats-Rollup", "sub")], about.to_string())
            .await
    }

    /// Deletes an object as clients do: the description stays, the chunks are purged.
    pub async fn delete_object(&mut self, store: &str, mut about: Json) -> Result<()> {
        let chunks = format!("$O.{store}.C.{}", about["nuid"].as_str().unwrap_or_default());
        about["deleted"] = json!(true);
        about["size"] = json!(0);
        about["chunks"] = json!(0);
        about["digest"] = json!("");
        self.describe_object(store, &about).await?;
        self.purge(&format!("OBJ_{store}"), json!({ "filter": chunks })).await
    }

    pub async fn purge(&mut self, stream: &str, what: Json) -> Result<()> {
        self.publisher.settle().await?;
        call(self.client, &format!("STREAM.PURGE.{stream}"), what).await?;
        Ok(())
    }

    /// Deletes a message; `erase` overwrites its bytes on disk.
    pub async fn delete_message(&mut self, stream: &str, sequence: u64, erase: bool) -> Result<()> {
        self.publisher.settle().await?;
        let body = json!({ "seq": sequence, "no_erase": !erase });
        call(self.client, &format!("STREAM.MSG.DELETE.{stream}"), body).await?;
        Ok(())
    }

    pub async fn consumer(&self, stream: &str, name: &str, more: Json) -> Result<()> {
        let mut config = json!({
            "durable_name": name, "name": name, "deliver_policy": "all", "ack_policy": "explicit",
            "replay_policy": "instant", "ack_wait": HOUR,
        });
        config.as_object_mut().context("an object")?.extend(more.as_object().context("an object")?.clone());
        let body = json!({ "stream_name": stream, "config": config });
        call(self.client, &format!("CONSUMER.DURABLE.CREATE.{stream}.{name}"), body).await?;
        Ok(())
    }

    pub async fn consume(
        &self,
        stream: &str,
        name: &str,
        count: usize,
        answer: impl Fn(usize) -> Option<&'static str>,
    ) -> Result<()> {
        consume(self.client, stream, name, count, answer).await
    }

    pub async fn finish(mut self) -> Result<Built> {
        self.publisher.settle().await?;
        Ok(self.built)
    }
}

/// How long a node of a cluster may take to learn that another one has made a consumer.
const LEARNED: Duration = Duration::from_secs(60);

/// Takes `count` messages from a pull consumer and answers the n-th with `answer(n)`; `None`
/// leaves it pending. Returns when the server has taken in the answers. The first one goes out when all
/// messages have come: one that is refused earlier may come again among them.
///
/// (A plain request cannot do this: the message comes under its own subject, not the inbox's.)
pub async fn consume(
    client: &Client,
    stream: &str,
    name: &str,
    count: usize,
    answer: impl Fn(usize) -> Option<&'static str>,
) -> Result<()> {
    let inbox = client.new_inbox();
    let mut messages = client.subscribe(inbox.clone()).await?;
    let api = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}");
    let body = json!({ "batch": count, "expires": 30 * SECOND }).to_string();
    client.publish_with_reply(api.clone(), inbox.clone(), body.clone().into()).await?;
    let deadline = Instant::now() + LEARNED;
    let mut came = Vec::new();
    while came.len() < count {
        let message = messages.next().await.context("the connection ended")?;
        if message.status == Some(StatusCode::NO_RESPONDERS) && came.is_empty() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(50)).await;
            client.publish_with_reply(api.clone(), inbox.clone(), body.clone().into()).await?;
            continue;
        }
        anyhow::ensure!(
            message.status.is_none(),
            "{stream}/{name}: {:?} instead of message {}",
            message.status,
            came.len()
        );
        came.push(message);
    }
    for (n, message) in came.into_iter().enumerate() {
        if let (Some(answer), Some(reply)) = (answer(n), message.reply) {
            client.request(reply, answer.into()).await?;
        }
    }
    Ok(())
}

/// Base64 with `-` and `_`, padded, as object stores name and digest.
fn base64url(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for n in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * n) & 63) as usize];
            out.push(if n <= group.len() { char::from(letter) } else { '=' });
        }
    }
    out
}
