//! `list`: prints the names of the streams in the archive, one a line. Reads no snapshot.

use std::fmt::Write;

use super::input::open;
use super::nats_backup;
use super::show::{kind, no_index};
use crate::archive::{Entry, ManifestStream, Reader, StreamKind, Tar};
use crate::cli;
use crate::command::output::print;
use crate::exit::Exit;
use crate::terminal::progress::Progress;

pub(super) fn run(options: cli::ListStreams, progress: Progress) -> anyhow::Result<Exit> {
    let cli::ListStreams { long, null, index: head_alone, reading } = options;
    let mut archive = match open(reading, progress)? {
        Tar::Archive(input) => Reader::new(input),
        Tar::NatsBackup(_) if head_alone => return Err(no_index().into()),
        Tar::NatsBackup(mut input) => {
            print(text(&nats_backup::promised(&mut input)?, long, null).as_bytes())?;
            return Ok(Exit::Done);
        }
    };
    while let Some(entry) = archive.next()? {
        let streams = match entry {
            Entry::Index(index) if head_alone => index
                .streams
                .into_iter()
                .map(|stream| ManifestStream {
                    messages: stream.messages,
                    bytes: stream.bytes,
                    ..ManifestStream::new(stream.name, stream.kind)
                })
                .collect(),
            Entry::Manifest(manifest) => manifest.streams,
            Entry::Backup { .. } | Entry::Snapshot { .. } | Entry::Part { .. } if head_alone => {
                return Err(no_index().into());
            }
            _ => continue,
        };
        if !print(text(&streams, long, null).as_bytes())? || head_alone {
            return Ok(Exit::Done);
        }
    }
    super::input::of_streams(&archive.finish()?)?;
    Ok(Exit::Done)
}

fn text(streams: &[ManifestStream], long: bool, null: bool) -> String {
    let end = if null { '\0' } else { '\n' };
    let mut text = String::new();
    for stream in streams.iter().filter(|s| s.kind != StreamKind::Skipped && s.error.is_none()) {
        // Behind a NUL stands a program, which wants the name as it is.
        match null {
            true => text.push_str(stream.name.as_str()),
            false => text.push_str(&stream.name.to_string()),
        }
        if long {
            details(&mut text, stream);
        }
        text.push(end);
    }
    text
}

/// Kind, messages, first and last sequence, bytes, time of capture; empty where it is not known.
fn details(text: &mut String, stream: &ManifestStream) {
    let shown = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
    let (first, last) = (shown(stream.first_seq), shown(stream.last_seq));
    let captured = stream.captured_at.map(|at| at.to_string()).unwrap_or_default();
    let _ = write!(
        text,
        "\t{}\t{}\t{first}\t{last}\t{}\t{captured}",
        kind(stream.kind),
        stream.messages,
        stream.bytes
    );
}
