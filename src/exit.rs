//! The exit codes. This enum is their only source. Knows nothing of what leads to them.

use std::process::{ExitCode, Termination};

/// How a program ends. The numbers are a contract with scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// Everything asked for was done: the whole input read, or a whole archive written.
    Done = 0,
    /// Failed.
    Failed = 1,
    /// Usage: nothing was attempted.
    Usage = 2,
    /// Finished, but some streams or keys failed; they are named.
    Partial = 3,
    /// The archive is damaged, truncated, or not an archive.
    Damaged = 4,
    /// The destination already has what would be restored.
    Conflict = 5,
    /// Cannot decrypt: wrong passphrase, no matching identity.
    Locked = 6,
    /// Cannot reach the server, or it refuses us, or has no JetStream.
    Unreachable = 7,
}

impl Exit {
    /// The same in a word.
    pub fn word(self) -> &'static str {
        match self {
            Exit::Done => "done",
            Exit::Failed => "failed",
            Exit::Usage => "usage",
            Exit::Partial => "partial",
            Exit::Damaged => "damaged",
            Exit::Conflict => "conflict",
            Exit::Locked => "locked",
            Exit::Unreachable => "unreachable",
        }
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self as u8)
    }
}
