//! Restores several small streams at once. A small stream is little work for the server, but takes three round trips.
//! Knows no archive.
//!
//! A single server (not a cluster) has a race. When it begins to read a snapshot, it reads its list of streams without a
//! lock. When it has read the snapshot's end, it adds the stream to that list. If both happen at the same time, Go ends the
//! process (`RestoreStream` in nats-server's `server/stream.go`; see docs/decisions.md). So a batch has phases, and nothing
//! else is asked of the server meanwhile:
//!
//! 1. The old streams are archived, and then deleted.
//! 2. The restore of every stream is requested and opened. When its opener is acknowledged, the server has read the list.
//! 3. When all are opened or have failed, the snapshots are sent and committed: all at once, or one at a time if the
//!    server's release needs that ([`AtOnce`]).
//! 4. When all commits are answered, the server's streams are compared with the verified snapshots.
//! 5. Streams that failed are named and removed, and the old ones are put back.
//!
//! Only verified streams whose snapshots are in memory take part. They share a connection, and a server drops a restore if
//! no chunk comes for 5 s. So a batch has no more bytes than one chunk of a large stream ([`BYTES`]), and restores that
//! wait are kept alive.
//!
//! Streams with overlapping subjects or reserved bytes are not in one batch, because a server compares a new stream only
//! with the streams that it has, not with those that are coming. One at a time, it could refuse one of them.

use std::rc::Rc;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use tokio::sync::{Barrier, Semaphore};

use super::context::Context;
use super::job::{Job, Phases};
use crate::release::{AtOnce, restores_at_once};

/// The most bytes of the snapshots in a batch.
const BYTES: usize = 512 << 10;

/// The streams that are restored at once.
pub(super) struct Batch {
    context: Rc<Context>,
    jobs: Vec<Job>,
}

impl Batch {
    /// None yet.
    pub fn new(context: Rc<Context>) -> Self {
        Batch { context, jobs: Vec::new() }
    }

    /// Whether no stream waits in it.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Whether there is room for no other stream.
    pub fn is_full(&self) -> bool {
        self.jobs.len() >= self.most()
    }

    /// Whether this stream, which has been proven, may be restored beside those that wait.
    pub fn suits(&self, job: &Job) -> bool {
        let bytes = self.jobs.iter().filter_map(Job::whole).fold(0, usize::saturating_add);
        let fits = job.whole().is_some_and(|whole| bytes.saturating_add(whole) <= BYTES);
        fits && !self.is_full() && self.jobs.iter().all(|other| job.goes_beside(other))
    }

    /// Adds a stream that [suits](Batch::suits).
    pub fn add(&mut self, job: Job) {
        self.jobs.push(job);
    }

    /// Restores all of them. Each is restored after this, or has failed.
    pub async fn restore(&mut self) {
        match &mut *self.jobs {
            [] => {}
            [job] => job.finish().await,
            _ => self.restore_at_once().await,
        }
        self.jobs.clear();
    }

    /// Removes what was begun and puts back what it was to replace, of all of them.
    pub async fn give_up(&mut self) {
        for job in &mut self.jobs {
            job.give_up().await;
        }
        self.jobs.clear();
    }

    async fn restore_at_once(&mut self) {
        for job in &mut self.jobs {
            job.keep_old().await;
        }
        let context = Rc::clone(&self.context);
        let _section = context.critical.begin();
        for job in &mut self.jobs {
            job.make_room().await;
        }
        let at_once = self.at_once();
        let mut jobs: Vec<_> = self.jobs.iter_mut().filter(|job| !job.has_failed()).collect();
        let commits = match at_once {
            AtOnce::Everything => jobs.len(),
            AtOnce::Opening | AtOnce::Nothing => 1,
        };
        let phases = Phases { opened: Barrier::new(jobs.len()), commits: Semaphore::new(commits) };
        let committed = join_all(jobs.iter_mut().map(|job| job.restore_beside(&phases))).await;
        // To read a stream back takes much memory.
        let compared = if context.options.read_back { 1 } else { jobs.len().max(1) };
        let confirmed: Vec<_> = stream::iter(jobs.iter().zip(committed))
            .map(|(job, committed)| job.confirm(committed))
            .buffered(compared)
            .collect()
            .await;
        for (job, confirmed) in jobs.into_iter().zip(confirmed) {
            job.conclude(confirmed).await;
        }
    }

    fn most(&self) -> usize {
        match self.at_once() {
            AtOnce::Nothing => 1,
            AtOnce::Opening | AtOnce::Everything => self.context.options.jobs,
        }
    }

    fn at_once(&self) -> AtOnce {
        self.context.server.jetstream_version().map_or(AtOnce::Nothing, restores_at_once)
    }
}
