//! Which messages are the newest ones of their subjects. That is known only at the end of a stream, and in the tar
//! format it is known even later which messages are live. So whoever wants to know reads a snapshot twice: for what is
//! [`deleted`], and for what is [`newest`].

use std::collections::{BTreeSet, HashMap};
use std::io::Read;

use sha2::{Digest as _, Sha256};

use super::edit::{EditError, MAX_NEWEST};
use super::inspect::inspect_items;
use super::items::Item;
use super::keep::{Keep, Matched};
use super::reported_state::ReportedState;
use super::tally::Sequences;
use crate::names::StreamName;

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
    keep: &Keep,
    deleted: &Sequences,
    n: usize,
) -> Result<Sequences, EditError> {
    let mut subjects: HashMap<[u8; 16], BTreeSet<u64>> = HashMap::new();
    let mut held = 0_usize;
    let mut matched = Matched::default();
    inspect_items(stream, reported, bytes, |item| {
        let Item::Message(record) = item else { return Ok::<_, EditError>(()) };
        if deleted.contains(record.sequence) || !keep.keeps(&record, &mut matched) {
            return Ok(());
        }
        let sequences = subjects.entry(short(record.subject)).or_default();
        held = held.saturating_add(sequences.insert(record.sequence).into());
        if sequences.len() > n {
            sequences.pop_first();
            held = held.saturating_sub(1);
        }
        if held > MAX_NEWEST { Err(EditError::Subjects) } else { Ok(()) }
    })?;
    let mut all: Vec<u64> = subjects.into_values().flatten().collect();
    all.sort_unstable();
    let mut newest = Sequences::default();
    for sequence in all {
        newest.insert(sequence).map_err(|_| EditError::TooScattered)?;
    }
    newest.flush();
    Ok(newest)
}

/// Half of a digest is enough to tell subjects from one another, also where somebody chose them.
fn short(subject: &[u8]) -> [u8; 16] {
    let digest: [u8; 32] = Sha256::digest(subject).into();
    let mut short = [0; 16];
    short.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    short
}
