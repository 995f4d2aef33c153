//! Message blocks (`msgs/N.blk`): a run of records. Knows no tar and no index.
//!
//! | bytes of a record | what |
//! |---|---|
//! | 4 | length of the whole record, little-endian as all numbers here; bit 31: it has headers |
//! | 8 | sequence; bit 63: erased or skipped, bit 62: a tombstone, which says that this sequence is deleted |
//! | 8 | timestamp, ns since 1970 |
//! | 2 | length of the subject |
//! | … | subject |
//! | 4 | length of the headers; only when there are headers |
//! | … | headers, message |
//! | 8 | HighwayHash-64 of sequence, timestamp, subject, headers, message; keyed by [`checksums`] |
//!
//! Both lengths are outside the hash; a wrong one moves the fields, so the hash fails, except that the
//! length of the headers is only held against the record (the S2 frame's checksum covers it).
//! Sequences ascend in what servers write today, but servers do not insist on it when they recover a
//! store, nor does this reader: what counts is the set. Records are never held whole: a message may be
//! as large as the server's `max_payload`. Source: nats-server, `server/filestore.go`.

use std::io::Read;

use highway::{HighwayHash, HighwayHasher};

use super::checksums::{self, SUM_LEN};
use super::content::Content;
use super::items::{self, Item, MAX_RECORD, Record, Visitor};
use super::tally::Tally;
use crate::names::StreamName;

pub(super) const HEADER_LEN: usize = 22;
pub(super) const HEADERS: u32 = 1 << 31;
pub(super) const ERASED: u64 = 1 << 63;
pub(super) const TOMBSTONE: u64 = 1 << 62;

/// The hasher of the records in block `number`.
pub(super) fn keyed(stream: &StreamName, number: u32) -> HighwayHasher {
    checksums::keyed(&format!("{}-{number}", stream.as_str()))
}

/// Reads block `number`, of `size` bytes, into `tally`, and shows its records to `visitor`.
#[expect(
    clippy::too_many_lines,
    reason = "one record from its first byte to its last: its parts share the hash and what is left"
)]
pub fn read<R: Read, L: Visitor>(
    content: &mut Content<R>,
    stream: &StreamName,
    number: u32,
    size: u64,
    tally: &mut Tally,
    visitor: &mut L,
) -> Result<(), L::Error> {
    let keyed = keyed(stream, number);
    let mut text = Vec::new();
    let mut left = size;
    while left > 0 {
        content.at_sequence(None);
        if left < (HEADER_LEN + SUM_LEN) as u64 {
            return Err(content.damaged("a block ends within a record").into());
        }
        let mut header = [0; HEADER_LEN];
        content.exact(&mut header)?;
        let Header { len, has_headers, sequence, time, subject } = Header::parse(&header);
        content.at_sequence(Some(sequence & !(ERASED | TOMBSTONE)));
        let body = len.checked_sub((HEADER_LEN + SUM_LEN) as u64).filter(|_| len <= left);
        let Some(body) = body.filter(|body| subject + if has_headers { 4 } else { 0 } <= *body) else {
            return Err(content.damaged("a record's length").into());
        };

        let mut hash = keyed.clone();
        hash.append(header.get(4..20).unwrap_or(&[]));
        let mut bytes = tally.sum.bytes();
        text.clear();
        if L::VISITS && len > MAX_RECORD as u64 {
            return Err(content.unsupported(items::TOO_LONG).into());
        }
        let mut take = |piece: &[u8]| {
            hash.append(piece);
            bytes.append(piece);
            if L::VISITS {
                text.extend_from_slice(piece);
            }
        };
        content.pass(subject, &mut take)?;
        let mut rest = body - subject;
        let mut headers = 0;
        if has_headers {
            let mut len = [0; 4];
            content.exact(&mut len)?;
            rest -= 4;
            headers = u64::from(u32::from_le_bytes(len));
            if headers > rest {
                return Err(content.damaged("the length of a message's headers").into());
            }
        }
        let number = sequence & !(ERASED | TOMBSTONE);
        match sequence & (ERASED | TOMBSTONE) {
            0 if number > 0 => tally.ending.message(number),
            _ => tally.ending.none_at(number),
        }
        content.pass(headers, |piece| {
            take(piece);
            tally.ending.headers(piece);
        })?;
        content.pass(rest - headers, take)?;
        let mut sum = [0; SUM_LEN];
        content.exact(&mut sum)?;
        if hash.finalize64() != u64::from_le_bytes(sum) {
            return Err(content.damaged("a record's checksum does not match").into());
        }

        let noted = if sequence & TOMBSTONE != 0 {
            tally.tombstone(number)
        } else if sequence & ERASED != 0 || number == 0 {
            tally.gone(number);
            Ok(())
        } else {
            tally.sum.add(number, time, [subject, headers, rest - headers], bytes);
            tally.message(number)
        };
        noted.map_err(|_| content.unsupported(super::sequences::TOO_SCATTERED))?;
        if L::VISITS {
            visitor.item(match sequence & (ERASED | TOMBSTONE) {
                0 if number > 0 => {
                    let (subject, rest) = split(&text, subject);
                    let (headers, payload) = split(rest, headers);
                    Item::Message(Record { sequence, time, subject, headers, payload })
                }
                _ => Item::Deleted { sequence: number, time },
            })?;
        }
        left -= len;
    }
    content.at_sequence(None);
    Ok(())
}

fn split(bytes: &[u8], at: u64) -> (&[u8], &[u8]) {
    bytes.split_at(usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len()))
}

/// The beginning of a record.
pub(super) struct Header {
    pub len: u64,
    has_headers: bool,
    pub sequence: u64,
    time: i64,
    subject: u64,
}

impl Header {
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Header {
        let [l0, l1, l2, l3, s0, s1, s2, s3, s4, s5, s6, s7, t0, t1, t2, t3, t4, t5, t6, t7, n0, n1] = *bytes;
        let len = u32::from_le_bytes([l0, l1, l2, l3]);
        Header {
            len: u64::from(len & !HEADERS),
            has_headers: len & HEADERS != 0,
            sequence: u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
            time: i64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]),
            subject: u64::from(u16::from_le_bytes([n0, n1])),
        }
    }

    /// Of this record, which has `len` bytes as a whole.
    pub fn encode(record: &Record<'_>, len: u32) -> [u8; HEADER_LEN] {
        let [l0, l1, l2, l3] = if record.headers.is_empty() { len } else { len | HEADERS }.to_le_bytes();
        let [s0, s1, s2, s3, s4, s5, s6, s7] = record.sequence.to_le_bytes();
        let [t0, t1, t2, t3, t4, t5, t6, t7] = record.time.to_le_bytes();
        let [n0, n1] = (record.subject.len() as u16).to_le_bytes();
        [l0, l1, l2, l3, s0, s1, s2, s3, s4, s5, s6, s7, t0, t1, t2, t3, t4, t5, t6, t7, n0, n1]
    }
}
