//! Lists every stream of the account, also those that the server knows but cannot describe.
//!
//! In a cluster, the descriptions come from the streams' leaders. So a stream without a leader is on the list of names, and
//! not on the list of descriptions. For a backup, such a stream is a failure, and must not be left out silently.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Map;
use serde_json::value::RawValue;

use super::pages::Page;
use super::{Error, RestoreMarker, Server};
use crate::names::{Printable, StreamName};
use crate::release::STREAM_SETTINGS;
use crate::settings::{self, Config};

/// All streams of an account.
#[derive(Debug, Default)]
pub struct Listing {
    /// Those that can be captured, by name.
    pub streams: Vec<Listed>,
    /// Those that exist and cannot, by name.
    pub unavailable: Vec<Unavailable>,
}

/// One stream as it was when it was listed.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its name.
    pub name: StreamName,
    /// Whether it lives in memory only.
    pub in_memory: bool,
    /// Its replicas.
    pub replicas: u32,
    /// How many messages it holds.
    pub messages: u64,
    /// Their size in bytes, with the store's overhead and without compression.
    pub bytes: u64,
    /// How many consumers it has.
    pub consumers: u64,
    /// The settings it uses that not every server knows.
    pub settings: Vec<&'static str>,
    /// The first sequence.
    pub first_seq: u64,
    /// The last sequence.
    pub last_seq: u64,
    /// When the stream was created, if the server says so.
    pub created: Option<Timestamp>,
    /// When its last message was written, if there has been one.
    pub last_time: Option<Timestamp>,
    /// The marker of a restore that is under way or was cut off. Such a stream is incomplete.
    pub marker: Option<RestoreMarker>,
    /// Whether somebody has written to it since that restore was begun.
    pub written_since: bool,
}

/// A stream that exists and cannot be captured.
#[derive(Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// Its name, which may not be a valid one.
    pub name: String,
    /// Why.
    pub reason: String,
}

#[derive(Deserialize)]
struct NamesPage {
    total: u64,
    #[serde(default)]
    streams: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct ListPage {
    total: u64,
    #[serde(default)]
    streams: Option<Vec<ListItem>>,
    #[serde(default)]
    missing: Option<Vec<String>>,
    #[serde(default)]
    offline: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct ListItem {
    config: Box<RawValue>,
    state: ItemState,
    #[serde(default)]
    created: String,
}

#[derive(Deserialize)]
struct ItemConfig {
    name: String,
    #[serde(default)]
    storage: String,
    #[serde(default)]
    num_replicas: u32,
}

#[derive(Deserialize)]
struct ItemState {
    #[serde(default)]
    messages: u64,
    #[serde(default)]
    bytes: u64,
    #[serde(default)]
    consumer_count: u64,
    #[serde(default)]
    first_seq: u64,
    #[serde(default)]
    last_seq: u64,
    #[serde(default)]
    last_ts: String,
}

impl Server {
    /// Lists every stream of the account, sorted by name.
    pub async fn streams(&self) -> Result<Listing, Error> {
        let mut found: BTreeMap<StreamName, Listed> = BTreeMap::new();
        let mut unavailable: BTreeMap<String, String> = BTreeMap::new();
        self.pages("STREAM.LIST", &Map::new(), |page: ListPage| {
            let offline = page.offline.unwrap_or_default();
            for name in page.missing.unwrap_or_default() {
                let why = offline.get(&name).map(|reason| format!("offline: {}", Printable::new(reason)));
                unavailable.insert(name, why.unwrap_or_else(|| "its leader does not answer".into()));
            }
            for item in page.streams.unwrap_or_default() {
                match listed(&item)? {
                    Ok(stream) => drop(found.insert(stream.name.clone(), stream)),
                    Err(bad) => drop(unavailable.insert(bad.name, bad.reason)),
                }
            }
            Ok(())
        })
        .await?;
        for name in self.names().await? {
            let known = StreamName::new(name.as_str()).is_ok_and(|valid| found.contains_key(&valid));
            if !known {
                unavailable.entry(name).or_insert_with(|| "the server knows it but does not list it".into());
            }
        }
        // A stream whose leader was late on one page may have come on another.
        unavailable
            .retain(|name, _| !StreamName::new(name.as_str()).is_ok_and(|known| found.contains_key(&known)));
        let unavailable =
            unavailable.into_iter().map(|(name, reason)| Unavailable { name, reason }).collect();
        Ok(Listing { streams: found.into_values().collect(), unavailable })
    }

    async fn names(&self) -> Result<BTreeSet<String>, Error> {
        let mut names = BTreeSet::new();
        self.pages("STREAM.NAMES", &Map::new(), |page: NamesPage| {
            names.extend(page.streams.unwrap_or_default());
            Ok(())
        })
        .await?;
        Ok(names)
    }
}

impl Page for ListPage {
    fn total(&self) -> u64 {
        self.total
    }

    fn items(&self) -> usize {
        self.streams.as_ref().map_or(0, Vec::len) + self.missing.as_ref().map_or(0, Vec::len)
    }
}

impl Page for NamesPage {
    fn total(&self) -> u64 {
        self.total
    }

    fn items(&self) -> usize {
        self.streams.as_ref().map_or(0, Vec::len)
    }
}

/// Servers write a time that is none as one of the year 1.
fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok().filter(|time| *time > Timestamp::UNIX_EPOCH)
}

fn listed(item: &ListItem) -> Result<Result<Listed, Unavailable>, Error> {
    let failed = |e: serde_json::Error| Error::Answer { request: "STREAM.LIST".into(), what: e.to_string() };
    let config: ItemConfig = serde_json::from_str(item.config.get()).map_err(failed)?;
    let all: Config = serde_json::from_str(item.config.get()).map_err(failed)?;
    let marker = RestoreMarker::of(&item.config);
    Ok(match StreamName::new(config.name.as_str()) {
        Ok(name) => Ok(Listed {
            name,
            in_memory: config.storage == "memory",
            replicas: config.num_replicas.max(1),
            messages: item.state.messages,
            bytes: item.state.bytes,
            consumers: item.state.consumer_count,
            settings: settings::asked_for(&all, &STREAM_SETTINGS).into_iter().map(|s| s.name).collect(),
            first_seq: item.state.first_seq,
            last_seq: item.state.last_seq,
            created: time(&item.created),
            last_time: time(&item.state.last_ts),
            written_since: marker.as_ref().is_some_and(|marker| marker.is_older_than(&item.state.last_ts)),
            marker,
        }),
        Err(bad) => Err(Unavailable { name: config.name, reason: bad.to_string() }),
    })
}
