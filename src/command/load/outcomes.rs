//! The outcome of each stream, and the exit code that follows from all of them. Restores nothing.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use super::existing::MessageRange;
use super::target::Traits;
use crate::command::verifier::Proven;
use crate::exit::Exit;
use crate::names::{StreamName, counted};
use crate::terminal::Messages;
use crate::terminal::progress::{Progress, StreamOutcome, StreamResult};

/// A stream that was left alone because it exists.
pub(super) struct Skipped {
    /// What its description in the archive says that its snapshot holds.
    pub archived: Option<MessageRange>,
    pub may_expire: bool,
}

/// A stream that was just restored into a cluster. It is confirmed when the other servers have it.
pub(super) struct UnconfirmedStream {
    pub stream: StreamName,
    pub may_expire: bool,
    pub restored: Instant,
}

impl UnconfirmedStream {
    /// It was restored just now.
    pub fn new(stream: StreamName, may_expire: bool) -> Self {
        UnconfirmedStream { stream, may_expire, restored: Instant::now() }
    }
}

/// The outcomes so far. Failures are printed as they are noted.
pub(super) struct Outcomes {
    messages: Messages,
    progress: Progress,
    done: BTreeMap<StreamName, Proven>,
    failed: BTreeMap<StreamName, Exit>,
    skipped: BTreeMap<StreamName, Skipped>,
    /// The hints that were printed.
    hints: BTreeSet<String>,
    /// How many streams got another number of replicas: before, after.
    replica_changes: BTreeMap<(u32, u32), u64>,
    /// How many streams lost their placement.
    unplaced: u64,
}

impl Outcomes {
    pub fn new(messages: Messages, progress: Progress) -> Self {
        Outcomes {
            messages,
            progress,
            done: BTreeMap::new(),
            failed: BTreeMap::new(),
            skipped: BTreeMap::new(),
            hints: BTreeSet::new(),
            replica_changes: BTreeMap::new(),
            unplaced: 0,
        }
    }

    /// The stream has failed. `exit` is the exit code if nothing worse happens.
    pub fn fail(&mut self, stream: &StreamName, exit: Exit, text: &str) {
        self.messages.error(&format!("stream {stream}: {text}"));
        self.progress.failed(stream);
        self.progress.result(StreamResult::not(stream.as_str(), StreamOutcome::Failed, text));
        self.failed.insert(stream.clone(), exit);
    }

    /// Prints a hint that has not been printed yet: one cause may fail many streams.
    pub fn hint(&mut self, hint: Option<String>) {
        if let Some(hint) = hint
            && self.hints.insert(hint.clone())
        {
            self.messages.hint(&hint);
        }
    }

    /// The stream is restored.
    pub fn done(&mut self, stream: StreamName, proven: Proven, traits: &Traits) {
        if traits.replicas != traits.replicas_before {
            *self.replica_changes.entry((traits.replicas_before, traits.replicas)).or_default() += 1;
        }
        self.unplaced = self.unplaced.saturating_add(traits.unplaced.into());
        self.progress.result(StreamResult::done(&stream, proven.contents.messages, proven.bytes));
        self.done.insert(stream, proven);
    }

    /// A stream that was restored is not there any more, or not as it was restored.
    pub fn undone(&mut self, stream: &StreamName) {
        self.done.remove(stream);
    }

    /// The stream was left alone.
    pub fn skip(&mut self, stream: StreamName, skipped: Skipped) {
        let why = "exists, left alone";
        self.progress.result(StreamResult::not(stream.as_str(), StreamOutcome::Skipped, why));
        self.skipped.insert(stream, skipped);
    }

    /// The restored streams.
    pub fn restored(&self) -> &BTreeMap<StreamName, Proven> {
        &self.done
    }

    /// The streams that were left alone.
    pub fn skipped(&self) -> &BTreeMap<StreamName, Skipped> {
        &self.skipped
    }

    /// Whether the stream has failed.
    pub fn has_failed(&self, stream: &StreamName) -> bool {
        self.failed.contains_key(stream)
    }

    /// How many streams have failed.
    pub fn failures(&self) -> usize {
        self.failed.len()
    }

    /// Whether there was no stream at all.
    pub fn are_none(&self) -> bool {
        self.done.is_empty() && self.failed.is_empty() && self.skipped.is_empty()
    }

    /// Prints how the restored streams' settings differ from the archive's.
    pub fn say_what_changed(&self) {
        for ((before, after), streams) in &self.replica_changes {
            self.messages.notice(&format!(
                "{}: replicas {before} in the archive, {after} here",
                counted(*streams, "stream")
            ));
        }
        if self.unplaced > 0 {
            self.messages.notice(&format!("{}: placement left out", counted(self.unplaced, "stream")));
        }
    }

    /// How the program ends. A damaged archive is worse news than streams that cannot be restored.
    pub fn exit(&self) -> Exit {
        let worst = self.failed.values().copied().max_by_key(|exit| *exit == Exit::Damaged);
        match worst {
            None => Exit::Done,
            Some(Exit::Damaged) => Exit::Damaged,
            Some(_) if self.done.is_empty() && self.skipped.is_empty() => Exit::Failed,
            Some(_) => Exit::Partial,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Contents;
    use crate::terminal::Verbosity;
    use crate::terminal::progress::Verbs;

    fn outcomes() -> Outcomes {
        let doing = Verbs { streams: "restored", archive: "read" };
        Outcomes::new(Messages::new("test", Verbosity::Quiet), Progress::new(doing))
    }

    fn name(name: &str) -> StreamName {
        StreamName::new(name).unwrap()
    }

    fn done(outcomes: &mut Outcomes, stream: &str) {
        let proven = Proven { contents: Contents::default(), bytes: 0 };
        outcomes.done(name(stream), proven, &Traits::default());
    }

    #[test]
    fn the_exit_code_tells_the_worst_that_happened() {
        let mut outcomes = outcomes();
        assert!(outcomes.are_none());
        assert_eq!(outcomes.exit(), Exit::Done);
        outcomes.fail(&name("A"), Exit::Partial, "x");
        assert_eq!(outcomes.exit(), Exit::Failed);
        done(&mut outcomes, "B");
        assert_eq!(outcomes.exit(), Exit::Partial);
        outcomes.fail(&name("C"), Exit::Damaged, "x");
        outcomes.fail(&name("D"), Exit::Partial, "x");
        assert_eq!(outcomes.exit(), Exit::Damaged);
        assert_eq!(outcomes.failures(), 3);
    }

    #[test]
    fn what_is_left_alone_counts_as_not_failed() {
        let mut outcomes = outcomes();
        outcomes.skip(name("A"), Skipped { archived: None, may_expire: false });
        assert_eq!(outcomes.exit(), Exit::Done);
        outcomes.fail(&name("B"), Exit::Failed, "x");
        assert_eq!(outcomes.exit(), Exit::Partial);
    }

    #[test]
    fn a_stream_that_is_gone_after_its_restore_is_not_counted() {
        let mut outcomes = outcomes();
        done(&mut outcomes, "A");
        outcomes.undone(&name("A"));
        outcomes.fail(&name("A"), Exit::Partial, "x");
        assert_eq!((outcomes.restored().len(), outcomes.exit()), (0, Exit::Failed));
    }
}
