//! Servers that look like those of both generations of Chatto, with everything that a backup could lose: gaps, headers,
//! unacknowledged messages, markers, chunks, expiring and excluded streams.
//!
//! The same seed gives the same names, subjects, headers and payloads; only times differ. Settings that a release does not
//! know are left out, see `UNKNOWN_BEFORE` in `builder`.

use anyhow::{Context, Result};
use async_nats::Client;
use chatto_pipes::jetstream::Version;
use futures_util::StreamExt as _;
use serde_json::json;

use super::api::{call, stream_info};
pub use super::builder::Built;
use super::builder::{Builder, DAY, HOUR, SECOND};
use super::publish::atomic_batch;

/// The streams that the fixtures hold and that a backup leaves out on purpose.
pub const EXCLUDED: [&str; 9] = [
    "KV_ENCRYPTION_KEYS",
    "KV_USER_PRESENCE",
    "KV_CALL_STATE",
    "KV_MEMORY_CACHE",
    "KV_LINK_PREVIEW_CACHE",
    "KV_AUTH_TOKENS",
    "OBJ_ASSET_CACHE",
    "OBJ_ASSET_CACHE_2",
    "SCRATCH",
];

/// A Chatto of v0.1 to v0.4 with at least `events` (100 or more) events.
pub async fn v0_4(client: &Client, version: Version, seed: u64, events: usize) -> Result<Built> {
    let mut b = Builder::new(client, version, seed).await?;
    let identity = json!({ "chatto.server": b.random.id(14), "chatto.schema": "4" });

    // First, because it has a second to wait for.
    let runtime = json!({ "compression": "s2", "allow_msg_ttl": true, "subject_delete_marker_ttl": DAY });
    b.bucket("RUNTIME_STATE", runtime).await?;
    let expiring = expire_key(&mut b, "RUNTIME_STATE", "typing.somebody").await?;
    for n in 0..40 {
        let value = b.random.text(6);
        b.put("RUNTIME_STATE", &format!("read.user{}.room{}", n % 5, n % 7), value).await?;
    }
    b.delete_key("RUNTIME_STATE", "read.user1.room1").await?;
    b.purge_key("RUNTIME_STATE", "read.user2.room2").await?;
    if b.has(11) {
        let headers = [("KV-Operation", "PURGE"), ("Nats-Rollup", "sub"), ("Nats-TTL", "12h")];
        b.publisher.send("$KV.RUNTIME_STATE.read.user3.room3", &headers, "").await?;
        b.publisher.send("$KV.RUNTIME_STATE.presence.user4", &[("Nats-TTL", "36h")], "away").await?;
    }

    let evt = json!({
        "compression": "s2", "allow_atomic": true, "metadata": identity,
        "republish": { "src": "evt.>", "dest": "live.evt.>" },
    });
    b.stream("EVT", json!(["evt.>"]), evt).await?;
    write_events(&mut b, "EVT", "evt", events).await?;
    consume_events(&mut b, events).await?;

    let notifications = json!({
        "compression": "s2", "max_age": 90 * DAY, "allow_msg_ttl": true, "allow_atomic": true,
        "duplicate_window": 600 * SECOND, "metadata": identity,
    });
    b.stream("NOTIFICATIONS", json!(["notify.>"]), notifications).await?;
    for n in 0..60 {
        let ttl = if n % 3 == 0 { "never" } else { "48h" };
        let id = format!("n-{n}");
        let headers = [("Nats-Msg-Id", id.as_str()), ("Nats-TTL", ttl)];
        let headers = if b.has(11) { &headers[..] } else { &headers[..1] };
        let text = b.random.text(9);
        b.publisher.send(&format!("notify.user{}", n % 6), headers, text).await?;
    }
    b.publisher.settle().await?;
    b.consumer("NOTIFICATIONS", "mailer", json!({ "max_ack_pending": 50 })).await?;
    b.consume("NOTIFICATIONS", "mailer", 20, |n| (n < 12).then_some("+ACK")).await?;

    b.object_store("SERVER_ASSETS", json!({ "compression": "s2" })).await?;
    write_assets(&mut b, "SERVER_ASSETS", 300_000, 128 << 10).await?;
    b.object_store("PROJECTION_SNAPSHOTS", json!({ "max_age": 7 * DAY })).await?;
    let projection = b.random.text(4000).into_bytes();
    b.put_object("PROJECTION_SNAPSHOTS", "rooms", &projection, 128 << 10).await?;

    write_excluded(&mut b).await?;
    b.bucket("MEMORY_CACHE", json!({ "storage": "memory" })).await?;
    b.put("MEMORY_CACHE", "room.1", "warm").await?;
    b.stream("SCRATCH", json!(["scratch.>"]), json!({ "storage": "memory" })).await?;
    b.publisher.send("scratch.one", &[], "gone after a restart").await?;
    if let Some(expiring) = expiring {
        expiring.wait().await?;
    }
    b.finish().await
}

/// A Chatto of v0.0 with `spaces` spaces, eight streams each, and its instance-wide streams.
pub async fn v0_0(client: &Client, version: Version, seed: u64, spaces: usize) -> Result<Built> {
    let mut b = Builder::new(client, version, seed).await?;
    b.stream("INSTANCE_EVENTS", json!(["instance.events.>"]), json!({})).await?;
    write_events(&mut b, "INSTANCE_EVENTS", "instance.events", 100).await?;
    for bucket in ["INSTANCE", "INSTANCE_RBAC", "INSTANCE_CONFIG", "NOTIFICATIONS"] {
        b.bucket(bucket, json!({})).await?;
        write_keys(&mut b, bucket, 20).await?;
    }
    b.object_store("INSTANCE_ASSETS", json!({})).await?;
    write_assets(&mut b, "INSTANCE_ASSETS", 150_000, 128 << 10).await?;

    for n in 0..spaces {
        let id = b.random.id(14);
        let space = format!("SPACE_{id}");
        // Some spaces are new: all their streams exist, and are empty.
        let empty = n % 4 == 3;
        let events = format!("{space}_EVENTS");
        b.stream(&events, json!([format!("space.{id}.events.>")]), json!({})).await?;
        if !empty {
            write_events(&mut b, &events, &format!("space.{id}.events"), 30).await?;
            b.consumer(&events, "indexer", json!({})).await?;
            b.consume(&events, "indexer", 10, |n| (n % 3 != 2).then_some("+ACK")).await?;
        }
        for part in ["CONFIG", "RBAC", "RUNTIME", "BODIES", "REACTIONS", "THREADS"] {
            let bucket = format!("{space}_{part}");
            b.bucket(&bucket, json!({})).await?;
            if !empty {
                write_keys(&mut b, &bucket, 10).await?;
            }
        }
        let assets = format!("{space}_ASSETS");
        b.object_store(&assets, json!({})).await?;
        if !empty {
            write_assets(&mut b, &assets, 20_000, 8 << 10).await?;
        }
        // A stream that was emptied remembers where it was.
        if n == 0 {
            b.purge(&format!("KV_{space}_THREADS"), json!(null)).await?;
        }
    }
    write_excluded(&mut b).await?;
    b.finish().await
}

/// Events with headers and message identifiers, repeated ones, an atomic batch where there is such
/// a thing, a purged head, and messages deleted with and without overwriting.
async fn write_events(b: &mut Builder<'_>, stream: &str, prefix: &str, events: usize) -> Result<()> {
    const KINDS: [&str; 6] =
        ["message.posted", "message.edited", "reaction.added", "room.created", "user.joined", "call.ended"];
    for n in 0..events {
        let kind = b.random.pick(&KINDS);
        let (room, actor) = (b.random.below(12), format!("user{}", b.random.below(30)));
        let id = b.random.id(22);
        let headers = [
            ("Nats-Msg-Id", id.as_str()),
            ("Chatto-Type", kind),
            ("Chatto-Actor", &actor),
            ("Chatto-Actor", "again"),
        ];
        let subject = format!("{prefix}.room{room}.{kind}");
        let payload = match n % 50 {
            0 => Vec::new(),
            1 => b.random.bytes(20_000),
            _ => {
                let words = 4 + b.random.below(40);
                b.random.text(words).into_bytes()
            }
        };
        b.publisher.send(&subject, &headers[..n % 5], payload.clone()).await?;
        if n % 40 == 3 {
            // The server recognises the identifier and stores nothing.
            b.publisher.send(&subject, &headers[..n % 5], payload).await?;
        }
    }
    b.publisher.settle().await?;
    if b.has(12) && stream == "EVT" {
        let batch: Vec<_> =
            (0..4).map(|n| (format!("{prefix}.room1.batch{n}"), b.random.text(5).into_bytes())).collect();
        let id = b.random.id(22);
        atomic_batch(b.client, &id, &batch).await?;
    }
    b.purge(stream, json!({ "seq": 4 })).await?;
    for (n, sequence) in (7..events as u64).step_by(events / 10 + 2).enumerate() {
        b.delete_message(stream, sequence, n % 2 == 0).await?;
    }
    // Two neighbours, so that a gap is longer than one.
    b.delete_message(stream, events as u64 / 2, false).await?;
    b.delete_message(stream, events as u64 / 2 + 1, true).await
}

/// Durable consumers in all states: acknowledged with holes, refused and redelivered, terminated,
/// filtered, cumulative, pushed with nobody there, paused.
async fn consume_events(b: &mut Builder<'_>, events: usize) -> Result<()> {
    b.consumer(
        "EVT",
        "projector",
        json!({ "max_ack_pending": 1000, "metadata": { "chatto.kind": "projection" } }),
    )
    .await?;
    b.consume("EVT", "projector", 40, |n| match n {
        0..20 | 25 => Some("+ACK"),
        30..35 => Some("-NAK"),
        _ => None,
    })
    .await?;
    // The five that were refused come again, and stay pending this time.
    b.consume("EVT", "projector", 5, |_| None).await?;

    let filters = json!(["evt.*.message.posted", "evt.*.reaction.added"]);
    let notifier = json!({
        "filter_subjects": filters, "deliver_policy": "by_start_sequence", "opt_start_seq": 9, "max_deliver": 5,
        "backoff": [HOUR, 2 * HOUR], "description": "tells people",
    });
    b.consumer("EVT", "notifier", notifier).await?;
    b.consume("EVT", "notifier", 10, |n| match n {
        0 => Some("+TERM"),
        1..6 => Some("+ACK"),
        _ => None,
    })
    .await?;

    b.consumer("EVT", "search", json!({ "ack_policy": "all" })).await?;
    b.consume("EVT", "search", 30, |n| (n == 17).then_some("+ACK")).await?;
    b.consumer("EVT", "webhooks", json!({ "deliver_subject": "hooks.out", "deliver_group": "hooks" }))
        .await?;
    let mut audit = json!({ "ack_policy": "none", "headers_only": true, "inactive_threshold": 30 * DAY });
    if b.has(11) {
        audit["pause_until"] = json!("2099-01-01T00:00:00Z");
    }
    b.consumer("EVT", "audit", audit).await?;
    let start = events + 1000;
    let late = json!({ "deliver_policy": "by_start_sequence", "opt_start_seq": start, "ack_policy": "none" });
    b.consumer("EVT", "late", late).await
}

/// Puts over puts, a deleted key and a purged one.
async fn write_keys(b: &mut Builder<'_>, bucket: &str, keys: usize) -> Result<()> {
    for n in 0..keys * 2 {
        let value = b.random.text(8);
        b.put(bucket, &format!("item.{}", n % keys), value).await?;
    }
    b.delete_key(bucket, "item.1").await?;
    b.purge_key(bucket, "item.2").await
}

/// An object of several chunks, a small one, an empty one, one replaced and one deleted.
async fn write_assets(b: &mut Builder<'_>, store: &str, size: usize, chunk: usize) -> Result<()> {
    let [large, small] = [size, 900].map(|size| b.random.bytes(size));
    b.put_object(store, "avatars/ada ☃.webp", &large, chunk).await?;
    b.put_object(store, "icon.webp", &small, chunk).await?;
    b.put_object(store, "empty", &[], chunk).await?;
    let old = b.put_object(store, "banner.webp", &small, chunk).await?;
    b.put_object(store, "banner.webp", &large[..size / 2], chunk).await?;
    let chunks = format!("$O.{store}.C.{}", old["nuid"].as_str().unwrap_or_default());
    b.purge(&format!("OBJ_{store}"), json!({ "filter": chunks })).await?;
    let gone = b.put_object(store, "gone.webp", &large[size / 3..], chunk).await?;
    b.delete_object(store, gone).await
}

/// What both generations keep and a backup leaves out.
async fn write_excluded(b: &mut Builder<'_>) -> Result<()> {
    b.bucket("ENCRYPTION_KEYS", json!({ "description": "KMS key-encryption keys (excluded from backups)" }))
        .await?;
    for n in 0..5 {
        let key = b.random.bytes(32);
        b.put("ENCRYPTION_KEYS", &format!("user.u{n}"), key).await?;
        // A protobuf message of two fields: the key (1) and the algorithm's name (2).
        let (name, key, algorithm) = (b.random.id(24), b.random.bytes(32), "builtin-xchacha20-poly1305-v1");
        let length = u8::try_from(algorithm.len())?;
        let record = [&[0x0a, 32], key.as_slice(), &[0x12, length], algorithm.as_bytes()].concat();
        b.put("ENCRYPTION_KEYS", &format!("kek.{name}"), record).await?;
    }
    for bucket in ["USER_PRESENCE", "CALL_STATE"] {
        b.bucket(bucket, json!({ "storage": "memory" })).await?;
        b.put(bucket, "user1", "here").await?;
    }
    for bucket in ["LINK_PREVIEW_CACHE", "AUTH_TOKENS"] {
        b.bucket(bucket, json!({ "max_age": DAY })).await?;
        b.put(bucket, "item", "for now").await?;
    }
    for store in ["ASSET_CACHE", "ASSET_CACHE_2"] {
        b.object_store(store, json!({ "max_age": DAY })).await?;
        let thumbnail = b.random.bytes(2000);
        b.put_object(store, "thumbnail.webp", &thumbnail, 128 << 10).await?;
    }
    Ok(())
}

/// A key on its way to its end: the server will put a marker in its place.
struct Expiring {
    client: Client,
    stream: String,
    markers: async_nats::Subscriber,
    consumer: String,
}

/// Puts a key that lives for one second. `None` where servers know no message TTL.
async fn expire_key(b: &mut Builder<'_>, bucket: &str, key: &str) -> Result<Option<Expiring>> {
    if !b.has(11) {
        return Ok(None);
    }
    let (subject, stream, inbox) =
        (format!("$KV.{bucket}.{key}"), format!("KV_{bucket}"), b.client.new_inbox());
    let markers = b.client.subscribe(inbox.clone()).await?;
    let config = json!({
        "deliver_subject": inbox, "filter_subject": subject, "deliver_policy": "all", "ack_policy": "none",
    });
    let body = json!({ "stream_name": stream, "config": config });
    let info = call(b.client, &format!("CONSUMER.CREATE.{stream}"), body).await?;
    let consumer = info["name"].as_str().context("a consumer's name")?.to_owned();
    b.publisher.send(&subject, &[("Nats-TTL", "1s")], "for a second").await?;
    Ok(Some(Expiring { client: b.client.clone(), stream, markers, consumer }))
}

impl Expiring {
    async fn wait(mut self) -> Result<()> {
        loop {
            let message = self.markers.next().await.context("the connection ended before the marker came")?;
            let reason = message.headers.as_ref().and_then(|headers| headers.get("Nats-Marker-Reason"));
            if reason.is_some_and(|reason| reason.as_str() == "MaxAge") {
                break;
            }
        }
        call(&self.client, &format!("CONSUMER.DELETE.{}.{}", self.stream, self.consumer), json!(null))
            .await?;
        let info = stream_info(&self.client, &self.stream).await?;
        anyhow::ensure!(info["state"]["consumer_count"] == 0, "the consumer that waited is still there");
        Ok(())
    }
}
