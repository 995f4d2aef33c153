//! The limits of every document and every list in an archive, in bytes and in items.

/// The bytes of one part of a snapshot that flows through without its size being known: 8 MiB. Only
/// the last part of an attempt may be smaller.
pub const PART_SIZE: usize = 8 << 20;

/// Up to so many bytes of messages a part of an rsyncable archive ends where the content has it end. These are small
/// parts: some 650,000 in an archive of that size, of the million that it may have. Beyond, parts have their full size.
pub const SMALL_PARTS: u64 = 256 << 30;

/// The most bytes that one entry may have: 64 GiB, which is also what `chatto restore` accepts.
/// Anything larger must travel in parts.
pub const MAX_ENTRY: u64 = 64 << 30;

/// The most bytes of all entries together in an archive that is not ours: 1 TiB, as in `chatto restore`.
pub const MAX_FOREIGN_TOTAL: u64 = 1 << 40;

/// The most entries in an archive that is not ours, as in `chatto restore`.
pub const MAX_FOREIGN_ENTRIES: u64 = 100_000;

/// The most files and directories in an archive of ours (2^20, or 8 TiB of parts). The reader
/// remembers 33 bytes a part: 33 MiB.
pub const MAX_ENTRIES: u64 = 1 << 20;

/// The most streams in an archive: a directory and two files each, the 100,000 entries that `chatto restore`
/// takes.
/// A stream costs at most 600 bytes in the index or manifest and 500 in the ledger, most of them its name:
/// 20 MiB and 16 MiB; with names of 40 bytes it is a third of that.
pub const MAX_STREAMS: usize = 32_768;

/// The most edits that a manifest tells of, the last ones.
pub const MAX_EDITS: usize = 100;

/// The most options that it tells of one edit.
pub const MAX_OPTIONS: usize = 10_000;

/// The most attempts of all streams together. One costs 250 bytes: 8 MiB.
pub const MAX_ATTEMPTS: usize = 32_768;

/// The most files and directories that are none of ours. One costs 130 bytes beside its path: 12 MiB.
pub const MAX_OTHERS: usize = 100_000;

/// The most bytes that their paths may have together.
pub const MAX_OTHER_PATHS: usize = 8 << 20;

/// The most bytes of one stream's `backup.json`. Servers' own have less than 4 KiB; several copies of it
/// are in memory while its stream is restored.
pub const MAX_BACKUP_JSON: u64 = 4 << 20;

/// The most bytes of `index.json` and of `manifest.json`: 500 a stream, where a manifest of ours has 350. Such
/// a list is in memory as text while it is read.
pub const MAX_LIST_JSON: u64 = 16 << 20;

/// The most values in either of them: 30 a stream, and the names of a million consumers of which they say something. An empty
/// name takes 24 bytes in memory, a short one 56.
pub const MAX_LIST_VALUES: usize = 1 << 20;

/// The most bytes of `SHA256SUMS`, which is read line by line.
pub const MAX_SUMS: u64 = 256 << 20;

/// The most bytes of an `abandoned.json`.
pub const MAX_ABANDONED_JSON: u64 = 64 << 10;

/// The most bytes of a PAX extended header.
pub const MAX_PAX: u64 = 64 << 10;

/// The most faults that an audit gathers: a list that a person can still read.
pub const MAX_FAULTS: usize = 1_000;

/// The most bytes of a path, whichever tar extension carries it.
pub const MAX_PATH: u64 = 8 << 10;
