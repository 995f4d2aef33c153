//! Makes snapshots for tests. There is an encoder for each layer, so that each layer can be broken alone.

use highway::HighwayHash;

use super::blocks::masked_crc;
use super::checksums;
use super::frames::{COMPRESSED, IDENTIFIER, STORED};

/// The S2 stream identifier.
pub const START: &[u8] = b"\xff\x06\x00\x00S2sTwO";

pub fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend(&(payload.len() as u32).to_le_bytes()[..3]);
    out.extend(payload);
    out
}

/// `content` as an S2 stream of frames of `size` bytes, every second one compressed.
pub fn s2(content: &[u8], size: usize) -> Vec<u8> {
    let mut out = frame(IDENTIFIER, b"S2sTwO");
    for (n, data) in content.chunks(size).enumerate() {
        let block = minlz::s2::encode(data);
        let (kind, block) = if n % 2 == 0 { (STORED, data) } else { (COMPRESSED, block.as_slice()) };
        out.extend(frame(kind, &[&masked_crc(data).to_le_bytes(), block].concat()));
    }
    out
}

pub fn tar(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (path, data) in files {
        out.extend(tar_header(path, data.len(), b'0'));
        out.extend(data);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

pub fn tar_header(path: &str, size: usize, kind: u8) -> [u8; 512] {
    let mut header = [0; 512];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    put(0, path.as_bytes());
    put(124, format!("{size:011o}").as_bytes());
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

fn sum(key: &str, data: &[u8]) -> u64 {
    let mut hash = checksums::keyed(key);
    hash.append(data);
    hash.finalize64()
}

/// `meta.inf` and `meta.sum` at `prefix`.
pub fn meta(prefix: &str, key: &str, json: &str) -> [(String, Vec<u8>); 2] {
    let sum = checksums::hexadecimal(sum(key, json.as_bytes())).into_bytes();
    [(format!("{prefix}meta.inf"), json.as_bytes().to_vec()), (format!("{prefix}meta.sum"), sum)]
}

/// A record of block `number` of stream `S`.
pub fn record(number: u32, sequence: u64, subject: &str, headers: Option<&str>, message: &[u8]) -> Vec<u8> {
    let mut hashed = [&sequence.to_le_bytes()[..], &[7; 8], subject.as_bytes()].concat();
    let mut body = subject.as_bytes().to_vec();
    for part in [headers.map(str::as_bytes), Some(message)].into_iter().flatten() {
        hashed.extend(part);
    }
    if let Some(headers) = headers {
        body.extend((headers.len() as u32).to_le_bytes());
        body.extend(headers.as_bytes());
    }
    body.extend(message);
    let flag = if headers.is_some() { 1 << 31 } else { 0 };
    let len = (22 + body.len() + 8) as u32 | flag;
    let sum = sum(&format!("S-{number}"), &hashed);
    [
        &len.to_le_bytes()[..],
        &sequence.to_le_bytes(),
        &[7; 8],
        &(subject.len() as u16).to_le_bytes(),
        &body,
        &sum.to_le_bytes(),
    ]
    .concat()
}

pub fn uvarint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// An `index.db` of version 4 for stream `S`: messages, first, last; of each block first, last, deleted.
pub fn index(state: [u64; 3], blocks: &[(u64, u64, &[u64])]) -> Vec<u8> {
    let [messages, first, last] = state;
    let mut out = vec![11, 4];
    let mut put = |values: &[u64]| values.iter().for_each(|value| out.extend(uvarint(*value)));
    put(&[messages, 9, first, 2, last, 2, 1, 1]);
    put(&[b'x'.into(), 1, 1, 1]);
    put(&[blocks.len() as u64]);
    for (n, (first, last, deleted)) in blocks.iter().enumerate() {
        for value in [n as u64 + 1, 9, *first, 0, *last, 0, deleted.len() as u64, 0, 0] {
            out.extend(uvarint(value));
        }
        if !deleted.is_empty() {
            out.extend([22, 2, 1, 0, 0, 0]);
            out.extend((deleted.len() as u32).to_le_bytes());
            let mut bits = [0u64; 32];
            for seq in *deleted {
                bits[(seq / 64) as usize] |= 1 << (seq % 64);
            }
            out.extend(0u64.to_le_bytes());
            out.extend(bits.iter().flat_map(|word| word.to_le_bytes()));
            out.extend([1, 0]);
        }
    }
    out.extend([1, 0, 0, 0, 0, 0, 0, 0, 0]);
    let sum = sum("S", &out);
    out.extend(sum.to_le_bytes());
    out
}

/// A snapshot of stream `S` in the tar format, before S2: `files` after the stream's own config.
pub fn tarball(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let meta = meta("", "S", r#"{"name":"S"}"#);
    let all: Vec<_> = meta.iter().map(|(path, data)| (path.as_str(), data.clone())).collect();
    tar(&[&all, files].concat())
}

/// An entry of NATSARC1.
pub fn entry(name: &str, time: u64, sequence: u64, headers: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut out = uvarint(name.len() as u64);
    for value in [time, sequence, headers.len() as u64, payload.len() as u64] {
        out.extend(uvarint(value));
    }
    [&out, name.as_bytes(), headers, payload].concat()
}

/// A snapshot in NATSARC1, before S2: its state and the entries after it, without an end.
pub fn natsarc(state: &str, entries: &[Vec<u8>]) -> Vec<u8> {
    let state = entry("state.json", 5, 0, b"", state.as_bytes());
    [b"NATSARC1".to_vec(), state, entries.concat()].concat()
}
