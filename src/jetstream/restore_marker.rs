//! Marks a stream whose restore has not ended: with a key in the metadata of its configuration. Knows no archive.
//!
//! When a server of 2.15 or later restores a stream from NATSARC1, everybody can see the stream from its first chunk on. If
//! the program that restores it is killed, the incomplete stream stays. A cluster makes the stream at the request, in every
//! format, and then an empty stream with several replicas stays (2.14.5 and 2.15.1). So the configuration in the request has
//! this marker, and an update after the commit removes it. A stream with the marker is not whole, and a run recognises its
//! own streams by it.
//!
//! 2.15.1 accepts this update for streams of every kind: sealed ones, mirrors, those with sources, those that have reached
//! their limits, and those in memory.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};

/// The key.
pub const RESTORING: &str = "chatto-pipes.restoring";

/// The value: when the restore was begun and a text that no other run has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreMarker(String);

type Object = BTreeMap<String, Box<RawValue>>;

impl RestoreMarker {
    /// The marker of a run that begins now. `unique` is a text that no other run has.
    pub fn new(unique: &str) -> RestoreMarker {
        RestoreMarker(format!("{} {unique}", Timestamp::now()))
    }

    /// The marker in a stream's configuration, if it has one.
    pub fn of(config: &RawValue) -> Option<RestoreMarker> {
        #[derive(Deserialize)]
        struct Config {
            #[serde(default)]
            metadata: Option<BTreeMap<String, String>>,
        }
        let config: Config = serde_json::from_str(config.get()).ok()?;
        config.metadata?.remove(RESTORING).map(RestoreMarker)
    }

    /// The configuration with this marker. All else stays the server's own text.
    ///
    /// # Errors
    /// Where it is no JSON object, or its metadata is none.
    pub fn put(&self, config: &RawValue) -> Result<Box<RawValue>, serde_json::Error> {
        replaced(config, Some(to_raw_value(&self.0)?))
    }

    /// The configuration without any marker.
    ///
    /// # Errors
    /// As [`RestoreMarker::put`].
    pub fn removed(config: &RawValue) -> Result<Box<RawValue>, serde_json::Error> {
        match RestoreMarker::of(config) {
            Some(_) => replaced(config, None),
            None => Ok(config.to_owned()),
        }
    }

    /// Whether somebody wrote to the stream after this restore had begun. `last` is the time of its last message, and
    /// restored messages are older. If this is not known, the answer is yes.
    pub fn is_older_than(&self, last: &str) -> bool {
        let begun = self.0.split(' ').next().and_then(|time| time.parse::<Timestamp>().ok());
        match (begun, last.parse::<Timestamp>()) {
            (Some(begun), Ok(last)) => begun < last,
            _ => true,
        }
    }
}

impl fmt::Display for RestoreMarker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn replaced(config: &RawValue, value: Option<Box<RawValue>>) -> Result<Box<RawValue>, serde_json::Error> {
    let mut config: Object = serde_json::from_str(config.get())?;
    let mut metadata: Object = match config.get("metadata") {
        Some(metadata) => serde_json::from_str::<Option<Object>>(metadata.get())?.unwrap_or_default(),
        None => Object::new(),
    };
    match value {
        Some(value) => drop(metadata.insert(RESTORING.into(), value)),
        None => drop(metadata.remove(RESTORING)),
    }
    match metadata.is_empty() {
        true => drop(config.remove("metadata")),
        false => drop(config.insert("metadata".into(), to_raw_value(&metadata)?)),
    }
    to_raw_value(&config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_mark_comes_and_goes_and_leaves_the_rest_as_it_was() {
        let marker = RestoreMarker::new("A");
        for (before, after) in [
            (r#"{"name":"S","x":1.10}"#, r#"{"name":"S","x":1.10}"#),
            (r#"{"metadata":null,"x":1.10}"#, r#"{"x":1.10}"#),
            (
                r#"{"metadata":{"a":"b","c":"\u00e4"},"x":[ 1 ]}"#,
                r#"{"metadata":{"a":"b","c":"\u00e4"},"x":[ 1 ]}"#,
            ),
        ] {
            assert_eq!(RestoreMarker::of(&raw(before)), None, "{before}");
            assert_eq!(RestoreMarker::removed(&raw(before)).unwrap().get(), before);
            let marked = marker.put(&raw(before)).unwrap();
            assert_eq!(RestoreMarker::of(&marked), Some(marker.clone()), "{before}");
            assert_eq!(RestoreMarker::removed(&marked).unwrap().get(), after);
        }
        let other = RestoreMarker::new("B").put(&marker.put(&raw("{}")).unwrap()).unwrap();
        assert_ne!(RestoreMarker::of(&other), Some(marker));
        assert!(RestoreMarker::new("A").put(&raw("[]")).is_err());
    }

    #[test]
    fn what_is_written_later_is_told_from_what_was_restored() {
        let marker = RestoreMarker("2026-11-25T10:00:00Z abc".into());
        assert!(!marker.is_older_than("0001-01-01T00:00:00Z"));
        assert!(!marker.is_older_than("2026-11-25T09:59:59.999999999Z"));
        assert!(marker.is_older_than("2026-11-25T10:00:00.000000001Z"));
        assert!(
            marker.is_older_than("") && RestoreMarker("today".into()).is_older_than("0001-01-01T00:00:00Z")
        );
    }
}
