//! `show`: prints the manifest, as JSON for programs and as a table for people. Reads no snapshot.

use std::fmt::Write;

use super::input::open;
use super::nats_backup;
use crate::archive::{Entry, Index, Manifest, ManifestStream, Reader, StreamKind, Tar};
use crate::cli;
use crate::command::Failure;
use crate::command::output::print;
use crate::exit::Exit;
use crate::names::{Printable, Size, StreamName, counted};
use crate::terminal;
use crate::terminal::progress::Progress;

pub(super) fn run(options: cli::Show, progress: Progress) -> anyhow::Result<Exit> {
    let table = options.table || terminal::stdout_is_terminal();
    let mut archive = match open(options.reading, progress)? {
        Tar::Archive(input) => Reader::new(input),
        Tar::NatsBackup(_) if options.index => return Err(no_index().into()),
        Tar::NatsBackup(mut input) => {
            let streams = nats_backup::promised(&mut input)?;
            print(if table { of_nats_backup(&streams) } else { nats_backup::json(&streams)? }.as_bytes())?;
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
    super::input::of_streams(&archive.finish()?)?;
    Ok(Exit::Done)
}

pub(super) fn no_index() -> Failure {
    Failure::new(Exit::Failed, "the archive does not begin with an index or a manifest")
        .hint("do without --index")
}

/// The kind as the manifest writes it.
pub(super) fn kind(kind: StreamKind) -> &'static str {
    match kind {
        StreamKind::Stream => "stream",
        StreamKind::Kv => "kv",
        StreamKind::ObjectStore => "object_store",
        StreamKind::Skipped => "skipped",
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
            .filter(|s| s.kind == StreamKind::Skipped)
            .map(|stream| (&stream.name, stream.reason.as_deref())),
    );
    out
}

fn of_nats_backup(streams: &[ManifestStream]) -> String {
    let mut out =
        "directories of nats backup account or nats backup stream, without a manifest\n\n".to_owned();
    held(&mut out, streams);
    out
}

/// What is there and what failed, the sum of it, and why what failed did.
fn held(out: &mut String, streams: &[ManifestStream]) {
    let present: Vec<_> = streams.iter().filter(|s| s.kind != StreamKind::Skipped).collect();
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
    for stream in &present {
        if let Some(error) = &stream.error {
            let _ = writeln!(out, "failed: {}: {}", stream.name, Printable::new(error));
        }
    }
}

fn of_index(index: &Index) -> String {
    let mut out = String::new();
    heading(&mut out, index.created_at, Some(&index.generator), index.server.as_ref().map(|s| &*s.version));
    let coming = || index.streams.iter().filter(|stream| stream.kind != StreamKind::Skipped);
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
    let skipped = index.streams.iter().filter(|stream| stream.kind == StreamKind::Skipped);
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

const HEAD: [&str; 7] = ["STREAM", "KIND", "MESSAGES", "SEQUENCES", "SIZE", "CAPTURED", "STATE"];

/// The width that a table fits into if it can.
const WIDTH: usize = 80;

/// The columns that go where it does not, the first of them first: a name begins with the kind, and the times of the
/// captures are below in sum.
const LESS_NEEDED: [usize; 3] = [1, 5, 3];

/// Numbers stand to the right.
const RIGHT: [bool; 7] = [false, false, true, true, true, false, false];

fn row(stream: &ManifestStream) -> [String; 7] {
    let (name, kind) = (stream.name.to_string(), kind(stream.kind).to_owned());
    if stream.error.is_some() {
        let none = String::new;
        return [name, kind, none(), none(), none(), none(), "failed".to_owned()];
    }
    let sequences = match (stream.first_seq, stream.last_seq) {
        (Some(_), Some(0)) => "none".to_owned(),
        (Some(first), Some(last)) if first <= last => format!("{first}-{last}"),
        (Some(_), Some(last)) => format!("after {last}"),
        _ => String::new(),
    };
    let captured = stream.captured_at.map(|at| at.strftime("%H:%M:%S").to_string()).unwrap_or_default();
    let state = if stream.is_counted() { "proven" } else { "as promised" };
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
    let is_empty =
        |column: &usize| rows.iter().skip(1).all(|row| row.get(*column).is_none_or(String::is_empty));
    let mut columns: Vec<usize> =
        (0..HEAD.len()).filter(|column| rows.len() == 1 || !is_empty(column)).collect();
    for column in LESS_NEEDED {
        let width =
            columns.iter().filter_map(|column| widths.get(*column)).map(|width| width + 2).sum::<usize>();
        if width <= WIDTH + 2 {
            break;
        }
        columns.retain(|kept| *kept != column);
    }
    for row in &rows {
        let mut line = String::new();
        let cells = row.iter().zip(&widths).zip(RIGHT).enumerate();
        for (_, ((cell, &width), right)) in cells.filter(|(column, _)| columns.contains(column)) {
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
    fn a_table_is_80_columns_wide_as_long_as_names_and_numbers_are() {
        let row = |name: &str| {
            let cells =
                [name, "object_store", "1234567890", "1-1234567890", "1023.9 MiB", "12:34:56", "proven"];
            cells.map(str::to_owned)
        };
        let head = |name: &str| {
            let mut out = String::new();
            table(&mut out, std::iter::once(row(name)));
            let widest = out.lines().map(|line| line.chars().count()).max().unwrap();
            (out.lines().next().unwrap().split_whitespace().map(str::to_owned).collect::<Vec<_>>(), widest)
        };
        // As a space of a v0.0 server is called, and longer than anything.
        for (name, gone, width) in [
            ("EVT", &[][..], 80),
            ("OBJ_PROJECTION_SNAPSHOTS", &["KIND"], 80),
            ("KV_SPACE_01HXYZABCDEFGHJKMNPQRSTVWX_REACTIONS", &["KIND", "CAPTURED", "SEQUENCES"], 80),
            (&"N".repeat(255), &["KIND", "CAPTURED", "SEQUENCES"], 300),
        ] {
            let (columns, widest) = head(name);
            let kept: Vec<_> = HEAD.iter().filter(|column| !gone.contains(column)).copied().collect();
            assert!(columns == kept && widest <= width, "{name}: {columns:?}, {widest}");
        }
    }

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
             STREAM  KIND    MESSAGES  SEQUENCES     SIZE  CAPTURED  STATE\n\
             EVT     stream      1200     5-1300  2.0 KiB  00:00:01  proven\n\
             KV_A    kv             0    after 7     99 B  00:00:03  as promised\n\
             KV_B    kv                                              failed\n\n\
             2 streams, 1200 messages, 2.1 KiB; first and last capture 2.500 s apart\n\
             failed: KV_B: no \\u{1b}[2J reply\n\
             left out: KV_C: a cache\n"
        );
    }
}
