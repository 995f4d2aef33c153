//! usage: seeds SNAPSHOTS CORPUS
//!
//! Writes what the fuzzer begins with: the snapshots of real servers (`tests/data/snapshots`) in each form
//! that a target takes, an archive of each release's, and one text of each kind of JSON. No target of its
//! own; it lies here because it is built with them.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use chatto_pipes::archive::{Index, IndexedStream, Manifest, ManifestStream, Stats, StreamKind, Writer};
use chatto_pipes::names::StreamName;
use chatto_pipes_fuzz::s2;
// What instruments the code is in there.
use libfuzzer_sys as _;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// In the order in which the target `snapshot` counts them.
const STREAMS: [&str; 3] = ["EVT", "KV_ROOMS", "EMPTY"];

const KEYS: &str = r#"{"version":3,"created_at":"2026-11-22T08:00:00Z","key_count":2,"keys":[
  {"key_ref":"user.U1","user_id":"U1","key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="},
  {"key_ref":"call.e2ee.C1","key":"AA=="}]}"#;

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args_os().collect();
    let [_, snapshots, corpus] = arguments.as_slice() else {
        return Err("usage: seeds SNAPSHOTS CORPUS".into());
    };
    let corpus = Path::new(corpus);
    for release in fs::read_dir(snapshots)? {
        let release = release?.path();
        if !release.is_dir() {
            continue;
        }
        let version = release.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for (n, stream) in STREAMS.iter().enumerate() {
            let bytes = fs::read(release.join(stream).join("stream.tar.s2"))?;
            let content = s2::unwrap(&bytes);
            for (form, body) in [&bytes, &content, &content].into_iter().enumerate() {
                let head = [form as u8, n as u8, 0, 100, 7, 0, 31, 1, 61, 0, 99, 9];
                let name = format!("{version}-{stream}-{form}");
                seed(corpus, "snapshot", &name, &[&head, body.as_slice()].concat())?;
            }
            let backup = fs::read(release.join(stream).join("backup.json"))?;
            seed(corpus, "manifest", &format!("{version}-{stream}"), &[&[2], backup.as_slice()].concat())?;
        }
        let (tar, index, manifest) = archive(&release)?;
        for form in [0, 1] {
            let head = [form, 0, 100, 7, 0, 99, 9];
            seed(corpus, "archive", &format!("{version}-{form}"), &[&head, tar.as_slice()].concat())?;
        }
        seed(corpus, "manifest", &format!("{version}-index"), &[&[0], index.as_slice()].concat())?;
        seed(corpus, "manifest", &format!("{version}-manifest"), &[&[1], manifest.as_slice()].concat())?;
    }
    seed(corpus, "manifest", "keys", &[&[3], KEYS.as_bytes()].concat())
}

fn seed(corpus: &Path, target: &str, name: &str, bytes: &[u8]) -> Result<()> {
    let directory = corpus.join(target);
    fs::create_dir_all(&directory)?;
    Ok(fs::write(directory.join(name), bytes)?)
}

/// A small archive, with one stream in one piece and one in parts behind an abandoned attempt; its index and
/// its manifest.
fn archive(release: &Path) -> Result<(Vec<u8>, Vec<u8>, Vec<u8>)> {
    let created_at = "2026-11-22T08:00:00Z".parse()?;
    let names = [StreamName::new("EMPTY")?, StreamName::new("KV_ROOMS")?];
    let indexed = |name: &StreamName| IndexedStream {
        name: name.clone(),
        kind: StreamKind::of(name),
        storage: Some("file".into()),
        replicas: Some(1),
        messages: 7,
        bytes: 9,
        format: None,
        reason: None,
        settings: Vec::new(),
    };
    let index = Index {
        version: 1,
        created_at,
        generator: "chatto-pipes".into(),
        server: None,
        include_keys: false,
        streams: names.iter().map(indexed).collect(),
    };
    let listed = |name: &StreamName| ManifestStream {
        first_seq: Some(1),
        captured_at: Some(created_at),
        ..ManifestStream::new(name.clone(), StreamKind::of(name))
    };
    let manifest = Manifest {
        version: 1,
        created_at,
        generator: Some("chatto-pipes".into()),
        server: None,
        include_keys: Some(false),
        rsyncable: false,
        edited: Vec::new(),
        streams: names.iter().map(listed).collect(),
        stats: Stats::default(),
    };
    let read = |name: &StreamName, file: &str| fs::read(release.join(name.as_str()).join(file));
    let [whole, parted] = &names;
    let mut writer = Writer::new(Vec::new(), 1_763_798_400);
    writer.index(&index)?;
    let bytes = read(whole, "stream.tar.s2")?;
    writer.whole(whole, &read(whole, "backup.json")?, &mut bytes.as_slice(), bytes.len() as u64)?;
    let bytes = read(parted, "stream.tar.s2")?;
    let backup = read(parted, "backup.json")?;
    writer.attempt(parted, 1, &backup)?;
    writer.part(&[Bytes::from_static(b"cut")])?;
    writer.abandon("408 No Flow Response")?;
    writer.attempt(parted, 2, &backup)?;
    for part in bytes.chunks(700) {
        writer.part(&[Bytes::copy_from_slice(part)])?;
    }
    let tar = writer.finish(&manifest)?;
    Ok((tar, serde_json::to_vec(&index)?, serde_json::to_vec(&manifest)?))
}
