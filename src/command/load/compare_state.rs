//! Compares the state that a server reports after a restore with the verified snapshot. Pure: asks no server.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::names::Printable;
use crate::settings;
use crate::snapshot::Contents;

/// The part of a stream's state that is compared.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct State {
    pub messages: u64,
    pub last_seq: u64,
    pub consumer_count: u64,
}

pub(super) fn parse(state: &RawValue) -> Result<State, String> {
    serde_json::from_str(state.get()).map_err(|e| format!("cannot understand the server's answer: {e}"))
}

/// The settings that were asked for and that the server did not keep, in words.
pub(super) fn lost_settings(asked: &RawValue, given: &RawValue) -> Result<Option<String>, String> {
    let parsed = |config: &RawValue| {
        serde_json::from_str(config.get()).map_err(|e| format!("cannot understand a configuration: {e}"))
    };
    let lost = settings::not_kept(&parsed(asked)?, &parsed(given)?);
    let names: Vec<_> = lost.iter().map(|name| Printable::new(name).to_string()).collect();
    Ok((!names.is_empty()).then(|| format!("the server did not keep its {}", names.join(", "))))
}

/// What the server holds less or otherwise than was proven, in words.
///
/// More is no fault where it can have come since: a stream is open to its publishers the moment it is
/// restored, and a message that expires may leave a marker.
pub(super) fn difference(state: &State, proven: &Contents, may_expire: bool) -> Option<String> {
    let words = |verb: &str, what: String| format!("the server {verb} {what} after the restore");
    differs(state, proven, may_expire, words)
}

/// The same in other words: `found` is given `holds` or `ends at`, and what.
pub(super) fn differs(
    state: &State,
    proven: &Contents,
    may_expire: bool,
    found: impl Fn(&str, String) -> String,
) -> Option<String> {
    let since = state.last_seq.saturating_sub(proven.last_seq);
    let most = proven.messages.max(proven.records).saturating_add(since);
    let fewer = state.messages < proven.messages && !may_expire;
    if fewer || state.messages > most {
        let found = found("holds", format!("{} messages", state.messages));
        return Some(format!("{found}, and the archive {}", proven.messages));
    }
    if state.last_seq < proven.last_seq {
        let found = found("ends at", format!("message {}", state.last_seq));
        return Some(format!("{found}, and the archive at {}", proven.last_seq));
    }
    // Others expire when nobody uses them.
    if state.consumer_count < proven.lasting_consumers {
        let found = found("holds", format!("{} consumers", state.consumer_count));
        return Some(format!("{found}, and the archive {}", proven.lasting_consumers));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(messages: u64, last_seq: u64, consumer_count: u64) -> State {
        State { messages, last_seq, consumer_count }
    }

    #[test]
    fn less_is_a_fault_and_what_came_since_is_none() {
        let proven = Contents {
            messages: 10,
            records: 12,
            last_seq: 20,
            consumers: 4,
            lasting_consumers: 2,
            ..Contents::default()
        };
        for good in [state(10, 20, 2), state(12, 20, 2), state(13, 23, 3)] {
            assert_eq!(difference(&good, &proven, false), None, "{good:?}");
        }
        for bad in [state(9, 20, 2), state(0, 0, 0), state(10, 19, 2), state(10, 20, 1), state(13, 20, 2)] {
            assert!(difference(&bad, &proven, false).is_some(), "{bad:?}");
        }
        assert_eq!(difference(&state(3, 20, 2), &proven, true), None);
        assert!(difference(&state(3, 19, 2), &proven, true).is_some());
    }
}
