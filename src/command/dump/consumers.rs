//! Finds the consumers that a server leaves out of a snapshot, and adds them to it. Knows no snapshot format.
//!
//! A server puts only the consumers that it keeps in files itself into a snapshot. If a stream has replicas, a consumer may
//! have fewer replicas, and only other servers may keep it. No snapshot has such a consumer (nats-server, issue 7829). Before
//! 2.15, no snapshot has consumers in memory either. So the names of the snapshot's consumers are compared with the server's
//! list.
//!
//! The list has the position of a consumer, but does not say which messages wait for their acknowledgement. If some do, the
//! consumer is added with its ack floor as its position. So every message that may not be acknowledged is delivered again.
//! Servers of 2.15 do the same in their own snapshots (nats-server, `consumerStateFromInfo` in `server/stream_backup.go`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::watchdog::Heartbeat;
use crate::command::conversion::Conversion;
use crate::jetstream::{ConsumerInfo, Error, ListedConsumer, Position, Server};
use crate::names::StreamName;
use crate::snapshot::{self, Consumer, ConsumerState, Contents, ReportedState, SequencePair};

/// More than the clocks of two servers of one cluster differ, and than a server takes to begin a snapshot: a
/// consumer that is only so much older than the snapshot may have come after it.
const YOUNG: Duration = Duration::from_secs(2);

/// The most that the configurations of added consumers may take, in bytes.
const MAX_ADDED: usize = 16 << 20;

/// The pause before the consumers are listed again. A cluster's list takes some seconds itself where a leader does not
/// answer.
const PAUSE: Duration = Duration::from_millis(500);

/// What servers write into the metadata of every answer, about themselves.
const ANSWERED: [&str; 2] = ["_nats.ver", "_nats.level"];

/// The names of consumers that existed when the snapshot began, still exist, and were not in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct MissingConsumers {
    /// Those that were added to it.
    pub added: Vec<String>,
    /// Those that exist until somebody deletes them.
    pub lasting: Vec<String>,
    /// Those that the server removes by itself.
    pub ephemeral: Vec<String>,
}

/// The result of the comparison.
pub(super) type Compared = Result<MissingConsumers, Error>;

/// Searches for missing consumers. All streams of a dump share it.
#[derive(Clone)]
pub(super) struct ConsumerSearch {
    server: Server,
    /// Gets a beat for everything that happens.
    heartbeat: Arc<Heartbeat>,
    /// Where the requests are made for a thread that waits.
    runtime: Handle,
    /// Set when a consumer's leader has been waited for in vain: its server is down, and another may be too. No stream
    /// waits for one any more.
    waits_no_more: Arc<AtomicBool>,
}

impl ConsumerSearch {
    pub fn new(server: &Server, heartbeat: &Arc<Heartbeat>) -> Self {
        ConsumerSearch {
            server: server.clone(),
            heartbeat: Arc::clone(heartbeat),
            runtime: Handle::current(),
            waits_no_more: Arc::default(),
        }
    }

    /// Whether the snapshot of a stream with so many replicas may lack consumers that can be added.
    pub fn may_add(&self, replicas: u32) -> bool {
        replicas > 1 && self.server.may_be_in_cluster()
    }

    /// Finds the consumers that are missing from a snapshot. `promised` is how many consumers the server reported when the
    /// snapshot began, at `begun`. If this number shows that none is missing, no request is made.
    pub async fn left_out(
        &self,
        stream: &StreamName,
        contents: &Contents,
        promised: u64,
        begun: Instant,
    ) -> Compared {
        // In a cluster a server counts those that it keeps itself.
        if contents.consumers == promised && !self.server.may_be_in_cluster() {
            return Ok(MissingConsumers::default());
        }
        Ok(self.find(stream, contents.names.as_deref(), begun, false).await?.left_out)
    }

    /// Begins to add the missing consumers to a snapshot: those with fewer replicas than their stream. Finds none if the
    /// snapshot's format always has all of them.
    pub fn completing(
        &self,
        stream: &StreamName,
        reported: &ReportedState,
        begun: Instant,
    ) -> Conversion<Option<Compared>> {
        let (search, stream, last) = (self.clone(), stream.clone(), reported.last_seq);
        Conversion::begin(move |from, to| {
            let mut compared = None;
            snapshot::add_consumers(&stream, last, from, to, |names| {
                let (left_out, added) = search.found(&stream, names, begun);
                compared = Some(left_out);
                added
            })?;
            Ok(compared)
        })
    }

    /// Finds the consumers that are not among `held`, and makes those that can be added. For a thread that may wait.
    pub fn found(
        &self,
        stream: &StreamName,
        held: Option<&[String]>,
        begun: Instant,
    ) -> (Compared, Vec<Consumer>) {
        let (search, stream, held) = (self.clone(), stream.clone(), held.map(<[String]>::to_vec));
        let (tell, told) = oneshot::channel();
        // A task, and not a future that this thread drives: if the dump ends meanwhile, a timer of its would panic here.
        self.runtime.spawn(async move {
            let _ = tell.send(search.find(&stream, held.as_deref(), begun, true).await);
        });
        match told.blocking_recv().unwrap_or(Err(Error::Disconnected)) {
            Ok(Found { left_out, added, .. }) => (Ok(left_out), added),
            Err(error) => (Err(error), Vec::new()),
        }
    }

    /// Finds the consumers that are not among `held`. If `adds` is set, it makes the consumers that can be added. While a
    /// consumer's leader is being elected, the server gives only its name. Then the server is asked again.
    async fn find(
        &self,
        stream: &StreamName,
        held: Option<&[String]>,
        begun: Instant,
        adds: bool,
    ) -> Result<Found, Error> {
        let Some(held) = held else {
            let what = "the snapshot has too many consumers to be compared".into();
            return Err(Error::Answer { request: "CONSUMER.LIST".into(), what });
        };
        let held: BTreeSet<&str> = held.iter().map(String::as_str).collect();
        let until = Instant::now() + self.server.patience();
        loop {
            let young = begun.elapsed() + YOUNG;
            let mut found = Found { room: MAX_ADDED, ..Found::default() };
            let take = |listed: ListedConsumer| {
                if !held.contains(listed.name.as_str()) && listed.age.is_none_or(|age| age >= young) {
                    found.take(listed, adds);
                }
            };
            self.server.consumers(stream, take).await?;
            self.heartbeat.beat();
            if !found.lacks_a_leader || self.waits_no_more.load(Ordering::Relaxed) {
                return Ok(found);
            }
            if Instant::now() >= until {
                self.waits_no_more.store(true, Ordering::Relaxed);
                return Ok(found);
            }
            sleep(PAUSE).await;
        }
    }
}

/// What one list of consumers shows.
#[derive(Default)]
struct Found {
    left_out: MissingConsumers,
    added: Vec<Consumer>,
    /// What the configurations of more of them may take, in bytes.
    room: usize,
    /// Whether there is one whose leader does not answer.
    lacks_a_leader: bool,
}

impl Found {
    /// Takes a consumer that the snapshot lacks.
    fn take(&mut self, listed: ListedConsumer, adds: bool) {
        let name = listed.name;
        if listed.is_ephemeral {
            self.left_out.ephemeral.push(name);
            return;
        }
        self.lacks_a_leader |= listed.info.is_none();
        let consumer = listed.info.filter(|_| adds).and_then(|info| consumer(&name, &info));
        match consumer.filter(|consumer| consumer.info.get().len() <= self.room) {
            Some(consumer) => {
                self.room -= consumer.info.get().len();
                self.left_out.added.push(name);
                self.added.push(consumer);
            }
            None => self.left_out.lasting.push(name),
        }
    }
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
