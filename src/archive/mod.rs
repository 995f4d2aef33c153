//! The archive of chatto-archive(5): a plain POSIX tar of JetStream snapshots that can be written
//! and read in one pass, through a pipe, in constant memory.
//!
//! Knows no NATS, no snapshot format, and neither compression nor encryption. `name` has the layout, and `ledger` has the
//! rules of which entry may follow which. [`Writer`] and [`Reader`] share both, so the writer cannot write what the reader
//! refuses.
//!
//! Every document and every list has its own limit, in bytes and in items: the constants of `limits`. The size in a header
//! is checked before anything is read, and items are counted before they are kept. So nothing that exceeds a limit is held
//! in memory. Together the limits keep a reader below 96 MiB, whatever the archive.
//!
//! The reader believes nothing, because anybody may have made the archive. It promises two things of an archive that it has
//! read to the end ([`Reader::finish`]): the archive had an end, and every byte that has a sum agreed with it.

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
pub use layout::{ArchiveEnd, Layout};
pub use limits::{
    MAX_ABANDONED_JSON, MAX_ATTEMPTS, MAX_BACKUP_JSON, MAX_EDITS, MAX_ENTRIES, MAX_ENTRY, MAX_FAULTS,
    MAX_FOREIGN_ENTRIES, MAX_FOREIGN_TOTAL, MAX_LIST_JSON, MAX_LIST_VALUES, MAX_OPTIONS, MAX_OTHER_PATHS,
    MAX_OTHERS, MAX_PATH, MAX_PAX, MAX_STREAMS, MAX_SUMS, PART_SIZE, SMALL_PARTS,
};
pub use manifest::{EditRecord, Manifest, ManifestStream, SourceServer, Stats, StreamKind};
pub use nats_backup::{Content, NatsBackupFile, NatsBackupTar};
pub use reader::{Body, Entry, JoinedSnapshot, Reader};
pub use recognise::{Replay, Tar, recognise};
pub use writer::{Writer, write_keys};
