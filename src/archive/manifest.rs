//! `manifest.json`: the streams of an archive, with the numbers that were counted. Knows no server.
//!
//! The format is that of `chatto backup`, version 1, as its public repository documents it. We add fields that
//! `chatto restore` ignores. They are all optional, so a manifest of Chatto is read in the same way. Unknown fields are
//! ignored.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use super::lists::{at_most, streams, unique, versioned};
use super::{Digest, Error, MAX_EDITS, MAX_OPTIONS};
use crate::names::StreamName;

/// The version of the manifest that this crate writes, and the only one that it reads.
pub const VERSION: u64 = 1;

/// `manifest.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// 1.
    pub version: u64,
    /// When the dump began, in UTC.
    pub created_at: Timestamp,
    /// The program that wrote it, with its version. Ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generator: Option<String>,
    /// Where the streams come from. Ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<SourceServer>,
    /// Whether the bucket of encryption keys is among the streams. Ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include_keys: Option<bool>,
    /// Whether nothing in the archive is of this dump alone, so that unchanged data is the same bytes in the next
    /// one. Ours.
    #[serde(default, skip_serializing_if = "is_false")]
    pub rsyncable: bool,
    /// What was done to it since it was dumped, the last edit last. Ours.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "edits")]
    pub edited: Vec<EditRecord>,
    /// Every stream of the account, with skipped and failed ones.
    #[serde(default, deserialize_with = "streams")]
    pub streams: Vec<ManifestStream>,
    /// The sums of the above.
    #[serde(default)]
    pub stats: Stats,
}

/// One edit of an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EditRecord {
    /// The digest of the archive that was edited: of the tar, without compression and encryption.
    pub source: Digest,
    /// The options of the edit, as arguments.
    #[serde(deserialize_with = "options")]
    pub options: Vec<String>,
}

/// The server that an archive was taken from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceServer {
    /// Its version, such as `2.14.5`.
    pub version: String,
    /// Its cluster's name; none on a single server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
}

/// What a stream is used for, which its name's prefix tells, or that it was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamKind {
    /// A plain stream.
    Stream,
    /// A key-value bucket, `KV_…`.
    Kv,
    /// An object store, `OBJ_…`.
    ObjectStore,
    /// Listed but not in the archive, on purpose.
    Skipped,
}

impl StreamKind {
    /// The kind of the stream `name`, by its prefix.
    pub fn of(name: &StreamName) -> Self {
        match name.as_str() {
            name if name.starts_with("KV_") => StreamKind::Kv,
            name if name.starts_with("OBJ_") => StreamKind::ObjectStore,
            _ => StreamKind::Stream,
        }
    }
}

/// One stream of the [`Manifest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestStream {
    /// The stream's name.
    pub name: StreamName,
    /// What it is, or [`StreamKind::Skipped`].
    #[serde(rename = "type")]
    pub kind: StreamKind,
    /// Messages: counted in the snapshot by us, promised by the server in Chatto's own archives.
    #[serde(default)]
    pub messages: u64,
    /// Bytes received from the server, which are compressed: the size of the snapshot.
    #[serde(default)]
    pub bytes: u64,
    /// Why it is not in the archive although it should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The snapshot's format: `tar` or `natsarc1`. This and all below are ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// The sequence of the first message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_seq: Option<u64>,
    /// The sequence of the last message, or the last one used if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seq: Option<u64>,
    /// How many sequences between the first and the last hold no message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<u64>,
    /// How many consumers the snapshot holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumers: Option<u64>,
    /// Those of them that the server left out and that were added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub consumers_added: Vec<String>,
    /// Consumers that the server has and the snapshot has not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing_consumers: Vec<String>,
    /// Consumers that stand beyond the snapshot's last sequence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub consumers_ahead: Vec<String>,
    /// Whether the snapshot ends within an atomic batch.
    #[serde(default, skip_serializing_if = "is_false")]
    pub within_batch: bool,
    /// When the snapshot began, in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub captured_at: Option<Timestamp>,
    /// How long the snapshot took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// How many attempts it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// Which `attempt-N` counts; only for a snapshot in parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// The digest of a snapshot in one entry. Builds before the first release wrote it for one in parts too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
    /// The digest of the digests of a snapshot's parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts_sha256: Option<Digest>,
    /// Why it is not as it was at the moment that an edit was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_rewound: Option<String>,
    /// Why it was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl ManifestStream {
    /// A stream of which nothing is known yet.
    pub fn new(name: StreamName, kind: StreamKind) -> Self {
        ManifestStream {
            name,
            kind,
            messages: 0,
            bytes: 0,
            error: None,
            format: None,
            first_seq: None,
            last_seq: None,
            deleted: None,
            consumers: None,
            consumers_added: Vec::new(),
            missing_consumers: Vec::new(),
            consumers_ahead: Vec::new(),
            within_batch: false,
            captured_at: None,
            duration_ms: None,
            attempts: None,
            attempt: None,
            sha256: None,
            parts_sha256: None,
            not_rewound: None,
            reason: None,
        }
    }

    /// Whether its numbers were counted in the snapshot. Those of `chatto backup` are the ones that the server reported.
    pub fn is_counted(&self) -> bool {
        self.sha256.or(self.parts_sha256).is_some()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives it so")]
fn is_false(value: &bool) -> bool {
    !value
}

/// The totals of a [`Manifest`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// Streams in the archive: neither skipped nor failed.
    pub total_streams: u64,
    /// The sum of their `bytes`.
    pub total_bytes: u64,
    /// How long the dump took, in milliseconds.
    pub duration_ms: u64,
    /// Streams left out on purpose.
    pub skipped: u64,
    /// Streams that are missing because they failed.
    pub failed: u64,
}

impl Manifest {
    /// Reads a `manifest.json`.
    ///
    /// # Errors
    /// [`Error::Newer`] for a later version, [`Error::Damaged`] for anything else that is no manifest,
    /// and for one that names a stream twice.
    pub fn from_json(json: &[u8]) -> Result<Self, Error> {
        let manifest: Manifest = versioned("manifest.json", json, VERSION)?;
        unique("manifest.json", manifest.streams.iter().map(|stream| &stream.name))?;
        Ok(manifest)
    }

    /// Counts the streams: everything in [`Stats`] but `duration_ms`, which is the caller's to know.
    pub fn count(&self, duration_ms: u64) -> Stats {
        let mut stats = Stats { duration_ms, ..Stats::default() };
        for stream in &self.streams {
            match (stream.kind, &stream.error) {
                (StreamKind::Skipped, _) => stats.skipped = stats.skipped.saturating_add(1),
                (_, Some(_)) => stats.failed = stats.failed.saturating_add(1),
                (_, None) => {
                    stats.total_streams = stats.total_streams.saturating_add(1);
                    stats.total_bytes = stats.total_bytes.saturating_add(stream.bytes);
                }
            }
        }
        stats
    }
}

fn edits<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<EditRecord>, D::Error> {
    at_most::<_, _, MAX_EDITS>(from)
}

fn options<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    at_most::<_, _, MAX_OPTIONS>(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHATTO: &str = r#"{"version":1,"created_at":"2026-08-01T10:11:12.345678+02:00","later":[1],
        "streams":[{"name":"EVT","type":"stream","messages":3,"bytes":99},
                   {"name":"KV_A","type":"skipped","messages":0,"bytes":0},
                   {"name":"OBJ_B","type":"object_store","messages":0,"bytes":0,"error":"boom"}],
        "stats":{"total_streams":1,"total_bytes":99,"duration_ms":7,"skipped":1,"failed":1}}"#;

    #[test]
    fn a_manifest_of_chatto_is_read_and_its_totals_are_ours() {
        let manifest = Manifest::from_json(CHATTO.as_bytes()).unwrap();
        assert_eq!(
            manifest.streams[0],
            ManifestStream {
                messages: 3,
                bytes: 99,
                ..ManifestStream::new(StreamName::new("EVT").unwrap(), StreamKind::Stream)
            }
        );
        assert_eq!(manifest.count(7), manifest.stats);
        let written = serde_json::to_string(&manifest).unwrap();
        assert!(!written.contains("null"), "{written}");
        assert_eq!(Manifest::from_json(written.as_bytes()).unwrap(), manifest);
    }

    #[test]
    fn go_writes_no_streams_as_null() {
        let json = br#"{"version":1,"created_at":"2026-08-01T00:00:00Z","streams":null,"stats":{}}"#;
        assert_eq!(Manifest::from_json(json).unwrap().streams, []);
    }

    #[test]
    fn what_is_no_manifest_of_version_1_is_refused() {
        for (json, want) in [
            ("", "manifest.json: EOF while parsing"),
            ("[]", "manifest.json: invalid length 0, expected struct Version"),
            (r#"{"version":0}"#, "manifest.json: no version 0 exists"),
            (r#"{"version":2,"streams":7}"#, "made by a newer version"),
            (r#"{"version":1,"version":1}"#, "duplicate field `version`"),
            (&CHATTO.replace("KV_A", "EVT"), "names stream EVT twice"),
            (&CHATTO.replace("KV_A", "K.A"), "stream name \"K.A\" holds '.'"),
            (&CHATTO.replace("skipped\",", "\\u001b[2J\","), "unknown variant `\\u{1b}[2J`"),
        ] {
            let error = Manifest::from_json(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(want), "{json}: {error}");
        }
    }

    #[test]
    fn the_prefix_tells_the_kind() {
        let kind = |name| StreamKind::of(&StreamName::new(name).unwrap());
        assert_eq!(
            [kind("EVT"), kind("KV_A"), kind("OBJ_A"), kind("KVA")],
            [StreamKind::Stream, StreamKind::Kv, StreamKind::ObjectStore, StreamKind::Stream]
        );
    }
}
