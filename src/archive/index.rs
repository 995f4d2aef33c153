//! `index.json`, the first file of an archive. It lists the streams that follow, so that a reader can refuse the archive
//! before it changes anything. Knows no server.
//!
//! Only our archives have it; `chatto backup` writes none. Unknown fields are ignored.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Error;
use super::lists::{streams, unique, versioned};
use super::manifest::{SourceServer, StreamKind};
use crate::names::StreamName;

/// The version of the index that this crate writes, and the newest that it reads.
pub const VERSION: u64 = 1;

/// `index.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// 1.
    pub version: u64,
    /// When the dump began, in UTC; written with whole seconds.
    pub created_at: Timestamp,
    /// The program that wrote it, with its version.
    pub generator: String,
    /// Where the streams come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<SourceServer>,
    /// Whether the bucket of encryption keys is among the streams.
    pub include_keys: bool,
    /// Every stream of the account, skipped ones too, in the order in which they come.
    #[serde(deserialize_with = "streams")]
    pub streams: Vec<IndexedStream>,
}

/// One stream of the [`Index`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexedStream {
    /// The stream's name.
    pub name: StreamName,
    /// What it is, or [`StreamKind::Skipped`].
    #[serde(rename = "type")]
    pub kind: StreamKind,
    /// `file` or `memory`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<String>,
    /// How many replicas it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// The messages that the server lists: an estimate, as the stream may change before its turn.
    pub messages: u64,
    /// The bytes that the server lists: an estimate, and before compression.
    pub bytes: u64,
    /// The snapshot's format, where it is known beforehand: `tar` or `natsarc1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Why it is skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The settings it uses that not every server knows, by their names in the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<String>,
}

impl Index {
    /// Reads an `index.json`.
    ///
    /// # Errors
    /// [`Error::Newer`] for a later version, [`Error::Damaged`] for anything else that is no index.
    pub fn from_json(json: &[u8]) -> Result<Self, Error> {
        let index: Index = versioned("index.json", json, VERSION)?;
        unique("index.json", index.streams.iter().map(|stream| &stream.name))?;
        Ok(index)
    }

    /// The index of an rsyncable archive: without its time, and with estimates that stay the same while a stream grows
    /// by less than a third.
    pub fn rsyncable(self) -> Self {
        let coarse = |stream: IndexedStream| IndexedStream {
            messages: rounded_down(stream.messages),
            bytes: rounded_down(stream.bytes),
            ..stream
        };
        let streams = self.streams.into_iter().map(coarse).collect();
        Index { created_at: Timestamp::UNIX_EPOCH, streams, ..self }
    }
}

/// A number without its binary digits but the first two.
fn rounded_down(number: u64) -> u64 {
    let digits = (u64::BITS - number.leading_zeros()).saturating_sub(2);
    number >> digits << digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_changes_seldom_and_is_never_more() {
        let numbers = [0, 1, 2, 3, 5, 8, 11, 12, 1000, u64::MAX].map(rounded_down);
        assert_eq!(numbers, [0, 1, 2, 3, 4, 8, 8, 12, 768, 3 << 62]);
    }
}
