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
use super::fault::{Fault, Place};
use super::held_consumers::{HeldConsumers, MAX_CONSUMERS, TooManyConsumers};
use super::items::{Consumer, Item, Record, State};
use super::kept_messages::KeptMessages;
use super::message_filter::{MatchedPatterns, MessageFilter};
use super::past::{LookBack, PastState};
use super::rename::Rename;
use super::renamed_subjects::RenamedSubjects;
use super::reported_state::{ReportedState, Shortfall};
use super::sequences::{Sequences, TOO_SCATTERED, TooScattered};
use super::tally::{self, MessageCount};
use super::tar_output::TarOutput;
use super::writer::{self, WriteError};
use super::{Contents, inspect_items, meta};
use crate::names::StreamName;

/// The most messages that may be the newest ones in one stream.
pub const MAX_NEWEST: usize = 1 << 20;

/// Of how many messages at the beginning the times are kept. The first message that is written may be said to be deleted
/// later, and then the time of another one is that of the first message.
const MAX_FIRST: usize = 1024;

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
    /// Whether the description of a snapshot that is not edited yet repeats the state that the source's description
    /// reports. If messages go, that is more than there will be. In an rsyncable archive no description has such a
    /// state, because it changes with every message.
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

impl From<TooScattered> for EditError {
    fn from(_: TooScattered) -> Self {
        EditError::TooScattered
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
    /// What stays, as a reader counts it whose description was made of this result.
    pub whole: MessageCounts,
    /// What stays, as a reader counts it whose description was written before the edit, as that of a snapshot in parts is.
    /// It says what the source's says, or nothing ([`Edit::promises`]). Where the source changed during its capture, the
    /// reader cannot tell which messages are live, and the numbers may differ.
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
    /// Those of them that deliver to a subject of their own, [`MAX_NAMED`] at most.
    pub pushing: Vec<String>,
    /// Those of them that take only subjects of which all messages go, [`MAX_NAMED`] at most.
    pub left_without: Vec<String>,
    /// What became of the subjects.
    pub subjects: RenamedSubjects,
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
    let output = TarOutput::new(out, edit.rename.name().unwrap_or(stream), edit.rsyncable);
    let mut editing = Editing::new(config, edit, Some(output));
    let contents = inspect_items(stream, reported, bytes, |item| editing.item(item))?;
    contents.agrees_with(reported)?;
    let nothing = ReportedState::default();
    editing.delete_before(reported.first_seq)?;
    editing.finish(contents, if edit.promises() { reported } else { &nothing })
}

/// Writes the snapshot in `bytes`, which is a tar, to `out` without an index and without the messages that are not live by it.
/// A consumer that stands beyond the snapshot's end is put back to it.
///
/// # Errors
/// [`ConvertError`]. Then the output is not a whole snapshot.
pub fn without_index(
    stream: &StreamName,
    config: &RawValue,
    reported: &ReportedState,
    bytes: impl Read,
    out: impl Write,
) -> Result<(), ConvertError> {
    match edit(stream, config, reported, &Edit::default(), Content::new(bytes), out) {
        Ok(_) => Ok(()),
        Err(EditError::Convert(error)) => Err(error),
        Err(EditError::TooScattered) => Err(TooScattered.into()),
        Err(EditError::Consumers) => Err(TooManyConsumers.into()),
        Err(EditError::Short(_) | EditError::Subjects | EditError::Changed) => {
            let what = "it holds less than the server reported";
            Err(Fault::Unsupported { what, place: Place::default() }.into())
        }
    }
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
    let mut editing = Editing::<io::Sink>::new(config, edit, None);
    let contents = inspect_items(stream, reported, bytes, |item| editing.item(item))?;
    contents.agrees_with(reported)?;
    editing.delete_before(reported.first_seq)?;
    editing.surveyed(contents)
}

struct Editing<'a, W> {
    edit: &'a Edit,
    config: &'a RawValue,
    /// None where the messages that stay are only counted.
    output: Option<TarOutput<'a, W>>,
    /// When the stream was created, as far as the snapshot says it.
    created: i64,
    messages: KeptMessages,
    /// How many messages were removed before the snapshot began, and nothing else says so.
    removed: u64,
    /// The first messages that stay, by sequence and time.
    first: Vec<(u64, i64)>,
    past: LookBack,
    consumers: HeldConsumers,
    edited: EditResult,
}

impl<'a, W: Write> Editing<'a, W> {
    fn new(config: &'a RawValue, edit: &'a Edit, output: Option<TarOutput<'a, W>>) -> Self {
        Editing {
            edit,
            config,
            output,
            created: 0,
            messages: KeptMessages::default(),
            removed: 0,
            first: Vec::new(),
            past: LookBack::new(edit.keep.before),
            consumers: HeldConsumers::default(),
            edited: EditResult {
                subjects: RenamedSubjects::new(&edit.rename, config),
                ..EditResult::default()
            },
        }
    }

    fn item(&mut self, item: Item<'_>) -> Result<(), EditError> {
        match item {
            Item::State(state) => {
                self.past.stored(state.last_time);
                self.messages.reach(state.last_seq, state.last_time);
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
        match &mut self.output {
            Some(output) => Ok(output.begin(&info)?),
            None => Ok(()),
        }
    }

    fn begin_created_at(&mut self, time: i64) -> Result<(), EditError> {
        let info = meta::of_stream(self.config, time).ok_or(WriteError::BadConfig)?;
        self.begin(&info)
    }

    fn is_waiting(&self) -> bool {
        self.output.as_ref().is_some_and(TarOutput::is_waiting)
    }

    fn consumer(&mut self, mut consumer: Consumer) -> Result<(), EditError> {
        let left_without = &mut self.edited.left_without;
        if left_without.len() < MAX_NAMED && consumer.takes_only(&self.edit.keep.dropped) {
            left_without.push(consumer.name.clone());
        }
        consumer.info = self.edit.rename.consumer_config(&consumer.info).ok_or(WriteError::BadConfig)?;
        Ok(self.consumers.hold(consumer)?)
    }

    fn message(&mut self, record: &Record<'_>) -> Result<(), EditError> {
        let Record { sequence, time, .. } = *record;
        self.past.message(sequence, time);
        self.messages.reach(sequence, time);
        if self.is_waiting() {
            self.begin_created_at(time)?;
        }
        if self.messages.is_deleted(sequence) || !self.edit.keep.keeps(record, &mut self.edited.matched) {
            self.edited.bytes_gone = self.edited.bytes_gone.saturating_add(bytes_of(record));
            return Ok(());
        }
        let subjects = &mut self.edited.subjects;
        self.edited.bytes = self.edit.rename.record(record, |renamed, prefix| {
            subjects.message(prefix, record.subject, renamed.subject);
            if let Some(output) = &mut self.output {
                output.message(renamed)?;
            }
            Ok::<_, EditError>(self.edited.bytes.saturating_add(bytes_of(renamed)))
        })?;
        self.messages.keep(sequence)?;
        if self.first.len() < MAX_FIRST {
            self.first.push((sequence, time));
        }
        Ok(())
    }

    fn deleted(&mut self, sequence: u64, time: i64) -> Result<(), EditError> {
        self.past.deleted(sequence, time);
        let was_kept = self.messages.delete(sequence, time)?;
        match &mut self.output {
            Some(output) if was_kept => output.delete(sequence, time),
            _ => Ok(()),
        }
    }

    fn delete_before(&mut self, first_seq: u64) -> Result<(), EditError> {
        let Editing { messages, output, .. } = self;
        self.removed = messages.delete_before::<EditError>(first_seq, |sequence| match output {
            Some(output) => output.delete(sequence, 0),
            None => Ok(()),
        })?;
        Ok(())
    }

    fn finish(mut self, source: Contents, promised: &ReportedState) -> Result<EditResult, EditError> {
        let consumers = self.consumers(&source)?;
        let in_memory = consumers.iter().filter(|consumer| consumer.is_made_anew()).take(MAX_NAMED);
        self.edited.in_memory = in_memory.map(|consumer| consumer.name.clone()).collect();
        let last_time = self.messages.last_time();
        if self.is_waiting() {
            self.begin_created_at(last_time)?;
        }
        if let Some(output) = self.output.take() {
            output.finish(source.last_seq, last_time, &consumers)?;
        }
        let edited = self.counted(source, consumers.len());
        let in_parts = MessageCounts::of(tally::count_without_index(
            self.messages.into_kept(),
            edited.last_seq,
            promised,
        ));
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
        Ok(Survey { edited, state, consumers, kept: self.messages.into_kept() })
    }

    /// The consumers, where they stand in what stays.
    fn consumers(&mut self, source: &Contents) -> Result<Vec<Consumer>, EditError> {
        let created = self.edit.rsyncable.then(|| self.messages.last_time());
        let consumers = std::mem::take(&mut self.consumers).into_placed(source, created);
        let mut consumers = consumers.ok_or(WriteError::BadConfig)?;
        let kept = self.messages.kept();
        for consumer in &mut consumers {
            consumer.state.without(|sequence| !kept.contains(sequence));
        }
        let pushing = consumers.iter().filter(|consumer| consumer.is_pushing()).take(MAX_NAMED);
        self.edited.pushing = pushing.map(|consumer| consumer.name.clone()).collect();
        self.edited.left_without.sort();
        Ok(consumers)
    }

    /// The result, but for what a reader counts whose description came before.
    fn counted(&mut self, source: Contents, consumers: usize) -> EditResult {
        let last = source.last_seq;
        let kept = self.messages.kept();
        let first_seq = kept.first().unwrap_or(if last == 0 { 0 } else { last.saturating_add(1) });
        let first = self.first.iter().find(|(sequence, _)| *sequence == first_seq);
        let records = kept.len();
        let messages = records.saturating_sub(source.unsettled.saturating_sub(self.removed));
        EditResult {
            whole: MessageCounts::of(MessageCount { messages, records, first: first_seq, last }),
            first_time: first.map_or(0, |(_, time)| *time),
            last_seq: last,
            last_time: self.messages.last_time(),
            consumers: consumers as u64,
            then: self.past.ended(last),
            source,
            ..std::mem::take(&mut self.edited)
        }
    }
}

/// The bytes of a message as a server counts them.
fn bytes_of(record: &Record<'_>) -> u64 {
    writer::record_len(record).map_or(0, u64::from)
}
