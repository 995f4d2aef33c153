//! One stream, from its description in the archive to the end of its restore. If it fails, the old stream is put back.
//! Knows nothing of the other streams.

use std::rc::Rc;

use bytes::Bytes;
use tokio::sync::{Barrier, Semaphore};
use tokio::time::Instant;

use super::confirm::{Mismatch, confirm};
use super::context::Context;
use super::outcomes::UnconfirmedStream;
use super::replacing::NotReplaced;
use super::restoring::{Restoring, RestoringError};
use super::target::{self, Traits};
use crate::command::Failure;
use crate::command::hint;
use crate::command::report::text_of;
use crate::command::verifier::{NotProven, Proven};
use crate::exit::Exit;
use crate::jetstream::{Error, Removal, RestoreMarker, StreamReply};
use crate::names::{Printable, Size, StreamName, counted, listed};
use crate::settings::{self, subjects_overlap};
use crate::snapshot::{Format, HALF_A_BATCH, InspectOptions};
use crate::terminal::progress::StreamInFlight;

/// What to do about a stream that may be somebody else's.
const LOOK: &str =
    "look at it (nats stream info NAME), and replace it with --conflict overwrite if it is not wanted";

/// A stream being restored.
pub(super) struct Job {
    context: Rc<Context>,
    restoring: Restoring,
    traits: Traits,
    /// What its snapshot was proven to hold, until it is restored.
    proven: Option<Proven>,
    /// None once the stream is restored.
    flight: Option<StreamInFlight>,
    /// Whether the stream has failed. The rest of its snapshot is passed over then.
    over: bool,
}

/// A stream as the archive describes it.
pub(super) struct ArchivedStream {
    pub stream: StreamName,
    /// Its `backup.json`.
    pub json: Vec<u8>,
    /// Whether `backup.json` has a sum in the archive.
    pub has_sum: bool,
    /// The size of its messages in bytes, where the archive tells.
    pub bytes: Option<u64>,
}

/// What a restore waits for, if others run at the same time.
pub(super) struct Phases {
    /// All have been opened, or have failed.
    pub opened: Barrier,
    /// How many may commit at once.
    pub commits: Semaphore,
}

/// The server's answer to the commit; none in a dry run.
type Committed = Result<Option<StreamReply>, RestoringError>;

/// Why a stream does not count as restored.
pub(super) enum NotRestored {
    Failed(RestoringError),
    /// It is there, and not as it should be.
    Mismatch(Mismatch),
}

impl From<RestoringError> for NotRestored {
    fn from(error: RestoringError) -> Self {
        NotRestored::Failed(error)
    }
}

impl From<Mismatch> for NotRestored {
    fn from(mismatch: Mismatch) -> Self {
        NotRestored::Mismatch(mismatch)
    }
}

impl Job {
    /// Begins to restore a stream. None for one that has failed already.
    ///
    /// # Errors
    /// Where the configuration cannot be written.
    pub fn begin(context: &Rc<Context>, described: ArchivedStream) -> anyhow::Result<Option<Job>> {
        let ArchivedStream { stream, json, has_sum, bytes } = described;
        let options = &context.options;
        let wanted = target::TargetOptions {
            replicas: options.replicas,
            placement: options.placement,
            dropped: &options.dropped,
        };
        let (mut request, traits) = match target::request(&stream, &json, wanted) {
            Ok(described) => described,
            Err(e) => {
                context.fail(&stream, Exit::Damaged, &e.to_string());
                return Ok(None);
            }
        };
        let destination = context.destination();
        let lacking = destination.lacks(traits.newer.iter().copied());
        if let Some((text, hint)) = destination.refusal(&lacking) {
            context.fail(&stream, Exit::Partial, &text);
            context.hint(Some(hint));
            return Ok(None);
        }
        if has_sum {
            request.described = None;
        }
        if RestoreMarker::of(&request.config).is_some() {
            const HALF: &str = "the archive holds no more of it than a restore had brought when it was made";
            context.fail(&stream, Exit::Partial, HALF);
            request.config = RestoreMarker::removed(&request.config)?;
        }
        if traits.in_memory && !options.dry_run && !options.read_back {
            say_what_is_forgotten(context, &stream, traits.has_sources);
        }
        let server = (!options.dry_run).then(|| context.server.clone());
        let flight = context.progress.begin(&stream, bytes);
        // Sums of messages are needed only where the stream is read back.
        let wanted = InspectOptions {
            sum: options.read_back,
            decoded: flight.read(),
            newer: Some(settings::newer_of_consumer),
            ..InspectOptions::default()
        };
        // From a tar, a server restores a stream in memory without its messages.
        let format = match traits.in_memory {
            false => Some(Format::Tar),
            true => Some(Format::NatsArc1).filter(|format| context.can_take(*format).is_ok()),
        };
        let restoring =
            Restoring::new(stream, request, server, context.marker.clone(), wanted).becoming(format);
        let restoring = if context.reads_index() { restoring } else { restoring.without_index() };
        let context = Rc::clone(context);
        Ok(Some(Job { context, restoring, traits, proven: None, flight: Some(flight), over: false }))
    }

    /// The stream's name.
    pub fn stream(&self) -> &StreamName {
        &self.restoring.stream
    }

    /// Whether the stream has failed.
    pub fn has_failed(&self) -> bool {
        self.over
    }

    /// Whether the restore has to begin before the next bytes are taken.
    pub fn is_to_begin(&self) -> bool {
        !self.over && self.restoring.is_large() && !self.restoring.begun
    }

    /// How many bytes there are to send, if they are all in memory and none was sent.
    pub fn whole(&self) -> Option<usize> {
        self.restoring.whole()
    }

    /// Whether the server judges this stream alike if `other` is there already and if it is not.
    pub fn goes_beside(&self, other: &Job) -> bool {
        let (subjects, others) = (&self.traits.subjects, &other.traits.subjects);
        let overlap = subjects.iter().any(|a| others.iter().any(|b| subjects_overlap(a, b)));
        let both_reserve = self.traits.reserves && other.traits.reserves;
        let same = self.stream() == other.stream();
        !(overlap || both_reserve || same)
    }

    /// Until when the server may hear nothing from us; none when it waits for nothing.
    pub fn silent_until(&self) -> Option<Instant> {
        self.restoring.silent_until()
    }

    /// Lets the server hear from us although there is nothing to send.
    pub async fn keep_alive(&mut self) {
        if let Err(error) = self.restoring.keep_alive().await {
            self.failed(error).await;
        }
    }

    /// Takes the next bytes of the snapshot. The restore of a large one begins here.
    pub async fn take(&mut self, bytes: Bytes) {
        if self.over {
            return;
        }
        if self.restoring.is_large() && !self.restoring.begun && !self.may_begin().await {
            return;
        }
        let begun = if self.restoring.is_large() { self.restoring.begin().await } else { Ok(()) };
        let pushed = match begun {
            Ok(()) => self.restoring.push(bytes).await,
            error => error,
        };
        if let Err(error) = pushed {
            self.failed(error).await;
        }
    }

    /// The snapshot has come whole: waits for the verdict on it. `false` when the stream has failed.
    pub async fn prove(&mut self) -> bool {
        if self.over {
            return false;
        }
        let proven = match self.verdict().await {
            Ok(proven) => proven,
            Err(error) => {
                self.failed(error).await;
                return false;
            }
        };
        if let Err(failure) = self.suits(&proven) {
            self.fail(Exit::Failed, &failure.what, failure.hint).await;
            return false;
        }
        if !self.restoring.begun
            && let Err(error) = self.restoring.convert().await
        {
            self.failed(error).await;
            return false;
        }
        self.proven = Some(proven);
        true
    }

    /// Restores a stream that was [proven](Job::prove): sends what was not sent, commits, and compares.
    pub async fn finish(&mut self) {
        if !self.restoring.begun && !self.make_room().await {
            return;
        }
        let context = Rc::clone(&self.context);
        let _section = context.critical.begin();
        let committed = self.restoring.commit().await;
        let confirmed = self.confirm(committed).await;
        self.conclude(confirmed).await;
    }

    /// The same beside others, up to the answer to the commit. Nothing of the stream may have been sent.
    pub async fn restore_beside(&mut self, phases: &Phases) -> Committed {
        let opened = self.restoring.open().await;
        let (_, heard) = self.restoring.wait_for(phases.opened.wait()).await;
        opened?;
        heard?;
        let (_turn, heard) = self.restoring.wait_for(phases.commits.acquire()).await;
        heard?;
        self.restoring.commit().await
    }

    /// Compares what the server has with what was proven.
    pub async fn confirm(&self, committed: Committed) -> Result<(), NotRestored> {
        match (committed?, &self.proven) {
            (Some(reply), Some(proven)) => {
                Ok(confirm(&self.context, &self.restoring, &self.traits, &reply, proven).await?)
            }
            _ => Ok(()),
        }
    }

    /// The stream is restored, or has failed.
    pub async fn conclude(&mut self, confirmed: Result<(), NotRestored>) {
        match (confirmed, self.proven.take()) {
            (Ok(()), Some(proven)) => self.restored(proven),
            (Ok(()), None) => {}
            (Err(NotRestored::Failed(error)), _) => self.failed(error).await,
            (Err(NotRestored::Mismatch(Mismatch { text, hint })), _) => {
                self.fail(Exit::Partial, &text, hint).await;
            }
        }
    }

    /// Drops what is not proven, and puts back what it was to replace.
    pub async fn give_up(&mut self) {
        self.remove_what_was_begun().await;
        self.context.put_back(&self.restoring.stream).await;
    }

    /// Removes what this run created of the stream, and nothing else.
    pub async fn remove_what_was_begun(&mut self) {
        let context = Rc::clone(&self.context);
        let _section = context.critical.begin();
        if !self.restoring.begun {
            return;
        }
        let removed = match context.gone.get() {
            true => {
                self.restoring.begun = false;
                Err(Error::Disconnected)
            }
            false => self.restoring.remove().await,
        };
        let stream = &self.restoring.stream;
        match removed {
            Ok(Removal::Gone) => {}
            Ok(Removal::NotOurs) => {
                let what = "what is there of this name was not made by this restore, and is left alone";
                context.messages.notice(&format!("stream {stream}: {what}"));
                context.hint(Some(LOOK.into()));
            }
            Err(e) => {
                if e.is_passing() {
                    context.gone.set(true);
                }
                let what = format!("cannot remove what is there of it: {e}");
                context.messages.error(&format!("stream {stream}: {what}"));
                context.hint(hint::of_server(&e));
            }
        }
    }

    /// Waits for the verdict on the snapshot, while the server goes on hearing from us.
    async fn verdict(&mut self) -> Result<Proven, RestoringError> {
        let Some(verifier) = self.restoring.take_verifier() else {
            return Err(NotProven::Broken("its verdict was given before".into()).into());
        };
        let verdict = verifier.verdict();
        tokio::pin!(verdict);
        loop {
            tokio::select! {
                verdict = &mut verdict => return Ok(verdict?),
                () = until(self.restoring.silent_until()) => self.restoring.keep_alive().await?,
            }
        }
    }

    /// Whether the destination can hold what was proven.
    fn suits(&self, proven: &Proven) -> Result<(), Failure> {
        let format = self.restoring.goes_as(proven.contents.format);
        self.context.can_take(format)?;
        self.context.destination().check_consumers(&proven.contents.newer)?;
        if self.traits.in_memory && format == Format::Tar && proven.contents.messages > 0 {
            return Err(Failure::new(
                Exit::Failed,
                "it lives in memory, and a server before 2.15 restores none of its messages",
            ));
        }
        Ok(())
    }

    /// Whether the restore of a large snapshot may begin. If not, the stream has failed.
    async fn may_begin(&mut self) -> bool {
        let format = self.restoring.format();
        if let Some(failure) = format.and_then(|format| self.context.can_take(format).err()) {
            self.fail(Exit::Failed, &failure.what, None).await;
            return false;
        }
        self.make_room().await
    }

    /// Archives the old stream, if there is one. If that cannot be done, the stream has failed.
    pub async fn keep_old(&mut self) {
        let context = Rc::clone(&self.context);
        if let Err(NotReplaced { text, hint }) = context.replacing.keep(&self.restoring.stream).await {
            self.fail(Exit::Partial, &text, hint).await;
        }
    }

    /// Makes room for the stream. If there is none, the stream has failed and the old one is there.
    pub async fn make_room(&mut self) -> bool {
        if self.over {
            return false;
        }
        if self.context.options.dry_run {
            return true;
        }
        let context = Rc::clone(&self.context);
        match context.replacing.make_room(&self.restoring.stream).await {
            Ok(()) => true,
            Err(NotReplaced { text, hint }) => {
                self.fail(Exit::Partial, &text, hint).await;
                false
            }
        }
    }

    async fn failed(&mut self, error: RestoringError) {
        let exit = match &error {
            RestoringError::NotProven(_) | RestoringError::Config(_) => Exit::Damaged,
            RestoringError::Restore(_) | RestoringError::Convert(_) => Exit::Partial,
        };
        let hint = error.hint();
        if let RestoringError::Restore(restore) = &error
            && restore.is_taken()
        {
            // Somebody made a stream of this name meanwhile: what is there is theirs.
            self.restoring.begun = false;
        }
        self.fail(exit, &text_of(&anyhow::Error::new(error)), hint).await;
    }

    /// The stream has failed: says so, removes what was begun, and puts the old stream back.
    async fn fail(&mut self, exit: Exit, text: &str, hint: Option<String>) {
        let context = Rc::clone(&self.context);
        let _section = context.critical.begin();
        self.over = true;
        context.fail(&self.restoring.stream, exit, text);
        context.hint(hint);
        if !context.gone.get() && !context.server.reconnected().await {
            context.gone.set(true);
        }
        self.give_up().await;
    }

    /// The stream is restored: says so, and notes it.
    fn restored(&mut self, proven: Proven) {
        let Some(flight) = self.flight.take() else { return };
        flight.done();
        let Job { context, restoring, traits, .. } = self;
        let (messages, stream) = (context.messages, &restoring.stream);
        if !restoring.begin_anew.is_empty() {
            let names: Vec<_> = restoring.begin_anew.iter().map(|name| Printable::new(name)).collect();
            messages.warning(&format!(
                "stream {stream}: consumers in memory lose their position and begin anew: {}",
                listed(&names)
            ));
        }
        if !traits.dropped.is_empty() {
            messages.notice(&format!("stream {stream}: {} left out", traits.dropped.join(", ")));
        }
        if proven.contents.within_batch {
            messages.warning(&format!("stream {stream}: {HALF_A_BATCH}"));
        }
        messages.detail(&format!(
            "stream {stream}: {}, {}, {}",
            counted(proven.contents.messages, "message"),
            counted(proven.contents.consumers, "consumer"),
            Size(proven.bytes)
        ));
        context.replacing.replaced(stream);
        if !context.options.dry_run && (traits.replicas > 1 || context.server.cluster().is_some()) {
            context.unconfirmed.borrow_mut().push(UnconfirmedStream::new(stream.clone(), traits.may_expire));
        }
        context.outcomes.borrow_mut().done(stream.clone(), proven, traits);
    }
}

/// A stream in memory is restored from NATSARC1, and then a server keeps neither (seen on 2.15.1).
fn say_what_is_forgotten(context: &Context, stream: &StreamName, has_sources: bool) {
    const IDS: &str = "the server forgets the message ids of a stream in memory";
    context.messages.warning(&match has_sources {
        true => format!("stream {stream}: {IDS}, and takes all messages of its sources again"),
        false => format!("stream {stream}: {IDS}"),
    });
    let publishers = "let nobody publish again what may be in the backup";
    context.hint(Some(match has_sources {
        true => format!("{publishers}, and leave the sources out with --drop-setting sources"),
        false => publishers.into(),
    }));
}

/// Waits until `due`; for ever if there is nothing due.
pub(super) async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
