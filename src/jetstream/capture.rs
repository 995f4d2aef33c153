//! Receives one snapshot of one stream. Does not look into the bytes.
//!
//! The protocol (nats-server, `server/jetstream_api.go`, `streamSnapshot`):
//!
//! | step | who | what |
//! |---|---|---|
//! | 1 | we | subscribe to a fresh inbox, then request `STREAM.SNAPSHOT.NAME` with its name |
//! | 2 | server | answers with `config` and `state` |
//! | 3 | server | sends chunks to the inbox, each with a reply subject `….LEN.INDEX`, INDEX from 1; the last, partial one has none |
//! | 4 | we | publish an empty message to each chunk's reply subject: the ack |
//! | 5 | server | sends an empty message: status 204 or none, or an error |
//!
//! A server sends at most a window of chunks ahead of the acks. If the acks stop, it gives up: after 5 s since 2.12.5, and
//! after 2 s before. So the acks follow the pipe, which bounds the memory. While the pipe stalls, one ack is sent from time
//! to time, until the buffer is full.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, Subject, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use super::api::{StreamReply, parsed};
use super::connect::LossWatch;
use super::permission_violation::ViolationReceiver;
use super::{Error, InFlight, RestoreMarker, Server};
use crate::description::{BadDescription, Description};
use crate::names::{Printable, StreamName};
use crate::release::{self, Version};

/// What may be held of a capture from a server with a fixed window, at least: such a server sends 8 MiB
/// ahead of the acks, and up to as much again when they had come in a burst.
pub const FIXED_WINDOW_BUFFER: usize = 32 << 20;

/// The largest window that servers grant, in bytes.
const MAX_WINDOW: usize = 32 << 20;

/// How long a server may check a stream (`jsck`) before it answers.
pub const CHECK_LIMIT: Duration = Duration::from_secs(3600);

/// The largest description of a stream that is taken, in bytes: several times what a server can be sent.
pub const MAX_DESCRIPTION: usize = 4 << 20;

/// The largest chunk that is taken, in bytes: the largest that servers send, whatever they are asked for.
const MAX_CHUNK: usize = 1 << 20;

/// The longest subject for an ack, in bytes. Theirs hold a name of at most 255.
const MAX_ACK_SUBJECT: usize = 1 << 10;

/// A capture may wait for so many time limits in all until a whole chunk has come, however many signs of life
/// come meanwhile. With the usual limit of 30 s that is 64 KiB in two and a half minutes, 3,500 bit/s.
const LIMITS_A_CHUNK: u32 = 5;

/// How acks are paced, and how a stalled pipe is bridged, for one kind of server.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// The size of a chunk, in bytes.
    chunk: usize,
    /// The window asked for, in bytes; older servers know no such field, and some refuse it.
    window: Option<usize>,
    /// Up to here chunks are acknowledged as they come, in bytes held.
    prompt: usize,
    /// Beyond this the capture is let go, in bytes held.
    limit: usize,
    /// How long acks may be withheld.
    interval: Duration,
    /// The bytes that must be outstanding for the server to wait, where it waits for bytes. It may have
    /// run ahead of that by as much again, and hears an ack only when they fall below it.
    fixed_window: Option<usize>,
}

impl Pace {
    fn of(version: Option<Version>, buffer: usize) -> Pace {
        match version {
            Some(version) if !release::is_paced_by_chunk(version) => Pace {
                chunk: 32 << 10,
                window: None,
                prompt: buffer / 4,
                limit: buffer.max(FIXED_WINDOW_BUFFER),
                interval: Duration::from_millis(500),
                fixed_window: Some(8 << 20),
            },
            _ => Pace {
                // One an interval bridges a stall, so a small one lasts longer.
                chunk: 64 << 10,
                // A window a round trip is all that comes over a long link. With what is held before acks
                // stop, it leaves an eighth of the buffer for a stall.
                window: Some((buffer / 8 * 5).min(MAX_WINDOW)),
                prompt: buffer / 4,
                limit: buffer,
                interval: Duration::from_secs(2),
                fixed_window: None,
            },
        }
    }
}

/// What to capture and how much may be held meanwhile.
#[derive(Clone)]
pub struct Snapshotting {
    /// Leave the consumers out.
    pub no_consumers: bool,
    /// Let the server check every message first (`jsck`).
    pub check: bool,
    /// Counts what arrived and is still in memory.
    pub in_flight: Arc<InFlight>,
    /// How much may be held, in bytes. A server with a fixed window may need [`FIXED_WINDOW_BUFFER`].
    pub buffer: usize,
}

#[derive(Serialize)]
struct Request<'a> {
    deliver_subject: &'a str,
    no_consumers: bool,
    chunk_size: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    window_size: Option<usize>,
    jsck: bool,
}

/// A snapshot under way.
pub struct Capture {
    server: Server,
    connection: LossWatch,
    denials: ViolationReceiver,
    /// The beginning of the subjects of this stream's acks.
    acks: String,
    reply: StreamReply,
    chunks: Subscriber,
    /// Acks not given yet, each with the size of its chunk: old servers send shorter ones in between.
    owed: VecDeque<(Subject, usize)>,
    owed_bytes: usize,
    next_index: u64,
    partial_came: bool,
    in_flight: Arc<InFlight>,
    pace: Pace,
    last_sign: Instant,
    /// How long the server has been waited for since a whole chunk's bytes came, and how many have come.
    waited: Duration,
    fresh: usize,
}

/// Why a snapshot that had begun is not to be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CaptureError {
    /// The request itself failed, or the connection was lost.
    #[error(transparent)]
    Request(#[from] Error),
    /// A chunk is missing.
    #[error("chunk {came} came after chunk {}: a part of the snapshot was lost", expected - 1)]
    Gap {
        /// The INDEX that was due.
        expected: u64,
        /// The one that came.
        came: u64,
    },
    /// The server ended the snapshot with an error.
    #[error("the server ended the snapshot with {status}")]
    Ended {
        /// Its status line, such as `408 No Flow Response`.
        status: String,
    },
    /// The server fell silent.
    #[error("the server sent nothing for {} s in the middle of the snapshot", .0.as_secs())]
    Idle(Duration),
    /// The server sends, and next to nothing.
    #[error("the server sent only {came} bytes of the snapshot in {} s", waited.as_secs())]
    Crawls {
        /// How many bytes came.
        came: usize,
        /// How long they were waited for.
        waited: Duration,
    },
    /// Our reader took nothing for so long that the buffer is full.
    #[error("the reader of the archive has stalled for longer than the buffer could bridge")]
    ReaderStalled,
}

impl Capture {
    /// Begins a snapshot of `stream`.
    pub async fn begin(
        server: &Server,
        stream: &StreamName,
        how: Snapshotting,
    ) -> Result<Capture, CaptureError> {
        let mut connection = server.watch_for_loss();
        let pace = Pace::of(server.version(), how.buffer);
        let denials = server.watch_for_denials();
        let inbox = server.client.new_inbox();
        let chunks = server
            .client
            .subscribe(inbox.clone())
            .await
            .map_err(|e| Error::Answer { request: "a subscription".into(), what: e.to_string() })?;
        let request = format!("STREAM.SNAPSHOT.{}", stream.as_str());
        let body = serde_json::to_string(&Request {
            deliver_subject: &inbox,
            no_consumers: how.no_consumers,
            chunk_size: pace.chunk,
            window_size: pace.window,
            jsck: how.check,
        })
        .map_err(|e| Error::Answer { request: request.clone(), what: e.to_string() })?;
        let patience = if how.check { server.timeout.max(CHECK_LIMIT) } else { server.timeout };
        let answer = tokio::select! {
            answer = server.api_within(&request, Bytes::from(body), patience) => answer?,
            // What a lost connection was to bring does not come over the next.
            () = connection.lost() => return Err(server.lost().into()),
        };
        let reply: StreamReply = parsed(&request, &answer)?;
        if reply.config.get().len().saturating_add(reply.state.get().len()) > MAX_DESCRIPTION {
            let what = format!("the description of stream {stream}");
            return Err(Error::TooLarge { what, limit: MAX_DESCRIPTION as u64 }.into());
        }
        Ok(Capture {
            server: server.clone(),
            connection,
            denials,
            acks: format!("$JS.SNAPSHOT.ACK.{}.", stream.as_str()),
            reply,
            chunks,
            owed: VecDeque::new(),
            owed_bytes: 0,
            next_index: 1,
            partial_came: false,
            in_flight: how.in_flight,
            pace,
            last_sign: Instant::now(),
            waited: Duration::ZERO,
            fresh: 0,
        })
    }

    /// Whether the stream has the marker of a restore, and so is incomplete.
    pub fn is_half_restored(&self) -> bool {
        RestoreMarker::of(&self.reply.config).is_some()
    }

    /// The stream's configuration, and its state when the snapshot began.
    ///
    /// # Errors
    /// When the server sent something else.
    pub fn description(&self) -> Result<Description, BadDescription> {
        let StreamReply { config, state, .. } = &self.reply;
        Description::new(config.clone(), state.clone())
    }

    /// The next bytes of the snapshot; `None` at its end. To be awaited without long breaks, also
    /// while nobody takes the bytes: this is what keeps the snapshot alive. Dropping the future loses
    /// nothing.
    pub async fn next(&mut self) -> Result<Option<Bytes>, CaptureError> {
        loop {
            while self.in_flight.bytes() <= self.pace.prompt && !self.owed.is_empty() {
                self.acknowledge().await?;
            }
            let in_flight = Arc::clone(&self.in_flight);
            let patience = self.server.timeout;
            tokio::select! {
                biased;
                () = self.connection.lost() => return Err(self.server.lost().into()),
                denied = self.denials.denied(&self.acks) => return Err(denied.into()),
                message = self.chunks.next() => match message {
                    Some(message) => return self.received(message),
                    None => return Err(Error::Disconnected.into()),
                },
                () = in_flight.falls(), if !self.owed.is_empty() => {}
                () = sleep_until(self.last_sign + self.pace.interval), if !self.owed.is_empty() => {
                    self.acknowledge().await?;
                    while self.pace.fixed_window.is_some_and(|window| self.owed_bytes >= window) {
                        self.acknowledge().await?;
                    }
                }
                () = sleep_until(self.last_sign + patience), if self.owed.is_empty() => {
                    return Err(CaptureError::Idle(patience));
                }
            }
        }
    }

    fn received(&mut self, message: Message) -> Result<Option<Bytes>, CaptureError> {
        self.has_come(message.payload.len())?;
        if message.payload.is_empty() {
            return ended(&message);
        }
        if message.payload.len() > MAX_CHUNK
            || message.reply.as_ref().is_some_and(|reply| reply.len() > MAX_ACK_SUBJECT)
        {
            let what = "a chunk of the snapshot".into();
            return Err(Error::TooLarge { what, limit: MAX_CHUNK as u64 }.into());
        }
        match &message.reply {
            // The last, partial chunk is neither numbered nor acknowledged.
            None => self.partial_came = true,
            Some(reply) => {
                let came = reply.rsplit('.').next().and_then(|index| index.parse().ok()).unwrap_or(0);
                if came != self.next_index || self.partial_came {
                    return Err(CaptureError::Gap { expected: self.next_index, came });
                }
                self.next_index += 1;
                self.owed.push_back((reply.clone(), message.payload.len()));
                self.owed_bytes += message.payload.len();
            }
        }
        if self.in_flight.bytes() + message.payload.len() > self.pace.limit {
            return Err(CaptureError::ReaderStalled);
        }
        // A copy of its own: the payload is a slice of the client library's read buffer, and would keep all
        // of that, about twice as much, for as long as it is held.
        Ok(Some(self.in_flight.count(Bytes::copy_from_slice(&message.payload))))
    }

    /// Notes a message of `bytes`, and how long the server took for it. While acks are owed, it waits for us.
    fn has_come(&mut self, bytes: usize) -> Result<(), CaptureError> {
        let now = Instant::now();
        if self.owed.is_empty() {
            self.waited = self.waited.saturating_add(now - self.last_sign);
        }
        self.last_sign = now;
        self.fresh = self.fresh.saturating_add(bytes);
        if bytes == 0 || self.fresh >= self.pace.chunk {
            (self.waited, self.fresh) = (Duration::ZERO, 0);
        } else if self.waited > self.server.timeout.saturating_mul(LIMITS_A_CHUNK) {
            return Err(CaptureError::Crawls { came: self.fresh, waited: self.waited });
        }
        Ok(())
    }

    async fn acknowledge(&mut self) -> Result<(), CaptureError> {
        // Taken off only once it is on its way, so that a dropped future owes it still.
        if let Some((subject, size)) = self.owed.front() {
            let sent = self.server.client.publish(subject.clone(), Bytes::new()).await;
            sent.map_err(|_| Error::Disconnected)?;
            self.owed_bytes -= size;
            self.owed.pop_front();
            self.last_sign = Instant::now();
        }
        Ok(())
    }
}

fn ended(message: &Message) -> Result<Option<Bytes>, CaptureError> {
    match message.status {
        // No status at all is how old servers end every snapshot, and newer ones a small one.
        None => Ok(None),
        Some(status) if status.as_u16() == 204 => Ok(None),
        Some(status) => {
            let text = message.description.as_deref().unwrap_or_default();
            let status = Printable::new(format!("{} {text}", status.as_u16()).trim()).to_string();
            Err(CaptureError::Ended { status })
        }
    }
}
