//! What a reader gives: one entry of an archive after the other, and what stood at its end.

use std::io::Read;

use super::reader::Body;
use super::{Index, Manifest};
use crate::names::StreamName;

/// Whose archive it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Ours: the index first, the sums last.
    Ours,
    /// That of `chatto backup`, or ours as another tar packed it again.
    Chatto,
    /// An export of encryption keys: `keys.json` and no streams.
    Keys,
}

/// One entry of an archive. Directories are not among them.
#[derive(Debug)]
pub enum Entry<'a, R: Read> {
    /// What is coming.
    Index(Index),
    /// What came. In an archive of `chatto backup` it may come before the streams.
    Manifest(Manifest),
    /// The server's `{"config","state"}` of a stream, raw.
    Backup {
        /// Whose it is.
        stream: StreamName,
        /// Which attempt's, if the snapshot is in parts.
        attempt: Option<u32>,
        /// The bytes; at most [`MAX_BACKUP_JSON`](super::MAX_BACKUP_JSON).
        json: Vec<u8>,
    },
    /// A snapshot in one piece. In an archive that is not ours it may come before its [`Entry::Backup`].
    Snapshot {
        /// Whose it is.
        stream: StreamName,
        /// What it is called: `stream.tar.s2` or `stream.arc.s2`.
        file: &'static str,
        /// How many bytes `body` has.
        size: u64,
        /// The snapshot.
        body: Body<'a, R>,
    },
    /// A file of a stream with nothing in it, in an archive that is not ours: `chatto backup` leaves an empty
    /// `backup.json` and an empty snapshot of a stream that failed. Whether its manifest says so is for the caller to
    /// see.
    Empty {
        /// Whose it is.
        stream: StreamName,
        /// What it is called: `backup.json`, or as a snapshot is.
        file: &'static str,
    },
    /// A part of a snapshot. Parts come in order, without gaps and with nothing of another stream between
    /// them, after their attempt's [`Entry::Backup`].
    Part {
        /// Whose it is.
        stream: StreamName,
        /// Which attempt's.
        attempt: u32,
        /// Which part, from 1.
        number: u32,
        /// How many bytes `body` has.
        size: u64,
        /// The part.
        body: Body<'a, R>,
    },
    /// The attempt whose parts came last does not count.
    Abandoned {
        /// Whose it is.
        stream: StreamName,
        /// Which attempt.
        attempt: u32,
        /// Why; from outside, so print it through [`Printable`](crate::names::Printable).
        reason: String,
    },
    /// A file that is not part of the format, to be ignored.
    Other {
        /// Its path below the top-level directory; from outside, so print it through [`Printable`](crate::names::Printable).
        path: String,
        /// How many bytes `body` has.
        size: u64,
        /// Its content.
        body: Body<'a, R>,
    },
    /// The sums, which were compared with all that came before.
    Sums {
        /// How many files they list.
        files: u64,
    },
}

/// What stood at the end of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Whose archive it is.
    pub layout: Layout,
    /// Whether it had `SHA256SUMS`, every file agreed with it, and no file that it lists was missing.
    pub sums: bool,
    /// Files and directories.
    pub entries: u64,
    /// The bytes of all files together.
    pub bytes: u64,
}
