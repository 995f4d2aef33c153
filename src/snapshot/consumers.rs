//! Collects facts from the configurations of a snapshot's consumers. Knows no format.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A threshold from here on is longer than a restore takes, in ns: a day.
const LONG: i64 = 24 * 3600 * 1_000_000_000;

/// The most memory that the names of one snapshot's consumers may take, in bytes.
pub const MAX_NAMES: usize = 8 << 20;

/// Names the settings of a consumer's configuration (JSON) that not every server knows.
pub type NewerSettings = fn(&[u8]) -> Vec<&'static str>;

/// The consumers so far.
#[derive(Debug, Default)]
pub struct Consumers {
    /// How many there are.
    pub count: u64,
    /// How many of them are still there after a restore that nobody has used them in.
    pub lasting: u64,
    /// What was named of them, each with the first consumer that it was named of.
    pub newer: BTreeMap<&'static str, String>,
    /// The names of all. None where nobody wants them, or where they take more than [`MAX_NAMES`].
    pub names: Option<Vec<String>>,
    names_bytes: usize,
    newer_settings: Option<NewerSettings>,
}

impl Consumers {
    /// None so far. `names` says whether names are wanted.
    pub fn new(newer_settings: Option<NewerSettings>, names: bool) -> Self {
        Consumers { newer_settings, names: names.then(Vec::new), ..Consumers::default() }
    }

    /// Adds one. Gives the sequence at which it is configured to begin, zero where it is not.
    pub fn add(&mut self, name: &str, config: &[u8]) -> u64 {
        if let Some(names) = &mut self.names {
            self.names_bytes += name.len() + size_of::<String>();
            names.push(name.to_owned());
        }
        if self.names_bytes > MAX_NAMES {
            self.names = None;
        }
        self.count = self.count.saturating_add(1);
        self.lasting = self.lasting.saturating_add(stays(config).into());
        for setting in self.newer_settings.map(|name| name(config)).unwrap_or_default() {
            self.newer.entry(setting).or_insert_with(|| name.to_owned());
        }
        begins(config)
    }
}

/// How far a consumer has come that stands at `reached`: nowhere, while it waits for the sequence at which it
/// is configured to begin.
pub fn reached(reached: u64, begins: u64) -> u64 {
    if reached < begins { 0 } else { reached }
}

/// The sequence at which a consumer is configured to begin, zero where it is not.
pub(super) fn begins(config: &[u8]) -> u64 {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Begins {
        opt_start_seq: u64,
    }
    serde_json::from_slice::<Begins>(config).unwrap_or_default().opt_start_seq
}

/// Whether a consumer stays for a day when nobody uses it. A server removes one after its `inactive_threshold`;
/// without a threshold a durable one stays for ever, and another one for some 5 s (nats-server,
/// `server/consumer.go`, `updateInactiveThreshold`).
pub(super) fn stays(config: &[u8]) -> bool {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Config {
        durable_name: String,
        inactive_threshold: i64,
    }
    let Config { durable_name, inactive_threshold } = serde_json::from_slice(config).unwrap_or_default();
    match inactive_threshold {
        ..=0 => !durable_name.is_empty(),
        threshold => threshold >= LONG,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_stays_unless_its_threshold_is_short() {
        let mut consumers = Consumers::new(Some(|_| vec!["pause_until"]), true);
        for (config, lasting) in [
            (r#"{"name":"a","inactive_threshold":5000000000}"#, 0),
            (r#"{"durable_name":"b","ack_policy":"explicit"}"#, 1),
            (r#"{"durable_name":"c","inactive_threshold":1}"#, 1),
            (r#"{"name":"d"}"#, 1),
            (r#"{"name":"e","inactive_threshold":86400000000000}"#, 2),
        ] {
            consumers.add(config, config.as_bytes());
            assert_eq!(consumers.lasting, lasting, "{config}");
        }
        assert_eq!(consumers.count, 5);
        assert_eq!(consumers.newer.len(), 1);
        assert_eq!(consumers.names.map(|names| names.len()), Some(5));
    }

    #[test]
    fn a_consumer_that_waits_for_a_sequence_has_come_nowhere() {
        let mut consumers = Consumers::default();
        let begins = consumers.add("late", br#"{"name":"late","opt_start_seq":1000}"#);
        assert_eq!([999, 1000].map(|stands| reached(stands, begins)), [0, 1000]);
        assert_eq!(reached(7, consumers.add("a", b"{}")), 7);
    }
}
