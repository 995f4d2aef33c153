//! JetStream's JSON API as it is on the wire, so that every field of every release can be written and read.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use async_nats::{Client, ConnectOptions};
use serde_json::{Value as Json, json};

/// How long an answer may take; a machine that runs many tests at once can be slow.
const LIMIT: Duration = Duration::from_secs(60);

/// Connects, with a token if there is one.
pub async fn connect(url: &str, token: Option<&str>) -> Result<Client> {
    let options = match token {
        Some(token) => ConnectOptions::with_token(token.to_owned()),
        None => ConnectOptions::new(),
    };
    connect_with(options, url).await
}

/// Connects as `options` say, with all the time that it takes.
pub async fn connect_with(options: ConnectOptions, url: &str) -> Result<Client> {
    let options = options.request_timeout(Some(LIMIT)).connection_timeout(LIMIT);
    options.connect(url).await.with_context(|| format!("cannot connect to {url}"))
}

/// What a server answers that knows of no leader of its cluster, while another one may do what was asked.
pub const LEADERLESS: u64 = 10008;

/// Asks `$JS.API.{api}`; an `error` in the answer is an error. A cluster without a leader is asked again.
pub async fn call(client: &Client, api: &str, body: Json) -> Result<Json> {
    let answer = answer_by(client, api, body, Instant::now() + LIMIT).await?;
    match answer.get("error") {
        Some(error) => bail!("{api}: {error}"),
        None => Ok(answer),
    }
}

/// The answer, be it an error. Until the deadline, a cluster without a leader is asked again.
async fn answer_by(client: &Client, api: &str, body: Json, deadline: Instant) -> Result<Json> {
    loop {
        let answer = answer(client, api, body.clone()).await?;
        if answer["error"]["err_code"] != LEADERLESS || Instant::now() >= deadline {
            return Ok(answer);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Asks `$JS.API.{api}` and returns the answer, be it an error.
pub async fn answer(client: &Client, api: &str, body: Json) -> Result<Json> {
    let payload = if body.is_null() { String::new() } else { body.to_string() };
    let message =
        client.request(format!("$JS.API.{api}"), payload.into()).await.with_context(|| api.to_owned())?;
    serde_json::from_slice(&message.payload).with_context(|| format!("{api}: the answer is not JSON"))
}

/// The same for a question that may be asked again: one that comes while a leader is being elected is refused, or is lost
/// and never answered.
pub async fn asked_again(client: &Client, api: &str) -> Result<Json> {
    const ONE: Duration = Duration::from_secs(5);
    let deadline = Instant::now() + LIMIT;
    loop {
        match tokio::time::timeout(ONE, answer_by(client, api, Json::Null, deadline)).await {
            Ok(answer) => return answer,
            Err(_) => ensure!(Instant::now() < deadline, "{api}: no answer in {} s", LIMIT.as_secs()),
        }
    }
}

/// How long the leaders of a cluster may take to be there all at once.
const ALL_ANSWER: Duration = Duration::from_secs(30);

/// All entries of a paged list: `key` names the array in the answers. In a cluster a list lacks what
/// belongs to a leader that was late, and says so under `missing`: it is asked for again.
pub async fn list(client: &Client, api: &str, key: &str) -> Result<Vec<Json>> {
    let deadline = Instant::now() + ALL_ANSWER;
    let mut entries = Vec::new();
    loop {
        let mut page = call(client, api, json!({ "offset": entries.len() })).await?;
        if page["missing"].as_array().is_some_and(|missing| !missing.is_empty()) {
            ensure!(Instant::now() < deadline, "{api}: {} do not answer", page["missing"]);
            tokio::time::sleep(Duration::from_millis(50)).await;
            entries.clear();
            continue;
        }
        let total = page["total"].as_u64().with_context(|| format!("{api}: no total"))?;
        match page[key].take() {
            Json::Array(more) if !more.is_empty() => entries.extend(more),
            _ => {}
        }
        if entries.len() as u64 >= total {
            return Ok(entries);
        }
    }
}

/// The names of all streams of the account.
pub async fn stream_names(client: &Client) -> Result<Vec<String>> {
    let names = list(client, "STREAM.NAMES", "streams").await?;
    Ok(names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect())
}

/// `STREAM.INFO` with the list of deleted sequences.
pub async fn stream_info(client: &Client, stream: &str) -> Result<Json> {
    call(client, &format!("STREAM.INFO.{stream}"), json!({ "deleted_details": true })).await
}

/// The client library's own view of JetStream, which by itself waits 5 seconds for an acknowledgement.
pub fn jetstream(client: Client) -> async_nats::jetstream::Context {
    let mut patient = async_nats::jetstream::new(client);
    patient.set_timeout(LIMIT);
    patient
}
