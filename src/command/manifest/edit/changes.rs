//! What the options change in each stream. Pure: reads and writes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::super::output::generator;
use super::super::select::{LIST, require_any};
use crate::archive::{Digest, Index, Manifest, StreamKind};
use crate::cli::{EditStreams, StreamSelection};
use crate::command::Failure;
use crate::description::Description;
use crate::exit::Exit;
use crate::names::{Prefix, Renaming, StreamName, SubjectPattern};
use crate::settings::Config;
use crate::snapshot::{Edit, Format, MatchedPatterns, MessageFilter, Rename, Sequences};

/// The options, checked.
pub(super) struct Changes {
    rename: Vec<Renaming>,
    subject: Vec<Prefix>,
    keep: MessageFilter,
    before: Option<Timestamp>,
    no_consumers: bool,
    rsyncable: bool,
    format: Format,
    last_per_subject: Option<usize>,
    /// Once they are known: of each stream, the newest messages of each subject.
    newest: BTreeMap<StreamName, Arc<Sequences>>,
    select: StreamSelection,
    /// Whether something is done to every selected stream, and not only to those that are renamed.
    all: bool,
    options: Vec<String>,
}

impl Changes {
    pub fn new(options: &EditStreams) -> Result<Changes, Failure> {
        let usage = |what: String| Err(Failure::new(Exit::Usage, what));
        let EditStreams { rename, subject, after, before, first_seq, last_seq, .. } = options;
        let EditStreams { no_consumers, rsyncable, .. } = *options;
        let (mut old, mut new) = (BTreeSet::new(), BTreeSet::new());
        for renaming in rename {
            if !old.insert(&renaming.old) {
                return usage(format!("--rename names stream {} twice", renaming.old));
            }
            if !new.insert(&renaming.new) {
                return usage(format!("--rename gives two streams the name {}", renaming.new));
            }
        }
        if let (Some(first), Some(last)) = (first_seq, last_seq)
            && first > last
        {
            return usage(format!("nothing is left: --first-seq {first} is higher than --last-seq {last}"));
        }
        if let (Some(after), Some(before)) = (after, before)
            && after >= before
        {
            return usage(format!("nothing is left: --after {after} is not earlier than --before {before}"));
        }
        let format = options.format.map_or(Format::Tar, Format::from);
        if rsyncable && format != Format::Tar {
            return usage(format!("--rsyncable writes tars, and --format {format} does not"));
        }
        if options.spool_dir.is_some() && options.last_per_subject.is_none() && format == Format::Tar {
            let what = "the input is read once: --spool-dir is for --last-per-subject and --format natsarc1";
            return usage(what.into());
        }
        let keep = keep_of(options);
        let bounds = after.is_some() || before.is_some() || first_seq.is_some() || last_seq.is_some();
        let bounds = bounds || options.last_per_subject.is_some();
        let filters = bounds || !keep.subjects.is_empty() || !keep.dropped.is_empty();
        let rewrites = rsyncable || options.format.is_some();
        Ok(Changes {
            all: filters || no_consumers || rewrites || !subject.is_empty() || rename.is_empty(),
            rename: rename.clone(),
            subject: subject.clone(),
            keep,
            before: *before,
            no_consumers,
            rsyncable,
            format,
            last_per_subject: options.last_per_subject.and_then(|n| usize::try_from(n).ok()),
            newest: BTreeMap::new(),
            select: StreamSelection {
                stream: options.select.stream.clone(),
                exclude: options.select.exclude.clone(),
            },
            options: words(options),
        })
    }

    /// What is done to `stream`; none where it passes as it is.
    pub fn of(&self, stream: &StreamName) -> Option<Edit> {
        let renaming = self.rename.iter().find(|renaming| renaming.old == *stream);
        let selected = self.all && self.select.selects(stream);
        let rsyncable = self.rsyncable;
        match (renaming, selected) {
            (None, false) => None,
            (renaming, false) => {
                Some(Edit { rename: Rename::new(renaming, &[]), rsyncable, ..Edit::default() })
            }
            (renaming, true) => Some(Edit {
                keep: MessageFilter { only: self.newest.get(stream).cloned(), ..self.keep.clone() },
                rename: Rename::new(renaming, &self.subject),
                no_consumers: self.no_consumers,
                rsyncable,
            }),
        }
    }

    /// What `stream` is called afterwards.
    pub fn name<'a>(&'a self, stream: &'a StreamName) -> &'a StreamName {
        let renaming = self.rename.iter().find(|renaming| renaming.old == *stream);
        renaming.map_or(stream, |renaming| &renaming.new)
    }

    /// The format of what is edited.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether what is edited is written so that unchanged data is the same bytes in the next archive.
    pub fn rsyncable(&self) -> bool {
        self.rsyncable
    }

    /// Whether a stream of this name is renamed.
    pub fn renames(&self, name: &str) -> bool {
        self.rename.iter().any(|renaming| renaming.old.as_str() == name)
    }

    /// How many messages of each subject are kept, the newest ones.
    pub fn last_per_subject(&self) -> Option<usize> {
        self.last_per_subject
    }

    /// Whether messages of `stream` may go.
    pub fn filters(&self, stream: &StreamName) -> bool {
        self.all && self.select.selects(stream)
    }

    /// The newest messages of each subject of `stream`.
    pub fn set_newest(&mut self, stream: StreamName, newest: Sequences) {
        self.newest.insert(stream, Arc::new(newest));
    }

    pub fn before(&self) -> Option<Timestamp> {
        self.before
    }

    /// The options as the manifest keeps them.
    pub fn options(&self) -> Vec<String> {
        self.options.clone()
    }

    /// The first pattern of what is to be kept that matched nothing.
    pub fn kept_nothing(&self, matched: &MatchedPatterns) -> Option<&SubjectPattern> {
        unmatched(&self.keep.subjects, &matched.subjects).next()
    }

    /// The patterns of what is to be dropped that matched nothing.
    pub fn dropped_nothing(&self, matched: &MatchedPatterns) -> impl Iterator<Item = &SubjectPattern> {
        unmatched(&self.keep.dropped, &matched.dropped)
    }

    /// The prefixes that began no subject, by which of them did.
    pub fn replaced_nothing(&self, found: &[bool]) -> impl Iterator<Item = &Prefix> {
        unmatched(&self.subject, found)
    }

    /// Whether the sources of `stream` get new subjects. A server finds out how far it has come in a source by the headers of
    /// its own messages, and these have the old subjects (seen on 2.12.8 and 2.15.1).
    pub fn moves_sources(&self, stream: &StreamName, description: &Description) -> bool {
        let renamed = self.of(stream).and_then(|edit| edit.rename.stream_config(&description.config));
        let renamed = renamed.and_then(|config| serde_json::from_str::<Config>(config.get()).ok());
        renamed.is_some_and(|config| config.get("sources") != description.settings.get("sources"))
    }

    /// The index of the edited archive. Refuses what cannot be done to what is coming.
    pub fn index(&self, source: &Index) -> Result<Index, Failure> {
        let coming = || source.streams.iter().filter(|stream| stream.kind != StreamKind::Skipped);
        require_any(source, &self.select)?;
        for Renaming { old, new } in &self.rename {
            if !coming().any(|stream| stream.name == *old) {
                let what = format!("the archive holds no stream {old} to rename");
                return Err(Failure::new(Exit::Failed, what).hint(LIST));
            }
            if coming().any(|stream| stream.name == *new && !self.renames(new.as_str())) {
                let what =
                    format!("stream {old} cannot be called {new}: the archive holds a stream of that name");
                return Err(Failure::new(Exit::Failed, what)
                    .hint(format!("take one of them out first: chatto-manifest select --exclude {new}")));
            }
        }
        let mut index = source.clone();
        index.generator = generator();
        index.streams.retain(|stream| stream.kind != StreamKind::Skipped || !self.is_replaced(&stream.name));
        for stream in index.streams.iter_mut().filter(|stream| stream.kind != StreamKind::Skipped) {
            if self.of(&stream.name).is_none() {
                continue;
            }
            self.require_place(&stream.name, stream.storage.as_deref())?;
            stream.name = self.name(&stream.name).clone();
            stream.format = Some(self.format.to_string());
        }
        Ok(if self.rsyncable { index.rsyncable() } else { index })
    }

    /// Refuses to give a stream the name of one that has failed. An archive of `chatto backup` says only in its manifest
    /// that there is one.
    pub fn require_not_failed(&self, manifest: &Manifest) -> Result<(), Failure> {
        let failed =
            |name: &StreamName| manifest.streams.iter().any(|s| s.name == *name && s.error.is_some());
        let Some(Renaming { old, new }) = self.rename.iter().find(|renaming| failed(&renaming.new)) else {
            return Ok(());
        };
        let what =
            format!("stream {old} cannot be called {new}: the archive names a stream {new} that failed");
        Err(Failure::new(Exit::Failed, what).hint("give it another name"))
    }

    /// Refuses a stream that is kept where its format has no place for it.
    pub fn require_place(&self, stream: &StreamName, storage: Option<&str>) -> Result<(), Failure> {
        if self.format != Format::Tar || storage != Some("memory") {
            return Ok(());
        }
        let what =
            format!("stream {stream} is kept in memory, and a server restores no messages of it from a tar");
        let hint =
            format!("write it as 2.15 does: --format natsarc1; or let it pass as it is: --exclude {stream}");
        Err(Failure::new(Exit::Failed, what).hint(hint))
    }

    /// A manifest without what was left out before under the name that a stream gets now.
    pub fn without_replaced(&self, mut manifest: Manifest) -> Manifest {
        manifest
            .streams
            .retain(|stream| stream.kind != StreamKind::Skipped || !self.is_replaced(&stream.name));
        manifest
    }

    fn is_replaced(&self, name: &StreamName) -> bool {
        self.rename.iter().any(|renaming| renaming.new == *name)
    }
}

/// Which messages the options keep in every stream.
fn keep_of(options: &EditStreams) -> MessageFilter {
    // A time is in the past, so one that is out of range is earlier than every message.
    let ns = |time: Option<Timestamp>| time.map(|time| time.as_nanosecond().try_into().unwrap_or(i64::MIN));
    MessageFilter {
        subjects: options.keep_subject.clone(),
        dropped: options.drop_subject.clone(),
        after: ns(options.after),
        before: ns(options.before),
        first_seq: options.first_seq,
        last_seq: options.last_seq,
        only: None,
    }
}

/// The streams that a stream of this configuration takes its messages from.
pub(super) fn sources(settings: &Config) -> BTreeSet<String> {
    let mirror = settings.get("mirror").into_iter();
    let sources = settings.get("sources").and_then(Value::as_array).into_iter().flatten();
    let names = mirror.chain(sources).filter_map(|source| source.get("name")?.as_str());
    names.map(str::to_owned).collect()
}

fn unmatched<'a, T>(patterns: &'a [T], matched: &[bool]) -> impl Iterator<Item = &'a T> {
    patterns.iter().enumerate().filter_map(|(n, pattern)| (matched.get(n) != Some(&true)).then_some(pattern))
}

/// The options as arguments. A subject that is to be forgotten is not written down: only its digest is, by which
/// whoever knows the subject finds it again.
fn words(options: &EditStreams) -> Vec<String> {
    let mut words = Vec::new();
    let mut say = |name: &str, value: String| words.extend([format!("--{name}"), value]);
    options.rename.iter().for_each(|Renaming { old, new }| {
        say("rename", format!("{}={}", old.as_str(), new.as_str()));
    });
    options.subject.iter().for_each(|prefix| say("subject", prefix.to_string()));
    options.keep_subject.iter().for_each(|pattern| say("keep-subject", pattern.to_string()));
    options.drop_subject.iter().for_each(|pattern| {
        say("drop-subject", format!("sha256:{}", Digest::of(pattern.to_string().as_bytes())));
    });
    let times = [("after", options.after), ("before", options.before)];
    times.iter().for_each(|(name, time)| time.iter().for_each(|time| say(name, time.to_string())));
    let sequences = [("first-seq", options.first_seq), ("last-seq", options.last_seq)];
    sequences.iter().for_each(|(name, n)| n.iter().for_each(|n| say(name, n.to_string())));
    let globs = [("stream", &options.select.stream), ("exclude", &options.select.exclude)];
    globs.iter().for_each(|(name, globs)| globs.iter().for_each(|glob| say(name, glob.to_string())));
    if let Some(n) = options.last_per_subject {
        words.push(format!("--last-per-subject={n}"));
    }
    if let Some(format) = options.format.map(Format::from) {
        words.extend(["--format".to_owned(), format.to_string()]);
    }
    if options.no_consumers {
        words.push("--no-consumers".into());
    }
    if options.rsyncable {
        words.push("--rsyncable".into());
    }
    words
}
