//! The report of a run, as one JSON object for another program (`--report`). chatto-report(5) documents it; members may be
//! added. Knows how a run ended, its messages and its progress, but nothing of the work.
//!
//! A process has one report. It is written once, at the end. A new file replaces the old one only when it is whole and on
//! the disk, so a run that is killed leaves the old report as it was.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use jiff::Timestamp;
use serde::Serialize;

use super::log::{self, LogEntry};
use super::messages::Style;
use super::progress::{self, RunSummary};
use super::screen;
use super::standard_streams::{stderr, stdout};
use crate::exit::Exit;

/// What every report begins with. A file that begins otherwise is something else, and is never replaced.
const BEGINNING: &[u8] = br#"{"program":"chatto-"#;

/// The room for a report that there must be before anything is done, in bytes: that of some 500 streams.
const ROOM: usize = 64 << 10;

/// The bits that the umask is taken from, as for any output.
const MODE: u32 = 0o666;

/// Where a report goes.
#[derive(Debug)]
pub enum ReportTarget {
    /// A line on stderr.
    Stderr,
    /// A file, which is replaced.
    File(PathBuf),
    /// A pipe or a device: the report is written there directly.
    Open(File),
}

/// Why there can be no report at a place.
#[derive(Debug, thiserror::Error)]
pub enum Unwritable {
    /// The system says no.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It would replace something else.
    #[error("the file is no report, and is not replaced")]
    NoReport,
    /// The report would replace the output of the program.
    #[error("the program writes its output or its messages there")]
    Output,
}

/// The members that are known before the work begins.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RunHeader {
    /// The program.
    pub program: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The subcommand, or the program's name without `chatto-`; none where it was not understood.
    pub command: Option<String>,
    /// Whether nothing was to be changed.
    pub dry_run: bool,
}

/// How a run ended.
#[derive(Clone, Copy, Debug)]
pub enum RunEnd {
    /// With a status.
    Exit(Exit),
    /// By a signal.
    Signal(i32),
}

struct Report {
    to: ReportTarget,
    head: RunHeader,
    started: Timestamp,
    begun: Instant,
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    head: &'a RunHeader,
    outcome: &'static str,
    exit_status: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    started: Timestamp,
    finished: Timestamp,
    seconds: f64,
    #[serde(flatten)]
    summary: RunSummary,
    log: &'a [LogEntry],
    log_omitted: u64,
}

static REPORT: Mutex<Option<Report>> = Mutex::new(None);

/// Held while a run ends: it ends in one way.
static END: Mutex<()> = Mutex::new(());

fn report() -> MutexGuard<'static, Option<Report>> {
    REPORT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps others from ending the run, for whoever does.
pub fn end() -> MutexGuard<'static, ()> {
    END.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RunHeader {
    /// A run of `program` of which nothing else is known yet.
    pub fn new(program: &'static str) -> Self {
        RunHeader { program, version: env!("CARGO_PKG_VERSION"), ..RunHeader::default() }
    }
}

impl ReportTarget {
    /// Looks whether a report can be written to `path`, and makes sure that nothing else is lost by it.
    ///
    /// # Errors
    /// When it cannot.
    pub fn claim(path: &Path) -> Result<ReportTarget, Unwritable> {
        if path == Path::new("-") {
            return Ok(ReportTarget::Stderr);
        }
        let found = match fs::metadata(path) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let path = match found {
            Some(found) if found.is_dir() => return Err(io::Error::from(io::ErrorKind::IsADirectory).into()),
            Some(found) if !found.is_file() => {
                return Ok(ReportTarget::Open(OpenOptions::new().append(true).open(path)?));
            }
            Some(found) => {
                require_replaceable(path, &found)?;
                // A link stays, and its target is replaced.
                fs::canonicalize(path)?
            }
            None => path.to_owned(),
        };
        let mut trial = beside(&path)?;
        trial.write_all(&vec![b' '; ROOM])?;
        trial.flush()?;
        Ok(ReportTarget::File(path))
    }

    fn write(self, text: &[u8]) -> io::Result<()> {
        match self {
            ReportTarget::Stderr => {
                screen::words(String::from_utf8_lossy(text).trim_end());
                Ok(())
            }
            ReportTarget::Open(mut file) => file.write_all(text),
            ReportTarget::File(path) => {
                let mut file = beside(&path)?;
                file.write_all(text)?;
                file.as_file().sync_all()?;
                file.persist(&path).map_err(|error| error.error)?;
                // So that the name is on the disk as well; some file systems cannot do this, and need not.
                let _ = File::open(directory(&path)).and_then(|directory| directory.sync_all());
                Ok(())
            }
        }
    }
}

/// Refuses what `found` at `path` is no report of ours, or is where the program writes.
fn require_replaceable(path: &Path, found: &Metadata) -> Result<(), Unwritable> {
    let is = |file: io::Result<File>| {
        file.and_then(|file| file.metadata())
            .is_ok_and(|other| (other.dev(), other.ino()) == (found.dev(), found.ino()))
    };
    if is(stdout()) || is(stderr()) {
        return Err(Unwritable::Output);
    }
    let mut beginning = Vec::new();
    File::open(path)?.take(BEGINNING.len() as u64).read_to_end(&mut beginning)?;
    match beginning.is_empty() || beginning == BEGINNING {
        true => Ok(()),
        false => Err(Unwritable::NoReport),
    }
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file that can take the place of `path`.
fn beside(path: &Path) -> io::Result<tempfile::NamedTempFile> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(name);
    let mode = Permissions::from_mode(MODE);
    tempfile::Builder::new().prefix(&prefix).permissions(mode).tempfile_in(directory(path))
}

/// There will be a report of this run, which begins now.
pub fn begin(to: ReportTarget, head: RunHeader) {
    log::keep();
    *report() = Some(Report { to, head, started: Timestamp::now(), begun: Instant::now() });
}

/// The run turned out to be another one.
pub fn is_of(head: RunHeader) {
    if let Some(report) = &mut *report() {
        report.head = head;
    }
}

/// The subcommand of the run that is reported.
pub fn command() -> Option<String> {
    report().as_ref().and_then(|report| report.head.command.clone())
}

/// There is nothing to report.
pub fn call_off() {
    log::take();
    *report() = None;
}

/// Writes the report, if there is to be one, and none later. To be called with [`end`] held.
///
/// # Errors
/// When it cannot be written; the one before is then as it was.
pub fn write(ending: RunEnd, style: Style) -> io::Result<()> {
    let Some(report) = report().take() else { return Ok(()) };
    let summary = progress::run_summary();
    let log = log::take();
    let (outcome, exit_status, signal) = match ending {
        RunEnd::Exit(exit) => (summary.answer.unwrap_or(exit.word()), exit as i32, None),
        // As a shell counts.
        RunEnd::Signal(signal) => ("interrupted", signal.saturating_add(128), Some(signal)),
    };
    let document = Document {
        head: &report.head,
        outcome,
        exit_status,
        signal,
        started: report.started,
        finished: Timestamp::now(),
        seconds: report.begun.elapsed().as_micros() as f64 / 1e6,
        summary,
        log: &log.entries,
        log_omitted: log.omitted,
    };
    /// As a line among events.
    #[derive(Serialize)]
    struct Event<'a> {
        event: &'static str,
        #[serde(flatten)]
        document: Document<'a>,
    }
    let mut text = match (&report.to, style) {
        (ReportTarget::Stderr, Style::Json) => serde_json::to_vec(&Event { event: "report", document })?,
        _ => serde_json::to_vec(&document)?,
    };
    text.push(b'\n');
    report.to.write(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_takes_the_place_of_a_report_and_of_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report.json");
        let write = |text: &str| ReportTarget::claim(&path).unwrap().write(text.as_bytes()).unwrap();
        write("{\"program\":\"chatto-dump\"}\n");
        write("{\"program\":\"chatto-load\"}\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"program\":\"chatto-load\"}\n");
        std::os::unix::fs::symlink("report.json", dir.path().join("link")).unwrap();
        ReportTarget::claim(&dir.path().join("link"))
            .unwrap()
            .write(b"{\"program\":\"chatto-keys\"}\n")
            .unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"program\":\"chatto-keys\"}\n");
        fs::write(&path, "backup/").unwrap();
        assert!(matches!(ReportTarget::claim(&path), Err(Unwritable::NoReport)));
        assert!(matches!(ReportTarget::claim(dir.path()), Err(Unwritable::Io(_))));
        assert!(matches!(ReportTarget::claim(&dir.path().join("none/report.json")), Err(Unwritable::Io(_))));
        let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["link", "report.json"], "nothing else is left");
    }

    #[test]
    fn a_document_begins_as_a_report_does() {
        let document = Document {
            head: &RunHeader::new("chatto-dump"),
            outcome: "done",
            exit_status: 0,
            signal: None,
            started: Timestamp::UNIX_EPOCH,
            finished: Timestamp::UNIX_EPOCH,
            seconds: 0.0,
            summary: RunSummary::default(),
            log: &[],
            log_omitted: 0,
        };
        assert!(serde_json::to_vec(&document).unwrap().starts_with(BEGINNING));
    }
}
