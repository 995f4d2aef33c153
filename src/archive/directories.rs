//! The tar of a directory of `nats account backup` or `nats stream backup`, in any order and at any depth.
//!
//! Source: the public NATS command line tool and its library jsm.go, which write for each stream a directory
//! with these files:
//!
//! | file | what |
//! |---|---|
//! | `backup.json` | `{"config","state"}`, which names the stream |
//! | `stream.tar.s2` | the snapshot; of servers from 2.15 on newer tools call it `stream.arc.s2` |
//!
//! Archives of `chatto backup` have the same files, so they are read too. Other files are passed over.

use std::io::{self, Read};

use super::member::Members;
use super::{Error, MAX_BACKUP_JSON, MAX_ENTRY, MAX_FOREIGN_ENTRIES, MAX_FOREIGN_TOTAL};

/// A file of a stream. `directory` is the path that its two files share; from outside.
#[derive(Debug)]
pub enum Found<'a, R: Read> {
    /// The description of a stream.
    Backup {
        /// Where it lies.
        directory: String,
        /// Its bytes; at most [`MAX_BACKUP_JSON`].
        json: Vec<u8>,
    },
    /// A snapshot.
    Snapshot {
        /// Where it lies.
        directory: String,
        /// How many bytes `body` has.
        size: u64,
        /// The snapshot.
        body: Content<'a, R>,
    },
}

/// Reads such a tar.
pub struct Directories<R: Read> {
    members: Members<R>,
    entries: u64,
    bytes: u64,
}

impl<R: Read> Directories<R> {
    /// Reads a tar from `input`. Nothing is read yet.
    pub fn new(input: R) -> Self {
        Directories { members: Members::new(input), entries: 0, bytes: 0 }
    }

    /// The next file of a stream; none at the end of a sound tar, when the input has been read to its end.
    ///
    /// # Errors
    /// Everything in [`Error`] but [`Error::Newer`].
    #[allow(clippy::should_implement_trait)] // an iterator could not lend the body
    pub fn next(&mut self) -> Result<Option<Found<'_, R>>, Error> {
        loop {
            io::copy(&mut Content(self), &mut io::sink())?;
            let Some(member) = self.members.next()? else { return Ok(None) };
            self.entries = self.entries.saturating_add(1);
            self.bytes = self.bytes.saturating_add(member.size);
            if self.entries > MAX_FOREIGN_ENTRIES || self.bytes > MAX_FOREIGN_TOTAL || member.size > MAX_ENTRY
            {
                return Err(Error::not_safe(
                    &member.path,
                    format!(
                        "more than {MAX_FOREIGN_ENTRIES} entries or {MAX_FOREIGN_TOTAL} bytes, or too large"
                    ),
                ));
            }
            let (directory, file) = member.path.rsplit_once('/').unwrap_or(("", &member.path));
            let directory = directory.to_owned();
            match file {
                _ if member.directory => {}
                "backup.json" => {
                    if member.size > MAX_BACKUP_JSON {
                        let what = format!("{} bytes of JSON, more than {MAX_BACKUP_JSON}", member.size);
                        return Err(Error::not_safe(&member.path, what));
                    }
                    let mut json = Vec::new();
                    Content(self).read_to_end(&mut json)?;
                    return Ok(Some(Found::Backup { directory, json }));
                }
                "stream.tar.s2" | "stream.arc.s2" => {
                    return Ok(Some(Found::Snapshot { directory, size: member.size, body: Content(self) }));
                }
                _ => {}
            }
        }
    }
}

/// The content of a file. Its errors are [`Error`]s inside of [`io::Error`]s.
pub struct Content<'a, R: Read>(&'a mut Directories<R>);

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(self.0.members.read(buffer)?)
    }
}

impl<R: Read> std::fmt::Debug for Content<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Content({} bytes left)", self.0.members.left())
    }
}
