//! Writes an archive, in one pass and in the order of chatto-archive(5). Knows no snapshot format.
//!
//! The same input and the same `mtime` give the same bytes. Nothing is written on drop. So if a writer fails or is dropped,
//! the archive has no end record, and every reader refuses it. After a failure the writer refuses everything, so that no
//! sound end can follow an incomplete entry.

use std::io::{self, Read, Write};

use bytes::Bytes;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::ledger::Ledger;
use super::name::{Name, SNAPSHOTS, TOP};
use super::reader::Body;
use super::{
    Digest, Index, MAX_ABANDONED_JSON, MAX_BACKUP_JSON, MAX_ENTRY, MAX_LIST_JSON, MAX_LIST_VALUES, Manifest,
    sha256sums,
};
use crate::json;
use crate::names::StreamName;
use crate::tar_header::{self, BLOCK};

/// How much of a snapshot in one piece is copied at a time.
const COPY: usize = 128 << 10;

/// How many characters of a reason are kept: it may quote a server, and must never fail the archive.
const MAX_REASON: usize = 1_000;

/// Writes an archive. The calls are [`index`](Self::index), then for every stream either
/// [`whole`](Self::whole) (or [`whole_in_pieces`](Self::whole_in_pieces)) or
/// [`attempt`](Self::attempt) and [`part`](Self::part)s, then [`finish`](Self::finish). Every byte is summed once, by the
/// writer, or by the [`Reader`](super::Reader) of the archive that it is copied from.
///
/// # Errors
/// Every method fails with the output's own [`io::Error`] (so [`io::ErrorKind::BrokenPipe`] is a
/// reader that went away), or with [`io::ErrorKind::InvalidInput`] for a call out of order, a stream that
/// comes twice, or anything that a reader would refuse for its size.
pub struct Writer<W: Write> {
    to: W,
    mtime: u64,
    ledger: Ledger,
    attempt: Option<(StreamName, u32, u32)>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Empty,
    Streams,
    Failed,
}

impl<W: Write> Writer<W> {
    /// An archive that goes to `to`. `mtime` is the time of all its entries: the dump's start, in seconds
    /// since 1970. Large writes pass through; a buffer around `to` saves system calls for small streams.
    pub fn new(to: W, mtime: u64) -> Self {
        Writer { to, mtime, ledger: Ledger::default(), attempt: None, state: State::Empty }
    }

    /// Writes the index, and flushes. It comes first, and only once.
    pub fn index(&mut self, index: &Index) -> io::Result<()> {
        self.index_json(&json(index, MAX_LIST_JSON)?)
    }

    /// The same with an index that is copied from another archive, as it stood there.
    pub fn index_json(&mut self, json: &[u8]) -> io::Result<()> {
        self.step(State::Empty, |writer| {
            bounded_list(json)?;
            writer.directory(&Name::Directory(String::new()))?;
            writer.file(&Name::Index, json)?;
            writer.directory(&Name::Directory("streams".into()))?;
            // Whoever reads can look at what is coming while the first snapshot is taken.
            writer.to.flush()
        })
    }

    /// Writes a stream whose snapshot of `size` bytes is one entry. `backup_json` is the server's
    /// `{"config","state"}`, raw. Returns the snapshot's digest. A snapshot that is shorter or longer than
    /// `size` is an error, and the archive then ends in it.
    pub fn whole(
        &mut self,
        stream: &StreamName,
        backup_json: &[u8],
        snapshot: &mut dyn Read,
        size: u64,
    ) -> io::Result<Digest> {
        self.step(State::Streams, |writer| {
            let name = writer.begin_whole(stream, backup_json, size)?;
            let digest = writer.copy(&name, snapshot, size)?;
            writer.end(&name, size, digest)
        })
    }

    /// The same with a snapshot that lies in memory: `pieces`, one after another, without copying them.
    pub fn whole_in_pieces(
        &mut self,
        stream: &StreamName,
        backup_json: &[u8],
        pieces: &[Bytes],
    ) -> io::Result<Digest> {
        self.step(State::Streams, |writer| {
            let size = length_of(pieces);
            let name = writer.begin_whole(stream, backup_json, size)?;
            let digest = writer.pieces(pieces)?;
            writer.end(&name, size, digest)
        })
    }

    /// The same with a snapshot that is one entry of another archive.
    pub fn copy_whole<R: Read>(
        &mut self,
        stream: &StreamName,
        backup_json: &[u8],
        snapshot: &mut Body<'_, R>,
        size: u64,
    ) -> io::Result<()> {
        self.step(State::Streams, |writer| {
            let name = writer.begin_whole(stream, backup_json, size)?;
            let digest = writer.copy_body(&name, snapshot, size)?;
            writer.end(&name, size, digest).map(drop)
        })
    }

    /// Begins attempt `n` (from 1) of a stream whose snapshot flows in parts. Another one may follow only
    /// if this one is [abandoned](Self::abandon).
    pub fn attempt(&mut self, stream: &StreamName, n: u32, backup_json: &[u8]) -> io::Result<()> {
        self.step(State::Streams, |writer| {
            writer.stream_directory(stream)?;
            writer.directory(&Name::AttemptDirectory(stream.clone(), n))?;
            bounded(backup_json, MAX_BACKUP_JSON)?;
            writer.file(&Name::Backup { stream: stream.clone(), attempt: Some(n) }, backup_json)?;
            writer.attempt = Some((stream.clone(), n, 0));
            Ok(())
        })
    }

    /// Writes the next part of the open attempt: `pieces`, one after another, without copying them.
    /// They should have [`super::PART_SIZE`] bytes together, unless it is the last part. Returns the
    /// part's digest.
    pub fn part(&mut self, pieces: &[Bytes]) -> io::Result<Digest> {
        self.step(State::Streams, |writer| {
            let name = writer.next_part()?;
            let size = length_of(pieces);
            writer.begin(&name, size)?;
            let digest = writer.pieces(pieces)?;
            writer.end(&name, size, digest)
        })
    }

    /// Writes the next part of the open attempt from another archive, whose parts may have any size.
    pub fn copy_part<R: Read>(&mut self, part: &mut Body<'_, R>, size: u64) -> io::Result<()> {
        self.step(State::Streams, |writer| {
            let name = writer.next_part()?;
            writer.begin(&name, size)?;
            let digest = writer.copy_body(&name, part, size)?;
            writer.end(&name, size, digest).map(drop)
        })
    }

    /// The digest of the digests of the open attempt's parts, for the manifest; none without parts.
    pub fn parts_digest(&self) -> Option<Digest> {
        let (stream, attempt, _) = self.attempt.as_ref()?;
        self.ledger.parts_digest(stream, *attempt)
    }

    /// Closes the open attempt as one that does not count, and says why.
    pub fn abandon(&mut self, reason: &str) -> io::Result<()> {
        #[derive(Serialize)]
        struct Abandoned<'a> {
            reason: &'a str,
        }
        self.step(State::Streams, |writer| {
            let (stream, attempt, _) = writer.attempt.take().ok_or_else(|| invalid("no attempt is open"))?;
            let reason: String = reason.chars().take(MAX_REASON).collect();
            let json = json(&Abandoned { reason: &reason }, MAX_ABANDONED_JSON)?;
            writer.file(&Name::Abandoned { stream, attempt }, &json)
        })
    }

    /// Writes the manifest, the sums and the tar's end, and flushes. Only then is the archive one.
    pub fn finish(self, manifest: &Manifest) -> io::Result<W> {
        let json = json(manifest, MAX_LIST_JSON)?;
        self.finish_json(&json)
    }

    /// The same with a manifest that is copied from another archive, as it stood there.
    pub fn finish_json(mut self, json: &[u8]) -> io::Result<W> {
        self.step(State::Streams, |writer| {
            bounded_list(json)?;
            writer.file(&Name::Manifest, json)?;
            let size = sha256sums::size(&writer.ledger);
            writer.header(&Name::Sums, size)?;
            sha256sums::write(&writer.ledger, &mut writer.to)?;
            writer.pad(size)?;
            writer.to.write_all(&[0; 2 * BLOCK])?;
            writer.to.flush()
        })?;
        Ok(self.to)
    }

    /// All of a stream in one piece up to the snapshot itself, whose name is returned.
    fn begin_whole(&mut self, stream: &StreamName, backup_json: &[u8], size: u64) -> io::Result<Name> {
        self.stream_directory(stream)?;
        bounded(backup_json, MAX_BACKUP_JSON)?;
        self.file(&Name::Backup { stream: stream.clone(), attempt: None }, backup_json)?;
        let name = Name::Snapshot { stream: stream.clone(), file: SNAPSHOTS[0] };
        self.begin(&name, size)?;
        Ok(name)
    }

    /// The name of the part that comes next.
    fn next_part(&mut self) -> io::Result<Name> {
        let (stream, attempt, parts) = self.attempt.as_mut().ok_or_else(|| invalid("no attempt is open"))?;
        *parts = parts.saturating_add(1);
        Ok(Name::Part { stream: stream.clone(), attempt: *attempt, number: *parts })
    }

    /// Runs one call, if the writer is in the state for it. Whatever fails, fails for good.
    fn step<T>(&mut self, wanted: State, run: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        let state = std::mem::replace(&mut self.state, State::Failed);
        if state != wanted {
            return Err(invalid(match state {
                State::Empty => "an archive begins with its index",
                State::Streams => "an archive has one index",
                State::Failed => "the archive failed before",
            }));
        }
        let done = run(self)?;
        self.state = State::Streams;
        Ok(done)
    }

    /// The stream's directory, unless an abandoned attempt left it there. Closes the open attempt.
    fn stream_directory(&mut self, stream: &StreamName) -> io::Result<()> {
        self.attempt = None;
        if self.ledger.has_directory(stream) {
            return Ok(());
        }
        self.directory(&Name::StreamDirectory(stream.clone()))
    }

    fn directory(&mut self, name: &Name) -> io::Result<()> {
        self.ledger.begin(name).map_err(|fault| invalid(format!("{name}: {fault}")))?;
        self.header(name, 0)
    }

    fn file(&mut self, name: &Name, bytes: &[u8]) -> io::Result<()> {
        self.begin(name, length(bytes))?;
        self.to.write_all(bytes)?;
        self.end(name, length(bytes), Digest::of(bytes)).map(drop)
    }

    fn begin(&mut self, name: &Name, size: u64) -> io::Result<()> {
        self.ledger.begin(name).map_err(|fault| invalid(format!("{name}: {fault}")))?;
        if size > MAX_ENTRY {
            return Err(invalid(format!(
                "{name} has {size} bytes, more than one entry may: it must go in parts"
            )));
        }
        self.header(name, size)
    }

    fn end(&mut self, name: &Name, size: u64, digest: Digest) -> io::Result<Digest> {
        self.ledger.came(name, digest).map_err(|fault| invalid(format!("{name}: {fault}")))?;
        self.pad(size)?;
        Ok(digest)
    }

    fn header(&mut self, name: &Name, size: u64) -> io::Result<()> {
        self.to.write_all(&tar_header::build(&path(name), size, self.mtime)?)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let zeros = [0; BLOCK];
        self.to.write_all(zeros.get(..tar_header::padding(size)).unwrap_or(&zeros))
    }

    /// Writes `pieces`, and sums them.
    fn pieces(&mut self, pieces: &[Bytes]) -> io::Result<Digest> {
        let mut hasher = Sha256::new();
        for piece in pieces {
            self.to.write_all(piece)?;
            hasher.update(piece);
        }
        Ok(Digest::finish(hasher))
    }

    /// Writes the body of another archive's entry, which its reader has summed.
    fn copy_body<R: Read>(&mut self, name: &Name, body: &mut Body<'_, R>, size: u64) -> io::Result<Digest> {
        self.copy_bytes(name, body, size, |_| {})?;
        body.digest().ok_or_else(|| invalid(format!("{name} was not read to its end")))
    }

    fn copy(&mut self, name: &Name, from: &mut dyn Read, size: u64) -> io::Result<Digest> {
        let mut hasher = Sha256::new();
        self.copy_bytes(name, from, size, |piece| hasher.update(piece))?;
        Ok(Digest::finish(hasher))
    }

    /// Writes exactly `size` bytes of `from`, and shows them to `see`.
    fn copy_bytes(
        &mut self,
        name: &Name,
        from: &mut dyn Read,
        size: u64,
        mut see: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        let mut buffer = vec![0; COPY];
        let mut left = size;
        loop {
            let got = match from.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                got => got?,
            };
            let Some(still) = left.checked_sub(u64::try_from(got).unwrap_or(u64::MAX)) else {
                return Err(invalid(format!("{name} has more than the {size} bytes that were announced")));
            };
            let piece = buffer.get(..got).unwrap_or_default();
            if piece.is_empty() {
                break;
            }
            self.to.write_all(piece)?;
            see(piece);
            left = still;
        }
        if left > 0 {
            return Err(invalid(format!("{name} ended {left} bytes before the {size} that were announced")));
        }
        Ok(())
    }
}

/// Writes `json`, an export of encryption keys, as `backup/keys.json` in its own tar.
///
/// # Errors
/// The output's own.
pub fn write_keys<W: Write>(mut to: W, mtime: u64, json: &[u8]) -> io::Result<W> {
    to.write_all(&tar_header::build(&path(&Name::Directory(String::new())), 0, mtime)?)?;
    to.write_all(&tar_header::build(&path(&Name::Other("keys.json".into())), length(json), mtime)?)?;
    to.write_all(json)?;
    let zeros = [0; 3 * BLOCK];
    let end = tar_header::padding(length(json)).saturating_add(2 * BLOCK);
    to.write_all(zeros.get(..end).unwrap_or(&zeros))?;
    to.flush()?;
    Ok(to)
}

/// The path in the tar: a directory's ends in a slash.
fn path(name: &Name) -> String {
    match name {
        Name::Directory(path) if path.is_empty() => format!("{TOP}/"),
        name if name.is_directory() => format!("{TOP}/{name}/"),
        name => format!("{TOP}/{name}"),
    }
}

/// Indented and with a newline at the end, as a person wants to read it.
fn json(value: &impl Serialize, limit: u64) -> io::Result<Vec<u8>> {
    let mut json = serde_json::to_vec_pretty(value)?;
    json.push(b'\n');
    bounded(&json, limit)?;
    Ok(json)
}

fn bounded_list(json: &[u8]) -> io::Result<()> {
    if !json::has_at_most(MAX_LIST_VALUES, json) {
        return Err(invalid(format!(
            "a list has more than the {MAX_LIST_VALUES} values that a reader takes"
        )));
    }
    bounded(json, MAX_LIST_JSON)
}

fn bounded(json: &[u8], limit: u64) -> io::Result<()> {
    if length(json) <= limit {
        return Ok(());
    }
    Err(invalid(format!("a JSON text has {} bytes, more than the {limit} that a reader takes", json.len())))
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn length_of(pieces: &[Bytes]) -> u64 {
    pieces.iter().map(|piece| length(piece)).fold(0, u64::saturating_add)
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what.into())
}
