//! What a server promised before it sent a snapshot, read leniently from its raw JSON, and what a
//! snapshot turned out to hold. Knows no snapshot format.

use serde::Deserialize;

use super::Contents;

/// What the server said in its answer to the snapshot request (`backup.json`).
///
/// Absent numbers are zero: servers leave zeros out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReportedState {
    /// Messages in the stream.
    pub messages: u64,
    /// The first sequence; one more than the last in a stream that was emptied.
    pub first_seq: u64,
    /// The last sequence.
    pub last_seq: u64,
    /// Sequences between them that hold no message.
    pub num_deleted: u64,
    /// Consumers of the stream, those in memory too, whether or not they were asked for.
    pub consumer_count: u64,
    /// Where the stream keeps its messages, as the server writes it: `file` or `memory`.
    pub storage: Option<String>,
}

/// A `backup.json` that is not what a server writes.
#[derive(Debug, thiserror::Error)]
#[error("backup.json is not a stream's config and state")]
pub struct BadReportedState(#[from] serde_json::Error);

/// A snapshot that holds less than was promised.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Shortfall {
    /// Messages are missing.
    #[error(
        "the snapshot holds {held} messages, and the server promised {promised} (a server of 2.15 leaves out \
         what is replaced or removed while it sends: try again when less is written)"
    )]
    Messages {
        /// Messages in the snapshot.
        held: u64,
        /// Messages in the reported state.
        promised: u64,
    },
    /// The snapshot ends at an earlier message.
    #[error("the snapshot ends at message {held}, and the server promised {promised}")]
    Last {
        /// The last sequence in the snapshot.
        held: u64,
        /// The last sequence in the reported state.
        promised: u64,
    },
}

impl ReportedState {
    /// Reads the raw `{"config": …, "state": …}`; what it does not know it ignores.
    pub fn from_backup_json(raw: &[u8]) -> Result<Self, BadReportedState> {
        #[derive(Deserialize)]
        struct Backup {
            config: Config,
            state: State,
        }
        #[derive(Deserialize)]
        struct Config {
            storage: Option<String>,
        }
        let Backup { config, state } = serde_json::from_slice(raw)?;
        let State { messages, first_seq, last_seq, num_deleted, consumer_count } = state;
        Ok(ReportedState {
            messages,
            first_seq,
            last_seq,
            num_deleted,
            consumer_count,
            storage: config.storage,
        })
    }
}

/// A stream's state as servers write it, the part that counts.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct State {
    pub messages: u64,
    pub first_seq: u64,
    pub last_seq: u64,
    pub num_deleted: u64,
    pub consumer_count: u64,
}

impl Contents {
    /// Whether the content keeps the reported state. A stream that grew meanwhile may hold more, never less.
    ///
    /// Less is not always damage: a server of 2.15 or later leaves out what was overwritten or trimmed while it
    /// sent the snapshot, without the newer message in its place. A key-value bucket in use loses keys that way,
    /// so the answer is another attempt all the same.
    ///
    /// Consumers are not compared: a reported state counts those that live in memory, and those that nobody
    /// asked for. That none is missing follows from the snapshot's end having been read.
    pub fn agrees_with(&self, reported: &ReportedState) -> Result<(), Shortfall> {
        if self.messages < reported.messages {
            return Err(Shortfall::Messages { held: self.messages, promised: reported.messages });
        }
        if reported.messages > 0 && self.last_seq < reported.last_seq {
            return Err(Shortfall::Last { held: self.last_seq, promised: reported.last_seq });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_needs_a_config_and_a_state_and_nothing_in_them() {
        let raw = br#"{"config":{"name":"A","storage":"file","new":[1]},"new":1,
            "state":{"messages":3,"bytes":9,"first_seq":2,"first_ts":"x","last_seq":7,"num_deleted":3,"consumer_count":1}}"#;
        let reported = ReportedState::from_backup_json(raw).unwrap();
        let expected = ReportedState {
            messages: 3,
            first_seq: 2,
            last_seq: 7,
            num_deleted: 3,
            consumer_count: 1,
            storage: Some("file".into()),
        };
        assert_eq!(reported, expected);
        assert_eq!(
            ReportedState::from_backup_json(br#"{"config":{},"state":{}}"#).unwrap(),
            ReportedState::default()
        );
        for bad in ["", "{}", "[]", r#"{"config":{}}"#, r#"{"config":{},"state":{"messages":-1}}"#] {
            assert!(ReportedState::from_backup_json(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn more_is_a_stream_that_grew_and_less_is_loss() {
        let reported = ReportedState { messages: 5, first_seq: 1, last_seq: 9, ..ReportedState::default() };
        let held = |messages, last_seq| Contents { messages, last_seq, ..Contents::default() };
        assert_eq!(held(5, 9).agrees_with(&reported), Ok(()));
        assert_eq!(held(6, 10).agrees_with(&reported), Ok(()));
        let less = held(4, 9).agrees_with(&reported);
        assert_eq!(less, Err(Shortfall::Messages { held: 4, promised: 5 }));
        let sooner = held(5, 8).agrees_with(&reported);
        assert_eq!(sooner, Err(Shortfall::Last { held: 8, promised: 9 }));
    }
}
