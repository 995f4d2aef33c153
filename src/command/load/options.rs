//! The options of a load, checked. Knows no archive and no server.

use crate::cli::{Conflict, StreamSelection};
use crate::jetstream::Account;

/// The options of one load.
pub(super) struct LoadOptions {
    pub conflict: Conflict,
    pub select: StreamSelection,
    pub dry_run: bool,
    /// How many small streams are restored at once.
    pub jobs: usize,
    /// The account and its limits. None where they are not checked before the restore.
    pub account: Option<Account>,
    /// The replicas of every restored stream. None leaves the archive's.
    pub replicas: Option<u32>,
    /// Whether every restored stream is captured again and compared with the archive.
    pub read_back: bool,
    /// Whether streams go to the servers that their configuration asks for.
    pub placement: bool,
    /// The settings that restored streams may lose.
    pub dropped: Vec<String>,
}
