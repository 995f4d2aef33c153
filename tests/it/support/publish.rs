//! Publishes into streams in order and fast, with many messages in flight, and reads every acknowledgement.

use anyhow::{Context, Result, bail, ensure};
use async_nats::{Client, HeaderMap, Message, Subscriber};
use futures_util::StreamExt as _;
use serde_json::Value as Json;

/// How many messages may wait for their acknowledgement.
const WINDOW: usize = 256;

/// Publishes messages; they get their sequences in the order of the calls.
pub struct Publisher<'a> {
    client: &'a Client,
    acks: Subscriber,
    inbox: String,
    in_flight: usize,
}

impl<'a> Publisher<'a> {
    /// A publisher with nothing in flight.
    pub async fn new(client: &'a Client) -> Result<Self> {
        let inbox = client.new_inbox();
        let acks = client.subscribe(inbox.clone()).await?;
        Ok(Publisher { client, acks, inbox, in_flight: 0 })
    }

    /// Publishes one message, and waits only when too many are in flight.
    pub async fn send(
        &mut self,
        subject: &str,
        headers: &[(&str, &str)],
        payload: impl Into<Vec<u8>>,
    ) -> Result<()> {
        if self.in_flight == WINDOW {
            self.take_ack().await?;
        }
        let (subject, inbox, payload) = (subject.to_owned(), self.inbox.clone(), payload.into().into());
        if headers.is_empty() {
            self.client.publish_with_reply(subject, inbox, payload).await?;
        } else {
            self.client.publish_with_reply_and_headers(subject, inbox, header_map(headers), payload).await?;
        }
        self.in_flight += 1;
        Ok(())
    }

    /// Waits until everything sent is stored.
    pub async fn settle(&mut self) -> Result<()> {
        while self.in_flight > 0 {
            self.take_ack().await?;
        }
        Ok(())
    }

    async fn take_ack(&mut self) -> Result<()> {
        check(&self.acks.next().await.context("the connection ended before an acknowledgement")?)?;
        self.in_flight -= 1;
        Ok(())
    }
}

/// Publishes `messages` (subject, payload) as one atomic batch (nats-server 2.12 and later).
pub async fn atomic_batch(client: &Client, id: &str, messages: &[(String, Vec<u8>)]) -> Result<()> {
    let Some(((last_subject, last_payload), rest)) = messages.split_last() else { return Ok(()) };
    let headers = |n: usize, commit: bool| {
        let n = n.to_string();
        let mut headers = header_map(&[("Nats-Batch-Id", id), ("Nats-Batch-Sequence", &n)]);
        if commit {
            headers.insert("Nats-Batch-Commit", "1");
        }
        headers
    };
    for (n, (subject, payload)) in rest.iter().enumerate() {
        client.publish_with_headers(subject.clone(), headers(n + 1, false), payload.clone().into()).await?;
    }
    let commit = headers(messages.len(), true);
    let answer =
        client.request_with_headers(last_subject.clone(), commit, last_payload.clone().into()).await?;
    let ack = check(&answer)?;
    ensure!(ack["count"] == messages.len(), "the batch was not stored whole: {ack}");
    Ok(())
}

/// Headers as async-nats wants them. A name may occur more than once.
pub fn header_map(headers: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, *value);
    }
    map
}

fn check(message: &Message) -> Result<Json> {
    if let Some(status) = message.status {
        bail!("no stream took the message: status {status}");
    }
    let ack: Json = serde_json::from_slice(&message.payload).context("an acknowledgement is not JSON")?;
    ensure!(ack.get("error").is_none() && ack["seq"].is_u64(), "not stored: {ack}");
    Ok(ack)
}
