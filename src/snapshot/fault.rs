//! The faults of a snapshot, and their places. Knows no format.

use std::fmt;
use std::io;

use crate::names::Printable;

/// Why a snapshot is not whole. The texts name no stream: whoever asked knows which one it was.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The bytes end before the snapshot does.
    #[error("the snapshot is cut off {0}")]
    Cut(Place),
    /// The bytes are not what a server wrote.
    #[error("the snapshot is damaged: {what} {place}")]
    Damaged {
        /// What is wrong.
        what: &'static str,
        /// Where it was noticed.
        place: Place,
    },
    /// The server gave up in the middle and left its reason in the snapshot (`errors.txt`).
    #[error("the server could not finish the snapshot: {0}")]
    Reported(Printable),
    /// Nothing says that it is damaged, but it is beyond what this program reads.
    #[error("the snapshot cannot be checked: {what} {place}")]
    Unsupported {
        /// What is not supported.
        what: &'static str,
        /// Where it was met.
        place: Place,
    },
    /// The input itself failed; says nothing about the snapshot.
    #[error("cannot read the snapshot")]
    Io(#[from] io::Error),
}

/// A place in a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// Bytes of the snapshot's decompressed content before it.
    pub offset: u64,
    /// Bytes of the snapshot as it travels (compressed) up to the end of the frame that was read last.
    pub compressed: u64,
    /// The entry that was being read, when one was.
    pub entry: Option<Printable>,
    /// The message that was being read, when that is known.
    pub sequence: Option<u64>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {} of its content (compressed byte {})", self.offset, self.compressed)?;
        if let Some(entry) = &self.entry {
            write!(f, ", in \"{entry}\"")?;
        }
        if let Some(sequence) = self.sequence {
            write!(f, ", message {sequence}")?;
        }
        Ok(())
    }
}
