//! Compares two servers: reads both, and says in words where they differ.
//!
//! | compared | how |
//! |---|---|
//! | streams | the list: every expected stream, and no other |
//! | configuration | every field but `num_replicas` and those that are false or `{}`, as raw JSON |
//! | state | messages, bytes, first and last sequence and time, every deleted sequence |
//! | messages | subject, headers, payload, sequence and time of each |
//! | consumers | every field of the configuration but `num_replicas`; delivered and acknowledged floors, pending acknowledgements, pending and redelivered messages, pause |
//!
//! Some things are not compared, because no restore can keep them: when a stream or consumer was created, who is connected,
//! who leads, and `_nats.ver` and `_nats.level`, which the answering server adds to `metadata`. Two changes that 2.15.1 makes
//! in a restore are not compared either. A stream that never had messages begins at 0 and lacks message 0, and afterwards
//! begins at 1. If the last message was deleted, the time when it was written is forgotten.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use async_nats::Client;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value as Json, json};
use tokio::try_join;

use super::api;

/// How many streams are compared at once.
const STREAMS_AT_ONCE: usize = 8;

/// How many messages of a stream are asked for at once.
const MESSAGES_AT_ONCE: usize = 64;

/// How many differing messages of a stream are told one by one.
const TOLD: usize = 10;

/// A stream that ought to be on both servers, compared.
#[derive(Debug)]
pub struct Compared {
    /// Its name.
    pub stream: String,
    /// Its `state` at the source; null when it is only at the destination.
    pub state: Json,
    /// What differs; empty when it is equal.
    pub differences: Vec<String>,
}

/// Everything that differs between two servers, each difference in words; empty when the
/// destination holds all streams of the source for which `ought` is true, equal, and no other.
pub async fn differences(
    source: &Client,
    destination: &Client,
    ought: impl Fn(&str) -> bool,
) -> Result<Vec<String>> {
    let compared = compare(source, destination, ought).await?;
    Ok(compared
        .into_iter()
        .flat_map(|c| c.differences.into_iter().map(move |d| format!("{}: {d}", c.stream)))
        .collect())
}

/// The same, stream by stream, sorted by name.
pub async fn compare(
    source: &Client,
    destination: &Client,
    ought: impl Fn(&str) -> bool,
) -> Result<Vec<Compared>> {
    let (source_names, destination_names) =
        try_join!(api::stream_names(source), api::stream_names(destination))?;
    let expected: BTreeSet<String> = source_names.into_iter().filter(|name| ought(name)).collect();
    let found: BTreeSet<String> = destination_names.into_iter().collect();
    let (expected, found) = (&expected, &found);
    let all: Vec<String> = expected.union(found).cloned().collect();
    stream::iter(all)
        .map(|name: String| async move {
            let (state, differences) = if !found.contains(&name) {
                let info = api::stream_info(source, &name).await?;
                (info["state"].clone(), vec!["missing at the destination".into()])
            } else if !expected.contains(&name) {
                (Json::Null, vec!["ought not to be at the destination".into()])
            } else {
                compare_stream(source, destination, &name).await.with_context(|| name.clone())?
            };
            Ok(Compared { stream: name, state, differences })
        })
        .buffered(STREAMS_AT_ONCE)
        .try_collect()
        .await
}

async fn compare_stream(source: &Client, destination: &Client, name: &str) -> Result<(Json, Vec<String>)> {
    let (a, b) = try_join!(api::stream_info(source, name), api::stream_info(destination, name))?;
    let mut found = Vec::new();
    differ("config", &config(&a["config"]), &config(&b["config"]), &mut found);
    for field in ["mirror", "sources"] {
        differ(field, &Json::Bool(a[field].is_null()), &Json::Bool(b[field].is_null()), &mut found);
    }
    let (a_state, b_state) = (state(&a["state"], &b["state"]), state(&b["state"], &a["state"]));
    differ("state", &a_state, &b_state, &mut found);
    found.extend(compare_consumers(source, destination, name).await?);
    found.extend(compare_messages(source, destination, name, &a["state"], &b["state"]).await?);
    Ok((a["state"].clone(), found))
}

/// A configuration without what may differ. What is off is off, whether or not a release says so.
fn config(config: &Json) -> Json {
    let mut config = config.clone();
    if let Some(fields) = config.as_object_mut() {
        fields.remove("num_replicas");
        fields.retain(|_, value| !(*value == json!(false) || *value == json!({})));
        if let Some(metadata) = fields.get_mut("metadata").and_then(Json::as_object_mut) {
            metadata.remove("_nats.ver");
            metadata.remove("_nats.level");
            if metadata.is_empty() {
                fields.remove("metadata");
            }
        }
    }
    config
}

/// A state without what a restore may change when there are no messages; `other` is the one that it
/// will be compared with.
fn state(state: &Json, other: &Json) -> Json {
    const NEVER: &str = "0001-01-01T00:00:00Z";
    let mut out = state.clone();
    if state["messages"] == 0 && state["last_seq"] == 0 {
        if let Some(fields) = out.as_object_mut() {
            fields.retain(|field, _| !["first_seq", "deleted", "num_deleted"].contains(&field.as_str()));
        }
    } else {
        let forgotten = state["messages"] == 0 && (state["last_ts"] == NEVER || other["last_ts"] == NEVER);
        let deleted = state["deleted"].as_array().is_some_and(|all| all.contains(&state["last_seq"]));
        if forgotten || deleted {
            out["last_ts"] = Json::Null;
        }
    }
    out
}

async fn compare_consumers(source: &Client, destination: &Client, stream: &str) -> Result<Vec<String>> {
    let read = async |client: &Client| -> Result<BTreeMap<String, Json>> {
        let list = api::list(client, &format!("CONSUMER.LIST.{stream}"), "consumers").await?;
        Ok(list
            .into_iter()
            .map(|info| (info["name"].as_str().unwrap_or_default().to_owned(), consumer(&info)))
            .collect())
    };
    let (a, b) = try_join!(read(source), read(destination))?;
    let mut found = Vec::new();
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    for name in names {
        match (a.get(name), b.get(name)) {
            (Some(a), Some(b)) => differ(&format!("consumer {name}"), a, b, &mut found),
            (Some(_), None) => found.push(format!("consumer {name}: missing at the destination")),
            _ => found.push(format!("consumer {name}: ought not to be at the destination")),
        }
    }
    Ok(found)
}

/// What counts of a consumer's info.
fn consumer(info: &Json) -> Json {
    // Without `last_active`, which no snapshot holds.
    let floor = |field: &str| {
        let floor = &info[field];
        json!({ "consumer_seq": floor["consumer_seq"], "stream_seq": floor["stream_seq"] })
    };
    json!({
        "config": config(&info["config"]),
        "delivered": floor("delivered"),
        "ack_floor": floor("ack_floor"),
        "num_ack_pending": info["num_ack_pending"],
        "num_redelivered": info["num_redelivered"],
        "num_pending": info["num_pending"],
        "paused": info.get("paused").cloned().unwrap_or(Json::Bool(false)),
    })
}

async fn compare_messages(
    a: &Client,
    b: &Client,
    stream: &str,
    a_state: &Json,
    b_state: &Json,
) -> Result<Vec<String>> {
    let a_sequences = sequences(a_state);
    let b_sequences = sequences(b_state);
    let all = match (&a_sequences, &b_sequences) {
        (a, b) if a == b => a_sequences,
        (a, b) => a.union(b).copied().collect(),
    };
    let mut answers = stream::iter(all)
        .map(|sequence| async move {
            try_join!(message(a, stream, sequence), message(b, stream, sequence)).map(|pair| (sequence, pair))
        })
        .buffered(MESSAGES_AT_ONCE);
    let (mut found, mut untold) = (Vec::new(), 0_usize);
    while let Some((sequence, (a, b))) = answers.try_next().await? {
        if a == b {
            continue;
        }
        if found.len() < TOLD { found.push(differing_message(sequence, &a, &b)) } else { untold += 1 }
    }
    if untold > 0 {
        found.push(format!("{untold} more messages differ"));
    }
    Ok(found)
}

/// The sequences that exist, by what the server says of its gaps.
fn sequences(state: &Json) -> BTreeSet<u64> {
    let number = |field: &str| state[field].as_u64().unwrap_or(0);
    let deleted: BTreeSet<u64> =
        state["deleted"].as_array().into_iter().flatten().filter_map(Json::as_u64).collect();
    if number("messages") == 0 {
        return BTreeSet::new();
    }
    (number("first_seq")..=number("last_seq")).filter(|sequence| !deleted.contains(sequence)).collect()
}

/// One message as the server tells it (header and payload in base64), or null when there is none.
async fn message(client: &Client, stream: &str, sequence: u64) -> Result<Json> {
    const NO_MESSAGE: u64 = 10037;
    let api = format!("STREAM.MSG.GET.{stream}");
    let mut answer = api::answer(client, &api, json!({ "seq": sequence })).await?;
    if answer["error"]["err_code"] == NO_MESSAGE {
        return Ok(Json::Null);
    }
    anyhow::ensure!(answer["message"].is_object(), "message {sequence}: {answer}");
    Ok(answer["message"].take())
}

fn differing_message(sequence: u64, a: &Json, b: &Json) -> String {
    match (a, b) {
        (_, Json::Null) => return format!("message {sequence}: missing at the destination"),
        (Json::Null, _) => return format!("message {sequence}: ought not to be at the destination"),
        _ => {}
    }
    let mut fields = Vec::new();
    for (field, called) in [
        ("subject", "subject"),
        ("hdrs", "headers"),
        ("data", "payload"),
        ("seq", "sequence"),
        ("time", "time"),
    ] {
        if a.get(field) != b.get(field) {
            fields.push(called);
        }
    }
    format!("message {sequence}: {} differ", fields.join(", "))
}

/// Adds every path at which `a` and `b` differ.
fn differ(path: &str, a: &Json, b: &Json, found: &mut Vec<String>) {
    match (a, b) {
        (Json::Object(a), Json::Object(b)) => {
            let fields: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for field in fields {
                let (a, b) = (a.get(field).unwrap_or(&Json::Null), b.get(field).unwrap_or(&Json::Null));
                differ(&format!("{path}.{field}"), a, b, found);
            }
        }
        _ if a == b => {}
        _ => found.push(format!("{path}: {} became {}", short(a), short(b))),
    }
}

/// A value that fits into a sentence.
fn short(value: &Json) -> String {
    let text = if value.is_null() { "nothing".into() } else { value.to_string() };
    if text.chars().count() <= 100 { text } else { text.chars().take(100).chain("…".chars()).collect() }
}
