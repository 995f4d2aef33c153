//! Chatto's encryption keys: the key records, the checks of a record, and the export file. Pure: knows no server and no
//! envelope.
//!
//! A key lives in the bucket `ENCRYPTION_KEYS` under its *key ref*:
//!
//! | ref | value |
//! |---|---|
//! | `user.ID` | 32 bytes |
//! | `kek.` and 24 letters or digits | 32 bytes, or a message with algorithm [`KEK_ALGORITHM`] |
//! | `call.e2ee.ID` | a message with another algorithm; the key is of no use after the call, so it is never exported |
//! | `dek.…` | belongs to another bucket; old exports hold some |
//!
//! The message is protobuf, `{ bytes key = 1; string algorithm = 2; }`, with a key of 32 bytes.
//!
//! The export is JSON, indented by two spaces:
//!
//! | field | |
//! |---|---|
//! | `version` | 3, or 2, which has only user keys and no `key_ref`, and which Chatto v0.0.x reads |
//! | `created_at` | RFC 3339 |
//! | `key_count` | number of `keys` |
//! | `keys[].key_ref` | the ref |
//! | `keys[].user_id` | the `ID` of `user.ID`, absent for others |
//! | `keys[].key` | the value, byte for byte, in standard base64 with padding |
//!
//! Source: Chatto's public repository (the facts), and exports of Chatto. Values are wiped from memory
//! when dropped, and no `Debug` and no error shows them.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

use base64::prelude::{BASE64_STANDARD, Engine};
use jiff::Timestamp;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::names::Printable;

/// The KV bucket of the keys.
pub const BUCKET: &str = "ENCRYPTION_KEYS";

/// What Chatto writes as the bucket's description.
pub const BUCKET_DESCRIPTION: &str = "KMS key-encryption keys (excluded from backups)";

/// The algorithm of a `kek.` message.
pub const KEK_ALGORITHM: &str = "builtin-xchacha20-poly1305-v1";

/// The length of every key, in bytes.
pub const KEY_LEN: usize = 32;

/// The longest export file that is read, in bytes: some 180 a key.
pub const EXPORT_MAX: u64 = 32 << 20;

/// The most keys of an export. One costs 250 bytes of memory beside its text: 36 MiB.
pub const KEYS_MAX: usize = 150_000;

/// The name of a key in the bucket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyRef(String);

/// What a [`KeyRef`] says that its key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// A user's messages.
    User,
    /// Other keys: a key-encryption key.
    Kek,
    /// One call, while it lasts.
    Call,
    /// A data key, which belongs into another bucket.
    Dek,
    /// Nothing that is known here.
    Unknown,
}

impl KeyRef {
    /// Takes any text: what is not a ref is of [`KeyKind::Unknown`].
    pub fn new(text: impl Into<String>) -> Self {
        KeyRef(text.into())
    }

    /// The ref as the bucket knows it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the key is for.
    pub fn kind(&self) -> KeyKind {
        // The characters that NATS's KV clients allow in a key.
        let token = |id: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '=' | '/');
            !id.is_empty() && id.split('.').all(|part| !part.is_empty() && part.chars().all(allowed))
        };
        let id = |prefix| self.0.strip_prefix(prefix).filter(|id| token(id));
        if id("user.").is_some() {
            KeyKind::User
        } else if id("kek.").is_some_and(|id| id.len() == 24 && id.bytes().all(|c| c.is_ascii_alphanumeric()))
        {
            KeyKind::Kek
        } else if id("call.e2ee.").is_some() {
            KeyKind::Call
        } else if id("dek.").is_some() {
            KeyKind::Dek
        } else {
            KeyKind::Unknown
        }
    }

    fn user_id(&self) -> Option<&str> {
        self.0.strip_prefix("user.")
    }
}

impl fmt::Display for KeyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Printable::new(&self.0).fmt(f)
    }
}

impl KeyKind {
    /// Whether keys of this kind are exported.
    pub fn is_exported(self) -> bool {
        !matches!(self, KeyKind::Call | KeyKind::Dek)
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            KeyKind::User => "user",
            KeyKind::Kek => "kek",
            KeyKind::Call => "call",
            KeyKind::Dek => "dek",
            KeyKind::Unknown => "unknown",
        })
    }
}

/// A key: its ref and its value.
pub struct KeyRecord {
    /// The ref.
    pub key_ref: KeyRef,
    /// The value, byte for byte as the bucket has it.
    pub value: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for KeyRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRecord").field("key_ref", &self.key_ref).finish_non_exhaustive()
    }
}

/// Why a record is not a key that Chatto could use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// The kind of the ref is not known here.
    #[error("unknown kind of key")]
    Kind,
    /// Neither [`KEY_LEN`] bytes nor a message, where the kind allows one.
    #[error("not a key of {KEY_LEN} bytes")]
    Value,
    /// A message with another algorithm.
    #[error("unknown algorithm")]
    Algorithm,
    /// The value is not base64 in an export.
    #[error("the key is not base64")]
    Base64,
    /// Neither `key_ref` nor, in version 2, `user_id`.
    #[error("no key ref")]
    NoRef,
    /// `user_id` names another user than `key_ref`.
    #[error("its user_id and key_ref disagree")]
    User,
    /// The same ref a second time.
    #[error("occurs twice")]
    Twice,
}

impl KeyRecord {
    /// Checks that the value is one of the ref's kind. Call and data keys are not looked into.
    pub fn validate(&self) -> Result<(), InvalidKey> {
        match self.key_ref.kind() {
            KeyKind::User if self.value.len() == KEY_LEN => Ok(()),
            KeyKind::User => Err(InvalidKey::Value),
            KeyKind::Kek if self.value.len() == KEY_LEN => Ok(()),
            KeyKind::Kek => match message(&self.value).ok_or(InvalidKey::Value)? {
                (key, _) if key.len() != KEY_LEN => Err(InvalidKey::Value),
                (_, algorithm) if algorithm != KEK_ALGORITHM.as_bytes() => Err(InvalidKey::Algorithm),
                _ => Ok(()),
            },
            KeyKind::Call | KeyKind::Dek => Ok(()),
            KeyKind::Unknown => Err(InvalidKey::Kind),
        }
    }
}

/// The fields 1 and 2 of a protobuf message; fields that are not known are skipped, as protobuf wants it.
/// `None` if it is not protobuf.
fn message(mut bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut key, mut algorithm) = (&[][..], &[][..]);
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        match tag & 7 {
            0 => drop(varint(&mut bytes)?),
            1 => drop(take(&mut bytes, 8)?),
            2 => {
                let len = usize::try_from(varint(&mut bytes)?).ok()?;
                let field = take(&mut bytes, len)?;
                match tag >> 3 {
                    1 => key = field,
                    2 => algorithm = field,
                    _ => {}
                }
            }
            5 => drop(take(&mut bytes, 4)?),
            _ => return None,
        }
    }
    Some((key, algorithm))
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(taken)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let byte = *take(bytes, 1)?.first()?;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Which format of an export is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportVersion {
    /// The only one that Chatto v0.0.x reads. It names users, not refs, so it can hold nothing else.
    Two,
    /// What Chatto v0.1 and later write.
    Three,
}

impl ExportVersion {
    fn number(self) -> u32 {
        match self {
            ExportVersion::Two => 2,
            ExportVersion::Three => 3,
        }
    }

    /// Whether an export of this version can hold the key.
    pub fn holds(self, key_ref: &KeyRef) -> bool {
        self == ExportVersion::Three || key_ref.kind() == KeyKind::User
    }
}

impl FromStr for ExportVersion {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "2" => Ok(ExportVersion::Two),
            "3" => Ok(ExportVersion::Three),
            _ => Err("the versions are 2 and 3"),
        }
    }
}

/// The JSON of an export file.
#[derive(Serialize)]
struct ExportFile<'a> {
    version: u32,
    created_at: String,
    key_count: usize,
    keys: Vec<ExportedKey<'a>>,
}

#[derive(Serialize)]
struct ExportedKey<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key_ref: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(serialize_with = "base64")]
    key: &'a [u8],
}

fn base64<S: Serializer>(key: &[u8], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&Zeroizing::new(BASE64_STANDARD.encode(key)))
}

/// The export file of `records`, which are sorted by ref in it. The version must hold each of them.
///
/// # Errors
/// None that depends on the records; the JSON library's type has one.
pub fn export(
    records: &[KeyRecord],
    version: ExportVersion,
    created_at: Timestamp,
) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut sorted: Vec<&KeyRecord> = records.iter().collect();
    sorted.sort_by(|a, b| a.key_ref.cmp(&b.key_ref));
    let written = ExportFile {
        version: version.number(),
        created_at: created_at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        key_count: sorted.len(),
        keys: sorted
            .iter()
            .map(|record| ExportedKey {
                key_ref: (version == ExportVersion::Three).then(|| record.key_ref.as_str()),
                user_id: record.key_ref.user_id(),
                key: &record.value,
            })
            .collect(),
    };
    // The length comes first, because a vector that grows leaves copies behind that are not wiped.
    let mut len = ByteCounter(0);
    serde_json::to_writer_pretty(&mut len, &written)?;
    let mut json = Zeroizing::new(Vec::with_capacity(len.0.saturating_add(1)));
    serde_json::to_writer_pretty(&mut *json, &written)?;
    json.push(b'\n');
    Ok(json)
}

struct ByteCounter(usize);

impl Write for ByteCounter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The content of an export file, checked.
#[derive(Debug)]
pub struct ParsedExport {
    /// The version of the file.
    pub version: u64,
    /// The keys to import, each valid, no ref twice.
    pub records: Vec<KeyRecord>,
    /// Refs of call and data keys, which are not imported.
    pub skipped: Vec<KeyRef>,
}

/// Why an export file is refused, as a whole: nothing of it is imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Not JSON, or not the JSON of an export. Nothing of the file is quoted.
    #[error("not a key export: line {line}, column {column}")]
    NotAnExport {
        /// Where, from 1.
        line: usize,
        /// Where, from 1.
        column: usize,
    },
    /// Another version.
    #[error("a key export of version {0}; versions 2 and 3 are known here")]
    Version(u64),
    /// More keys than are held.
    #[error("the key export holds more than {KEYS_MAX} keys")]
    TooMany,
    /// `key_count` is not the number of keys.
    #[error("the key export holds {found} keys and says {said}")]
    Count {
        /// `key_count`.
        said: u64,
        /// Records that are there.
        found: usize,
    },
    /// A record that Chatto could not use.
    #[error("key {number} of the export ({key_ref}): {reason}")]
    Record {
        /// Counted from 1.
        number: usize,
        /// Its ref, as far as there is one.
        key_ref: KeyRef,
        /// What is wrong with it.
        reason: InvalidKey,
    },
}

#[derive(Deserialize)]
struct ImportFile {
    version: u64,
    key_count: Option<u64>,
    #[serde(deserialize_with = "bounded")]
    keys: Vec<ImportedKey>,
}

/// The first [`KEYS_MAX`] keys, and one more where there are more.
fn bounded<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<ImportedKey>, D::Error> {
    struct Keys;
    impl<'de> Visitor<'de> for Keys {
        type Value = Vec<ImportedKey>;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("a list of keys")
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Vec<ImportedKey>, A::Error> {
            let mut keys = Vec::new();
            while keys.len() <= KEYS_MAX
                && let Some(key) = list.next_element()?
            {
                keys.push(key);
            }
            while list.next_element::<de::IgnoredAny>()?.is_some() {}
            Ok(keys)
        }
    }
    from.deserialize_seq(Keys)
}

#[derive(Deserialize)]
struct ImportedKey {
    key_ref: Option<String>,
    user_id: Option<String>,
    key: Value,
}

/// Decoded at once, so that no base64 of it stays behind; `None` if it is none, which is reported with the
/// ref later.
struct Value(Option<Zeroizing<Vec<u8>>>);

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Decode;
        impl Visitor<'_> for Decode {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("base64")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
                // Decoding needs room for whole groups of three bytes.
                let mut bytes = Zeroizing::new(vec![0; text.len() / 4 * 3 + 3]);
                let len = BASE64_STANDARD.decode_slice(text, &mut bytes).ok();
                Ok(Value(len.map(|len| {
                    bytes.truncate(len);
                    bytes
                })))
            }
        }
        from.deserialize_str(Decode)
    }
}

/// Reads and validates an export file, whole.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn import(json: &[u8]) -> Result<ParsedExport, ImportError> {
    let read: ImportFile = serde_json::from_slice(json)
        .map_err(|e| ImportError::NotAnExport { line: e.line(), column: e.column() })?;
    if !matches!(read.version, 2 | 3) {
        return Err(ImportError::Version(read.version));
    }
    if read.keys.len() > KEYS_MAX {
        return Err(ImportError::TooMany);
    }
    if let Some(said) = read.key_count
        && said != read.keys.len() as u64
    {
        return Err(ImportError::Count { said, found: read.keys.len() });
    }
    let mut seen = BTreeSet::new();
    let (mut records, mut skipped) = (Vec::new(), Vec::new());
    for (index, key) in read.keys.into_iter().enumerate() {
        let key_ref = match (key.key_ref, &key.user_id) {
            (Some(key_ref), _) => KeyRef(key_ref),
            (None, Some(id)) if read.version == 2 => KeyRef(format!("user.{id}")),
            (None, _) => KeyRef(String::new()),
        };
        let refuse = |reason| ImportError::Record {
            number: index.saturating_add(1),
            key_ref: key_ref.clone(),
            reason,
        };
        if key_ref.as_str().is_empty() {
            return Err(refuse(InvalidKey::NoRef));
        }
        if key.user_id.is_some() && key.user_id.as_deref() != key_ref.user_id() {
            return Err(refuse(InvalidKey::User));
        }
        if !seen.insert(key_ref.clone()) {
            return Err(refuse(InvalidKey::Twice));
        }
        let value = key.key.0.ok_or_else(|| refuse(InvalidKey::Base64))?;
        let record = KeyRecord { key_ref: key_ref.clone(), value };
        record.validate().map_err(refuse)?;
        if record.key_ref.kind().is_exported() {
            records.push(record);
        } else {
            skipped.push(record.key_ref);
        }
    }
    Ok(ParsedExport { version: read.version, records, skipped })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key_ref: &str, value: &[u8]) -> KeyRecord {
        KeyRecord { key_ref: KeyRef::new(key_ref), value: Zeroizing::new(value.to_vec()) }
    }

    fn kek(key: &[u8], algorithm: &str) -> Vec<u8> {
        let mut message = vec![0x0a, key.len() as u8];
        message.extend_from_slice(key);
        message.extend_from_slice(&[0x12, algorithm.len() as u8]);
        message.extend_from_slice(algorithm.as_bytes());
        message
    }

    const KEK: &str = "kek.abcdefghijklABCDEFGH0123";

    #[test]
    fn refs_have_kinds() {
        for (key_ref, kind) in [
            ("user.U1", KeyKind::User),
            ("user.", KeyKind::Unknown),
            ("user.a b", KeyKind::Unknown),
            ("user.a..b", KeyKind::Unknown),
            ("user.>", KeyKind::Unknown),
            (KEK, KeyKind::Kek),
            ("kek.short", KeyKind::Unknown),
            ("kek.abcdefghijklABCDEFGH012-", KeyKind::Unknown),
            ("call.e2ee.C1", KeyKind::Call),
            ("call.other", KeyKind::Unknown),
            ("dek.x.y", KeyKind::Dek),
            ("", KeyKind::Unknown),
        ] {
            assert_eq!(KeyRef::new(key_ref).kind(), kind, "{key_ref}");
        }
    }

    #[test]
    fn values_are_checked_by_kind() {
        let key = [7; KEY_LEN];
        let message = kek(&key, KEK_ALGORITHM);
        let unknown_field = [&[0x18, 0x80, 0x01][..], &message].concat();
        for (key_ref, value, verdict) in [
            ("user.U1", &key[..], Ok(())),
            ("user.U1", &key[1..], Err(InvalidKey::Value)),
            ("user.U1", &message, Err(InvalidKey::Value)),
            (KEK, &key, Ok(())),
            (KEK, &message, Ok(())),
            (KEK, &unknown_field, Ok(())),
            (KEK, &kek(&key[1..], KEK_ALGORITHM), Err(InvalidKey::Value)),
            (KEK, &kek(&key, "livekit-call-e2ee-v1"), Err(InvalidKey::Algorithm)),
            (KEK, &[], Err(InvalidKey::Value)),
            ("call.e2ee.C", &message, Ok(())),
            ("space.S1", &key, Err(InvalidKey::Kind)),
        ] {
            assert_eq!(record(key_ref, value).validate(), verdict, "{key_ref} {value:?}");
        }
        for cut in 1..message.len() {
            assert!(record(KEK, &message[..cut]).validate().is_err() || cut == KEY_LEN, "{cut}");
        }
    }

    #[test]
    fn protobuf_that_lies_about_lengths_is_no_message() {
        for bytes in [&[0x0a][..], &[0x0a, 0xff], &[0xff; 11], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f], &[0x0b]]
        {
            assert_eq!(message(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn an_export_is_what_chatto_writes() {
        let records = [record("user.U1", &[0; KEY_LEN]), record(KEK, &kek(&[1; KEY_LEN], KEK_ALGORITHM))];
        let json = export(&records, ExportVersion::Three, "2026-11-22T08:00:00.5Z".parse().unwrap()).unwrap();
        let expected = r#"{
  "version": 3,
  "created_at": "2026-11-22T08:00:00Z",
  "key_count": 2,
  "keys": [
    {
      "key_ref": "kek.abcdefghijklABCDEFGH0123",
      "key": "CiABAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBARIdYnVpbHRpbi14Y2hhY2hhMjAtcG9seTEzMDUtdjE="
    },
    {
      "key_ref": "user.U1",
      "user_id": "U1",
      "key": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
    }
  ]
}
"#;
        assert_eq!(std::str::from_utf8(&json).unwrap(), expected);
        let import = import(&json).unwrap();
        assert_eq!(import.records.len(), 2);
        assert_eq!(*import.records[0].value, *records[1].value);
        assert_eq!(import.records[1].key_ref.as_str(), "user.U1");
    }

    #[test]
    fn version_two_names_users_and_no_refs() {
        let records = [record("user.U2", &[1; KEY_LEN]), record("user.U1", &[0; KEY_LEN])];
        let json = export(&records, ExportVersion::Two, "2026-11-22T08:00:00Z".parse().unwrap()).unwrap();
        let read: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let expected = serde_json::json!({
            "version": 2,
            "created_at": "2026-11-22T08:00:00Z",
            "key_count": 2,
            "keys": [
                { "user_id": "U1", "key": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" },
                { "user_id": "U2", "key": "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=" },
            ],
        });
        assert_eq!(read, expected);
        assert_eq!(import(&json).unwrap().records[1].key_ref.as_str(), "user.U2");
        assert!(ExportVersion::Two.holds(&KeyRef::new("user.U1")));
        assert!(!ExportVersion::Two.holds(&KeyRef::new(KEK)));
    }

    #[test]
    fn version_two_is_read() {
        let json = br#"{"version":2,"keys":[{"user_id":"U1","key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}]}"#;
        assert_eq!(import(json).unwrap().records[0].key_ref.as_str(), "user.U1");
    }

    #[test]
    fn call_and_data_keys_are_skipped_by_name() {
        let json =
            br#"{"version":3,"keys":[{"key_ref":"dek.a","key":"AAAA"},{"key_ref":"call.e2ee.b","key":""}]}"#;
        let import = import(json).unwrap();
        assert_eq!(import.records.len(), 0);
        assert_eq!(import.skipped, [KeyRef::new("dek.a"), KeyRef::new("call.e2ee.b")]);
    }

    #[test]
    fn one_bad_record_refuses_the_whole_file() {
        const GOOD: &str =
            r#"{"key_ref":"user.U1","user_id":"U1","key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}"#;
        for (bad, reason) in [
            (r#"{"key_ref":"user.U2","key":"AAAA"}"#, InvalidKey::Value),
            (r#"{"key_ref":"user.U2","key":"SECRET!"}"#, InvalidKey::Base64),
            (r#"{"key_ref":"space.S","key":"AAAA"}"#, InvalidKey::Kind),
            (r#"{"user_id":"U2","key":"AAAA"}"#, InvalidKey::NoRef),
            (r#"{"key_ref":"user.U2","user_id":"U3","key":"AAAA"}"#, InvalidKey::User),
            (r#"{"key_ref":"kek.x","user_id":"x","key":"AAAA"}"#, InvalidKey::User),
            (GOOD, InvalidKey::Twice),
        ] {
            let json = format!(r#"{{"version":3,"keys":[{GOOD},{bad}]}}"#);
            match import(json.as_bytes()) {
                Err(ImportError::Record { number: 2, reason: found, .. }) => {
                    assert_eq!(found, reason, "{bad}")
                }
                other => panic!("{bad}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_is_no_export_is_refused_without_quoting_it() {
        for json in [
            &b""[..],
            b"SECRET",
            br#"{"version":3}"#,
            br#"{"version":"SECRET","keys":[]}"#,
            br#"{"version":1,"keys":[]}"#,
            br#"{"version":4,"keys":[]}"#,
            br#"{"version":3,"key_count":1,"keys":[]}"#,
            br#"{"version":3,"keys":[{"key_ref":"user.U","key":5}]}"#,
            br#"{"version":3,"keys":[]} SECRET"#,
        ] {
            let error = import(json).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("SECRET"), "{error:?}");
        }
    }

    #[test]
    fn no_debug_shows_a_key() {
        let text = format!("{:?}", record("user.U1", &[65; KEY_LEN]));
        assert_eq!(text, r#"KeyRecord { key_ref: KeyRef("user.U1"), .. }"#);
    }
}
