//! The programs: one file each, that reads like the DESCRIPTION of its man page and joins the rooms
//! that know nothing of one another.

pub mod dump;
pub mod keys;
pub mod load;
pub mod manifest;

mod offline;
mod proof;
mod report;
mod secrets;
mod session;

pub use report::{Failure, main};

/// Makes large blocks that are freed stay with the program, for the next chunk. Left alone, glibc gives each of
/// 128 KiB or more back to the system and takes a new one, page by page: a fifth of the work of a dump. It stops
/// doing so for blocks up to the largest one that it ever gave back, see `M_MMAP_THRESHOLD` in mallopt(3); other
/// C libraries do not care.
fn keep_freed_memory() {
    /// Larger than any block that comes and goes with the data, in bytes.
    const LARGEST: usize = 16 << 20;
    drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGEST)));
}
