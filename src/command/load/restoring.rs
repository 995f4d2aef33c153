//! One stream on its way from the archive to the server: checked while it flows, committed only when
//! it is proven.
//!
//! Nothing is sent before a snapshot is known to be small and whole, or large. Of a large one, the last
//! frame with data is held back until the check has read everything, so that an input which stalls can
//! be bridged by padding at any moment, and a server never has a whole snapshot that is not proven.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::super::proof::{NotProven, Proof};
use super::judge;
use crate::jetstream::{self, Hold, Restore, RestoreError, Server, StreamReply};
use crate::names::StreamName;
use crate::snapshot::{Format, Frames, PADDING, Promise, Wanted};

/// A snapshot up to this size is proven before its restore begins, in bytes.
const PROVEN_FIRST: u64 = 8 << 20;

/// How much may wait for the check or the server, in bytes. More than any frame of a sound snapshot.
const WAITING: usize = 24 << 20;

/// How much of a snapshot tells its format, in bytes.
const BEGINNING: usize = 64;

/// What a restore asks the server for.
pub(super) struct Request {
    /// The configuration, as the server shall have it.
    pub config: Box<RawValue>,
    /// The state, as the archive has it.
    pub state: Box<RawValue>,
    /// The same state as numbers.
    pub promise: Promise,
}

/// A stream being restored.
pub(super) struct Restoring {
    pub stream: StreamName,
    request: Request,
    proof: Option<Proof>,
    frames: Frames,
    format: Option<Format>,
    hold: Arc<Hold>,
    unsent: VecDeque<Bytes>,
    came: u64,
    sent: u64,
    /// Where it goes; none in a dry run.
    server: Option<Server>,
    restore: Option<Restore>,
    /// Whether the server is restoring for us, so that something may be left behind.
    pub begun: bool,
}

/// What may be left of a restore that was given up.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// Nothing: the name was somebody else's before.
    Nothing,
    /// Nothing, except in a cluster: a server takes the name with the first chunk, or, where it restores a
    /// tar, with the commit; a cluster has decided before who is to keep the stream.
    InClusters,
    /// Perhaps something.
    Unknown,
}

/// Why a stream was not restored.
#[derive(Debug, thiserror::Error)]
pub(super) enum RestoringError {
    /// The archive's fault.
    #[error(transparent)]
    NotProven(#[from] NotProven),
    /// The server's.
    #[error(transparent)]
    Restore(#[from] RestoreError),
}

impl RestoringError {
    /// What to do about it, where a person can.
    pub fn hint(&self) -> Option<String> {
        match self {
            RestoringError::Restore(RestoreError::Request(error)) => error.hint(),
            RestoringError::Restore(RestoreError::NotListening) => {
                Some("see that every server of the cluster runs, and restore the stream again".into())
            }
            _ => None,
        }
    }
}

impl Restoring {
    /// Begins to take in a snapshot; `server` is none in a dry run.
    pub fn new(stream: StreamName, request: Request, server: Option<Server>, wanted: Wanted) -> Self {
        let proof = Proof::begin(&stream, &request.promise, wanted);
        Restoring {
            stream,
            request,
            proof: Some(proof),
            frames: Frames::new(),
            format: None,
            hold: Arc::default(),
            unsent: VecDeque::new(),
            came: 0,
            sent: 0,
            server,
            restore: None,
            begun: false,
        }
    }

    /// Whether the snapshot has turned out to be a large one, whose restore has to begin before all of
    /// it is there.
    pub fn is_large(&self) -> bool {
        self.came > PROVEN_FIRST
    }

    /// Asks the server to begin, where that has not been done. From here on something may be left behind
    /// that has to be removed if the restore fails.
    pub async fn begin(&mut self) -> Result<(), RestoringError> {
        if let (Some(server), None) = (&self.server, &self.restore) {
            let beginning: Vec<u8> = self.unsent.iter().flatten().copied().take(BEGINNING).collect();
            self.format = Format::of(&beginning);
            let Request { config, state, .. } = &self.request;
            let restore = Restore::begin(server, &self.stream, config, state).await;
            self.begun = match &restore {
                Ok(_) | Err(RestoreError::NotListening) => true,
                Err(RestoreError::Request(error)) => match error {
                    // An answer that leads nowhere may come from a server that has made the stream all the same.
                    jetstream::Error::Answer { .. } => true,
                    // Where the answer was lost, so may be the stream that it told of, for everybody but us.
                    jetstream::Error::TimedOut { .. } => nothing_is_in(server, &self.stream).await,
                    _ => false,
                },
                Err(_) => false,
            };
            self.restore = Some(restore?);
        }
        Ok(())
    }

    /// Takes the next bytes, and sends on what may be sent once the restore has begun.
    pub async fn push(&mut self, bytes: Bytes) -> Result<(), RestoringError> {
        let bytes = self.hold.count(bytes);
        self.came += bytes.len() as u64;
        self.frames.push(&bytes);
        if !self.proof.as_mut().is_some_and(|proof| proof.feed(bytes.clone())) {
            return Err(self.verdict_against().await.into());
        }
        if self.server.is_some() {
            self.unsent.push_back(bytes);
        }
        if self.restore.is_some() {
            self.send_until(self.frames.safe()).await?;
        }
        while self.hold.held() > WAITING {
            if self.proof.as_ref().is_none_or(Proof::has_ended) {
                return Err(self.verdict_against().await.into());
            }
            self.hold.falls().await;
        }
        Ok(())
    }

    /// Until when the server may hear nothing from us; none when it waits for nothing.
    pub fn silent_until(&self) -> Option<Instant> {
        self.restore.as_ref().map(Restore::silent_until)
    }

    /// Lets the server hear from us although there is nothing to send.
    pub async fn keep_alive(&mut self) -> Result<(), RestoringError> {
        // What the check found while the input stalls is said now, not with the next byte.
        if self.proof.as_ref().is_some_and(Proof::has_ended) {
            return Err(self.verdict_against().await.into());
        }
        match &mut self.restore {
            Some(restore) => Ok(restore.send(Bytes::from_static(&PADDING)).await?),
            None => Ok(()),
        }
    }

    /// The configuration that was asked for.
    pub fn config(&self) -> &RawValue {
        &self.request.config
    }

    /// The check, to be asked for its verdict once everything was pushed.
    pub fn take_proof(&mut self) -> Option<Proof> {
        self.proof.take()
    }

    /// The check has ended although bytes still come: it found something.
    async fn verdict_against(&mut self) -> NotProven {
        match self.proof.take() {
            Some(proof) => proof.verdict_against().await,
            None => NotProven::Broken("its verdict was given before".into()),
        }
    }

    /// Sends the rest of a proven snapshot and makes the stream real. None in a dry run.
    pub async fn commit(&mut self) -> Result<Option<StreamReply>, RestoringError> {
        self.begin().await?;
        self.send_until(self.came).await?;
        let Some(restore) = &mut self.restore else { return Ok(None) };
        Ok(Some(restore.commit().await?))
    }

    /// Tells the server to forget what it was sent. Whatever comes of it, the caller has to see what is left
    /// there.
    pub async fn abort(&mut self) -> Left {
        let Some(mut restore) = self.restore.take() else { return Left::Unknown };
        match restore.abort().await {
            Err(error) if error.is_taken() => Left::Nothing,
            _ if self.sent == 0 => Left::InClusters,
            _ if self.format == Some(Format::Tar) && !restore.is_committing() => Left::InClusters,
            _ => Left::Unknown,
        }
    }

    /// Sends the snapshot's bytes before `end`.
    async fn send_until(&mut self, end: u64) -> Result<(), RestoringError> {
        let Some(restore) = &mut self.restore else { return Ok(()) };
        while self.sent < end && !self.unsent.is_empty() {
            let room = usize::try_from(end - self.sent).unwrap_or(usize::MAX).min(restore.chunk_size());
            let chunk = gathered(&mut self.unsent, room);
            self.sent += chunk.len() as u64;
            restore.send(chunk).await?;
        }
        Ok(())
    }
}

/// Whether the stream is not there for anybody to see, or has never held a message in a cluster, which has
/// decided at the request whose name it is: what else may be there of it has been asked for here.
async fn nothing_is_in(server: &Server, stream: &StreamName) -> bool {
    match server.glance(stream).await {
        Ok(None) => true,
        Ok(Some(reply)) => {
            reply.is_in_cluster() && judge::parse(&reply.state).is_ok_and(|state| state.last_seq == 0)
        }
        Err(_) => false,
    }
}

/// The first bytes that wait, up to `room` of them, as one piece: a pipe gives less at once than a
/// server takes, and a round trip is paid for each chunk.
fn gathered(waiting: &mut VecDeque<Bytes>, room: usize) -> Bytes {
    let mut chunk = BytesMut::new();
    while let Some(mut piece) = waiting.pop_front() {
        let missing = room - chunk.len();
        if piece.len() > missing {
            waiting.push_front(piece.split_off(missing));
        }
        if chunk.is_empty() && (piece.len() == room || waiting.is_empty()) {
            return piece;
        }
        chunk.extend_from_slice(&piece);
        if chunk.len() == room {
            break;
        }
    }
    chunk.freeze()
}
