//! The streams of an archive, one after another, as the archive brings them.

mod commit;
mod conclusion;
mod copies;
mod left_alone;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use tokio::time::Instant;

use self::copies::Fresh;
use super::super::Failure;
use super::super::report::{exit_of, say};
use super::super::verifier::Proven;
use super::announced::Announced;
use super::critical_sections::CriticalSections;
use super::existing::{Existing, Extent};
use super::input::{Event, Events};
use super::limits::{self, Weight};
use super::newer::Destination;
use super::rescue::Rescue;
use super::restoring::Restoring;
use super::target::{self, Traits};
use crate::archive::{Ended, Index, Manifest};
use crate::cli::{Conflict, Select};
use crate::exit::Exit;
use crate::jetstream::{Account, Mark, Server};
use crate::names::{Printable, StreamName};
use crate::release;
use crate::settings;
use crate::snapshot::{Format, Wanted};
use crate::terminal::Messages;
use crate::terminal::progress::{Flight, Progress};

/// The most bytes of snapshots that wait in memory because their `backup.json` comes later.
const DESCRIBED_LATER_MAX: usize = 32 << 20;

/// The most bytes of descriptions that wait in memory because their snapshots come later: those of some
/// 12,000 streams.
const DESCRIBED_EARLY_MAX: usize = 24 << 20;

const PACK_AGAIN: &str =
    "pack the archive again with each stream's backup.json right before its stream.tar.s2";

/// What a load is asked to do.
pub(super) struct LoadOptions {
    pub conflict: Conflict,
    pub select: Select,
    pub dry_run: bool,
    /// What the account may hold, where what comes is to be held against it first.
    pub account: Option<Account>,
    /// What every restored stream's replicas shall be; none leaves the archive's.
    pub replicas: Option<u32>,
    /// Whether every restored stream is captured again and compared with the archive.
    pub read_back: bool,
    /// Whether streams go to the servers that their configuration asks for.
    pub placement: bool,
    /// The settings that restored streams may lose.
    pub dropped: Vec<String>,
    /// Where old streams are kept while new ones replace them; none to do without.
    pub rescue: Option<Rescue>,
}

/// A load under way.
pub(super) struct Loading {
    server: Server,
    options: LoadOptions,
    messages: Messages,
    progress: Progress,
    /// The streams that were there before.
    existing: Existing,
    /// Whether the server is gone: it did not come back, or answers nothing.
    gone: bool,
    /// A stream whose old one has been deleted, and whose new one does not stand yet.
    emptied: Option<StreamName>,
    announced: Announced,
    /// Descriptions that came and whose snapshots have not.
    described: BTreeMap<StreamName, Vec<u8>>,
    /// The bytes of those, in all.
    described_size: usize,
    /// Snapshots whose descriptions have not come.
    early: Early,
    current: Option<Current>,
    done: BTreeMap<StreamName, Proven>,
    /// Those of them whose copies have to be waited for.
    fresh: Vec<Fresh>,
    /// Streams that did not make it, with the worst exit code they call for.
    failed: BTreeMap<StreamName, Exit>,
    skipped: BTreeMap<StreamName, Skipped>,
    /// What was said already.
    hints: BTreeSet<String>,
    replica_changes: BTreeMap<(u32, u32), u64>,
    /// How many streams lost their placement.
    unplaced: u64,
    has_keys: bool,
    critical: CriticalSections,
    /// What this run's restores are marked with.
    mark: Mark,
}

/// A stream that was left alone because it is there.
struct Skipped {
    /// What the archive's description of it says that its snapshot holds.
    archived: Option<Extent>,
    may_expire: bool,
}

/// Snapshots that came before their descriptions, as another tar may have packed them.
#[derive(Default)]
struct Early {
    pieces: BTreeMap<StreamName, Vec<Bytes>>,
    /// The one that is coming now.
    coming: Option<StreamName>,
    size: usize,
}

/// The stream that is being restored.
struct Current {
    restoring: Restoring,
    flight: Flight,
    traits: Traits,
    /// Nothing says where a snapshot in parts ends but what follows it.
    in_parts: bool,
    /// Set when the stream has failed: the rest of its snapshot is passed over.
    over: bool,
}

impl Loading {
    pub fn new(
        server: Server,
        existing: Existing,
        options: LoadOptions,
        messages: Messages,
        progress: Progress,
    ) -> Self {
        let mark = server.new_mark();
        Loading {
            server,
            options,
            messages,
            progress,
            existing,
            gone: false,
            emptied: None,
            announced: Announced::default(),
            described: BTreeMap::new(),
            described_size: 0,
            early: Early::default(),
            current: None,
            done: BTreeMap::new(),
            fresh: Vec::new(),
            failed: BTreeMap::new(),
            hints: BTreeSet::new(),
            skipped: BTreeMap::new(),
            replica_changes: BTreeMap::new(),
            unplaced: 0,
            has_keys: false,
            critical: CriticalSections::default(),
            mark,
        }
    }

    /// The steps after which alone [`Loading::run`] may be dropped for [`Loading::interrupted`].
    pub fn critical_sections(&self) -> CriticalSections {
        self.critical.clone()
    }

    /// Restores what `events` bring, to the end of the archive.
    pub async fn run(&mut self, mut events: Events) -> anyhow::Result<Exit> {
        match self.follow(&mut events).await {
            Ok(ended) => {
                self.see_copies().await;
                self.conclude(ended)
            }
            Err(error) => {
                say(&self.messages, &error);
                self.give_up().await;
                self.say_what_stands();
                Ok(exit_of(&error))
            }
        }
    }

    /// The program is to end at once: leaves the server clean.
    pub async fn interrupted(&mut self) {
        self.messages.error("interrupted");
        self.give_up().await;
        self.say_what_stands();
    }

    async fn follow(&mut self, events: &mut Events) -> anyhow::Result<Ended> {
        loop {
            let due = self.current.as_ref().and_then(|current| current.restoring.silent_until());
            let event = tokio::select! {
                event = events.recv() => event,
                () = until(due) => {
                    self.keep_alive().await;
                    self.is_gone()?;
                    continue;
                }
            };
            match event {
                Some(Event::End(ended)) => {
                    self.end_of_attempt().await?;
                    // No attempt may have followed one that was abandoned.
                    self.put_back().await;
                    return Ok(ended);
                }
                Some(Event::Failed(error)) => return Err(error),
                Some(event) => {
                    self.event(event).await?;
                    self.is_gone()?;
                }
                None => return Err(anyhow::anyhow!("reading the archive broke off")),
            }
        }
    }

    /// Nothing more is tried with a server that is gone: every stream would wait for it again.
    fn is_gone(&self) -> Result<(), Failure> {
        if !self.gone {
            return Ok(());
        }
        let what = "the server is gone and does not come back: nothing more is tried";
        let go_on = match self.options.conflict {
            Conflict::Overwrite => "when it is back, run the same command again",
            Conflict::Error | Conflict::Skip => "when it is back, go on with --conflict skip",
        };
        Err(Failure::new(Exit::Unreachable, what).hint(go_on))
    }

    async fn event(&mut self, event: Event) -> anyhow::Result<()> {
        match event {
            Event::Index(index) => self.index(&index)?,
            Event::Manifest(manifest) => {
                self.end_of_attempt().await?;
                self.put_back().await;
                self.manifest(manifest)?;
            }
            Event::Backup { stream, attempt, json } => {
                self.end_of_attempt().await?;
                match attempt {
                    Some(_) => self.begin(stream, true, &json).await?,
                    None => self.described(stream, json).await?,
                }
            }
            Event::Snapshot(stream) => {
                self.end_of_attempt().await?;
                match self.described.remove(&stream) {
                    Some(json) => {
                        self.described_size = self.described_size.saturating_sub(json.len());
                        self.begin(stream, false, &json).await?;
                    }
                    None => self.early.coming = Some(stream),
                }
            }
            Event::Empty { stream, file } => {
                self.end_of_attempt().await?;
                self.announced.empty(stream, file);
            }
            Event::Sums => {}
            Event::Bytes(bytes) => self.bytes(bytes).await?,
            Event::SnapshotEnd => match self.early.coming.take() {
                // A snapshot of no bytes is one too, if a strange one.
                Some(stream) => drop(self.early.pieces.entry(stream).or_default()),
                None => self.finish().await?,
            },
            Event::Abandoned { stream, attempt, reason } => {
                let reason = Printable::new(&reason);
                self.messages.detail(&format!("stream {stream}: attempt {attempt} was abandoned: {reason}"));
                self.remove_what_was_begun().await;
                self.current = None;
            }
            Event::Keys => self.has_keys = true,
            Event::End(_) | Event::Failed(_) => {}
        }
        Ok(())
    }

    /// What is coming: everything that is in the way is said before anything changes.
    fn index(&mut self, index: &Index) -> anyhow::Result<()> {
        let coming = self.announced.index(index, &self.options.select);
        let bytes = coming.iter().filter_map(|stream| self.announced.bytes(stream));
        self.progress.expect(coming.len() as u64, bytes.fold(0, u64::saturating_add));
        self.refuse_conflicts(&coming)?;
        self.refuse_excess(index, &coming)?;
        self.refuse_newer(index, &coming)?;
        // What is not a tar is made one.
        Ok(self.can_take(Format::Tar)?)
    }

    fn manifest(&mut self, manifest: Manifest) -> anyhow::Result<()> {
        let (coming, failed) = self.announced.manifest(manifest, &self.options.select);
        self.refuse_conflicts(&coming)?;
        for (stream, error) in failed {
            self.fail(&stream, Exit::Partial, &format!("not in the archive: {}", Printable::new(&error)));
        }
        Ok(())
    }

    fn refuse_conflicts(&self, coming: &BTreeSet<StreamName>) -> anyhow::Result<()> {
        match self.options.conflict {
            Conflict::Error => Ok(self.existing.refuse(coming)?),
            Conflict::Skip | Conflict::Overwrite => Ok(()),
        }
    }

    /// What is coming must fit into the account, with the room that overwriting makes.
    fn refuse_excess(&self, index: &Index, coming: &BTreeSet<StreamName>) -> Result<(), Failure> {
        let Some(account) = &self.options.account else { return Ok(()) };
        let skips = self.options.conflict == Conflict::Skip;
        let lands = |name: &StreamName| coming.contains(name) && !(skips && self.existing.has(name));
        let streams = index.streams.iter().filter(|stream| lands(&stream.name));
        let coming: Vec<Weight> = streams
            .map(|stream| Weight {
                replicas: self.options.replicas.or(stream.replicas).unwrap_or(1),
                in_memory: stream.storage.as_deref() == Some("memory"),
                bytes: stream.bytes,
            })
            .collect();
        let replaced = self.existing.going(lands).into_iter();
        let going: Vec<Weight> = replaced
            .map(|old| Weight { replicas: old.replicas, in_memory: old.in_memory, bytes: old.bytes })
            .collect();
        limits::check(account, &coming, &going)
    }

    /// What is coming must ask for nothing that the destination does not know.
    fn refuse_newer(&self, index: &Index, coming: &BTreeSet<StreamName>) -> Result<(), Failure> {
        let skips = self.options.conflict == Conflict::Skip;
        let lands = |name: &StreamName| coming.contains(name) && !(skips && self.existing.has(name));
        let destination = self.destination();
        let mut lacking: BTreeMap<&str, Vec<&StreamName>> = BTreeMap::new();
        let mut since = None;
        for stream in index.streams.iter().filter(|stream| lands(&stream.name)) {
            for setting in destination.lacks_named(&stream.settings) {
                lacking.entry(setting.name).or_default().push(&stream.name);
                since = since.max(Some(setting.since));
            }
        }
        since.map_or(Ok(()), |since| destination.refuse(&lacking, since))
    }

    pub(super) fn destination(&self) -> Destination<'_> {
        Destination { version: self.server.version(), dropped: &self.options.dropped }
    }

    fn can_take(&self, format: Format) -> Result<(), Failure> {
        let Some(version) = self.server.version() else { return Ok(()) };
        let needs = release::reads(format);
        if version >= needs {
            return Ok(());
        }
        let what = match format {
            Format::Tar => "the archive needs",
            Format::NatsArc1 => "a restore of streams in memory needs",
        };
        let what =
            format!("{what} nats-server {}.{} or later, and this server is {version}", needs.0, needs.1);
        Err(Failure::new(Exit::Failed, what)
            .hint(format!("restore into a server of version {needs} or later")))
    }

    async fn described(&mut self, stream: StreamName, json: Vec<u8>) -> anyhow::Result<()> {
        let Some(pieces) = self.early.pieces.remove(&stream) else {
            self.described_size = self.described_size.saturating_add(json.len());
            if self.described_size > DESCRIBED_EARLY_MAX {
                let what = "the archive describes its streams long before their snapshots come";
                return Err(Failure::new(Exit::Failed, what).hint(PACK_AGAIN).into());
            }
            self.described.insert(stream, json);
            return Ok(());
        };
        self.begin(stream, false, &json).await?;
        for piece in pieces {
            self.early.size = self.early.size.saturating_sub(piece.len());
            self.bytes(piece).await?;
        }
        self.finish().await
    }

    async fn begin(&mut self, stream: StreamName, in_parts: bool, json: &[u8]) -> anyhow::Result<()> {
        self.announced.came(&stream);
        if self.emptied.as_ref().is_some_and(|emptied| *emptied != stream) {
            self.put_back().await;
        }
        if !self.options.select.selects(&stream) {
            return Ok(());
        }
        if !self.announced.expects(&stream) {
            self.fail(&stream, Exit::Damaged, "the archive holds it and its index does not list it");
            return Ok(());
        }
        match self.options.conflict {
            Conflict::Error => self.existing.refuse([&stream])?,
            Conflict::Skip if self.existing.has(&stream) => {
                self.skip(stream, json);
                return Ok(());
            }
            Conflict::Skip | Conflict::Overwrite => {}
        }
        let wanted = target::Wanted {
            replicas: self.options.replicas,
            placement: self.options.placement,
            dropped: &self.options.dropped,
        };
        let (mut request, traits) = match target::request(&stream, json, wanted) {
            Ok(described) => described,
            Err(e) => {
                self.fail(&stream, Exit::Damaged, &e.to_string());
                return Ok(());
            }
        };
        let destination = self.destination();
        let lacking = destination.lacks(traits.newer.iter().copied());
        if let Some((text, hint)) = destination.refusal(&lacking) {
            self.fail(&stream, Exit::Partial, &text);
            self.hint_once(Some(hint));
            return Ok(());
        }
        if self.announced.has_index() {
            // Then the description has a sum.
            request.described = None;
        }
        if Mark::of(&request.config).is_some() {
            const HALF: &str = "the archive holds no more of it than a restore had brought when it was made";
            self.fail(&stream, Exit::Partial, HALF);
            request.config = Mark::removed(&request.config)?;
        }
        if traits.in_memory && !self.options.dry_run && !self.options.read_back {
            self.say_what_is_forgotten(&stream, traits.has_sources);
        }
        let server = (!self.options.dry_run).then(|| self.server.clone());
        let flight = self.progress.begin(&stream, self.announced.bytes(&stream));
        // What was restored is compared message by message only where it is read back.
        let wanted = Wanted {
            sum: self.options.read_back,
            decoded: flight.read(),
            newer: Some(settings::newer_of_consumer),
            ..Wanted::default()
        };
        // A tar with a stream that lives in memory is restored without its messages.
        let restoring =
            Restoring::new(stream, request, server, self.mark.clone(), wanted).converting(!traits.in_memory);
        self.current = Some(Current { restoring, flight, traits, in_parts, over: false });
        Ok(())
    }

    /// A stream in memory is restored from NATSARC1, and of that a server keeps neither (seen on 2.15.1).
    fn say_what_is_forgotten(&mut self, stream: &StreamName, has_sources: bool) {
        const IDS: &str = "the server forgets the message ids of a stream in memory";
        self.messages.warning(&match has_sources {
            true => format!("stream {stream}: {IDS}, and takes all messages of its sources again"),
            false => format!("stream {stream}: {IDS}"),
        });
        let publishers = "let nobody publish again what may be in the backup";
        self.hint_once(Some(match has_sources {
            true => format!("{publishers}, and leave the sources out with --drop-setting sources"),
            false => publishers.into(),
        }));
    }

    async fn bytes(&mut self, bytes: Bytes) -> anyhow::Result<()> {
        if let Some(stream) = &self.early.coming {
            self.early.size += bytes.len();
            if self.early.size > DESCRIBED_LATER_MAX {
                let what = format!(
                    "stream {stream}: its snapshot comes before its backup.json, and is too large to wait"
                );
                return Err(Failure::new(Exit::Failed, what).hint(PACK_AGAIN).into());
            }
            self.early.pieces.entry(stream.clone()).or_default().push(bytes);
            return Ok(());
        }
        let Some(current) = self.current.as_mut().filter(|current| !current.over) else { return Ok(()) };
        if current.restoring.is_large() && !current.restoring.begun {
            if let Some(failure) = current.restoring.format().and_then(|format| self.can_take(format).err()) {
                self.current_failed_as(Exit::Failed, &failure.to_string()).await;
                return Ok(());
            }
            if !self.make_room().await {
                return Ok(());
            }
        }
        let Some(current) = &mut self.current else { return Ok(()) };
        let restoring = &mut current.restoring;
        let begun = if restoring.is_large() { restoring.begin().await } else { Ok(()) };
        let pushed = match begun {
            Ok(()) => restoring.push(bytes).await,
            error => error,
        };
        if let Err(error) = pushed {
            self.current_failed(error).await;
        }
        Ok(())
    }

    async fn keep_alive(&mut self) {
        let Some(current) = &mut self.current else { return };
        if let Err(error) = current.restoring.keep_alive().await {
            self.current_failed(error).await;
        }
    }

    /// An attempt has no end of its own: it is over when something else follows.
    async fn end_of_attempt(&mut self) -> anyhow::Result<()> {
        if self.current.as_ref().is_some_and(|current| current.in_parts) {
            self.finish().await?;
        }
        Ok(())
    }

    fn fail(&mut self, stream: &StreamName, exit: Exit, text: &str) {
        self.messages.error(&format!("stream {stream}: {text}"));
        self.progress.failed(stream);
        self.failed.insert(stream.clone(), exit);
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
