//! A server's indexes of its blocks: `msgs/index.db` of the whole stream (2.10 and later) and `msgs/N.idx`
//! of one block (2.9). Compares what it reads with a [`Tally`]. Knows no tar and no records.
//!
//! Numbers are unsigned LEB128 (`u`) or the same of a zigzag number (`i`), else little-endian.
//!
//! | `msgs/index.db` | what |
//! |---|---|
//! | 1, 1 | magic 11; version 1 (2.10), 2 (2.11), 3 (2.12), 4 (2.14) |
//! | u, u, u, i, u, i | messages, bytes, first sequence and time, last sequence and time |
//! | u | number of subjects |
//! | u, …, u, u, u | of each: length, subject, messages, first and last block; the last one only from version 4 on, or with more than one message |
//! | u | number of blocks |
//! | u, u, u, i, u, i, u | of each: number, bytes, first sequence and time, last sequence and time, deleted ones between them |
//! | u | with message TTLs, from version 2 on |
//! | u | with schedules, from version 3 on |
//! | … | the deleted sequences, when there are some: see below |
//! | u, 8 | the last block's number and its last record's checksum |
//! | 8 | HighwayHash-64 of all that |
//!
//! | deleted sequences | what |
//! |---|---|
//! | 1, 1 | magic 22; version 1 or 2 |
//! | 4, 4 | number of nodes, number of sequences |
//! | 8, 512 or 256, 2 | of each node: the first sequence, a bit for each of the next 4,096 (version 1) or 2,048 (version 2), its height in a tree; in no order |
//!
//! | `msgs/N.idx` | what |
//! |---|---|
//! | 1, 1 | magic 22; version 1 |
//! | u, u, u, i, u, i, u | messages, bytes, first sequence and time, last sequence and time, deleted ones between them |
//! | 8 | the last record's checksum |
//! | u | of each deleted sequence: its distance from the first |
//!
//! Source: nats-server, `server/filestore.go` and `server/avl/seqset.go`.

use std::io::Read;

use highway::{HighwayHash, HighwayHasher};

use super::checksums::{self, SUM_LEN};
use super::content::Content;
use super::fault::Fault;
use super::leb128;
use super::sequences::Sequences;
use super::tally::{IndexedMessages, Tally};
use crate::names::StreamName;

const INDEX_MAGIC: u8 = 11;
const INDEX_VERSIONS: std::ops::RangeInclusive<u8> = 1..=4;
const SET_MAGIC: u8 = 22;
const BLOCK_MAGIC: u8 = 22;
/// The most deleted sequences that one block may have: fifteen times the records that fit into the
/// largest block (8 MiB) when all are empty.
const MAX_DELETED: u64 = 1 << 22;
/// The most memory that those may take, in bytes: much more than when they lie between the records of one
/// block, as they should.
const MAX_DELETED_SET: u64 = 32 << 20;
const TOO_MANY: &str = "a block has too many deleted messages";

/// Reads `msgs/index.db`, of `size` bytes.
pub fn read<R: Read>(
    content: &mut Content<R>,
    stream: &StreamName,
    size: u64,
    tally: &mut Tally,
) -> Result<IndexedMessages, Fault> {
    let Some(left) = size.checked_sub(SUM_LEN as u64) else {
        return Err(content.damaged("an index is too short"));
    };
    let mut fields = Fields { content, left, fresh: 0, hash: checksums::keyed(stream.as_str()) };
    let index = fields.index(tally)?;
    let (left, hash) = (fields.left, fields.hash);
    if left != 0 {
        return Err(content.damaged("an index is longer than what it says"));
    }
    let mut sum = [0; SUM_LEN];
    content.exact(&mut sum)?;
    if hash.finalize64() != u64::from_le_bytes(sum) {
        return Err(content.damaged("an index's checksum does not match"));
    }
    Ok(index)
}

/// The live range of one block, and its deleted sequences.
#[derive(Debug, Default)]
pub struct BlockIndex {
    first: u64,
    last: u64,
    deleted: Sequences,
}

impl BlockIndex {
    /// Reads `msgs/N.idx`, of `size` bytes. An index of 2.9 may be followed by the rest of an older,
    /// longer one.
    pub fn read<R: Read>(content: &mut Content<R>, size: u64) -> Result<Self, Fault> {
        let mut fields = Fields { content, left: size, fresh: 0, hash: HighwayHasher::default() };
        if fields.byte()? != BLOCK_MAGIC || fields.byte()? != 1 {
            return Err(fields.content.unsupported("an index of an unknown version"));
        }
        let (_messages, _bytes) = (fields.unsigned()?, fields.unsigned()?);
        let (first, _) = (fields.unsigned()?, fields.unsigned()?);
        let (last, _) = (fields.unsigned()?, fields.unsigned()?);
        let count = fields.unsigned()?;
        fields.skip(SUM_LEN as u64)?;
        let mut deleted = Sequences::bounded(MAX_DELETED_SET);
        fields.bounded(count)?;
        for _ in 0..count {
            let sequence = first.saturating_add(fields.unsigned()?);
            deleted.insert(sequence).map_err(|_| fields.content.unsupported(TOO_MANY))?;
        }
        deleted.flush();
        let left = fields.left;
        content.pass(left, |_| {})?;
        Ok(BlockIndex { first, last, deleted })
    }

    /// Holds the block against its records and adds it to the stream's `index`.
    pub fn hold<R: Read>(
        &self,
        content: &mut Content<R>,
        tally: &mut Tally,
        index: &mut IndexedMessages,
    ) -> Result<(), Fault> {
        let live = tally.hold(self.first..=self.last, &self.deleted);
        let live = live.map_err(|missing| missing_message(content, missing))?;
        index.messages = index.messages.saturating_add(live);
        index.present = index.messages;
        if index.first == 0 || live > 0 && self.first < index.first {
            index.first = self.first;
        }
        index.last = index.last.max(self.last);
        Ok(())
    }
}

fn missing_message<R: Read>(content: &mut Content<R>, sequence: u64) -> Fault {
    content.at_sequence(Some(sequence));
    content.damaged("a message that the server's index lists is missing")
}

/// Reads numbers, and hashes the bytes.
struct Fields<'c, R> {
    content: &'c mut Content<R>,
    left: u64,
    /// Bytes at hand that are hashed already: whole pieces are, numbers are read one by one.
    fresh: u64,
    hash: HighwayHasher,
}

impl<R: Read> Fields<'_, R> {
    fn index(&mut self, tally: &mut Tally) -> Result<IndexedMessages, Fault> {
        let (magic, version) = (self.byte()?, self.byte()?);
        if magic != INDEX_MAGIC || !INDEX_VERSIONS.contains(&version) {
            return Err(self.content.unsupported("an index of an unknown version"));
        }
        let mut index = IndexedMessages { messages: self.unsigned()?, ..IndexedMessages::default() };
        let _bytes = self.unsigned()?;
        (index.first, _) = (self.unsigned()?, self.unsigned()?);
        (index.last, _) = (self.unsigned()?, self.unsigned()?);

        for _ in 0..self.unsigned()? {
            let len = self.unsigned()?;
            if len == 0 {
                continue;
            }
            self.skip(len)?;
            let (messages, _first) = (self.unsigned()?, self.unsigned()?);
            if messages > 1 || version >= 4 {
                self.unsigned()?;
            }
        }

        // Before the first sequence nothing is live, even where a block's own range begins there: a purge
        // may leave that so. Blocks ascend; should they overlap, nothing is counted twice.
        let mut next = index.first.max(1);
        for _ in 0..self.unsigned()? {
            let (_number, _bytes) = (self.unsigned()?, self.unsigned()?);
            let (first, _) = (self.unsigned()?, self.unsigned()?);
            let (last, _) = (self.unsigned()?, self.unsigned()?);
            let deletes = self.unsigned()?;
            if version >= 2 {
                self.unsigned()?;
            }
            if version >= 3 {
                self.unsigned()?;
            }
            let deleted = if deletes > 0 { self.deleted(deletes)? } else { Sequences::default() };
            let live = tally.hold(first.max(next)..=last, &deleted);
            let live = live.map_err(|missing| missing_message(self.content, missing))?;
            index.present = index.present.saturating_add(live);
            next = next.max(last.saturating_add(1));
        }
        let _last_block = self.unsigned()?;
        self.skip(SUM_LEN as u64)?;
        Ok(index)
    }

    /// The deleted sequences of a block, of which there should be `count`.
    fn deleted(&mut self, count: u64) -> Result<Sequences, Fault> {
        let (magic, version) = (self.byte()?, self.byte()?);
        let words = match (magic, version) {
            (SET_MAGIC, 1) => 64,
            (SET_MAGIC, 2) => 32,
            _ => return Err(self.content.unsupported("deleted sequences of an unknown version")),
        };
        self.bounded(count)?;
        let (nodes, size) = (self.little(4)?, self.little(4)?);
        if size != count {
            return Err(self.content.damaged("an index counts its deleted sequences wrongly"));
        }
        let mut deleted = Sequences::bounded(MAX_DELETED_SET);
        let mut set: u64 = 0;
        for _ in 0..nodes {
            let base = self.little(8)?;
            for word in 0..words {
                let mut bits = self.little(8)?;
                while bits != 0 {
                    let bit = word * 64 + u64::from(bits.trailing_zeros());
                    let sequence = base.saturating_add(bit);
                    deleted.insert(sequence).map_err(|_| self.content.unsupported(TOO_MANY))?;
                    bits &= bits - 1;
                    set += 1;
                }
            }
            self.little(2)?;
            if set > count {
                break;
            }
        }
        deleted.flush();
        if deleted.len() != count {
            return Err(self.content.damaged("an index counts its deleted sequences wrongly"));
        }
        Ok(deleted)
    }

    fn bounded(&self, count: u64) -> Result<(), Fault> {
        if count > MAX_DELETED {
            return Err(self.content.unsupported(TOO_MANY));
        }
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        let bytes = self.content.fill()?;
        let Some(first) = bytes.first().copied() else {
            return Err(self.content.cut());
        };
        if self.fresh == 0 {
            let take = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            self.hash.append(bytes.get(..take).unwrap_or(bytes));
            self.fresh = take as u64;
        }
        if self.left == 0 {
            return Err(self.content.damaged("an index ends within a number"));
        }
        self.content.consume(1);
        self.fresh -= 1;
        self.left -= 1;
        Ok(first)
    }

    fn unsigned(&mut self) -> Result<u64, Fault> {
        let number = leb128::read(|| self.byte())?;
        number.ok_or_else(|| self.content.damaged("a number in an index is too long"))
    }

    fn little(&mut self, bytes: u32) -> Result<u64, Fault> {
        let mut value = 0;
        for n in 0..bytes {
            value |= u64::from(self.byte()?) << (8 * n);
        }
        Ok(value)
    }

    fn skip(&mut self, n: u64) -> Result<(), Fault> {
        for _ in 0..n {
            self.byte()?;
        }
        Ok(())
    }
}
