//! Which messages a snapshot holds, as sets of sequences. Knows no format.
//!
//! The number of records is not the number of messages. If a limit (`max_msgs`, `max_age`, `max_msgs_per_subject`, …) removed
//! a message, its record stays in the block, without any mark, until the block is compacted. If a user removed it, the record
//! stays too, and a tombstone somewhere later says so. The server's own index says which messages are live. So the records
//! are kept as a set, and the index is compared with it: every message that is live in the index must have its record.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use roaring::{RoaringBitmap, RoaringTreemap};

use super::last_record::LastRecord;
use super::message_sum::MessageSum;
use super::reported_state::ReportedState;

/// The most memory that the sets of one snapshot may take, in bytes. Scattered sequences take two bytes
/// each, those in a row a bit each or less: a snapshot that needs more has some hundreds of millions of
/// messages with gaps between them.
pub const MAX_SETS: u64 = 1 << 30;
/// How many changes of the sets lie between two measurements of their memory.
const MEASURE_EVERY: u64 = 1 << 18;
/// The text of the fault if [`MAX_SETS`] is not enough.
pub const TOO_SCATTERED: &str = "its sequences are too scattered to keep in memory";

/// A set needs more memory than it may have.
#[derive(Debug)]
pub struct TooScattered;

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

/// A set that is mostly filled in ascending order: runs are collected before they are inserted. Like
/// a `RoaringTreemap`, whose operations on a part of the set cost as much as the whole of it.
#[derive(Debug)]
pub struct Sequences {
    /// By the upper half of the sequence.
    maps: BTreeMap<u32, RoaringBitmap>,
    run: Option<(u64, u64)>,
    changes: u64,
    bound: u64,
}

impl Default for Sequences {
    fn default() -> Self {
        Sequences::bounded(MAX_SETS / 2)
    }
}

impl Sequences {
    /// Empty, and never larger than about `bound` bytes and what [`MEASURE_EVERY`] changes add to them.
    pub fn bounded(bound: u64) -> Self {
        Sequences { maps: BTreeMap::new(), run: None, changes: 0, bound }
    }

    /// Adds one sequence. The set is to be asked only once it is [flushed](Sequences::flush).
    pub fn insert(&mut self, sequence: u64) -> Result<(), TooScattered> {
        if let Some((_, last)) = &mut self.run
            && last.checked_add(1) == Some(sequence)
        {
            *last = sequence;
            return Ok(());
        }
        self.flush();
        self.run = Some((sequence, sequence));
        self.changes += 1;
        if self.changes.is_multiple_of(MEASURE_EVERY) && self.memory() > self.bound {
            return Err(TooScattered);
        }
        Ok(())
    }

    /// Puts the run that was being collected with the others.
    pub fn flush(&mut self) {
        if let Some((first, last)) = self.run.take() {
            for (upper, lower) in halves(first, last) {
                self.maps.entry(upper).or_default().insert_range(lower);
            }
        }
    }

    /// Takes one sequence away; gives whether it was there.
    pub fn remove(&mut self, sequence: u64) -> bool {
        self.flush();
        let (upper, lower) = split(sequence);
        self.maps.get_mut(&upper).is_some_and(|map| map.remove(lower))
    }

    /// The first one, once the set is [flushed](Sequences::flush).
    pub fn first(&self) -> Option<u64> {
        self.maps.iter().find_map(|(upper, map)| Some(u64::from(*upper) << 32 | u64::from(map.min()?)))
    }

    /// All of them, once the set is [flushed](Sequences::flush).
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        self.within(0, u64::MAX)
    }

    /// How many sequences there are.
    pub(super) fn len(&self) -> u64 {
        self.maps.values().map(RoaringBitmap::len).sum()
    }

    /// Whether it is there, once the set is [flushed](Sequences::flush).
    pub fn contains(&self, sequence: u64) -> bool {
        let (upper, lower) = split(sequence);
        self.maps.get(&upper).is_some_and(|map| map.contains(lower))
    }

    /// How many sequences lie between these two, both included.
    fn count(&self, first: u64, last: u64) -> u64 {
        let maps = self.maps.range(split(first).0..=split(last).0);
        maps.map(|(upper, map)| map.range_cardinality(part(*upper, first, last))).sum()
    }

    /// The sequences between these two, both included.
    fn within(&self, first: u64, last: u64) -> impl Iterator<Item = u64> {
        let maps = self.maps.range(split(first).0..=split(last.max(first)).0);
        let maps = maps.filter(move |_| first <= last);
        maps.flat_map(move |(upper, map)| {
            let upper = *upper;
            map.range(part(upper, first, last)).map(move |lower| u64::from(upper) << 32 | u64::from(lower))
        })
    }

    /// What somebody counts who finds these messages in blocks that end at `last`, and was promised `reported`.
    pub fn counted(self, last: u64, reported: &ReportedState) -> MessageCount {
        without_index(&self.into_set(), last, reported)
    }

    fn into_set(mut self) -> RoaringTreemap {
        self.flush();
        RoaringTreemap::from_bitmaps(self.maps)
    }

    /// About how much memory the set takes, in bytes.
    fn memory(&self) -> u64 {
        const PER_BITMAP: u64 = 128;
        const PER_CONTAINER: u64 = 48;
        const BITSET: u64 = 8 << 10;
        self.maps
            .values()
            .map(|map| {
                let s = map.statistics();
                PER_BITMAP
                    + PER_CONTAINER * u64::from(s.n_containers)
                    + 2 * u64::from(s.n_values_array_containers)
                    + s.n_bytes_run_containers
                    + BITSET * u64::from(s.n_bitset_containers)
            })
            .sum()
    }
}

/// The upper and the lower half of a sequence.
#[allow(clippy::cast_possible_truncation)]
fn split(sequence: u64) -> (u32, u32) {
    ((sequence >> 32) as u32, sequence as u32)
}

/// What of the sequences from `first` to `last` has this upper half, which one of them has.
fn part(upper: u32, first: u64, last: u64) -> RangeInclusive<u32> {
    let from = if split(first).0 == upper { split(first).1 } else { 0 };
    let to = if split(last).0 == upper { split(last).1 } else { u32::MAX };
    from..=to
}

/// The sequences from `first` to `last`, by their upper halves.
fn halves(first: u64, last: u64) -> impl Iterator<Item = (u32, RangeInclusive<u32>)> {
    (split(first).0..=split(last).0).map(move |upper| (upper, part(upper, first, last)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_takes_a_bit_a_message_at_most_and_a_scattered_message_two_bytes() {
        let mut run = Sequences::default();
        for sequence in 1..=1_000_000 {
            run.insert(sequence).unwrap();
        }
        run.flush();
        assert_eq!(run.len(), 1_000_000);
        assert!(run.memory() < 1_100_000 / 8, "{}", run.memory());

        let mut scattered = Sequences::default();
        for sequence in (1..=10_000_000).step_by(100) {
            scattered.insert(sequence).unwrap();
        }
        scattered.flush();
        assert_eq!(scattered.len(), 100_000);
        assert!(scattered.memory() < 250_000, "{}", scattered.memory());
    }

    #[test]
    fn a_set_that_grows_beyond_its_bound_is_refused() {
        let mut set = Sequences::bounded(1 << 20);
        let refused = (0..MEASURE_EVERY).any(|n| set.insert(n << 16).is_err());
        assert!(refused);
    }

    fn deleted(sequences: &[u64]) -> Sequences {
        let mut set = Sequences::default();
        sequences.iter().for_each(|sequence| set.insert(*sequence).unwrap());
        set.flush();
        set
    }

    #[test]
    fn a_set_may_reach_across_the_halves_of_a_sequence() {
        let around = [1, 2, (1 << 32) - 2, (1 << 32) - 1, 1 << 32, (1 << 32) + 1, 3 << 32, u64::MAX];
        let set = deleted(&around);
        assert_eq!(set.len(), around.len() as u64);
        for (n, first) in around.iter().enumerate() {
            for (m, last) in around.iter().enumerate().skip(n) {
                assert_eq!(set.count(*first, *last), (m - n + 1) as u64, "{first} to {last}");
                assert_eq!(set.within(*first, *last).collect::<Vec<_>>(), around[n..=m]);
            }
            assert!(set.contains(*first) && !set.contains(first.wrapping_add(1 << 40)));
        }
        assert_eq!(set.into_set().iter().collect::<Vec<_>>(), around);
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
