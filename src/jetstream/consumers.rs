//! Consumers that a client waits on now.

use bytes::Bytes;
use serde::Deserialize;

use super::api::parsed;
use super::error::STREAM_NOT_FOUND;
use super::{Error, Server};
use crate::names::StreamName;

#[derive(Deserialize)]
struct Page {
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

impl Server {
    /// The names of the stream's consumers that a client waits on: with a pull request, or listening
    /// for what is pushed. None where the stream is gone.
    ///
    /// # Errors
    /// When the server does not answer as it should.
    pub async fn consumers_in_use(&self, stream: &StreamName) -> Result<Vec<String>, Error> {
        let request = format!("CONSUMER.LIST.{}", stream.as_str());
        let (mut found, mut offset) = (Vec::new(), 0);
        loop {
            let answer = match self.api(&request, Bytes::from(format!("{{\"offset\":{offset}}}"))).await {
                Err(Error::Api(e)) if e.err_code == STREAM_NOT_FOUND => return Ok(Vec::new()),
                answer => answer?,
            };
            let page: Page = parsed(&request, &answer)?;
            let consumers = page.consumers.unwrap_or_default();
            offset += consumers.len() as u64;
            let done = offset >= page.total || consumers.is_empty();
            let in_use = consumers.into_iter().filter(|info| info.num_waiting > 0 || info.push_bound);
            found.extend(in_use.map(|info| info.name));
            if done {
                return Ok(found);
            }
        }
    }
}
