//! Writes a snapshot in NATSARC1: items in, an S2 stream out, in one pass. Servers from 2.15 on restore this format, and only
//! from it do they restore a stream in memory. See [`natsarc`](super::natsarc) for the format. Knows neither where the items
//! come from nor where the bytes go.
//!
//! The stream's state comes first, and says how many consumers follow. So consumers are held until the first message comes
//! ([`MAX_HELD`]), unless all of them are given at the beginning.

use std::collections::BTreeMap;
use std::io::{self, Write};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use super::consumer::ConsumerState;
use super::frame_writer::FrameWriter;
use super::items::{Consumer, Record, State};
use super::leb128;
use super::natsarc::{CONSUMERS, MAGIC, MAX_JSON, STATE};
use super::writer::{WriteError, record_len};
use crate::names::Printable;

/// The most that consumers may take that wait for the first message, in bytes.
pub const MAX_HELD: usize = 32 << 20;

/// The fields that `meta.inf` has besides a consumer's configuration.
const BESIDE: [&str; 2] = ["Created", "Name"];

/// Writes one snapshot. Consumers come before the messages.
pub struct NatsArcWriter<W> {
    out: FrameWriter<W>,
    state: State,
    /// How many consumers are held, and their entries.
    count: u64,
    held: Vec<u8>,
    begun: bool,
    /// The entry at hand, up to its headers.
    head: Vec<u8>,
    last: u64,
}

impl<W: Write> NatsArcWriter<W> {
    /// Begins the snapshot of a stream in this state. A last sequence beyond the last message is one that was
    /// deleted; the first one is that of the first message or before.
    ///
    /// # Errors
    /// [`WriteError::Io`].
    pub fn begin(out: W, state: State) -> Result<Self, WriteError> {
        let out = FrameWriter::begin(out)?;
        let (held, head) = (Vec::new(), Vec::new());
        Ok(NatsArcWriter { out, state, count: 0, held, begun: false, head, last: 0 })
    }

    /// Has a long one compressed on a thread of its own.
    pub fn compressed_in_background(self) -> Self {
        NatsArcWriter { out: self.out.compressed_in_background(), ..self }
    }

    /// As [`begin`](NatsArcWriter::begin), with these consumers, which are not held.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn begin_with(out: W, state: State, consumers: &[Consumer]) -> Result<Self, WriteError> {
        let mut writer = NatsArcWriter::begin(out, state)?;
        writer.count = consumers.len() as u64;
        writer.begin_messages()?;
        let mut entry = Vec::new();
        for consumer in consumers {
            entry.clear();
            put_consumer(&mut entry, consumer, state.time)?;
            writer.out.write(&entry)?;
        }
        Ok(writer)
    }

    /// Writes a consumer.
    pub fn consumer(&mut self, consumer: &Consumer) -> Result<(), WriteError> {
        if self.begun {
            return Err(WriteError::LateConsumer);
        }
        put_consumer(&mut self.held, consumer, self.state.time)?;
        if self.held.len() > MAX_HELD {
            return Err(WriteError::LongConsumers);
        }
        self.count += 1;
        Ok(())
    }

    /// Writes a message. Sequences ascend.
    pub fn message(&mut self, record: &Record<'_>) -> Result<(), WriteError> {
        let Record { sequence, time, subject, headers, payload } = *record;
        if sequence <= self.last || sequence < self.state.first_seq {
            return Err(WriteError::OutOfOrder(sequence));
        }
        if record_len(record).is_none() {
            return Err(WriteError::TooLong(sequence));
        }
        self.begin_messages()?;
        self.head.clear();
        head(&mut self.head, subject, time, sequence, headers.len(), payload.len());
        for part in [&self.head, headers, payload] {
            self.out.write(part)?;
        }
        self.last = sequence;
        Ok(())
    }

    /// Ends the snapshot. Gives the output back.
    pub fn finish(mut self) -> Result<W, WriteError> {
        self.begin_messages()?;
        self.head.clear();
        head(&mut self.head, b"", 0, 0, 0, 0);
        self.out.write(&self.head)?;
        Ok(self.out.finish()?)
    }

    /// Writes everything that comes before the messages, once.
    fn begin_messages(&mut self) -> Result<(), WriteError> {
        #[derive(Serialize)]
        struct Known {
            messages: u64,
            first_seq: u64,
            #[serde(skip_serializing_if = "Option::is_none")]
            last_ts: Option<Timestamp>,
            last_seq: u64,
            consumer_count: u64,
        }
        if std::mem::replace(&mut self.begun, true) {
            return Ok(());
        }
        let State { messages, first_seq, last_seq, last_time, time } = self.state;
        let last_ts = Timestamp::from_nanosecond(last_time.into()).ok().filter(|_| last_time != 0);
        let known = Known { messages, first_seq, last_ts, last_seq, consumer_count: self.count };
        let json = serde_json::to_vec(&known).map_err(io::Error::other)?;
        self.out.write(MAGIC)?;
        self.head.clear();
        head(&mut self.head, STATE, time, 0, 0, json.len());
        for part in [&self.head, &json, &std::mem::take(&mut self.held)] {
            self.out.write(part)?;
        }
        Ok(())
    }
}

/// Puts the entry of a consumer.
fn put_consumer(out: &mut Vec<u8>, consumer: &Consumer, time: i64) -> Result<(), WriteError> {
    #[derive(Serialize)]
    struct Parts<'a> {
        config: &'a BTreeMap<&'a str, &'a RawValue>,
        state: &'a ConsumerState,
    }
    let bad = || WriteError::BadName(Printable::new(&consumer.name));
    let mut config: BTreeMap<_, _> = serde_json::from_str(consumer.info.get()).map_err(|_| bad())?;
    config.retain(|field, _| !BESIDE.contains(field));
    let json = serde_json::to_vec(&Parts { config: &config, state: &consumer.state });
    let json = json.map_err(|_| bad())?;
    if json.len() as u64 > MAX_JSON {
        return Err(WriteError::LongConsumers);
    }
    head(out, &[CONSUMERS, consumer.name.as_bytes()].concat(), time, 0, 0, json.len());
    out.extend(json);
    Ok(())
}

/// Puts an entry up to its headers.
fn head(out: &mut Vec<u8>, name: &[u8], time: i64, sequence: u64, headers: usize, payload: usize) {
    leb128::put(out, name.len() as u64);
    leb128::put_signed(out, time);
    for number in [sequence, headers as u64, payload as u64] {
        leb128::put(out, number);
    }
    out.extend_from_slice(name);
}
