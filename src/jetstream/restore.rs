//! Restores one stream from a snapshot's bytes. Several chunks are in flight at once. Does not look into the bytes.
//!
//! The protocol (nats-server, `server/jetstream_api.go`, `processStreamRestore`):
//!
//! | step | who | what |
//! |---|---|---|
//! | 1 | we | request `STREAM.RESTORE.NAME` with `config` and `state` |
//! | 2 | server | answers with `deliver_subject` |
//! | 3 | we | publish chunks there, each with a reply subject of its own |
//! | 4 | server | answers each with an empty message (an ack) or with JSON (an error) |
//! | 5 | we | publish an empty chunk: commit |
//! | 6 | server | answers it with the stream's `config` and `state`, or an error |
//!
//! Up to [`WINDOW`] chunks are sent before the first of them is acknowledged. Otherwise each chunk would take a round trip.
//! They arrive in order. If no chunk comes for 5 s, the server drops the restore and tells nobody.

use std::time::Duration;

use async_nats::{Message, StatusCode, Subject, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::api::{StreamReply, checked, parsed};
use super::connect::LossWatch;
use super::permission_violation::ViolationReceiver;
use super::{Error, Removal, RestoreMarker, Server};
use crate::names::StreamName;

/// The largest chunk sent, in bytes, where the server takes messages of that size.
const CHUNK: usize = 512 << 10;

/// How many chunks may be unacknowledged at once.
const WINDOW: u64 = 16;

/// How often the server must hear from us. It gives up after 5 s; the rest is a reserve for slow machines.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// How long it may take until every server of a cluster knows which of them listens for chunks.
const HEARD_OF: Duration = Duration::from_secs(2);

/// How long a cluster that has made the stream may take to name the subject for the chunks.
const NAMED: Duration = Duration::from_secs(5);

/// How often a restore is begun if the cluster makes the stream and takes no chunks.
const BEGINNINGS: u32 = 3;

/// How long a server may take to commit.
const COMMIT_LIMIT: Duration = Duration::from_secs(3600);

/// A restore under way. Other clients see nothing of the stream before the commit, with two exceptions: a single server
/// shows what has come of a snapshot in NATSARC1, and a cluster creates the stream at the request.
pub struct Restore {
    server: Server,
    connection: LossWatch,
    denials: ViolationReceiver,
    to: Subject,
    inbox: String,
    replies: Subscriber,
    sent: u64,
    acked: u64,
    chunk: usize,
    last_sent: Instant,
}

/// Why a restore failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RestoreError {
    /// The server refused or fell silent.
    #[error(transparent)]
    Request(#[from] Error),
    /// The server no longer listens for chunks.
    #[error("the server dropped the restore")]
    Dropped,
    /// A cluster has created the stream, which is empty, and takes no chunks for it.
    #[error("the cluster made the stream and listens for no snapshot of it")]
    NotListening,
}

impl RestoreError {
    /// Whether there is a stream of this name already, which is somebody else's.
    pub fn is_taken(&self) -> bool {
        matches!(self, RestoreError::Request(error) if error.is_taken())
    }
}

#[derive(Deserialize)]
struct Begun {
    deliver_subject: Option<String>,
}

/// Requests a restore and gives the subject for its chunks. None if a cluster has created the stream and names no
/// subject.
///
/// That happens in an election. The cluster chooses one server to take the chunks, and only that server knows of the
/// restore. If the servers of the new stream elect another one to lead, the other one answers without a subject. The
/// chosen one may become the leader later; then it answers too, on the same reply subject, and names the subject.
async fn answer(server: &Server, request: &str, body: String) -> Result<Option<Subject>, Error> {
    let inbox = server.client.new_inbox();
    let failed = |what: String| Error::Answer { request: request.into(), what };
    let mut denials = server.watch_for_denials();
    let mut replies = server.client.subscribe(inbox.clone()).await.map_err(|e| failed(e.to_string()))?;
    let subject = format!("{}.{request}", server.api_prefix);
    let sent = server.client.publish_with_reply(subject.clone(), inbox, Bytes::from(body)).await;
    sent.map_err(|_| Error::Disconnected)?;
    let mut deadline = Instant::now() + server.timeout;
    let mut created = false;
    loop {
        let reply = tokio::select! {
            reply = timeout_at(deadline, replies.next()) => reply,
            denied = denials.denied(&subject) => return Err(denied),
        };
        match reply {
            Ok(Some(reply)) if reply.status == Some(StatusCode::NO_RESPONDERS) => {
                return Err(server.nobody_answers());
            }
            Ok(Some(reply)) => match parsed::<Begun>(request, &reply.payload)?.deliver_subject {
                Some(subject) => return Ok(Some(subject.into())),
                None => {
                    created = true;
                    deadline = deadline.min(Instant::now() + NAMED);
                }
            },
            Ok(None) => return Err(Error::Disconnected),
            Err(_) if created => return Ok(None),
            Err(_) => return Err(Error::TimedOut { request: request.into(), limit: server.timeout }),
        }
    }
}

/// Requests a restore until there is a subject for its chunks, up to [`BEGINNINGS`] times. A stream that was created
/// without one is deleted in between, if it has the marker that `config` has.
async fn begun(
    server: &Server,
    stream: &StreamName,
    request: &str,
    config: &RawValue,
    body: String,
) -> Result<Subject, RestoreError> {
    let marker = RestoreMarker::of(config);
    for _ in 1..BEGINNINGS {
        if let Some(subject) = answer(server, request, body.clone()).await? {
            return Ok(subject);
        }
        let removed = server
            .remove_if(stream, |reply| marker.is_some() && RestoreMarker::of(&reply.config) == marker)
            .await;
        if !matches!(removed, Ok(Removal::Gone)) {
            return Err(RestoreError::NotListening);
        }
    }
    answer(server, request, body).await?.ok_or(RestoreError::NotListening)
}

impl Restore {
    /// Requests a restore of `stream`. `config` and `state` are JSON. In a cluster, `config` must have a [`RestoreMarker`].
    ///
    /// # Errors
    /// After [`RestoreError::NotListening`] there is a stream that this request has created.
    pub async fn begin(
        server: &Server,
        stream: &StreamName,
        config: &RawValue,
        state: &RawValue,
    ) -> Result<Restore, RestoreError> {
        let connection = server.watch_for_loss();
        let request = format!("STREAM.RESTORE.{}", stream.as_str());
        let body = format!("{{\"config\":{},\"state\":{}}}", config.get(), state.get());
        let to = begun(server, stream, &request, config, body).await?;
        let denials = server.watch_for_denials();
        let inbox = server.client.new_inbox();
        let replies = server
            .client
            .subscribe(format!("{inbox}.*"))
            .await
            .map_err(|e| Error::Answer { request: "a subscription".into(), what: e.to_string() })?;
        Ok(Restore {
            server: server.clone(),
            connection,
            denials,
            to,
            inbox,
            replies,
            sent: 0,
            acked: 0,
            chunk: CHUNK.min(server.max_payload()).max(1),
            last_sent: Instant::now(),
        })
    }

    /// When the server has to hear from us at the latest. Send padding then, or it drops the restore.
    pub fn silent_until(&self) -> Instant {
        self.last_sent + KEEP_ALIVE
    }

    /// The size of the largest chunk, in bytes.
    pub fn chunk_size(&self) -> usize {
        self.chunk
    }

    /// Sends `bytes` in chunks that the server takes. Returns after the last one was sent, not acknowledged.
    pub async fn send(&mut self, mut bytes: Bytes) -> Result<(), RestoreError> {
        while !bytes.is_empty() {
            let chunk = bytes.split_to(bytes.len().min(self.chunk));
            if self.sent == 0 {
                self.first(chunk).await?;
                continue;
            }
            while self.sent - self.acked >= WINDOW {
                self.wait_for_ack().await?;
            }
            self.publish(chunk).await?;
        }
        // So that errors are seen early, and not only when the window is full.
        while self.sent > self.acked {
            match futures_util::FutureExt::now_or_never(self.replies.next()) {
                Some(Some(message)) => self.acknowledged(&message)?,
                Some(None) => return Err(Error::Disconnected.into()),
                None => break,
            }
        }
        Ok(())
    }

    /// Commits the restore after all chunks were acknowledged, and gives the server's description of the stream. To be
    /// called only after all that was sent has been verified.
    pub async fn commit(&mut self) -> Result<StreamReply, RestoreError> {
        while self.sent > self.acked {
            self.wait_for_ack().await?;
        }
        self.publish(Bytes::new()).await?;
        let message = self.reply(COMMIT_LIMIT).await?;
        Ok(parsed("the commit of a restore", &message.payload)?)
    }

    /// Sends the whole snapshot, which fits into one chunk, and commits it. Nothing is waited for in between: the server
    /// has all of it or, if the chunk is lost, nothing that it would restore. Something must have been sent and
    /// acknowledged before, so that the server is known to listen.
    pub async fn commit_whole(&mut self, snapshot: Bytes) -> Result<StreamReply, RestoreError> {
        self.publish(snapshot).await?;
        self.publish(Bytes::new()).await?;
        let last = format!("{}.{}", self.inbox, self.sent);
        loop {
            let message = self.reply(COMMIT_LIMIT).await?;
            if message.subject.as_str() == last {
                return Ok(parsed("the commit of a restore", &message.payload)?);
            }
            self.acknowledged(&message)?;
        }
    }

    /// Ends the restore on the server, which would otherwise wait for 5 s: sends a frame of a type that no S2 stream
    /// has, and the end of the input. The server's answer to that is an error, which this gives.
    pub async fn abort(&mut self) -> Result<(), RestoreError> {
        const RESERVED_FRAME: &[u8] = &[0x02, 0, 0, 0];
        for chunk in [RESERVED_FRAME, &[]] {
            self.publish(Bytes::from_static(chunk)).await?;
            while self.sent > self.acked {
                self.wait_for_ack().await?;
            }
        }
        Ok(())
    }

    /// Sends the first chunk, and waits for its acknowledgement. In a cluster, the answer to the request may come
    /// before the server that we are connected to knows where the chunks go. Then nobody receives the chunk, and it
    /// can be sent again.
    async fn first(&mut self, chunk: Bytes) -> Result<(), RestoreError> {
        let deadline = Instant::now() + HEARD_OF;
        loop {
            self.publish(chunk.clone()).await?;
            match self.wait_for_ack().await {
                Err(RestoreError::Dropped) if Instant::now() < deadline => {
                    self.sent = 0;
                    sleep(HEARD_OF / 100).await;
                }
                arrived => return arrived,
            }
        }
    }

    async fn publish(&mut self, chunk: Bytes) -> Result<(), RestoreError> {
        self.sent += 1;
        self.last_sent = Instant::now();
        let reply = format!("{}.{}", self.inbox, self.sent);
        let sent = self.server.client.publish_with_reply(self.to.clone(), reply, chunk).await;
        Ok(sent.map_err(|_| Error::Disconnected)?)
    }

    async fn wait_for_ack(&mut self) -> Result<(), RestoreError> {
        let message = self.reply(self.server.timeout).await?;
        self.acknowledged(&message)
    }

    fn acknowledged(&mut self, message: &Message) -> Result<(), RestoreError> {
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            return Err(RestoreError::Dropped);
        }
        if !message.payload.is_empty() {
            checked("a chunk of a restore", &message.payload)?;
        }
        self.acked += 1;
        Ok(())
    }

    async fn reply(&mut self, limit: Duration) -> Result<Message, RestoreError> {
        let request = || "a chunk of a restore".to_string();
        tokio::select! {
            biased;
            () = self.connection.lost() => Err(Error::Disconnected.into()),
            denied = self.denials.denied(&self.to) => Err(denied.into()),
            message = timeout(limit, self.replies.next()) => match message {
                Ok(Some(m)) if m.status == Some(StatusCode::NO_RESPONDERS) => Err(RestoreError::Dropped),
                Ok(Some(message)) => Ok(message),
                Ok(None) => Err(Error::Disconnected.into()),
                Err(_) => Err(Error::TimedOut { request: request(), limit }.into()),
            },
        }
    }
}
