//! `show`: the manifest, as JSON for programs and as a table for people.

use std::fmt::Write;

use super::{directories, open};
use crate::archive::{Entry, Index, Kind, Manifest, ManifestStream, Reader, Tar};
use crate::cli;
use crate::command::Failure;
use crate::command::report::print;
use crate::exit::Exit;
use crate::names::{Printable, Size, StreamName, counted};
use crate::terminal;
use crate::terminal::progress::Progress;

pub(super) fn run(options: cli::Show, progress: Progress) -> anyhow::Result<Exit> {
    let table = options.table || terminal::stdout_is_terminal();
    let mut archive = match open(options.reading, progress)? {
        Tar::Archive(input) => Reader::new(input),
        Tar::Directories(_) if options.index => return Err(no_index().into()),
        Tar::Directories(mut input) => {
            let streams = directories::promised(&mut input)?;
            print(if table { of_directories(&streams) } else { directories::json(&streams)? }.as_bytes())?;
            return Ok(Exit::Done);
        }
    };
    while let Some(entry) = archive.next()? {
        let rows = match entry {
            Entry::Index(index) if options.index => of_index(&index),
            Entry::Manifest(manifest) => of_manifest(&manifest),
            Entry::Backup { .. } | Entry::Snapshot { .. } | Entry::Part { .. } if options.index => {
                return Err(no_index().into());
            }
            _ => continue,
        };
        let text = if table { rows.into_bytes() } else { archive.take_json() };
        // An answer that nobody reads on needs no proof either.
        if !print(&text)? || options.index {
            return Ok(Exit::Done);
        }
    }
    super::of_streams(&archive.finish()?)?;
    Ok(Exit::Done)
}

pub(super) fn no_index() -> Failure {
    Failure::new(Exit::Failed, "the archive does not begin with an index or a manifest")
        .hint("do without --index")
}

/// The kind as the manifest writes it.
pub(super) fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Stream => "stream",
        Kind::Kv => "kv",
        Kind::ObjectStore => "object_store",
        Kind::Skipped => "skipped",
    }
}

fn of_manifest(manifest: &Manifest) -> String {
    let mut out = String::new();
    heading(
        &mut out,
        manifest.created_at,
        manifest.generator.as_deref(),
        manifest.server.as_ref().map(|s| &*s.version),
    );
    held(&mut out, &manifest.streams);
    left_out(
        &mut out,
        manifest
            .streams
            .iter()
            .filter(|s| s.kind == Kind::Skipped)
            .map(|stream| (&stream.name, stream.reason.as_deref())),
    );
    out
}

fn of_directories(streams: &[ManifestStream]) -> String {
    let mut out =
        "directories of nats backup account or nats backup stream, without a manifest\n\n".to_owned();
    held(&mut out, streams);
    out
}

/// What is there and what failed, and the sum of it.
fn held(out: &mut String, streams: &[ManifestStream]) {
    let present: Vec<_> = streams.iter().filter(|s| s.kind != Kind::Skipped).collect();
    table(out, present.iter().map(|stream| row(stream)));
    let held = present.iter().filter(|stream| stream.error.is_none());
    let messages = held.clone().map(|s| s.messages).fold(0, u64::saturating_add);
    let bytes = held.clone().map(|s| s.bytes).fold(0, u64::saturating_add);
    let count = held.clone().count() as u64;
    let _ = write!(out, "{}, {}, {}", counted(count, "stream"), counted(messages, "message"), Size(bytes));
    let times = || streams.iter().filter_map(|stream| stream.captured_at);
    if let (Some(first), Some(last)) = (times().min(), times().max()) {
        let apart = last.as_millisecond().saturating_sub(first.as_millisecond());
        let _ = write!(out, "; first and last capture {}.{:03} s apart", apart / 1000, apart % 1000);
    }
    out.push('\n');
}

fn of_index(index: &Index) -> String {
    let mut out = String::new();
    heading(&mut out, index.created_at, Some(&index.generator), index.server.as_ref().map(|s| &*s.version));
    let coming = || index.streams.iter().filter(|stream| stream.kind != Kind::Skipped);
    let rows = coming().map(|stream| {
        let size = format!("about {}", Size(stream.bytes));
        let none = String::new;
        let name = stream.name.to_string();
        [
            name,
            kind(stream.kind).into(),
            stream.messages.to_string(),
            none(),
            size,
            none(),
            "announced".into(),
        ]
    });
    table(&mut out, rows);
    let messages = coming().map(|stream| stream.messages).fold(0, u64::saturating_add);
    let count = coming().count() as u64;
    let _ = writeln!(out, "{}, about {}", counted(count, "stream"), counted(messages, "message"));
    let skipped = index.streams.iter().filter(|stream| stream.kind == Kind::Skipped);
    left_out(&mut out, skipped.map(|stream| (&stream.name, stream.reason.as_deref())));
    out
}

fn heading(out: &mut String, created: jiff::Timestamp, generator: Option<&str>, server: Option<&str>) {
    let _ = write!(out, "{created}");
    if let Some(generator) = generator {
        let _ = write!(out, ", by {}", Printable::new(generator));
    }
    if let Some(server) = server {
        let _ = write!(out, ", of nats-server {}", Printable::new(server));
    }
    out.push_str("\n\n");
}

const HEAD: [&str; 7] = ["STREAM", "KIND", "MESSAGES", "SEQUENCES", "SIZE", "CAPTURED AT", "STATE"];

/// Numbers stand to the right.
const RIGHT: [bool; 7] = [false, false, true, true, true, false, false];

fn row(stream: &ManifestStream) -> [String; 7] {
    let (name, kind) = (stream.name.to_string(), kind(stream.kind).to_owned());
    if let Some(error) = &stream.error {
        let none = String::new;
        return [name, kind, none(), none(), none(), none(), format!("failed: {}", Printable::new(error))];
    }
    let sequences = match (stream.first_seq, stream.last_seq) {
        (Some(_), Some(0)) => "none".to_owned(),
        (Some(first), Some(last)) if first <= last => format!("{first}-{last}"),
        (Some(_), Some(last)) => format!("after {last}"),
        _ => String::new(),
    };
    let captured = stream.captured_at.map(|at| at.to_string()).unwrap_or_default();
    let state = match stream.sha256 {
        Some(_) => "proven",
        None => "as promised",
    };
    let size = Size(stream.bytes).to_string();
    [name, kind, stream.messages.to_string(), sequences, size, captured, state.to_owned()]
}

fn table(out: &mut String, rows: impl Iterator<Item = [String; 7]>) {
    let rows: Vec<_> = std::iter::once(HEAD.map(str::to_owned)).chain(rows).collect();
    let mut widths = [0; 7];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for row in &rows {
        let mut line = String::new();
        for ((cell, &width), right) in row.iter().zip(&widths).zip(RIGHT) {
            let _ = if right { write!(line, "{cell:>width$}  ") } else { write!(line, "{cell:<width$}  ") };
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out.push('\n');
}

fn left_out<'a>(out: &mut String, streams: impl Iterator<Item = (&'a StreamName, Option<&'a str>)>) {
    for (name, reason) in streams {
        let _ = write!(out, "left out: {name}");
        if let Some(reason) = reason {
            let _ = write!(out, ": {}", Printable::new(reason));
        }
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_says_what_came_what_failed_and_what_was_left_out() {
        let json = r#"{"version":1,"created_at":"2026-08-01T00:00:00Z","generator":"g 1","server":{"version":"2.15.1"},
            "streams":[
              {"name":"EVT","type":"stream","messages":1200,"bytes":2048,"first_seq":5,"last_seq":1300,
               "captured_at":"2026-08-01T00:00:01Z",
               "sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
              {"name":"KV_A","type":"kv","messages":0,"bytes":99,"first_seq":8,"last_seq":7,
               "captured_at":"2026-08-01T00:00:03.5Z"},
              {"name":"KV_B","type":"kv","messages":0,"bytes":0,"error":"no \u001b[2J reply"},
              {"name":"KV_C","type":"skipped","reason":"a cache"}],"stats":{}}"#;
        let manifest = Manifest::from_json(json.as_bytes()).unwrap();
        assert_eq!(
            of_manifest(&manifest),
            "2026-08-01T00:00:00Z, by g 1, of nats-server 2.15.1\n\n\
             STREAM  KIND    MESSAGES  SEQUENCES     SIZE  CAPTURED AT             STATE\n\
             EVT     stream      1200     5-1300  2.0 KiB  2026-08-01T00:00:01Z    proven\n\
             KV_A    kv             0    after 7     99 B  2026-08-01T00:00:03.5Z  as promised\n\
             KV_B    kv                                                            failed: no \\u{1b}[2J reply\n\n\
             2 streams, 1200 messages, 2.1 KiB; first and last capture 2.500 s apart\n\
             left out: KV_C: a cache\n"
        );
    }
}
