//! Which program wrote an archive, and what is known of the archive at its end. Reads nothing itself.

/// Which program wrote an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Ours: the index first, the sums last.
    Ours,
    /// That of `chatto backup`, or ours after another tar program has packed it again.
    Chatto,
    /// An export of encryption keys: `keys.json` and no streams.
    Keys,
}

/// What is known of an archive when it has been read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchiveEnd {
    /// Which program wrote it.
    pub layout: Layout,
    /// Whether it had `SHA256SUMS`, every file agreed with it, and no file that it lists was missing.
    pub sums: bool,
    /// Files and directories.
    pub entries: u64,
    /// The bytes of all files together.
    pub bytes: u64,
}
