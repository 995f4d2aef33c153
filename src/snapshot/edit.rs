//! A snapshot written again with less in it, or under another name: either format in, the tar format out, in one
//! pass. What is kept is what was there, byte for byte: subject, headers, payload, time and sequence.
//!
//! What goes is a gap, as a deletion leaves it. The last sequence stays, so that a stream goes on counting where
//! it was. A server's tar tells only after a message, some of it at its very end, that it is deleted; such a message
//! is written and then marked as deleted, as servers do.
//!
//! One that is to be [rsyncable](super::rsyncable()) is written as that module writes it: what is deleted is said at the
//! end. NATSARC1 does not say when a stream was created, and its own time is another one in each dump; so that of the first
//! message stands there.
//!
//! Consumers stay within what is left. A message that is gone is pending nowhere, and counts as acknowledged, as
//! when a server deletes it.

use std::io::{Read, Write};

use serde_json::value::RawValue;

use super::convert::{ConvertError, MAX_NAMED};
use super::fault::Fault;
use super::held_consumers::{HeldConsumers, MAX_CONSUMERS, TooManyConsumers};
use super::items::{Consumer, Item, Record};
use super::keep::{Keep, Matched};
use super::rename::Rename;
use super::reported_state::{ReportedState, Shortfall};
use super::tally::{Count, Sequences, TOO_SCATTERED};
use super::writer::{self, WriteError, Writer};
use super::{Contents, inspect_items, meta};
use crate::names::StreamName;

/// The most messages that may be the newest ones in one stream, each of which takes some 200 bytes.
pub const MAX_NEWEST: usize = 1 << 20;

/// Of how many messages at the beginning the times are kept, for that of the first one that stays.
const FIRST: usize = 1024;

/// What is done to a stream; by default, nothing.
#[derive(Debug, Clone, Default)]
pub struct Edit {
    /// Which messages stay.
    pub keep: Keep,
    /// What becomes of its name and subjects.
    pub rename: Rename,
    /// Whether its consumers go.
    pub no_consumers: bool,
    /// Whether it is written so that what is unchanged between two snapshots is the same bytes in both.
    pub rsyncable: bool,
}

impl Edit {
    /// Whether the source's promise is passed on with a snapshot whose content is not known yet. That changes with
    /// every message.
    pub fn promises(&self) -> bool {
        self.keep.is_all() && !self.rsyncable
    }
}

/// Why a snapshot is not edited.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// What is read is not whole, or cannot be written.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// What is read is less than was promised.
    #[error(transparent)]
    Short(#[from] Shortfall),
    /// There are too many consumers.
    #[error("its consumers take more than {} MiB", MAX_CONSUMERS >> 20)]
    Consumers,
    /// There are too many subjects.
    #[error("more than {MAX_NEWEST} messages are the newest ones of their subjects")]
    Subjects,
    /// So many sequences are too many.
    #[error("{TOO_SCATTERED}")]
    TooScattered,
}

impl From<Fault> for EditError {
    fn from(fault: Fault) -> Self {
        EditError::Convert(fault.into())
    }
}

impl From<TooManyConsumers> for EditError {
    fn from(_: TooManyConsumers) -> Self {
        EditError::Consumers
    }
}

impl From<WriteError> for EditError {
    fn from(error: WriteError) -> Self {
        EditError::Convert(error.into())
    }
}

/// What an edited snapshot holds, and what of the source it does not.
#[derive(Debug, Clone, Default)]
pub struct EditResult {
    /// What the source holds.
    pub source: Contents,
    /// What stays, as whoever knows it counts it.
    pub whole: MessageCounts,
    /// What stays, as a reader counts it who was promised what the source promised, or nothing
    /// ([`Edit::promises`]).
    pub in_parts: MessageCounts,
    /// The bytes of their records, as a server counts them. Those count too that are written and marked as
    /// deleted.
    pub bytes: u64,
    /// The bytes of the records that are not written.
    pub bytes_gone: u64,
    /// The last sequence.
    pub last_seq: u64,
    /// When the first message was written, in ns since 1970; zero where nobody knows.
    pub first_time: i64,
    /// When the last message of the source was written, in ns since 1970; zero where nobody knows.
    pub last_time: i64,
    /// Consumers that stay.
    pub consumers: u64,
    /// Those of them that live in memory, [`MAX_NAMED`] at most: a server makes them anew, whatever a tar says of
    /// their state.
    pub in_memory: Vec<String>,
    /// Which patterns matched a message.
    pub matched: Matched,
    /// What was there before [`Keep::before`].
    pub then: PastState,
}

/// The messages of an edited snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MessageCounts {
    /// Messages. A snapshot of a stream that changed meanwhile may hold more.
    pub messages: u64,
    /// The first sequence; one more than the last when there are no messages any more.
    pub first_seq: u64,
    /// Sequences between first and last without a message.
    pub deleted: u64,
}

impl MessageCounts {
    fn of(count: Count) -> Self {
        MessageCounts { messages: count.messages, first_seq: count.first, deleted: count.deleted() }
    }
}

/// What a stream shows of a moment in the past.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PastState {
    /// Whether messages from before it are missing.
    pub missing: bool,
    /// Whether something was stored since.
    pub stored_since: bool,
}

/// Writes the snapshot in `bytes` to `out` as `edit` says. The stream has this `config`; its name and subjects there
/// are those before the edit.
///
/// # Errors
/// [`EditError`]; what was written is no whole snapshot then.
pub fn edit(
    stream: &StreamName,
    config: &RawValue,
    reported: &ReportedState,
    edit: &Edit,
    bytes: impl Read,
    out: impl Write,
) -> Result<EditResult, EditError> {
    let mut editing = Editing {
        edit,
        name: edit.rename.name().unwrap_or(stream),
        config,
        out: Some(out),
        writer: None,
        kept: Sequences::default(),
        deleted: Sequences::default(),
        late: Sequences::default(),
        first: Vec::new(),
        top: 0,
        expected: 1,
        is_over: false,
        consumers: HeldConsumers::default(),
        edited: EditResult::default(),
    };
    let contents = inspect_items(stream, reported, bytes, |item| editing.item(item))?;
    contents.agrees_with(reported)?;
    let nothing = ReportedState::default();
    editing.finish(contents, if edit.promises() { reported } else { &nothing })
}

struct Editing<'a, W> {
    edit: &'a Edit,
    name: &'a StreamName,
    config: &'a RawValue,
    out: Option<W>,
    writer: Option<Writer<W>>,
    /// The sequences that were written and not deleted since.
    kept: Sequences,
    /// The sequences that were said to be deleted before any message of them came.
    deleted: Sequences,
    /// The sequences that were written, and are to be marked as deleted at the end.
    late: Sequences,
    /// The first ones, with their times.
    first: Vec<(u64, i64)>,
    /// The highest sequence so far.
    top: u64,
    /// The sequence that comes next where nothing from before [`Keep::before`] is missing.
    expected: u64,
    /// Whether that time has been reached.
    is_over: bool,
    consumers: HeldConsumers,
    edited: EditResult,
}

impl<W: Write> Editing<'_, W> {
    fn item(&mut self, item: Item<'_>) -> Result<(), EditError> {
        match item {
            Item::State(state) => {
                self.time(state.last_seq, state.last_time);
                if self.edit.rsyncable { Ok(()) } else { self.begin_created_at(state.time) }
            }
            Item::Info(info) => self.begin(info),
            Item::Consumer(_) if self.edit.no_consumers => Ok(()),
            Item::Consumer(consumer) => self.consumer(consumer),
            Item::Message(record) => self.message(&record),
            Item::Deleted { sequence, time } => self.deleted(sequence, time),
        }
    }

    fn begin(&mut self, info: &RawValue) -> Result<(), EditError> {
        let info = self.edit.rename.stream_config(info).ok_or(WriteError::BadConfig)?;
        let out = self.out.take().ok_or(WriteError::BadConfig)?;
        let writer = Writer::begin(out, self.name, &info)?;
        self.writer = Some(if self.edit.rsyncable { writer.rsyncable() } else { writer });
        Ok(())
    }

    fn begin_created_at(&mut self, time: i64) -> Result<(), EditError> {
        let info = meta::of_stream(self.config, time).ok_or(WriteError::BadConfig)?;
        self.begin(&info)
    }

    fn consumer(&mut self, mut consumer: Consumer) -> Result<(), EditError> {
        consumer.info = self.edit.rename.consumer_config(&consumer.info).ok_or(WriteError::BadConfig)?;
        Ok(self.consumers.hold(consumer)?)
    }

    fn message(&mut self, record: &Record<'_>) -> Result<(), EditError> {
        self.look_back(record.sequence, record.time);
        self.time(record.sequence, record.time);
        if self.writer.is_none() {
            self.begin_created_at(record.time)?;
        }
        let len = writer::record_len(record).map_or(0, u64::from);
        if self.deleted.contains(record.sequence) || !self.edit.keep.keeps(record, &mut self.edited.matched) {
            self.edited.bytes_gone = self.edited.bytes_gone.saturating_add(len);
            return Ok(());
        }
        let rename = &self.edit.rename;
        let (subject, payload) =
            (rename.subject(record.subject), rename.payload(record.subject, record.payload));
        let record = Record { subject: &subject, payload: &payload, ..*record };
        self.writer()?.message(&record)?;
        self.kept.insert(record.sequence).map_err(|_| EditError::TooScattered)?;
        if self.first.len() < FIRST {
            self.first.push((record.sequence, record.time));
        }
        self.edited.bytes =
            self.edited.bytes.saturating_add(writer::record_len(&record).map_or(0, u64::from));
        Ok(())
    }

    fn deleted(&mut self, sequence: u64, time: i64) -> Result<(), EditError> {
        if sequence > self.top {
            self.deleted.insert(sequence).map_err(|_| EditError::TooScattered)?;
            self.deleted.flush();
        }
        self.edited.then.missing |= sequence < self.expected;
        self.time(sequence, time);
        if !self.kept.remove(sequence) {
            return Ok(());
        }
        if self.edit.rsyncable {
            return self.late.insert(sequence).map_err(|_| EditError::TooScattered);
        }
        Ok(self.writer()?.deleted(sequence, time)?)
    }

    /// Notes what a message says of those from before [`Keep::before`].
    fn look_back(&mut self, sequence: u64, time: i64) {
        if self.is_over {
            return;
        }
        // What lies between the last message from before and the first one since may be of either.
        self.edited.then.missing |= sequence > self.expected;
        self.is_over = self.edit.keep.before.is_some_and(|before| time >= before);
        if !self.is_over {
            self.expected = sequence.saturating_add(1);
        }
    }

    fn time(&mut self, sequence: u64, time: i64) {
        self.edited.then.stored_since |= self.edit.keep.before.is_some_and(|before| time >= before);
        if sequence > self.top {
            (self.top, self.edited.last_time) = (sequence, time);
        }
    }

    fn writer(&mut self) -> Result<&mut Writer<W>, EditError> {
        self.writer.as_mut().ok_or_else(|| WriteError::BadConfig.into())
    }

    fn finish(mut self, source: Contents, promised: &ReportedState) -> Result<EditResult, EditError> {
        self.kept.flush();
        let last = source.last_seq;
        self.edited.then.missing |= !self.is_over && last >= self.expected;
        let mut consumers = std::mem::take(&mut self.consumers).into_all();
        for consumer in &mut consumers {
            consumer.put_back_to(last);
            if source.format == super::Format::NatsArc1 {
                consumer.put_before_begin();
                if self.edit.rsyncable {
                    // The snapshot says no more than that it was there when it began.
                    let info = meta::created_at(&consumer.info, self.edited.last_time);
                    consumer.info = info.ok_or(WriteError::BadConfig)?;
                }
            }
            consumer.state.without(|sequence| !self.kept.contains(sequence));
            if consumer.is_made_anew() && self.edited.in_memory.len() < MAX_NAMED {
                self.edited.in_memory.push(consumer.name.clone());
            }
        }
        if self.writer.is_none() {
            self.begin_created_at(self.edited.last_time)?;
        }
        let mut writer = self.writer.take().ok_or(WriteError::BadConfig)?;
        self.late.flush();
        for sequence in self.late.iter() {
            writer.deleted(sequence, 0)?;
        }
        writer.finish_with(last, self.edited.last_time, &consumers)?;
        let first_seq = self.kept.first().unwrap_or(if last == 0 { 0 } else { last.saturating_add(1) });
        let first = self.first.iter().find(|(sequence, _)| *sequence == first_seq);
        let records = self.kept.len();
        let messages = records.saturating_sub(source.unsettled);
        let whole = MessageCounts::of(Count { messages, records, first: first_seq, last });
        Ok(EditResult {
            whole,
            in_parts: MessageCounts::of(self.kept.counted(last, promised)),
            first_time: first.map_or(0, |(_, time)| *time),
            last_seq: last,
            consumers: consumers.len() as u64,
            source,
            ..self.edited
        })
    }
}
