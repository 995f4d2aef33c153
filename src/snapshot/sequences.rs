//! Sets of sequences, of which a stream may have hundreds of millions. Their memory has a bound. Knows no format.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use roaring::{RoaringBitmap, RoaringTreemap};

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

/// A set that is mostly filled in ascending order: runs are collected before they are inserted. It has a `RoaringBitmap` for
/// each upper half of a sequence, because what a `RoaringTreemap` does with a part of the set costs as much as the whole.
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
    pub fn count(&self, first: u64, last: u64) -> u64 {
        let maps = self.maps.range(split(first).0..=split(last).0);
        maps.map(|(upper, map)| map.range_cardinality(part(*upper, first, last))).sum()
    }

    /// The sequences between these two, both included.
    pub fn within(&self, first: u64, last: u64) -> impl Iterator<Item = u64> {
        let maps = self.maps.range(split(first).0..=split(last.max(first)).0);
        let maps = maps.filter(move |_| first <= last);
        maps.flat_map(move |(upper, map)| {
            let upper = *upper;
            map.range(part(upper, first, last)).map(move |lower| u64::from(upper) << 32 | u64::from(lower))
        })
    }

    /// The same as a `RoaringTreemap`, which costs no memory.
    pub fn into_set(mut self) -> RoaringTreemap {
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

    #[test]
    fn a_set_may_reach_across_the_halves_of_a_sequence() {
        let around = [1, 2, (1 << 32) - 2, (1 << 32) - 1, 1 << 32, (1 << 32) + 1, 3 << 32, u64::MAX];
        let mut set = Sequences::default();
        around.iter().for_each(|sequence| set.insert(*sequence).unwrap());
        set.flush();
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
}
