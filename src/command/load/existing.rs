//! What is at the destination before anything is restored, and how it stands to what the archive holds. Pure.

use std::collections::BTreeMap;

use super::super::Failure;
use crate::exit::Exit;
use crate::jetstream::{Listed, Listing, Mark};
use crate::names::{StreamName, counted};

/// How many streams in the way a message names.
const NAMED: usize = 5;

/// The streams that are there, sorted into those that are in the way and those that are not.
#[derive(Default)]
pub(super) struct Existing {
    /// None for one that the server could not describe.
    streams: BTreeMap<StreamName, Option<Listed>>,
    /// What restores have left that were cut off, and nobody has written to since. Nothing is lost with it, as it
    /// is restored again.
    left_over: BTreeMap<StreamName, (Listed, Mark)>,
}

/// A range of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub messages: u64,
    pub first_seq: u64,
    pub last_seq: u64,
}

/// How a stream that is there stands to the archive.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has as much, up to the same message.
    AsArchived,
    /// It goes on after what the archive holds, or has lost what was too old.
    GoneOn(String),
    /// It lacks what the archive holds, or is another stream of that name.
    Differs(String),
}

impl Existing {
    pub fn new(listing: Listing) -> Self {
        let mut existing = Existing::default();
        for stream in listing.streams {
            match stream.mark.clone().filter(|_| !stream.written_since) {
                Some(mark) => drop(existing.left_over.insert(stream.name.clone(), (stream, mark))),
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

    /// The mark of what was left over of that name.
    pub fn mark(&self, name: &StreamName) -> Option<&Mark> {
        self.left_over.get(name).map(|(_, mark)| mark)
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

impl From<&Listed> for Extent {
    fn from(listed: &Listed) -> Self {
        Extent { messages: listed.messages, first_seq: listed.first_seq, last_seq: listed.last_seq }
    }
}

impl Extent {
    /// How a stream with these messages stands to what the archive holds of it. A stream that is in use goes on:
    /// its last sequence rises, and messages are deleted or replaced. Its last sequence never falls.
    pub fn against(&self, archived: &Extent, may_expire: bool) -> Standing {
        let Extent { messages, first_seq, last_seq } = archived;
        let text = format!(
            "it holds {} up to {}, and the archive {messages} up to {last_seq}",
            counted(self.messages, "message"),
            self.last_seq,
        );
        let begins_alike = self.messages == 0 || self.first_seq == *first_seq;
        if self.last_seq == *last_seq && self.messages == *messages && begins_alike {
            Standing::AsArchived
        } else if self.last_seq > *last_seq || (may_expire && self.last_seq == *last_seq) {
            Standing::GoneOn(text)
        } else {
            Standing::Differs(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(name: &str, mark: Option<&str>, written_since: bool) -> Listed {
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
            mark: mark.map(Mark::new),
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
        let extent = |messages, first_seq, last_seq| Extent { messages, first_seq, last_seq };
        let archived = extent(10, 3, 20);
        assert_eq!(archived.against(&archived, false), Standing::AsArchived);
        assert_eq!(extent(0, 9, 8).against(&extent(0, 1, 8), false), Standing::AsArchived);
        for on in [extent(11, 3, 21), extent(2, 19, 21), extent(0, 31, 30)] {
            assert!(matches!(on.against(&archived, false), Standing::GoneOn(_)), "{on:?}");
        }
        for other in
            [extent(9, 3, 19), extent(9, 3, 20), extent(11, 2, 20), extent(10, 2, 20), extent(0, 0, 0)]
        {
            assert!(matches!(other.against(&archived, false), Standing::Differs(_)), "{other:?}");
        }
        assert!(matches!(extent(4, 12, 20).against(&archived, true), Standing::GoneOn(_)));
        assert!(matches!(extent(4, 12, 19).against(&archived, true), Standing::Differs(_)));
    }
}
