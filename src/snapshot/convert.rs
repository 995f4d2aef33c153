//! Three conversions of a snapshot:
//!
//! - From NATSARC1 to the tar format. Only servers from 2.15 on read and write NATSARC1; every release from 2.10 on
//!   restores a tar. A tar also restores more: the duplicate window, and the position in the stream's sources.
//! - From the tar format to NATSARC1, for a stream in memory: a server restores none of its messages from a tar.
//! - In the tar format, with consumers put back to the end of their stream. A server reads a consumer's state while
//!   messages still come, so the consumer may stand beyond the snapshot's last message. It would miss as many of the
//!   messages that the restored stream stores next (nats-server #7693). Servers put the consumers last, so everything
//!   before them passes as it came, frame by frame.

use std::io::{Read, Write};

use serde_json::value::RawValue;

use super::block::{self, Header};
use super::consumer::{ConsumerState, MAX_STATE};
use super::content::Content;
use super::entries::{self, Entry};
use super::fault::Fault;
use super::frame_writer::FrameWriter;
use super::inspect::{format_of_content, inspect_items};
use super::items::{Consumer, Item, State};
use super::natsarc_writer::NatsArcWriter;
use super::reported_state::ReportedState;
use super::writer::{self, WriteError, Writer};
use super::{Format, MAX_NAMES, meta};
use crate::names::StreamName;

/// The most consumers that are named.
pub const MAX_NAMED: usize = 100;
/// How much content passes before the frames that held it are passed on, in bytes.
const PASSED_AT_ONCE: u64 = 1 << 20;
/// The most zeros that follow a tar's end, in bytes. Servers write 1,024; other programs fill up records of 10 KiB.
const MAX_TRAILING: u64 = 1 << 20;

/// Why a snapshot is not written again.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The source is not whole.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// It cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Writes the snapshot in `bytes`, which is one in NATSARC1, to `out` in the tar format. The stream shall have
/// this `config`. A consumer that stands beyond the snapshot's end is put back to it. Gives the consumers that
/// live in memory and stay when nobody uses them, [`MAX_NAMED`] of them at most: a server makes them anew, whatever a tar says of their state.
///
/// # Errors
/// [`ConvertError`]. Then the output is not a whole snapshot.
pub fn to_tar<R: Read>(
    stream: &StreamName,
    config: &RawValue,
    bytes: impl Into<Content<R>>,
    out: impl Write,
) -> Result<Vec<String>, ConvertError> {
    let mut in_memory = Vec::new();
    let mut out = Some(out);
    let mut writing = None;
    let contents = inspect_items(stream, &ReportedState::default(), bytes, |item| {
        match (item, &mut writing) {
            (Item::State(state), None) => {
                let info = meta::of_stream(config, state.time).ok_or(WriteError::BadConfig)?;
                if let Some(out) = out.take() {
                    writing = Some((Writer::begin(out, stream, &info)?, state));
                }
            }
            (Item::Consumer(mut consumer), Some((writer, state))) => {
                consumer.put_back_to(state.last_seq);
                consumer.put_before_begin();
                writer.consumer(&consumer)?;
                if consumer.is_made_anew() && in_memory.len() < MAX_NAMED {
                    in_memory.push(consumer.name);
                }
            }
            (Item::Message(record), Some((writer, _))) => writer.message(&record)?,
            _ => return Err(WriteError::BadConfig.into()),
        }
        Ok::<_, ConvertError>(())
    })?;
    let Some((writer, state)) = writing else { return Err(WriteError::BadConfig.into()) };
    writer.finish(contents.last_seq, state.last_time)?;
    Ok(in_memory)
}

/// Writes the snapshot in `bytes`, in either format, to `out` in NATSARC1, as a stream in memory needs it. A consumer
/// that stands beyond the snapshot's end is put back to it. `reported` is what a tar does not say before its messages.
///
/// # Errors
/// [`ConvertError`]. Then the output is not a whole snapshot. NATSARC1 has consumers before the messages, and
/// knows no message that is not live: [`WriteError::LateConsumer`] and [`WriteError::LateDeletion`] are of a tar that
/// has them otherwise, as servers write it and [`Writer`] does not.
pub fn to_natsarc1<R: Read>(
    stream: &StreamName,
    reported: &ReportedState,
    bytes: impl Into<Content<R>>,
    out: impl Write,
) -> Result<(), ConvertError> {
    let mut out = Some(out);
    let mut writing = None;
    let (mut last, mut written) = (0, 0_u64);
    let contents = inspect_items(stream, reported, bytes, |item| {
        match (item, &mut writing) {
            (Item::State(state), None) => {
                writing = begin_natsarc1(&mut out, state)?;
            }
            (Item::Info(info), None) => {
                let ReportedState { messages, first_seq, last_seq, .. } = *reported;
                let state = State {
                    messages,
                    first_seq,
                    last_seq,
                    last_time: 0,
                    time: meta::created(info).unwrap_or(0),
                };
                writing = begin_natsarc1(&mut out, state)?;
            }
            (Item::Consumer(mut consumer), Some((writer, state))) => {
                consumer.put_back_to(state.last_seq);
                writer.consumer(&consumer)?;
            }
            // Messages that were removed before the snapshot began may still be in its blocks.
            (Item::Message(record), Some((_, state))) if record.sequence < state.first_seq => {}
            (Item::Message(record), Some((writer, _))) => {
                writer.message(&record)?;
                (last, written) = (record.sequence, written + 1);
            }
            (Item::Deleted { sequence, .. }, Some((_, state)))
                if sequence > last || sequence < state.first_seq => {}
            (Item::Deleted { .. }, Some(_)) => return Err(WriteError::LateDeletion.into()),
            _ => return Err(WriteError::BadConfig.into()),
        }
        Ok::<_, ConvertError>(())
    })?;
    let Some((writer, state)) = writing else { return Err(WriteError::BadConfig.into()) };
    if written != contents.messages {
        return Err(WriteError::LateDeletion.into());
    }
    if contents.last_seq > last.max(state.last_seq) {
        return Err(WriteError::OutOfOrder(contents.last_seq).into());
    }
    writer.finish()?;
    Ok(())
}

type WritingNatsArc<W> = Option<(NatsArcWriter<W>, State)>;

fn begin_natsarc1<W: Write>(out: &mut Option<W>, state: State) -> Result<WritingNatsArc<W>, WriteError> {
    let Some(out) = out.take() else { return Ok(None) };
    Ok(Some((NatsArcWriter::begin(out, state)?, state)))
}

/// Passes a snapshot in the tar format on to `out`, and puts consumers that stand beyond its end back to it. Its
/// last sequence is `promised` or the last that its blocks show, whichever is later.
///
/// # Errors
/// [`ConvertError`]. What is found on the way is much less than what [`inspect`](super::inspect()) finds.
pub fn put_consumers_back(promised: u64, bytes: impl Read, mut out: impl Write) -> Result<(), ConvertError> {
    let mut content = Content::new(bytes).keeping_frames();
    let mut last = promised;
    let mut passed = false;
    loop {
        content.pass_frames(&mut out).map_err(WriteError::Io)?;
        let before = content.consumed().to_vec();
        let Some(entry) = entries::next(&mut content)? else {
            trailing(&mut content)?;
            return Ok(content.pass_frames(&mut out).map_err(WriteError::Io)?);
        };
        if entry.path.starts_with("obs/") {
            if !passed {
                return Err(content.damaged("a file is out of order").into());
            }
            content.keep_none();
            let mut tar = FrameWriter::after(out);
            tar.write(&before).map_err(WriteError::Io)?;
            return consumers(&mut content, entry, last, tar);
        }
        passed = true;
        last = last.max(pass(&mut content, &entry, &mut out)?);
    }
}

/// Passes a snapshot on to `out` with consumers added that it lacks: `lacking` is given the names of those that it
/// has, none where they are too long together ([`MAX_NAMES`]), and gives the others. Each stands at the snapshot's
/// end at most. One in NATSARC1 passes as it came: it lacks none, and had to say before them how many there are.
///
/// # Errors
/// As [`put_consumers_back`].
pub fn add_consumers(
    stream: &StreamName,
    promised: u64,
    bytes: impl Read,
    mut out: impl Write,
    lacking: impl FnOnce(Option<&[String]>) -> Vec<Consumer>,
) -> Result<(), ConvertError> {
    let mut content = Content::new(bytes).keeping_frames();
    if content.fill()?.first().copied().map(format_of_content) == Some(Format::NatsArc1) {
        loop {
            let at_hand = content.fill()?.len();
            content.consume(at_hand);
            content.pass_frames(&mut out).map_err(WriteError::Io)?;
            if at_hand == 0 {
                return Ok(());
            }
        }
    }
    let mut last = promised;
    let (mut names, mut names_bytes) = (Vec::new(), 0);
    let before = loop {
        content.pass_frames(&mut out).map_err(WriteError::Io)?;
        let before = content.consumed().to_vec();
        let Some(entry) = entries::next(&mut content)? else { break before };
        if let Some(name) = entry.path.strip_prefix("obs/").and_then(|rest| rest.strip_suffix("/meta.inf")) {
            names_bytes += name.len() + size_of::<String>();
            if names_bytes <= MAX_NAMES {
                names.push(name.to_owned());
            }
        }
        last = last.max(pass(&mut content, &entry, &mut out)?);
    };
    trailing(&mut content)?;
    let mut lacking = lacking((names_bytes <= MAX_NAMES).then_some(&names));
    if lacking.is_empty() {
        return Ok(content.pass_frames(&mut out).map_err(WriteError::Io)?);
    }
    content.keep_none();
    let mut tar = FrameWriter::after(out);
    tar.write(&before).map_err(WriteError::Io)?;
    for consumer in &mut lacking {
        consumer.put_back_to(last);
        consumer.put_before_begin();
        writer::consumer(&mut tar, stream, consumer)?;
    }
    writer::end(tar).map_err(WriteError::Io)?;
    Ok(())
}

/// Passes a file on; gives its last sequence where it is a block.
fn pass<R: Read>(content: &mut Content<R>, entry: &Entry, out: &mut impl Write) -> Result<u64, ConvertError> {
    let last = match entry.path.ends_with(".blk") {
        true => last_of_block(content, entry.size, out)?,
        false => {
            pass_bytes(content, entry.size, out)?;
            0
        }
    };
    entries::padding(content, entry.size)?;
    Ok(last)
}

fn pass_bytes<R: Read>(
    content: &mut Content<R>,
    mut left: u64,
    out: &mut impl Write,
) -> Result<(), ConvertError> {
    while left > 0 {
        let now = left.min(PASSED_AT_ONCE);
        content.pass(now, |_| {})?;
        content.pass_frames(out).map_err(WriteError::Io)?;
        left -= now;
    }
    Ok(())
}

/// Reads what follows a tar's end, which is held until it is over.
fn trailing<R: Read>(content: &mut Content<R>) -> Result<(), Fault> {
    let end = content.offset();
    content.within(None);
    loop {
        let bytes = content.fill()?;
        let len = bytes.len();
        if len == 0 {
            return Ok(());
        }
        if bytes.iter().any(|byte| *byte != 0) {
            return Err(content.damaged("something follows its end"));
        }
        content.consume(len);
        if content.offset() - end > MAX_TRAILING {
            return Err(content.unsupported("it has too much padding"));
        }
    }
}

/// Passes a block on; gives its last sequence.
fn last_of_block<R: Read>(
    content: &mut Content<R>,
    mut left: u64,
    out: &mut impl Write,
) -> Result<u64, ConvertError> {
    let mut last = 0;
    while left > 0 {
        let mut header = [0; block::HEADER_LEN];
        content.exact(&mut header)?;
        let Header { len, sequence, .. } = Header::parse(&header);
        let rest = len.checked_sub(header.len() as u64).filter(|_| len <= left);
        let Some(rest) = rest else { return Err(content.damaged("a record's length").into()) };
        pass_bytes(content, rest, out)?;
        last = last.max(sequence & !(block::ERASED | block::TOMBSTONE));
        left -= len;
    }
    Ok(last)
}

/// Writes this entry and all that follow, each consumer where it may stand.
fn consumers<R: Read, W: Write>(
    content: &mut Content<R>,
    first: Entry,
    last: u64,
    mut tar: FrameWriter<W>,
) -> Result<(), ConvertError> {
    let mut next = Some(first);
    let mut info = None;
    while let Some(Entry { path, size }) = next {
        if size > MAX_STATE {
            return Err(content.unsupported("a consumer's state is too long").into());
        }
        let mut data = Vec::new();
        content.pass(size, |piece| data.extend_from_slice(piece))?;
        entries::padding(content, size)?;
        if path.ends_with("/meta.inf") {
            info = serde_json::from_slice::<Box<RawValue>>(&data).ok();
        } else if path.ends_with("/o.dat")
            && let (Some(info), Ok(state)) = (info.take(), ConsumerState::decode(&data))
        {
            let mut consumer = Consumer { name: String::new(), info, state: state.clone() };
            consumer.put_back_to(last);
            if consumer.state != state {
                data = consumer.state.encode();
            }
        }
        writer::file(&mut tar, &path, &data).map_err(WriteError::Io)?;
        next = entries::next(content)?;
    }
    content.finish(Some(0))?;
    writer::end(tar).map_err(WriteError::Io)?;
    Ok(())
}
