//! `chatto-manifest verify` reads an archive of ten million messages from a pipe, once, in less than 64 MiB of memory, even if
//! every second message was deleted and no sequences are in a row. `chatto-load` converts them to the format of another release
//! in less than 96 MiB.

// A failed expectation in a helper is a failed test.
use std::io::{BufWriter, Write};
use std::process::{ChildStdin, Command, Stdio};
use std::thread;

use crate::support::api;
use crate::support::measure::{Used, measured};
use crate::support::programs::{finish, path, program_for, spawn};
use crate::support::random::Random;
use crate::support::server::Server;
use bytes::Bytes;
use chatto_pipes::archive::{
    Index, IndexedStream, Manifest, ManifestStream, PART_SIZE, Stats, StreamKind, Writer,
};
use chatto_pipes::names::StreamName;
use highway::{HighwayHash as _, HighwayHasher, Key};
use serde_json::json;
use sha2::{Digest as _, Sha256};

const MESSAGES: u64 = 10_000_000;

/// The promises, in KiB.
const MEMORY: u64 = 64 << 10;
const MEMORY_OF_A_LOAD: u64 = 96 << 10;

/// Messages of one block, which has 4.6 MB then, as servers make them.
const BLOCK: u64 = 100_000;

const SUBJECT: &[u8] = b"$KV.WIDE.item";
const PAYLOAD: &[u8] = b"0123456789";

/// An archive that is being written, in which one snapshot flows in parts.
struct Archive {
    writer: Writer<BufWriter<ChildStdin>>,
    part: Vec<u8>,
    bytes: u64,
}

impl Archive {
    /// Adds to the snapshot: `content` as an S2 frame that is not compressed.
    fn content(&mut self, content: &[u8]) {
        for data in content.chunks(1 << 20) {
            let crc = crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8);
            let length = u32::try_from(data.len() + 4).unwrap().to_le_bytes();
            self.raw(&[&[1], &length[..3], &crc.to_le_bytes(), data].concat());
        }
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.part.extend_from_slice(bytes);
        self.bytes += bytes.len() as u64;
        while self.part.len() >= PART_SIZE {
            let rest = self.part.split_off(PART_SIZE);
            let part = std::mem::replace(&mut self.part, rest);
            self.writer.part(&[Bytes::from(part)]).unwrap();
        }
    }
}

/// Sequences of which about every second is missing.
fn sequences() -> impl Iterator<Item = u64> {
    let mut random = Random::new(77);
    (0..MESSAGES).scan(0, move |last, _| {
        *last += 1 + random.next() % 3;
        Some(*last)
    })
}

/// Writes an archive of one stream, whose snapshot `snapshot` writes.
fn write(to: ChildStdin, snapshot: fn(&mut Archive)) {
    let created_at = "2026-11-22T08:00:00Z".parse().unwrap();
    let name = StreamName::new("KV_WIDE").unwrap();
    let last = sequences().last().unwrap();
    let state = format!(r#"{{"messages":{MESSAGES},"first_seq":1,"last_seq":{last}}}"#);
    let backup = format!(r#"{{"config":{{"name":"KV_WIDE","storage":"file"}},"state":{state}}}"#);
    let index = Index {
        version: 1,
        created_at,
        generator: "chatto-pipes 0".into(),
        server: None,
        include_keys: false,
        streams: vec![IndexedStream {
            name: name.clone(),
            kind: StreamKind::Kv,
            storage: Some("file".into()),
            replicas: Some(1),
            messages: MESSAGES,
            bytes: 0,
            format: None,
            reason: None,
            settings: Vec::new(),
        }],
    };
    let mut writer = Writer::new(BufWriter::new(to), 0);
    writer.index(&index).unwrap();
    writer.attempt(&name, 1, backup.as_bytes()).unwrap();
    let mut archive = Archive { writer, part: Vec::new(), bytes: 0 };
    archive.raw(b"\xff\x06\x00\x00S2sTwO");
    snapshot(&mut archive);
    let Archive { mut writer, part, bytes } = archive;
    writer.part(&[Bytes::from(part)]).unwrap();
    let mut manifest = Manifest {
        version: 1,
        created_at,
        generator: Some(index.generator.clone()),
        server: None,
        include_keys: Some(false),
        rsyncable: false,
        edited: Vec::new(),
        streams: vec![ManifestStream {
            messages: MESSAGES,
            bytes,
            attempt: Some(1),
            ..ManifestStream::new(name, StreamKind::Kv)
        }],
        stats: Stats::default(),
    };
    manifest.stats = manifest.count(0);
    writer.finish(&manifest).unwrap().flush().unwrap();
}

/// The format of servers before 2.15.
fn tar(archive: &mut Archive) {
    let keyed = |name: &str| {
        let digest = Sha256::digest(name.as_bytes());
        let mut words = digest.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap()));
        HighwayHasher::new(Key(std::array::from_fn(|_| words.next().unwrap())))
    };
    let file = |archive: &mut Archive, path: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_path(path).unwrap();
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        archive.content(header.as_bytes());
        archive.content(bytes);
        archive.content(&vec![0; bytes.len().next_multiple_of(512) - bytes.len()]);
    };
    let meta = br#"{"name":"KV_WIDE"}"#;
    file(archive, "meta.inf", meta);
    let mut hash = keyed("KV_WIDE");
    hash.append(meta);
    file(archive, "meta.sum", format!("{:016x}", hash.finalize64().swap_bytes()).as_bytes());
    let mut sequences = sequences();
    for number in 1..=MESSAGES / BLOCK {
        let keyed = keyed(&format!("KV_WIDE-{number}"));
        let mut block = Vec::new();
        for sequence in sequences.by_ref().take(usize::try_from(BLOCK).unwrap()) {
            let length = u32::try_from(22 + SUBJECT.len() + PAYLOAD.len() + 8).unwrap();
            let subject_length = u16::try_from(SUBJECT.len()).unwrap().to_le_bytes();
            let fields = [sequence.to_le_bytes(), 7u64.to_le_bytes()].concat();
            let mut hash = keyed.clone();
            for bytes in [&fields, SUBJECT, PAYLOAD] {
                hash.append(bytes);
            }
            let sum = hash.finalize64().to_le_bytes();
            let record: [&[u8]; 6] =
                [&length.to_le_bytes(), &fields, &subject_length, SUBJECT, PAYLOAD, &sum];
            block.extend(record.concat());
        }
        file(archive, &format!("msgs/{number}.blk"), &block);
    }
    archive.content(&[0; 1024]);
}

/// The format of servers from 2.15 on.
fn natsarc(archive: &mut Archive) {
    let number = |out: &mut Vec<u8>, mut value: u64| {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    };
    let entry = |out: &mut Vec<u8>, name: &[u8], time: u64, sequence: u64, payload: &[u8]| {
        for value in [name.len() as u64, time, sequence, 0, payload.len() as u64] {
            number(out, value);
        }
        out.extend_from_slice(name);
        out.extend_from_slice(payload);
    };
    let mut content = b"NATSARC1".to_vec();
    entry(&mut content, b"state.json", 5, 0, format!(r#"{{"messages":{MESSAGES}}}"#).as_bytes());
    for sequence in sequences() {
        entry(&mut content, SUBJECT, 7, sequence, PAYLOAD);
        if content.len() > 1 << 20 {
            archive.content(&content);
            content.clear();
        }
    }
    entry(&mut content, b"", 0, 0, b"");
    archive.content(&content);
}

#[test]
fn ten_million_scattered_messages_are_verified_in_64_mib() {
    thread::scope(|scope| {
        for snapshot in [tar, natsarc] {
            scope.spawn(move || {
                let mut verify = Command::new("sh");
                // What it may have beyond its code.
                verify.args(["-c", &format!("ulimit -d {MEMORY}; exec \"$0\" verify")]);
                verify.arg(path("chatto-manifest")).stdin(Stdio::piped()).stdout(Stdio::piped());
                let mut child = spawn(&mut verify);
                write(child.stdin.take().unwrap(), snapshot);
                let verdict = String::from_utf8(finish(child).expect_code(0).stdout).unwrap();
                let want = format!("sound: 1 whole stream, {MESSAGES} messages, ");
                assert!(verdict.starts_with(&want), "{verdict}");
            });
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_million_scattered_messages_are_converted_in_96_mib() -> anyhow::Result<()> {
    let destination = Server::start("2.14.5");
    let mut load = measured(&program_for("chatto-load", &destination));
    let mut child = spawn(load.stdin(Stdio::piped()));
    let to = child.stdin.take().unwrap();
    let loaded = thread::scope(|scope| {
        scope.spawn(move || write(to, natsarc));
        finish(child)
    })
    .expect_code(0);
    let (used, said) = Used::of(&loaded.stderr)?;
    assert_eq!(said, "");
    assert!(used.memory < MEMORY_OF_A_LOAD, "{} KiB", used.memory);
    // Without a list of what is deleted.
    let client = destination.client().await?;
    let state = api::call(&client, "STREAM.INFO.KV_WIDE", json!(null)).await?["state"].take();
    assert_eq!(state["messages"], MESSAGES, "{state}");
    assert_eq!(state["last_seq"], sequences().last().unwrap(), "{state}");
    Ok(())
}
