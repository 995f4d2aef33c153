//! What the configurations of a snapshot's consumers say together. Knows no format.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A threshold from here on is longer than a restore takes, in ns: a day.
const LONG: i64 = 24 * 3600 * 1_000_000_000;

/// Names the settings of a consumer's configuration (JSON) that not every server knows.
pub type Newer = fn(&[u8]) -> Vec<&'static str>;

/// The consumers so far.
#[derive(Debug, Default)]
pub struct Consumers {
    /// How many there are.
    pub count: u64,
    /// How many of them are still there after a restore that nobody has used them in.
    pub lasting: u64,
    /// What was named of them, each with the first consumer that it was named of.
    pub newer: BTreeMap<&'static str, String>,
    look: Option<Newer>,
}

impl Consumers {
    /// None so far. `look` looks at each configuration.
    pub fn new(look: Option<Newer>) -> Self {
        Consumers { look, ..Consumers::default() }
    }

    /// Adds one.
    pub fn add(&mut self, name: &str, config: &[u8]) {
        self.count = self.count.saturating_add(1);
        self.lasting = self.lasting.saturating_add(stays(config).into());
        for setting in self.look.map(|look| look(config)).unwrap_or_default() {
            self.newer.entry(setting).or_insert_with(|| name.to_owned());
        }
    }
}

/// Whether a consumer stays for a day when nobody uses it. A server removes one after its `inactive_threshold`;
/// without a threshold a durable one stays for ever, and another one for some 5 s (nats-server,
/// `server/consumer.go`, `updateInactiveThreshold`).
fn stays(config: &[u8]) -> bool {
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
        let mut consumers = Consumers::new(Some(|_| vec!["pause_until"]));
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
    }
}
