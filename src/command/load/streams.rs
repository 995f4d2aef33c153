//! The loop of a load: handles the streams of an archive in the order in which they come. Knows no bytes of a snapshot.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::super::Failure;
use super::super::report::{exit_of, say};
use super::announced::Announced;
use super::batch::Batch;
use super::conclusion;
use super::context::Context;
use super::critical_sections::CriticalSections;
use super::existing::Existing;
use super::input::Events;
use super::job::{ArchivedStream, Job, until};
use super::left_alone;
use super::options::LoadOptions;
use super::outcomes::Outcomes;
use super::pairing::{PairedEvent, Pairing};
use super::refusals;
use super::replacing::Replacing;
use super::replicas;
use super::rescue::Rescue;
use crate::archive::{ArchiveEnd, Index, Manifest, SourceServer};
use crate::cli::Conflict;
use crate::exit::Exit;
use crate::jetstream::Server;
use crate::names::{Printable, StreamName};
use crate::terminal::Messages;
use crate::terminal::progress::Progress;

/// How long a batch that is not full waits for the next bytes of the archive.
const IDLE: Duration = Duration::from_millis(50);

/// A load under way.
pub(super) struct Loading {
    context: Rc<Context>,
    announced: Announced,
    pairing: Pairing,
    /// The stream that is coming now.
    current: Option<Job>,
    /// Streams that came before it and wait to be restored at once. None once the restore of the current one has begun.
    batch: Batch,
    /// A stream of which an attempt was abandoned. Another attempt may follow.
    abandoned: Option<StreamName>,
    has_keys: bool,
}

impl Loading {
    pub fn new(
        server: Server,
        existing: Existing,
        options: LoadOptions,
        rescue: Option<Rescue>,
        messages: Messages,
        progress: Progress,
    ) -> Self {
        let critical = CriticalSections::default();
        let replacing = Replacing::new(server.clone(), existing, rescue, messages, critical.clone());
        let context = Rc::new(Context {
            marker: server.new_marker(),
            server,
            options,
            messages,
            critical,
            replacing,
            outcomes: RefCell::new(Outcomes::new(messages, progress.clone())),
            progress,
            unconfirmed: RefCell::default(),
            source: Cell::new(None),
            gone: Cell::new(false),
        });
        Loading {
            batch: Batch::new(Rc::clone(&context)),
            context,
            announced: Announced::default(),
            pairing: Pairing::default(),
            current: None,
            abandoned: None,
            has_keys: false,
        }
    }

    /// The critical sections of this load. [`Loading::run`] may be dropped, for [`Loading::interrupted`], only
    /// outside of them.
    pub fn critical_sections(&self) -> CriticalSections {
        self.context.critical.clone()
    }

    /// Restores what `events` bring, to the end of the archive.
    pub async fn run(&mut self, mut events: Events) -> anyhow::Result<Exit> {
        match self.follow(&mut events).await {
            Ok(ended) => {
                replicas::wait(&self.context).await;
                conclusion::conclude(&self.context, &self.announced, &self.pairing, self.has_keys, &ended)
            }
            Err(error) => {
                if !self.context.gone.get() {
                    self.batch.restore().await;
                }
                say(&self.context.messages, &error);
                self.give_up().await;
                conclusion::say_what_stands(&self.context);
                Ok(exit_of(&error))
            }
        }
    }

    /// The program is to end at once: leaves the server clean.
    pub async fn interrupted(&mut self) {
        self.context.messages.error("interrupted");
        self.give_up().await;
        conclusion::say_what_stands(&self.context);
    }

    /// Drops what is not restored, and puts back what it was to replace.
    async fn give_up(&mut self) {
        self.batch.give_up().await;
        if let Some(job) = &mut self.current {
            job.give_up().await;
        }
        self.current = None;
        self.end_of_attempts().await;
    }

    async fn follow(&mut self, events: &mut Events) -> anyhow::Result<ArchiveEnd> {
        let mut ready = VecDeque::new();
        loop {
            let due = self.current.as_ref().and_then(Job::silent_until);
            let idle = (!self.batch.is_empty()).then(|| Instant::now() + IDLE);
            let event = tokio::select! {
                event = events.recv() => event,
                () = until(idle) => {
                    self.batch.restore().await;
                    self.is_gone()?;
                    continue;
                }
                () = until(due) => {
                    if let Some(job) = &mut self.current {
                        job.keep_alive().await;
                    }
                    self.is_gone()?;
                    continue;
                }
            };
            let event = event.ok_or_else(|| anyhow::anyhow!("reading the archive broke off"))?;
            let paired = self.pairing.take(event, &mut ready);
            while let Some(event) = ready.pop_front() {
                if let PairedEvent::End(ended) = event {
                    self.batch.restore().await;
                    self.is_gone()?;
                    self.end_of_attempts().await;
                    return Ok(ended);
                }
                self.handle(event).await?;
                self.is_gone()?;
            }
            paired?;
        }
    }

    /// Nothing more is tried with a server that is gone: every stream would wait for it again.
    fn is_gone(&self) -> Result<(), Failure> {
        if !self.context.gone.get() {
            return Ok(());
        }
        let what = "the server is gone and does not come back: nothing more is tried";
        let go_on = match self.context.options.conflict {
            Conflict::Overwrite => "when it is back, run the same command again",
            Conflict::Error | Conflict::Skip => "when it is back, go on with --conflict skip",
        };
        Err(Failure::new(Exit::Unreachable, what).hint(go_on))
    }

    async fn handle(&mut self, event: PairedEvent) -> anyhow::Result<()> {
        match event {
            PairedEvent::Index(index) => self.index(&index)?,
            PairedEvent::Manifest(manifest) => {
                self.end_of_attempts().await;
                self.manifest(manifest)?;
            }
            PairedEvent::Begin { stream, json } => self.begin(stream, json).await?,
            PairedEvent::Bytes(bytes) => {
                if let Some(job) = &mut self.current {
                    if job.is_to_begin() {
                        self.batch.restore().await;
                    }
                    job.take(bytes).await;
                }
            }
            PairedEvent::Finish => self.finish().await,
            PairedEvent::Abandoned { stream, attempt, reason } => {
                let reason = Printable::new(&reason);
                let what = format!("stream {stream}: attempt {attempt} was abandoned: {reason}");
                self.context.messages.detail(&what);
                if let Some(job) = &mut self.current {
                    self.abandoned = Some(job.stream().clone());
                    job.remove_what_was_begun().await;
                }
                self.current = None;
            }
            PairedEvent::Empty { stream, file } => self.announced.empty(stream, file),
            PairedEvent::Keys => self.has_keys = true,
            PairedEvent::End(_) => {}
        }
        Ok(())
    }

    /// The current stream has come whole: it is restored now, or soon beside others.
    async fn finish(&mut self) {
        // It stays in its place meanwhile, so that an interruption finds it.
        let Some(job) = &mut self.current else { return };
        if !job.prove().await {
            self.current = None;
            return;
        }
        if !self.batch.suits(job) {
            self.batch.restore().await;
        }
        // Without an index, the account's limits were not held against what is coming.
        if !self.announced.has_index() || !self.batch.suits(job) {
            job.finish().await;
            self.current = None;
            return;
        }
        if let Some(job) = self.current.take() {
            self.batch.add(job);
        }
        if self.batch.is_full() {
            self.batch.restore().await;
        }
    }

    /// What is coming: everything that is in the way is said before anything changes.
    fn index(&mut self, index: &Index) -> anyhow::Result<()> {
        self.made_by(index.server.as_ref());
        let coming = self.announced.index(index, &self.context.options.select);
        let bytes = coming.iter().filter_map(|stream| self.announced.bytes(stream));
        self.context.progress.expect(coming.len() as u64, bytes.fold(0, u64::saturating_add));
        Ok(refusals::of_index(&self.context, index, &coming)?)
    }

    /// The archive says which server it is of.
    fn made_by(&self, server: Option<&SourceServer>) {
        if let Some(version) = server.and_then(|server| server.version.parse().ok()) {
            self.context.source.set(Some(version));
        }
    }

    fn manifest(&mut self, manifest: Manifest) -> anyhow::Result<()> {
        self.made_by(manifest.server.as_ref());
        let (coming, failed) = self.announced.manifest(manifest, &self.context.options.select);
        refusals::conflicts(&self.context, &coming)?;
        for (stream, error) in failed {
            let what = format!("not in the archive: {}", Printable::new(&error));
            self.context.fail(&stream, Exit::Partial, &what);
        }
        Ok(())
    }

    async fn begin(&mut self, stream: StreamName, json: Vec<u8>) -> anyhow::Result<()> {
        self.announced.came(&stream);
        if self.abandoned.as_ref().is_some_and(|abandoned| *abandoned != stream) {
            self.end_of_attempts().await;
        }
        if !self.context.options.select.selects(&stream) {
            return Ok(());
        }
        if !self.announced.expects(&stream) {
            let what = "the archive holds it and its index does not list it";
            self.context.fail(&stream, Exit::Damaged, what);
            return Ok(());
        }
        refusals::conflicts(&self.context, [&stream])?;
        if self.context.options.conflict == Conflict::Skip && self.context.replacing.existing().has(&stream) {
            left_alone::skip(&self.context, stream, &json);
            return Ok(());
        }
        let (has_sum, bytes) = (self.announced.has_index(), self.announced.bytes(&stream));
        self.current = Job::begin(&self.context, ArchivedStream { stream, json, has_sum, bytes })?;
        Ok(())
    }

    /// No attempt follows the one that was abandoned: the old stream is put back.
    async fn end_of_attempts(&mut self) {
        if let Some(stream) = self.abandoned.take() {
            self.context.put_back(&stream).await;
        }
    }
}
