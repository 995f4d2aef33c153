//! Consumers that a snapshot leaves out, and that are added to it.
//!
//! A server puts into a snapshot the consumers that it keeps itself, in files. Of a stream with replicas
//! other servers may keep some, with fewer replicas, and no snapshot has those (nats-server, issue 7829);
//! nor those in memory before 2.15. So the snapshot's consumers are held against the server's list, by name.
//!
//! The list says where a consumer stands and not which messages await their acknowledgement. One that has such messages
//! is added as if it had delivered nothing beyond its ack floor: what is not known to be acknowledged is
//! delivered again. Servers of 2.15 do the same in their own snapshots (nats-server, `consumerStateFromInfo` in
//! `server/stream_backup.go`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::command::conversion::Conversion;
use crate::jetstream::{ConsumerInfo, Error, ListedConsumer, Position, Server};
use crate::names::StreamName;
use crate::snapshot::{self, Consumer, ConsumerState, Contents, ReportedState, SequencePair};

/// More than the clocks of two servers of one cluster differ, and than a server takes to begin a snapshot: a
/// consumer that is only so much older than the snapshot may have come after it.
const YOUNG: Duration = Duration::from_secs(2);

/// The most that the configurations of added consumers may take, in bytes.
const MAX_ADDED: usize = 16 << 20;

/// What servers write into the metadata of every answer, about themselves.
const ANSWERED: [&str; 2] = ["_nats.ver", "_nats.level"];

/// Consumers that existed when the snapshot began, exist still, and were not in it; by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// Those that were added to it.
    pub added: Vec<String>,
    /// Those that only go when somebody deletes them.
    pub lasting: Vec<String>,
    /// Those that would have gone by themselves.
    pub ephemeral: Vec<String>,
}

/// What the look at the consumers comes to.
pub(super) type Compared = Result<LeftOut, Error>;

/// Finds them. `promised` is how many consumers the server spoke of when the snapshot began, at `begun`. No
/// request is made where that settles it.
pub(super) async fn left_out(
    server: &Server,
    stream: &StreamName,
    contents: &Contents,
    promised: u64,
    begun: Instant,
) -> Compared {
    // In a cluster a server counts those that it keeps itself.
    if contents.consumers == promised && !server.may_be_in_cluster() {
        return Ok(LeftOut::default());
    }
    let (left_out, _) = find(server, stream, contents.names.as_deref(), begun, false).await?;
    Ok(left_out)
}

/// Begins to add to a snapshot what it lacks and can be added: consumers with fewer replicas than their stream. Finds
/// nothing where the snapshot's format leaves none of them out.
pub(super) fn completing(
    server: &Server,
    stream: &StreamName,
    reported: &ReportedState,
    begun: Instant,
) -> Conversion<Option<Compared>> {
    let (server, stream, last, runtime) =
        (server.clone(), stream.clone(), reported.last_seq, Handle::current());
    Conversion::begin(move |from, to| {
        let mut compared = None;
        snapshot::add_consumers(&stream, last, from, to, |names| {
            let (left_out, added) = runtime.block_on(found(&server, &stream, names, begun));
            compared = Some(left_out);
            added
        })?;
        Ok(compared)
    })
}

/// Whether a snapshot may lack what can be added.
pub(super) fn may_lack_some(server: &Server, replicas: u32) -> bool {
    replicas > 1 && server.may_be_in_cluster()
}

/// Finds the consumers that are not among `held`, and makes those that can be added.
pub(super) async fn found(
    server: &Server,
    stream: &StreamName,
    held: Option<&[String]>,
    begun: Instant,
) -> (Compared, Vec<Consumer>) {
    match find(server, stream, held, begun, true).await {
        Ok((left_out, added)) => (Ok(left_out), added),
        Err(error) => (Err(error), Vec::new()),
    }
}

/// Finds the consumers that are not among `held`, and, where that is to be done, makes of each one that can be
/// added.
async fn find(
    server: &Server,
    stream: &StreamName,
    held: Option<&[String]>,
    begun: Instant,
    adds: bool,
) -> Result<(LeftOut, Vec<Consumer>), Error> {
    let Some(held) = held else {
        let what = "the snapshot has too many consumers to be compared".into();
        return Err(Error::Answer { request: "CONSUMER.LIST".into(), what });
    };
    let held: BTreeSet<&str> = held.iter().map(String::as_str).collect();
    let young = begun.elapsed() + YOUNG;
    let (mut left_out, mut added, mut room) = (LeftOut::default(), Vec::new(), MAX_ADDED);
    let take = |listed: ListedConsumer| {
        if held.contains(listed.name.as_str()) || listed.age.is_some_and(|age| age < young) {
            return;
        }
        let name = listed.name;
        if listed.is_ephemeral {
            left_out.ephemeral.push(name);
            return;
        }
        let consumer = listed.info.filter(|_| adds).and_then(|info| consumer(&name, &info));
        match consumer.filter(|consumer| consumer.info.get().len() <= room) {
            Some(consumer) => {
                room -= consumer.info.get().len();
                left_out.added.push(name);
                added.push(consumer);
            }
            None => left_out.lasting.push(name),
        }
    };
    server.consumers(stream, take).await?;
    Ok((left_out, added))
}

/// The consumer that a server says this of. None of one in memory: a server that restores one from a tar makes it
/// anew, wherever it stood.
fn consumer(name: &str, info: &ConsumerInfo) -> Option<Consumer> {
    if info.in_memory {
        return None;
    }
    let created = info.created.unwrap_or(Timestamp::UNIX_EPOCH);
    let created = created.as_nanosecond().try_into().ok()?;
    let config = stored(&info.config).ok()?;
    let pair = |at: Position| SequencePair { consumer: at.consumer_seq, stream: at.stream_seq };
    let ack_floor = pair(info.ack_floor);
    let delivered = if info.pending > 0 { ack_floor } else { pair(info.delivered) };
    let state = ConsumerState { delivered, ack_floor, ..ConsumerState::default() };
    Some(Consumer { name: name.to_owned(), info: snapshot::consumer_info(name, &config, created)?, state })
}

/// A configuration without what only an answer has.
fn stored(config: &RawValue) -> Result<Box<RawValue>, serde_json::Error> {
    let mut fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(config.get())?;
    if let Some(metadata) = fields.get_mut("metadata") {
        let mut own: Option<BTreeMap<String, Value>> = serde_json::from_str(metadata.get())?;
        own.iter_mut().for_each(|own| own.retain(|key, _| !ANSWERED.contains(&key.as_str())));
        *metadata = to_raw_value(&own)?;
    }
    to_raw_value(&fields)
}
