//! The archive of chatto-archive(5): a plain POSIX tar of JetStream snapshots that can be written
//! and read in one pass, through a pipe, in constant memory.
//!
//! Knows no NATS, nothing of what a snapshot holds, and nothing of compression or encryption: bytes
//! in, bytes out. The layout lies in `name`, and the rules of what may follow what in `ledger`, which [`Writer`] and [`Reader`] share, so that the one cannot
//! write what the other refuses.
//!
//! Every file that is read as a document and every list has a bound of its own, in bytes and in items, which
//! are the constants of `limits`. The sizes in headers are looked at before anything is read, and items are counted
//! before they are kept, so what passes a bound is refused and not held. Together they keep a reader below
//! 96 MiB, whatever the archive.
//!
//! The reader believes nothing: it takes archives that anybody may have made. What it promises is that
//! an archive which it read to the end ([`Reader::finish`]) had an end, and that every byte which has a
//! sum agreed with it.

mod digest;
mod error;
mod index;
mod layout;
mod ledger;
mod limits;
mod lists;
mod manifest;
mod member;
mod name;
mod nats_backup;
mod reader;
mod recognise;
mod sha256sums;
mod writer;

#[cfg(test)]
mod tests;

pub use digest::{Digest, HashingReader};
pub use error::Error;
pub use index::{Index, IndexedStream};
pub use layout::{Ended, Layout};
pub use limits::{
    MAX_ABANDONED_JSON, MAX_ATTEMPTS, MAX_BACKUP_JSON, MAX_EDITS, MAX_ENTRIES, MAX_ENTRY, MAX_FAULTS,
    MAX_FOREIGN_ENTRIES, MAX_FOREIGN_TOTAL, MAX_LIST_JSON, MAX_OPTIONS, MAX_OTHER_PATHS, MAX_OTHERS,
    MAX_PATH, MAX_PAX, MAX_STREAMS, MAX_SUMS, PART_SIZE, SMALL_PARTS,
};
pub use manifest::{EditRecord, Manifest, ManifestStream, SourceServer, Stats, StreamKind};
pub use nats_backup::{Content, NatsBackupFile, NatsBackupTar};
pub use reader::{Body, Entry, Joined, Reader};
pub use recognise::{Replay, Tar, recognise};
pub use writer::{Writer, write_keys};
