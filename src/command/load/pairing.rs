//! Pairs each description (`backup.json`) with its snapshot, in whatever order the archive brings them. Pure.
//!
//! Our archives and those of `chatto backup` have the description right before the snapshot. If another tar program has
//! packed the files in another order, one of the two waits in memory for the other, within a bound.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::input::Event;
use crate::archive::{ArchiveEnd, Index, Manifest};
use crate::command::Failure;
use crate::exit::Exit;
use crate::names::StreamName;

/// The most bytes of snapshots that wait in memory for their descriptions.
const SNAPSHOTS_MAX: usize = 32 << 20;

/// The most bytes of descriptions that wait in memory for their snapshots: those of some 12,000 streams.
const DESCRIPTIONS_MAX: usize = 24 << 20;

const PACK_AGAIN: &str =
    "pack the archive again with each stream's backup.json right before its stream.tar.s2";

/// An event of the archive, after pairing: a description comes together with its snapshot.
pub(super) enum PairedEvent {
    Index(Index),
    Manifest(Manifest),
    /// A snapshot begins. [`PairedEvent::Bytes`] follow, then [`PairedEvent::Finish`] or [`PairedEvent::Abandoned`].
    Begin {
        stream: StreamName,
        json: Vec<u8>,
    },
    Bytes(Bytes),
    /// The snapshot has come whole.
    Finish,
    /// The dump gave this attempt up. Another attempt at the same stream may follow.
    Abandoned {
        stream: StreamName,
        attempt: u32,
        reason: String,
    },
    /// A file of the stream is empty.
    Empty {
        stream: StreamName,
        file: &'static str,
    },
    /// The archive holds an export of encryption keys.
    Keys,
    /// The archive has been read to its end.
    End(ArchiveEnd),
}

/// The descriptions and snapshots that wait for each other.
#[derive(Default)]
pub(super) struct Pairing {
    /// Descriptions that wait for their snapshots.
    descriptions: BTreeMap<StreamName, Vec<u8>>,
    descriptions_size: usize,
    /// Snapshots that wait for their descriptions.
    snapshots: BTreeMap<StreamName, Vec<Bytes>>,
    snapshots_size: usize,
    /// The snapshot without a description that is coming now.
    waiting: Option<StreamName>,
    /// Whether a snapshot in parts is coming. It has no end of its own: what follows it ends it.
    in_parts: bool,
}

impl Pairing {
    /// Takes an event, and adds to `ready` the events that can be handled now. These are valid even if this fails.
    pub fn take(&mut self, event: Event, ready: &mut VecDeque<PairedEvent>) -> anyhow::Result<()> {
        match event {
            Event::Index(index) => ready.push_back(PairedEvent::Index(index)),
            Event::Manifest(manifest) => {
                self.end_parts(ready);
                ready.push_back(PairedEvent::Manifest(manifest));
            }
            Event::Backup { stream, attempt: Some(_), json } => {
                self.end_parts(ready);
                self.in_parts = true;
                ready.push_back(PairedEvent::Begin { stream, json });
            }
            Event::Backup { stream, attempt: None, json } => {
                self.end_parts(ready);
                self.description(stream, json, ready)?;
            }
            Event::Snapshot(stream) => {
                self.end_parts(ready);
                match self.descriptions.remove(&stream) {
                    Some(json) => {
                        self.descriptions_size = self.descriptions_size.saturating_sub(json.len());
                        ready.push_back(PairedEvent::Begin { stream, json });
                    }
                    None => self.waiting = Some(stream),
                }
            }
            Event::Bytes(bytes) => match &self.waiting {
                Some(stream) => self.keep(stream.clone(), bytes)?,
                None => ready.push_back(PairedEvent::Bytes(bytes)),
            },
            Event::SnapshotEnd => match self.waiting.take() {
                // A snapshot of no bytes waits too.
                Some(stream) => drop(self.snapshots.entry(stream).or_default()),
                None => ready.push_back(PairedEvent::Finish),
            },
            Event::Abandoned { stream, attempt, reason } => {
                self.in_parts = false;
                ready.push_back(PairedEvent::Abandoned { stream, attempt, reason });
            }
            Event::Empty { stream, file } => {
                self.end_parts(ready);
                ready.push_back(PairedEvent::Empty { stream, file });
            }
            Event::Keys => ready.push_back(PairedEvent::Keys),
            Event::Sums => {}
            Event::End(ended) => {
                self.end_parts(ready);
                ready.push_back(PairedEvent::End(ended));
            }
            Event::Failed(error) => return Err(error),
        }
        Ok(())
    }

    /// The streams whose snapshots came and whose descriptions did not.
    pub fn snapshots_alone(&self) -> impl Iterator<Item = &StreamName> {
        self.snapshots.keys()
    }

    /// The streams whose descriptions came and whose snapshots did not.
    pub fn descriptions_alone(&self) -> impl Iterator<Item = &StreamName> {
        self.descriptions.keys()
    }

    fn end_parts(&mut self, ready: &mut VecDeque<PairedEvent>) {
        if std::mem::take(&mut self.in_parts) {
            ready.push_back(PairedEvent::Finish);
        }
    }

    fn description(
        &mut self,
        stream: StreamName,
        json: Vec<u8>,
        ready: &mut VecDeque<PairedEvent>,
    ) -> Result<(), Failure> {
        if let Some(pieces) = self.snapshots.remove(&stream) {
            let size = pieces.iter().map(Bytes::len).sum();
            self.snapshots_size = self.snapshots_size.saturating_sub(size);
            ready.push_back(PairedEvent::Begin { stream, json });
            ready.extend(pieces.into_iter().map(PairedEvent::Bytes));
            ready.push_back(PairedEvent::Finish);
            return Ok(());
        }
        self.descriptions_size = self.descriptions_size.saturating_add(json.len());
        if self.descriptions_size > DESCRIPTIONS_MAX {
            let what = "the archive describes its streams long before their snapshots come";
            return Err(Failure::new(Exit::Failed, what).hint(PACK_AGAIN));
        }
        self.descriptions.insert(stream, json);
        Ok(())
    }

    fn keep(&mut self, stream: StreamName, bytes: Bytes) -> Result<(), Failure> {
        self.snapshots_size = self.snapshots_size.saturating_add(bytes.len());
        if self.snapshots_size > SNAPSHOTS_MAX {
            let what = format!(
                "stream {stream}: its snapshot comes before its backup.json, and is too large to wait"
            );
            return Err(Failure::new(Exit::Failed, what).hint(PACK_AGAIN));
        }
        self.snapshots.entry(stream).or_default().push(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> StreamName {
        StreamName::new(name).unwrap()
    }

    fn description(stream: &str, attempt: Option<u32>) -> Event {
        Event::Backup { stream: name(stream), attempt, json: stream.as_bytes().to_vec() }
    }

    fn bytes(text: &'static str) -> Event {
        Event::Bytes(Bytes::from_static(text.as_bytes()))
    }

    /// The paired events in short, for these events.
    fn steps(pairing: &mut Pairing, events: Vec<Event>) -> Vec<String> {
        let mut ready = VecDeque::new();
        for event in events {
            pairing.take(event, &mut ready).unwrap();
        }
        let short = |event| match event {
            PairedEvent::Begin { stream, json } => {
                assert_eq!(stream.as_str().as_bytes(), json);
                format!("begin {stream}")
            }
            PairedEvent::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            PairedEvent::Finish => "finish".into(),
            PairedEvent::Abandoned { stream, attempt, .. } => format!("abandoned {stream} {attempt}"),
            PairedEvent::Empty { stream, .. } => format!("empty {stream}"),
            PairedEvent::Keys => "keys".into(),
            PairedEvent::Index(_) | PairedEvent::Manifest(_) | PairedEvent::End(_) => "list".into(),
        };
        ready.into_iter().map(short).collect()
    }

    #[test]
    fn either_may_come_first() {
        let mut pairing = Pairing::default();
        let events = vec![
            description("A", None),
            Event::Snapshot(name("B")),
            bytes("b1"),
            bytes("b2"),
            Event::SnapshotEnd,
            Event::Snapshot(name("A")),
            bytes("a1"),
            Event::SnapshotEnd,
            description("B", None),
        ];
        assert_eq!(steps(&mut pairing, events), ["begin A", "a1", "finish", "begin B", "b1", "b2", "finish"]);
        assert_eq!(pairing.snapshots_size + pairing.descriptions_size, 0);
        assert_eq!(pairing.snapshots_alone().chain(pairing.descriptions_alone()).count(), 0);
    }

    #[test]
    fn what_follows_a_snapshot_in_parts_ends_it() {
        let mut pairing = Pairing::default();
        let abandoned = Event::Abandoned { stream: name("A"), attempt: 1, reason: "x".into() };
        let events = vec![
            description("A", Some(1)),
            bytes("1"),
            abandoned,
            description("A", Some(2)),
            bytes("2"),
            description("B", Some(1)),
            Event::Empty { stream: name("C"), file: "backup.json" },
        ];
        assert_eq!(
            steps(&mut pairing, events),
            ["begin A", "1", "abandoned A 1", "begin A", "2", "finish", "begin B", "finish", "empty C"]
        );
    }

    #[test]
    fn what_stays_alone_is_known() {
        let mut pairing = Pairing::default();
        let events = vec![Event::Snapshot(name("B")), Event::SnapshotEnd, description("A", None)];
        assert!(steps(&mut pairing, events).is_empty());
        assert_eq!(pairing.snapshots_alone().map(ToString::to_string).collect::<Vec<_>>(), ["B"]);
        assert_eq!(pairing.descriptions_alone().map(ToString::to_string).collect::<Vec<_>>(), ["A"]);
    }

    #[test]
    fn what_waits_is_bounded_and_what_came_before_is_still_done() {
        let mut pairing = Pairing::default();
        let mut ready = VecDeque::new();
        pairing.take(description("A", Some(1)), &mut ready).unwrap();
        let large =
            Event::Backup { stream: name("B"), attempt: None, json: vec![b' '; DESCRIPTIONS_MAX + 1] };
        assert!(pairing.take(large, &mut ready).is_err());
        assert!(matches!(ready.back(), Some(PairedEvent::Finish)));
        pairing.take(Event::Snapshot(name("C")), &mut ready).unwrap();
        let large = Event::Bytes(Bytes::from(vec![0; SNAPSHOTS_MAX + 1]));
        assert!(pairing.take(large, &mut ready).is_err());
    }
}
