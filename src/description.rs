//! A stream's description: its configuration, and its state when the snapshot began. A server sends both with a
//! snapshot, and an archive keeps them as `backup.json`: `{"config": …, "state": …}`.
//!
//! Both are kept as the raw JSON that the server wrote, because every release has fields that this program does not know.
//! The fields that it knows are parsed once, here. Knows neither servers nor archives.

use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::json;
use crate::names::StreamName;
use crate::settings::{self, Config, MAX_VALUES};
use crate::snapshot::ReportedState;

/// A stream's configuration and state.
#[derive(Debug, Clone)]
pub struct Description {
    /// The configuration, as the server wrote it.
    pub config: Box<RawValue>,
    /// The state, as the server wrote it.
    pub state: Box<RawValue>,
    /// The configuration, parsed.
    pub settings: Config,
    /// What a snapshot is compared with.
    pub reported: ReportedState,
}

/// The longest name of a storage, in bytes; a longer one is none that any server knows.
const MAX_STORAGE: usize = 32;

/// A text that is not a stream's config and state. Beside it is what the JSON parser said.
#[derive(Debug, thiserror::Error)]
#[error("backup.json is not a stream's config and state")]
pub struct BadDescription(#[from] pub serde_json::Error);

/// The text itself.
#[derive(Serialize, Deserialize)]
struct Text<C, S> {
    config: C,
    state: S,
}

/// When the first and the last message were stored, as the server writes it; empty where it does not say so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Times {
    /// The first message's time.
    pub first_ts: String,
    /// The last message's time.
    pub last_ts: String,
}

impl Description {
    /// Reads a `backup.json`. Fields that are not known are not looked at.
    pub fn from_json(json: &[u8]) -> Result<Self, BadDescription> {
        let Text { config, state } = serde_json::from_slice(json)?;
        Description::new(config, state)
    }

    /// The description that consists of these two. A configuration has at most [`MAX_VALUES`].
    pub fn new(config: Box<RawValue>, state: Box<RawValue>) -> Result<Self, BadDescription> {
        #[derive(Deserialize)]
        struct Storage {
            storage: Option<String>,
        }
        if !json::has_at_most(MAX_VALUES, config.get().as_bytes()) {
            let many = format!("its config has more than {MAX_VALUES} values");
            return Err(serde_json::Error::custom(many).into());
        }
        let settings = serde_json::from_str(config.get())?;
        let Storage { storage } = serde_json::from_str(config.get())?;
        let storage = storage.filter(|storage| storage.len() <= MAX_STORAGE);
        let reported = ReportedState { storage, ..serde_json::from_str(state.get())? };
        Ok(Description { config, state, settings, reported })
    }

    /// The `backup.json`.
    pub fn to_json(&self) -> Result<Vec<u8>, BadDescription> {
        Ok(serde_json::to_vec(&Text { config: &self.config, state: &self.state })?)
    }

    /// The same `backup.json` with a state that says nothing: what the stream holds is then what its snapshot holds.
    pub fn to_json_without_state(&self) -> Result<Vec<u8>, BadDescription> {
        #[derive(Serialize)]
        struct Nothing {
            messages: u8,
            bytes: u8,
            first_seq: u8,
            first_ts: &'static str,
            last_seq: u8,
            last_ts: &'static str,
            consumer_count: u8,
        }
        // As a server writes a state that has nothing in it.
        const NEVER: &str = "0001-01-01T00:00:00Z";
        let (messages, bytes, first_seq, last_seq, consumer_count) = (0, 0, 0, 0, 0);
        let (first_ts, last_ts) = (NEVER, NEVER);
        let state = Nothing { messages, bytes, first_seq, first_ts, last_seq, last_ts, consumer_count };
        Ok(serde_json::to_vec(&Text { config: &self.config, state })?)
    }

    /// The stream that it names. A directory may be called otherwise.
    pub fn stream(&self) -> Result<StreamName, BadDescription> {
        Ok(serde_json::from_value(self.settings.get("name").cloned().unwrap_or_default())?)
    }

    /// The times in its state.
    pub fn times(&self) -> Result<Times, BadDescription> {
        Ok(serde_json::from_str(self.state.get())?)
    }

    /// The settings that it asks for and that not every release knows, by name.
    pub fn newer_settings(&self) -> Vec<String> {
        settings::newer(&self.settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_needs_a_config_and_a_state_and_nothing_in_them() {
        let raw = br#"{"config":{"name":"A","storage":"file","new":[1]},"new":1,
            "state":{"messages":3,"bytes":9,"first_seq":2,"first_ts":"x","last_seq":7,"num_deleted":3,"consumer_count":1}}"#;
        let description = Description::from_json(raw).unwrap();
        let expected = ReportedState {
            messages: 3,
            first_seq: 2,
            last_seq: 7,
            num_deleted: 3,
            consumer_count: 1,
            storage: Some("file".into()),
        };
        assert_eq!(description.reported, expected);
        assert_eq!(description.stream().unwrap().as_str(), "A");
        assert_eq!(description.times().unwrap(), Times { first_ts: "x".into(), last_ts: String::new() });
        let empty = Description::from_json(br#"{"config":{},"state":{}}"#).unwrap();
        assert_eq!(empty.reported, ReportedState::default());
        assert!(empty.stream().is_err());
        let long = format!(r#"{{"config":{{"storage":"{}"}},"state":{{}}}}"#, "x".repeat(MAX_STORAGE + 1));
        assert_eq!(Description::from_json(long.as_bytes()).unwrap().reported.storage, None);
        for bad in [
            "",
            "{}",
            "[]",
            r#"{"config":{}}"#,
            r#"{"config":[],"state":{}}"#,
            r#"{"config":{},"state":{"messages":-1}}"#,
        ] {
            assert!(Description::from_json(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_config_has_a_bound_and_a_state_has_none() {
        let read = |config: usize, state: usize| {
            let list = |n: usize| format!("[0{}]", ",0".repeat(n));
            let json =
                format!(r#"{{"config":{{"new":{}}},"state":{{"new":{}}}}}"#, list(config), list(state));
            Description::from_json(json.as_bytes())
        };
        assert!(read(MAX_VALUES - 2, 2 * MAX_VALUES).is_ok());
        let BadDescription(error) = read(MAX_VALUES - 1, 0).unwrap_err();
        assert_eq!(error.to_string(), "its config has more than 16384 values");
    }

    #[test]
    fn what_the_server_wrote_is_carried_as_it_is() {
        let raw = r#"{"config":{"name":"A","new":{"x":18446744073709551615,"y":1.10}},"state":{"messages":3, "z": 1e2}}"#;
        let written = Description::from_json(raw.as_bytes()).unwrap().to_json().unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), raw);
    }
}
