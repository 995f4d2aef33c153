//! Reads and writes a consumer's state, which says what was delivered and acknowledged: as JSON (NATSARC1), and as `o.dat`
//! (the tar format). Knows no stream.
//!
//! Numbers of `o.dat` are unsigned LEB128 (`u`) or the same of a zigzag number (`i`).
//!
//! | `o.dat` | what |
//! |---|---|
//! | 1, 1 | magic 22; version 2 |
//! | u, u | ack floor: consumer sequence, stream sequence |
//! | u, u | delivered: consumer sequence, stream sequence |
//! | u | number of messages that await their acknowledgement |
//! | i | only when there are some: a time in s since 1970, the base |
//! | u, u, i | of each: stream sequence less the floor's, consumer sequence less the floor's, base less the time of its delivery in s |
//! | u | number of messages that were delivered again |
//! | u, u | of each: stream sequence less the floor's, how often |
//!
//! Version 1 is of servers before 2.2. Source: nats-server, `encodeConsumerState` in `server/store.go`.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::leb128;

/// The most messages of one consumer that may await an acknowledgement or have been delivered again. A
/// server's default is 1,000.
const MAX_PENDING: usize = 1 << 20;
/// The longest `o.dat` that is read, in bytes: that many messages at their longest.
pub(super) const MAX_STATE: u64 = 48 << 20;

/// How much of an `o.dat` tells how far the consumer has come, in bytes.
pub(super) const BEGIN: usize = 2 + 4 * 10;

const MAGIC: u8 = 22;
const VERSION: u8 = 2;
const NS: i64 = 1_000_000_000;

/// A place in a consumer's own count of deliveries and in its stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SequencePair {
    /// The consumer's count.
    #[serde(rename = "consumer_seq")]
    pub consumer: u64,
    /// The stream's sequence.
    #[serde(rename = "stream_seq")]
    pub stream: u64,
}

/// A message that awaits its acknowledgement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Pending {
    /// The consumer's count at its delivery.
    pub sequence: u64,
    /// When it was delivered, in ns since 1970. `o.dat` keeps whole seconds.
    pub timestamp: i64,
}

/// The delivery state of a consumer. Servers of 2.15 write the same JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConsumerState {
    /// The last delivery.
    pub delivered: SequencePair,
    /// Everything up to here is acknowledged.
    pub ack_floor: SequencePair,
    /// The messages that were delivered and are not acknowledged, in the order of their stream sequences.
    #[serde(skip_serializing_if = "Vec::is_empty", with = "by_sequence")]
    pub pending: Vec<(u64, Pending)>,
    /// By stream sequence, ascending: how often each message was delivered again.
    #[serde(skip_serializing_if = "Vec::is_empty", with = "by_sequence")]
    pub redelivered: Vec<(u64, u64)>,
}

/// An `o.dat` that no known server writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a consumer's state is not what servers write")]
pub struct BadState;

impl ConsumerState {
    /// Reads `o.dat`.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadState> {
        let mut rest = bytes.strip_prefix(&[MAGIC, VERSION]).ok_or(BadState)?;
        let [floor_consumer, floor_stream, consumer, stream] = leb128::take(&mut rest).ok_or(BadState)?;
        let ack_floor = SequencePair { consumer: floor_consumer, stream: floor_stream };
        let delivered = SequencePair { consumer, stream };
        // A sequence has no highest bit, and servers refuse one that has.
        if (floor_stream | stream) >> 63 != 0 {
            return Err(BadState);
        }
        let mut pending = Vec::new();
        let count = length(&mut rest)?;
        if count > 0 {
            let base = signed(&mut rest)?;
            for _ in 0..count {
                let [stream, consumer] = leb128::take(&mut rest).ok_or(BadState)?;
                let time = base.wrapping_sub(signed(&mut rest)?).wrapping_mul(NS);
                let sequence = consumer.wrapping_add(ack_floor.consumer);
                pending.push((stream.wrapping_add(ack_floor.stream), Pending { sequence, timestamp: time }));
            }
        }
        let mut redelivered = Vec::new();
        for _ in 0..length(&mut rest)? {
            let [stream, times] = leb128::take(&mut rest).ok_or(BadState)?;
            redelivered.push((stream.wrapping_add(ack_floor.stream), times));
        }
        pending.sort_by_key(|(sequence, _)| *sequence);
        redelivered.sort_by_key(|(sequence, _)| *sequence);
        Ok(ConsumerState { delivered, ack_floor, pending, redelivered })
    }

    /// As `o.dat`. The same state gives the same bytes.
    pub fn encode(&self) -> Vec<u8> {
        let floor = self.ack_floor;
        let mut out = vec![MAGIC, VERSION];
        for number in [floor.consumer, floor.stream, self.delivered.consumer, self.delivered.stream] {
            leb128::put(&mut out, number);
        }
        leb128::put(&mut out, self.pending.len() as u64);
        let seconds = |pending: &Pending| pending.timestamp.div_euclid(NS);
        if let Some(base) = self.pending.iter().map(|(_, pending)| seconds(pending)).max() {
            leb128::put_signed(&mut out, base);
            for (stream, pending) in &self.pending {
                leb128::put(&mut out, stream.wrapping_sub(floor.stream));
                leb128::put(&mut out, pending.sequence.wrapping_sub(floor.consumer));
                leb128::put_signed(&mut out, base.wrapping_sub(seconds(pending)));
            }
        }
        leb128::put(&mut out, self.redelivered.len() as u64);
        for (stream, times) in &self.redelivered {
            leb128::put(&mut out, stream.wrapping_sub(floor.stream));
            leb128::put(&mut out, *times);
        }
        out
    }

    /// How far it has come in its stream.
    pub(super) fn reached(&self) -> u64 {
        self.delivered.stream.max(self.ack_floor.stream)
    }

    /// The same by the [begin](BEGIN) of an `o.dat`. None where it is no known one.
    pub(super) fn reached_by(begin: &[u8]) -> Option<u64> {
        let mut rest = begin.strip_prefix(&[MAGIC, VERSION])?;
        let [_, floor, _, delivered] = leb128::take(&mut rest)?;
        Some(floor.max(delivered))
    }

    /// Whether the consumer stands beyond `last`, the last sequence of its stream.
    pub fn is_ahead_of(&self, last: u64) -> bool {
        let sequences = self.pending.iter().map(|(sequence, _)| *sequence);
        let again = self.redelivered.iter().map(|(sequence, _)| *sequence);
        self.delivered.stream > last
            || self.ack_floor.stream > last
            || sequences.chain(again).any(|sequence| sequence > last)
    }

    /// Forgets the messages that are `gone`. One that was pending counts as acknowledged, as when a server deletes
    /// it (nats-server, `processAckMsgLocked` in `server/consumer.go`).
    pub fn without(&mut self, gone: impl Fn(u64) -> bool) {
        let before = self.pending.len();
        self.pending.retain(|(sequence, _)| !gone(*sequence));
        self.redelivered.retain(|(sequence, _)| !gone(*sequence));
        if self.pending.len() == before {
            return;
        }
        let SequencePair { consumer, stream } = &mut self.ack_floor;
        let next = self.pending.iter().map(|(_, pending)| pending.sequence).min();
        match (self.pending.first(), next) {
            (Some((first, _)), Some(next)) => {
                *stream = first.saturating_sub(1).max(*stream);
                *consumer = next.saturating_sub(1).max(*consumer);
            }
            _ => self.ack_floor = self.delivered,
        }
    }

    /// If the consumer is ahead of `last`, sets it back to `last`, so that later messages are delivered. The
    /// consumer's own counts stay, as servers of 2.15 leave them.
    pub fn put_back_to(&mut self, last: u64) {
        self.delivered.stream = self.delivered.stream.min(last);
        self.ack_floor.stream = self.ack_floor.stream.min(last);
        self.pending.retain(|(sequence, _)| *sequence <= last);
        self.redelivered.retain(|(sequence, _)| *sequence <= last);
    }
}

fn length(rest: &mut &[u8]) -> Result<usize, BadState> {
    let [count] = leb128::take(rest).ok_or(BadState)?;
    usize::try_from(count).ok().filter(|count| *count <= MAX_PENDING).ok_or(BadState)
}

fn signed(rest: &mut &[u8]) -> Result<i64, BadState> {
    leb128::take(rest).map(|[number]| leb128::signed(number)).ok_or(BadState)
}

/// A list of pairs as a JSON object whose keys are sequences, never more than [`MAX_PENDING`].
mod by_sequence {
    use super::*;

    pub fn serialize<S: Serializer, T: Serialize>(
        pairs: &[(u64, T)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(pairs.iter().map(|(sequence, value)| (sequence, value)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
        deserializer: D,
    ) -> Result<Vec<(u64, T)>, D::Error> {
        struct Pairs<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Pairs<T> {
            type Value = Vec<(u64, T)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object whose keys are sequences")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Vec::new())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    if pairs.len() >= MAX_PENDING {
                        return Err(A::Error::custom("too many messages"));
                    }
                    pairs.push(pair);
                }
                pairs.sort_by_key(|(sequence, _)| *sequence);
                Ok(pairs)
            }
        }
        deserializer.deserialize_any(Pairs(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn state() -> impl Strategy<Value = ConsumerState> {
        let pair = || {
            (any::<u64>(), 0..=u64::MAX >> 1).prop_map(|(consumer, stream)| SequencePair { consumer, stream })
        };
        // `o.dat` knows whole seconds.
        let pending = (any::<u64>(), -(1_i64 << 33)..1 << 33)
            .prop_map(|(sequence, s)| Pending { sequence, timestamp: s * NS });
        let pending = prop::collection::btree_map(any::<u64>(), pending, 0..20);
        let redelivered = prop::collection::btree_map(any::<u64>(), any::<u64>(), 0..5);
        (pair(), pair(), pending, redelivered).prop_map(|(delivered, ack_floor, pending, redelivered)| {
            ConsumerState {
                delivered,
                ack_floor,
                pending: pending.into_iter().collect(),
                redelivered: redelivered.into_iter().collect(),
            }
        })
    }

    proptest! {
        #[test]
        fn a_state_is_the_same_after_either_way(state in state()) {
            prop_assert_eq!(&ConsumerState::decode(&state.encode()).unwrap(), &state);
            let json = serde_json::to_string(&state).unwrap();
            prop_assert_eq!(&serde_json::from_str::<ConsumerState>(&json).unwrap(), &state);
        }

        #[test]
        fn whatever_is_read_is_written_as_the_same(mut bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            for (to, from) in bytes.iter_mut().zip([MAGIC, VERSION]) {
                *to = from;
            }
            if let Ok(state) = ConsumerState::decode(&bytes) {
                prop_assert_eq!(ConsumerState::decode(&state.encode()).unwrap(), state);
            }
        }
    }

    /// What nats-server 2.14.5 wrote for the consumer `mailer` of tests/data, and 2.15.1 for its like.
    #[test]
    fn what_servers_wrote_is_read_and_written_as_they_do() {
        let bytes = [22, 2, 2, 5, 12, 17, 4, 0xba, 0xa6, 0x94, 0xb0, 0x0d, 4, 4, 0, 2, 12, 0][..].to_vec();
        assert_eq!(ConsumerState::decode(&bytes), Err(BadState), "cut");
        let idle = [22, 2, 0, 2, 0, 2, 0, 0];
        let state = ConsumerState::decode(&idle).unwrap();
        let stands = SequencePair { consumer: 0, stream: 2 };
        assert_eq!(state, ConsumerState { delivered: stands, ack_floor: stands, ..ConsumerState::default() });
        assert_eq!(state.encode(), idle);
        let json = r#"{"delivered":{"consumer_seq":12,"stream_seq":17},"ack_floor":{"consumer_seq":2,"stream_seq":5},"pending":{"13":{"Sequence":9,"Timestamp":1795336605312706346},"6":{"Sequence":3,"Timestamp":1795336605312476273}}}"#;
        let state: ConsumerState = serde_json::from_str(json).unwrap();
        assert_eq!(state.pending.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>(), [6, 13]);
        let again = ConsumerState::decode(&state.encode()).unwrap();
        assert_eq!(again.pending[0], (6, Pending { sequence: 3, timestamp: 1_795_336_605 * NS }));
        assert_eq!(
            serde_json::from_str::<ConsumerState>("{\"pending\":null}").unwrap(),
            ConsumerState::default()
        );
    }

    #[test]
    fn a_consumer_ahead_of_its_stream_is_put_back_to_its_end() {
        let mut state = ConsumerState {
            delivered: SequencePair { consumer: 40, stream: 90 },
            ack_floor: SequencePair { consumer: 5, stream: 60 },
            pending: vec![(61, Pending::default()), (80, Pending::default())],
            redelivered: vec![(61, 1), (90, 2)],
        };
        assert!(!state.is_ahead_of(90) && state.is_ahead_of(89));
        let before = state.clone();
        state.put_back_to(90);
        assert_eq!(state, before);
        state.put_back_to(70);
        assert_eq!(state.delivered, SequencePair { consumer: 40, stream: 70 });
        assert_eq!((state.ack_floor.stream, state.pending.len(), state.redelivered.len()), (60, 1, 1));
        state.put_back_to(50);
        assert_eq!((state.delivered.stream, state.ack_floor.stream, state.pending.len()), (50, 50, 0));
        assert!(!state.is_ahead_of(50));
    }

    #[test]
    fn a_message_that_is_gone_is_pending_nowhere_and_holds_no_floor_back() {
        let pending = |sequence| Pending { sequence, timestamp: 0 };
        let state = ConsumerState {
            delivered: SequencePair { consumer: 40, stream: 90 },
            ack_floor: SequencePair { consumer: 5, stream: 60 },
            pending: vec![(61, pending(6)), (80, pending(20)), (85, pending(22))],
            redelivered: vec![(61, 1), (80, 2)],
        };
        let without = |gone: &[u64]| {
            let mut state = state.clone();
            state.without(|sequence| gone.contains(&sequence));
            let floor = (state.ack_floor.consumer, state.ack_floor.stream);
            (floor, state.pending.len(), state.redelivered.len())
        };
        assert_eq!(without(&[70, 90]), ((5, 60), 3, 2), "they were acknowledged");
        assert_eq!(without(&[80]), ((5, 60), 2, 1));
        assert_eq!(without(&[61]), ((19, 79), 2, 1));
        assert_eq!(without(&[61, 80, 85]), ((40, 90), 0, 0));
    }

    #[test]
    fn what_is_too_long_or_no_state_is_refused() {
        let mut many = vec![MAGIC, VERSION, 0, 0, 0, 0];
        leb128::put(&mut many, MAX_PENDING as u64 + 1);
        for bad in [&b""[..], &[22], &[22, 1, 0, 0, 0, 0, 0, 0], &[22, 2, 0, 0, 0], &many] {
            assert_eq!(ConsumerState::decode(bad), Err(BadState));
        }
        let json = format!("{{\"redelivered\":{{{}\"9\":1}}}}", "\"1\":1,".repeat(MAX_PENDING));
        assert!(serde_json::from_str::<ConsumerState>(&json).is_err());
    }
}
