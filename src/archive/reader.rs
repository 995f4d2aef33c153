//! Reads an archive in one pass, in constant memory except for one sum a file. Knows no snapshot format.
//!
//! It reads our archives, those of `chatto backup`, and both after another tar program has packed them again. The first file
//! shows which one it is: ours begins with `index.json`, and then must end with `SHA256SUMS`.

use std::io::{self, Read};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::layout::{ArchiveEnd, Layout};
use super::ledger::Ledger;
use super::member::{Member, Members};
use super::name::Name;
use super::nats_backup::is_nats_backup_file;
use super::{
    Digest, Error, Index, MAX_ABANDONED_JSON, MAX_BACKUP_JSON, MAX_ENTRY, MAX_FAULTS, MAX_FOREIGN_ENTRIES,
    MAX_FOREIGN_TOTAL, MAX_LIST_JSON, MAX_SUMS, Manifest, sha256sums,
};
use crate::names::{Printable, StreamName};

/// How much is read at a time of a body that the caller does not want.
const DRAIN: usize = 64 << 10;

/// One entry of an archive. Directories are not among them.
#[derive(Debug)]
pub enum Entry<'a, R: Read> {
    /// What is coming.
    Index(Index),
    /// What came. In an archive of `chatto backup` it may come before the streams.
    Manifest(Manifest),
    /// The server's `{"config","state"}` of a stream, raw.
    Backup {
        /// Whose it is.
        stream: StreamName,
        /// Which attempt's, if the snapshot is in parts.
        attempt: Option<u32>,
        /// The bytes; at most [`MAX_BACKUP_JSON`].
        json: Vec<u8>,
    },
    /// A snapshot in one piece. In an archive that is not ours it may come before its [`Entry::Backup`].
    Snapshot {
        /// Whose it is.
        stream: StreamName,
        /// What it is called: `stream.tar.s2` or `stream.arc.s2`.
        file: &'static str,
        /// How many bytes `body` has.
        size: u64,
        /// The snapshot.
        body: Body<'a, R>,
    },
    /// A file of a stream with nothing in it, in an archive that is not ours: `chatto backup` leaves an empty
    /// `backup.json` and an empty snapshot of a stream that failed. Whether its manifest says so is for the caller to
    /// see.
    Empty {
        /// Whose it is.
        stream: StreamName,
        /// What it is called: `backup.json`, or as a snapshot is.
        file: &'static str,
    },
    /// A part of a snapshot. Parts come in order, without gaps and with nothing of another stream between
    /// them, after their attempt's [`Entry::Backup`].
    Part {
        /// Whose it is.
        stream: StreamName,
        /// Which attempt's.
        attempt: u32,
        /// Which part, from 1.
        number: u32,
        /// How many bytes `body` has.
        size: u64,
        /// The part.
        body: Body<'a, R>,
    },
    /// The attempt whose parts came last does not count.
    Abandoned {
        /// Whose it is.
        stream: StreamName,
        /// Which attempt.
        attempt: u32,
        /// Why; from outside, so print it through [`Printable`].
        reason: String,
    },
    /// A file that is not part of the format, to be ignored.
    Other {
        /// Its path below the top-level directory; from outside, so print it through [`Printable`].
        path: String,
        /// How many bytes `body` has.
        size: u64,
        /// Its content.
        body: Body<'a, R>,
    },
    /// The sums, which were compared with all that came before.
    Sums {
        /// How many files they list.
        files: u64,
    },
}

/// Reads an archive.
pub struct Reader<R: Read> {
    members: Members<R>,
    ledger: Ledger,
    /// The one top-level directory.
    top: Option<String>,
    /// None before the first file.
    ours: Option<bool>,
    /// The file whose body is being read, and the digest of what was read.
    body: Option<(Name, Sha256)>,
    /// The digest of the body that was read to its end last.
    digest: Option<Digest>,
    seen: FilesSeen,
    entries: u64,
    bytes: u64,
    /// What [`JoinedSnapshot`] met behind the part that was its last: the next file, or the end.
    met: Option<Option<(Name, u64)>>,
    /// The index or the manifest that has just come, as it stood there.
    json: Vec<u8>,
    /// Only in an audit: the faults after which the archive could still be read.
    faults: Option<Vec<Error>>,
    state: State,
}

/// Which files have come.
#[derive(Default)]
struct FilesSeen {
    manifest: bool,
    keys: bool,
    sums: bool,
}

enum State {
    Reading,
    Ended(ArchiveEnd),
    Failed,
}

impl<R: Read> Reader<R> {
    /// Reads an archive from `input`, which needs no buffer. Nothing is read yet.
    pub fn new(input: R) -> Self {
        Reader {
            members: Members::new(input),
            ledger: Ledger::default(),
            top: None,
            ours: None,
            body: None,
            digest: None,
            seen: FilesSeen::default(),
            entries: 0,
            bytes: 0,
            met: None,
            json: Vec::new(),
            faults: None,
            state: State::Reading,
        }
    }

    /// Reads an archive to find all that is wrong with it. What does not keep the rest from being read (a
    /// sum that does not match, a file that the sums do not list, a JSON text that is none) is gathered in
    /// [`take_faults`](Self::take_faults) instead of ending the reading; such a JSON text is left out. At
    /// most [`MAX_FAULTS`] are gathered; the next one is an error.
    pub fn audit(input: R) -> Self {
        Reader { faults: Some(Vec::new()), ..Reader::new(input) }
    }

    /// The faults that an [`audit`](Self::audit) has gathered since this was asked last.
    pub fn take_faults(&mut self) -> Vec<Error> {
        self.faults.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The index or the manifest that [`next`](Self::next) has just given, as it stood in the archive: for
    /// programs that hand it on, with members that this one does not know.
    pub fn take_json(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.json)
    }

    /// The snapshot that has just begun, as one: in parts, the rest of its attempt. For a caller that had an
    /// [`Entry::Snapshot`] or the first [`Entry::Part`] of an attempt and has not read its body.
    pub fn joined(&mut self) -> JoinedSnapshot<'_, R> {
        let attempt = match &self.body {
            Some((Name::Part { stream, attempt, .. }, _)) => Some((stream.clone(), *attempt)),
            _ => None,
        };
        JoinedSnapshot { reader: self, attempt, ended: false }
    }

    /// The next entry, or none at the end of a sound archive, when the input has been read to its end.
    /// What is left of the body of the entry before is read and checked first.
    ///
    /// # Errors
    /// Everything in [`Error`] but [`Error::Archive`]. After one, every further call fails.
    #[allow(clippy::should_implement_trait)] // an iterator could not lend the body
    pub fn next(&mut self) -> Result<Option<Entry<'_, R>>, Error> {
        match self.state {
            State::Reading => self.state = State::Failed,
            State::Ended(_) => return Ok(None),
            State::Failed => return Err(Error::not_an_archive("reading it failed before")),
        }
        self.json = Vec::new();
        let (name, size) = loop {
            let next = match self.met.take() {
                Some(met) => met,
                None => {
                    self.drain()?;
                    self.file()?
                }
            };
            let Some((name, size)) = next else {
                self.state = State::Ended(self.end()?);
                return Ok(None);
            };
            if self.ours == Some(false)
                && size == 0
                && let Some((stream, file)) = name.of_whole()
            {
                let stream = stream.clone();
                self.drain()?;
                self.state = State::Reading;
                return Ok(Some(Entry::Empty { stream, file }));
            }
            let Some(limit) = json_limit(&name) else { break (name, size) };
            let json = self.read_json(&name, size, limit)?;
            let list = matches!(name, Name::Index | Name::Manifest);
            match json_entry(name, &json) {
                Ok(entry) => {
                    if list {
                        self.json = json;
                    }
                    if let Entry::Manifest(manifest) = &entry {
                        self.stated(manifest)?;
                    }
                    self.state = State::Reading;
                    return Ok(Some(entry));
                }
                Err(error) => self.fault(error)?,
            }
        };
        if name == Name::Sums {
            let files = self.sums()?;
            self.state = State::Reading;
            return Ok(Some(Entry::Sums { files }));
        }
        self.state = State::Reading;
        let body = Body(self);
        Ok(Some(match name {
            Name::Snapshot { stream, file } => Entry::Snapshot { stream, file, size, body },
            Name::Part { stream, attempt, number } => Entry::Part { stream, attempt, number, size, body },
            other => Entry::Other { path: other.to_string(), size, body },
        }))
    }

    /// Reads the rest of the input, and gives what is known at its end. Only after this, or after
    /// [`next`](Self::next) gave none, is it known that the archive was whole.
    ///
    /// # Errors
    /// As in [`next`](Self::next).
    pub fn finish(mut self) -> Result<ArchiveEnd, Error> {
        while self.next()?.is_some() {}
        match self.state {
            State::Ended(ended) => Ok(ended),
            State::Reading | State::Failed => Err(Error::not_an_archive("reading it failed before")),
        }
    }

    /// The next file, its order and limits checked, and the digest of its body begun.
    fn file(&mut self) -> Result<Option<(Name, u64)>, Error> {
        while let Some(member) = self.members.next()? {
            self.padding()?;
            self.entries = self.entries.saturating_add(1);
            // `./`, with which `tar -C DIRECTORY .` begins.
            if member.path.is_empty() && self.entries == 1 {
                continue;
            }
            let told = self.ours == Some(true) || self.seen.manifest || self.ledger.has_streams();
            if !told && !member.directory && is_nats_backup_file(&member.path) {
                return Err(Error::NatsBackup);
            }
            let name = self.name(&member)?;
            if !member.directory && self.ours.is_none() {
                self.ours = Some(name == Name::Index);
            }
            self.bytes = self.bytes.saturating_add(member.size);
            self.limits(&member)?;
            self.ledger.begin(&name).map_err(|fault| Error::damaged(&member.path, fault))?;
            if member.directory {
                continue;
            }
            if name == Name::Sums && member.size > MAX_SUMS {
                return Err(Error::not_safe(
                    &name,
                    format!("{} bytes of sums, more than {MAX_SUMS}", member.size),
                ));
            }
            match &name {
                Name::Manifest => self.seen.manifest = true,
                Name::Sums => self.seen.sums = true,
                Name::Other(path) if path == "keys.json" => self.seen.keys = true,
                _ => {}
            }
            self.body = Some((name.clone(), Sha256::new()));
            self.digest = None;
            return Ok(Some((name, member.size)));
        }
        self.padding()?;
        Ok(None)
    }

    /// We pad with zeros, so that any flipped bit shows.
    fn padding(&mut self) -> Result<(), Error> {
        if self.members.odd_padding() && self.ours == Some(true) {
            let error = Error::damaged(self.members.place(), "the padding before it is not zeros");
            self.fault(error)?;
        }
        Ok(())
    }

    /// Something is wrong that does not keep the rest from being read. Only an audit goes on.
    fn fault(&mut self, error: Error) -> Result<(), Error> {
        gather(&mut self.faults, error)
    }

    fn sums(&mut self) -> Result<u64, Error> {
        let mut ledger = std::mem::take(&mut self.ledger);
        let mut faults = self.faults.take();
        let files = sha256sums::read(Body(self), &mut ledger, |error| gather(&mut faults, error));
        self.ledger = ledger;
        self.faults = faults;
        files
    }

    /// The name below the top-level directory, of which there is only one.
    fn name(&mut self, member: &Member) -> Result<Name, Error> {
        let (top, below) = match member.path.split_once('/') {
            Some((top, below)) => (top, below),
            None if member.path.is_empty() => return Err(Error::not_safe("./", "comes twice, or late")),
            None if member.directory => (member.path.as_str(), ""),
            None => {
                return Err(Error::not_safe(&member.path, "a file outside of the one top-level directory"));
            }
        };
        if *self.top.get_or_insert_with(|| top.to_owned()) != top {
            return Err(Error::not_safe(&member.path, "a second top-level directory"));
        }
        Name::parse(below, member.directory).map_err(|what| Error::not_safe(&member.path, what))
    }

    fn limits(&self, member: &Member) -> Result<(), Error> {
        let too_much = |what| Err(Error::not_safe(&member.path, what));
        if member.size > MAX_ENTRY {
            return too_much(format!(
                "{} bytes, more than the {MAX_ENTRY} that one entry may have",
                member.size
            ));
        }
        // Until the first file has come, nobody knows whose archive it is; the directories before it count.
        if self.ours != Some(true) && self.entries > MAX_FOREIGN_ENTRIES {
            return too_much(format!("one entry too many: an archive has at most {MAX_FOREIGN_ENTRIES}"));
        }
        if self.ours != Some(true) && self.bytes > MAX_FOREIGN_TOTAL {
            return too_much(format!("with it the archive has more than {MAX_FOREIGN_TOTAL} bytes"));
        }
        Ok(())
    }

    fn read_json(&mut self, name: &Name, size: u64, limit: u64) -> Result<Vec<u8>, Error> {
        if size > limit {
            return Err(Error::not_safe(name, format!("{size} bytes of JSON, more than {limit}")));
        }
        let mut json = Vec::new();
        Body(self).read_to_end(&mut json)?;
        json.shrink_to_fit();
        Ok(json)
    }

    /// Reads from the body of the open file. At its end, its digest meets its sum.
    fn read_body(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let got = self.members.read(buffer)?;
        if let Some((_, hasher)) = &mut self.body {
            hasher.update(buffer.get(..got).unwrap_or_default());
        }
        if self.members.left() > 0 {
            return Ok(got);
        }
        if let Some((name, hasher)) = self.body.take().filter(|(name, _)| *name != Name::Sums) {
            let digest = Digest::finish(hasher);
            self.digest = Some(digest);
            if let Err(fault) = self.ledger.came(&name, digest) {
                self.fault(Error::damaged(&name, fault))?;
            }
        }
        Ok(got)
    }

    /// Notes the digests in the manifest. At the end, each is compared with the digest of its snapshot.
    fn stated(&mut self, manifest: &Manifest) -> Result<(), Error> {
        for stream in &manifest.streams {
            // Of the whole of a snapshot in parts, builds before the first release had a digest there.
            let digest = match stream.attempt {
                Some(_) => stream.parts_sha256,
                None => stream.sha256,
            };
            if let Some(digest) = digest {
                let noted = self.ledger.stated(&stream.name, stream.attempt, digest);
                noted.map_err(|fault| {
                    Error::damaged(Name::Manifest, format!("stream {}: {fault}", stream.name))
                })?;
            }
        }
        Ok(())
    }

    /// Reads what the caller left of the body.
    fn drain(&mut self) -> Result<(), Error> {
        if self.body.is_none() {
            return Ok(());
        }
        let mut buffer = vec![0; DRAIN];
        while self.read_body(&mut buffer)? > 0 {}
        Ok(())
    }

    /// The tar has ended well; is it an archive, and a whole one?
    fn end(&mut self) -> Result<ArchiveEnd, Error> {
        let layout = match self.ours {
            Some(true) => Layout::Ours,
            Some(false) if self.seen.manifest || self.ledger.has_streams() => Layout::Chatto,
            Some(false) if self.seen.keys => Layout::Keys,
            Some(false) => return Err(Error::not_an_archive("it is a tar, but not of a backup")),
            None => return Err(Error::not_an_archive("it is a tar without files")),
        };
        if layout == Layout::Ours && !self.seen.sums {
            let last = self.members.place();
            return Err(Error::Truncated {
                place: format!("{last}: SHA256SUMS, the end record, is missing"),
            });
        }
        if layout != Layout::Keys && !self.seen.manifest {
            self.fault(Error::damaged(Name::Manifest, "is missing"))?;
        }
        for name in self.ledger.missing() {
            gather(&mut self.faults, Error::damaged(name, "SHA256SUMS lists it, but it did not come"))?;
        }
        for name in self.ledger.unlisted().filter(|_| layout == Layout::Ours) {
            gather(&mut self.faults, Error::damaged(name, "SHA256SUMS does not list it"))?;
        }
        for stream in self.ledger.belied() {
            let what = format!("has another digest for stream {stream} than its snapshot");
            gather(&mut self.faults, Error::damaged(Name::Manifest, what))?;
        }
        Ok(ArchiveEnd { layout, sums: self.seen.sums, entries: self.entries, bytes: self.bytes })
    }
}

/// Adds `error` to the faults of an audit. Without an audit, or if there are too many faults, it is returned.
fn gather(faults: &mut Option<Vec<Error>>, error: Error) -> Result<(), Error> {
    match faults {
        Some(faults) if faults.len() < MAX_FAULTS => faults.push(error),
        _ => return Err(error),
    }
    Ok(())
}

/// The most bytes of a file that is read as JSON. None for other files.
fn json_limit(name: &Name) -> Option<u64> {
    match name {
        Name::Index | Name::Manifest => Some(MAX_LIST_JSON),
        Name::Backup { .. } => Some(MAX_BACKUP_JSON),
        Name::Abandoned { .. } => Some(MAX_ABANDONED_JSON),
        _ => None,
    }
}

fn json_entry<'a, R: Read>(name: Name, json: &[u8]) -> Result<Entry<'a, R>, Error> {
    #[derive(Deserialize)]
    struct Abandoned {
        reason: String,
    }
    Ok(match name {
        Name::Index => Entry::Index(Index::from_json(json)?),
        Name::Backup { stream, attempt } => Entry::Backup { stream, attempt, json: json.to_vec() },
        Name::Abandoned { stream, attempt } => {
            let bad = |error: serde_json::Error| {
                let name = Name::Abandoned { stream: stream.clone(), attempt };
                Error::damaged(name, Printable::new(&error.to_string()))
            };
            let Abandoned { reason } = serde_json::from_slice(json).map_err(bad)?;
            Entry::Abandoned { stream, attempt, reason }
        }
        _ => Entry::Manifest(Manifest::from_json(json)?),
    })
}

/// The body of an entry. Reading it gives exactly the bytes that its header announced, or an error: a cut
/// is never a clean end. The errors are [`Error`]s inside of [`io::Error`]s; `Error::from` takes them out
/// again.
pub struct Body<'a, R: Read>(&'a mut Reader<R>);

impl<R: Read> Body<'_, R> {
    /// The digest of the body, once it has been read to its end.
    pub fn digest(&self) -> Option<Digest> {
        self.0.digest
    }
}

impl<R: Read> Read for Body<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_body(buffer).map_err(|error| {
            self.0.state = State::Failed;
            error.into()
        })
    }
}

/// A snapshot as one, whether it lies in one entry or in the parts of an attempt. Reading it is as with a
/// [`Body`]; that an attempt in parts came to its end does not yet mean that it counts: the next entry may be
/// its [`Entry::Abandoned`].
pub struct JoinedSnapshot<'a, R: Read> {
    reader: &'a mut Reader<R>,
    /// Whose parts belong to it; none for a snapshot in one piece.
    attempt: Option<(StreamName, u32)>,
    /// Whether something else has been met, which is not to be read here.
    ended: bool,
}

impl<R: Read> JoinedSnapshot<'_, R> {
    fn read_on(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        loop {
            if self.ended || buffer.is_empty() {
                return Ok(0);
            }
            let got = self.reader.read_body(buffer)?;
            if got > 0 {
                return Ok(got);
            }
            let Some(attempt) = &self.attempt else {
                self.ended = true;
                continue;
            };
            match self.reader.file()? {
                Some((Name::Part { stream, attempt: n, .. }, _))
                    if (&stream, n) == (&attempt.0, attempt.1) => {}
                other => {
                    self.reader.met = Some(other);
                    self.ended = true;
                }
            }
        }
    }
}

impl<R: Read> Read for JoinedSnapshot<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_on(buffer).map_err(|error| {
            self.reader.state = State::Failed;
            error.into()
        })
    }
}

impl<R: Read> std::fmt::Debug for Body<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Body({} bytes left)", self.0.members.left())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_that_is_not_ours_has_at_most_1_tib() {
        let mut reader = Reader::new(io::empty());
        let member = Member { path: "backup/x".into(), directory: false, size: 1 };
        reader.bytes = MAX_FOREIGN_TOTAL;
        assert!(reader.limits(&member).is_ok());
        reader.bytes += 1;
        let error = reader.limits(&member).unwrap_err().to_string();
        assert!(
            error.ends_with("backup/x: with it the archive has more than 1099511627776 bytes"),
            "{error}"
        );
        reader.ours = Some(true);
        assert!(reader.limits(&member).is_ok());
    }
}
