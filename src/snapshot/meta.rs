//! The configurations in a snapshot of the tar format (`meta.inf`) and their checksums (`meta.sum`). `meta.inf` is the
//! server's own JSON with some more fields. Knows no tar.

use std::io::Read;
use std::sync::{Arc, OnceLock};

use highway::HighwayHash;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::checksums;
use super::content::Content;
use super::fault::Fault;
use crate::json;
use crate::names::Printable;
use crate::settings::{self, Config, MAX_VALUES};

/// The settings that only say where a stream is kept: a cluster may move it at any time.
const WHERE: [&str; 2] = ["num_replicas", "placement"];

/// When a stream was created, beside its configuration.
const CREATED: &str = "Created";

/// Refuses a configuration, at hand in `content`, with more than [`MAX_VALUES`].
pub fn bounded<R: Read>(content: &Content<R>, config: &[u8]) -> Result<(), Fault> {
    if json::has_at_most(MAX_VALUES, config) {
        return Ok(());
    }
    Err(content.unsupported("a config has too many values"))
}

/// A stream's configuration, created at `time` (ns since 1970). None where it is no JSON object.
pub fn of_stream(config: &RawValue, time: i64) -> Option<Box<RawValue>> {
    with(&format!("\"{CREATED}\":\"{}\"", Timestamp::from_nanosecond(time.into()).ok()?), config)
}

/// A consumer's configuration, created at `time`. None where it is no JSON object.
pub fn of_consumer(name: &str, config: &RawValue, time: i64) -> Option<Box<RawValue>> {
    let name = serde_json::to_string(name).ok()?;
    let created = Timestamp::from_nanosecond(time.into()).ok()?;
    with(&format!("\"Created\":\"{created}\",\"Name\":{name}"), config)
}

/// The same configuration as [`of_consumer`] gave, created at another time. None where it is not from there.
pub fn created_at(info: &RawValue, time: i64) -> Option<Box<RawValue>> {
    let (_, rest) = info.get().strip_prefix("{\"Created\":\"")?.split_once('"')?;
    let created = Timestamp::from_nanosecond(time.into()).ok()?;
    RawValue::from_string(format!("{{\"Created\":\"{created}\"{rest}")).ok()
}

/// When a stream with this `meta.inf` was created, in ns since 1970, where it says so.
pub fn created(meta: &RawValue) -> Option<i64> {
    #[derive(Deserialize)]
    struct At {
        #[serde(rename = "Created")]
        created: Timestamp,
    }
    serde_json::from_str::<At>(meta.get()).ok()?.created.as_nanosecond().try_into().ok()
}

/// The stream's configuration as the snapshot itself has it, with a sum that held (`meta.inf`, at most 8 MiB):
/// for [`agrees`]. Stays empty where a snapshot has none, as one in NATSARC1.
pub type OwnConfig = Arc<OnceLock<Vec<u8>>>;

/// A description with other settings than the snapshot itself: which.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("its backup.json is not as written: the snapshot itself has another {0}")]
pub struct ConfigMismatch(Printable);

/// Holds `config`, a stream's configuration as its description has it, against the snapshot's own `meta`
/// (`meta.inf`). What a server keeps beside the configuration does not count, nor what it adds to the metadata, nor where
/// the stream lives.
pub fn agrees(meta: &[u8], config: &Config) -> Result<(), ConfigMismatch> {
    let Ok(mut own) = serde_json::from_slice::<Config>(meta) else { return Ok(()) };
    own.remove(CREATED);
    let differ = settings::differences(&own, config).into_iter();
    let names: Vec<_> = differ.filter(|name| !WHERE.contains(&name.as_str())).collect();
    if names.is_empty() { Ok(()) } else { Err(ConfigMismatch(Printable::new(&names.join(", ")))) }
}

/// The checksum of a `meta.inf`; `key` is what [`checksums`] says.
pub fn checksum(key: &str, meta: &[u8]) -> String {
    let mut hash = checksums::keyed(key);
    hash.append(meta);
    checksums::hexadecimal(hash.finalize64())
}

/// An object with other fields before its own, which stay as they are written.
fn with(fields: &str, object: &RawValue) -> Option<Box<RawValue>> {
    let rest = object.get().strip_prefix('{')?;
    let comma = if rest.trim_start() == "}" { "" } else { "," };
    RawValue::from_string(format!("{{{fields}{comma}{rest}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> &RawValue {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_description_is_held_against_the_snapshots_own_word() {
        let own = br#"{"Created":"2026-08-01T00:00:00Z","name":"S","max_age":5,"sealed":false,"metadata":{"_nats.ver":"2"}}"#;
        let agrees = |config: &str| agrees(own, &serde_json::from_str(config).unwrap());
        assert_eq!(agrees(r#"{"name":"S","max_age":5,"discard":"old","num_replicas":3}"#), Ok(()));
        let unlike = agrees(r#"{"name":"S","max_age":4,"description":"x"}"#).unwrap_err().to_string();
        assert!(unlike.ends_with("the snapshot itself has another description, max_age"), "{unlike}");
    }

    #[test]
    fn a_configuration_stays_as_it_is_written() {
        let meta = of_stream(raw(r#"{"name":"S","new":{"x":1.10}}"#), 1_500_000_001).unwrap();
        assert_eq!(meta.get(), r#"{"Created":"1970-01-01T00:00:01.500000001Z","name":"S","new":{"x":1.10}}"#);
        let meta = of_consumer("a\"b", raw("{ }"), 0).unwrap();
        assert_eq!(meta.get(), r#"{"Created":"1970-01-01T00:00:00Z","Name":"a\"b" }"#);
        let later = created_at(&meta, 1_000_000_000).unwrap();
        assert_eq!(later.get(), r#"{"Created":"1970-01-01T00:00:01Z","Name":"a\"b" }"#);
        for bad in ["[]", "1", "null", "\"x\""] {
            assert!(of_stream(raw(bad), 0).is_none(), "{bad}");
        }
    }
}
