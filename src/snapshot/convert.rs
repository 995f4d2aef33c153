//! Converts a snapshot into the other format:
//!
//! - From NATSARC1 to the tar format. Only servers from 2.15 on read and write NATSARC1; every release from 2.10 on
//!   restores a tar. A tar also restores more: the duplicate window, and the position in the stream's sources.
//! - From the tar format to NATSARC1, for a stream in memory: a server restores none of its messages from a tar.

use std::io::{Read, Write};

use serde_json::value::RawValue;

use super::content::Content;
use super::fault::{Fault, Place};
use super::held_consumers::TooManyConsumers;
use super::inspect::inspect_items;
use super::items::{Item, State};
use super::meta;
use super::natsarc_writer::NatsArcWriter;
use super::reported_state::ReportedState;
use super::sequences::{TOO_SCATTERED, TooScattered};
use super::writer::{WriteError, Writer};
use crate::names::StreamName;

/// The most consumers that are named.
pub const MAX_NAMED: usize = 100;

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

impl From<TooScattered> for ConvertError {
    fn from(_: TooScattered) -> Self {
        too_much(TOO_SCATTERED)
    }
}

impl From<TooManyConsumers> for ConvertError {
    fn from(_: TooManyConsumers) -> Self {
        too_much("its consumers are too many to be written last")
    }
}

fn too_much(what: &'static str) -> ConvertError {
    Fault::Unsupported { what, place: Place::default() }.into()
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
                consumer.place(state.last_seq);
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
