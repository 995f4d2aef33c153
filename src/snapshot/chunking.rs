//! Chunking of rsyncable snapshots: decides where blocks and frames begin, so that unchanged messages are the same bytes in
//! every dump. Knows no format.
//!
//! A cut depends only on a message's sequence and length, never on what came before. So if messages are added or deleted,
//! only the cuts next to them move, and a program that looks for known pieces finds all the others. A hash scatters the
//! sequence over 64 bits. A message of n bytes has the chance n / mean length to be a cut.
//!
//! The checksum of a record covers the number of its block, so the numbers must not depend on what came before either. They
//! ascend, and each one is rounded up to a multiple of a power of two. The number of zeros at the end of the scattered
//! sequence at the cut decides which power. So if there are some blocks more or fewer before, the numbers are the same again
//! some blocks later. If messages are small, the sequences decide the numbers, so a stream that loses messages at its
//! beginning keeps the numbers of the others. A server accepts any numbers that ascend.

/// The mean length of a block, in bytes. The last block grows from dump to dump, and its length comes before it. So if a
/// stream has grown, about one block changes. Smaller blocks mean more files in a restored stream, and more parts in an
/// archive.
const BLOCK: u64 = 512 << 10;

/// The mean length of a frame, in bytes.
const FRAME: u64 = 64 << 10;

/// The most binary zeros at the end of a rounded number.
const MAX_ZEROS: u32 = 16;

/// The number of a block is at least its sequence divided by this. A smaller divisor would make the numbers of more streams
/// higher, and for some requests a server goes through all numbers.
const SEQUENCES: u64 = 64;

/// A gap of at most so many sequences is searched for a cut. A larger gap always has one.
const MAX_GAP: u64 = 1 << 12;

/// Different factors for the hash, so that the cuts of blocks and frames and the numbers are independent.
const BLOCKS: u64 = 0x9e37_79b9_7f4a_7c15;
const FRAMES: u64 = 0xc2b2_ae3d_27d4_eb4f;
const NUMBERS: u64 = 0x1656_67b1_9e37_79f9;

/// The sequence at which a block begins, after the message `before` and up to the message `sequence`, whose record has `len`
/// bytes. The first message of the block may have been deleted; the block still begins at its sequence.
pub fn block(before: u64, sequence: u64, len: u32) -> Option<u64> {
    let from = before.saturating_add(1);
    if sequence.saturating_sub(from) > MAX_GAP {
        return Some(sequence);
    }
    (from..=sequence).find(|sequence| chosen(*sequence, BLOCKS, len, BLOCK))
}

/// Whether a frame ends behind the message `sequence`, which has a record of `len` bytes.
pub fn frame(sequence: u64, len: u32) -> bool {
    chosen(sequence, FRAMES, len, FRAME)
}

/// The number, `least` or higher, of the block that begins at `cut`.
pub fn number(least: u32, cut: u64) -> Option<u32> {
    let least = u32::try_from(cut / SEQUENCES).map_or(least, |by_sequence| by_sequence.max(least));
    least.checked_next_multiple_of(1 << scattered(cut, NUMBERS).trailing_zeros().min(MAX_ZEROS))
}

fn chosen(sequence: u64, with: u64, len: u32, mean: u64) -> bool {
    scattered(sequence, with) < (u64::MAX / mean).saturating_mul(len.into())
}

/// The finaliser of SplitMix64.
fn scattered(sequence: u64, with: u64) -> u64 {
    let mut mixed = sequence.wrapping_mul(with).wrapping_add(with);
    for (shift, factor) in [(30, 0xbf58_476d_1ce4_e5b9), (27, 0x94d0_49bb_1331_11eb)] {
        mixed = (mixed ^ mixed >> shift).wrapping_mul(factor);
    }
    mixed ^ mixed >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_and_frames_have_their_mean_length_whatever_the_messages() {
        for len in [100_u32, 5_000, 140_000] {
            let bytes = 2_000 * BLOCK;
            let messages = bytes / u64::from(len);
            let blocks = (1..=messages).filter(|n| block(n - 1, *n, len).is_some()).count() as u64;
            assert!((BLOCK * 9 / 10..BLOCK * 11 / 10).contains(&(bytes / blocks)), "{len}: {blocks}");
            let frames = (1..=messages).filter(|n| frame(*n, len)).count() as u64;
            let mean = FRAME.max(len.into());
            assert!((mean * 9 / 10..mean * 11 / 10).contains(&(bytes / frames)), "{len}: {frames}");
        }
    }

    #[test]
    fn a_block_begins_where_it_did_when_its_first_message_is_gone() {
        let cut = (1..).find(|n| block(n - 1, *n, 1_000).is_some()).unwrap();
        assert_eq!(block(cut - 1, cut + 1, 1_000), Some(cut));
        assert_eq!(block(1, 1 << 40, 1), Some(1 << 40));
    }

    #[test]
    fn numbers_ascend_and_are_soon_the_same_whatever_came_before() {
        let numbers = |skipped: u64| {
            let mut next = 1;
            let all = (skipped..2_000).map(|cut| {
                let number = number(next, cut * 7).unwrap();
                assert!(number >= next);
                next = number + 1;
                number
            });
            all.collect::<Vec<_>>()
        };
        let all = numbers(0);
        assert!((6_000..12_000).contains(all.last().unwrap()), "{:?}", all.last());
        for skipped in 1..50 {
            let alike = all.iter().skip(skipped).zip(&numbers(skipped as u64)).position(|(a, b)| a == b);
            assert!(alike.unwrap() < 20 + 5 * skipped, "{skipped}: {alike:?}");
        }
        assert_eq!(number(9, SEQUENCES * 100), number(100, SEQUENCES * 100));
        assert_eq!((0..100).filter_map(|cut| number(u32::MAX, cut)).max(), Some(u32::MAX));
        assert!((0..100).any(|cut| number(u32::MAX, cut).is_none()), "there is no higher one");
    }
}
