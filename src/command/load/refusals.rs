//! Refuses a load before anything changes, for every reason that is known then: existing streams, the limits of the
//! account, the server's release. Changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::context::Context;
use super::limits::{self, StorageDemand};
use crate::archive::Index;
use crate::cli::Conflict;
use crate::command::Failure;
use crate::names::StreamName;
use crate::snapshot::Format;

/// Refuses what the index shows. `coming` are the selected streams.
pub(super) fn of_index(
    context: &Context,
    index: &Index,
    coming: &BTreeSet<StreamName>,
) -> Result<(), Failure> {
    conflicts(context, coming)?;
    excess(context, index, coming)?;
    newer(context, index, coming)?;
    // A snapshot in another format is converted to a tar.
    context.can_take(Format::Tar)
}

/// Refuses streams that exist, unless they are to be skipped or replaced.
pub(super) fn conflicts<'a>(
    context: &Context,
    coming: impl IntoIterator<Item = &'a StreamName>,
) -> Result<(), Failure> {
    match context.options.conflict {
        Conflict::Error => context.replacing.existing().refuse(coming),
        Conflict::Skip | Conflict::Overwrite => Ok(()),
    }
}

/// Whether the stream is going to be restored.
fn lands(context: &Context, coming: &BTreeSet<StreamName>, stream: &StreamName) -> bool {
    let skips = context.options.conflict == Conflict::Skip;
    coming.contains(stream) && !(skips && context.replacing.existing().has(stream))
}

/// What is coming must fit into the account, with the room that overwriting makes.
fn excess(context: &Context, index: &Index, coming: &BTreeSet<StreamName>) -> Result<(), Failure> {
    let Some(account) = &context.options.account else { return Ok(()) };
    let lands = |name: &StreamName| lands(context, coming, name);
    let streams = index.streams.iter().filter(|stream| lands(&stream.name));
    let coming: Vec<StorageDemand> = streams
        .map(|stream| StorageDemand {
            replicas: context.options.replicas.or(stream.replicas).unwrap_or(1),
            in_memory: stream.storage.as_deref() == Some("memory"),
            bytes: stream.bytes,
        })
        .collect();
    let existing = context.replacing.existing();
    let replaced = existing.going(lands).into_iter();
    let going: Vec<StorageDemand> = replaced
        .map(|old| StorageDemand { replicas: old.replicas, in_memory: old.in_memory, bytes: old.bytes })
        .collect();
    limits::check(account, &coming, &going)
}

/// What is coming must use no setting that the destination does not know.
fn newer(context: &Context, index: &Index, coming: &BTreeSet<StreamName>) -> Result<(), Failure> {
    let destination = context.destination();
    let mut lacking: BTreeMap<&str, Vec<&StreamName>> = BTreeMap::new();
    let mut since = None;
    for stream in index.streams.iter().filter(|stream| lands(context, coming, &stream.name)) {
        for setting in destination.lacks_named(&stream.settings) {
            lacking.entry(setting.name).or_default().push(&stream.name);
            since = since.max(Some(setting.since));
        }
    }
    since.map_or(Ok(()), |since| destination.refuse(&lacking, since))
}
