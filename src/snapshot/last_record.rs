//! The last message of a snapshot: whether it is in the middle of an atomic batch, and whether consumers are ahead of it.
//! Knows no format.
//!
//! A server stores the messages of a batch one after another, so a snapshot may hold only the first ones. Each of them has
//! the header `Nats-Batch-Id`, and the last one also has `Nats-Batch-Commit`. Messages that come from another stream have
//! neither (nats-server, `processJetStreamAtomicBatchMsg` and
//! `processInboundSourceMsg` in `server/stream.go`; tried on 2.12.8, 2.14.5 and 2.15.1). Only the
//! very last sequence is looked at: if the last message of a batch was deleted since, its sequence is still there.
//!
//! A server reads a consumer's state before or after the messages. If messages are stored and delivered meanwhile, the
//! consumer is ahead of the snapshot's last message. After a restore, it would never get the next messages of the stream.

/// How much of a message's headers is kept to find those of a batch in. Servers have no limit of their own
/// below that of a message; what lies further back is not found.
const MAX_HEADERS: usize = 64 << 10;

/// The most consumers that are named as being ahead.
pub const MAX_AHEAD: usize = 1_000;

const BATCH: &[u8] = b"Nats-Batch-Id:";
const COMMIT: &[u8] = b"Nats-Batch-Commit:";

/// The record with the highest sequence so far.
#[derive(Debug, Default)]
pub struct LastRecord {
    sequence: u64,
    /// The headers of the message there, if there is one.
    headers: Vec<u8>,
    /// Whether the current record has the highest sequence.
    is_last: bool,
    ahead: Vec<(String, u64)>,
}

impl LastRecord {
    /// The message with this sequence comes.
    pub fn message(&mut self, sequence: u64) {
        self.is_last = sequence > self.sequence;
        if self.is_last {
            self.sequence = sequence;
            self.headers.clear();
        }
    }

    /// There is no message with this sequence, or none any more.
    pub fn none_at(&mut self, sequence: u64) {
        self.is_last = false;
        if sequence >= self.sequence {
            self.sequence = sequence;
            self.headers.clear();
        }
    }

    /// The next bytes of the message's headers.
    pub fn headers(&mut self, piece: &[u8]) {
        if self.is_last {
            let room = MAX_HEADERS.saturating_sub(self.headers.len());
            self.headers.extend_from_slice(piece.get(..room).unwrap_or(piece));
        }
    }

    /// A consumer has come as far as `sequence` of the stream.
    pub fn consumer(&mut self, name: &str, sequence: u64) {
        if sequence > self.sequence && self.ahead.len() < MAX_AHEAD {
            self.ahead.push((name.to_owned(), sequence));
        }
    }

    /// Whether the snapshot, whose last sequence is `last`, ends with a message of a batch and without the
    /// batch's end.
    pub fn is_within_batch(&self, last: u64) -> bool {
        let has = |name| self.headers.split(|byte| *byte == b'\n').any(|line| line.starts_with(name));
        self.sequence >= last && has(BATCH) && !has(COMMIT)
    }

    /// The consumers that are beyond `last`, [`MAX_AHEAD`] of them at most.
    pub fn ahead(self, last: u64) -> Vec<String> {
        let last = last.max(self.sequence);
        self.ahead.into_iter().filter(|(_, sequence)| *sequence > last).map(|(name, _)| name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBER: &[u8] = b"NATS/1.0\r\nNats-Batch-Id: 7\r\nNats-Batch-Sequence: 2\r\n\r\n";
    const COMMITTED: &[u8] =
        b"NATS/1.0\r\nNats-Batch-Id: 7\r\nNats-Batch-Sequence: 3\r\nNats-Batch-Commit: 1\r\n\r\n";

    fn ending(messages: &[(u64, &[u8])]) -> LastRecord {
        let mut ending = LastRecord::default();
        for (sequence, headers) in messages {
            ending.message(*sequence);
            headers.chunks(5).for_each(|piece| ending.headers(piece));
        }
        ending
    }

    #[test]
    fn a_batch_without_its_commit_is_half_a_batch_only_at_the_very_end() {
        assert!(!ending(&[]).is_within_batch(0));
        assert!(ending(&[(1, b""), (2, MEMBER)]).is_within_batch(2));
        assert!(!ending(&[(2, MEMBER), (3, COMMITTED)]).is_within_batch(3));
        assert!(!ending(&[(2, MEMBER), (3, b"")]).is_within_batch(3));
        // In whichever order they lie.
        assert!(!ending(&[(3, COMMITTED), (2, MEMBER)]).is_within_batch(3));
        // The state says that there was a commit, or something else, which has been deleted since.
        assert!(!ending(&[(2, MEMBER)]).is_within_batch(3));
        let mut deleted = ending(&[(2, MEMBER), (3, COMMITTED)]);
        deleted.none_at(3);
        assert!(!deleted.is_within_batch(3));
    }

    #[test]
    fn consumers_are_held_against_where_the_snapshot_ends_in_the_end() {
        let mut ending = ending(&[(5, b"")]);
        ending.consumer("behind", 4);
        ending.consumer("at", 5);
        ending.consumer("near", 7);
        ending.consumer("far", 9);
        ending.message(7);
        assert_eq!(ending.ahead(5), ["far"]);
    }
}
