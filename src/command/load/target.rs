//! Changes a stream's configuration for the destination: replicas, placement, and settings that must go. Pure: a function
//! of JSON. Except for the fields that change, the configuration stays the server's own text.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::restoring::Request;
use crate::description::{BadDescription, Description};
use crate::names::StreamName;
use crate::release::{STREAM_SETTINGS, Setting};
use crate::settings;

/// A `backup.json` that cannot be restored.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadBackup {
    #[error("its backup.json is not a stream's config and state: {0}")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Description(#[from] BadDescription),
    #[error("its backup.json describes stream {0}")]
    OtherStream(crate::names::Printable),
}

/// The options that change every stream.
#[derive(Clone, Copy)]
pub(super) struct TargetOptions<'a> {
    /// The replicas that the destination shall have; none leaves the archive's.
    pub replicas: Option<u32>,
    /// Whether the stream goes to the servers that its configuration asks for.
    pub placement: bool,
    /// The settings that may go.
    pub dropped: &'a [String],
}

/// The properties of the restored stream that matter when it is compared with the archive.
#[derive(Clone, Debug, Default)]
pub(super) struct Traits {
    /// Replicas in the archive.
    pub replicas_before: u32,
    /// Replicas asked for.
    pub replicas: u32,
    /// Messages may have grown too old since the dump.
    pub may_expire: bool,
    /// The stream lives in memory.
    pub in_memory: bool,
    /// It takes messages from other streams.
    pub has_sources: bool,
    /// Where it was to be placed is left out.
    pub unplaced: bool,
    /// The settings that were left out.
    pub dropped: Vec<String>,
    /// The subjects that it stores.
    pub subjects: Vec<String>,
    /// It has storage reserved for it.
    pub reserves: bool,
    /// The settings it asks for that not every server knows.
    pub newer: Vec<&'static Setting>,
}

/// What is to be asked of the server for `stream`.
pub(super) fn request(
    stream: &StreamName,
    backup_json: &[u8],
    wanted: TargetOptions,
) -> Result<(Request, Traits), BadBackup> {
    let TargetOptions { replicas, placement, dropped } = wanted;
    let Description { config, state, settings: described, reported } = Description::from_json(backup_json)?;
    let mut config: RawConfig = serde_json::from_str(config.get())?;
    let dropped = drop_settings(&mut config, dropped)?;
    let text = |key: &str| config.get(key).and_then(|v| serde_json::from_str::<String>(v.get()).ok());
    let number = |key: &str| config.get(key).and_then(|v| serde_json::from_str::<u64>(v.get()).ok());
    if let Some(name) = text("name").filter(|name| name != stream.as_str()) {
        return Err(BadBackup::OtherStream(crate::names::Printable::new(&name)));
    }
    let before = number("num_replicas").and_then(|n| u32::try_from(n).ok()).unwrap_or(1).max(1);
    let flag = |key: &str| config.get(key).is_some_and(|v| v.get() == "true");
    let traits = Traits {
        replicas_before: before,
        replicas: replicas.unwrap_or(before),
        may_expire: number("max_age").is_some_and(|ns| ns > 0) || flag("allow_msg_ttl"),
        in_memory: text("storage").as_deref() == Some("memory"),
        has_sources: config.get("sources").is_some_and(|v| !matches!(v.get(), "null" | "[]")),
        unplaced: !placement && config.get("placement").is_some_and(|v| v.get() != "null"),
        dropped,
        subjects: config.get("subjects").and_then(|v| serde_json::from_str(v.get()).ok()).unwrap_or_default(),
        reserves: number("max_bytes").is_some_and(|bytes| bytes > 0),
        newer: settings::asked_for(&parsed(&config)?, &STREAM_SETTINGS),
    };
    if !placement {
        config.remove("placement");
    }
    if traits.replicas != before {
        config.insert("num_replicas".into(), to_raw_value(&traits.replicas)?);
    }
    let config = to_raw_value(&config)?;
    Ok((Request { config, state, reported, described: Some(described) }, traits))
}

type RawConfig = BTreeMap<String, Box<RawValue>>;

fn parsed(config: &RawConfig) -> Result<settings::Config, serde_json::Error> {
    config.iter().map(|(name, value)| Ok((name.clone(), serde_json::from_str(value.get())?))).collect()
}

/// Takes the settings away that may go, and gives those that meant something. All others stay as they are
/// written.
///
/// What servers wrote into the metadata goes too: a server before 2.11 keeps the API level that is noted there, and
/// a later one would take the stream to need it still.
fn drop_settings(config: &mut RawConfig, names: &[String]) -> Result<Vec<String>, serde_json::Error> {
    let before = parsed(config)?;
    let mut after = before.clone();
    let dropped: Vec<_> = names.iter().filter(|name| settings::remove(&mut after, name)).cloned().collect();
    if dropped.is_empty() {
        return Ok(dropped);
    }
    if let Some(metadata) = after.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|key, _| !key.starts_with(settings::SERVERS_METADATA));
    }
    for (name, was) in &before {
        match after.get(name) {
            None => drop(config.remove(name)),
            Some(is) if is != was => drop(config.insert(name.clone(), to_raw_value(is)?)),
            Some(_) => {}
        }
    }
    Ok(dropped)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: TargetOptions = TargetOptions { replicas: None, placement: true, dropped: &[] };

    #[test]
    fn only_the_replicas_change_and_nothing_is_forgotten() {
        let stream = StreamName::new("EVT").unwrap();
        let json = br#"{"config":{"name":"EVT","num_replicas":3,"max_age":0,
            "from_the_future":{"x":18446744073709551615,"y":1.10}},"state":{"messages":2}}"#;
        let (request, traits) =
            super::request(&stream, json, TargetOptions { replicas: Some(1), ..WANTED }).unwrap();
        assert_eq!((traits.replicas_before, traits.replicas, traits.may_expire), (3, 1, false));
        assert!(request.config.get().contains(r#""from_the_future":{"x":18446744073709551615,"y":1.10}"#));
        assert!(request.config.get().contains(r#""num_replicas":1"#));
        assert_eq!(request.state.get(), r#"{"messages":2}"#);
        assert_eq!(super::request(&stream, json, WANTED).unwrap().1.replicas, 3);
    }

    #[test]
    fn placement_goes_only_where_it_is_not_wanted() {
        let stream = StreamName::new("EVT").unwrap();
        let json = br#"{"config":{"name":"EVT","placement":{"cluster":"c","tags":["ssd"]},"x":1},"state":{"messages":2}}"#;
        let (kept, traits) = super::request(&stream, json, WANTED).unwrap();
        assert!(
            kept.config.get().contains(r#""placement":{"cluster":"c","tags":["ssd"]}"#) && !traits.unplaced
        );
        let (dropped, traits) =
            super::request(&stream, json, TargetOptions { placement: false, ..WANTED }).unwrap();
        assert!(!dropped.config.get().contains("placement") && traits.unplaced);
        assert!(dropped.config.get().contains(r#""x":1"#));
        let json = br#"{"config":{"name":"EVT"},"state":{"messages":2}}"#;
        assert!(
            !super::request(&stream, json, TargetOptions { placement: false, ..WANTED }).unwrap().1.unplaced
        );
    }

    #[test]
    fn a_setting_goes_only_where_it_may_and_takes_the_noted_level_along() {
        let stream = StreamName::new("EVT").unwrap();
        let json =
            br#"{"config":{"name":"EVT","allow_atomic":true,"x":1.10,"allow_batched":true,"sealed":false,
            "metadata":{"a":"b","_nats.req.level":"4"}},"state":{}}"#;
        let (_, traits) = super::request(&stream, json, WANTED).unwrap();
        let newer: Vec<_> = traits.newer.iter().map(|setting| setting.name).collect();
        assert_eq!((newer, traits.dropped.len()), (vec!["allow_atomic", "allow_batched"], 0));
        let names = ["allow_atomic", "sealed", "nothing"].map(String::from);
        let (request, traits) =
            super::request(&stream, json, TargetOptions { dropped: &names, ..WANTED }).unwrap();
        assert_eq!((traits.dropped, traits.newer.len()), (vec!["allow_atomic".to_string()], 1));
        let config = request.config.get();
        assert!(!config.contains("allow_atomic") && !config.contains("_nats"), "{config}");
        assert!(config.contains(r#""x":1.10"#) && config.contains(r#""metadata":{"a":"b"}"#), "{config}");
        assert!(config.contains(r#""allow_batched":true"#), "{config}");
    }

    #[test]
    fn another_streams_description_is_refused() {
        let stream = StreamName::new("EVT").unwrap();
        let json = br#"{"config":{"name":"OTHER"},"state":{}}"#;
        assert!(matches!(super::request(&stream, json, WANTED), Err(BadBackup::OtherStream(_))));
    }
}
