//! Archives that are made without a server, from the snapshots in `tests/data/snapshots`, which real servers wrote.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use chatto_pipes::archive::{
    Digest, Index, IndexedStream, Manifest, ManifestStream, SourceServer, Stats, StreamKind, Writer,
};
use chatto_pipes::description::Description;
use chatto_pipes::names::StreamName;
use chatto_pipes::snapshot;

/// The releases that there are captures of.
pub const CAPTURED: [&str; 6] = ["2.9.25", "2.10.26", "2.11.11", "2.12.8", "2.14.5", "2.15.1"];

/// The captured streams.
pub const STREAMS: [&str; 3] = ["EVT", "KV_ROOMS", "EMPTY"];

/// The bytes of a part.
const PART: usize = 1_000;

/// How the snapshot of `EVT` lies in an archive; the others are always one entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// In one entry.
    Whole,
    /// In parts of 1,000 bytes, behind an attempt that was abandoned.
    Parts,
}

/// The directory of a release's captures.
pub fn directory(release: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/snapshots").join(release)
}

/// A stream's `backup.json` and snapshot.
pub fn capture(release: &str, stream: &str) -> (Vec<u8>, Vec<u8>) {
    let read = |file: &str| fs::read(directory(release).join(stream).join(file)).unwrap();
    (read("backup.json"), read("stream.tar.s2"))
}

/// As `sha256sum part-* | cut -c -64 | sha256sum` has it.
fn digest_of_parts<'a>(parts: impl Iterator<Item = &'a [u8]>) -> Digest {
    let lines: String = parts.map(|part| format!("{}\n", Digest::of(part))).collect();
    Digest::of(lines.as_bytes())
}

/// An archive of a release's captures, as `chatto-dump` would have written it.
#[expect(clippy::too_many_lines, reason = "an archive from its first entry to its last")]
pub fn archive(release: &str, shape: Shape) -> Vec<u8> {
    let created_at = "2026-11-22T08:00:00Z".parse().unwrap();
    let mut streams = Vec::new();
    let mut entries = Vec::new();
    for (n, name) in STREAMS.into_iter().enumerate() {
        let (backup, bytes) = capture(release, name);
        let name = StreamName::new(name).unwrap();
        let reported = Description::from_json(&backup).unwrap().reported;
        let contents = snapshot::inspect(&name, &reported, bytes.as_slice()).unwrap();
        let parts = shape == Shape::Parts && name.as_str() == "EVT";
        streams.push(IndexedStream {
            name: name.clone(),
            kind: StreamKind::of(&name),
            storage: reported.storage.clone(),
            replicas: Some(1),
            messages: reported.messages,
            bytes: 1000,
            format: None,
            reason: None,
            settings: Vec::new(),
        });
        entries.push(ManifestStream {
            messages: contents.messages,
            bytes: bytes.len() as u64,
            format: Some(contents.format.to_string()),
            first_seq: Some(contents.first_seq),
            last_seq: Some(contents.last_seq),
            deleted: Some(contents.deleted),
            consumers: Some(contents.consumers),
            captured_at: Some(format!("2026-11-22T08:00:0{n}.25Z").parse().unwrap()),
            duration_ms: Some(3),
            attempts: Some(if parts { 2 } else { 1 }),
            attempt: parts.then_some(2),
            sha256: (!parts).then(|| Digest::of(&bytes)),
            parts_sha256: parts.then(|| digest_of_parts(bytes.chunks(PART))),
            ..ManifestStream::new(name.clone(), StreamKind::of(&name))
        });
    }
    let index = Index {
        version: 1,
        created_at,
        generator: "chatto-pipes 0".into(),
        server: Some(SourceServer { version: release.to_owned(), cluster: None }),
        include_keys: false,
        streams,
    };
    let mut manifest = Manifest {
        version: 1,
        created_at,
        generator: Some(index.generator.clone()),
        server: Some(SourceServer { version: release.to_owned(), cluster: None }),
        include_keys: Some(false),
        rsyncable: false,
        edited: Vec::new(),
        streams: entries,
        stats: Stats::default(),
    };
    manifest.stats = manifest.count(9);
    let mut writer = Writer::new(Vec::new(), u64::try_from(created_at.as_second()).unwrap());
    writer.index(&index).unwrap();
    for stream in &manifest.streams {
        let (backup, bytes) = capture(release, stream.name.as_str());
        if stream.attempt.is_none() {
            writer.whole(&stream.name, &backup, &mut bytes.as_slice(), bytes.len() as u64).unwrap();
            continue;
        }
        writer.attempt(&stream.name, 1, &backup).unwrap();
        writer.part(&[Bytes::copy_from_slice(&bytes[..700])]).unwrap();
        writer.abandon("408 No Flow Response").unwrap();
        writer.attempt(&stream.name, 2, &backup).unwrap();
        for part in bytes.chunks(PART) {
            writer.part(&[Bytes::copy_from_slice(part)]).unwrap();
        }
    }
    writer.finish(&manifest).unwrap()
}
