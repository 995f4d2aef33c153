//! Which messages a snapshot holds: records, tombstones and the server's index together. Knows no format.
//!
//! The number of records is not the number of messages. If a limit (`max_msgs`, `max_age`, `max_msgs_per_subject`, …) removed
//! a message, its record stays in the block, without any mark, until the block is compacted. If a user removed it, the record
//! stays too, and a tombstone somewhere later says so. The server's own index says which messages are live. So the records
//! are kept as a set, and the index is compared with it: every message that is live in the index must have its record.

use std::ops::RangeInclusive;

use roaring::RoaringTreemap;

use super::last_record::LastRecord;
use super::message_sum::MessageSum;
use super::reported_state::ReportedState;
use super::sequences::{Sequences, TooScattered};

/// The messages in the blocks.
#[derive(Debug, Default)]
pub struct Tally {
    records: Sequences,
    tombstones: Sequences,
    last: u64,
    /// Records of messages that are not live in the index, if the caller wants them.
    dead: Option<Sequences>,
    /// The index has said which records are dead, up to this sequence.
    told: u64,
    /// Over all messages that have a record.
    pub sum: MessageSum,
    /// The last record of the blocks.
    pub ending: LastRecord,
}

/// The messages in a server's index, compared with the records.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct IndexedMessages {
    /// Messages of the whole stream.
    pub messages: u64,
    /// The first sequence of the whole stream.
    pub first: u64,
    /// The last sequence of the whole stream.
    pub last: u64,
    /// Messages that are live by the index and whose records are in the snapshot.
    pub present: u64,
}

impl IndexedMessages {
    /// Whether the stream is the same in the index as when the snapshot began. Otherwise a message that is not live
    /// by the index may have been so then, and what has replaced it is not in the snapshot.
    pub fn is_quiet(&self, reported: &ReportedState) -> bool {
        (self.messages, self.first, self.last) == (reported.messages, reported.first_seq, reported.last_seq)
    }
}

/// The number of messages in a snapshot, and their sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageCount {
    /// Live messages.
    pub messages: u64,
    /// Messages with a record and no tombstone.
    pub records: u64,
    /// The first sequence.
    pub first: u64,
    /// The last sequence.
    pub last: u64,
}

impl MessageCount {
    /// Sequences without a message, as servers count them: none in a stream without messages.
    pub fn deleted(&self) -> u64 {
        match self.last.checked_sub(self.first) {
            Some(span) if span > 0 => (span + 1).saturating_sub(self.messages),
            _ => 0,
        }
    }
}

impl Tally {
    /// Of nothing so far; messages will be added to `sum`.
    pub fn new(sum: MessageSum) -> Self {
        Tally { sum, ..Tally::default() }
    }

    /// The same for somebody who wants to know which records are [dead](Tally::dead).
    pub fn noting_dead(mut self) -> Self {
        self.dead = Some(Sequences::default());
        self
    }

    /// A message's record.
    pub fn message(&mut self, sequence: u64) -> Result<(), TooScattered> {
        self.last = self.last.max(sequence);
        self.records.insert(sequence)
    }

    /// The record of a deletion.
    pub fn tombstone(&mut self, sequence: u64) -> Result<(), TooScattered> {
        self.last = self.last.max(sequence);
        self.tombstones.insert(sequence)
    }

    /// A record that was erased, or written to skip a sequence.
    pub fn gone(&mut self, sequence: u64) {
        self.last = self.last.max(sequence);
    }

    /// Holds one block of an index against the records: `range` without `deleted` is live. Sequences
    /// after the last one captured are those of a stream that grew meanwhile, and do not count.
    /// Returns how many messages are live and here, or the first that is live and not here.
    pub fn hold(&mut self, range: RangeInclusive<u64>, deleted: &Sequences) -> Result<u64, u64> {
        self.records.flush();
        let records = &self.records;
        let (first, last) = (*range.start().max(&1), *range.end().min(&self.last));
        if first > last {
            return Ok(0);
        }
        if let Some(dead) = &mut self.dead {
            // What lies before a block and after the one before it is in neither.
            let between = records.within(self.told.saturating_add(1), first.saturating_sub(1));
            let within = deleted.within(first, last).filter(|sequence| records.contains(*sequence));
            for sequence in between.chain(within) {
                dead.insert(sequence).map_err(|_| sequence)?;
            }
            self.told = self.told.max(last);
        }
        // A deleted message may still have its record. A message with a record that is not deleted is live.
        let (mut gone, mut kept) = (0, 0);
        for sequence in deleted.within(first, last) {
            gone += 1;
            kept += u64::from(records.contains(sequence));
        }
        let live = last - first + 1 - gone;
        let here = records.count(first, last) - kept;
        if here == live {
            return Ok(live);
        }
        let missing = (first..=last).find(|seq| !records.contains(*seq) && !deleted.contains(*seq));
        Err(missing.unwrap_or(first))
    }

    /// Once an index was held against all records: those of messages that are not live by it.
    pub fn dead(&mut self, index: &IndexedMessages) -> Sequences {
        let mut dead = self.dead.take().unwrap_or_default();
        let rest = self.records.within(self.told.saturating_add(1), index.last.min(self.last));
        rest.for_each(|sequence| drop(dead.insert(sequence)));
        dead.flush();
        dead
    }

    /// Counts, with the index where there is one and the reported state where neither index nor records
    /// can tell.
    pub fn count(self, index: Option<&IndexedMessages>, reported: &ReportedState) -> MessageCount {
        // In place: a copy of scattered sequences would double the memory.
        let undeleted = self.records.into_set() - self.tombstones.into_set();
        let records = undeleted.len();
        let Some(index) = index else {
            return without_index(&undeleted, self.last, reported);
        };
        if index.is_quiet(reported) {
            return MessageCount {
                messages: index.present,
                records: records.max(index.present),
                first: index.first,
                last: index.last,
            };
        }
        let most = records - undeleted.rank(reported.first_seq.saturating_sub(1));
        // The stream changed between reported state, blocks and index. The index knows of deletions that came
        // after the blocks were read, and the records include messages that were deleted
        // before: the truth lies between.
        MessageCount {
            messages: reported.messages.clamp(index.present, most.max(index.present)),
            records: records.max(index.present),
            first: reported.first_seq.min(index.first),
            last: self.last,
        }
    }
}

/// What somebody counts who finds `messages` in blocks that end at `last`, without an index, and was promised `reported`.
pub fn count_without_index(messages: Sequences, last: u64, reported: &ReportedState) -> MessageCount {
    without_index(&messages.into_set(), last, reported)
}

/// Counts without an index: what is new since the reported state is surely there, and the rest is as promised, as far
/// as there are records for it.
fn without_index(undeleted: &RoaringTreemap, last: u64, reported: &ReportedState) -> MessageCount {
    let records = undeleted.len();
    // What was promised does not lie before the first sequence that was.
    let most = records - undeleted.rank(reported.first_seq.saturating_sub(1));
    let new = (records - undeleted.rank(reported.last_seq)).min(most);
    let last = if reported.messages == 0 { last.max(reported.last_seq) } else { last };
    let first = match reported.first_seq {
        0 if last > 0 => undeleted.min().unwrap_or(last.saturating_add(1)),
        promised => promised,
    };
    MessageCount { messages: reported.messages.clamp(new, most), records, first, last }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deleted(sequences: &[u64]) -> Sequences {
        let mut set = Sequences::default();
        sequences.iter().for_each(|sequence| set.insert(*sequence).unwrap());
        set.flush();
        set
    }

    #[test]
    fn an_index_block_is_held_within_its_range_and_what_was_captured() {
        let mut tally = Tally::default();
        for sequence in [3, 4, 6, 8] {
            tally.message(sequence).unwrap();
        }
        tally.gone(9);
        assert_eq!(tally.hold(3..=4, &deleted(&[])), Ok(2));
        assert_eq!(tally.hold(3..=8, &deleted(&[5, 7])), Ok(4));
        assert_eq!(tally.hold(3..=8, &deleted(&[4, 5, 7])), Ok(3));
        assert_eq!(tally.hold(4..=8, &deleted(&[1, 3, 5, 7, 100])), Ok(3));
        assert_eq!(tally.hold(8..=u64::MAX, &deleted(&[9])), Ok(1));
        assert_eq!(tally.hold(10..=20, &deleted(&[])), Ok(0));
        assert_eq!(tally.hold(RangeInclusive::new(7, 6), &deleted(&[])), Ok(0), "an emptied block");
        assert_eq!(tally.hold(3..=8, &deleted(&[5])), Err(7));
        assert_eq!(tally.hold(0..=4, &deleted(&[])), Err(1));
    }
}
