//! The items of a snapshot: stream, consumers, messages. Both readers give the same items, and the
//! [`Writer`](super::Writer) takes them. Knows no format.

use std::marker::PhantomData;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::consumer::ConsumerState;
use super::consumers;
use super::fault::Fault;
use crate::names::SubjectPattern;

/// The longest record of a message, with all that lies around it in a block: what the file store of a server
/// takes for a sound one (nats-server, `rlBadThresh`). No longer message is shown.
pub const MAX_RECORD: usize = 32 << 20;

/// The text of the fault for a longer message.
pub(super) const TOO_LONG: &str = "a message is too long to be written again";

/// One part of a snapshot.
#[derive(Debug)]
pub enum Item<'a> {
    /// NATSARC1, first: the stream's state as the server began the snapshot.
    State(State),
    /// Tar, first: the stream's configuration and when it was created, as JSON (`meta.inf`).
    Info(&'a RawValue),
    /// A consumer. In NATSARC1 all of them come before the messages, in the tar format mostly after.
    Consumer(Consumer),
    /// A message. In the tar format those come too whose deletion is told later, here or in the index.
    Message(Record<'a>),
    /// Tar: a sequence without a message, before or after its message's own record. Those that only the index
    /// tells come last.
    Deleted {
        /// The sequence.
        sequence: u64,
        /// When its message was written, in ns since 1970; zero where only the index tells it.
        time: i64,
    },
}

/// A stream's state at the beginning of a snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct State {
    /// How many messages there are.
    pub messages: u64,
    /// The first sequence; one more than the last in an empty stream.
    pub first_seq: u64,
    /// The last sequence, whether or not it has a message.
    pub last_seq: u64,
    /// When the last message was written, in ns since 1970; zero where nobody knows.
    pub last_time: i64,
    /// When the snapshot was begun, in ns since 1970.
    pub time: i64,
}

/// A message, whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its sequence.
    pub sequence: u64,
    /// When it was written, in ns since 1970.
    pub time: i64,
    /// Its subject.
    pub subject: &'a [u8],
    /// Its headers as they travel, from `NATS/1.0` to the empty line; empty when it has none.
    pub headers: &'a [u8],
    /// Its payload.
    pub payload: &'a [u8],
}

/// A consumer, with all that a restore needs of it.
#[derive(Debug, Clone)]
pub struct Consumer {
    /// Its name.
    pub name: String,
    /// Its configuration as JSON, with `Created` and `Name` (`meta.inf`).
    pub info: Box<RawValue>,
    /// The messages that it has delivered, and those that were acknowledged.
    pub state: ConsumerState,
}

impl Consumer {
    /// Whether its state is kept in memory only, though its stream is not.
    pub fn is_in_memory(&self) -> bool {
        #[derive(Deserialize)]
        struct Kept {
            #[serde(default)]
            mem_storage: bool,
        }
        serde_json::from_str(self.info.get()).is_ok_and(|kept: Kept| kept.mem_storage)
    }

    /// Whether it is in memory and stays when nobody uses it. A server makes such a consumer anew, and ignores its state in
    /// a tar.
    pub(super) fn is_made_anew(&self) -> bool {
        self.is_in_memory() && consumers::stays(self.info.get().as_bytes())
    }

    /// Whether the server delivers its messages to a subject, without being asked for each.
    pub(super) fn is_pushing(&self) -> bool {
        #[derive(Deserialize)]
        struct Delivers {
            #[serde(default)]
            deliver_subject: String,
        }
        serde_json::from_str(self.info.get()).is_ok_and(|to: Delivers| !to.deliver_subject.is_empty())
    }

    /// Whether it takes only subjects that one of `patterns` covers.
    pub(super) fn takes_only(&self, patterns: &[SubjectPattern]) -> bool {
        #[derive(Deserialize)]
        struct Filters {
            #[serde(default)]
            filter_subject: Option<String>,
            #[serde(default)]
            filter_subjects: Option<Vec<String>>,
        }
        let Ok(Filters { filter_subject, filter_subjects }) = serde_json::from_str(self.info.get()) else {
            return false;
        };
        let filters = filter_subject.into_iter().chain(filter_subjects.unwrap_or_default());
        let mut filters = filters.filter(|filter| !filter.is_empty()).peekable();
        filters.peek().is_some()
            && filters.all(|filter| patterns.iter().any(|pattern| pattern.covers(&filter)))
    }

    /// Whether the consumer stands beyond `last`, the last sequence of its stream, other than because it is to
    /// begin at a later one.
    pub fn is_ahead_of(&self, last: u64) -> bool {
        self.state.is_ahead_of(self.begins().saturating_sub(1).max(last))
    }

    /// If the consumer is ahead of the stream's end, sets it back to the end, so that later messages are delivered.
    /// One that is to begin later stays right before there.
    pub fn put_back_to(&mut self, last: u64) {
        self.state.put_back_to(self.begins().saturating_sub(1).max(last));
    }

    /// Puts a consumer that does not come from a tar where it may stand in a stream that ends at `last`: not beyond the end,
    /// and not before the message with which it is to begin.
    pub(super) fn place(&mut self, last: u64) {
        self.put_back_to(last);
        self.put_before_begin();
    }

    /// Puts a consumer that is to begin later right before there. A snapshot of 2.15.1 has put it to the stream's
    /// end, and a server that restored it so would deliver what lies between.
    fn put_before_begin(&mut self) {
        let before = self.begins().saturating_sub(1);
        let ConsumerState { delivered, ack_floor, .. } = &mut self.state;
        if delivered.stream < before {
            if ack_floor.stream == delivered.stream {
                ack_floor.stream = before;
            }
            delivered.stream = before;
        }
    }

    /// The sequence at which it is configured to begin, zero where it is not.
    fn begins(&self) -> u64 {
        consumers::begins(self.info.get().as_bytes())
    }
}

/// Gets every item.
pub(super) trait Visitor {
    /// Why it wants no more items.
    type Error: From<Fault>;
    /// Whether anybody looks: nothing is collected for nobody.
    const VISITS: bool;
    /// Shows the next item.
    fn item(&mut self, item: Item<'_>) -> Result<(), Self::Error>;
}

/// Ignores all items, for a check.
pub(super) struct NoVisitor;

impl Visitor for NoVisitor {
    type Error = Fault;
    const VISITS: bool = false;

    fn item(&mut self, _: Item<'_>) -> Result<(), Fault> {
        Ok(())
    }
}

/// Calls a function for every item.
pub(super) struct VisitFn<F, E> {
    each: F,
    error: PhantomData<E>,
}

impl<F, E> VisitFn<F, E> {
    pub fn new(each: F) -> Self {
        VisitFn { each, error: PhantomData }
    }
}

impl<F: FnMut(Item<'_>) -> Result<(), E>, E: From<Fault>> Visitor for VisitFn<F, E> {
    type Error = E;
    const VISITS: bool = true;

    fn item(&mut self, item: Item<'_>) -> Result<(), E> {
        (self.each)(item)
    }
}
