//! The streams at the destination before the restore, and how they differ from those in the archive. Pure: asks no server.

use std::collections::BTreeMap;

use super::super::Failure;
use crate::exit::Exit;
use crate::jetstream::{Listed, Listing, RestoreMarker};
use crate::names::{StreamName, counted};

/// How many streams in the way a message names.
const NAMED: usize = 5;

/// The streams at the destination: those that conflict with the archive, and leftovers of killed restores.
#[derive(Default)]
pub(super) struct Existing {
    /// None for a stream that the server could not describe.
    streams: BTreeMap<StreamName, Option<Listed>>,
    /// Incomplete streams that a killed restore has left, and that nobody has written to since. They may be removed,
    /// because they are restored again.
    left_over: BTreeMap<StreamName, (Listed, RestoreMarker)>,
}

/// A range of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MessageRange {
    pub messages: u64,
    pub first_seq: u64,
    pub last_seq: u64,
}

/// A stream at the destination, compared with the archive.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum StreamComparison {
    /// It has as much, up to the same message.
    Same,
    /// It goes on after what the archive holds, or has lost what was too old.
    Newer(String),
    /// It lacks what the archive holds, or is another stream of that name.
    Different(String),
}

impl Existing {
    pub fn new(listing: Listing) -> Self {
        let mut existing = Existing::default();
        for stream in listing.streams {
            match stream.marker.clone().filter(|_| !stream.written_since) {
                Some(marker) => drop(existing.left_over.insert(stream.name.clone(), (stream, marker))),
                None => drop(existing.streams.insert(stream.name.clone(), Some(stream))),
            }
        }
        let unavailable = listing.unavailable.into_iter();
        for name in unavailable.filter_map(|stream| StreamName::new(stream.name).ok()) {
            existing.streams.insert(name, None);
        }
        existing
    }

    /// Whether a stream of that name is in the way.
    pub fn has(&self, name: &StreamName) -> bool {
        self.streams.contains_key(name)
    }

    /// The streams that are in the way.
    pub fn names(&self) -> impl Iterator<Item = &StreamName> {
        self.streams.keys()
    }

    /// The stream that is in the way; none within for one that the server could not describe.
    pub fn get(&self, name: &StreamName) -> Option<&Option<Listed>> {
        self.streams.get(name)
    }

    /// What is there and would make room, of the streams for which `replaced` is true.
    pub fn going(&self, replaced: impl Fn(&StreamName) -> bool) -> Vec<&Listed> {
        let streams = self.streams.values().flatten();
        let all = streams.chain(self.left_over.values().map(|(left, _)| left));
        all.filter(|stream| replaced(&stream.name)).collect()
    }

    /// The marker of what was left over of that name.
    pub fn marker(&self, name: &StreamName) -> Option<&RestoreMarker> {
        self.left_over.get(name).map(|(_, marker)| marker)
    }

    /// What was left over of that name has been removed.
    pub fn removed(&mut self, name: &StreamName) {
        self.left_over.remove(name);
    }

    /// What is left over.
    pub fn left_over(&self) -> impl Iterator<Item = &StreamName> {
        self.left_over.keys()
    }

    /// Refuses those of `coming` that are in the way.
    pub fn refuse<'a>(&self, coming: impl IntoIterator<Item = &'a StreamName>) -> Result<(), Failure> {
        let mut conflicts = coming.into_iter().filter(|name| self.has(name));
        let mut names: Vec<String> = conflicts.by_ref().take(NAMED).map(ToString::to_string).collect();
        if names.is_empty() {
            return Ok(());
        }
        if let more @ 1.. = conflicts.count() {
            names.push(format!("and {more} more"));
        }
        Err(Failure::new(Exit::Conflict, format!("exists at the destination already: {}", names.join(", ")))
            .hint("--conflict skip leaves them alone, --conflict overwrite replaces them"))
    }
}

impl From<&Listed> for MessageRange {
    fn from(listed: &Listed) -> Self {
        MessageRange { messages: listed.messages, first_seq: listed.first_seq, last_seq: listed.last_seq }
    }
}

impl MessageRange {
    /// Compares this stream with the one in the archive. While a stream is in use, its last sequence rises, and messages
    /// are deleted or replaced. The last sequence never falls.
    pub fn compare(&self, archived: &MessageRange, may_expire: bool) -> StreamComparison {
        let MessageRange { messages, first_seq, last_seq } = archived;
        let text = format!(
            "it holds {} up to {}, and the archive {messages} up to {last_seq}",
            counted(self.messages, "message"),
            self.last_seq,
        );
        let begins_alike = self.messages == 0 || self.first_seq == *first_seq;
        if self.last_seq == *last_seq && self.messages == *messages && begins_alike {
            StreamComparison::Same
        } else if self.last_seq > *last_seq || (may_expire && self.last_seq == *last_seq) {
            StreamComparison::Newer(text)
        } else {
            StreamComparison::Different(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(name: &str, marker: Option<&str>, written_since: bool) -> Listed {
        Listed {
            name: StreamName::new(name).unwrap(),
            in_memory: false,
            replicas: 1,
            messages: 1,
            bytes: 1,
            consumers: 0,
            settings: Vec::new(),
            first_seq: 1,
            last_seq: 1,
            created: None,
            last_time: None,
            marker: marker.map(RestoreMarker::new),
            written_since,
        }
    }

    #[test]
    fn what_was_left_over_is_not_in_the_way_unless_somebody_has_written_to_it() {
        let streams =
            vec![listed("A", None, false), listed("B", Some("x"), false), listed("C", Some("x"), true)];
        let existing = Existing::new(Listing { streams, unavailable: Vec::new() });
        let name = |name| StreamName::new(name).unwrap();
        assert!(existing.has(&name("A")) && !existing.has(&name("B")) && existing.has(&name("C")));
        assert_eq!(existing.left_over().map(ToString::to_string).collect::<Vec<_>>(), ["B"]);
        assert!(existing.refuse([&name("B"), &name("D")]).is_ok());
        let refused = existing.refuse([&name("A"), &name("B"), &name("C")]).unwrap_err();
        assert_eq!(refused.what, "exists at the destination already: A, C");
        assert_eq!(existing.going(|name| name.as_str() != "A").len(), 2);
    }

    #[test]
    fn a_stream_in_use_goes_on_and_never_back() {
        let extent = |messages, first_seq, last_seq| MessageRange { messages, first_seq, last_seq };
        let archived = extent(10, 3, 20);
        assert_eq!(archived.compare(&archived, false), StreamComparison::Same);
        assert_eq!(extent(0, 9, 8).compare(&extent(0, 1, 8), false), StreamComparison::Same);
        for on in [extent(11, 3, 21), extent(2, 19, 21), extent(0, 31, 30)] {
            assert!(matches!(on.compare(&archived, false), StreamComparison::Newer(_)), "{on:?}");
        }
        for other in
            [extent(9, 3, 19), extent(9, 3, 20), extent(11, 2, 20), extent(10, 2, 20), extent(0, 0, 0)]
        {
            assert!(matches!(other.compare(&archived, false), StreamComparison::Different(_)), "{other:?}");
        }
        assert!(matches!(extent(4, 12, 20).compare(&archived, true), StreamComparison::Newer(_)));
        assert!(matches!(extent(4, 12, 19).compare(&archived, true), StreamComparison::Different(_)));
    }
}
