//! Whose archive it is, and what stood at its end.

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
