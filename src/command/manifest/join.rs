//! `join`: writes the same archive with every stream as one entry, for `chatto restore`. Knows no snapshot format.
//!
//! A tar needs an entry's size before its bytes, so the input is read twice. The first pass finds the sizes and every
//! fault; the second pass copies the bytes. Nothing is written before the first pass has ended without a fault.

use std::io::Read;

use super::input::{PROGRAM, of_streams};
use super::output::{binary_output, closing};
use super::rereadable::RereadableInput;
use super::select::{self, SnapshotsInParts};
use crate::archive::{Entry, MAX_ENTRY, Reader};
use crate::cli::{self, StreamSelection};
use crate::command::Failure;
use crate::exit::Exit;
use crate::names::Size;
use crate::terminal::Messages;
use crate::terminal::progress::Progress;

pub(super) fn run(options: cli::Join, progress: Progress) -> anyhow::Result<Exit> {
    let messages = Messages::new(PROGRAM, options.reading.say.verbosity());
    let output = binary_output("join", &progress)?;
    let mut input =
        RereadableInput::new("join", options.reading, options.spool_dir.as_deref(), progress.clone())?;
    let joined = sizes(Reader::new(input.open()?))?;
    let manifest =
        select::copy(&mut Reader::new(input.open()?), output, &StreamSelection::default(), Some(&joined))?;
    Ok(closing(messages, &manifest, &progress))
}

/// Reads a whole archive for the attempts that count, and their sizes.
fn sizes<R: Read>(mut archive: Reader<R>) -> anyhow::Result<SnapshotsInParts> {
    let mut joined = SnapshotsInParts::new();
    while let Some(entry) = archive.next()? {
        match entry {
            Entry::Part { stream, attempt, size, .. } => {
                let (counts, bytes) = joined.entry(stream).or_insert((attempt, 0));
                if *counts != attempt {
                    (*counts, *bytes) = (attempt, 0);
                }
                *bytes = bytes.saturating_add(size);
            }
            Entry::Abandoned { stream, .. } => drop(joined.remove(&stream)),
            _ => {}
        }
    }
    of_streams(&archive.finish()?)?;
    if let Some((stream, (_, bytes))) = joined.iter().find(|(_, (_, bytes))| *bytes > MAX_ENTRY) {
        let most = Size(MAX_ENTRY);
        let what = format!("stream {stream} has {}, and one entry has at most {most}", Size(*bytes));
        return Err(Failure::new(Exit::Failed, what).hint("chatto-load restores it from its parts").into());
    }
    Ok(joined)
}
