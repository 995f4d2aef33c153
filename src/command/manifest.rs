//! `chatto-manifest`: know what is in a backup, without a server.
//!
//! Every action reads an archive to its end, so that its answer is that of a whole archive: only `--index` is
//! content with the head. What is written as text may be read as far as somebody cares to; what is written
//! as an archive has its end record only when all of it was read and written.
//!
//! A tar of a directory of `nats backup account` is no archive, but `show`, `list`, `verify` and `diff` say what
//! can be said of one; `import` makes an archive of it.

mod diff;
mod edit;
mod import;
mod join;
mod list;
mod nats_backup;
mod rereadable;
mod select;
mod show;
pub mod verify;

use std::fs::File;
use std::io::{self, BufWriter};

use anyhow::Context;

use super::output::{hint_of_output, require_stdout};
use super::{Failure, secrets};
use crate::archive::{self, Ended, Layout, Manifest, ManifestStream, StreamKind, Tar};
use crate::cli;
use crate::envelope::{self, Opened};
use crate::exit::Exit;
use crate::names::{Printable, Size, consumers, counted};
use crate::snapshot::HALF_A_BATCH;
use crate::terminal::progress::{Metered, Progress, ReportHash, StreamOutcome, StreamResult, Verbs};
use crate::terminal::{self, Messages};

const PROGRAM: &str = "chatto-manifest";

/// Streams are not counted here, only what is read.
const DOING: Verbs = Verbs { streams: "read", archive: "read" };

/// Small entries are gathered up to this size before they are written, in bytes.
const GATHER: usize = 64 << 10;

/// Runs the program.
pub fn run(options: cli::Manifest) -> anyhow::Result<Exit> {
    require_stdout()?;
    let action = options.action.unwrap_or(cli::ManifestAction::Show(options.show));
    let messages = Messages::new(PROGRAM, action.say().verbosity());
    let (progress, _shown) = Progress::shown(DOING, messages);
    match action {
        cli::ManifestAction::Show(options) => show::run(options, progress),
        cli::ManifestAction::List(options) => list::run(options, progress),
        cli::ManifestAction::Verify(options) => verify::run(options, progress),
        cli::ManifestAction::Select(options) => select::run(options, progress),
        cli::ManifestAction::Join(options) => join::run(options, progress),
        cli::ManifestAction::Edit(options) => edit::run(*options, progress),
        cli::ManifestAction::Diff(options) => diff::run(options, progress),
        cli::ManifestAction::Import(options) => import::run(options, progress),
    }
}

/// This program, as it signs what it writes.
fn generator() -> String {
    concat!("chatto-pipes ", env!("CARGO_PKG_VERSION")).to_owned()
}

/// The input that `reading` names, unwrapped, for the reader that it is for.
fn open(reading: cli::ArchiveInput, progress: Progress) -> anyhow::Result<Tar<Opened>> {
    Ok(archive::recognise(unwrapped(reading, progress)?))
}

/// The same, whatever it is.
fn unwrapped(reading: cli::ArchiveInput, progress: Progress) -> anyhow::Result<Opened> {
    let messages = Messages::new(PROGRAM, reading.say.verbosity());
    let file = reading.file.as_deref();
    let input = secrets::input(file)?;
    let mut secrets = secrets::unlock(reading.secrets, file, messages)?;
    let input = Metered::reading(input, progress);
    Ok(envelope::open(Box::new(input), &mut secrets)?)
}

/// Refuses what holds no streams.
fn of_streams(ended: &Ended) -> anyhow::Result<()> {
    if ended.layout != Layout::Keys {
        return Ok(());
    }
    Err(archive::Error::Keys.into())
}

/// stdout for an archive, which must not be a terminal.
fn binary_output(action: &str, progress: &Progress) -> anyhow::Result<BufWriter<ReportHash<File>>> {
    if terminal::stdout_is_terminal() {
        return Err(Failure::new(Exit::Usage, "stdout is a terminal, and an archive is binary")
            .hint(format!("write it to a file or a pipe: {PROGRAM} {action} FILE > backup.tar"))
            .into());
    }
    let stdout = progress.summed(terminal::stdout().context("cannot use stdout")?);
    Ok(BufWriter::with_capacity(GATHER, stdout))
}

/// Says what an archive holds that was written, and which streams it should hold too and does not.
fn closing(messages: Messages, manifest: &Manifest, progress: &Progress) -> Exit {
    for stream in &manifest.streams {
        progress.result(match (&stream.error, stream.kind) {
            (Some(error), _) => StreamResult::not(stream.name.as_str(), StreamOutcome::Failed, error),
            (None, StreamKind::Skipped) => {
                let why = stream.reason.as_deref().unwrap_or_default();
                StreamResult::not(stream.name.as_str(), StreamOutcome::Skipped, why)
            }
            (None, _) => {
                StreamResult::done(&stream.name, stream.messages, stream.bytes).lacking(lacks(stream))
            }
        });
    }
    let streams = counted(manifest.stats.total_streams, "stream");
    messages.closing(&format!("{streams}, {}", Size(manifest.stats.total_bytes)));
    let failed = || manifest.streams.iter().filter_map(|s| Some((&s.name, s.error.as_ref()?)));
    for (name, error) in failed() {
        messages.error(&format!("stream {name}: {}", Printable::new(error)));
    }
    match failed().count() as u64 {
        0 => Exit::Done,
        n => {
            messages.error(&format!("{} failed and are not in the archive", counted(n, "stream")));
            Exit::Partial
        }
    }
}

/// What a stream lacks that is in an archive, as its manifest says.
fn lacks(stream: &ManifestStream) -> Option<String> {
    if let Some(why) = &stream.not_rewound {
        return Some(format!("is not as it was: {}", Printable::new(why)));
    }
    let consumers = || format!("lacks {}", consumers(&stream.missing_consumers));
    match (stream.within_batch, stream.missing_consumers.is_empty()) {
        (true, _) => Some(HALF_A_BATCH.into()),
        (false, false) => Some(consumers()),
        (false, true) => None,
    }
}

/// An error of copying from one archive to another: the reader's own, or that of the output.
fn copy_failure(error: io::Error) -> anyhow::Error {
    match error.downcast::<archive::Error>() {
        Ok(error) => error.into(),
        Err(error) => {
            let hint = hint_of_output(&error);
            Failure { exit: Exit::Failed, what: format!("cannot write the archive: {error}"), hint }.into()
        }
    }
}
