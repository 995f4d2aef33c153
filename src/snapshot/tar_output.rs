//! Where a snapshot goes that is written again in the tar format. A tar begins with the stream's configuration, and NATSARC1
//! does not say when the stream was created. So the output waits until that is known. Does not know where the items come from.
//!
//! If a message of an [rsyncable](Writer::rsyncable) snapshot is deleted, its record stays where it is, and a tombstone at the
//! end says that it is deleted. So a deletion changes nothing in the middle.

use std::io::Write;

use serde_json::value::RawValue;

use super::items::{Consumer, Record};
use super::sequences::{Sequences, TooScattered};
use super::writer::{WriteError, Writer};
use crate::names::StreamName;

/// A snapshot of one stream that may have begun.
pub(super) struct TarOutput<'a, W> {
    stream: &'a StreamName,
    writing: Writing<W>,
    /// The sequences that were written, and get their tombstones at the end. None where they get them at once.
    deleted: Option<Sequences>,
}

enum Writing<W> {
    Waiting(W),
    Begun(Box<Writer<W>>),
    /// The configuration was refused.
    Failed,
}

impl<'a, W: Write> TarOutput<'a, W> {
    /// Nothing is written yet. One that is not `rsyncable` is compressed on a thread of its own.
    pub fn new(out: W, stream: &'a StreamName, rsyncable: bool) -> Self {
        TarOutput { stream, writing: Writing::Waiting(out), deleted: rsyncable.then(Sequences::default) }
    }

    /// Whether the configuration has not come yet.
    pub fn is_waiting(&self) -> bool {
        matches!(self.writing, Writing::Waiting(_))
    }

    /// Begins with this configuration ([`stream_info`](super::stream_info)).
    pub fn begin(&mut self, info: &RawValue) -> Result<(), WriteError> {
        let Writing::Waiting(out) = std::mem::replace(&mut self.writing, Writing::Failed) else {
            return Err(WriteError::BadConfig);
        };
        let writer = Writer::begin(out, self.stream, info)?;
        let writer = match self.deleted {
            Some(_) => writer.rsyncable(),
            None => writer.compressed_in_background(),
        };
        self.writing = Writing::Begun(Box::new(writer));
        Ok(())
    }

    /// Writes a message. Sequences ascend.
    pub fn message(&mut self, record: &Record<'_>) -> Result<(), WriteError> {
        self.writer()?.message(record)
    }

    /// The message with this sequence, which was written before, is deleted. `time` is when it was stored, in ns since
    /// 1970.
    pub fn delete<E>(&mut self, sequence: u64, time: i64) -> Result<(), E>
    where
        E: From<TooScattered> + From<WriteError>,
    {
        match &mut self.deleted {
            Some(deleted) => Ok(deleted.insert(sequence)?),
            None => Ok(self.writer()?.deleted(sequence, time)?),
        }
    }

    /// Ends the snapshot, with the consumers last; see [`Writer::finish_with`].
    pub fn finish(mut self, last_seq: u64, last_time: i64, consumers: &[Consumer]) -> Result<(), WriteError> {
        let mut deleted = self.deleted.take().unwrap_or_default();
        deleted.flush();
        for sequence in deleted.iter() {
            // One dump knows when the message was stored, and the next one, which has it from the index, does not.
            self.writer()?.deleted(sequence, 0)?;
        }
        let Writing::Begun(writer) = self.writing else { return Err(WriteError::BadConfig) };
        writer.finish_with(last_seq, last_time, consumers)?;
        Ok(())
    }

    fn writer(&mut self) -> Result<&mut Writer<W>, WriteError> {
        match &mut self.writing {
            Writing::Begun(writer) => Ok(writer),
            Writing::Waiting(_) | Writing::Failed => Err(WriteError::BadConfig),
        }
    }
}
