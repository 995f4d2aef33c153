//! Keeps a record of the entries that have come: which entry may follow which, and the sum of every file. Reads and writes
//! nothing itself.
//!
//! The reader and the writer use the same ledger, so the writer cannot write what the reader refuses. A sum may come before
//! its file (in an archive that another tar program has packed again) or after it (in ours). In both cases the two are
//! compared here, once. A part takes 33 bytes, whatever its path.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

use super::name::{Name, SNAPSHOTS};
use super::{Digest, MAX_ATTEMPTS, MAX_ENTRIES, MAX_OTHER_PATHS, MAX_OTHERS, MAX_STREAMS};
use crate::names::StreamName;

/// What is known of one file.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum FileSum {
    #[default]
    Unknown,
    /// The file has come, and this is its digest.
    Came(Digest),
    /// `SHA256SUMS` has this digest for it.
    Listed(Digest),
    /// Both are known, and this is the file's own digest. If they differed, that was reported.
    Compared(Digest),
}

impl FileSum {
    /// The digest of the file, if it has come.
    fn of_file(self) -> Option<Digest> {
        match self {
            FileSum::Came(digest) | FileSum::Compared(digest) => Some(digest),
            FileSum::Unknown | FileSum::Listed(_) => None,
        }
    }
}

/// Why an entry may not be where it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LedgerError {
    #[error("comes twice")]
    Twice,
    #[error("SHA256SUMS lists it twice")]
    ListedTwice,
    #[error("SHA256SUMS lists its parts out of order")]
    ListedOutOfOrder,
    #[error("its bytes do not match SHA256SUMS")]
    Mismatch,
    #[error("comes where attempt-{0} should")]
    NotThisAttempt(u32),
    #[error("begins although attempt-{0} was neither finished nor abandoned")]
    NotAbandoned(u32),
    #[error("belongs to an attempt that is not open: it was abandoned, or something else came between")]
    NotOpen,
    #[error("comes where part {0} should: parts are missing or out of order")]
    Gap(u32),
    #[error("the stream comes both in one piece and in parts")]
    BothForms,
    #[error("comes beside {0}, and a stream has one snapshot")]
    BothNames(&'static str),
    #[error("is one stream too many: an archive has at most {MAX_STREAMS}")]
    Streams,
    #[error("is one attempt too many: an archive has at most {MAX_ATTEMPTS}")]
    Attempts,
    #[error("is one entry too many: an archive has at most {MAX_ENTRIES}")]
    Entries,
    #[error("the paths of files that do not belong here have more than {MAX_OTHER_PATHS} bytes")]
    OtherPaths,
    #[error("is one too many of the files that do not belong here: an archive has at most {MAX_OTHERS}")]
    Others,
}

/// One stream: its files and the state of its attempts.
#[derive(Default)]
struct Stream {
    directory: bool,
    backup: FileSum,
    snapshot: FileSum,
    /// The file name of its snapshot in one piece, if it has come.
    file: Option<&'static str>,
    /// Boxed: most streams have one attempt, and a map makes room for eleven.
    attempts: BTreeMap<u32, Box<Attempt>>,
    /// The attempt that came last, 0 before the first.
    last_attempt: u32,
    /// Whether that one was abandoned.
    abandoned: bool,
    /// Whether anything of a snapshot in one piece came.
    whole: bool,
    /// What the manifest says of the snapshot that counts: which attempt it is, if it lies in parts, and its digest.
    stated: Option<(Option<u32>, Digest)>,
}

#[derive(Default)]
struct Attempt {
    directory: bool,
    backup: FileSum,
    parts: Vec<FileSum>,
    abandoned: FileSum,
}

/// The attempt that parts may be added to.
struct OpenAttempt {
    stream: StreamName,
    attempt: u32,
    parts: u32,
}

/// The record of an archive.
#[derive(Default)]
pub(super) struct Ledger {
    streams: BTreeMap<StreamName, Stream>,
    others: BTreeMap<String, FileSum>,
    directories: BTreeSet<String>,
    other_bytes: usize,
    other_paths: usize,
    attempts: usize,
    entries: u64,
    lines: u64,
    open: Option<OpenAttempt>,
}

impl Ledger {
    /// `name` comes next: may it?
    pub fn begin(&mut self, name: &Name) -> Result<(), LedgerError> {
        self.order(name)?;
        let twice = match name {
            Name::Directory(path) => {
                self.other_path(path)?;
                !self.directories.insert(path.clone())
            }
            Name::StreamDirectory(stream) => std::mem::replace(&mut self.stream(stream)?.directory, true),
            Name::AttemptDirectory(stream, attempt) => {
                std::mem::replace(&mut self.attempt(stream, *attempt)?.directory, true)
            }
            file => self.sum(file)?.of_file().is_some(),
        };
        if twice { Err(LedgerError::Twice) } else { Ok(()) }
    }

    /// The file `name`, which has [begun](Self::begin), came to its end.
    pub fn came(&mut self, name: &Name, digest: Digest) -> Result<(), LedgerError> {
        let sum = self.sum(name)?;
        match std::mem::replace(sum, FileSum::Compared(digest)) {
            FileSum::Unknown => *sum = FileSum::Came(digest),
            FileSum::Listed(listed) if listed == digest => {}
            FileSum::Listed(_) => return Err(LedgerError::Mismatch),
            FileSum::Came(_) | FileSum::Compared(_) => return Err(LedgerError::Twice),
        }
        Ok(())
    }

    /// `SHA256SUMS` lists the file `name`.
    pub fn listed(&mut self, name: &Name, digest: Digest) -> Result<(), LedgerError> {
        self.lines = self.lines.saturating_add(1);
        if self.lines > MAX_ENTRIES {
            return Err(LedgerError::Entries);
        }
        let sum = self.sum(name).map_err(|fault| match fault {
            LedgerError::Gap(_) => LedgerError::ListedOutOfOrder,
            other => other,
        })?;
        match *sum {
            FileSum::Unknown => *sum = FileSum::Listed(digest),
            FileSum::Came(came) => {
                *sum = FileSum::Compared(came);
                if came != digest {
                    return Err(LedgerError::Mismatch);
                }
            }
            FileSum::Listed(_) | FileSum::Compared(_) => return Err(LedgerError::ListedTwice),
        }
        Ok(())
    }

    /// The manifest states this digest of a stream's snapshot: of its one entry, or of the parts of an `attempt`.
    pub fn stated(
        &mut self,
        stream: &StreamName,
        attempt: Option<u32>,
        digest: Digest,
    ) -> Result<(), LedgerError> {
        self.stream(stream)?.stated = Some((attempt, digest));
        Ok(())
    }

    /// The streams whose snapshots came with another digest than the manifest states.
    pub fn belied(&self) -> impl Iterator<Item = &StreamName> {
        let belied = |stream: &Stream| {
            let (attempt, stated) = stream.stated?;
            let came = match attempt {
                None => stream.snapshot.of_file(),
                Some(attempt) => stream.attempts.get(&attempt).and_then(|attempt| attempt.digest()),
            };
            came.filter(|came| *came != stated)
        };
        self.streams.iter().filter(move |(_, stream)| belied(stream).is_some()).map(|(name, _)| name)
    }

    /// The digest of the digests of an attempt's parts; none without parts.
    pub fn parts_digest(&self, stream: &StreamName, attempt: u32) -> Option<Digest> {
        self.streams.get(stream)?.attempts.get(&attempt)?.digest()
    }

    /// The files that `SHA256SUMS` lists and that did not come.
    pub fn missing(&self) -> impl Iterator<Item = Name> {
        self.files().filter(|(_, sum)| matches!(sum, FileSum::Listed(_))).map(|(name, _)| name)
    }

    /// The files that came and that `SHA256SUMS` does not list.
    pub fn unlisted(&self) -> impl Iterator<Item = Name> {
        self.digests().map(|(name, _)| name)
    }

    /// Every file that came, with its digest, sorted by stream.
    pub fn digests(&self) -> impl Iterator<Item = (Name, Digest)> {
        self.files().filter_map(|(name, sum)| match sum {
            FileSum::Came(digest) => Some((name, digest)),
            _ => None,
        })
    }

    /// Whether anything of a stream came.
    pub fn has_streams(&self) -> bool {
        !self.streams.is_empty()
    }

    /// Whether the directory of `stream` came.
    pub fn has_directory(&self, stream: &StreamName) -> bool {
        self.streams.get(stream).is_some_and(|known| known.directory)
    }

    fn files(&self) -> impl Iterator<Item = (Name, FileSum)> {
        let others =
            self.others.iter().filter_map(|(path, sum)| Some((Name::parse(path, false).ok()?, *sum)));
        others.chain(self.streams.iter().flat_map(|(name, stream)| stream.files(name)))
    }

    /// Enforces the order of a stream's entries, and remembers which attempt is open.
    fn order(&mut self, name: &Name) -> Result<(), LedgerError> {
        if self.entries >= MAX_ENTRIES {
            return Err(LedgerError::Entries);
        }
        self.entries = self.entries.saturating_add(1);
        // A directory says nothing about what is finished: some tars list all of them first.
        if name.is_directory() {
            return Ok(());
        }
        let open = self.open.take_if(|open| name.stream() != Some(&open.stream));
        drop(open);
        match name {
            Name::Part { stream, attempt, number } => match &mut self.open {
                Some(open) if open.stream == *stream && open.attempt == *attempt => {
                    let next = open.parts.saturating_add(1);
                    if *number != next {
                        return Err(LedgerError::Gap(next));
                    }
                    open.parts = next;
                }
                _ => return Err(LedgerError::NotOpen),
            },
            Name::Backup { stream, attempt: Some(attempt) } => {
                let known = self.stream(stream)?;
                if known.whole {
                    return Err(LedgerError::BothForms);
                }
                let last = known.last_attempt;
                let next = last.saturating_add(1);
                if last == *attempt {
                    return Err(LedgerError::Twice);
                }
                if last > 0 && !known.abandoned {
                    return Err(LedgerError::NotAbandoned(last));
                }
                if *attempt != next {
                    return Err(LedgerError::NotThisAttempt(next));
                }
                known.last_attempt = next;
                known.abandoned = false;
                self.open = Some(OpenAttempt { stream: stream.clone(), attempt: next, parts: 0 });
            }
            Name::Abandoned { stream, attempt } => {
                match &self.open {
                    Some(open) if open.stream == *stream && open.attempt == *attempt => self.open = None,
                    _ => return Err(LedgerError::NotOpen),
                }
                self.stream(stream)?.abandoned = true;
            }
            Name::Backup { stream, attempt: None } | Name::Snapshot { stream, .. } => {
                let known = self.stream(stream)?;
                if known.last_attempt > 0 && !known.abandoned {
                    return Err(LedgerError::BothForms);
                }
                known.whole = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// The place where the sum of a file is kept.
    fn sum(&mut self, name: &Name) -> Result<&mut FileSum, LedgerError> {
        Ok(match name {
            Name::Backup { stream, attempt: None } => &mut self.stream(stream)?.backup,
            Name::Snapshot { stream, file } => {
                let known = self.stream(stream)?;
                match known.file.get_or_insert(file) {
                    other if other != file => return Err(LedgerError::BothNames(other)),
                    _ => &mut known.snapshot,
                }
            }
            Name::Backup { stream, attempt: Some(attempt) } => &mut self.attempt(stream, *attempt)?.backup,
            Name::Abandoned { stream, attempt } => &mut self.attempt(stream, *attempt)?.abandoned,
            Name::Part { stream, attempt, number } => {
                let parts = &mut self.attempt(stream, *attempt)?.parts;
                let index = usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
                if index == parts.len() {
                    parts.push(FileSum::Unknown);
                }
                let next = u32::try_from(parts.len()).unwrap_or(u32::MAX);
                parts.get_mut(index).ok_or(LedgerError::Gap(next.saturating_add(1)))?
            }
            other => {
                let path = other.to_string();
                if !self.others.contains_key(&path) {
                    self.other_path(&path)?;
                }
                self.others.entry(path).or_default()
            }
        })
    }

    fn stream(&mut self, name: &StreamName) -> Result<&mut Stream, LedgerError> {
        if !self.streams.contains_key(name) && self.streams.len() >= MAX_STREAMS {
            return Err(LedgerError::Streams);
        }
        Ok(self.streams.entry(name.clone()).or_default())
    }

    fn attempt(&mut self, stream: &StreamName, attempt: u32) -> Result<&mut Attempt, LedgerError> {
        if !self.stream(stream)?.attempts.contains_key(&attempt) {
            self.attempts = self.attempts.saturating_add(1);
            if self.attempts > MAX_ATTEMPTS {
                return Err(LedgerError::Attempts);
            }
        }
        Ok(self.stream(stream)?.attempts.entry(attempt).or_default().as_mut())
    }

    fn other_path(&mut self, path: &str) -> Result<(), LedgerError> {
        self.other_paths = self.other_paths.saturating_add(1);
        if self.other_paths > MAX_OTHERS {
            return Err(LedgerError::Others);
        }
        self.other_bytes = self.other_bytes.saturating_add(path.len());
        if self.other_bytes > MAX_OTHER_PATHS { Err(LedgerError::OtherPaths) } else { Ok(()) }
    }
}

impl Attempt {
    /// The digest of its parts' digests, one line each, as `sha256sum part-* | cut -c-64 | sha256sum` has it. None
    /// without parts, and if one of them has not come.
    fn digest(&self) -> Option<Digest> {
        let mut hasher = (!self.parts.is_empty()).then(Sha256::new)?;
        for part in &self.parts {
            hasher.update(part.of_file()?.to_string());
            hasher.update(b"\n");
        }
        Some(Digest::finish(hasher))
    }
}

impl Stream {
    fn files<'a>(&'a self, name: &'a StreamName) -> impl Iterator<Item = (Name, FileSum)> + 'a {
        let stream = || name.clone();
        let whole = [
            (Name::Backup { stream: stream(), attempt: None }, self.backup),
            (Name::Snapshot { stream: stream(), file: self.file.unwrap_or(SNAPSHOTS[0]) }, self.snapshot),
        ];
        let attempts = self.attempts.iter().flat_map(move |(&attempt, files)| {
            let backup = (Name::Backup { stream: stream(), attempt: Some(attempt) }, files.backup);
            let parts = (1..).zip(&files.parts);
            let parts =
                parts.map(move |(number, sum)| (Name::Part { stream: stream(), attempt, number }, *sum));
            let abandoned = (Name::Abandoned { stream: stream(), attempt }, files.abandoned);
            std::iter::once(backup).chain(parts).chain([abandoned])
        });
        whole.into_iter().chain(attempts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> StreamName {
        StreamName::new(name).unwrap()
    }

    #[test]
    fn a_part_costs_33_bytes() {
        assert_eq!(size_of::<FileSum>(), 33);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut ledger = Ledger { entries: MAX_ENTRIES, ..Ledger::default() };
        assert_eq!(ledger.begin(&Name::Index), Err(LedgerError::Entries));

        let mut ledger = Ledger { lines: MAX_ENTRIES, ..Ledger::default() };
        assert_eq!(ledger.listed(&Name::Index, Digest::of(b"")), Err(LedgerError::Entries));

        let mut ledger = Ledger { attempts: MAX_ATTEMPTS, ..Ledger::default() };
        let backup = Name::Backup { stream: name("EVT"), attempt: Some(1) };
        assert_eq!(ledger.listed(&backup, Digest::of(b"")), Err(LedgerError::Attempts));

        let path = |n: usize| format!("{n}/{}", "x".repeat(MAX_OTHER_PATHS / 2));
        let mut ledger = Ledger::default();
        assert_eq!(ledger.begin(&Name::Other(path(1))), Ok(()));
        assert_eq!(ledger.begin(&Name::Directory(path(2))), Err(LedgerError::OtherPaths));

        let mut ledger = Ledger { other_paths: MAX_OTHERS, ..Ledger::default() };
        assert_eq!(ledger.begin(&Name::Other("x".into())), Err(LedgerError::Others));

        let mut ledger = Ledger::default();
        for n in 0..MAX_STREAMS {
            ledger.streams.insert(name(&n.to_string()), Stream::default());
        }
        assert_eq!(ledger.begin(&Name::StreamDirectory(name("0"))), Ok(()));
        assert_eq!(ledger.begin(&Name::StreamDirectory(name("EVT"))), Err(LedgerError::Streams));
    }

    #[test]
    fn a_listed_part_reserves_no_memory_for_the_parts_before_it() {
        let mut ledger = Ledger::default();
        let part = |number| Name::Part { stream: name("EVT"), attempt: 1, number };
        assert_eq!(ledger.listed(&part(u32::MAX), Digest::of(b"")), Err(LedgerError::ListedOutOfOrder));
        assert_eq!(ledger.listed(&part(1), Digest::of(b"")), Ok(()));
        assert_eq!(ledger.missing().collect::<Vec<_>>(), [part(1)]);
    }
}
