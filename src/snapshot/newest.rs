//! Finds the newest messages of each subject. They are known only at the end of a stream, and in the tar format it is known
//! even later which messages are live. So a snapshot is read twice: first for the [`deleted`] messages, then for the
//! [`newest`] ones. Writes nothing. Memory of the latter: 24 bytes for each of at most [`MOST_HELD`] messages.

use std::io::Read;

use sha2::{Digest as _, Sha256};

use super::edit::{EditError, MAX_NEWEST};
use super::inspect::inspect_items;
use super::items::Item;
use super::message_filter::{MatchedPatterns, MessageFilter};
use super::reported_state::ReportedState;
use super::sequences::Sequences;
use crate::names::StreamName;

/// How many messages are held at first before those are dropped that are not among the newest, and at most.
const FIRST_HELD: usize = 1 << 16;
const MOST_HELD: usize = 2 * MAX_NEWEST;

/// The sequences of a snapshot that hold no message although one may come in it.
///
/// # Errors
/// As [`edit`](super::edit()).
pub fn deleted(
    stream: &StreamName,
    reported: &ReportedState,
    bytes: impl Read,
) -> Result<Sequences, EditError> {
    let mut deleted = Sequences::default();
    inspect_items(stream, reported, bytes, |item| match item {
        Item::Deleted { sequence, .. } => deleted.insert(sequence).map_err(|_| EditError::TooScattered),
        _ => Ok(()),
    })?;
    deleted.flush();
    Ok(deleted)
}

/// The sequences of the newest `n` messages of each subject, of those that `keep` keeps and that are not `deleted`.
///
/// # Errors
/// As [`edit`](super::edit()).
pub fn newest(
    stream: &StreamName,
    reported: &ReportedState,
    bytes: impl Read,
    keep: &MessageFilter,
    deleted: &Sequences,
    n: usize,
) -> Result<Sequences, EditError> {
    let mut held: Vec<([u8; 16], u64)> = Vec::new();
    let mut full = FIRST_HELD;
    let mut matched = MatchedPatterns::default();
    inspect_items(stream, reported, bytes, |item| {
        let Item::Message(record) = item else { return Ok::<_, EditError>(()) };
        if deleted.contains(record.sequence) || !keep.keeps(&record, &mut matched) {
            return Ok(());
        }
        if held.len() >= full {
            only_newest(&mut held, n)?;
            full = (2 * held.len()).clamp(FIRST_HELD, MOST_HELD);
        }
        held.push((short(record.subject), record.sequence));
        Ok(())
    })?;
    only_newest(&mut held, n)?;
    held.sort_unstable_by_key(|(_, sequence)| *sequence);
    let mut newest = Sequences::default();
    for (_, sequence) in held {
        newest.insert(sequence).map_err(|_| EditError::TooScattered)?;
    }
    newest.flush();
    Ok(newest)
}

/// Leaves the newest `n` messages of each subject.
fn only_newest(held: &mut Vec<([u8; 16], u64)>, n: usize) -> Result<(), EditError> {
    held.sort_unstable_by(|a, b| b.cmp(a));
    held.dedup();
    let (mut subject, mut count) = ([0; 16], 0);
    held.retain(|(of, _)| {
        if *of != subject {
            (subject, count) = (*of, 0);
        }
        count += 1;
        count <= n
    });
    if held.len() > MAX_NEWEST { Err(EditError::Subjects) } else { Ok(()) }
}

/// Half of a digest is enough to tell subjects from one another, also where somebody chose them.
fn short(subject: &[u8]) -> [u8; 16] {
    let digest: [u8; 32] = Sha256::digest(subject).into();
    let mut short = [0; 16];
    short.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    short
}
