//! Key-value buckets: reads keys one by one, and creates keys without ever overwriting one. Does not look into values.
//!
//! A bucket `B` is the stream `KV_B`. A key `k` is the subject `$KV.B.k`, and its value is the last message there (NATS's
//! ADR-8). A delete leaves a message with the header `KV-Operation: DEL` or `PURGE`; from server
//! 2.11 on, a limit may leave one with `Nats-Marker-Reason`. A message with
//! `Nats-Expected-Last-Subject-Sequence: N` is stored only if N is still the sequence of the last message of
//! its subject, 0 if there is none: the server decides, so two writers cannot both create a key.

use std::collections::BTreeMap;

use async_nats::HeaderMap;
use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Map;
use zeroize::Zeroizing;

use super::api::{checked, parsed};
use super::pages::Page;
use super::{Error, Server};
use crate::names::StreamName;

/// `JSStreamWrongLastSequenceErrF`.
const WRONG_LAST_SEQUENCE: u32 = 10071;
/// `JSNoMessageFoundErr`.
const NO_MESSAGE: u32 = 10037;
/// `JSStreamNameExistErr`: with another configuration than the one asked for.
const NAME_IN_USE: u32 = 10058;

/// One bucket of a server.
pub struct Bucket<'a> {
    server: &'a Server,
    name: String,
    stream: StreamName,
}

/// The last message of a key.
pub struct Entry {
    /// Its sequence in the stream.
    pub sequence: u64,
    /// The value; `None` when the key was deleted.
    pub value: Option<Zeroizing<Vec<u8>>>,
}

#[derive(Deserialize)]
struct Info {
    state: InfoState,
    #[serde(default)]
    total: u64,
}

#[derive(Deserialize)]
struct InfoState {
    #[serde(default)]
    subjects: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct Got<'a> {
    #[serde(borrow)]
    message: GotMessage<'a>,
}

#[derive(Deserialize)]
struct GotMessage<'a> {
    seq: u64,
    #[serde(default)]
    hdrs: Option<&'a str>,
    #[serde(default)]
    data: Option<&'a str>,
}

#[derive(Deserialize)]
struct Stored {
    stream: String,
    seq: u64,
}

impl Page for Info {
    fn total(&self) -> u64 {
        self.total
    }

    fn items(&self) -> usize {
        self.state.subjects.len()
    }
}

impl Server {
    /// The bucket `name`, whether it exists or not.
    ///
    /// # Errors
    /// A name that no stream can have.
    pub fn bucket(&self, name: &str) -> Result<Bucket<'_>, crate::names::BadName> {
        let stream = StreamName::new(format!("KV_{name}"))?;
        Ok(Bucket { server: self, name: name.to_string(), stream })
    }
}

impl Bucket<'_> {
    /// The bucket's stream.
    pub fn stream(&self) -> &StreamName {
        &self.stream
    }

    fn subject(&self, key: &str) -> String {
        format!("$KV.{}.{key}", self.name)
    }

    /// All keys that have a message, deleted ones among them, sorted; `None` when there is no bucket.
    pub async fn keys(&self) -> Result<Option<Vec<String>>, Error> {
        if self.server.stream(&self.stream).await?.is_none() {
            return Ok(None);
        }
        let request = format!("STREAM.INFO.{}", self.stream.as_str());
        let prefix = self.subject("");
        let mut filter = Map::new();
        filter.insert("subjects_filter".into(), self.subject(">").into());
        let mut keys = Vec::new();
        let take = |page: Info| {
            keys.extend(page.state.subjects.keys().filter_map(|s| s.strip_prefix(&prefix)).map(String::from));
            Ok(())
        };
        self.server.pages(&request, &filter, take).await?;
        keys.sort();
        keys.dedup();
        Ok(Some(keys))
    }

    /// The last message of `key`; `None` when there is none.
    pub async fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        let request = format!("STREAM.MSG.GET.{}", self.stream.as_str());
        let body = serde_json::json!({"last_by_subj": self.subject(key)});
        let answer = match self.server.api(&request, Bytes::from(body.to_string())).await {
            Err(Error::Api(e)) if e.err_code == NO_MESSAGE => return Ok(None),
            answer => answer?,
        };
        let bad = |what: &str| Error::Answer { request: request.clone(), what: what.into() };
        let Got { message } = serde_json::from_slice(&answer).map_err(|e| bad(&e.to_string()))?;
        let headers = BASE64_STANDARD.decode(message.hdrs.unwrap_or_default());
        if is_marker(&headers.map_err(|_| bad("its headers are not base64"))?) {
            return Ok(Some(Entry { sequence: message.seq, value: None }));
        }
        let value = BASE64_STANDARD.decode(message.data.unwrap_or_default());
        let value = Zeroizing::new(value.map_err(|_| bad("its data is not base64"))?);
        Ok(Some(Entry { sequence: message.seq, value: Some(value) }))
    }

    /// Stores `value` as the first of `key`, or as the first after the deletion at sequence `after`; 0 is
    /// for a key that never was. Whether it did: `false` means that somebody else was first, and nothing
    /// has changed.
    pub async fn create(&self, key: &str, value: &[u8], after: u64) -> Result<bool, Error> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", after.to_string());
        // A domain's API takes the messages of its buckets too; a leaf node lets no others through.
        let subject = match self.server.domain() {
            Some(_) => format!("{}.{}", self.server.api_prefix, self.subject(key)),
            None => self.subject(key),
        };
        let request = async_nats::Request::new()
            .headers(headers)
            .payload(Bytes::copy_from_slice(value))
            .timeout(Some(self.server.timeout));
        let what = format!("the creation of a key in {}", self.stream);
        let answer = self.server.send(subject, request, &what, self.server.timeout).await?;
        match checked(&what, &answer.payload) {
            Err(Error::Api(e)) if e.err_code == WRONG_LAST_SEQUENCE => return Ok(false),
            other => other?,
        }
        // Somebody else may listen on the subject; only the bucket's own word counts.
        let stored: Stored = parsed(&what, &answer.payload)?;
        if stored.stream == self.stream.as_str() && stored.seq > 0 {
            Ok(true)
        } else {
            Err(Error::Answer { request: what, what: "it comes from another stream".into() })
        }
    }

    /// Makes the bucket with one revision a key, as NATS's KV clients do; one that exists stays as it is.
    pub async fn make(&self, description: &str, replicas: u32) -> Result<(), Error> {
        let config = serde_json::json!({
            "name": self.stream.as_str(),
            "description": description,
            "subjects": [self.subject(">")],
            "retention": "limits",
            "max_consumers": -1,
            "max_msgs": -1,
            "max_bytes": -1,
            "max_age": 0,
            "max_msgs_per_subject": 1,
            "max_msg_size": -1,
            "discard": "new",
            "storage": "file",
            "num_replicas": replicas,
            "duplicate_window": 120_000_000_000u64,
            "allow_rollup_hdrs": true,
            "deny_delete": true,
            "allow_direct": true,
        });
        let request = format!("STREAM.CREATE.{}", self.stream.as_str());
        match self.server.api(&request, Bytes::from(config.to_string())).await {
            Err(Error::Api(e)) if e.err_code == NAME_IN_USE => Ok(()),
            other => other.map(drop),
        }
    }
}

/// Whether a message's headers (`NATS/1.0`, then `Name: value` lines) say that the key is gone.
fn is_marker(headers: &[u8]) -> bool {
    headers.split(|&byte| byte == b'\n').any(|line| {
        let (name, value) = line.split_at(line.iter().position(|&byte| byte == b':').unwrap_or(0));
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        match name {
            b"KV-Operation" => value == b"DEL" || value == b"PURGE",
            b"Nats-Marker-Reason" => true,
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::is_marker;

    #[test]
    fn deletions_are_told_from_values_by_their_headers() {
        assert!(is_marker(b"NATS/1.0\r\nKV-Operation: DEL\r\n\r\n"));
        assert!(is_marker(b"NATS/1.0\r\nNats-Rollup: sub\r\nKV-Operation:PURGE\r\n\r\n"));
        assert!(is_marker(b"NATS/1.0\r\nNats-Marker-Reason: MaxAge\r\n\r\n"));
        assert!(!is_marker(b"NATS/1.0\r\nKV-Operation: PUT\r\nX: KV-Operation: DEL\r\n\r\n"));
        assert!(!is_marker(b""));
    }
}
