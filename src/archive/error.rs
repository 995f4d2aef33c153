//! The errors of an archive. Every message names the entry, and every name in it is safe to print.

use std::io;

use crate::names::Printable;

/// Why an archive was not read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The input is something else. `what` says what it looks like.
    #[error("not an archive: {what}")]
    NotAnArchive {
        /// What the input looks like.
        what: String,
    },
    /// The input is a tar of a directory that `nats backup account` or `nats backup stream` made, which
    /// [`NatsBackupTar`](super::NatsBackupTar) reads.
    #[error("not an archive: it is a tar of a directory of nats backup account or nats backup stream")]
    NatsBackup,
    /// The input is an export of encryption keys, as it is or in a tar.
    #[error("the input is an export of encryption keys, and no archive of streams")]
    Keys,
    /// The input is an archive of ours, where a tar of such a directory was asked for.
    #[error("the input is an archive already")]
    Archive,
    /// The input ended before the archive did.
    #[error("the archive is cut short {place}")]
    Truncated {
        /// Where: "after …", "inside …, after N of M bytes".
        place: String,
    },
    /// The bytes are not what was written: a checksum, a sum, an order or a format does not hold.
    #[error("the archive is damaged: {entry}: {what}")]
    Damaged {
        /// Which entry.
        entry: Printable,
        /// What is wrong with it.
        what: String,
    },
    /// An entry that no archive of ours or of `chatto backup` holds, such as a link or a path outside.
    #[error("the archive holds what no backup does: {entry}: {what}")]
    Unsafe {
        /// Which entry.
        entry: Printable,
        /// What is wrong with it.
        what: String,
    },
    /// The format is newer than this program.
    #[error("{entry} is of version {version}: the archive was made by a newer version of these programs")]
    Newer {
        /// Which entry.
        entry: Printable,
        /// The version that it says it has.
        version: u64,
    },
    /// Reading the input failed. The archive may be good.
    #[error("cannot read the archive {place}")]
    Io {
        /// Where: "after …", "inside …, after N of M bytes".
        place: String,
        /// What the input said.
        source: io::Error,
    },
}

impl Error {
    pub(super) fn damaged(entry: impl ToString, what: impl ToString) -> Self {
        Error::Damaged { entry: Printable::new(&entry.to_string()), what: what.to_string() }
    }

    pub(super) fn not_safe(entry: impl ToString, what: impl ToString) -> Self {
        Error::Unsafe { entry: Printable::new(&entry.to_string()), what: what.to_string() }
    }

    pub(super) fn not_an_archive(what: impl ToString) -> Self {
        Error::NotAnArchive { what: what.to_string() }
    }
}

/// A [`super::Body`] is read through [`io::Read`], which can only carry an [`io::Error`]: this takes
/// the archive's own error out of it again, so that `?` keeps the type.
impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.downcast::<Error>() {
            Ok(error) => error,
            Err(source) => Error::Io { place: "somewhere".into(), source },
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Io { source, .. } => source.kind(),
            Error::Truncated { .. } => io::ErrorKind::UnexpectedEof,
            _ => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}
