//! The progress of a program. The code that does the work notes it here. It is shown as lines at the bottom of a terminal,
//! as JSON lines for another program, or as one line after SIGUSR1. Knows no server and no archive.
//!
//! The rules of the terminal:
//!
//! - Nothing is shown before [`TAKEN`] bytes have gone through the pipe, or while the terminal's echo is off. The next
//!   program in the pipe may ask for a passphrase on the same terminal, and it reads nothing meanwhile.
//! - The lines are removed when the program ends.
//! - Without a terminal, only SIGUSR1 is answered.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, Metadata};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use signal_hook::consts::SIGUSR1;
use signal_hook::iterator::{Handle, Signals};

use super::log;
use super::messages::{Messages, Style};
use super::screen;
use super::standard_streams::stderr_is_terminal;
use crate::exit::Exit;
use crate::names::{Size, StreamName, counted};

/// How many bytes of the archive must have been taken before anything is drawn.
const TAKEN: u64 = 1 << 20;

/// How often the screen changes.
const REDRAW: Duration = Duration::from_millis(200);

/// How often a JSON line tells how far it is.
const REPORT: Duration = Duration::from_secs(1);

/// How far back speed and time left look.
const LOOK_BACK: Duration = Duration::from_secs(10);

/// What must have been seen before anything is said of the time left.
const LOOK_BACK_LEAST: Duration = Duration::from_secs(2);

/// Streams in flight with a line of their own, at most.
const LINES: usize = 8;

/// What the program does, in words.
#[derive(Clone, Copy, Debug)]
pub struct Verbs {
    /// What becomes of a stream: `captured`.
    pub streams: &'static str,
    /// What becomes of the archive: `written`.
    pub archive: &'static str,
}

/// How far a program is; cheap to clone.
#[derive(Clone)]
pub struct Progress(Arc<Shared>);

struct Shared {
    doing: Verbs,
    begun: Instant,
    /// Bytes of the archive that have gone through the pipe.
    taken: AtomicU64,
    state: Mutex<State>,
    /// Where events go as JSON; none where nobody reads them.
    events: Option<Messages>,
    /// The results for the report. None if there will be no report.
    results: Option<Mutex<Results>>,
}

#[derive(Default)]
struct State {
    /// What will have gone through the pipe in the end, where that is known.
    archive: Option<u64>,
    /// Streams, and bytes of messages in them, that are coming; none where it is not known.
    expected: Option<(u64, u64)>,
    done: u64,
    failed: u64,
    /// Bytes of messages in the streams that are done.
    done_bytes: u64,
    in_flight: Vec<Arc<FlightState>>,
    /// Past measurements: when, bytes of the archive, bytes of messages.
    seen: VecDeque<(Instant, u64, u64)>,
}

struct FlightState {
    stream: StreamName,
    /// Bytes of messages that it is said to hold; none where nobody said.
    expected: Option<u64>,
    read: Arc<AtomicU64>,
}

/// How far a program is, as one answer.
#[derive(Clone, Debug, Serialize)]
pub struct Totals {
    elapsed_ms: u64,
    streams: Option<u64>,
    streams_done: u64,
    streams_failed: u64,
    bytes: Option<u64>,
    bytes_done: u64,
    archive_bytes: u64,
}

/// The result of a run, for its report.
#[derive(Debug, Default, Serialize)]
pub struct RunSummary {
    #[serde(skip)]
    pub(super) answer: Option<&'static str>,
    archive: Option<Archive>,
    progress: Option<Totals>,
    keys: Option<Keys>,
    streams: Vec<StreamResult>,
}

/// The archive that a program wrote or read, without compression and encryption.
#[derive(Debug, Serialize)]
struct Archive {
    bytes: u64,
    sha256: String,
}

/// How many keys had each outcome.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Keys {
    /// Exported, imported, or sound.
    pub done: u64,
    /// There already, with the same value.
    pub there: u64,
    /// Of a kind that is neither exported nor imported.
    pub skipped: u64,
    /// Not valid, or there with another value.
    pub failed: u64,
}

/// The outcome of a stream.
#[derive(Clone, Debug, Serialize)]
pub struct StreamResult {
    /// Its name.
    pub name: String,
    /// In one word.
    pub outcome: StreamOutcome,
    /// Messages in its snapshot.
    pub messages: Option<u64>,
    /// The snapshot's length as it lies in the archive, in bytes.
    pub bytes: Option<u64>,
    /// Why it is not done.
    pub reason: Option<String>,
}

/// The outcome of a stream, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamOutcome {
    /// All is well.
    Done,
    /// It is there, and lacks something.
    Incomplete,
    /// It is not there.
    Failed,
    /// It was left out, or left alone.
    Skipped,
}

impl StreamResult {
    /// A stream with so many messages in so many bytes.
    pub fn done(name: &StreamName, messages: u64, bytes: u64) -> Self {
        let (messages, bytes) = (Some(messages), Some(bytes));
        StreamResult {
            name: name.as_str().into(),
            outcome: StreamOutcome::Done,
            messages,
            bytes,
            reason: None,
        }
    }

    /// A stream that did not come to that.
    pub fn not(name: &str, outcome: StreamOutcome, reason: impl Into<String>) -> Self {
        let (messages, bytes) = (None, None);
        StreamResult { name: name.into(), outcome, messages, bytes, reason: Some(reason.into()) }
    }

    /// The same where something is missing, for this reason.
    pub fn lacking(self, reason: Option<String>) -> Self {
        let outcome = if reason.is_some() { StreamOutcome::Incomplete } else { self.outcome };
        StreamResult { outcome, reason, ..self }
    }
}

/// The results that are collected for the report.
#[derive(Default)]
struct Results {
    streams: BTreeMap<String, StreamResult>,
    keys: Option<Keys>,
    answer: Option<&'static str>,
    /// The archive's digest and its length in bytes, as far as it has come.
    archive: Option<(Sha256, u64)>,
}

/// One stream on its way; it is over when this is dropped.
pub struct StreamInFlight {
    progress: Progress,
    state: Arc<FlightState>,
    done: bool,
}

/// Shows a [`Progress`] until it is dropped.
pub struct ProgressDisplay {
    stop: Option<Sender<()>>,
    drawing: Option<JoinHandle<()>>,
    signals: Option<(Handle, JoinHandle<()>)>,
}

/// What SIGUSR1 asked since the program began, until somebody answers.
static QUESTIONS: Mutex<Option<Signals>> = Mutex::new(None);

/// Takes questions (SIGUSR1) from now on; they are answered once there is a [`Progress`] that is shown. To be
/// called before anything else: until then the signal ends the program.
pub fn take_questions() {
    // A program that cannot take them works all the same.
    *QUESTIONS.lock().unwrap_or_else(PoisonError::into_inner) = Signals::new([SIGUSR1]).ok();
}

fn questions() -> Option<Signals> {
    let taken = QUESTIONS.lock().unwrap_or_else(PoisonError::into_inner).take();
    taken.or_else(|| Signals::new([SIGUSR1]).ok())
}

impl Progress {
    /// Nothing has happened yet, and nobody is told of what will.
    pub fn new(doing: Verbs) -> Self {
        Self::with(doing, None, None)
    }

    fn with(doing: Verbs, events: Option<Messages>, results: Option<Mutex<Results>>) -> Self {
        Progress(Arc::new(Shared {
            doing,
            begun: Instant::now(),
            taken: AtomicU64::new(0),
            state: Mutex::default(),
            events,
            results,
        }))
    }

    /// The same, shown as `messages` asks until the second value is dropped.
    pub fn shown(doing: Verbs, messages: Messages) -> (Self, ProgressDisplay) {
        let style = messages.style();
        let reports = style == Style::Json && !messages.are_quiet();
        let results = log::is_kept().then(Mutex::default);
        let progress = Self::with(doing, reports.then_some(messages), results);
        *current() = Some(progress.clone());
        let (stop, stopped) = channel();
        let draws = style == Style::Terminal && stderr_is_terminal() && screen::can_be_erased();
        let every = if draws { REDRAW } else { REPORT };
        let drawing = (draws || reports).then(|| {
            let progress = progress.clone();
            std::thread::spawn(move || {
                while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(every) {
                    progress.measure();
                    match draws {
                        true if progress.taken() > TAKEN => screen::show(&progress.lines(screen::columns())),
                        true => {}
                        false => progress.event(|| progress.report()),
                    }
                }
                screen::clear();
            })
        });
        let signals = questions().map(|mut signals| {
            let (handle, progress) = (signals.handle(), progress.clone());
            let answering = std::thread::spawn(move || {
                for _ in signals.forever() {
                    match style {
                        Style::Json => messages.event(&progress.report()),
                        _ => messages.answer(&progress.line()),
                    }
                }
            });
            (handle, answering)
        });
        (progress, ProgressDisplay { stop: Some(stop), drawing, signals })
    }

    /// So many bytes of the archive have gone through the pipe.
    pub fn took(&self, bytes: usize) {
        self.0.taken.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The archive is so long, in bytes.
    pub fn archive_is(&self, bytes: u64) {
        self.state().archive = Some(bytes);
    }

    /// So many streams are coming, with so many bytes of messages.
    pub fn expect(&self, streams: u64, bytes: u64) {
        self.state().expected = Some((streams, bytes));
        self.event(|| json!({"event": "expect", "streams": streams, "bytes": bytes}));
    }

    /// A stream begins, with so many bytes of messages.
    pub fn begin(&self, stream: &StreamName, expected: Option<u64>) -> StreamInFlight {
        let state = Arc::new(FlightState { stream: stream.clone(), expected, read: Arc::default() });
        self.state().in_flight.push(Arc::clone(&state));
        self.event(|| json!({"event": "begin", "stream": stream.as_str(), "bytes": expected}));
        StreamInFlight { progress: self.clone(), state, done: false }
    }

    /// A stream that will not come any more.
    pub fn failed(&self, stream: &StreamName) {
        self.state().failed += 1;
        self.event(|| json!({"event": "failed", "stream": stream.as_str()}));
    }

    /// What became of a stream, for the report; the last word counts, but the first of a failure.
    pub fn result(&self, result: StreamResult) {
        self.note(|results| {
            let before = results.streams.get(&result.name);
            if before.is_none_or(|before| before.outcome != StreamOutcome::Failed) {
                results.streams.insert(result.name.clone(), result);
            }
        });
    }

    /// How many keys became what, for the report.
    pub fn keys(&self, keys: Keys) {
        self.note(|results| results.keys = Some(keys));
    }

    /// The outcome in a word, where the exit status has a meaning of its own.
    pub fn answer(&self, answer: &'static str) {
        self.note(|results| results.answer = Some(answer));
    }

    /// `inner`, through which the archive goes: the report has its digest.
    pub fn summed<T>(&self, inner: T) -> ReportHash<T> {
        self.note(|results| results.archive = Some((Sha256::new(), 0)));
        ReportHash { inner, progress: self.clone() }
    }

    fn note(&self, note: impl FnOnce(&mut Results)) {
        if let Some(results) = &self.0.results {
            note(&mut results.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    fn summary(&self) -> RunSummary {
        let mut summary = RunSummary { progress: Some(self.totals()), ..RunSummary::default() };
        self.note(|results| {
            summary.answer = results.answer;
            summary.keys = results.keys;
            summary.streams = std::mem::take(&mut results.streams).into_values().collect();
            summary.archive = results.archive.take().map(|(sum, bytes)| Archive {
                bytes,
                sha256: sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect(),
            });
        });
        summary
    }

    fn taken(&self) -> u64 {
        self.0.taken.load(Ordering::Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn event(&self, event: impl FnOnce() -> Value) {
        if let Some(messages) = self.0.events {
            messages.event(&event());
        }
    }

    fn measure(&self) {
        let (now, taken) = (Instant::now(), self.taken());
        let mut state = self.state();
        let read = state.read();
        while state.seen.front().is_some_and(|(then, ..)| now.duration_since(*then) > LOOK_BACK) {
            state.seen.pop_front();
        }
        state.seen.push_back((now, taken, read));
    }

    /// The whole, as one line.
    fn line(&self) -> String {
        let Verbs { streams, archive } = self.0.doing;
        let (state, taken) = (self.state(), self.taken());
        let mut parts = Vec::new();
        match state.expected {
            Some((all, _)) => parts.push(format!("{} of {} {streams}", state.done, counted(all, "stream"))),
            None if state.done > 0 => parts.push(format!("{} {streams}", counted(state.done, "stream"))),
            None => {}
        }
        parts.extend(state.failures());
        let of = state.archive.map(|bytes| format!(" of {}", Size(bytes))).unwrap_or_default();
        parts.push(format!("{}{of} {archive}", Size(taken)));
        if let Some(speed) = state.speed(|(_, taken, _)| *taken) {
            parts.push(format!("{}/s", Size(speed as u64)));
        }
        parts.push(match state.seconds_left(taken) {
            Some(seconds) => format!("{} left", clock(seconds)),
            None => format!("{} so far", clock(self.0.begun.elapsed().as_secs())),
        });
        parts.join(", ")
    }

    /// The same where there is less room.
    fn short_line(&self) -> String {
        let (state, taken) = (self.state(), self.taken());
        let mut parts = Vec::new();
        if let Some((all, _)) = state.expected {
            parts.push(format!("{}/{all}", state.done));
        }
        parts.extend(state.failures());
        parts.push(Size(taken).to_string());
        parts.extend(state.seconds_left(taken).map(|seconds| format!("{} left", clock(seconds))));
        parts.join(", ")
    }

    /// The streams in flight, a line each, and the whole.
    fn lines(&self, columns: usize) -> Vec<String> {
        let mut lines: Vec<String> = {
            let state = self.state();
            let mut lines: Vec<_> =
                state.in_flight.iter().take(LINES).map(|state| state.line(columns)).collect();
            if state.in_flight.len() > LINES {
                lines.push(format!("and {} more", state.in_flight.len() - LINES));
            }
            lines
        };
        let line = self.line();
        lines.push(if line.len() < columns { line } else { self.short_line() });
        lines
    }

    fn totals(&self) -> Totals {
        let state = self.state();
        Totals {
            elapsed_ms: u64::try_from(self.0.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            streams: state.expected.map(|(streams, _)| streams),
            streams_done: state.done,
            streams_failed: state.failed,
            bytes: state.expected.map(|(_, bytes)| bytes),
            bytes_done: state.read(),
            archive_bytes: self.taken(),
        }
    }

    /// All of it, for a program.
    fn report(&self) -> Value {
        Value::Object(self.event_members("progress"))
    }

    fn event_members(&self, event: &str) -> Map<String, Value> {
        let mut members = match serde_json::to_value(self.totals()) {
            Ok(Value::Object(members)) => members,
            _ => Map::new(),
        };
        let state = self.state();
        let in_flight = state.in_flight.iter().map(|state| {
            let read = state.read.load(Ordering::Relaxed);
            json!({"stream": state.stream.as_str(), "bytes": state.expected, "bytes_read": read})
        });
        members.insert("in_flight".into(), in_flight.collect());
        members.insert("event".into(), event.into());
        members
    }
}

impl State {
    /// Bytes of messages that were read, in streams that are done and that are not.
    fn read(&self) -> u64 {
        self.in_flight.iter().fold(self.done_bytes, |sum, state| {
            // A snapshot holds more than its messages, and a stream that failed is read again.
            let read = state.read.load(Ordering::Relaxed);
            sum.saturating_add(state.expected.map_or(read, |expected| read.min(expected)))
        })
    }

    fn failures(&self) -> Option<String> {
        (self.failed > 0).then(|| format!("{} failed", self.failed))
    }

    /// How many a second.
    fn speed(&self, of: impl Fn(&(Instant, u64, u64)) -> u64) -> Option<f64> {
        let (first, last) = (self.seen.front()?, self.seen.back()?);
        let time = last.0.duration_since(first.0);
        (time >= LOOK_BACK_LEAST).then(|| of(last).saturating_sub(of(first)) as f64 / time.as_secs_f64())
    }

    fn seconds_left(&self, taken: u64) -> Option<u64> {
        let (left, speed) = match (self.archive, self.expected) {
            (Some(all), _) => (all.saturating_sub(taken), self.speed(|(_, taken, _)| *taken)?),
            (None, Some((_, all))) => (all.saturating_sub(self.read()), self.speed(|(.., read)| *read)?),
            (None, None) => return None,
        };
        (speed >= 1.0).then(|| (left as f64 / speed).ceil() as u64)
    }
}

impl FlightState {
    fn line(&self, columns: usize) -> String {
        let read = self.read.load(Ordering::Relaxed);
        let far = match self.expected {
            Some(expected) if expected > 0 => {
                let read = read.min(expected);
                let percent = u128::from(read) * 100 / u128::from(expected);
                format!("{percent:3} % of {:>10}", Size(expected).to_string())
            }
            _ => format!("{:>10}", Size(read).to_string()),
        };
        // The figures of lines that stand below one another do so too.
        let room = columns.saturating_sub(far.len() + 3).clamp(8, 40);
        let name = self.stream.to_string();
        match name.char_indices().nth(room) {
            Some(_) => {
                let begin: String = name.chars().take(room - 1).collect();
                format!("{begin}{} {far}", screen::ellipsis())
            }
            None => format!("{name:room$} {far}"),
        }
    }
}

impl StreamInFlight {
    /// Where to note how many bytes of messages have been read so far.
    pub fn read(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.state.read)
    }

    /// The stream is captured, or restored.
    pub fn done(mut self) {
        self.done = true;
    }
}

impl Drop for StreamInFlight {
    fn drop(&mut self) {
        let mut state = self.progress.state();
        state.in_flight.retain(|state| !Arc::ptr_eq(state, &self.state));
        if self.done {
            let read = self.state.read.load(Ordering::Relaxed);
            state.done += 1;
            state.done_bytes = state.done_bytes.saturating_add(self.state.expected.unwrap_or(read));
        }
        drop(state);
        let event = if self.done { "done" } else { "broken_off" };
        self.progress.event(|| json!({"event": event, "stream": self.state.stream.as_str()}));
    }
}

impl Drop for ProgressDisplay {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(drawing) = self.drawing.take() {
            // It cannot panic, and there is nobody to tell.
            let _ = drawing.join();
        }
        if let Some((signals, answering)) = self.signals.take() {
            signals.close();
            let _ = answering.join();
        }
    }
}

/// The work of this program that is shown, or was.
static CURRENT: Mutex<Option<Progress>> = Mutex::new(None);

fn current() -> MutexGuard<'static, Option<Progress>> {
    CURRENT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The last word to a program that reads along: how far it came, and the exit status.
pub fn say_summary(messages: &Messages, exit: Exit) {
    if messages.style() == Style::Json {
        let mut event = summary_event();
        event.insert("event".into(), "summary".into());
        event.insert("status".into(), (exit as u8).into());
        messages.event(&Value::Object(event));
    }
}

/// How far the work of this program has come; nothing where none had begun.
fn summary_event() -> Map<String, Value> {
    current().as_ref().map(|progress| progress.event_members("summary")).unwrap_or_default()
}

/// The progress of this program at its end.
pub(super) fn run_summary() -> RunSummary {
    current().as_ref().map(Progress::summary).unwrap_or_default()
}

/// Computes the digest of the bytes that are written or read through it, if there will be a report.
pub struct ReportHash<T> {
    inner: T,
    progress: Progress,
}

impl<T> ReportHash<T> {
    fn passed(&self, bytes: Option<&[u8]>) {
        self.progress.note(|results| {
            if let (Some(bytes), Some((sum, length))) = (bytes, &mut results.archive) {
                sum.update(bytes);
                *length = length.saturating_add(bytes.len() as u64);
            }
        });
    }
}

impl<W: io::Write> io::Write for ReportHash<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.passed(bytes.get(..n));
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: io::Read> io::Read for ReportHash<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(into)?;
        self.passed(into.get(..n));
        Ok(n)
    }
}

/// Counts the bytes that are written or read through it.
pub struct Metered<W> {
    to: W,
    progress: Progress,
}

impl<T> Metered<T> {
    /// What goes through `to` is the archive.
    pub fn new(to: T, progress: Progress) -> Self {
        Metered { to, progress }
    }
}

impl Metered<File> {
    /// The same with an input, whose length is known where it is a file.
    pub fn reading(from: File, progress: Progress) -> Self {
        if let Some(file) = from.metadata().ok().filter(Metadata::is_file) {
            progress.archive_is(file.len());
        }
        Metered::new(from, progress)
    }
}

impl<W: io::Write> io::Write for Metered<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.to.write(bytes)?;
        self.progress.took(n);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl<R: io::Read> io::Read for Metered<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.to.read(into)?;
        self.progress.took(n);
        Ok(n)
    }
}

/// Seconds as `0:05`, `12:34` or `1:02:03`.
fn clock(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOING: Verbs = Verbs { streams: "captured", archive: "written" };

    fn name(name: &str) -> StreamName {
        StreamName::new(name).unwrap()
    }

    #[test]
    fn the_line_tells_what_is_done_and_what_is_coming() {
        let progress = Progress::new(DOING);
        progress.expect(3, 4 << 20);
        progress.took(3 << 20);
        let flight = progress.begin(&name("EVT"), Some(2 << 20));
        flight.read().store(1 << 20, Ordering::Relaxed);
        assert!(
            progress.line().starts_with("0 of 3 streams captured, 3.0 MiB written, 0:0"),
            "{}",
            progress.line()
        );
        assert_eq!(progress.lines(80)[0], format!("{:40}  50 % of    2.0 MiB", "EVT"));
        flight.done();
        drop(progress.begin(&name("BAD"), None));
        progress.failed(&name("BAD"));
        assert!(
            progress.line().starts_with("1 of 3 streams captured, 1 failed, 3.0 MiB"),
            "{}",
            progress.line()
        );
        assert_eq!(progress.report()["bytes_done"], 2 << 20);
    }

    #[test]
    fn the_time_left_follows_from_what_was_seen() {
        let progress = Progress::new(DOING);
        progress.expect(1, 1000);
        let now = Instant::now();
        {
            let mut state = progress.state();
            state.seen.push_back((now - Duration::from_secs(5), 0, 0));
            state.seen.push_back((now, 50, 500));
            state.done_bytes = 500;
            assert_eq!(state.seconds_left(50), Some(5));
            state.archive = Some(100);
            assert_eq!(state.seconds_left(50), Some(5));
            state.seen.pop_front();
            assert_eq!(state.seconds_left(50), None);
        }
        assert_eq!(clock(3723), "1:02:03");
        assert_eq!(clock(65), "1:05");
    }

    #[test]
    fn a_long_name_leaves_room_for_the_figures() {
        let progress = Progress::new(DOING);
        let _flight = progress.begin(&name(&"x".repeat(100)), Some(1 << 30));
        let line = &progress.lines(40)[0];
        assert!(line.chars().count() < 40 && line.ends_with("0 % of    1.0 GiB"), "{line}");
    }
}
