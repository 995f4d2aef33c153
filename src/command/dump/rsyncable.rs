//! `--rsyncable`: writes snapshots again while they pass, for programs that store the same data only once. Knows no snapshot
//! format.
//!
//! If nothing in an account has changed, two of its archives are the same bytes. If something has changed, little else
//! differs. So such an archive does not say when it was made, or how long that took. Numbers that change with every message
//! are at the end, in the manifest. A repository keeps pieces of up to some megabytes. If one number changed at the
//! beginning, in the index or before a stream's first part, each dump would need a new piece.

use jiff::Timestamp;
use tokio::time::Instant;

use super::consumers::{Compared, ConsumerSearch};
use super::plan::Plan;
use crate::archive::SMALL_PARTS;
use crate::command::conversion::Conversion;
use crate::description::Description;
use crate::names::StreamName;
use crate::snapshot::{self, StreamInfo};

/// The options of an rsyncable archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rsyncable {
    /// Whether each piece of a snapshot is a part of the archive.
    pub small_parts: bool,
}

impl Rsyncable {
    pub fn of(plan: &Plan) -> Self {
        let bytes = plan.captures.iter().map(|stream| stream.bytes).fold(0, u64::saturating_add);
        Rsyncable { small_parts: bytes <= SMALL_PARTS }
    }
}

/// When the newest message was written that is to come, in whole seconds: what such an archive has for the time at
/// which it was made.
pub(super) fn newest(plan: &Plan) -> Timestamp {
    let newest = plan.captures.iter().filter_map(|stream| stream.last_time).max().unwrap_or_default();
    Timestamp::from_second(newest.as_second()).unwrap_or(newest)
}

/// The stream whose snapshot is written again.
pub(super) struct RewrittenStream<'a> {
    pub stream: &'a StreamName,
    pub description: &'a Description,
    pub created: Option<Timestamp>,
    /// Whether consumers may be missing that can be added.
    pub adds_consumers: bool,
}

/// Begins to write a snapshot again, in pieces of at most `piece` bytes.
pub(super) fn rewriting(
    search: &ConsumerSearch,
    of: &RewrittenStream<'_>,
    begun: Instant,
    piece: usize,
) -> Conversion<Option<Compared>> {
    let (search, stream) = (search.clone(), of.stream.clone());
    let (config, reported) = (of.description.config.clone(), of.description.reported.clone());
    let created = of.created.and_then(|created| created.as_nanosecond().try_into().ok());
    let adds = of.adds_consumers;
    Conversion::begin_in_pieces(piece, move |from, to| {
        let info = StreamInfo { stream: &stream, config: &config, created };
        let mut compared = None;
        snapshot::rsyncable(&info, &reported, from, to, |names| {
            if !adds {
                return Vec::new();
            }
            let (left_out, added) = search.found(&stream, Some(names), begun);
            compared = Some(left_out);
            added
        })?;
        Ok(compared)
    })
}
