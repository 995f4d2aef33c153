//! The archive that an action writes, and the words about it at the end. Does not know how the archive was made.

use std::fs::File;
use std::io::{self, BufWriter};

use anyhow::Context;

use super::input::PROGRAM;
use crate::archive::{self, Manifest, ManifestStream, StreamKind};
use crate::command::Failure;
use crate::command::output::hint_of_output;
use crate::exit::Exit;
use crate::names::{Printable, Size, consumers, counted};
use crate::snapshot::HALF_A_BATCH;
use crate::terminal::progress::{Progress, ReportHash, StreamOutcome, StreamResult};
use crate::terminal::{self, Messages};

/// Small entries are gathered up to this size before they are written, in bytes.
const GATHER: usize = 64 << 10;

/// This program, as it signs what it writes.
pub(super) fn generator() -> String {
    concat!("chatto-pipes ", env!("CARGO_PKG_VERSION")).to_owned()
}

/// stdout for an archive, which must not be a terminal.
pub(super) fn binary_output(
    action: &str,
    progress: &Progress,
) -> anyhow::Result<BufWriter<ReportHash<File>>> {
    if terminal::stdout_is_terminal() {
        return Err(Failure::new(Exit::Usage, "stdout is a terminal, and an archive is binary")
            .hint(format!("write it to a file or a pipe: {PROGRAM} {action} FILE > backup.tar"))
            .into());
    }
    let stdout = progress.summed(terminal::stdout().context("cannot use stdout")?);
    Ok(BufWriter::with_capacity(GATHER, stdout))
}

/// Says what the new archive holds, and which streams are missing from it.
pub(super) fn closing(messages: Messages, manifest: &Manifest, progress: &Progress) -> Exit {
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
pub(super) fn copy_failure(error: io::Error) -> anyhow::Error {
    match error.downcast::<archive::Error>() {
        Ok(error) => error.into(),
        Err(error) => {
            let hint = hint_of_output(&error);
            Failure { exit: Exit::Failed, what: format!("cannot write the archive: {error}"), hint }.into()
        }
    }
}
