//! Reads the NATSARC1 format of servers from 2.15 on. Knows no S2.
//!
//! `NATSARC1`, then entries:
//!
//! | of an entry | what |
//! |---|---|
//! | LEB128 | length of the name, at most 1 MiB |
//! | LEB128, zigzag | time, ns since 1970 |
//! | LEB128 | sequence |
//! | LEB128, LEB128 | length of the headers, length of the payload |
//! | … | name, headers, payload |
//!
//! | entries, in this order | what |
//! |---|---|
//! | `state.json` | the stream's state when the snapshot began, JSON |
//! | `consumers/NAME` | as many as `state.json` has in `consumer_count`: `{"config", "state"}`, JSON |
//! | a subject, sequence not 0 | a message; sequences ascend |
//! | no name, all numbers 0 | the end |
//!
//! Entries have no checksum: the S2 frames' checksums alone cover them. Nothing in the format names the
//! stream. Deletions are gaps; those after the last message show only in `state.json`. Source: nats-server,
//! `server/archive/archive.go` and `server/stream_backup.go`.

use std::io::Read;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::consumer::{ConsumerState, SequencePair};
use super::consumers::{self, Consumers};
use super::content::Content;
use super::fault::Fault;
use super::items::{self, Consumer, Item, MAX_RECORD, Record, Visitor};
use super::last_record::LastRecord;
use super::leb128;
use super::message_sum::MessageSum;
use super::reported_state::ReportedState;
use super::tally::MessageCount;
use super::{Contents, Format, meta};
use crate::names::Printable;

/// The first bytes of the format.
pub const MAGIC: &[u8; 8] = b"NATSARC1";

pub(super) const STATE: &[u8] = b"state.json";
pub(super) const CONSUMERS: &[u8] = b"consumers/";
/// The longest name that servers read.
const MAX_NAME: u64 = 1 << 20;
/// The longest `state.json` or consumer that is read. A consumer lists every message that awaits its
/// acknowledgement, in some 40 bytes each: 400,000 of them.
pub(super) const MAX_JSON: u64 = 16 << 20;

/// Reads a snapshot in the NATSARC1 format to its end, with its messages added to `sum`, and shows it to
/// `visitor`.
#[expect(
    clippy::too_many_lines,
    reason = "a message in one piece and one in several are counted by the same variables"
)]
pub fn read<R: Read, L: Visitor>(
    content: &mut Content<R>,
    mut sum: MessageSum,
    mut consumers: Consumers,
    visitor: &mut L,
) -> Result<Contents, L::Error> {
    let mut magic = [0; MAGIC.len()];
    content.exact(&mut magic)?;
    if magic != *MAGIC {
        return Err(content.damaged("it is in no known format").into());
    }
    let (state, begun) = stream_state(content)?;
    visitor.item(Item::State(begun))?;
    let mut ending = LastRecord::default();
    for _ in 0..state.consumer_count {
        let (name, reached) = consumer(content, &begun, &mut consumers, visitor)?;
        if reached > state.last_seq {
            ending.consumer(&name, reached);
        }
    }

    let (mut messages, mut first, mut last) = (0, 0, 0);
    let (mut name, mut body) = (Vec::new(), Vec::new());
    loop {
        content.within(None);
        content.at_sequence(Some(last).filter(|last| *last > 0));
        if let Some(message) =
            WholeMessage::of(content.fill()?).filter(|message| message.record.sequence > last)
        {
            let WholeMessage { record, used } = message;
            ending.message(record.sequence);
            ending.headers(record.headers);
            record.add_to(&mut sum);
            if L::VISITS {
                visitor.item(Item::Message(record))?;
            }
            if messages == 0 {
                first = record.sequence;
            }
            last = record.sequence;
            messages += 1;
            content.consume(used);
            continue;
        }
        let entry = Entry::read_into(content, name)?;
        if entry.is_end() {
            break;
        }
        if entry.sequence == 0 {
            return Err(content.damaged("an entry is neither message nor end").into());
        }
        content.at_sequence(Some(entry.sequence));
        if entry.sequence <= last {
            return Err(content.damaged("messages are out of order").into());
        }
        ending.message(entry.sequence);
        entry.message(content, &mut sum, &mut ending, &mut body, visitor)?;
        if messages == 0 {
            first = entry.sequence;
        }
        last = entry.sequence;
        messages += 1;
        name = entry.name;
    }
    content.finish(None)?;

    if messages == 0 {
        first = state.first_seq;
    }
    let count = MessageCount { messages, records: messages, first, last: last.max(state.last_seq) };
    Ok(Contents {
        format: Format::NatsArc1,
        messages,
        records: messages,
        unsettled: 0,
        first_seq: count.first,
        last_seq: count.last,
        deleted: count.deleted(),
        consumers: consumers.count,
        lasting_consumers: consumers.lasting,
        newer: consumers.newer,
        within_batch: ending.is_within_batch(count.last),
        ahead: ending.ahead(count.last),
        names: consumers.names,
        sum: sum.of(messages),
        bytes: content.offset(),
    })
}

/// Reads the stream's state, with which the snapshot begins.
fn stream_state<R: Read>(content: &mut Content<R>) -> Result<(ReportedState, items::State), Fault> {
    let entry = Entry::read(content)?;
    if entry.name != STATE || entry.sequence != 0 {
        return Err(content.damaged("it does not begin with the stream's state"));
    }
    let json = entry.json(content)?;
    let state: ReportedState = serde_json::from_slice(&json)
        .map_err(|_| content.damaged("the stream's state is not what servers write"))?;
    let begun = items::State {
        messages: state.messages,
        first_seq: state.first_seq,
        last_seq: state.last_seq,
        last_time: last_time(&json),
        time: entry.time(),
    };
    Ok((state, begun))
}

/// When the last message was written, as the stream's state says it; zero where it does not.
fn last_time(state: &[u8]) -> i64 {
    #[derive(Deserialize)]
    struct Last {
        last_ts: jiff::Timestamp,
    }
    let last = serde_json::from_slice::<Last>(state).ok();
    last.and_then(|last| last.last_ts.as_nanosecond().try_into().ok()).unwrap_or(0)
}

/// Reads a consumer; gives its name, and how far it has come in its stream.
fn consumer<R: Read, L: Visitor>(
    content: &mut Content<R>,
    begun: &items::State,
    consumers: &mut Consumers,
    visitor: &mut L,
) -> Result<(String, u64), L::Error> {
    /// The position of a consumer, from its state.
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct ConsumerPosition {
        delivered: SequencePair,
        ack_floor: SequencePair,
    }
    #[derive(Deserialize)]
    struct Parts<'a> {
        #[serde(borrow)]
        config: &'a RawValue,
        #[serde(borrow)]
        state: &'a RawValue,
    }
    const STRANGE: &str = "a consumer is not what servers write";
    let entry = Entry::read(content)?;
    let Some(name) = entry.name.strip_prefix(CONSUMERS).filter(|_| entry.sequence == 0) else {
        return Err(content.damaged("consumers are missing").into());
    };
    content.within(Some(Printable::new(&String::from_utf8_lossy(&entry.name))));
    let text = entry.json(content)?;
    let Ok(Parts { config, state }) = serde_json::from_slice(&text) else {
        return Err(content.damaged(STRANGE).into());
    };
    meta::bounded(content, config.get().as_bytes())?;
    let begins = consumers.add(&String::from_utf8_lossy(name), config.get().as_bytes());
    // What cannot be understood of it is for the server to judge.
    let ConsumerPosition { delivered, ack_floor } = serde_json::from_str(state.get()).unwrap_or_default();
    let reached = consumers::reached(delivered.stream.max(ack_floor.stream), begins);
    let reached = (String::from_utf8_lossy(name).into_owned(), reached);
    if L::VISITS {
        let name = str::from_utf8(name).map_err(|_| content.damaged(STRANGE))?;
        let info = meta::of_consumer(name, config, begun.time).ok_or_else(|| content.damaged(STRANGE))?;
        let state: ConsumerState = serde_json::from_str(state.get()).map_err(|_| content.damaged(STRANGE))?;
        visitor.item(Item::Consumer(Consumer { name: name.to_owned(), info, state }))?;
    }
    Ok(reached)
}

/// A message that is completely in one frame, as most are.
struct WholeMessage<'a> {
    record: Record<'a>,
    used: usize,
}

impl<'a> WholeMessage<'a> {
    /// The message that begins here. None where it goes on later, or where this is something else.
    fn of(at_hand: &'a [u8]) -> Option<Self> {
        let mut rest = at_hand;
        let [name, time, sequence, headers, payload] = leb128::take(&mut rest)?;
        let mut next = |len: u64| {
            let (part, later) = rest.split_at_checked(usize::try_from(len).ok()?)?;
            rest = later;
            Some(part)
        };
        let (subject, headers, payload) = (next(name)?, next(headers)?, next(payload)?);
        if sequence == 0 || name > MAX_NAME {
            return None;
        }
        let record = Record { sequence, time: leb128::signed(time), subject, headers, payload };
        Some(WholeMessage { record, used: at_hand.len() - rest.len() })
    }
}

struct Entry {
    name: Vec<u8>,
    /// Zigzag: the sign is the lowest bit.
    time: u64,
    sequence: u64,
    headers: u64,
    payload: u64,
}

impl Entry {
    fn read<R: Read>(content: &mut Content<R>) -> Result<Self, Fault> {
        Entry::read_into(content, Vec::new())
    }

    /// Reads an entry up to its headers; takes the vector for its name from an entry before.
    fn read_into<R: Read>(content: &mut Content<R>, mut name: Vec<u8>) -> Result<Self, Fault> {
        let [len, time, sequence, headers, payload] = numbers(content)?;
        if len > MAX_NAME {
            return Err(content.damaged("an entry's name is too long"));
        }
        name.clear();
        content.pass(len, |bytes| name.extend_from_slice(bytes))?;
        Ok(Entry { name, time, sequence, headers, payload })
    }

    fn is_end(&self) -> bool {
        self.name.is_empty() && self.time == 0 && self.sequence == 0 && self.headers == 0 && self.payload == 0
    }

    fn time(&self) -> i64 {
        leb128::signed(self.time)
    }

    /// Reads the rest of a message, into `body` where somebody looks.
    fn message<R: Read, L: Visitor>(
        &self,
        content: &mut Content<R>,
        sum: &mut MessageSum,
        ending: &mut LastRecord,
        body: &mut Vec<u8>,
        visitor: &mut L,
    ) -> Result<(), L::Error> {
        let mut bytes = sum.bytes();
        bytes.append(&self.name);
        body.clear();
        if L::VISITS && self.headers.saturating_add(self.payload) > MAX_RECORD as u64 {
            return Err(content.unsupported(items::TOO_LONG).into());
        }
        let mut take = |piece: &[u8]| {
            bytes.append(piece);
            if L::VISITS {
                body.extend_from_slice(piece);
            }
        };
        content.pass(self.headers, |piece| {
            take(piece);
            ending.headers(piece);
        })?;
        content.pass(self.payload, take)?;
        let (sequence, time) = (self.sequence, self.time());
        sum.add(sequence, time, [self.name.len() as u64, self.headers, self.payload], bytes);
        if L::VISITS {
            let headers = usize::try_from(self.headers).unwrap_or(usize::MAX);
            let (headers, payload) = body.split_at(headers.min(body.len()));
            visitor.item(Item::Message(Record { sequence, time, subject: &self.name, headers, payload }))?;
        }
        Ok(())
    }

    fn json<R: Read>(&self, content: &mut Content<R>) -> Result<Vec<u8>, Fault> {
        if self.headers != 0 {
            return Err(content.damaged("an entry's length"));
        }
        if self.payload > MAX_JSON {
            return Err(content.unsupported("a consumer's state is too long"));
        }
        let mut json = Vec::new();
        content.pass(self.payload, |bytes| json.extend_from_slice(bytes))?;
        Ok(json)
    }
}

/// The numbers that an entry begins with: at once where they are at hand, which they are unless a frame ends
/// among them.
fn numbers<R: Read>(content: &mut Content<R>) -> Result<[u64; 5], Fault> {
    let mut bytes = content.fill()?;
    let at_hand = bytes.len();
    if let Some(numbers) = leb128::take(&mut bytes) {
        let used = at_hand - bytes.len();
        content.consume(used);
        return Ok(numbers);
    }
    let mut numbers = [0; 5];
    for value in &mut numbers {
        *value = number(content)?;
    }
    Ok(numbers)
}

fn number<R: Read>(content: &mut Content<R>) -> Result<u64, Fault> {
    let number = leb128::read(|| {
        let byte = content.fill()?.first().copied().ok_or_else(|| content.cut())?;
        content.consume(1);
        Ok::<_, Fault>(byte)
    })?;
    number.ok_or_else(|| content.damaged("a number is too long"))
}
