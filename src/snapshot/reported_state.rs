//! The state that a server reported before it sent a snapshot, and the comparison of a snapshot with it. Knows no snapshot
//! format.

use serde::Deserialize;

use super::contents::Contents;

/// The state in the server's answer to the snapshot request (`backup.json`). Reads a stream's state as servers
/// write it.
///
/// Absent numbers are zero: servers leave zeros out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
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
    /// Where the stream keeps its messages, as the server writes it: `file` or `memory`. The configuration says it.
    #[serde(skip)]
    pub storage: Option<String>,
}

/// What a snapshot lacks of the reported state.
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
