//! The consumers of a stream, as the server lists them.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Map;

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
    config: Config,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedConsumer {
    /// Its name.
    pub name: String,
    /// Whether it is gone by itself some time after its last client is.
    pub is_ephemeral: bool,
    /// How long it exists; none where the server does not say it.
    pub age: Option<Duration>,
}

impl Server {
    /// All consumers of the stream. None where the stream is gone.
    ///
    /// # Errors
    /// When the server does not answer as it should.
    pub async fn consumers(&self, stream: &StreamName) -> Result<Vec<ListedConsumer>, Error> {
        let mut listed = Vec::new();
        self.consumer_pages(stream, |page| {
            listed.extend(page.consumers.unwrap_or_default().into_iter().map(|info| {
                let age = info.ts.zip(info.created).map(|(now, then)| now.duration_since(then));
                ListedConsumer {
                    name: info.name,
                    is_ephemeral: info.config.durable_name.is_none_or(|name| name.is_empty())
                        && info.config.inactive_threshold > 0,
                    age: age.map(|age| age.try_into().unwrap_or_default()),
                }
            }));
            let silent = page.missing.unwrap_or_default().into_iter();
            listed.extend(silent.map(|name| ListedConsumer { name, is_ephemeral: false, age: None }));
        })
        .await?;
        Ok(listed)
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
