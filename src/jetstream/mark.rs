//! The mark of a restore that is not over: a key in the metadata of the stream's configuration.
//!
//! When a server of 2.15 or later restores a stream from NATSARC1, everybody can see the stream from its first chunk on.
//! If the program that restores it vanishes, the stream stays as it is. A cluster makes a stream at the request, whatever
//! the format, and then keeps an empty one of several replicas (2.14.5 and 2.15.1). So the configuration that is sent
//! with the request carries this mark, and an update after the commit takes it away. A stream with the mark is not
//! whole, and a run finds its own streams by it.
//!
//! 2.15.1 takes that update of streams of every kind: sealed ones, mirrors, those with sources, with limits that
//! are reached, in memory.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};

/// The key.
pub const RESTORING: &str = "chatto-pipes.restoring";

/// The value: when the restore was begun and a text that no other run has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark(String);

type Object = BTreeMap<String, Box<RawValue>>;

impl Mark {
    /// The mark of a run that begins now. `unique` is a text that no other run has.
    pub fn new(unique: &str) -> Mark {
        Mark(format!("{} {unique}", Timestamp::now()))
    }

    /// The mark in a stream's configuration, if it has one.
    pub fn of(config: &RawValue) -> Option<Mark> {
        #[derive(Deserialize)]
        struct Config {
            #[serde(default)]
            metadata: Option<BTreeMap<String, String>>,
        }
        let config: Config = serde_json::from_str(config.get()).ok()?;
        config.metadata?.remove(RESTORING).map(Mark)
    }

    /// The configuration with this mark. All else stays the server's own text.
    ///
    /// # Errors
    /// Where it is no JSON object, or its metadata is none.
    pub fn put(&self, config: &RawValue) -> Result<Box<RawValue>, serde_json::Error> {
        replaced(config, Some(to_raw_value(&self.0)?))
    }

    /// The configuration without any mark.
    ///
    /// # Errors
    /// As [`Mark::put`].
    pub fn removed(config: &RawValue) -> Result<Box<RawValue>, serde_json::Error> {
        match Mark::of(config) {
            Some(_) => replaced(config, None),
            None => Ok(config.to_owned()),
        }
    }

    /// Whether something happened to the stream after this restore had begun, where `last` is the time of its
    /// last message. What is restored is older. Yes where that cannot be told.
    pub fn is_older_than(&self, last: &str) -> bool {
        let begun = self.0.split(' ').next().and_then(|time| time.parse::<Timestamp>().ok());
        match (begun, last.parse::<Timestamp>()) {
            (Some(begun), Ok(last)) => begun < last,
            _ => true,
        }
    }
}

impl fmt::Display for Mark {
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
        let mark = Mark::new("A");
        for (before, after) in [
            (r#"{"name":"S","x":1.10}"#, r#"{"name":"S","x":1.10}"#),
            (r#"{"metadata":null,"x":1.10}"#, r#"{"x":1.10}"#),
            (
                r#"{"metadata":{"a":"b","c":"\u00e4"},"x":[ 1 ]}"#,
                r#"{"metadata":{"a":"b","c":"\u00e4"},"x":[ 1 ]}"#,
            ),
        ] {
            assert_eq!(Mark::of(&raw(before)), None, "{before}");
            assert_eq!(Mark::removed(&raw(before)).unwrap().get(), before);
            let marked = mark.put(&raw(before)).unwrap();
            assert_eq!(Mark::of(&marked), Some(mark.clone()), "{before}");
            assert_eq!(Mark::removed(&marked).unwrap().get(), after);
        }
        let other = Mark::new("B").put(&mark.put(&raw("{}")).unwrap()).unwrap();
        assert_ne!(Mark::of(&other), Some(mark));
        assert!(Mark::new("A").put(&raw("[]")).is_err());
    }

    #[test]
    fn what_is_written_later_is_told_from_what_was_restored() {
        let mark = Mark("2026-11-25T10:00:00Z abc".into());
        assert!(!mark.is_older_than("0001-01-01T00:00:00Z"));
        assert!(!mark.is_older_than("2026-11-25T09:59:59.999999999Z"));
        assert!(mark.is_older_than("2026-11-25T10:00:00.000000001Z"));
        assert!(mark.is_older_than("") && Mark("today".into()).is_older_than("0001-01-01T00:00:00Z"));
    }
}
