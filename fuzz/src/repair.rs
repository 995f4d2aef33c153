//! Writes the right checksums into a tar snapshot's content wherever a file is recognised: those of the tar
//! headers, of the configs, of every record and of the index. What the fuzzer made of everything else
//! stays. The layouts are in the crate's `snapshot` module.

use highway::{HighwayHash, HighwayHasher, Key};
use sha2::{Digest, Sha256};

const BLOCK: usize = 512;
const RECORD_HEADER: usize = 22;
const SUM: usize = 8;

/// Repairs the checksums of a snapshot of `stream`, as far as its files can be found.
pub fn snapshot(content: &mut [u8], stream: &str) {
    let mut at = 0;
    let mut meta = [0; SUM];
    let mut extended = None;
    while let Some((path, kind, body)) = header(content, at) {
        let path = extended.take().unwrap_or(path);
        let file = &mut content[body.clone()];
        let parts: Vec<&str> = path.split('/').collect();
        match (kind, parts.as_slice()) {
            (b'x', _) => extended = extended_path(file),
            (_, ["meta.inf"]) => meta = sum(stream, file),
            (_, ["obs", consumer, "meta.inf"]) => meta = sum(&format!("{stream}/{consumer}"), file),
            (_, [.., "meta.sum"]) => {
                let text: String = meta.iter().map(|byte| format!("{byte:02x}")).collect();
                file.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
            }
            (_, ["msgs", "index.db"]) => {
                if let Some((index, to)) = file.split_last_chunk_mut::<SUM>() {
                    *to = sum(stream, index);
                }
            }
            (_, ["msgs", block]) => {
                if let Some(number) = block.strip_suffix(".blk") {
                    records(file, &format!("{stream}-{number}"));
                }
            }
            _ => {}
        }
        at = body.end.next_multiple_of(BLOCK);
    }
}

/// Repairs the checksums of a tar's headers, and nothing else.
pub fn tar(content: &mut [u8]) {
    let mut at = 0;
    while let Some((_, _, body)) = header(content, at) {
        at = body.end.next_multiple_of(BLOCK);
    }
}

/// Repairs the header at `at`; gives its path, its type, and where its body lies.
fn header(content: &mut [u8], at: usize) -> Option<(String, u8, std::ops::Range<usize>)> {
    let len = content.len();
    let header = content.get_mut(at..at + BLOCK).filter(|header| header.iter().any(|byte| *byte != 0))?;
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let size = str::from_utf8(&header[124..136]).ok()?;
    let size = usize::from_str_radix(size.trim_matches(['\0', ' ']), 8).ok()?;
    let path = header[..100].split(|byte| *byte == 0).next().unwrap_or_default();
    let body = at + BLOCK;
    Some((
        String::from_utf8_lossy(path).into_owned(),
        header[156],
        body..body.checked_add(size)?.min(len).max(body),
    ))
}

/// The path in a PAX header, which servers write for every file.
fn extended_path(records: &[u8]) -> Option<String> {
    let records = String::from_utf8_lossy(records);
    records.lines().find_map(|record| Some(record.split_once(" path=")?.1.to_owned()))
}

fn records(mut block: &mut [u8], key: &str) {
    while block.len() >= RECORD_HEADER + SUM {
        let len = u32::from_le_bytes([block[0], block[1], block[2], block[3]]);
        let subject = usize::from(u16::from_le_bytes([block[20], block[21]]));
        let (headers, len) = (len >> 31 == 1, (len & !(1 << 31)) as usize);
        let lengths = if headers { 4 } else { 0 };
        if len > block.len() || len < RECORD_HEADER + subject + lengths + SUM {
            return;
        }
        let (record, rest) = block.split_at_mut(len);
        let (hashed, to) = record.split_at_mut(len - SUM);
        let (subject, message) = hashed[RECORD_HEADER..].split_at(subject);
        let hashed = [&hashed[4..20], subject, &message[lengths..]].concat();
        to.copy_from_slice(&sum(key, &hashed));
        block = rest;
    }
}

fn sum(key: &str, data: &[u8]) -> [u8; SUM] {
    let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(digest.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    HighwayHasher::new(Key(words)).hash64(data).to_le_bytes()
}
