//! Writes a snapshot in the tar format, which servers from 2.10 on restore: items in, an S2 stream out, in one pass. Knows
//! neither where the items come from nor where the bytes go.
//!
//! | file | what |
//! |---|---|
//! | `meta.inf`, `meta.sum` | the stream's configuration and its checksum |
//! | `obs/C/meta.inf`, `obs/C/meta.sum`, `obs/C/o.dat` | of each consumer |
//! | `msgs/N.blk` | the messages, N from 1 |
//! | `msgs/N.blk` with a tombstone and nothing else | only where the last sequence has no message: behind messages in one block a server overlooks it |
//!
//! There is no index: a server makes it from the blocks, and takes every message there for live. So only live messages are
//! written. A tar header has the length of its file, so the frames of a block are held back until it is complete, and the
//! header has a frame of its own before them. Every time in the tar is zero, so the same items give the same bytes.
//!
//! By default, blocks are filled and frames are compressed. In an [rsyncable](Writer::rsyncable) snapshot, the sequences
//! decide where blocks and frames begin, and frames are not compressed, so the same messages are the same bytes.

use std::io::{self, Write};

use highway::{HighwayHash, HighwayHasher};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::block::{self, ERASED, Header, TOMBSTONE};
use super::checksums::SUM_LEN;
use super::chunking;
use super::frame_writer::FrameWriter;
use super::items::{Consumer, MAX_RECORD, Record};
use super::meta::checksum;
use crate::names::{Printable, StreamName};
use crate::tar_header::{self, BLOCK};

/// Up to how many bytes a block file grows, unless one message alone is larger. Servers make them of up to
/// 8 MiB.
pub const MAX_BLOCK_FILE: u64 = 4 << 20;
/// How far apart the sequences in one block may be. A server keeps a set of those that are missing between
/// them.
const MAX_SPAN: u64 = 1 << 20;

/// Why a snapshot cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The output failed.
    #[error("cannot write the snapshot")]
    Io(#[from] io::Error),
    /// No file store holds such a message.
    #[error("message {0} is longer than a server keeps in a file")]
    TooLong(u64),
    /// The items make no stream.
    #[error("message {0} is out of order")]
    OutOfOrder(u64),
    /// A stream's configuration that is not one.
    #[error("the configuration is not that of the stream")]
    BadConfig,
    /// No file can be called so.
    #[error("\"{0}\" cannot be a consumer's name")]
    BadName(Printable),
    /// NATSARC1 has consumers first.
    #[error("a consumer comes after messages")]
    LateConsumer,
    /// NATSARC1 says how many consumers there are before the first.
    #[error("its consumers are too long together")]
    LongConsumers,
    /// NATSARC1 holds no message that is not live.
    #[error("its messages come before what says that some of them are deleted")]
    LateDeletion,
}

/// Writes one snapshot. Consumers come before the messages, or [last](Writer::finish_with).
pub struct Writer<W> {
    out: FrameWriter<W>,
    stream: StreamName,
    rsyncable: bool,
    /// The number of the block that is being written, or comes next.
    number: u32,
    /// How many bytes that block has.
    len: u64,
    keyed: HighwayHasher,
    /// The first sequence in the block.
    first: u64,
    last: u64,
}

impl<W: Write> Writer<W> {
    /// Begins the snapshot of a stream with this configuration ([`stream_info`](super::stream_info)).
    ///
    /// # Errors
    /// [`WriteError::BadConfig`] where the configuration is of another stream.
    pub fn begin(out: W, stream: &StreamName, info: &RawValue) -> Result<Self, WriteError> {
        #[derive(Deserialize)]
        struct Named {
            name: String,
        }
        match serde_json::from_str(info.get()) {
            Ok(Named { name }) if name == stream.as_str() => {}
            _ => return Err(WriteError::BadConfig),
        }
        let out = FrameWriter::begin(out)?;
        let (number, keyed) = (1, block::keyed(stream, 1));
        let mut writer = Writer {
            out,
            stream: stream.clone(),
            rsyncable: false,
            number,
            len: 0,
            keyed,
            first: 0,
            last: 0,
        };
        meta(&mut writer.out, "", stream.as_str(), info)?;
        Ok(writer)
    }

    /// Has a long one compressed on a thread of its own.
    pub fn compressed_in_background(self) -> Self {
        Writer { out: self.out.compressed_in_background(), ..self }
    }

    /// Makes unchanged messages the same bytes in every snapshot. Call it before anything is written. The output is flushed
    /// at the end of each piece that does not depend on what comes before.
    pub fn rsyncable(self) -> Self {
        Writer { out: self.out.stored(), rsyncable: true, ..self }
    }

    /// Writes a consumer.
    pub fn consumer(&mut self, consumer: &Consumer) -> Result<(), WriteError> {
        self.end_block()?;
        self::consumer(&mut self.out, &self.stream, consumer)
    }

    /// Writes a message. Sequences ascend.
    pub fn message(&mut self, record: &Record<'_>) -> Result<(), WriteError> {
        let sequence = record.sequence;
        if sequence <= self.last || sequence >= TOMBSTONE {
            return Err(WriteError::OutOfOrder(sequence));
        }
        let len = record_len(record).ok_or(WriteError::TooLong(sequence))?;
        let cut = self.rsyncable.then(|| chunking::block(self.last, sequence, len)).flatten();
        if self.is_full(len) || sequence - self.first >= MAX_SPAN || cut.is_some() {
            self.end_block()?;
        }
        if self.len == 0 {
            self.begin_block(sequence, cut.unwrap_or(sequence))?;
        }
        self.record(len, record)?;
        self.last = sequence;
        if self.rsyncable && chunking::frame(sequence, len) {
            self.out.cut()?;
        }
        Ok(())
    }

    /// Writes that the message with this sequence, which was written before, is deleted. `time` is when it was
    /// stored, in ns since 1970.
    pub fn deleted(&mut self, sequence: u64, time: i64) -> Result<(), WriteError> {
        if sequence == 0 || sequence > self.last {
            return Err(WriteError::OutOfOrder(sequence));
        }
        let tombstone = tombstone(sequence, time);
        let len = record_len(&tombstone).ok_or(WriteError::TooLong(sequence))?;
        if self.is_full(len) {
            self.end_block()?;
        }
        if self.len == 0 {
            self.begin_block(self.last, sequence)?;
        }
        Ok(self.record(len, &tombstone)?)
    }

    /// Ends the snapshot of a stream whose last sequence is `last_seq`, be there such a message or not.
    /// `last_time` is when that was written, in ns since 1970, where it is known. Gives the output back.
    pub fn finish(self, last_seq: u64, last_time: i64) -> Result<W, WriteError> {
        self.finish_with(last_seq, last_time, &[])
    }

    /// The same with the consumers last, where servers have them.
    pub fn finish_with(
        mut self,
        last_seq: u64,
        last_time: i64,
        consumers: &[Consumer],
    ) -> Result<W, WriteError> {
        self.end_block()?;
        if last_seq > self.last {
            if last_seq & (ERASED | TOMBSTONE) != 0 {
                return Err(WriteError::OutOfOrder(last_seq));
            }
            let tombstone = tombstone(last_seq, last_time);
            let len = record_len(&tombstone).ok_or(WriteError::TooLong(last_seq))?;
            self.begin_block(last_seq, last_seq)?;
            self.record(len, &tombstone)?;
            self.end_block()?;
        }
        consumers.iter().try_for_each(|consumer| self.consumer(consumer))?;
        Ok(end(self.out)?)
    }

    fn record(&mut self, len: u32, record: &Record<'_>) -> io::Result<()> {
        let Record { sequence, time, subject, headers, payload } = *record;
        let mut hash = self.keyed.clone();
        hash.append([sequence.to_le_bytes(), time.to_le_bytes()].as_flattened());
        hash.append(subject);
        self.out.write(&Header::encode(record, len))?;
        self.out.write(subject)?;
        if !headers.is_empty() {
            hash.append(headers);
            self.out.write(&(headers.len() as u32).to_le_bytes())?;
            self.out.write(headers)?;
        }
        hash.append(payload);
        self.out.write(payload)?;
        self.out.write(&hash.finalize64().to_le_bytes())?;
        self.len += u64::from(len);
        Ok(())
    }

    /// Whether the block has no room for a record of so many bytes.
    fn is_full(&self, len: u32) -> bool {
        self.len + u64::from(len) > MAX_BLOCK_FILE
    }

    /// Begins a block with the sequence `first`, at the cut that this sequence has made.
    fn begin_block(&mut self, first: u64, cut: u64) -> Result<(), WriteError> {
        self.first = first;
        if self.rsyncable {
            self.number = chunking::number(self.number, cut).ok_or(WriteError::OutOfOrder(first))?;
            self.keyed = block::keyed(&self.stream, self.number);
        }
        Ok(self.out.hold()?)
    }

    fn end_block(&mut self) -> Result<(), WriteError> {
        if self.len == 0 {
            return Ok(());
        }
        let path = format!("msgs/{}.blk", self.number);
        self.out.write(padding(self.len))?;
        self.out.release(&tar_header::build(&path, self.len, 0)?)?;
        if self.rsyncable {
            self.out.end_unit()?;
        }
        self.len = 0;
        self.number = self.number.checked_add(1).ok_or(WriteError::OutOfOrder(self.last))?;
        self.keyed = block::keyed(&self.stream, self.number);
        Ok(())
    }
}

/// Writes the files of a consumer.
pub(super) fn consumer<W: Write>(
    out: &mut FrameWriter<W>,
    stream: &StreamName,
    consumer: &Consumer,
) -> Result<(), WriteError> {
    let name = consumer.name.as_str();
    let bad = |c: char| matches!(c, '/' | '\\' | '.' | '*' | '>') || c.is_whitespace() || c.is_control();
    if name.is_empty() || name.contains(bad) {
        return Err(WriteError::BadName(Printable::new(name)));
    }
    let key = format!("{}/{name}", stream.as_str());
    meta(out, &format!("obs/{name}/"), &key, &consumer.info)?;
    Ok(file(out, &format!("obs/{name}/o.dat"), &consumer.state.encode())?)
}

/// Writes a configuration and its checksum.
fn meta<W: Write>(out: &mut FrameWriter<W>, at: &str, key: &str, info: &RawValue) -> io::Result<()> {
    let info = info.get().as_bytes();
    file(out, &format!("{at}meta.inf"), info)?;
    file(out, &format!("{at}meta.sum"), checksum(key, info).as_bytes())
}

/// Writes a file of a tar.
pub(super) fn file<W: Write>(out: &mut FrameWriter<W>, path: &str, data: &[u8]) -> io::Result<()> {
    out.write(&tar_header::build(path, data.len() as u64, 0)?)?;
    out.write(data)?;
    out.write(padding(data.len() as u64))
}

/// Ends a tar.
pub(super) fn end<W: Write>(mut out: FrameWriter<W>) -> io::Result<W> {
    out.write(&[0; 2 * BLOCK])?;
    out.finish()
}

/// The zeros that follow so many bytes.
fn padding(len: u64) -> &'static [u8] {
    const ZEROS: [u8; BLOCK] = [0; BLOCK];
    ZEROS.get(..tar_header::padding(len)).unwrap_or(&[])
}

/// The record which says that `sequence` has no message.
fn tombstone(sequence: u64, time: i64) -> Record<'static> {
    Record { sequence: sequence | TOMBSTONE, time, subject: b"", headers: b"", payload: b"" }
}

/// The length of a whole record, where a server takes it for a sound one.
pub(super) fn record_len(record: &Record<'_>) -> Option<u32> {
    let Record { subject, headers, payload, .. } = record;
    let lengths = if headers.is_empty() { 0 } else { 4 };
    let len = block::HEADER_LEN + subject.len() + lengths + headers.len() + payload.len() + SUM_LEN;
    if subject.len() > usize::from(u16::MAX) || len > MAX_RECORD {
        return None;
    }
    u32::try_from(len).ok()
}
