//! Which messages of a snapshot stay when it is written again. A tar says that a message is deleted before the message comes
//! or after it, so this is known only at the end. Knows no format, and writes nothing.

use super::sequences::{Sequences, TooScattered};

/// The messages so far.
#[derive(Debug, Default)]
pub(super) struct KeptMessages {
    /// The sequences that stay and were not deleted since.
    kept: Sequences,
    /// The sequences that were said to be deleted before any message of them came.
    deleted_early: Sequences,
    last_seq: u64,
    last_time: i64,
}

impl KeptMessages {
    /// The stream goes as far as this sequence, which was written at `time` (in ns since 1970).
    pub fn reach(&mut self, sequence: u64, time: i64) {
        if sequence > self.last_seq {
            (self.last_seq, self.last_time) = (sequence, time);
        }
    }

    /// When the highest sequence so far was written, in ns since 1970; zero where nobody knows.
    pub fn last_time(&self) -> i64 {
        self.last_time
    }

    /// Whether the message that comes with this sequence was said to be deleted before.
    pub fn is_deleted(&self, sequence: u64) -> bool {
        self.deleted_early.contains(sequence)
    }

    /// The message with this sequence stays, unless it is said later that it is deleted.
    pub fn keep(&mut self, sequence: u64) -> Result<(), TooScattered> {
        self.kept.insert(sequence)
    }

    /// The message with this sequence is deleted. Gives whether it was kept until now.
    pub fn delete(&mut self, sequence: u64, time: i64) -> Result<bool, TooScattered> {
        if sequence > self.last_seq {
            self.deleted_early.insert(sequence)?;
            self.deleted_early.flush();
        }
        self.reach(sequence, time);
        Ok(self.kept.remove(sequence))
    }

    /// All messages have come: deletes those before `first_seq`, and tells `each`. That was the first sequence when the snapshot
    /// began, so they were removed before, although a snapshot without an index does not say so. Gives how many there are.
    pub fn delete_before<E>(
        &mut self,
        first_seq: u64,
        mut each: impl FnMut(u64) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut deleted = 0;
        while let Some(sequence) = self.kept().first().filter(|first| *first < first_seq) {
            self.kept.remove(sequence);
            each(sequence)?;
            deleted += 1;
        }
        Ok(deleted)
    }

    /// The sequences that stay.
    pub fn kept(&mut self) -> &Sequences {
        self.kept.flush();
        &self.kept
    }

    /// The same when all messages have come.
    pub fn into_kept(mut self) -> Sequences {
        self.kept.flush();
        self.kept
    }
}
