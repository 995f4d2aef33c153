//! Sends the snapshot of one stream from the archive to the server. The verifier reads the same bytes, and the restore is
//! committed only after its verdict. Does not know how the archive is read.
//!
//! - A small snapshot (up to [`PROVEN_FIRST`]) is kept in memory until it has been verified. Only then does the restore
//!   begin.
//! - A large snapshot is sent while it comes. Its last frame with data is held back until the verdict, for two reasons:
//!   the server never has a whole snapshot that was not verified, and padding may be sent between two frames at any
//!   time, which keeps the restore alive while the input stalls.
//!
//! A snapshot in NATSARC1 is converted to a tar on the way: every release restores that, and a server keeps more of it
//! (the message ids, and where the sources stand). A snapshot in tar format is written again if it has consumers,
//! because they may be ahead of the last message, and if the server is older than the one that made it: it would not read
//! the index, and bring back what a limit has removed. One of a stream in memory is converted to NATSARC1, because no server
//! restores such messages from a tar. The verifier always reads the bytes as they came.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::super::conversion::Conversion;
use super::super::verifier::{NotProven, Verifier};
use crate::command::hint;
use crate::jetstream::{self, InFlight, Removal, Restore, RestoreError, RestoreMarker, Server, StreamReply};
use crate::names::StreamName;
use crate::settings;
use crate::snapshot::{
    ConvertError, Fault, Format, Frames, InspectOptions, PADDING, ReportedState, format_of, opener,
    put_consumers_back, to_natsarc1, to_tar, without_index,
};

/// The largest snapshot that is verified before its restore begins, in bytes.
const PROVEN_FIRST: u64 = 8 << 20;

/// The most bytes in memory that wait for the verifier or the server. A valid snapshot has no larger frame.
const WAITING: usize = 24 << 20;

/// How many bytes of a snapshot are needed to recognise its format.
const BEGINNING: usize = 64;

/// What a restore asks the server for.
pub(super) struct Request {
    /// The configuration that the stream gets.
    pub config: Box<RawValue>,
    /// The state in the archive.
    pub state: Box<RawValue>,
    /// The same state as numbers.
    pub reported: ReportedState,
    /// The configuration in the archive, if it has to be compared with the one in the snapshot: the archive has no sum
    /// of it then.
    pub described: Option<settings::Config>,
}

/// A stream being restored.
pub(super) struct Restoring {
    pub stream: StreamName,
    request: Request,
    verifier: Option<Verifier>,
    /// The format that is sent; none if the snapshot stays as it came.
    becomes: Option<Format>,
    /// Whether a tar is written again because the server does not read its index.
    without_index: bool,
    /// The conversion, if there is one. It finds the consumers whose state a tar does not keep.
    conversion: Option<Conversion<Vec<String>>>,
    /// The consumers in memory: they lose their position.
    pub begin_anew: Vec<String>,
    /// The format of what is sent, once it is known.
    format: Option<Format>,
    /// Whether it was decided how the snapshot is sent.
    decided: bool,
    in_flight: Arc<InFlight>,
    /// How many bytes of the snapshot have come.
    came: u64,
    /// Where the frames end in what is sent.
    frames: Frames,
    /// What is to be sent and was not sent yet.
    unsent: VecDeque<Bytes>,
    /// How many bytes are to be sent, as far as they are known, and how many of them were sent.
    ready: u64,
    sent: u64,
    /// None in a dry run.
    server: Option<Server>,
    restore: Option<Restore>,
    /// The marker of this run.
    marker: RestoreMarker,
    /// Whether the stream gets the marker, because it is visible before its commit.
    marked: bool,
    /// Whether the server has begun to read, and of the snapshot has nothing yet.
    opened: bool,
    /// When the server was asked to begin.
    asked: Option<Instant>,
    /// When the stream was created, as the answer to the commit tells.
    created: Option<String>,
    /// Whether the server was asked to begin. Then something may be left behind.
    pub begun: bool,
}

/// Why a stream was not restored.
#[derive(Debug, thiserror::Error)]
pub(super) enum RestoringError {
    /// The archive is at fault.
    #[error(transparent)]
    NotProven(#[from] NotProven),
    /// The server is at fault, or the connection.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The snapshot is whole, and cannot be converted to what the server needs.
    #[error("it cannot be written again: {0}")]
    Convert(String),
    /// The configuration is not valid.
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
            RestoringError::Restore(RestoreError::Request(error)) => hint::of_server(error),
            RestoringError::Restore(RestoreError::NotListening) => {
                Some("see that every server of the cluster runs, and restore the stream again".into())
            }
            _ => None,
        }
    }
}

impl Restoring {
    /// Begins to take a snapshot. `server` is none in a dry run.
    pub fn new(
        stream: StreamName,
        request: Request,
        server: Option<Server>,
        marker: RestoreMarker,
        wanted: InspectOptions,
    ) -> Self {
        let verifier = match &request.described {
            Some(config) => Verifier::begin_described(&stream, &request.reported, config, wanted),
            None => Verifier::begin(&stream, &request.reported, wanted),
        };
        Restoring {
            stream,
            request,
            verifier: Some(verifier),
            becomes: None,
            conversion: None,
            begin_anew: Vec::new(),
            format: None,
            without_index: false,
            decided: false,
            in_flight: Arc::default(),
            came: 0,
            frames: Frames::new(),
            unsent: VecDeque::new(),
            ready: 0,
            sent: 0,
            server,
            restore: None,
            marker,
            marked: false,
            opened: false,
            asked: None,
            created: None,
            begun: false,
        }
    }

    /// The same. The snapshot is converted to this format, if there is one.
    pub fn becoming(self, format: Option<Format>) -> Self {
        Restoring { becomes: format, ..self }
    }

    /// The same. The server does not read the index of a tar.
    pub fn without_index(self) -> Self {
        Restoring { without_index: true, ..self }
    }

    /// Whether the snapshot is a large one: its restore has to begin before all of it has come.
    pub fn is_large(&self) -> bool {
        self.came.max(self.ready) > PROVEN_FIRST
    }

    /// The format that is sent to the server, once it is known.
    pub fn format(&self) -> Option<Format> {
        self.format
    }

    /// The format that is sent to the server if the snapshot is in this one. In a dry run: that would be sent.
    pub fn goes_as(&self, format: Format) -> Format {
        self.format.or(self.becomes).unwrap_or(format)
    }

    /// Asks the server to begin the restore, unless that was done. After this, what the restore leaves behind has to be
    /// removed if it fails.
    pub async fn begin(&mut self) -> Result<(), RestoringError> {
        if let (Some(server), None) = (&self.server, &self.restore) {
            let Request { config, state, .. } = &self.request;
            self.marked = self.format != Some(Format::Tar) || server.cluster().is_some();
            let config = match self.marked {
                true => &self.marker.put(config)?,
                false => config,
            };
            self.asked = Some(Instant::now());
            let restore = Restore::begin(server, &self.stream, config, state).await;
            self.begun = match &restore {
                Ok(_) | Err(RestoreError::NotListening) => true,
                // The server may have begun all the same.
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

    /// Begins the restore, and waits until the server has begun to read it.
    pub async fn open(&mut self) -> Result<(), RestoringError> {
        self.begin().await?;
        let opener = opener().map_err(|e| RestoringError::Convert(e.to_string()))?;
        if let Some(restore) = &mut self.restore {
            restore.send(opener.into()).await?;
            self.opened = true;
        }
        Ok(())
    }

    /// Waits for `what`, while the server goes on hearing from us; no more after an error.
    pub async fn wait_for<T>(&mut self, what: impl Future<Output = T>) -> (T, Result<(), RestoringError>) {
        let mut heard = Ok(());
        tokio::pin!(what);
        loop {
            let due = self.silent_until().filter(|_| heard.is_ok());
            tokio::select! {
                what = &mut what => return (what, heard),
                () = until(due) => heard = self.pad().await,
            }
        }
    }

    /// Takes the next bytes of the snapshot. Sends what may be sent, if the restore has begun.
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

    /// Decides how the snapshot is sent. Its first bytes have come.
    fn decide(&mut self) {
        if std::mem::replace(&mut self.decided, true) {
            return;
        }
        let beginning: Vec<u8> = self.unsent.iter().flatten().copied().take(BEGINNING).collect();
        self.format = format_of(&beginning);
        let Request { config, reported, .. } = &self.request;
        let becomes = self.becomes.or(self.format);
        let converts = match (self.format, becomes) {
            // They may stand beyond the last message.
            (Some(Format::Tar), Some(Format::Tar)) => reported.consumer_count > 0 || self.without_index,
            (from, to) => from != to,
        };
        if let (Some(from), Some(to)) = (self.format.filter(|_| converts), becomes) {
            let (stream, config, reported) = (self.stream.clone(), config.clone(), reported.clone());
            let without = self.without_index;
            let conversion = Conversion::begin(move |bytes, out| match (from, to) {
                (Format::NatsArc1, Format::Tar) => to_tar(&stream, &config, bytes, out),
                (_, Format::Tar) if without => {
                    without_index(&stream, &config, &reported, bytes, out).map(|()| Vec::new())
                }
                (_, Format::Tar) => put_consumers_back(reported.last_seq, bytes, out).map(|()| Vec::new()),
                (_, Format::NatsArc1) => to_natsarc1(&stream, &reported, bytes, out).map(|()| Vec::new()),
            });
            self.unsent.drain(..).for_each(|bytes| conversion.feed(bytes));
            (self.frames, self.ready) = (Frames::new(), 0);
            self.conversion = Some(conversion);
            self.format = Some(to);
        }
    }

    /// Adds bytes to what is to be sent.
    fn goes(&mut self, bytes: Bytes) {
        self.frames.push(&bytes);
        self.ready += bytes.len() as u64;
        self.unsent.push_back(bytes);
    }

    /// Adds bytes that a conversion has written.
    fn converted(&mut self, bytes: Bytes) {
        let bytes = self.in_flight.count(bytes);
        self.goes(bytes);
    }

    fn end_conversion(&mut self) {
        if let Some(conversion) = self.conversion.take() {
            self.begin_anew = conversion.found.unwrap_or_default();
        }
    }

    /// Takes what has been converted, and sends what may be sent. Before the restore has begun, it takes no more than
    /// makes the snapshot a large one.
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

    /// The snapshot has come, and was verified: converts the rest of it, if it is converted, until that makes it a large
    /// one.
    pub async fn convert(&mut self) -> Result<(), RestoringError> {
        self.decide();
        if let Some(conversion) = &self.conversion {
            conversion.end();
        }
        while self.conversion.is_some() && !self.is_large() {
            match converted(&mut self.conversion).await? {
                Some(bytes) => self.converted(bytes),
                None => self.end_conversion(),
            }
        }
        Ok(())
    }

    /// How many bytes there are to send, if they are all in memory, in tar format, and none was sent.
    pub fn whole(&self) -> Option<usize> {
        let whole = !self.begun && self.decided && self.conversion.is_none() && self.server.is_some();
        let tar = self.format == Some(Format::Tar);
        (whole && tar).then(|| usize::try_from(self.ready).ok()).flatten()
    }

    /// When the server has to hear from us at the latest. None if no restore has begun.
    pub fn silent_until(&self) -> Option<Instant> {
        self.restore.as_ref().map(Restore::silent_until)
    }

    /// Lets the server hear from us although there is nothing to send.
    pub async fn keep_alive(&mut self) -> Result<(), RestoringError> {
        // The input stalls. What the verifier has found is an error now, not with the next byte.
        if self.verifier.as_ref().is_some_and(Verifier::has_ended) {
            return Err(self.verdict_against().await.into());
        }
        self.send_on().await?;
        self.pad().await
    }

    /// Sends padding if the server has to hear from us now.
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

    /// The verifier, to be asked for its verdict after everything was pushed. Only the first call gives it.
    pub fn take_verifier(&mut self) -> Option<Verifier> {
        self.verifier.take()
    }

    /// The verifier has ended although more bytes come: it has found a fault.
    async fn verdict_against(&mut self) -> NotProven {
        match self.verifier.take() {
            Some(verifier) => verifier.verdict_against().await,
            None => NotProven::Broken("its verdict was given before".into()),
        }
    }

    /// Sends the rest of a snapshot that was verified, and commits the restore. Gives the server's answer, without the
    /// marker; the stream still has the marker. None in a dry run.
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
                // The verdict is known, and it is good.
                () = until(due) => self.pad().await?,
            }
            self.send_until(self.frames.safe()).await?;
        }
        let fits = |restore: &Restore| self.ready <= restore.chunk_size() as u64;
        let mut reply = match &mut self.restore {
            Some(restore) if self.opened && self.sent == 0 && fits(restore) => {
                self.sent = self.ready;
                restore.commit_whole(gathered(&mut self.unsent, restore.chunk_size())).await?
            }
            _ => {
                self.send_until(self.ready).await?;
                let Some(restore) = &mut self.restore else { return Ok(None) };
                restore.commit().await?
            }
        };
        self.created.clone_from(&reply.created);
        reply.config = RestoreMarker::removed(&reply.config)?;
        Ok(Some(reply))
    }

    /// Removes the marker from the stream. `config` is the stream's configuration after the commit.
    pub async fn remove_marker(&self, config: &RawValue) -> Result<(), jetstream::Error> {
        match (&self.server, &self.marked) {
            (Some(server), true) => server.remove_marker(&self.stream, config).await,
            _ => Ok(()),
        }
    }

    /// Ends the restore on the server and deletes what it has made. A stream that this restore is not known to have
    /// made stays.
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

    /// Whether this restore has made the stream that the server describes. The marker tells. A restore from a tar on a
    /// single server has no marker, because its stream is not visible before the commit. Its stream was created when
    /// the answer to the commit says. Without that answer: there was no stream of this name before the restore, so one
    /// that was created longer ago comes from a snapshot.
    fn made(&self, reply: &StreamReply) -> bool {
        if self.marked && RestoreMarker::of(&reply.config).as_ref() == Some(&self.marker) {
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

    /// Sends the bytes before position `end`.
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

/// What a conversion has written next. Waits for ever if there is no conversion.
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

/// Takes the first bytes of `waiting`, up to `room` of them, as one chunk. A pipe gives less at once than a server
/// takes in one chunk, and each chunk costs an acknowledgement.
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
        if chunk.is_empty() {
            // All at once: what grows is copied again and again.
            chunk.reserve(room);
        }
        chunk.extend_from_slice(&piece);
        if chunk.len() == room {
            break;
        }
    }
    chunk.freeze()
}
