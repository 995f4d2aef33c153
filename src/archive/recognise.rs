//! Finds the reader for a tar by its first file. That reader still gets the tar from its beginning.

use std::io::{self, Cursor, Read};

use super::member::Members;
use super::nats_backup::is_nats_backup_file;
use super::{NatsBackupTar, Reader};

/// The most bytes that are read for the first file: 500 directories before it.
const MAX_HEAD: usize = 256 << 10;

/// A tar from its beginning, with the reader that it needs.
pub enum Tar<R: Read> {
    /// For [`Reader`]: an archive, or something that it refuses.
    Archive(Replay<R>),
    /// A tar of directories of `nats backup account` or `nats backup stream`.
    NatsBackup(NatsBackupTar<Replay<R>>),
}

/// Looks at the first file of the tar in `input`.
pub fn recognise<R: Read>(input: R) -> Tar<R> {
    let mut head = Head { input, seen: Vec::new(), failed: None };
    let mut members = Members::new(&mut head);
    let first = loop {
        match members.next() {
            Ok(Some(member)) if member.directory => {}
            Ok(Some(member)) => break Some(member.path),
            // The reader says what is wrong.
            Ok(None) | Err(_) => break None,
        }
    };
    let Head { input, seen, failed } = head;
    let replay = Replay { seen: Cursor::new(seen), failed, input };
    match first {
        Some(path) if is_nats_backup_file(&path) => Tar::NatsBackup(NatsBackupTar::new(replay)),
        _ => Tar::Archive(replay),
    }
}

impl<R: Read> Tar<R> {
    /// A reader for an archive, which refuses anything else.
    pub fn archive(self) -> Result<Reader<Replay<R>>, super::Error> {
        match self {
            Tar::Archive(input) => Ok(Reader::new(input)),
            Tar::NatsBackup(_) => Err(super::Error::NatsBackup),
        }
    }
}

/// Keeps the beginning of an input while it is read.
struct Head<R> {
    input: R,
    seen: Vec<u8>,
    failed: Option<io::Error>,
}

impl<R: Read> Read for Head<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = MAX_HEAD.saturating_sub(self.seen.len()).min(buffer.len());
        let Some(buffer) = buffer.get_mut(..most).filter(|buffer| !buffer.is_empty()) else {
            return Err(io::Error::other("no file within the head"));
        };
        match self.input.read(buffer) {
            Ok(got) => {
                self.seen.extend_from_slice(buffer.get(..got).unwrap_or_default());
                Ok(got)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let kind = error.kind();
                self.failed = Some(error);
                Err(kind.into())
            }
        }
    }
}

/// An input whose beginning was read already. It is read again from that beginning.
pub struct Replay<R> {
    seen: Cursor<Vec<u8>>,
    /// What the input said then; it may not say it twice.
    failed: Option<io::Error>,
    input: R,
}

impl<R: Read> Read for Replay<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.seen.read(buffer)? {
            0 => self.failed.take().map_or_else(|| self.input.read(buffer), Err),
            got => Ok(got),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Error;
    use super::*;
    use crate::tar_header::build;

    fn tar(paths: &[&str]) -> Vec<u8> {
        let headers = paths.iter().flat_map(|path| build(path, 0, 0).unwrap());
        headers.chain([0; 1024]).collect()
    }

    #[test]
    fn the_first_file_tells_and_every_byte_is_read_again() {
        for (paths, directories) in [
            (&["account/", "account/EVT/", "account/EVT/backup.json"][..], true),
            (&["EVT/stream.tar.s2"], true),
            (&["./", "./backup.json"], true),
            (&["streams/EVT/stream.arc.s2"], true),
            (&["backup/", "backup/index.json", "backup/streams/EVT/backup.json"], false),
            (&["backup/streams/EVT/attempt-1/backup.json"], false),
            (&["backup/streams/EVT/stream.tar.s2"], false),
            (&["account/notes", "account/EVT/backup.json"], false),
            (&[], false),
        ] {
            let tar = tar(paths);
            let mut again = Vec::new();
            match recognise(tar.as_slice()) {
                Tar::Archive(mut input) if !directories => drop(input.read_to_end(&mut again).unwrap()),
                Tar::NatsBackup(mut found) if directories => {
                    assert!(found.next().unwrap().is_some());
                    again.clone_from(&tar);
                }
                _ => panic!("{paths:?}"),
            }
            assert!(again == tar, "{paths:?}");
        }
    }

    #[test]
    fn what_does_not_end_is_not_read_on_and_what_failed_fails_again() {
        let Tar::Archive(mut zeros) = recognise(io::repeat(0)) else { panic!() };
        assert!(zeros.seen.get_ref().len() <= MAX_HEAD);
        zeros.read_exact(&mut vec![1; 2 * MAX_HEAD]).unwrap();

        struct Once(bool);
        impl Read for Once {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                if std::mem::replace(&mut self.0, true) { Ok(0) } else { Err(io::Error::other("on fire")) }
            }
        }
        let Tar::Archive(input) = recognise(Once(false)) else { panic!() };
        let error = Reader::new(input).finish().unwrap_err();
        assert!(matches!(error, Error::Io { source, .. } if source.to_string() == "on fire"));
    }
}
