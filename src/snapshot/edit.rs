//! Writes a snapshot again with fewer messages, or under another name. It reads both formats and writes the tar format, in
//! one pass. To write NATSARC1 it needs two passes; the first one makes a [`Survey`]. Knows no archive.
//!
//! A message that is kept does not change: subject, headers, payload, time and sequence are the same bytes. A message that
//! goes leaves a gap, as a deletion does. The last sequence stays, so the stream goes on counting from there. A server's tar
//! says only after a message, sometimes at its very end, that the message is deleted. Such a message is written and then
//! marked as deleted, as servers do.
//!
//! An [rsyncable](super::rsyncable()) snapshot is written as that module does it: deletions come at the end. NATSARC1 does
//! not say when a stream was created, and the time that it has is different in each dump. So the time of the first message
//! is used.
//!
//! Consumers keep their place among the messages that are left. A message that is gone is not pending anywhere, and counts
//! as acknowledged, as when a server deletes it.

use std::io::{self, Read, Write};

use serde_json::value::RawValue;

use super::content::Content;
use super::convert::{ConvertError, MAX_NAMED};
use super::fault::Fault;
use super::held_consumers::{HeldConsumers, MAX_CONSUMERS, TooManyConsumers};
use super::items::{Consumer, Item, Record, State};
use super::message_filter::{MatchedPatterns, MessageFilter};
use super::rename::Rename;
use super::reported_state::{ReportedState, Shortfall};
use super::tally::{MessageCount, Sequences, TOO_SCATTERED};
use super::writer::{self, WriteError, Writer};
use super::{Contents, Format, inspect_items, meta};
use crate::names::StreamName;

/// The most messages that may be the newest ones in one stream.
pub const MAX_NEWEST: usize = 1 << 20;

/// Of how many messages at the beginning the times are kept, for that of the first one that stays.
const FIRST: usize = 1024;

/// The changes to a stream. By default, there are none.
#[derive(Debug, Clone, Default)]
pub struct Edit {
    /// Which messages stay.
    pub keep: MessageFilter,
    /// What becomes of its name and subjects.
    pub rename: Rename,
    /// Whether its consumers go.
    pub no_consumers: bool,
    /// Whether unchanged messages are to be the same bytes in every snapshot.
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
    /// The source is not whole, or cannot be written.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// The source holds less than the server reported.
    #[error(transparent)]
    Short(#[from] Shortfall),
    /// There are too many consumers.
    #[error("its consumers take more than {} MiB", MAX_CONSUMERS >> 20)]
    Consumers,
    /// There are too many subjects.
    #[error("more than {MAX_NEWEST} messages are the newest ones of their subjects")]
    Subjects,
    /// The source changed between the two passes.
    #[error("it is not what it was when it was read first")]
    Changed,
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

/// What an edited snapshot holds, and what it does not hold of the source.
#[derive(Debug, Clone, Default)]
pub struct EditResult {
    /// The contents of the source.
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
    pub matched: MatchedPatterns,
    /// What is known of the stream before [`MessageFilter::before`].
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
    fn of(count: MessageCount) -> Self {
        MessageCounts { messages: count.messages, first_seq: count.first, deleted: count.deleted() }
    }
}

/// What is known of a stream at a moment in the past.
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
/// [`EditError`]. Then the output is not a whole snapshot.
pub fn edit<R: Read>(
    stream: &StreamName,
    config: &RawValue,
    reported: &ReportedState,
    edit: &Edit,
    bytes: impl Into<Content<R>>,
    out: impl Write,
) -> Result<EditResult, EditError> {
    let mut editing = Editing::new(stream, config, edit, Output::Waiting(out));
    let contents = inspect_items(stream, reported, bytes, |item| editing.item(item))?;
    contents.agrees_with(reported)?;
    let nothing = ReportedState::default();
    editing.finish(contents, if edit.promises() { reported } else { &nothing })
}

/// What an edit will leave of a snapshot. A writer needs it if the format has it before the messages.
#[derive(Debug)]
pub struct Survey {
    /// What an edited snapshot in NATSARC1 holds.
    pub edited: EditResult,
    /// Its state.
    pub(super) state: State,
    /// Its consumers.
    pub(super) consumers: Vec<Consumer>,
    /// The sequences of its messages.
    pub(super) kept: Sequences,
}

/// Finds out what `edit` leaves of the snapshot in `bytes`; see [`edit`](edit()).
///
/// # Errors
/// [`EditError`].
pub fn survey(
    stream: &StreamName,
    config: &RawValue,
    reported: &ReportedState,
    edit: &Edit,
    bytes: impl Read,
) -> Result<Survey, EditError> {
    let mut editing = Editing::new(stream, config, edit, Output::<io::Sink>::Nowhere);
    let contents = inspect_items(stream, reported, bytes, |item| editing.item(item))?;
    contents.agrees_with(reported)?;
    editing.surveyed(contents)
}

struct Editing<'a, W> {
    edit: &'a Edit,
    name: &'a StreamName,
    config: &'a RawValue,
    output: Output<W>,
    /// When the stream was created, as far as the snapshot says it.
    created: i64,
    /// The sequences that stay and were not deleted since.
    kept: Sequences,
    /// The sequences that were said to be deleted before any message of them came.
    deleted: Sequences,
    /// The sequences that were written, and are to be marked as deleted at the end.
    late: Sequences,
    /// The first ones, with their times.
    first: Vec<(u64, i64)>,
    /// The highest sequence so far.
    top: u64,
    /// The sequence that comes next where nothing from before [`MessageFilter::before`] is missing.
    expected: u64,
    /// Whether that time has been reached.
    is_over: bool,
    consumers: HeldConsumers,
    edited: EditResult,
}

/// The writer for the items that stay.
enum Output<W> {
    /// Nowhere: it is only counted.
    Nowhere,
    /// There, once the stream's configuration has come.
    Waiting(W),
    Begun(Box<Writer<W>>),
}

impl<'a, W: Write> Editing<'a, W> {
    fn new(stream: &'a StreamName, config: &'a RawValue, edit: &'a Edit, output: Output<W>) -> Self {
        Editing {
            edit,
            name: edit.rename.name().unwrap_or(stream),
            config,
            output,
            created: 0,
            kept: Sequences::default(),
            deleted: Sequences::default(),
            late: Sequences::default(),
            first: Vec::new(),
            top: 0,
            expected: 1,
            is_over: false,
            consumers: HeldConsumers::default(),
            edited: EditResult::default(),
        }
    }

    fn item(&mut self, item: Item<'_>) -> Result<(), EditError> {
        match item {
            Item::State(state) => {
                self.time(state.last_seq, state.last_time);
                self.created = state.time;
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
        self.created = meta::created(&info).unwrap_or(0);
        self.output = match std::mem::replace(&mut self.output, Output::Nowhere) {
            Output::Nowhere => Output::Nowhere,
            Output::Begun(_) => return Err(WriteError::BadConfig.into()),
            Output::Waiting(out) => {
                let writer = Writer::begin(out, self.name, &info)?;
                Output::Begun(Box::new(match self.edit.rsyncable {
                    true => writer.rsyncable(),
                    false => writer.compressed_in_background(),
                }))
            }
        };
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
        if matches!(self.output, Output::Waiting(_)) {
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
        if let Output::Begun(writer) = &mut self.output {
            writer.message(&record)?;
        }
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
        match &mut self.output {
            Output::Begun(writer) => Ok(writer.deleted(sequence, time)?),
            Output::Waiting(_) | Output::Nowhere => Ok(()),
        }
    }

    /// Notes what a message says of those from before [`MessageFilter::before`].
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

    fn finish(mut self, source: Contents, promised: &ReportedState) -> Result<EditResult, EditError> {
        let consumers = self.consumers(&source)?;
        let in_memory = consumers.iter().filter(|consumer| consumer.is_made_anew()).take(MAX_NAMED);
        self.edited.in_memory = in_memory.map(|consumer| consumer.name.clone()).collect();
        if matches!(self.output, Output::Waiting(_)) {
            self.begin_created_at(self.edited.last_time)?;
        }
        if let Output::Begun(mut writer) = std::mem::replace(&mut self.output, Output::Nowhere) {
            self.late.flush();
            for sequence in self.late.iter() {
                writer.deleted(sequence, 0)?;
            }
            writer.finish_with(source.last_seq, self.edited.last_time, &consumers)?;
        }
        let edited = self.counted(source, consumers.len());
        let in_parts = MessageCounts::of(self.kept.counted(edited.last_seq, promised));
        Ok(EditResult { in_parts, ..edited })
    }

    /// What stays, all of which counts: a snapshot in NATSARC1 holds nothing else.
    fn surveyed(mut self, source: Contents) -> Result<Survey, EditError> {
        let consumers = self.consumers(&source)?;
        let edited = self.counted(Contents { unsettled: 0, ..source.clone() }, consumers.len());
        let edited = EditResult { in_parts: edited.whole, source, ..edited };
        let state = State {
            messages: edited.whole.messages,
            first_seq: edited.whole.first_seq,
            last_seq: edited.last_seq,
            last_time: edited.last_time,
            time: self.created,
        };
        Ok(Survey { edited, state, consumers, kept: self.kept })
    }

    /// The consumers, where they stand in what stays.
    fn consumers(&mut self, source: &Contents) -> Result<Vec<Consumer>, EditError> {
        self.kept.flush();
        let mut consumers = std::mem::take(&mut self.consumers).into_all();
        for consumer in &mut consumers {
            consumer.put_back_to(source.last_seq);
            if source.format == Format::NatsArc1 {
                consumer.put_before_begin();
                if self.edit.rsyncable {
                    // The snapshot says no more than that it was there when it began.
                    let info = meta::created_at(&consumer.info, self.edited.last_time);
                    consumer.info = info.ok_or(WriteError::BadConfig)?;
                }
            }
            consumer.state.without(|sequence| !self.kept.contains(sequence));
        }
        Ok(consumers)
    }

    /// What stays, as whoever knows it counts it.
    fn counted(&mut self, source: Contents, consumers: usize) -> EditResult {
        let last = source.last_seq;
        self.edited.then.missing |= !self.is_over && last >= self.expected;
        let first_seq = self.kept.first().unwrap_or(if last == 0 { 0 } else { last.saturating_add(1) });
        let first = self.first.iter().find(|(sequence, _)| *sequence == first_seq);
        let records = self.kept.len();
        let messages = records.saturating_sub(source.unsettled);
        EditResult {
            whole: MessageCounts::of(MessageCount { messages, records, first: first_seq, last }),
            first_time: first.map_or(0, |(_, time)| *time),
            last_seq: last,
            consumers: consumers as u64,
            source,
            ..std::mem::take(&mut self.edited)
        }
    }
}
