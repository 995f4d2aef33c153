//! Tests of the archive as a whole. The reader and the tools of the system read what the writer writes. The reader reads what
//! other programs write, and refuses archives that are hostile or cut.

mod foreign;
mod hostile;
mod round_trip;
mod tools;

use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use tar::{EntryType, Header};

use super::*;
use crate::names::StreamName;

/// The second that all archives here begin in.
const START: i64 = 1_700_000_000;

fn name(name: &str) -> StreamName {
    StreamName::new(name).unwrap()
}

fn index(streams: &[&str]) -> Index {
    Index {
        version: 1,
        created_at: jiff::Timestamp::from_second(START).unwrap(),
        generator: "test 1".into(),
        server: Some(SourceServer { version: "2.14.5".into(), cluster: None }),
        include_keys: false,
        streams: streams
            .iter()
            .map(|stream| IndexedStream {
                name: name(stream),
                kind: StreamKind::of(&name(stream)),
                storage: Some("file".into()),
                replicas: Some(1),
                messages: 3,
                bytes: 300,
                format: None,
                reason: None,
                settings: Vec::new(),
            })
            .collect(),
    }
}

fn manifest(streams: &[&str]) -> Manifest {
    let streams: Vec<_> =
        streams.iter().map(|s| ManifestStream::new(name(s), StreamKind::of(&name(s)))).collect();
    let mut manifest = Manifest {
        version: 1,
        created_at: jiff::Timestamp::from_second(START).unwrap(),
        generator: Some("test 1".into()),
        server: None,
        include_keys: Some(false),
        rsyncable: false,
        edited: Vec::new(),
        streams,
        stats: Stats::default(),
    };
    manifest.stats = manifest.count(5);
    manifest
}

/// An archive with everything in it: a stream in one piece, one whose first attempt was abandoned.
fn sample(evt: &str, kv: &str) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), START as u64);
    writer.index(&index(&[evt, kv])).unwrap();
    writer.attempt(&name(evt), 1, b"{\"config\":1}").unwrap();
    writer.part(&[Bytes::from("first "), Bytes::from("try")]).unwrap();
    writer.abandon("408 \u{1b}[2J").unwrap();
    writer.attempt(&name(evt), 2, b"{\"config\":2}").unwrap();
    writer.part(&[Bytes::from(vec![b'x'; 512])]).unwrap();
    writer.part(&[Bytes::from("second"), Bytes::new()]).unwrap();
    writer.whole(&name(kv), b"{}", &mut &b"snapshot"[..], 8).unwrap();
    writer.finish(&manifest(&[evt, kv])).unwrap()
}

/// Reads a whole archive into one line an entry.
fn read(input: impl Read) -> Result<(Vec<String>, ArchiveEnd), Error> {
    let mut reader = Reader::new(input);
    let mut lines = Vec::new();
    let text = |mut body: Body<'_, _>| {
        let mut text = String::new();
        body.read_to_string(&mut text).map(|_| text).map_err(Error::from)
    };
    while let Some(entry) = reader.next()? {
        lines.push(match entry {
            Entry::Index(index) => format!("index {}", index.streams.len()),
            Entry::Manifest(manifest) => format!("manifest {}", manifest.streams.len()),
            Entry::Backup { stream, attempt, json } => {
                format!("backup {stream} {attempt:?} {}", String::from_utf8(json).unwrap())
            }
            Entry::Snapshot { stream, size, body, .. } => format!("snapshot {stream} {size} {}", text(body)?),
            Entry::Empty { stream, file } => format!("empty {stream} {file}"),
            Entry::Part { stream, attempt, number, size, body } => {
                format!("part {stream} {attempt} {number} {size} {}", text(body)?)
            }
            Entry::Abandoned { stream, attempt, reason } => format!("abandoned {stream} {attempt} {reason}"),
            Entry::Other { path, size, body } => format!("other {path} {size} {}", text(body)?),
            Entry::Sums { files } => format!("sums {files}"),
        });
    }
    Ok((lines, reader.finish()?))
}

/// The message of the error that reading `input` ends with.
fn refusal(input: &[u8]) -> String {
    match read(input) {
        Ok((lines, ended)) => format!("no error: {ended:?} {lines:#?}"),
        Err(error) => error.to_string(),
    }
}

/// Gives 1, 2, … 7, 1, … bytes at a time, and is interrupted in between.
struct Trickle<'a>(&'a [u8], usize);

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.1 += 1;
        if self.1.is_multiple_of(8) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let most = buffer.len().min(self.1 % 8);
        self.0.read(&mut buffer[..most])
    }
}

/// A tar as anybody might make one.
struct Tar(Vec<u8>);

impl Tar {
    /// An archive as `chatto backup` writes it, but for its end.
    fn chatto() -> Self {
        Tar(Vec::new())
            .directory("backup/")
            .file("backup/manifest.json", MANIFEST)
            .directory("backup/streams/")
            .directory("backup/streams/EVT/")
            .file("backup/streams/EVT/backup.json", "{}")
            .file("backup/streams/EVT/stream.tar.s2", "snapshot")
    }

    /// The beginning of an archive of ours.
    fn ours() -> Self {
        Tar(Vec::new()).file("backup/index.json", INDEX)
    }

    fn file(self, path: &str, content: &str) -> Self {
        self.entry(EntryType::Regular, path.as_bytes(), content.len() as u64, content.as_bytes())
    }

    fn directory(self, path: &str) -> Self {
        self.entry(EntryType::Directory, path.as_bytes(), 0, b"")
    }

    /// An entry whose header says what it likes.
    fn entry(self, kind: EntryType, path: &[u8], size: u64, content: &[u8]) -> Self {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..path.len()].copy_from_slice(path);
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o644);
        header.set_cksum();
        self.raw(header.as_bytes()).raw(content).pad()
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn pad(mut self) -> Self {
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn end(self) -> Vec<u8> {
        self.raw(&[0; 1024]).0
    }
}

const MANIFEST: &str = r#"{"version":1,"created_at":"2026-08-01T00:00:00Z","streams":[],"stats":{}}"#;
const INDEX: &str =
    r#"{"version":1,"created_at":"2026-08-01T00:00:00Z","generator":"t","include_keys":false,"streams":[]}"#;

/// Runs a shell script in `directory`, `input` on its stdin; its stdout. Fails with its stderr, and
/// with the packages that it needs.
fn shell(directory: &Path, script: &str, input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("sh")
        .args(["-euc", script])
        .current_dir(directory)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || io::Write::write_all(&mut stdin, input));
        child.wait_with_output().unwrap()
    });
    assert!(
        output.status.success(),
        "{script}: {}\n(needs: apt-get install tar coreutils findutils jq)",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}
