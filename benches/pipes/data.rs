//! What the servers hold: attachments that do not compress, small events that do, many streams.

use anyhow::Result;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;

use chatto_pipes::jetstream::private_server::Options;

use crate::support::api;
use crate::support::publish::Publisher;
use crate::support::random::Random;
use crate::support::server::{LATEST, Server};

/// The size of an object store's chunk, in bytes.
const ASSET: usize = 128 << 10;

/// The largest message of any measurement, in bytes, which the servers are told to take.
const MAX_PAYLOAD: u32 = 9 << 20;

/// An empty server.
pub fn server() -> Server {
    server_of(LATEST)
}

/// An empty server of that release.
pub fn server_of(release: &str) -> Server {
    Server::start_with(release, Options { max_payload: Some(MAX_PAYLOAD), ..Options::default() })
}

/// A stream of `bytes` that do not compress, in messages of `size`.
pub async fn assets(server: &Server, stream: &str, bytes: usize, size: usize) -> Result<()> {
    let client = server.client().await?;
    let config = json!({ "name": stream, "subjects": [format!("{stream}.*")] });
    api::call(&client, &format!("STREAM.CREATE.{stream}"), config).await?;
    let mut publisher = Publisher::new(&client).await?;
    let mut random = Random::new(7);
    let mut payload = vec![0; size];
    for n in 0..bytes.div_ceil(size) {
        // New ones for each message: what was there before could be found again by a compressor.
        for eight in payload.chunks_mut(8) {
            eight.copy_from_slice(&random.next().to_le_bytes()[..eight.len()]);
        }
        publisher.send(&format!("{stream}.{}", n % 10), &[], payload.clone()).await?;
        if n % (1 + (64 << 20) / size) == 0 {
            publisher.settle().await?;
        }
    }
    publisher.settle().await
}

/// The same in the pieces that an object store keeps attachments in.
pub async fn attachments(server: &Server, bytes: usize) -> Result<()> {
    assets(server, "ASSETS", bytes, ASSET).await
}

/// A compressed stream of `bytes` of small events in JSON, like Chatto's.
pub async fn events(server: &Server, bytes: usize) -> Result<()> {
    let client = server.client().await?;
    let config = json!({ "name": "EVT", "subjects": ["evt.>"], "compression": "s2" });
    api::call(&client, "STREAM.CREATE.EVT", config).await?;
    let mut publisher = Publisher::new(&client).await?;
    let mut random = Random::new(9);
    let mut sent = 0;
    while sent < bytes {
        let (room, user) = (random.id(14), random.id(14));
        let event = json!({
            "id": random.id(21), "type": "message_posted", "room_id": room, "actor_id": user,
            "created_at": "2026-08-01T12:00:00Z", "body": random.text(30), "mentions": [], "thread_id": null,
        })
        .to_string();
        sent += event.len();
        publisher.send(&format!("evt.room.{room}.message_posted"), &[("Nats-Msg-Id", &user)], event).await?;
    }
    publisher.settle().await
}

/// About how many bytes an event has in [`posts`].
pub const POST: usize = 2_000;

/// Appends `count` events whose text is encrypted, as Chatto's are. Gives the bytes of their text.
pub async fn posts(server: &Server, count: usize) -> Result<usize> {
    let client = server.client().await?;
    let config = json!({ "name": "EVT", "subjects": ["evt.>"], "compression": "s2" });
    // It may be there already.
    api::answer(&client, "STREAM.CREATE.EVT", config).await?;
    let mut publisher = Publisher::new(&client).await?;
    let mut random = Random::new(count as u64);
    let mut sent = 0;
    for _ in 0..count {
        let (room, id, len) = (random.below(500), random.id(22), POST - 500 + random.below(800));
        sent += len;
        publisher
            .send(&format!("evt.room{room}.message"), &[("Nats-Msg-Id", &id)], random.bytes(len))
            .await?;
    }
    publisher.settle().await?;
    Ok(sent)
}

/// `count` streams of ten small messages each.
pub async fn streams(server: &Server, count: usize) -> Result<()> {
    let client = server.client().await?;
    stream::iter(0..count)
        .map(|n| {
            let client = client.clone();
            async move {
                let name = format!("KV_BUCKET_{n}");
                let config = json!({ "name": name, "subjects": [format!("$KV.{n}.>")] });
                api::call(&client, &format!("STREAM.CREATE.{name}"), config).await?;
                let mut publisher = Publisher::new(&client).await?;
                for key in 0..10 {
                    publisher.send(&format!("$KV.{n}.{key}"), &[], format!("value {key}")).await?;
                }
                publisher.settle().await
            }
        })
        .buffer_unordered(16)
        .try_collect::<()>()
        .await
}

/// A stream of `count` messages of 100 bytes.
pub async fn messages(server: &Server, count: usize) -> Result<()> {
    assets(server, "MESSAGES", count * 100, 100).await
}
