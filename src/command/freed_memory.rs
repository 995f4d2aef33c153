//! Makes the C library keep freed memory. Knows nothing of what the memory is for.
//!
//! When the free end of a heap has 128 KiB, glibc gives it back to the system, and takes it again for the next chunk of a
//! snapshot. The kernel then fills every page with zeros and maps it again. That was a fifth of the CPU of a dump of
//! attachments. glibc keeps twice the size of the largest block that was mapped alone and freed (mallopt(3),
//! `M_MMAP_THRESHOLD`). So one such block, which nobody writes to, makes it keep more. With another C library nothing
//! changes.

use std::hint::black_box;

/// The size of that block, in bytes. Blocks from this size on are still mapped by themselves.
const BLOCK: usize = 4 << 20;

/// Has the C library keep what is freed, up to twice [`BLOCK`] at the end of each of its heaps.
pub(super) fn keep() {
    drop(black_box(Vec::<u8>::with_capacity(BLOCK)));
}

#[cfg(test)]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    /// How many pages this thread had to be given so far.
    fn faults() -> u64 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let after_name = stat.rsplit(')').next().unwrap();
        after_name.split_whitespace().nth(7).unwrap().parse().unwrap()
    }

    #[test]
    fn what_is_freed_is_used_again() {
        const CHUNK: usize = 64 << 10;
        const PAGES: u64 = 64 * (CHUNK as u64 >> 12);
        keep();
        let before = faults();
        for round in 1..=10u8 {
            let chunks: Vec<_> = (0..64).map(|_| black_box(vec![round; CHUNK])).collect();
            drop(chunks);
        }
        let given = faults() - before;
        assert!(given < 3 * PAGES, "{given} pages for {PAGES}, ten times");
    }
}
