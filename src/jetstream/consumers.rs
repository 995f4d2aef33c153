//! The consumers of a stream, as the server lists them. Changes none.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Map;
use serde_json::value::RawValue;

use super::error::STREAM_NOT_FOUND;
use super::pages::Page;
use super::{Error, Server};
use crate::names::StreamName;

#[derive(Deserialize)]
struct ConsumersPage {
    total: u64,
    #[serde(default)]
    consumers: Option<Vec<Info>>,
    /// Those whose leader does not answer.
    #[serde(default)]
    missing: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Info {
    #[serde(default)]
    name: String,
    #[serde(default)]
    config: Option<Box<RawValue>>,
    #[serde(default)]
    delivered: Position,
    #[serde(default)]
    ack_floor: Position,
    #[serde(default)]
    num_ack_pending: u64,
    #[serde(default)]
    created: Option<Timestamp>,
    /// When the server wrote this.
    #[serde(default)]
    ts: Option<Timestamp>,
    /// Pull requests that wait for messages.
    #[serde(default)]
    num_waiting: u64,
    /// Whether somebody listens where messages are pushed to.
    #[serde(default)]
    push_bound: bool,
}

#[derive(Default, Deserialize)]
struct Config {
    #[serde(default)]
    durable_name: Option<String>,
    /// In ns; zero for never.
    #[serde(default)]
    inactive_threshold: i64,
    #[serde(default)]
    mem_storage: bool,
}

/// How far a consumer has come, in its own count and in its stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Position {
    /// The consumer's count.
    pub consumer_seq: u64,
    /// The stream's sequence.
    pub stream_seq: u64,
}

impl Page for ConsumersPage {
    fn total(&self) -> u64 {
        self.total
    }

    fn items(&self) -> usize {
        self.consumers.as_ref().map_or(0, Vec::len) + self.missing.as_ref().map_or(0, Vec::len)
    }
}

/// A consumer on the server's list.
#[derive(Clone, Debug)]
pub struct ListedConsumer {
    /// Its name.
    pub name: String,
    /// Whether it is gone by itself some time after its last client is.
    pub is_ephemeral: bool,
    /// How long it exists; none where the server does not say it.
    pub age: Option<Duration>,
    /// What else the server says of it. None where its leader does not answer.
    pub info: Option<ConsumerInfo>,
}

/// A consumer as the server describes it. The server does not say which messages are pending.
#[derive(Clone, Debug)]
pub struct ConsumerInfo {
    /// The configuration, in the server's own words.
    pub config: Box<RawValue>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// The last delivery.
    pub delivered: Position,
    /// Everything up to here is acknowledged.
    pub ack_floor: Position,
    /// How many messages await their acknowledgement.
    pub pending: u64,
    /// Whether its state is in memory only.
    pub in_memory: bool,
}

impl Server {
    /// Gives each consumer of the stream to `take`; none where the stream is gone.
    ///
    /// # Errors
    /// When the server does not answer as it should.
    pub async fn consumers(
        &self,
        stream: &StreamName,
        mut take: impl FnMut(ListedConsumer),
    ) -> Result<(), Error> {
        self.consumer_pages(stream, |page| {
            for info in page.consumers.unwrap_or_default() {
                let age = info.ts.zip(info.created).map(|(now, then)| now.duration_since(then));
                let config = info.config.as_ref().and_then(|raw| serde_json::from_str(raw.get()).ok());
                let Config { durable_name, inactive_threshold, mem_storage } = config.unwrap_or_default();
                take(ListedConsumer {
                    name: info.name,
                    is_ephemeral: durable_name.is_none_or(|name| name.is_empty()) && inactive_threshold > 0,
                    age: age.map(|age| age.try_into().unwrap_or_default()),
                    info: info.config.map(|config| ConsumerInfo {
                        config,
                        created: info.created,
                        delivered: info.delivered,
                        ack_floor: info.ack_floor,
                        pending: info.num_ack_pending,
                        in_memory: mem_storage,
                    }),
                });
            }
            for name in page.missing.unwrap_or_default() {
                take(ListedConsumer { name, is_ephemeral: false, age: None, info: None });
            }
        })
        .await
    }

    /// The names of the stream's consumers that a client waits on: with a pull request, or listening
    /// for what is pushed. None where the stream is gone.
    ///
    /// # Errors
    /// When the server does not answer as it should.
    pub async fn consumers_in_use(&self, stream: &StreamName) -> Result<Vec<String>, Error> {
        let mut found = Vec::new();
        self.consumer_pages(stream, |page| {
            let consumers = page.consumers.unwrap_or_default();
            let in_use = consumers.into_iter().filter(|info| info.num_waiting > 0 || info.push_bound);
            found.extend(in_use.map(|info| info.name));
        })
        .await?;
        Ok(found)
    }

    /// Gives each page of the list to `take`; none where the stream is gone.
    async fn consumer_pages(
        &self,
        stream: &StreamName,
        mut take: impl FnMut(ConsumersPage),
    ) -> Result<(), Error> {
        let request = format!("CONSUMER.LIST.{}", stream.as_str());
        let all = Map::new();
        let listed = self.pages(&request, &all, |page| {
            take(page);
            Ok(())
        });
        match listed.await {
            Err(Error::Api(e)) if e.err_code == STREAM_NOT_FOUND => Ok(()),
            listed => listed,
        }
    }
}
