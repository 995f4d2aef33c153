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
    pub first_seq: u64,
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

/// Whether the stream is there to its end, and begins before the first sequence that was proven. A server that makes a tar's
/// index anew, or never had one, takes the records of messages that were removed for live ones.
pub(super) fn begins_too_early(state: &State, proven: &Contents) -> bool {
    state.messages > 0 && state.first_seq < proven.first_seq && state.last_seq >= proven.last_seq
}

/// The same in other words: `found` is given `holds`, `begins at` or `ends at`, and what.
pub(super) fn differs(
    state: &State,
    proven: &Contents,
    may_expire: bool,
    found: impl Fn(&str, String) -> String,
) -> Option<String> {
    let since = state.last_seq.saturating_sub(proven.last_seq);
    // Where the snapshot does not say which messages are live, its records are the most.
    let most = proven.messages.saturating_add(proven.unsettled).saturating_add(since);
    let fewer = state.messages < proven.messages && !may_expire;
    if fewer || state.messages > most {
        let found = found("holds", format!("{} messages", state.messages));
        return Some(format!("{found}, and the archive {}", proven.messages));
    }
    if state.last_seq < proven.last_seq {
        let found = found("ends at", format!("message {}", state.last_seq));
        return Some(format!("{found}, and the archive at {}", proven.last_seq));
    }
    if begins_too_early(state, proven) {
        let found = found("begins at", format!("message {}", state.first_seq));
        return Some(format!("{found}, and the archive at {}", proven.first_seq));
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
        State { messages, first_seq: 9, last_seq, consumer_count }
    }

    #[test]
    fn less_is_a_fault_and_what_came_since_is_none() {
        let proven = Contents {
            messages: 10,
            records: 15,
            unsettled: 2,
            first_seq: 9,
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
        let settled = Contents { unsettled: 0, ..proven.clone() };
        assert_eq!(difference(&state(10, 20, 2), &settled, false), None);
        assert!(difference(&state(11, 20, 2), &settled, false).is_some());
        assert_eq!(difference(&state(3, 20, 2), &proven, true), None);
        assert!(difference(&state(3, 19, 2), &proven, true).is_some());
    }

    #[test]
    fn what_lies_before_the_first_sequence_has_come_back() {
        let proven = Contents { messages: 3, records: 11, first_seq: 9, last_seq: 11, ..Contents::default() };
        let begins = |messages, first_seq, last_seq| {
            let state = State { messages, first_seq, last_seq, consumer_count: 0 };
            (begins_too_early(&state, &proven), difference(&state, &proven, true).is_some())
        };
        assert_eq!(begins(3, 9, 11), (false, false));
        // A limit has removed others for them.
        assert_eq!(begins(3, 8, 11), (true, true));
        assert_eq!(begins(11, 1, 12), (true, true));
        // Messages that expired or were acknowledged since.
        assert_eq!(begins(2, 10, 11), (false, false));
        assert_eq!(begins(0, 0, 11), (false, false));
        // A cluster's answer may be early.
        assert_eq!(begins(1, 1, 1), (false, true));
    }
}
