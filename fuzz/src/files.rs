//! Tars made of the files that an archive has, in an order and with contents that no writer of ours would
//! choose: their headers are always sound, so the rules behind them are what is tested.

use arbitrary::Arbitrary;
use sha2::{Digest, Sha256};

use crate::repair;

const STREAMS: [&str; 2] = ["EVT", "KV_A"];

/// A file or directory.
#[derive(Arbitrary, Debug)]
pub struct File {
    path: Path,
    body: Body,
}

#[derive(Arbitrary, Debug)]
enum Path {
    Top,
    Index,
    Streams,
    Stream(bool),
    Attempt(bool, u8),
    Backup(bool),
    Snapshot(bool),
    AttemptBackup(bool, u8),
    Part(bool, u8, u8),
    Abandoned(bool, u8),
    Manifest,
    Sums,
    Keys,
    Other(String),
}

#[derive(Arbitrary, Debug)]
enum Body {
    /// What a writer would write there.
    Sound,
    Bytes(Vec<u8>),
}

/// The tar of `files`, sound in itself.
pub fn tar(files: &[File]) -> Vec<u8> {
    let mut tar = Vec::new();
    let mut sums = String::new();
    for File { path, body } in files {
        let name = path.name();
        let below = name.strip_prefix("backup/").unwrap_or(&name);
        let directory = name.ends_with('/');
        let body = match body {
            _ if directory => Vec::new(),
            Body::Sound => path.sound(&sums),
            Body::Bytes(bytes) => bytes.clone(),
        };
        if !directory && !matches!(path, Path::Sums) {
            let digest: String = Sha256::digest(&body).iter().map(|byte| format!("{byte:02x}")).collect();
            sums += &format!("{digest}  {below}\n");
        }
        tar.extend(header(&name, body.len()));
        tar.extend(&body);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    repair::tar(&mut tar);
    tar
}

fn header(name: &str, size: usize) -> [u8; 512] {
    let mut header = [0; 512];
    header.iter_mut().zip(name.bytes().take(100)).for_each(|(to, from)| *to = from);
    header[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    header[156] = if name.ends_with('/') { b'5' } else { b'0' };
    header[257..265].copy_from_slice(b"ustar\x0000");
    header
}

impl Path {
    fn name(&self) -> String {
        let stream = |second: bool| format!("backup/streams/{}/", STREAMS[usize::from(second)]);
        match self {
            Path::Top => "backup/".into(),
            Path::Index => "backup/index.json".into(),
            Path::Streams => "backup/streams/".into(),
            Path::Stream(which) => stream(*which),
            Path::Attempt(which, n) => format!("{}attempt-{n}/", stream(*which)),
            Path::Backup(which) => format!("{}backup.json", stream(*which)),
            Path::Snapshot(which) => format!("{}stream.tar.s2", stream(*which)),
            Path::AttemptBackup(which, n) => format!("{}attempt-{n}/backup.json", stream(*which)),
            Path::Part(which, n, part) => format!("{}attempt-{n}/part-{part:06}", stream(*which)),
            Path::Abandoned(which, n) => format!("{}attempt-{n}/abandoned.json", stream(*which)),
            Path::Manifest => "backup/manifest.json".into(),
            Path::Sums => "backup/SHA256SUMS".into(),
            Path::Keys => "backup/keys.json".into(),
            Path::Other(path) => format!("backup/{path}"),
        }
    }

    fn sound(&self, sums: &str) -> Vec<u8> {
        const CREATED: &str = r#""version":1,"created_at":"2026-11-22T08:00:00Z""#;
        match self {
            Path::Index => {
                format!("{{{CREATED},\"generator\":\"x\",\"include_keys\":false,\"streams\":[]}}")
            }
            Path::Manifest => format!("{{{CREATED},\"streams\":[],\"stats\":{{}}}}"),
            Path::Abandoned(..) => r#"{"reason":"x"}"#.into(),
            Path::Backup(_) | Path::AttemptBackup(..) => r#"{"config":{},"state":{}}"#.into(),
            Path::Sums => sums.into(),
            _ => "x".into(),
        }
        .into_bytes()
    }
}
