//! One attempt at one stream: it takes the snapshot, and the verifier checks it while it flows. A small snapshot stays in
//! memory until it is verified. A large one flows into the archive in parts, or into a spool. Does not know whether there
//! will be another attempt.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::consumers::{Compared, ConsumerSearch};
use super::output::{Output, PendingWrite, Snapshot};
use super::plan::HALF;
use super::rsyncable::{RewrittenStream, Rsyncable, rewriting};
use super::watchdog::Heartbeat;
use crate::archive::{Digest, PART_SIZE};
use crate::command::conversion::Conversion;
use crate::command::verifier::{NotProven, Proven, Verifier};
use crate::description::{BadDescription, Description};
use crate::jetstream::{Capture, CaptureError, InFlight, Server, Snapshotting};
use crate::names::StreamName;
use crate::snapshot::{Contents, ConvertError, HALF_A_BATCH, InspectOptions};

/// A snapshot that came whole and was verified.
pub(super) struct Captured {
    pub backup_json: Bytes,
    pub proven: Proven,
    /// How many consumers the server reported when the snapshot began.
    pub consumers: u64,
    pub captured_at: Timestamp,
    pub begun: Instant,
    pub duration_ms: u64,
    /// The bytes, unless they have flowed into the archive already.
    pub snapshot: Option<Snapshot>,
    /// The consumers that the server left out. None if nobody has compared them yet.
    pub left_out: Option<Compared>,
}

impl Captured {
    /// Finds the consumers that are not in the snapshot, unless no consumers are wanted, or this is known already.
    pub async fn compare_consumers(&mut self, search: &ConsumerSearch, stream: &StreamName, unwanted: bool) {
        if !unwanted && self.left_out.is_none() {
            let contents = &self.proven.contents;
            self.left_out = Some(search.left_out(stream, contents, self.consumers, self.begun).await);
        }
    }
}

/// What is wrong with a whole snapshot: its parts were not taken at the same moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SnapshotFlaw {
    last_seq: u64,
    within_batch: bool,
    ahead: Vec<String>,
}

impl SnapshotFlaw {
    pub fn of(contents: &Contents) -> Option<SnapshotFlaw> {
        let Contents { last_seq, within_batch, ahead, .. } = contents;
        let flaw = SnapshotFlaw { last_seq: *last_seq, within_batch: *within_batch, ahead: ahead.clone() };
        (flaw.within_batch || !flaw.ahead.is_empty()).then_some(flaw)
    }
}

impl fmt::Display for SnapshotFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.within_batch {
            true => write!(f, "the snapshot does not count: {HALF_A_BATCH}"),
            false => f.write_str("the snapshot does not count: consumers are ahead of its last message"),
        }
    }
}

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum AttemptError {
    #[error(transparent)]
    Capture(#[from] CaptureError),
    #[error("the server's description of the stream makes no sense: {0}")]
    Description(#[from] BadDescription),
    #[error(transparent)]
    NotProven(#[from] NotProven),
    /// A restore has begun since the streams were listed.
    #[error("{HALF}")]
    HalfRestored,
    /// The last sequence of a stream never falls, unless the server has lost messages or somebody has restored it.
    #[error("it went back: it ended at sequence {before} when the dump began, and ends at {now}")]
    WentBack { before: u64, now: u64 },
    /// It cannot be written again.
    #[error("it cannot be passed on: {0}")]
    Convert(#[from] ConvertError),
    /// It is whole, but another attempt may give a better one.
    #[error("{0}")]
    Flawed(SnapshotFlaw),
    /// It is larger than expected, and must not be written in parts here.
    #[error("it is larger than the server said")]
    Outgrown,
    /// The archive or the spool cannot be written. That is no fault of this stream.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// Why the whole dump ends: the archive or the spool cannot be written, or nothing happens any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum OutputError {
    #[error("cannot write the archive")]
    Archive(#[source] io::Error),
    #[error("cannot write the spool in {dir}")]
    Spool {
        dir: String,
        #[source]
        cause: io::Error,
    },
    /// Nothing happens any more, although the program waits for nobody.
    #[error("nothing has been read or written for {} s, although nothing is waited for", .0.as_secs())]
    Stuck(Duration),
}

/// What to do with a snapshot that is too large for memory.
pub(super) enum LargeSnapshot<'a> {
    /// End the attempt. Another one gets more memory.
    Refuse,
    /// Write it into the archive, as parts of the attempt with this number.
    Flow { output: &'a Output, attempt: u32, opened: &'a mut bool },
    /// Write it to an unlinked file in this directory.
    Spool(&'a Path),
}

/// How one attempt is made.
pub(super) struct Attempt<'a> {
    pub server: &'a Server,
    pub stream: &'a StreamName,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// Its last sequence when the dump began.
    pub last_seq: u64,
    /// How it is written again, if it is.
    pub rsyncable: Option<Rsyncable>,
    pub no_consumers: bool,
    /// Whether consumers may be missing that can be added.
    pub adds_consumers: bool,
    /// Finds the consumers that are missing from the snapshot.
    pub search: &'a ConsumerSearch,
    pub check: bool,
    /// How much may be held in memory in all, in bytes.
    pub buffer: usize,
    /// The largest snapshot that stays in memory, and the size of a part, in bytes.
    pub room: usize,
    pub overflow: LargeSnapshot<'a>,
    /// Where to note how many bytes of messages have been read.
    pub read: Arc<AtomicU64>,
    /// Gets a beat for everything that happens.
    pub heartbeat: Arc<Heartbeat>,
}

impl Attempt<'_> {
    pub async fn run(self) -> Result<Captured, AttemptError> {
        let in_flight = Arc::new(InFlight::default());
        let captured_at = Timestamp::now();
        let begun = Instant::now();
        let heartbeat = Arc::clone(&self.heartbeat);
        heartbeat.beat();
        let capture = Capture::begin(self.server, self.stream, self.snapshotting(&in_flight)).await?;
        heartbeat.beat();
        if capture.is_half_restored() {
            return Err(AttemptError::HalfRestored);
        }
        let description = capture.description()?;
        let (before, now) = (self.last_seq, description.reported.last_seq);
        if now < before && !self.was_made_anew().await {
            return Err(AttemptError::WentBack { before, now });
        }
        let backup_json = Bytes::from(description.to_json()?);
        let names = !self.no_consumers;
        let wanted = InspectOptions { decoded: Arc::clone(&self.read), names, ..InspectOptions::default() };
        let conversion = self.conversion(&description, begun);
        let (written, most) = (Arc::default(), self.buffer / 2);
        let mut capture = SnapshotBytes { capture, ended: false, conversion, written, most };
        let verifier = Verifier::begin(self.stream, &description.reported, wanted);
        let SmallSnapshot { gathered, verifier, overflowed } =
            gather(&mut capture, verifier, self.room, &heartbeat).await?;
        let (proven, snapshot) = match (overflowed, self.overflow) {
            (false, _) => (verdict(verifier, &heartbeat).await?, Some(Snapshot::Memory(gathered))),
            (true, LargeSnapshot::Refuse) => return Err(AttemptError::Outgrown),
            (true, LargeSnapshot::Spool(dir)) => {
                let begun = PartialCapture { capture: &mut capture, verifier, gathered, heartbeat };
                let (proven, snapshot) = spool(begun, dir).await?;
                (proven, Some(snapshot))
            }
            (true, LargeSnapshot::Flow { output, attempt, opened }) => {
                *opened = true;
                let (json, part) = match self.rsyncable {
                    Some(Rsyncable { small_parts }) => {
                        (description.to_json_without_state()?.into(), (!small_parts).then_some(self.room))
                    }
                    None => (backup_json.clone(), Some(self.room)),
                };
                let head = output.attempt(self.stream.clone(), attempt, json);
                let begun = PartialCapture { capture: &mut capture, verifier, gathered, heartbeat };
                (flow(begun, head, part, output).await?, None)
            }
        };
        Ok(Captured {
            backup_json,
            proven,
            consumers: description.reported.consumer_count,
            captured_at,
            begun,
            duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            snapshot,
            left_out: capture.conversion.and_then(|conversion| conversion.found.flatten()),
        })
    }

    /// Whether somebody has deleted the stream and made another one since the dump began.
    async fn was_made_anew(&self) -> bool {
        let Ok(reply) = self.server.stream(self.stream).await else { return false };
        let created = reply.and_then(|reply| reply.created?.parse().ok());
        created.is_some() && self.created.is_some() && created != self.created
    }

    /// The request for the snapshot.
    fn snapshotting(&self, in_flight: &Arc<InFlight>) -> Snapshotting {
        let converts = converts(self.rsyncable, self.adds_consumers);
        Snapshotting {
            no_consumers: self.no_consumers,
            check: self.check,
            in_flight: Arc::clone(in_flight),
            // The other half is for the converted bytes, which may be many more than those that came. One count for both
            // is not enough: the server sends a window as soon as the bytes that came are gone, and their converted
            // bytes come on top.
            buffer: if converts { self.buffer / 2 } else { self.buffer },
        }
    }

    /// How the snapshot is written again: all of it, or with the consumers that it lacks.
    fn conversion(&self, description: &Description, begun: Instant) -> Option<Conversion<Option<Compared>>> {
        if self.rsyncable.is_some() {
            let Attempt { stream, created, adds_consumers, .. } = *self;
            let of = RewrittenStream { stream, description, created, adds_consumers };
            return Some(rewriting(self.search, &of, begun, self.room.min(PART_SIZE)));
        }
        self.adds_consumers.then(|| self.search.completing(self.stream, &description.reported, begun))
    }
}

/// Whether a snapshot is written again: all of it, or with consumers that it may lack.
pub(super) fn converts(rsyncable: Option<Rsyncable>, adds_consumers: bool) -> bool {
    rsyncable.is_some() || adds_consumers
}

/// The beginning of a snapshot, which stays in memory if there is no more of it.
struct SmallSnapshot {
    gathered: Vec<Bytes>,
    verifier: Verifier,
    /// Whether the snapshot is too large for memory, and more of it comes.
    overflowed: bool,
}

/// Takes the bytes of a snapshot until it ends, or until there are more than `room` bytes.
async fn gather(
    capture: &mut SnapshotBytes,
    mut verifier: Verifier,
    room: usize,
    heartbeat: &Heartbeat,
) -> Result<SmallSnapshot, AttemptError> {
    let mut gathered = Vec::new();
    let mut size = 0;
    let overflowed = loop {
        let Some(bytes) = capture.next().await? else { break false };
        heartbeat.beat();
        size += bytes.len();
        gathered.push(bytes.clone());
        verifier = verifier.fed(bytes).await?;
        if size > room {
            break true;
        }
    };
    Ok(SmallSnapshot { gathered, verifier, overflowed })
}

/// The bytes of a snapshot: as they come, with missing consumers added, or written again.
struct SnapshotBytes {
    capture: Capture,
    /// Whether all bytes have come.
    ended: bool,
    conversion: Option<Conversion<Option<Compared>>>,
    /// The converted bytes that are still in memory. The bytes that came are counted separately.
    written: Arc<InFlight>,
    /// The most converted bytes in memory. While there are more, none are taken from the conversion.
    most: usize,
}

impl SnapshotBytes {
    /// The next bytes; none at the end. To be awaited as [`Capture::next`] is.
    async fn next(&mut self) -> Result<Option<Bytes>, AttemptError> {
        let SnapshotBytes { capture, ended, conversion, written, most } = self;
        let Some(conversion) = conversion else { return Ok(capture.next().await?) };
        loop {
            let takes = written.bytes() <= *most;
            tokio::select! {
                came = capture.next(), if !*ended => match came? {
                    Some(bytes) => conversion.feed(bytes),
                    None => {
                        *ended = true;
                        conversion.end();
                    }
                },
                converted = conversion.next(), if takes => {
                    return Ok(converted?.map(|bytes| written.count(bytes)));
                }
                () = written.falls(), if !takes => {}
            }
        }
    }
}

/// Waits for the verdict, without a time limit.
async fn verdict(verifier: Verifier, heartbeat: &Arc<Heartbeat>) -> Result<Proven, NotProven> {
    let _at_work = heartbeat.at_work();
    verifier.verdict().await
}

/// A snapshot that has turned out to be too large for memory, and that has partly come.
struct PartialCapture<'a> {
    capture: &'a mut SnapshotBytes,
    verifier: Verifier,
    /// The bytes that have come.
    gathered: Vec<Bytes>,
    heartbeat: Arc<Heartbeat>,
}

/// Writes the bytes that have come, and all that follow, in parts of `part` bytes, or in the pieces in which they come. While
/// one part is written, the next one is collected. `head` is the write that opened the attempt.
async fn flow(
    begun: PartialCapture<'_>,
    head: PendingWrite<()>,
    part: Option<usize>,
    output: &Output,
) -> Result<Proven, AttemptError> {
    let PartialCapture { capture, mut verifier, gathered, heartbeat } = begun;
    let mut queue = PieceQueue::new(gathered);
    let mut writing = Some(head);
    loop {
        if writing.is_none() && queue.size >= part.unwrap_or(1) {
            writing = Some(output.part(queue.next(part)));
        }
        tokio::select! {
            done = async { match writing.as_mut() {
                Some(writing) => written(writing).await,
                None => std::future::pending().await,
            }} => {
                writing = None;
                done?;
            }
            next = capture.next() => match next? {
                Some(bytes) => {
                    heartbeat.beat();
                    queue.push(bytes.clone());
                    verifier = verifier.fed(bytes).await?;
                }
                None => break,
            }
        }
    }
    if let Some(writing) = writing {
        written(writing).await?;
    }
    let proven = verdict(verifier, &heartbeat).await?;
    while queue.size > 0 {
        written(output.part(queue.next(part))).await?;
    }
    Ok(proven)
}

/// Writes the bytes that have come, and all that follow, to an unlinked file that only we can read.
async fn spool(begun: PartialCapture<'_>, dir: &Path) -> Result<(Proven, Snapshot), AttemptError> {
    let PartialCapture { capture, mut verifier, gathered, heartbeat } = begun;
    let failed = |cause| OutputError::Spool { dir: dir.display().to_string(), cause };
    let file = tempfile::tempfile_in(dir).map_err(failed)?;
    let mut waiting = PieceQueue::new(gathered);
    let mut writing: Option<JoinHandle<io::Result<(File, Sha256)>>> = None;
    let mut ended = false;
    let mut idle = Some((file, Sha256::new()));
    while !ended || writing.is_some() || waiting.size > 0 {
        if waiting.size > 0
            && let Some((mut to, mut hasher)) = idle.take()
        {
            let pieces = waiting.take(waiting.size);
            let at_work = heartbeat.at_work();
            writing = Some(tokio::task::spawn_blocking(move || {
                let _at_work = at_work;
                for piece in pieces {
                    to.write_all(&piece)?;
                    hasher.update(&piece);
                }
                Ok((to, hasher))
            }));
        }
        tokio::select! {
            done = async { match writing.as_mut() {
                Some(writing) => writing.await.map_err(io::Error::other)?,
                None => std::future::pending().await,
            }} => {
                writing = None;
                idle = Some(done.map_err(failed)?);
            }
            next = capture.next(), if !ended => match next? {
                Some(bytes) => {
                    heartbeat.beat();
                    waiting.push(bytes.clone());
                    verifier = verifier.fed(bytes).await?;
                }
                None => ended = true,
            }
        }
    }
    let proven = verdict(verifier, &heartbeat).await?;
    match idle {
        Some((file, hasher)) => Ok((proven, Snapshot::Spool(file, Digest::finish(hasher)))),
        None => Err(failed(io::Error::other("its writing broke off")).into()),
    }
}

/// Waits for a write to the archive.
pub(super) async fn written<T>(writing: impl Future<Output = io::Result<T>>) -> Result<T, OutputError> {
    writing.await.map_err(OutputError::Archive)
}

/// Bytes that wait until they are written.
struct PieceQueue {
    pieces: std::collections::VecDeque<Bytes>,
    size: usize,
}

impl PieceQueue {
    fn new(pieces: Vec<Bytes>) -> Self {
        PieceQueue { size: pieces.iter().map(Bytes::len).sum(), pieces: pieces.into() }
    }

    fn push(&mut self, bytes: Bytes) {
        self.size += bytes.len();
        self.pieces.push_back(bytes);
    }

    /// Takes the bytes of the next part, if `part` is the size of one, or else the next piece.
    fn next(&mut self, part: Option<usize>) -> Vec<Bytes> {
        let piece = self.pieces.front().map_or(0, Bytes::len);
        self.take(part.unwrap_or(piece))
    }

    /// Takes the first `size` bytes, or all that there are.
    fn take(&mut self, size: usize) -> Vec<Bytes> {
        let mut taken = Vec::new();
        let mut missing = size.min(self.size);
        self.size -= missing;
        while let Some(mut piece) = self.pieces.pop_front() {
            if piece.len() > missing {
                let rest = piece.split_off(missing);
                self.pieces.push_front(rest);
            }
            missing -= piece.len();
            if !piece.is_empty() {
                taken.push(piece);
            }
            if missing == 0 {
                break;
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_cut_at_any_place() {
        let mut queue = PieceQueue::new(vec![Bytes::from_static(b"abc"), Bytes::from_static(b"defg")]);
        assert_eq!(queue.take(5).concat(), b"abcde");
        queue.push(Bytes::from_static(b"h"));
        assert_eq!(queue.size, 3);
        assert_eq!(queue.take(3).concat(), b"fgh");
        assert_eq!(queue.take(3), Vec::<Bytes>::new());
    }
}
