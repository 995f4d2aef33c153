//! `edit`: writes an archive with renamed streams or with fewer messages while it reads the source. Knows no snapshot
//! format: `snapshot` edits the bytes.
//!
//! It reads the source once, and stores nothing on a disk. The content of an edited snapshot is known only at its end, but
//! its description comes before it. So if a snapshot fits into memory ([`sink::MAX_HELD`]), its description has the counted
//! numbers. A larger one goes in parts, with a state of zeros, which promises nothing. The manifest, which comes last, says
//! what the archive holds, what was done, and to which archive.
//!
//! A snapshot in NATSARC1 begins with the number of its messages. To know it, a second reader of the input is one snapshot
//! [ahead](ReadAhead) of the edit.

mod ahead;
mod changes;
mod failure;
mod rewound;
mod sink;
mod survey;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{self, Read, Write};

use anyhow::Context;
use serde_json::value::RawValue;

use self::ahead::ReadAhead;
use self::changes::Changes;
use self::failure::failure;
use self::sink::{EditedBytes, Sink};
use super::input::{PROGRAM, unwrapped};
use super::output::{binary_output, closing, copy_failure};
use super::rereadable::RereadableInput;
use super::select::{SeenStreams, description, index_of, out_of_order};
use crate::archive::{
    self, Digest, EditRecord, Entry, HashingReader, Index, MAX_EDITS, Manifest, ManifestStream, Reader,
    SMALL_PARTS, StreamKind, Writer,
};
use crate::cli::{self, StreamSelection};
use crate::command::Failure;
use crate::command::output::print;
use crate::command::report::text_of;
use crate::description::Description;
use crate::envelope::Opened;
use crate::exit::Exit;
use crate::names::{Printable, Size, StreamName, consumers, counted, listed};
use crate::snapshot::{self, Content, Edit, EditResult, Format, MatchedPatterns};
use crate::terminal::Messages;
use crate::terminal::progress::Progress;

pub(super) fn run(options: cli::EditStreams, progress: Progress) -> anyhow::Result<Exit> {
    let messages = Messages::new(PROGRAM, options.reading.say.verbosity());
    let mut changes = Changes::new(&options)?;
    let output = if options.dry_run { None } else { Some(binary_output("edit", &progress)?) };
    let (input, ahead) = match reread_by(&changes) {
        None => (unwrapped(options.reading, progress.clone())?, None),
        Some(action) => {
            let spool = options.spool_dir.as_deref();
            let mut input = RereadableInput::new(action, options.reading, spool, progress.clone())?;
            if let Some(n) = changes.last_per_subject() {
                let deleted = survey::deleted(&mut archive::recognise(input.open()?).archive()?, &changes)?;
                survey::newest(&mut Reader::new(input.open()?), &mut changes, &deleted, n)?;
            }
            let is_ahead = changes.format() == Format::NatsArc1;
            let ahead = is_ahead.then(|| input.open()).transpose()?;
            (input.open()?, ahead.map(|input| ReadAhead::new(Reader::new(input))))
        }
    };
    let mut source = HashingReader::new(input);
    let mut archive = archive::recognise(&mut source).archive()?;
    let mut editing = Editing {
        changes: &changes,
        ahead,
        messages,
        progress: progress.clone(),
        is_dry: options.dry_run,
        output,
        writer: None,
        begun: false,
        small_parts: false,
        attempts: BTreeMap::new(),
        pending: None,
        done: BTreeMap::new(),
        seen: SeenStreams::default(),
        matched: MatchedPatterns::default(),
        prefixes: Vec::new(),
    };
    let manifest = editing.read(&mut archive)?;
    drop(archive);
    editing.finish(manifest, source.digest())
}

/// The action that reads its input more than once, if there is one.
fn reread_by(changes: &Changes) -> Option<&'static str> {
    match (changes.last_per_subject(), changes.format()) {
        (Some(_), _) => Some("edit --last-per-subject"),
        (None, Format::NatsArc1) => Some("edit --format natsarc1"),
        (None, Format::Tar) => None,
    }
}

struct Editing<'a, W: Write> {
    changes: &'a Changes,
    /// The same input, where it has to be read twice.
    ahead: Option<ReadAhead<Opened>>,
    messages: Messages,
    progress: Progress,
    is_dry: bool,
    output: Option<W>,
    /// None before the index, and in a dry run.
    writer: Option<Writer<W>>,
    /// Whether the list of what is coming has been read.
    begun: bool,
    /// Whether a part ends where its content has it end.
    small_parts: bool,
    /// How many attempts at each edited stream the output has.
    attempts: BTreeMap<StreamName, u32>,
    pending: Option<PendingEdit>,
    /// The edited streams, by their old names.
    done: BTreeMap<StreamName, ManifestStream>,
    seen: SeenStreams,
    matched: MatchedPatterns,
    /// Which prefixes began a subject.
    prefixes: Vec<bool>,
}

/// An edited stream that counts unless the next entry abandons its attempt.
struct PendingEdit {
    stream: StreamName,
    attempt: Option<u32>,
    edited: anyhow::Result<(EditResult, Description)>,
    /// Its configuration, with its new name and subjects.
    config: Box<RawValue>,
    edited_bytes: EditedBytes,
}

impl<W: Write + Send> Editing<'_, W> {
    /// Reads the archive and writes the edited one up to its manifest. Gives the source's.
    #[expect(clippy::too_many_lines, reason = "one arm for each kind of entry")]
    fn read<R: Read>(&mut self, archive: &mut Reader<R>) -> anyhow::Result<Manifest> {
        let mut manifest = None;
        let mut described: Option<(StreamName, Vec<u8>)> = None;
        while let Some(entry) = archive.next()? {
            // A snapshot that was edited waits for the entry behind it.
            if let Some(pending) = self.pending.take() {
                if let Entry::Abandoned { stream, attempt, reason } = &entry
                    && (stream, Some(*attempt)) == (&pending.stream, pending.attempt)
                {
                    self.abandon(&pending, reason)?;
                    continue;
                }
                self.record(pending)?;
            }
            match entry {
                Entry::Index(index) => self.begin(&index)?,
                Entry::Manifest(read) => {
                    if !self.begun {
                        self.changes.require_not_failed(&read)?;
                        self.begin(&index_of(&read))?;
                    }
                    manifest = Some(read);
                }
                Entry::Backup { stream, attempt, json } => {
                    self.look_at_sources(&stream, &json);
                    if attempt.is_none() {
                        self.seen.other.insert(stream.clone());
                        described = Some((stream, json));
                    } else if self.changes.of(&stream).is_some() {
                        described = Some((stream, json));
                    } else if let (Some(n), Some(writer)) = (attempt, self.writer()?) {
                        writer.attempt(&stream, n, &json).map_err(copy_failure)?;
                        self.seen.whole.insert(stream);
                    }
                }
                Entry::Snapshot { stream, size, mut body, .. } => {
                    let json = description(&mut described, &stream)?;
                    if let Some(edit) = self.changes.of(&stream) {
                        self.pending = Some(self.edit(archive, stream, None, &json, &edit)?);
                        continue;
                    }
                    if let Some(writer) = self.writer()? {
                        writer.copy_whole(&stream, &json, &mut body, size).map_err(copy_failure)?;
                    }
                    self.seen.whole.insert(stream);
                }
                Entry::Part { stream, attempt, size, mut body, .. } => {
                    if let Some(edit) = self.changes.of(&stream) {
                        let json = description(&mut described, &stream)?;
                        self.pending = Some(self.edit(archive, stream, Some(attempt), &json, &edit)?);
                        continue;
                    }
                    if let Some(writer) = self.writer()? {
                        writer.copy_part(&mut body, size).map_err(copy_failure)?;
                    }
                }
                Entry::Abandoned { stream, reason, .. } if self.changes.of(&stream).is_none() => {
                    self.seen.whole.remove(&stream);
                    if let Some(writer) = self.writer()? {
                        writer.abandon(&reason).map_err(copy_failure)?;
                    }
                }
                Entry::Empty { stream, .. } => drop(self.seen.other.insert(stream)),
                Entry::Abandoned { .. } | Entry::Other { .. } | Entry::Sums { .. } => {}
            }
        }
        if let Some(pending) = self.pending.take() {
            self.record(pending)?;
        }
        // Nothing remains to be read: this gives no error that was not given already.
        let manifest = manifest.ok_or(archive::Error::Keys)?;
        self.seen.compare(&manifest, &StreamSelection::default())?;
        Ok(manifest)
    }

    /// What is coming is known: refuses what cannot be done, and writes the index.
    fn begin(&mut self, index: &Index) -> anyhow::Result<()> {
        self.begun = true;
        let bytes = index.streams.iter().map(|stream| stream.bytes).fold(0, u64::saturating_add);
        self.small_parts = self.changes.rsyncable() && bytes <= SMALL_PARTS;
        let index = self.changes.index(index)?;
        if let Some(output) = self.output.take() {
            let mtime = u64::try_from(index.created_at.as_second()).unwrap_or_default();
            let mut writer = Writer::new(output, mtime);
            writer.index(&index).map_err(copy_failure)?;
            self.writer = Some(writer);
        }
        Ok(())
    }

    /// Where the output goes; none in a dry run.
    fn writer(&mut self) -> anyhow::Result<Option<&mut Writer<W>>> {
        if !self.begun {
            return Err(out_of_order("the manifest comes after streams").into());
        }
        Ok(self.writer.as_mut())
    }

    /// Edits the snapshot that has just begun.
    fn edit<R: Read>(
        &mut self,
        archive: &mut Reader<R>,
        stream: StreamName,
        attempt: Option<u32>,
        json: &[u8],
        edit: &Edit,
    ) -> anyhow::Result<PendingEdit> {
        self.writer()?;
        let source = Description::from_json(json).map_err(|error| {
            let what = Printable::new(&text_of(&error.into())).to_string();
            Failure::new(Exit::Damaged, format!("stream {stream}: {what}"))
        })?;
        self.changes.require_place(&stream, source.reported.storage.as_deref())?;
        let name = self.changes.name(&stream).clone();
        let config =
            edit.rename.stream_config(&source.config).context("a configuration is no JSON object")?;
        let survey = self.ahead.as_mut().map(|ahead| ahead.survey(&stream, attempt, &source, edit));
        let survey = survey.transpose();
        let early = match &survey {
            Ok(Some(survey)) => sink::description(&config, &survey.edited)?.to_json()?,
            Ok(None) | Err(_) => sink::early_description(&config, &source, edit)?,
        };
        let number = self.attempts.get(&name).copied().unwrap_or(0).saturating_add(1);
        let mut sink = Sink::new(self.writer.as_mut(), &name, early, number, self.small_parts);
        let mut body = archive.joined();
        let Description { config: from, reported, .. } = &source;
        // What cannot be read at all is no matter of an attempt that may be abandoned.
        let edited = match survey {
            Err(error) => io::copy(&mut body, &mut io::sink()).map(|_| Err(error)),
            Ok(survey) => snapshot::read_in_background(&mut body, |bytes| {
                let content = Content::new(bytes).decoded_in_background();
                match survey {
                    None => snapshot::edit(&stream, from, reported, edit, content, &mut sink),
                    Some(survey) => {
                        snapshot::edit_to_natsarc1(&stream, reported, edit, survey, content, &mut sink)
                    }
                }
                .map_err(|error| failure(&stream, error))
            }),
        }
        .map_err(archive::Error::from)?;
        let edited = edited.map(|edited| (edited, source));
        let edited_bytes = sink.finish().map_err(copy_failure)?;
        if edited_bytes.in_parts {
            self.attempts.insert(name, number);
        }
        Ok(PendingEdit { stream, attempt, edited, config, edited_bytes })
    }

    /// The attempt at a stream does not count.
    fn abandon(&mut self, pending: &PendingEdit, reason: &str) -> anyhow::Result<()> {
        if let Some(writer) = self.writer.as_mut().filter(|_| pending.edited_bytes.in_parts) {
            writer.abandon(reason).map_err(copy_failure)?;
        }
        Ok(())
    }

    /// The edited stream counts.
    fn record(&mut self, pending: PendingEdit) -> anyhow::Result<()> {
        let PendingEdit { stream, edited, config, edited_bytes, .. } = pending;
        let (edited, source) = edited?;
        let name = self.changes.name(&stream).clone();
        let counted_as = if edited_bytes.in_parts { edited.in_parts } else { edited.whole };
        let mut sha256 = None;
        if let Some(writer) = self.writer.as_mut().filter(|_| !edited_bytes.in_parts) {
            let json = sink::description(&config, &edited)?.to_json()?;
            sha256 = Some(writer.whole_in_pieces(&name, &json, &edited_bytes.pieces).map_err(copy_failure)?);
        }
        let MatchedPatterns { subjects, dropped } = &edited.matched;
        let all = [
            (&mut self.matched.subjects, subjects),
            (&mut self.matched.dropped, dropped),
            (&mut self.prefixes, &edited.subjects.prefixes),
        ];
        for (all, here) in all {
            all.resize(all.len().max(here.len()), false);
            all.iter_mut().zip(here).for_each(|(all, here)| *all |= here);
        }
        if !edited.in_memory.is_empty() {
            let named = consumers(&edited.in_memory);
            self.messages.warning(&format!(
                "stream {name}: {named} in memory: a server makes them anew, and delivers from the beginning what \
                 they are configured to"
            ));
        }
        if !edited.left_without.is_empty() {
            let named = consumers(&edited.left_without);
            self.messages.warning(&format!(
                "stream {name}: all messages for {named} are dropped, and the configuration still names their subjects: \
                 leave consumers out with --no-consumers"
            ));
        }
        self.say_of_subjects(&stream, &name, &edited);
        if self.is_dry {
            print(dry_line(&stream, &name, &edited, self.changes.format()).as_bytes())?;
        }
        let number = self.attempts.get(&name).copied().filter(|_| edited_bytes.in_parts);
        let before = self.changes.before();
        let not_rewound = before.and_then(|_| rewound::shortcoming(edited.then, &source.settings));
        let entry = ManifestStream {
            messages: counted_as.messages,
            bytes: edited_bytes.bytes,
            format: Some(self.changes.format().to_string()),
            first_seq: Some(counted_as.first_seq),
            last_seq: Some(edited.last_seq),
            deleted: Some(counted_as.deleted),
            consumers: Some(edited.consumers),
            within_batch: edited.source.within_batch,
            attempt: number,
            sha256,
            parts_sha256: edited_bytes.parts_sha256,
            not_rewound,
            ..ManifestStream::new(name.clone(), StreamKind::of(&name))
        };
        self.seen.whole.insert(stream.clone());
        self.done.insert(stream, entry);
        Ok(())
    }

    /// Names what a restored stream would do with its new subjects, or with its old ones under a new name.
    fn say_of_subjects(&self, stream: &StreamName, name: &StreamName, edited: &EditResult) {
        if let Some(subject) = &edited.subjects.outside {
            self.messages.warning(&format!(
                "stream {name} holds messages with subjects such as {} now, and takes no new ones of them: its own \
                 subjects are others",
                Printable::new(subject)
            ));
        }
        if name != stream && !edited.pushing.is_empty() {
            let named = consumers(&edited.pushing);
            self.messages.warning(&format!(
                "stream {name}: once it is restored, the subscribers of {stream} get its messages too, from its \
                 {named}: leave consumers out with --no-consumers"
            ));
        }
    }

    /// A stream that takes its messages from others goes on doing so, and by the same names.
    fn look_at_sources(&self, stream: &StreamName, json: &[u8]) {
        let Ok(description) = Description::from_json(json) else { return };
        let name = self.changes.name(stream);
        let sources: BTreeSet<String> = changes::sources(&description.settings);
        if name != stream && !sources.is_empty() {
            let again = match self.changes.moves_sources(stream, &description) {
                true => ", and takes all of their messages again, because its subjects for them are new",
                false => "",
            };
            let quoted: Vec<_> = sources.iter().map(|name| Printable::new(name)).collect();
            self.messages.warning(&format!(
                "stream {name} goes on taking messages from {} once it is restored{again}: it does not stay as it is",
                listed(&quoted)
            ));
        }
        for source in sources.iter().filter(|source| self.changes.renames(source)) {
            self.messages.warning(&format!(
                "stream {name} goes on taking messages from a stream called {}, which is renamed",
                Printable::new(source)
            ));
        }
    }

    /// Writes the manifest and the end record.
    fn finish(mut self, source: Manifest, digest: Digest) -> anyhow::Result<Exit> {
        if let Some(pattern) = self.changes.kept_nothing(&self.matched) {
            let what = format!("no message has a subject that matches {pattern}");
            let hint = "nothing would be kept for it; see the subjects with: nats stream subjects";
            return Err(Failure::new(Exit::Failed, what).hint(hint).into());
        }
        for prefix in self.changes.replaced_nothing(&self.prefixes) {
            self.messages.warning(&format!(
                "no subject begins with what --subject {prefix} replaces: none was replaced"
            ));
        }
        for pattern in self.changes.dropped_nothing(&self.matched) {
            self.messages
                .warning(&format!("no message has a subject that matches {pattern}: none was dropped"));
        }
        let mut manifest = self.changes.without_replaced(source);
        let (was_rsyncable, rsyncable) = (manifest.rsyncable, self.changes.rsyncable());
        let mut all_rsyncable = was_rsyncable || rsyncable;
        for stream in &mut manifest.streams {
            let Some(entry) = self.done.remove(&stream.name).filter(|_| stream.kind != StreamKind::Skipped)
            else {
                let is_held = stream.kind != StreamKind::Skipped && stream.error.is_none();
                all_rsyncable &= was_rsyncable || !is_held;
                // One that failed is not among the edited ones, and the index has its new name.
                if stream.kind != StreamKind::Skipped {
                    stream.name = self.changes.name(&stream.name).clone();
                }
                continue;
            };
            all_rsyncable &= rsyncable;
            let without = self.changes.of(&stream.name).is_some_and(|edit| edit.no_consumers);
            let missing = if without { Vec::new() } else { stream.missing_consumers.clone() };
            let not_rewound = entry.not_rewound.or_else(|| stream.not_rewound.take());
            *stream = ManifestStream {
                captured_at: stream.captured_at,
                duration_ms: stream.duration_ms,
                attempts: stream.attempts,
                missing_consumers: missing,
                not_rewound,
                ..entry
            };
        }
        manifest.generator = Some(super::output::generator());
        manifest.rsyncable = all_rsyncable;
        manifest.edited.push(EditRecord { source: digest, options: self.changes.options() });
        let many = manifest.edited.len().saturating_sub(MAX_EDITS);
        manifest.edited.drain(..many);
        manifest.stats = manifest.count(manifest.stats.duration_ms);
        if let Some(writer) = self.writer.take() {
            writer.finish(&manifest).map_err(copy_failure)?;
        }
        let exit = closing(self.messages, &manifest, &self.progress);
        let Some(before) = self.changes.before() else { return Ok(exit) };
        let not_rewound = || manifest.streams.iter().filter_map(|s| Some((&s.name, s.not_rewound.as_ref()?)));
        for (name, why) in not_rewound() {
            self.messages
                .error(&format!("stream {name} is not as it was at {before}: {}", Printable::new(why)));
        }
        Ok(if not_rewound().count() > 0 { Exit::Partial } else { exit })
    }
}

/// What would go, and what would stay.
fn dry_line(stream: &StreamName, name: &StreamName, edited: &EditResult, format: Format) -> String {
    let gone = edited.source.messages.saturating_sub(edited.whole.messages);
    let mut line = format!("{stream}: ");
    if name != stream {
        let _ = write!(line, "becomes {name}; ");
    }
    let _ = write!(
        line,
        "{}, {} go; {}, {} stay, as {format}",
        counted(gone, "message"),
        Size(edited.bytes_gone),
        counted(edited.whole.messages, "message"),
        Size(edited.bytes)
    );
    let consumers = edited.source.consumers.saturating_sub(edited.consumers);
    if consumers > 0 {
        let _ = write!(line, "; {} go", counted(consumers, "consumer"));
    }
    line.push('\n');
    line
}
