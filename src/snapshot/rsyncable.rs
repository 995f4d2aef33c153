//! Writes a snapshot again so that unchanged messages are the same bytes in every snapshot of the stream. It reads both
//! formats and writes the tar format, in one pass. Knows no archive.
//!
//! A server's own snapshots of an unchanged stream differ: in the time of every tar header, in the places where frames were
//! cut, and in the index of all subjects. The new snapshot depends only on the messages and the consumers. Consumers come
//! last, next to the new messages.
//!
//! If a record of a tar is not live, it stays until the server itself removes it, and a tombstone at the end says that it is
//! deleted. So a deletion changes nothing in the middle.

use std::io::{Read, Write};

use serde_json::value::RawValue;

use super::content::Content;
use super::convert::ConvertError;
use super::held_consumers::HeldConsumers;
use super::items::{Consumer, Item, Record};
use super::kept_messages::KeptMessages;
use super::reported_state::ReportedState;
use super::tar_output::TarOutput;
use super::writer::WriteError;
use super::{Format, inspect_items, meta};
use crate::names::StreamName;

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
        output: TarOutput::new(out, info.stream, true),
        messages: KeptMessages::default(),
        consumers: HeldConsumers::default(),
    };
    let contents = inspect_items(info.stream, reported, bytes, |item| writing.item(item))?;
    let Rewriting { mut output, mut messages, consumers, .. } = writing;
    messages.delete_before::<ConvertError>(reported.first_seq, |sequence| output.delete(sequence, 0))?;
    let last_time = messages.last_time();
    let consumers = consumers.into_placed(&contents, Some(last_time));
    let mut consumers = consumers.ok_or(WriteError::BadConfig)?;
    if contents.format == Format::Tar {
        let names: Vec<_> = consumers.iter().map(|consumer| consumer.name.clone()).collect();
        for mut added in missing(&names) {
            added.place(contents.last_seq);
            consumers.push(added);
        }
    }
    Ok(output.finish(contents.last_seq, last_time, &consumers)?)
}

struct Rewriting<'a, W> {
    info: &'a StreamInfo<'a>,
    output: TarOutput<'a, W>,
    messages: KeptMessages,
    consumers: HeldConsumers,
}

impl<W: Write> Rewriting<'_, W> {
    fn item(&mut self, item: Item<'_>) -> Result<(), ConvertError> {
        match item {
            Item::State(state) => {
                self.messages.reach(state.last_seq, state.last_time);
                let created = self.info.created.unwrap_or(state.time);
                let info = meta::of_stream(self.info.config, created).ok_or(WriteError::BadConfig)?;
                Ok(self.output.begin(&info)?)
            }
            Item::Info(info) => Ok(self.output.begin(info)?),
            Item::Consumer(consumer) => Ok(self.consumers.hold(consumer)?),
            Item::Message(record) => self.message(&record),
            Item::Deleted { sequence, time } => match self.messages.delete(sequence, time)? {
                true => self.output.delete(sequence, time),
                false => Ok(()),
            },
        }
    }

    fn message(&mut self, record: &Record<'_>) -> Result<(), ConvertError> {
        self.messages.reach(record.sequence, record.time);
        if self.messages.is_deleted(record.sequence) {
            return Ok(());
        }
        self.messages.keep(record.sequence)?;
        Ok(self.output.message(record)?)
    }
}
