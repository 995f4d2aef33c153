//! Writes a snapshot again so that unchanged messages are the same bytes in every snapshot of the stream. It reads both
//! formats and writes the tar format, in one pass. Knows no archive.
//!
//! A server's own snapshots of an unchanged stream differ: in the time of every tar header, in the places where frames were
//! cut, and in the index of all subjects. The new snapshot depends only on the messages and the consumers. Consumers come
//! last, next to the new messages.
//!
//! If a record of a tar is not live, it stays until the server itself removes it, and a tombstone at the end says that it is
//! deleted. So a deletion changes nothing in the middle.

use std::collections::BTreeSet;
use std::io::{Read, Write};

use serde_json::value::RawValue;

use super::content::Content;
use super::convert::ConvertError;
use super::held_consumers::HeldConsumers;
use super::items::{Consumer, Item, Record};
use super::reported_state::ReportedState;
use super::tally::{Sequences, TOO_SCATTERED};
use super::writer::{WriteError, Writer};
use super::{Fault, Format, Place, inspect_items, meta};
use crate::names::StreamName;

/// The most sequences that are held because they were deleted before their message came, if it comes at all.
const MAX_EARLY: usize = 1 << 20;

/// What is known of a stream besides its snapshot.
#[derive(Debug, Clone, Copy)]
pub struct StreamInfo<'a> {
    /// Its name.
    pub stream: &'a StreamName,
    /// Its configuration.
    pub config: &'a RawValue,
    /// When it was created, in ns since 1970, where that is known. NATSARC1 does not say it.
    pub created: Option<i64>,
}

/// Writes the snapshot in `bytes` to `out`. A consumer that stands beyond its end is put back to it. Servers leave
/// consumers out of a tar: `missing` is told the names of those in it and gives those that are to be added.
///
/// # Errors
/// [`ConvertError`]. Then the output is not a whole snapshot.
pub fn rsyncable<R: Read, W: Write>(
    info: &StreamInfo<'_>,
    reported: &ReportedState,
    bytes: impl Into<Content<R>>,
    out: W,
    missing: impl FnOnce(&[String]) -> Vec<Consumer>,
) -> Result<(), ConvertError> {
    let mut writing = Rewriting {
        info,
        out: Some(out),
        writer: None,
        written: Sequences::default(),
        early: BTreeSet::new(),
        late: Sequences::default(),
        top: (0, 0),
        consumers: HeldConsumers::default(),
    };
    let contents = inspect_items(info.stream, reported, bytes, |item| writing.item(item))?;
    let Rewriting { writer, consumers, mut written, mut late, top: (_, last_time), .. } = writing;
    let mut consumers = consumers.into_all();
    let mut writer = writer.ok_or(WriteError::BadConfig)?;
    written.flush();
    late.flush();
    for sequence in late.iter().filter(|sequence| written.contains(*sequence)) {
        writer.deleted(sequence, 0)?;
    }
    if contents.format == Format::NatsArc1 {
        for consumer in &mut consumers {
            consumer.put_before_begin();
            // The snapshot says no more than that it was there when it began, which is another time each time.
            let info = meta::created_at(&consumer.info, last_time);
            consumer.info = info.ok_or(WriteError::BadConfig)?;
        }
    }
    if contents.format == Format::Tar {
        let names: Vec<_> = consumers.iter().map(|consumer| consumer.name.clone()).collect();
        let mut added = missing(&names);
        added.iter_mut().for_each(Consumer::put_before_begin);
        consumers.extend(added);
    }
    consumers.iter_mut().for_each(|consumer| consumer.put_back_to(contents.last_seq));
    writer.finish_with(contents.last_seq, last_time, &consumers)?;
    Ok(())
}

struct Rewriting<'a, W> {
    info: &'a StreamInfo<'a>,
    out: Option<W>,
    writer: Option<Writer<W>>,
    written: Sequences,
    /// Sequences that were said to be deleted before a message of them came.
    early: BTreeSet<u64>,
    /// Those that were said to be deleted later.
    late: Sequences,
    /// The highest sequence so far, and its time.
    top: (u64, i64),
    consumers: HeldConsumers,
}

impl<W: Write> Rewriting<'_, W> {
    fn item(&mut self, item: Item<'_>) -> Result<(), ConvertError> {
        match item {
            Item::State(state) => {
                self.top = (state.last_seq, state.last_time);
                let created = self.info.created.unwrap_or(state.time);
                let info = meta::of_stream(self.info.config, created).ok_or(WriteError::BadConfig)?;
                self.begin(&info)
            }
            Item::Info(info) => self.begin(info),
            Item::Message(record) => self.message(&record),
            Item::Deleted { sequence, time } => self.deleted(sequence, time),
            Item::Consumer(consumer) => {
                let held = self.consumers.hold(consumer);
                held.map_err(|_| too_much("its consumers are too many to be written last"))
            }
        }
    }

    fn begin(&mut self, info: &RawValue) -> Result<(), ConvertError> {
        let out = self.out.take().ok_or(WriteError::BadConfig)?;
        self.writer = Some(Writer::begin(out, self.info.stream, info)?.rsyncable());
        Ok(())
    }

    fn message(&mut self, record: &Record<'_>) -> Result<(), ConvertError> {
        self.time(record.sequence, record.time);
        while self.early.first().is_some_and(|first| *first < record.sequence) {
            self.early.pop_first();
        }
        if self.early.first() == Some(&record.sequence) {
            return Ok(());
        }
        self.written.insert(record.sequence).map_err(|_| too_much(TOO_SCATTERED))?;
        let writer = self.writer.as_mut().ok_or(WriteError::BadConfig)?;
        Ok(writer.message(record)?)
    }

    fn deleted(&mut self, sequence: u64, time: i64) -> Result<(), ConvertError> {
        let is_early = sequence > self.top.0;
        self.time(sequence, time);
        if !is_early {
            return self.late.insert(sequence).map_err(|_| too_much(TOO_SCATTERED));
        }
        self.early.insert(sequence);
        if self.early.len() > MAX_EARLY { Err(too_much(TOO_SCATTERED)) } else { Ok(()) }
    }

    fn time(&mut self, sequence: u64, time: i64) {
        if sequence > self.top.0 {
            self.top = (sequence, time);
        }
    }
}

fn too_much(what: &'static str) -> ConvertError {
    Fault::Unsupported { what, place: Place::default() }.into()
}
