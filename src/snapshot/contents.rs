//! What a snapshot holds, known after all of it has been read. Reads nothing itself.

use std::collections::BTreeMap;

use super::Format;

/// The contents of a whole snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// The format it is in.
    pub format: Format,
    /// Live messages. Exact, unless the stream changed during the capture: then the reported state decides
    /// between what the server's index and what the records say.
    pub messages: u64,
    /// Messages that a restoring server may find, `messages` or more: those that a limit removed still
    /// have their records, and a server that cannot use the index brings them back until it applies the
    /// limits again.
    pub records: u64,
    /// Of those records, how many may be of live messages or not: the stream changed during the capture, or there is no
    /// index.
    pub unsettled: u64,
    /// The first sequence; one more than the last when there are no messages any more.
    pub first_seq: u64,
    /// The last sequence, whether or not its message is live.
    pub last_seq: u64,
    /// Sequences between first and last without a live message.
    pub deleted: u64,
    /// Consumers.
    pub consumers: u64,
    /// Those of them that a server still has after a restore, also where nobody uses them: no ephemeral ones.
    pub lasting_consumers: u64,
    /// What [`InspectOptions::newer`](super::InspectOptions::newer) said of the consumers, each with the first consumer that it was said of.
    pub newer: BTreeMap<&'static str, String>,
    /// Whether it ends with a message of an atomic batch and without the batch's end.
    pub within_batch: bool,
    /// The names of consumers that stand beyond the last sequence, [`MAX_AHEAD`](super::MAX_AHEAD) at most. Such a consumer
    /// never gets what a restored stream stores next.
    pub ahead: Vec<String>,
    /// The names of all consumers. None where they are not [wanted](super::InspectOptions::names), or are too long together
    /// ([`MAX_NAMES`](super::MAX_NAMES)).
    pub names: Option<Vec<String>>,
    /// A sum over sequence, time, subject, headers and payload of every message, which depends neither on the
    /// format nor on the order in which they lie in it: equal sums, equal messages, as far as accidents go.
    /// None where it was not [wanted](super::InspectOptions::sum), or where the snapshot also holds messages that are not
    /// live, because it says which ones only after they have been read.
    pub sum: Option<u64>,
    /// Bytes of the decompressed content.
    pub bytes: u64,
}

/// The message for a snapshot that ends [within a batch](Contents::within_batch).
pub const HALF_A_BATCH: &str = "it ends within an atomic batch, and the rest of the batch is not in it";
