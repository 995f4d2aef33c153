//! One stream on its way from the archive to the server: checked while it flows, committed only when
//! it is proven.
//!
//! Nothing is sent before a snapshot is known to be small and whole, or large. Of a large one, the last
//! frame with data is held back until the check has read everything, so that an input which stalls can
//! be bridged by padding at any moment, and a server never has a whole snapshot that is not proven.
//!
//! A NATSARC1 snapshot goes to the server as a tar, which every release restores and of which more is left, and
//! no consumer stands beyond the snapshot's end. It is the bytes as they came that are checked; the same bytes
//! are written again beside that.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::super::conversion::Conversion;
use super::super::verifier::{NotProven, Verifier};
use crate::jetstream::{self, InFlight, Mark, Removal, Restore, RestoreError, Server, StreamReply};
use crate::names::StreamName;
use crate::settings;
use crate::snapshot::{
    ConvertError, Fault, Format, Frames, PADDING, ReportedState, Wanted, put_consumers_back, to_tar,
};

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
    pub reported: ReportedState,
    /// The archive's own configuration, where nothing but the snapshot shows whether it is what was written.
    pub described: Option<settings::Config>,
}

/// A stream being restored.
pub(super) struct Restoring {
    pub stream: StreamName,
    request: Request,
    verifier: Option<Verifier>,
    /// Whether one in NATSARC1 goes to the server as a tar.
    converts: bool,
    /// The same for this one, once its format is known. Finds the consumers whose state a tar does not keep.
    conversion: Option<Conversion<Vec<String>>>,
    /// Consumers that live in memory, and begin anew.
    pub begin_anew: Vec<String>,
    /// The format of what goes to the server, once that is known.
    format: Option<Format>,
    decided: bool,
    in_flight: Arc<InFlight>,
    came: u64,
    /// What goes to the server: its frames, the part that has not gone, the length of what is ready to go and
    /// of what has gone.
    frames: Frames,
    unsent: VecDeque<Bytes>,
    ready: u64,
    sent: u64,
    /// Where it goes; none in a dry run.
    server: Option<Server>,
    restore: Option<Restore>,
    /// This run's mark.
    mark: Mark,
    /// Whether the stream has it: it can be seen before its commit.
    marked: bool,
    /// When the server was asked to begin.
    asked: Option<Instant>,
    /// When the stream was made, by the answer to the commit.
    created: Option<String>,
    /// Whether the server is restoring for us, so that something may be left behind.
    pub begun: bool,
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
    /// The snapshot is whole, and cannot be written as the server needs it.
    #[error("it cannot be written again: {0}")]
    Convert(String),
    /// Its configuration is none.
    #[error("its configuration makes no sense: {0}")]
    Config(#[from] serde_json::Error),
}

impl From<ConvertError> for RestoringError {
    fn from(error: ConvertError) -> Self {
        match error {
            ConvertError::Fault(fault @ Fault::Unsupported { .. }) => {
                RestoringError::Convert(fault.to_string())
            }
            ConvertError::Fault(fault) => NotProven::Fault(fault).into(),
            ConvertError::Write(_) => RestoringError::Convert(error.to_string()),
        }
    }
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
    pub fn new(
        stream: StreamName,
        request: Request,
        server: Option<Server>,
        mark: Mark,
        wanted: Wanted,
    ) -> Self {
        let verifier = match &request.described {
            Some(config) => Verifier::begin_described(&stream, &request.reported, config, wanted),
            None => Verifier::begin(&stream, &request.reported, wanted),
        };
        Restoring {
            stream,
            request,
            verifier: Some(verifier),
            converts: false,
            conversion: None,
            begin_anew: Vec::new(),
            format: None,
            decided: false,
            in_flight: Arc::default(),
            came: 0,
            frames: Frames::new(),
            unsent: VecDeque::new(),
            ready: 0,
            sent: 0,
            server,
            restore: None,
            mark,
            marked: false,
            asked: None,
            created: None,
            begun: false,
        }
    }

    /// The same, and a snapshot in NATSARC1 goes to the server as a tar if it `converts`.
    pub fn converting(self, converts: bool) -> Self {
        Restoring { converts, ..self }
    }

    /// Whether the snapshot has turned out to be a large one, whose restore has to begin before all of
    /// it is there.
    pub fn is_large(&self) -> bool {
        self.came.max(self.ready) > PROVEN_FIRST
    }

    /// The format that goes to the server, once that is known.
    pub fn format(&self) -> Option<Format> {
        self.format
    }

    /// The format that goes to the server of a snapshot in this one, or would go if there were one.
    pub fn goes_as(&self, format: Format) -> Format {
        let as_tar = self.converts && self.server.is_none();
        self.format.unwrap_or(if as_tar { Format::Tar } else { format })
    }

    /// Asks the server to begin, where that has not been done. From here on something may be left behind
    /// that has to be removed if the restore fails.
    pub async fn begin(&mut self) -> Result<(), RestoringError> {
        if let (Some(server), None) = (&self.server, &self.restore) {
            let Request { config, state, .. } = &self.request;
            self.marked = self.format != Some(Format::Tar) || server.cluster().is_some();
            let config = match self.marked {
                true => &self.mark.put(config)?,
                false => config,
            };
            self.asked = Some(Instant::now());
            let restore = Restore::begin(server, &self.stream, config, state).await;
            self.begun = match &restore {
                Ok(_) | Err(RestoreError::NotListening) => true,
                // The server may have done what it was asked for all the same.
                Err(RestoreError::Request(error)) => matches!(
                    error,
                    jetstream::Error::Answer { .. }
                        | jetstream::Error::TimedOut { .. }
                        | jetstream::Error::Disconnected
                ),
                Err(RestoreError::Dropped) => false,
            };
            self.restore = Some(restore?);
        }
        Ok(())
    }

    /// Takes the next bytes, and sends on what may be sent once the restore has begun.
    pub async fn push(&mut self, bytes: Bytes) -> Result<(), RestoringError> {
        let bytes = self.in_flight.count(bytes);
        self.came += bytes.len() as u64;
        if !self.verifier.as_mut().is_some_and(|verifier| verifier.feed(bytes.clone())) {
            return Err(self.verdict_against().await.into());
        }
        if self.server.is_some() {
            match &self.conversion {
                Some(conversion) => conversion.feed(bytes),
                None => self.goes(bytes),
            }
            if self.came >= BEGINNING as u64 {
                self.decide();
            }
        }
        self.send_on().await?;
        while self.in_flight.bytes() > WAITING {
            if self.verifier.as_ref().is_none_or(Verifier::has_ended) {
                return Err(self.verdict_against().await.into());
            }
            let due = self.silent_until();
            tokio::select! {
                () = self.in_flight.falls() => {}
                converted = converted(&mut self.conversion) => match converted? {
                    Some(bytes) => self.converted(bytes),
                    None => self.end_conversion(),
                },
                () = until(due) => self.keep_alive().await?,
            }
            self.send_on().await?;
        }
        Ok(())
    }

    /// Chooses how the snapshot goes to the server, by its first bytes, which have come.
    fn decide(&mut self) {
        if std::mem::replace(&mut self.decided, true) {
            return;
        }
        let beginning: Vec<u8> = self.unsent.iter().flatten().copied().take(BEGINNING).collect();
        self.format = Format::of(&beginning);
        let Request { config, reported, .. } = &self.request;
        let converts = match self.format {
            Some(Format::NatsArc1) => self.converts,
            // Its consumers may stand beyond its end.
            Some(Format::Tar) => reported.consumer_count > 0,
            None => false,
        };
        if let Some(format) = self.format.filter(|_| converts) {
            let (stream, config, last) = (self.stream.clone(), config.clone(), reported.last_seq);
            let conversion = Conversion::begin(move |from, to| match format {
                Format::NatsArc1 => to_tar(&stream, &config, from, to),
                Format::Tar => put_consumers_back(last, from, to).map(|()| Vec::new()),
            });
            self.unsent.drain(..).for_each(|bytes| conversion.feed(bytes));
            (self.frames, self.ready) = (Frames::new(), 0);
            self.conversion = Some(conversion);
            self.format = Some(Format::Tar);
        }
    }

    /// The next bytes that go to the server.
    fn goes(&mut self, bytes: Bytes) {
        self.frames.push(&bytes);
        self.ready += bytes.len() as u64;
        self.unsent.push_back(bytes);
    }

    /// The same, from a conversion.
    fn converted(&mut self, bytes: Bytes) {
        let bytes = self.in_flight.count(bytes);
        self.goes(bytes);
    }

    fn end_conversion(&mut self) {
        if let Some(conversion) = self.conversion.take() {
            self.begin_anew = conversion.found.unwrap_or_default();
        }
    }

    /// Takes what is converted already, and sends on what may be sent. Before the restore has begun no more is
    /// taken than a small snapshot's.
    async fn send_on(&mut self) -> Result<(), RestoringError> {
        loop {
            let wanted = self.restore.is_some() || !self.is_large();
            let Some(bytes) = self.conversion.as_mut().filter(|_| wanted).and_then(Conversion::ready) else {
                break;
            };
            self.converted(bytes);
            self.send_until(self.frames.safe()).await?;
        }
        self.send_until(self.frames.safe()).await
    }

    /// Until when the server may hear nothing from us; none when it waits for nothing.
    pub fn silent_until(&self) -> Option<Instant> {
        self.restore.as_ref().map(Restore::silent_until)
    }

    /// Lets the server hear from us although there is nothing to send.
    pub async fn keep_alive(&mut self) -> Result<(), RestoringError> {
        // What the check found while the input stalls is said now, not with the next byte.
        if self.verifier.as_ref().is_some_and(Verifier::has_ended) {
            return Err(self.verdict_against().await.into());
        }
        self.send_on().await?;
        self.pad().await
    }

    /// Sends padding if the server is to hear from us now.
    async fn pad(&mut self) -> Result<(), RestoringError> {
        match &mut self.restore {
            Some(restore) if restore.silent_until() <= Instant::now() => {
                Ok(restore.send(Bytes::from_static(&PADDING)).await?)
            }
            _ => Ok(()),
        }
    }

    /// The configuration that was asked for.
    pub fn config(&self) -> &RawValue {
        &self.request.config
    }

    /// The check, to be asked for its verdict once everything was pushed.
    pub fn take_verifier(&mut self) -> Option<Verifier> {
        self.verifier.take()
    }

    /// The check has ended although bytes still come: it found something.
    async fn verdict_against(&mut self) -> NotProven {
        match self.verifier.take() {
            Some(verifier) => verifier.verdict_against().await,
            None => NotProven::Broken("its verdict was given before".into()),
        }
    }

    /// Sends the rest of a proven snapshot and makes the stream real. None in a dry run. The mark is not shown in
    /// the answer, and is still there.
    pub async fn commit(&mut self) -> Result<Option<StreamReply>, RestoringError> {
        self.decide();
        self.begin().await?;
        if let Some(conversion) = &self.conversion {
            conversion.end();
        }
        while self.conversion.is_some() {
            let due = self.silent_until();
            tokio::select! {
                converted = converted(&mut self.conversion) => match converted? {
                    Some(bytes) => self.converted(bytes),
                    None => self.end_conversion(),
                },
                // The check has ended, and well.
                () = until(due) => self.pad().await?,
            }
            self.send_until(self.frames.safe()).await?;
        }
        self.send_until(self.ready).await?;
        let Some(restore) = &mut self.restore else { return Ok(None) };
        let mut reply = restore.commit().await?;
        self.created.clone_from(&reply.created);
        reply.config = Mark::removed(&reply.config)?;
        Ok(Some(reply))
    }

    /// Takes away the mark of a restore that is not over. `config` is the stream's, as the commit left it.
    pub async fn take_mark(&self, config: &RawValue) -> Result<(), jetstream::Error> {
        match (&self.server, &self.marked) {
            (Some(server), true) => server.take_mark(&self.stream, config).await,
            _ => Ok(()),
        }
    }

    /// Makes the server forget what it was sent, and removes what is there of it. What is not known to have
    /// been made here stays.
    pub async fn remove(&mut self) -> Result<Removal, jetstream::Error> {
        if !std::mem::take(&mut self.begun) {
            return Ok(Removal::Gone);
        }
        if let Some(mut restore) = self.restore.take()
            && let Err(error) = restore.abort().await
            && error.is_taken()
        {
            return Ok(Removal::NotOurs);
        }
        match &self.server {
            Some(server) => server.remove_if(&self.stream, |reply| self.made(reply)).await,
            None => Ok(Removal::Gone),
        }
    }

    /// Whether this restore has made the stream that the server describes. A mark says so; without one, as a
    /// single server shows nothing of a tar before it has all of it: the stream is the one of the commit's
    /// answer, or has been there for longer than this restore, before which there was none, and so comes from
    /// a snapshot.
    fn made(&self, reply: &StreamReply) -> bool {
        if self.marked && Mark::of(&reply.config).as_ref() == Some(&self.mark) {
            return true;
        }
        if reply.is_in_cluster() || self.sent == 0 {
            return false;
        }
        let is_of_commit = self.created.is_some() && self.created == reply.created;
        let restored_from_tar = self.format == Some(Format::Tar)
            && matches!((self.asked, reply.age()), (Some(asked), Some(age)) if age > asked.elapsed());
        is_of_commit || restored_from_tar
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

/// What a conversion brings next; for ever nothing where there is none.
async fn converted(conversion: &mut Option<Conversion<Vec<String>>>) -> Result<Option<Bytes>, ConvertError> {
    match conversion {
        Some(conversion) => conversion.next().await,
        None => std::future::pending().await,
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
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
