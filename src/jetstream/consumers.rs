//! Consumers that a client waits on now.

use serde::Deserialize;
use serde_json::Map;

use super::error::STREAM_NOT_FOUND;
use super::pages::Page;
use super::{Error, Server};
use crate::names::StreamName;

#[derive(Deserialize)]
struct InUsePage {
    total: u64,
    #[serde(default)]
    consumers: Option<Vec<Info>>,
}

#[derive(Deserialize)]
struct Info {
    #[serde(default)]
    name: String,
    /// Pull requests that wait for messages.
    #[serde(default)]
    num_waiting: u64,
    /// Whether somebody listens where messages are pushed to.
    #[serde(default)]
    push_bound: bool,
}

impl Page for InUsePage {
    fn total(&self) -> u64 {
        self.total
    }

    fn items(&self) -> usize {
        self.consumers.as_ref().map_or(0, Vec::len)
    }
}

impl Server {
    /// The names of the stream's consumers that a client waits on: with a pull request, or listening
    /// for what is pushed. None where the stream is gone.
    ///
    /// # Errors
    /// When the server does not answer as it should.
    pub async fn consumers_in_use(&self, stream: &StreamName) -> Result<Vec<String>, Error> {
        let request = format!("CONSUMER.LIST.{}", stream.as_str());
        let mut found = Vec::new();
        let all = Map::new();
        let listed = self.pages(&request, &all, |page: InUsePage| {
            let consumers = page.consumers.unwrap_or_default();
            let in_use = consumers.into_iter().filter(|info| info.num_waiting > 0 || info.push_bound);
            found.extend(in_use.map(|info| info.name));
            Ok(())
        });
        match listed.await {
            Err(Error::Api(e)) if e.err_code == STREAM_NOT_FOUND => Ok(Vec::new()),
            listed => listed.map(|()| found),
        }
    }
}
