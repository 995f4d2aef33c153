//! A snapshot in NATSARC1, which only servers from 2.15 on read and only they write, as one in the tar format,
//! which is restored by every release from 2.10 on, and with more left of it: of a NATSARC1 restore a server
//! keeps neither its duplicate window nor how far it had come in the stream's sources.

use std::io::{Read, Write};

use serde_json::value::RawValue;

use super::fault::Fault;
use super::items::Item;
use super::promise::Promise;
use super::writer::{WriteError, Writer};
use super::{inspect_showing, meta};
use crate::names::StreamName;

/// Why a snapshot is not written again.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// What is read is not whole.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// It cannot be written.
    #[error("it cannot be written as a tar: {0}")]
    Write(#[from] WriteError),
}

/// Writes the snapshot in `bytes`, which is one in NATSARC1, to `out` in the tar format. The stream shall have
/// this `config`. A consumer that stands beyond the snapshot's end is put back to it.
///
/// # Errors
/// [`ConvertError`]; what was written is no whole snapshot then.
pub fn to_tar(
    stream: &StreamName,
    config: &RawValue,
    bytes: impl Read,
    out: impl Write,
) -> Result<(), ConvertError> {
    let mut out = Some(out);
    let mut writing = None;
    let contents = inspect_showing(stream, &Promise::default(), bytes, |item| {
        match (item, &mut writing) {
            (Item::State(state), None) => {
                let info = meta::of_stream(config, state.time).ok_or(WriteError::BadConfig)?;
                if let Some(out) = out.take() {
                    writing = Some((Writer::begin(out, stream, &info)?, state));
                }
            }
            (Item::Consumer(mut consumer), Some((writer, state))) => {
                consumer.put_back_to(state.last_seq);
                writer.consumer(&consumer)?;
            }
            (Item::Message(record), Some((writer, _))) => writer.message(&record)?,
            _ => return Err(WriteError::BadConfig.into()),
        }
        Ok::<_, ConvertError>(())
    })?;
    let Some((writer, state)) = writing else { return Err(WriteError::BadConfig.into()) };
    writer.finish(contents.last_seq, state.last_time)?;
    Ok(())
}
