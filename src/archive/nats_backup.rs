//! Reads a tar of a directory of `nats backup account` or `nats backup stream`, in any order and at any depth. Knows no
//! snapshot format.
//!
//! Source: the public NATS command line tool and its library jsm.go, which write for each stream a directory
//! with these files:
//!
//! | file | what |
//! |---|---|
//! | `backup.json` | `{"config","state"}`, which names the stream |
//! | `stream.tar.s2` | the snapshot; newer tools call it `stream.arc.s2` if the server is 2.15 or later |
//!
//! Archives of `chatto backup` have the same files, so they are read too. Other files are skipped.

use std::io::{self, Read};

use super::member::Members;
use super::name::{SNAPSHOTS, snapshot};
use super::{Error, MAX_BACKUP_JSON, MAX_ENTRY, MAX_FOREIGN_ENTRIES, MAX_FOREIGN_TOTAL, MAX_OTHER_PATHS};

/// A file of a stream. `directory` is the path that its two files share; from outside.
#[derive(Debug)]
pub enum NatsBackupFile<'a, R: Read> {
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
        /// What it is called there.
        file: &'static str,
        /// How many bytes `body` has.
        size: u64,
        /// The snapshot.
        body: Content<'a, R>,
    },
}

/// Reads such a tar.
pub struct NatsBackupTar<R: Read> {
    members: Members<R>,
    /// Whether a file has come.
    begun: bool,
    entries: u64,
    bytes: u64,
    /// The bytes of the directories' paths, which callers keep.
    paths: usize,
}

impl<R: Read> NatsBackupTar<R> {
    /// Reads a tar from `input`. Nothing is read yet.
    pub fn new(input: R) -> Self {
        NatsBackupTar { members: Members::new(input), begun: false, entries: 0, bytes: 0, paths: 0 }
    }

    /// The next file of a stream; none at the end of a sound tar, when the input has been read to its end.
    ///
    /// # Errors
    /// Everything in [`Error`] but [`Error::Newer`] and [`Error::NatsBackup`].
    #[allow(clippy::should_implement_trait)] // an iterator could not lend the body
    pub fn next(&mut self) -> Result<Option<NatsBackupFile<'_, R>>, Error> {
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
            if !member.directory && !std::mem::replace(&mut self.begun, true) && begins_ours(&member.path) {
                return Err(Error::Archive);
            }
            let (directory, file) = member.path.rsplit_once('/').unwrap_or(("", &member.path));
            let directory = directory.to_owned();
            self.paths = self.paths.saturating_add(directory.len());
            if self.paths > MAX_OTHER_PATHS {
                let what = format!("with it, the paths have more than {MAX_OTHER_PATHS} bytes together");
                return Err(Error::not_safe(&member.path, what));
            }
            match file {
                _ if member.directory => {}
                "backup.json" => {
                    if member.size > MAX_BACKUP_JSON {
                        let what = format!("{} bytes of JSON, more than {MAX_BACKUP_JSON}", member.size);
                        return Err(Error::not_safe(&member.path, what));
                    }
                    let mut json = Vec::new();
                    Content(self).read_to_end(&mut json)?;
                    return Ok(Some(NatsBackupFile::Backup { directory, json }));
                }
                _ => {
                    if let Some(file) = snapshot(file) {
                        let size = member.size;
                        return Ok(Some(NatsBackupFile::Snapshot {
                            directory,
                            file,
                            size,
                            body: Content(self),
                        }));
                    }
                }
            }
        }
    }
}

/// Whether the file at `path` is one that such a directory has, and not at the place where an archive has it.
pub(super) fn is_nats_backup_file(path: &str) -> bool {
    let parts: Vec<_> = path.split('/').collect();
    let in_archive = parts.len() > 3 && parts.get(1) == Some(&"streams");
    !in_archive && parts.last().is_some_and(|file| *file == "backup.json" || SNAPSHOTS.contains(file))
}

/// Whether an archive of ours has its first file at `path`.
fn begins_ours(path: &str) -> bool {
    path.split_once('/').is_some_and(|(_, below)| below == "index.json")
}

/// The content of a file. Its errors are [`Error`]s inside of [`io::Error`]s.
pub struct Content<'a, R: Read>(&'a mut NatsBackupTar<R>);

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
