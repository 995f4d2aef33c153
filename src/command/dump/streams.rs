//! Dumps the streams of one step of the order: several small streams at once, then the large ones one by one. It tries each
//! stream again as often as allowed. Knows no bytes of a snapshot.

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering as Memory};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::attempt::{
    Attempt, AttemptError, Captured, LargeSnapshot, OutputError, SnapshotFlaw, converts, written,
};
use super::consumers::{Compared, ConsumerSearch, MissingConsumers};
use super::output::Output;
use super::plan::failed_entry;
use super::rsyncable::Rsyncable;
use super::watchdog::Heartbeat;
use crate::archive::{ManifestStream, PART_SIZE, StreamKind};
use crate::command::hint;
use crate::command::report::text_of;
use crate::jetstream::{CaptureError, Error, Listed, Server};
use crate::names::{Size, StreamName, consumers, counted};
use crate::snapshot::HALF_A_BATCH;
use crate::terminal::Messages;
use crate::terminal::progress::{Progress, StreamOutcome, StreamResult};

const WENT_BACK: &str = "unless somebody restored the stream meanwhile, the server has lost messages of it: look at its log \
                         and disk, and keep the older archives";

/// The pause before the first retry; each further one is twice as long.
const BACK_OFF: Duration = Duration::from_millis(250);

/// The longest pause before a retry.
pub(super) const BACK_OFF_MAX: Duration = Duration::from_secs(10);

/// Memory is reserved in units of this many bytes.
const UNIT: usize = 4 << 10;

/// How streams are captured.
#[derive(Clone, Debug)]
pub(super) struct CaptureOptions {
    pub no_consumers: bool,
    pub check: bool,
    /// How many small streams at once.
    pub jobs: usize,
    /// Memory for data under way, in bytes.
    pub buffer: usize,
    pub spool_dir: Option<PathBuf>,
    pub retries: u32,
    /// How snapshots are written again, if they are.
    pub rsyncable: Option<Rsyncable>,
}

/// What all streams of a dump share.
pub(super) struct Dumping<'a> {
    server: &'a Server,
    output: &'a Output,
    options: &'a CaptureOptions,
    messages: Messages,
    progress: Progress,
    /// The largest snapshot that is one entry without a spool, in bytes.
    room: usize,
    /// The hints that were printed already.
    hints: RefCell<BTreeSet<String>>,
    /// Set when the server is gone and did not come back. Then nothing more is tried.
    gone: Arc<AtomicBool>,
    /// Gets a beat for everything that happens.
    heartbeat: Arc<Heartbeat>,
    /// Finds the consumers that are missing from a snapshot.
    search: ConsumerSearch,
    /// How many streams are in the archive with something missing.
    incomplete: Cell<u64>,
}

/// A small stream's result, with the memory that it keeps reserved until it is written.
struct SmallStream {
    stream: Listed,
    outcome: Result<(Captured, u32), StreamFailure>,
    _reserved: Option<OwnedSemaphorePermit>,
}

/// Why a small stream is not written: it failed for good, or it is too large.
enum StreamFailure {
    Outgrown,
    Error { reason: FailureReason, attempts: u32 },
    Output(OutputError),
}

/// What to do after an attempt that failed.
enum AfterFailure {
    Again,
    GiveUp(FailureReason),
}

/// Why a stream is not in the archive, and what to do about it.
struct FailureReason {
    text: String,
    hint: Option<String>,
}

impl<'a> Dumping<'a> {
    pub fn new(
        server: &'a Server,
        output: &'a Output,
        options: &'a CaptureOptions,
        messages: Messages,
        progress: Progress,
        heartbeat: Arc<Heartbeat>,
    ) -> Self {
        let room = (options.buffer / 4).min(PART_SIZE);
        let (hints, gone, incomplete) = Default::default();
        let search = ConsumerSearch::new(server, &heartbeat);
        Dumping {
            server,
            output,
            options,
            messages,
            progress,
            room,
            hints,
            gone,
            heartbeat,
            search,
            incomplete,
        }
    }

    /// Captures and writes `streams`, which are sorted by size. The archive's order does not depend on
    /// which of them comes first.
    pub async fn streams(&self, streams: Vec<Listed>) -> Result<Vec<ManifestStream>, OutputError> {
        let (small, mut large): (Vec<_>, Vec<_>) =
            streams.into_iter().partition(|stream| expected_size(stream) <= self.room);
        let memory = Arc::new(Semaphore::new(self.options.buffer / UNIT));
        // Each capture is a task of its own: it must go on while an earlier one is being written. Its memory
        // is reserved before, in the order of the writing: what is kept until it is written never keeps
        // an earlier stream from being captured.
        let captured = stream::iter(small)
            .then(|stream| async {
                // Also as it came, where it is written again.
                let held = expected_size(&stream) * if self.converts(&stream) { 2 } else { 1 };
                let units = u32::try_from(held.div_ceil(UNIT)).unwrap_or(u32::MAX);
                let reserved = Arc::clone(&memory).acquire_many_owned(units).await.ok();
                (stream, reserved)
            })
            .map(|(stream, reserved)| self.spawn_small(stream, reserved))
            .buffered(self.options.jobs);
        let mut captured = pin!(captured);
        let mut entries = Vec::new();
        while let Some(joined) = captured.next().await {
            let small = match joined {
                Ok(small) => small,
                Err(e) => return Err(OutputError::Archive(std::io::Error::other(e))),
            };
            match small.outcome {
                Ok((taken, attempts)) => {
                    entries.push(self.write_whole(&small.stream.name, taken, attempts).await?);
                }
                Err(StreamFailure::Outgrown) => large.push(small.stream),
                Err(StreamFailure::Error { reason, attempts }) => {
                    entries.push(self.failed(&small.stream.name, reason, attempts));
                }
                Err(StreamFailure::Output(e)) => return Err(e),
            }
        }
        for stream in large {
            entries.push(self.large(&stream).await?);
        }
        Ok(entries)
    }

    fn spawn_small(
        &self,
        stream: Listed,
        reserved: Option<OwnedSemaphorePermit>,
    ) -> tokio::task::JoinHandle<SmallStream> {
        let server = self.server.clone();
        let search = self.search.clone();
        let mut retry = self.retry();
        let progress = self.progress.clone();
        let reserve = expected_size(&stream);
        let adds_consumers = self.adds_consumers(&stream);
        let heartbeat = Arc::clone(&self.heartbeat);
        let CaptureOptions { no_consumers, check, rsyncable, .. } = *self.options;
        tokio::spawn(async move {
            let mut attempts = 0;
            let outcome = loop {
                if let Some(reason) = retry.before(&server).await {
                    break Err(StreamFailure::Error { reason, attempts });
                }
                attempts += 1;
                let flight = progress.begin(&stream.name, Some(stream.bytes));
                let attempt = Attempt {
                    server: &server,
                    stream: &stream.name,
                    created: stream.created,
                    last_seq: stream.last_seq,
                    rsyncable,
                    no_consumers,
                    adds_consumers,
                    search: &search,
                    check,
                    // So much that a snapshot of the expected size is never held up.
                    buffer: reserve.saturating_mul(if converts(rsyncable, adds_consumers) { 8 } else { 4 }),
                    room: reserve,
                    overflow: LargeSnapshot::Refuse,
                    read: flight.read(),
                    heartbeat: Arc::clone(&heartbeat),
                };
                match attempt.run().await.and_then(|taken| retry.settle(taken, attempts)) {
                    Ok(mut taken) => {
                        flight.done();
                        taken.compare_consumers(&search, &stream.name, no_consumers).await;
                        break Ok((taken, attempts));
                    }
                    Err(AttemptError::Outgrown) => break Err(StreamFailure::Outgrown),
                    Err(AttemptError::Output(e)) => break Err(StreamFailure::Output(e)),
                    Err(error) => match retry.after(&server, &stream.name, &error, attempts).await {
                        AfterFailure::Again => {}
                        AfterFailure::GiveUp(reason) => break Err(StreamFailure::Error { reason, attempts }),
                    },
                }
            };
            SmallStream { stream, outcome, _reserved: reserved }
        })
    }

    async fn large(&self, listed: &Listed) -> Result<ManifestStream, OutputError> {
        let stream = &listed.name;
        let mut retry = self.retry();
        let mut attempts = 0;
        let mut in_archive = 0;
        loop {
            if let Some(reason) = retry.before(self.server).await {
                return Ok(self.failed(stream, reason, attempts));
            }
            attempts += 1;
            let mut opened = false;
            let flight = self.progress.begin(stream, Some(listed.bytes));
            let overflow = match &self.options.spool_dir {
                Some(dir) => LargeSnapshot::Spool(dir),
                None => {
                    LargeSnapshot::Flow { output: self.output, attempt: in_archive + 1, opened: &mut opened }
                }
            };
            let attempt = Attempt {
                server: self.server,
                stream,
                created: listed.created,
                last_seq: listed.last_seq,
                rsyncable: self.options.rsyncable,
                no_consumers: self.options.no_consumers,
                adds_consumers: self.adds_consumers(listed),
                search: &self.search,
                check: self.options.check,
                buffer: self.options.buffer,
                room: self.room,
                overflow,
                read: flight.read(),
                heartbeat: Arc::clone(&self.heartbeat),
            };
            let error = match attempt.run().await.and_then(|taken| retry.settle(taken, attempts)) {
                Ok(mut taken) => {
                    flight.done();
                    taken.compare_consumers(&self.search, stream, self.options.no_consumers).await;
                    if taken.snapshot.is_some() {
                        return self.write_whole(stream, taken, attempts).await;
                    }
                    let entry = self.entry(stream, &taken, attempts);
                    let parts_sha256 = written(self.output.parts_digest()).await?;
                    return Ok(ManifestStream { attempt: Some(in_archive + 1), parts_sha256, ..entry });
                }
                Err(AttemptError::Output(e)) => return Err(e),
                Err(error) => error,
            };
            drop(flight);
            if opened {
                in_archive += 1;
                written(self.output.abandon(text_of(&anyhow::anyhow!("{error}")))).await?;
            }
            match retry.after(self.server, stream, &error, attempts).await {
                AfterFailure::Again => {}
                AfterFailure::GiveUp(reason) => return Ok(self.failed(stream, reason, attempts)),
            }
        }
    }

    async fn write_whole(
        &self,
        stream: &StreamName,
        mut taken: Captured,
        attempts: u32,
    ) -> Result<ManifestStream, OutputError> {
        let mut entry = self.entry(stream, &taken, attempts);
        if let Some(snapshot) = taken.snapshot.take() {
            let json: Bytes = taken.backup_json.clone();
            let whole = self.output.whole(stream.clone(), json, snapshot, taken.proven.bytes);
            entry.sha256 = Some(written(whole).await?);
        }
        Ok(entry)
    }

    /// The stream's entry in the manifest: everything counted in the snapshot.
    fn entry(&self, stream: &StreamName, taken: &Captured, attempts: u32) -> ManifestStream {
        let Captured { proven, captured_at, duration_ms, .. } = taken;
        let contents = &proven.contents;
        self.messages.detail(&format!(
            "stream {stream}: {}, {}, {}",
            counted(contents.messages, "message"),
            counted(contents.consumers, "consumer"),
            Size(proven.bytes)
        ));
        let (consumers_added, missing_consumers, complete) =
            self.say_left_out(stream, taken.left_out.as_ref());
        if contents.within_batch || !complete {
            self.incomplete.set(self.incomplete.get() + 1);
        }
        if contents.within_batch {
            self.messages.error(&format!("stream {stream}: in the archive, but {HALF_A_BATCH}"));
        }
        let lacks = match (contents.within_batch, complete, missing_consumers.as_slice()) {
            (true, ..) => Some(HALF_A_BATCH.to_owned()),
            (false, true, _) => None,
            (false, false, []) => Some("consumers may be missing".to_owned()),
            (false, false, missing) => Some(format!("lacks {}", consumers(missing))),
        };
        self.progress.result(StreamResult::done(stream, contents.messages, proven.bytes).lacking(lacks));
        if !contents.ahead.is_empty() {
            let names = consumers(&contents.ahead);
            self.messages.notice(&format!("stream {stream}: ahead of the snapshot's last message: {names}"));
        }
        let of_this_dump = self.options.rsyncable.is_none();
        ManifestStream {
            consumers_added,
            missing_consumers,
            consumers_ahead: contents.ahead.clone(),
            within_batch: contents.within_batch,
            messages: contents.messages,
            bytes: proven.bytes,
            format: Some(contents.format.to_string()),
            first_seq: Some(contents.first_seq),
            last_seq: Some(contents.last_seq),
            deleted: Some(contents.deleted),
            consumers: Some(contents.consumers),
            captured_at: of_this_dump.then_some(*captured_at),
            duration_ms: of_this_dump.then_some(*duration_ms),
            attempts: of_this_dump.then_some(attempts),
            ..ManifestStream::new(stream.clone(), StreamKind::of(stream))
        }
    }

    /// Says which consumers the server left out. Gives the names of those that were added and of those that are
    /// missing, and whether none is missing.
    fn say_left_out(
        &self,
        stream: &StreamName,
        left_out: Option<&Compared>,
    ) -> (Vec<String>, Vec<String>, bool) {
        let MissingConsumers { added, lasting, ephemeral } = match left_out {
            None => return (Vec::new(), Vec::new(), true),
            Some(Ok(left_out)) => left_out,
            Some(Err(error)) => {
                self.messages.warning(&format!(
                    "stream {stream}: cannot tell whether all its consumers are in the snapshot: {error}"
                ));
                self.hint(hint::of_server(error));
                // Somebody who may only dump may not be let to see the list, and knows it.
                return (Vec::new(), Vec::new(), matches!(error, Error::Denied { .. }));
            }
        };
        if !ephemeral.is_empty() {
            let names = consumers(ephemeral);
            self.messages.detail(&format!("stream {stream}: ephemeral and not in its snapshot: {names}"));
        }
        if !added.is_empty() {
            let names = consumers(added);
            self.messages.detail(&format!("stream {stream}: left out of its snapshot, and added: {names}"));
        }
        if !lasting.is_empty() {
            let names = consumers(lasting);
            self.messages.error(&format!("stream {stream}: the server left out of its snapshot: {names}"));
            let hint = "no snapshot of this server holds a consumer in memory, and none can be added whose \
                        leader does not answer: wait until all servers of a cluster run, or make the \
                        consumers again after a restore";
            self.hint(Some(hint.into()));
        }
        (added.clone(), lasting.clone(), lasting.is_empty())
    }

    /// Prints a hint once, because all streams may fail for the same reason.
    fn hint(&self, hint: Option<String>) {
        if let Some(hint) = hint
            && self.hints.borrow_mut().insert(hint.clone())
        {
            self.messages.hint(&hint);
        }
    }

    fn failed(&self, stream: &StreamName, reason: FailureReason, attempts: u32) -> ManifestStream {
        let FailureReason { text, hint } = reason;
        self.messages.error(&format!("stream {stream}: {text}"));
        self.progress.failed(stream);
        self.progress.result(StreamResult::not(stream.as_str(), StreamOutcome::Failed, &text));
        self.hint(hint);
        failed_entry(stream.clone(), text, Some(attempts))
    }

    /// Whether consumers may be missing from the stream's snapshot that can be added.
    fn adds_consumers(&self, stream: &Listed) -> bool {
        !self.options.no_consumers && self.search.may_add(stream.replicas)
    }

    /// Whether the stream's snapshot is written again.
    fn converts(&self, stream: &Listed) -> bool {
        converts(self.options.rsyncable, self.adds_consumers(stream))
    }

    fn retry(&self) -> Retry {
        Retry {
            retries: self.options.retries,
            messages: self.messages,
            gone: Arc::clone(&self.gone),
            heartbeat: Arc::clone(&self.heartbeat),
            flaw: None,
        }
    }

    /// How many streams are in the archive with something missing.
    pub fn incomplete(&self) -> u64 {
        self.incomplete.get()
    }
}

/// The most bytes that a small stream's snapshot needs: its messages uncompressed, and what the store keeps around them. A
/// stream that needs more is treated as a large one.
fn expected_size(stream: &Listed) -> usize {
    const AROUND: u64 = 256 << 10;
    const A_CONSUMER: u64 = 8 << 10;
    let messages = stream.bytes.saturating_add(stream.bytes / 4);
    let consumers = stream.consumers.saturating_mul(A_CONSUMER);
    let size = messages.saturating_add(consumers).saturating_add(AROUND);
    usize::try_from(size).unwrap_or(usize::MAX)
}

/// Decides whether a stream is tried, and tried again, and waits until it may be.
struct Retry {
    retries: u32,
    messages: Messages,
    gone: Arc<AtomicBool>,
    heartbeat: Arc<Heartbeat>,
    /// What was wrong with the last snapshot that was whole.
    flaw: Option<SnapshotFlaw>,
}

impl Retry {
    /// Lets a snapshot pass that is as good as it gets: without a flaw, with one that the stream itself has,
    /// or the last that may be tried.
    fn settle(&mut self, taken: Captured, attempts: u32) -> Result<Captured, AttemptError> {
        let flaw = SnapshotFlaw::of(&taken.proven.contents);
        let before = std::mem::replace(&mut self.flaw, flaw.clone());
        match flaw {
            Some(flaw) if Some(&flaw) != before.as_ref() && attempts <= self.retries => {
                Err(AttemptError::Flawed(flaw))
            }
            _ => Ok(taken),
        }
    }

    /// Why no attempt is made, if none is.
    async fn before(&self, server: &Server) -> Option<FailureReason> {
        let gone = self.gone.load(Memory::Acquire) || !self.comes_back(server).await;
        gone.then(|| FailureReason { text: "the server is gone, and does not come back".into(), hint: None })
    }

    async fn after(
        &self,
        server: &Server,
        stream: &StreamName,
        error: &AttemptError,
        attempts: u32,
    ) -> AfterFailure {
        let text = text_of(&anyhow::anyhow!("{error}"));
        if self.gone.load(Memory::Acquire) || is_final(error) {
            return AfterFailure::GiveUp(FailureReason { text, hint: hint(error) });
        }
        if !self.comes_back(server).await {
            let text = format!("{text}, and it does not come back");
            return AfterFailure::GiveUp(FailureReason { text, hint: None });
        }
        if is_silence(error) && !self.is_there(server).await {
            let text = format!("{text}, and it answers nothing any more");
            return AfterFailure::GiveUp(FailureReason { text, hint: None });
        }
        match attempts.cmp(&self.retries.saturating_add(1)) {
            Ordering::Less => {
                self.messages.detail(&format!("stream {stream}: attempt {attempts}: {text}; trying again"));
                tokio::time::sleep(back_off(attempts)).await;
                AfterFailure::Again
            }
            _ => AfterFailure::GiveUp(FailureReason { text, hint: hint(error) }),
        }
    }

    /// Waits for a connection that was lost.
    async fn comes_back(&self, server: &Server) -> bool {
        self.heartbeat.beat();
        let stands = server.reconnected().await;
        self.found(stands)
    }

    /// Waits for a sign of life over a connection that stands.
    async fn is_there(&self, server: &Server) -> bool {
        let is_there = server.is_there().await;
        self.found(is_there)
    }

    fn found(&self, stands: bool) -> bool {
        self.heartbeat.beat();
        if !stands {
            self.gone.store(true, Memory::Release);
        }
        stands
    }
}

/// Whether this may mean that nobody is at the other end any more.
fn is_silence(error: &AttemptError) -> bool {
    matches!(
        error,
        AttemptError::Capture(CaptureError::Idle(_) | CaptureError::Request(Error::TimedOut { .. }))
    )
}

fn hint(error: &AttemptError) -> Option<String> {
    match error {
        AttemptError::Capture(CaptureError::Request(e)) => hint::of_server(e),
        AttemptError::WentBack { .. } => Some(WENT_BACK.into()),
        _ => None,
    }
}

/// Errors that no further attempt mends.
fn is_final(error: &AttemptError) -> bool {
    match error {
        AttemptError::Capture(CaptureError::Request(e)) => !e.is_passing(),
        AttemptError::HalfRestored => true,
        _ => false,
    }
}

fn back_off(attempts: u32) -> Duration {
    let doubled = 2u32.saturating_pow(attempts.saturating_sub(1));
    BACK_OFF.saturating_mul(doubled).min(BACK_OFF_MAX)
}
