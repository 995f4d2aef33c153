//! One attempt at one stream: take the snapshot, have it checked as it flows past, and see that it
//! ends well. What becomes of the bytes differs: a small snapshot stays in memory until it is proven,
//! a large one flows into the archive in parts, or into a spool.

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

use super::consumers::{Compared, ConsumerSearch, may_lack_some};
use super::output::{Output, Snapshot, Writing};
use super::plan::HALF;
use super::rsyncable::{Rewritten, Rsyncable, rewriting};
use super::watchdog::Pulse;
use crate::archive::{Digest, PART_SIZE};
use crate::command::conversion::Conversion;
use crate::command::verifier::{NotProven, Proven, Verifier};
use crate::description::{BadDescription, Description};
use crate::jetstream::{Capture, CaptureError, InFlight, Server, Snapshotting};
use crate::names::StreamName;
use crate::snapshot::{Contents, ConvertError, HALF_A_BATCH, InspectOptions};

/// A snapshot that came whole and was proven.
pub(super) struct Captured {
    pub backup_json: Bytes,
    pub proven: Proven,
    /// How many consumers the server spoke of when the snapshot began.
    pub consumers: u64,
    pub captured_at: Timestamp,
    pub begun: Instant,
    pub duration_ms: u64,
    /// The bytes, unless they have flowed into the archive already.
    pub snapshot: Option<Snapshot>,
    /// The consumers that the server left out, once that was looked into.
    pub left_out: Option<Compared>,
}

impl Captured {
    /// Looks which consumers are not in the snapshot, unless none were wanted, or that is known.
    pub async fn compare_consumers(&mut self, search: &ConsumerSearch, stream: &StreamName, unwanted: bool) {
        if !unwanted && self.left_out.is_none() {
            let contents = &self.proven.contents;
            self.left_out = Some(search.left_out(stream, contents, self.consumers, self.begun).await);
        }
    }
}

/// What is wrong with a snapshot that is whole: it was taken at a moment that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    last_seq: u64,
    within_batch: bool,
    ahead: Vec<String>,
}

impl Flaw {
    pub fn of(contents: &Contents) -> Option<Flaw> {
        let Contents { last_seq, within_batch, ahead, .. } = contents;
        let flaw = Flaw { last_seq: *last_seq, within_batch: *within_batch, ahead: ahead.clone() };
        (flaw.within_batch || !flaw.ahead.is_empty()).then_some(flaw)
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.within_batch {
            true => write!(f, "the snapshot does not count: {HALF_A_BATCH}"),
            false => f.write_str("the snapshot does not count: consumers are ahead of its last message"),
        }
    }
}

/// Why an attempt came to nothing.
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
    /// Nothing can be added to it.
    #[error("it cannot be passed on: {0}")]
    Convert(#[from] ConvertError),
    /// It is whole, and another one may be better.
    #[error("{0}")]
    Flawed(Flaw),
    /// Larger than was to be expected, and not allowed to flow.
    #[error("it is larger than the server said")]
    Outgrown,
    /// Not this stream's fault: the archive, or the spool, cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// The archive or the spool cannot be written, or nothing is: the dump as a whole is over.
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
    /// Nothing happens any more, and nobody is waited for.
    #[error("nothing has been read or written for {} s, although nothing is waited for", .0.as_secs())]
    Stuck(Duration),
}

/// Where a snapshot goes that is too large for memory.
pub(super) enum Overflow<'a> {
    /// Nowhere: the attempt is over, and another one has to make room.
    Refuse,
    /// Into the archive, as parts of the attempt with this number.
    Flow { output: &'a Output, attempt: u32, opened: &'a mut bool },
    /// Into an unlinked file in this directory.
    Spool(&'a Path),
}

/// How one attempt is made.
pub(super) struct Attempt<'a> {
    pub server: &'a Server,
    pub stream: &'a StreamName,
    /// How many servers keep it.
    pub replicas: u32,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// How it is written again, if it is.
    pub rsyncable: Option<Rsyncable>,
    pub no_consumers: bool,
    /// What finds the consumers that the snapshot lacks.
    pub search: &'a ConsumerSearch,
    pub check: bool,
    /// What may be held in memory in all, in bytes.
    pub buffer: usize,
    /// The largest snapshot that stays in memory, and the size of a part, in bytes.
    pub room: usize,
    pub overflow: Overflow<'a>,
    /// Where to note how many bytes of messages have been read.
    pub read: Arc<AtomicU64>,
    /// Told of all that happens.
    pub pulse: Arc<Pulse>,
}

impl Attempt<'_> {
    pub async fn run(self) -> Result<Captured, AttemptError> {
        let in_flight = Arc::new(InFlight::default());
        let captured_at = Timestamp::now();
        let begun = Instant::now();
        let pulse = Arc::clone(&self.pulse);
        pulse.beat();
        let capture = Capture::begin(self.server, self.stream, self.snapshotting(&in_flight)).await?;
        pulse.beat();
        if capture.is_half_restored() {
            return Err(AttemptError::HalfRestored);
        }
        let description = capture.description()?;
        let backup_json = Bytes::from(description.to_json()?);
        let names = !self.no_consumers;
        let wanted = InspectOptions { decoded: Arc::clone(&self.read), names, ..InspectOptions::default() };
        let conversion = self.conversion(&description, begun);
        let (written, most) = (Arc::default(), self.buffer / 2);
        let mut capture = Source { capture, ended: false, conversion, written, most };
        let verifier = Verifier::begin(self.stream, &description.reported, wanted);
        let Gathered { gathered, verifier, overflowed } =
            gather(&mut capture, verifier, self.room, &pulse).await?;
        let (proven, snapshot) = match (overflowed, self.overflow) {
            (false, _) => (verdict(verifier, &pulse).await?, Some(Snapshot::Memory(gathered))),
            (true, Overflow::Refuse) => return Err(AttemptError::Outgrown),
            (true, Overflow::Spool(dir)) => {
                let begun = Begun { capture: &mut capture, verifier, gathered, pulse };
                let (proven, snapshot) = spool(begun, dir).await?;
                (proven, Some(snapshot))
            }
            (true, Overflow::Flow { output, attempt, opened }) => {
                *opened = true;
                let (json, part) = match self.rsyncable {
                    Some(Rsyncable { small_parts }) => {
                        (description.to_json_without_state()?.into(), (!small_parts).then_some(self.room))
                    }
                    None => (backup_json.clone(), Some(self.room)),
                };
                let head = output.attempt(self.stream.clone(), attempt, json);
                let begun = Begun { capture: &mut capture, verifier, gathered, pulse };
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

    /// How the snapshot is asked for.
    fn snapshotting(&self, in_flight: &Arc<InFlight>) -> Snapshotting {
        let converts = converts(self.server, self.rsyncable, self.no_consumers, self.replicas);
        Snapshotting {
            no_consumers: self.no_consumers,
            check: self.check,
            in_flight: Arc::clone(in_flight),
            // The other half is for what has been written again, which may be much more than what came. One count of
            // both would not do: the server sends a window as soon as what came is gone, and what is written of
            // it comes on top.
            buffer: if converts { self.buffer / 2 } else { self.buffer },
        }
    }

    /// How the snapshot is written again: all of it, or with the consumers that it lacks.
    fn conversion(&self, description: &Description, begun: Instant) -> Option<Conversion<Option<Compared>>> {
        if !converts(self.server, self.rsyncable, self.no_consumers, self.replicas) {
            return None;
        }
        if self.rsyncable.is_some() {
            let (stream, created) = (self.stream, self.created);
            let adds_consumers = !self.no_consumers && may_lack_some(self.server, self.replicas);
            let of = Rewritten { stream, description, created, adds_consumers };
            return Some(rewriting(self.search, &of, begun, self.room.min(PART_SIZE)));
        }
        Some(self.search.completing(self.stream, &description.reported, begun))
    }
}

/// Whether a snapshot is written again: all of it, or with consumers that it may lack.
pub(super) fn converts(
    server: &Server,
    rsyncable: Option<Rsyncable>,
    no_consumers: bool,
    replicas: u32,
) -> bool {
    rsyncable.is_some() || (!no_consumers && may_lack_some(server, replicas))
}

/// What has come of a snapshot that may stay in memory.
struct Gathered {
    gathered: Vec<Bytes>,
    verifier: Verifier,
    /// Whether it is too large for that, and more of it comes.
    overflowed: bool,
}

/// Takes what comes of a snapshot until it is over, or has more than `room` bytes.
async fn gather(
    capture: &mut Source,
    mut verifier: Verifier,
    room: usize,
    pulse: &Pulse,
) -> Result<Gathered, AttemptError> {
    let mut gathered = Vec::new();
    let mut size = 0;
    let overflowed = loop {
        let Some(bytes) = capture.next().await? else { break false };
        pulse.beat();
        size += bytes.len();
        gathered.push(bytes.clone());
        verifier = verifier.fed(bytes).await?;
        if size > room {
            break true;
        }
    };
    Ok(Gathered { gathered, verifier, overflowed })
}

/// A snapshot's bytes: as they come, with consumers added that are not in it, or written again.
struct Source {
    capture: Capture,
    /// Whether all has come.
    ended: bool,
    conversion: Option<Conversion<Option<Compared>>>,
    /// What has been converted and is still in memory; it is counted apart from what came.
    written: Arc<InFlight>,
    /// While there is more of it than this, in bytes, no more is taken.
    most: usize,
}

impl Source {
    /// The next bytes; none at the end. To be awaited as [`Capture::next`] is.
    async fn next(&mut self) -> Result<Option<Bytes>, AttemptError> {
        let Source { capture, ended, conversion, written, most } = self;
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

/// Waits for what the check finds, for as long as it takes.
async fn verdict(verifier: Verifier, pulse: &Arc<Pulse>) -> Result<Proven, NotProven> {
    let _at_work = pulse.at_work();
    verifier.verdict().await
}

/// A snapshot that turned out not to fit into memory.
struct Begun<'a> {
    capture: &'a mut Source,
    verifier: Verifier,
    /// What has come of it.
    gathered: Vec<Bytes>,
    pulse: Arc<Pulse>,
}

/// Writes what has come and all that follows in parts of `part` bytes, or in those in which it comes, one part at a
/// time while the next is being gathered. `head` is the write that opened the attempt.
async fn flow(
    begun: Begun<'_>,
    head: Writing<()>,
    part: Option<usize>,
    output: &Output,
) -> Result<Proven, AttemptError> {
    let Begun { capture, mut verifier, gathered, pulse } = begun;
    let mut gathering = Gathering::new(gathered);
    let mut writing = Some(head);
    loop {
        if writing.is_none() && gathering.size >= part.unwrap_or(1) {
            writing = Some(output.part(gathering.next(part)));
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
                    pulse.beat();
                    gathering.push(bytes.clone());
                    verifier = verifier.fed(bytes).await?;
                }
                None => break,
            }
        }
    }
    if let Some(writing) = writing {
        written(writing).await?;
    }
    let proven = verdict(verifier, &pulse).await?;
    while gathering.size > 0 {
        written(output.part(gathering.next(part))).await?;
    }
    Ok(proven)
}

/// Writes what has come and all that follows into an unlinked file that only we can read.
async fn spool(begun: Begun<'_>, dir: &Path) -> Result<(Proven, Snapshot), AttemptError> {
    let Begun { capture, mut verifier, gathered, pulse } = begun;
    let failed = |cause| OutputError::Spool { dir: dir.display().to_string(), cause };
    let file = tempfile::tempfile_in(dir).map_err(failed)?;
    let mut waiting = Gathering::new(gathered);
    let mut writing: Option<JoinHandle<io::Result<(File, Sha256)>>> = None;
    let mut ended = false;
    let mut idle = Some((file, Sha256::new()));
    while !ended || writing.is_some() || waiting.size > 0 {
        if waiting.size > 0
            && let Some((mut to, mut hasher)) = idle.take()
        {
            let pieces = waiting.take(waiting.size);
            let at_work = pulse.at_work();
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
                    pulse.beat();
                    waiting.push(bytes.clone());
                    verifier = verifier.fed(bytes).await?;
                }
                None => ended = true,
            }
        }
    }
    let proven = verdict(verifier, &pulse).await?;
    match idle {
        Some((file, hasher)) => Ok((proven, Snapshot::Spool(file, Digest::finish(hasher)))),
        None => Err(failed(io::Error::other("its writing broke off")).into()),
    }
}

/// Waits for a write to the archive.
pub(super) async fn written<T>(writing: impl Future<Output = io::Result<T>>) -> Result<T, OutputError> {
    writing.await.map_err(OutputError::Archive)
}

/// Bytes that wait for their turn to be written.
struct Gathering {
    pieces: std::collections::VecDeque<Bytes>,
    size: usize,
}

impl Gathering {
    fn new(pieces: Vec<Bytes>) -> Self {
        Gathering { size: pieces.iter().map(Bytes::len).sum(), pieces: pieces.into() }
    }

    fn push(&mut self, bytes: Bytes) {
        self.size += bytes.len();
        self.pieces.push_back(bytes);
    }

    /// Takes what the next part of `part` bytes has, or the next piece.
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
        let mut gathering = Gathering::new(vec![Bytes::from_static(b"abc"), Bytes::from_static(b"defg")]);
        assert_eq!(gathering.take(5).concat(), b"abcde");
        gathering.push(Bytes::from_static(b"h"));
        assert_eq!(gathering.size, 3);
        assert_eq!(gathering.take(3).concat(), b"fgh");
        assert_eq!(gathering.take(3), Vec::<Bytes>::new());
    }
}
