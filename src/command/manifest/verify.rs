//! `verify`: checks everything in an archive that can be checked without a server. Knows no server, and neither tar nor
//! snapshot formats.
//!
//! - Reading the envelope and the tar checks them, and the archive's audit checks the sums.
//! - `snapshot::inspect` checks every snapshot as it flows past.
//! - The manifest and the index are compared with the streams that came.
//!
//! All faults are collected, as far as the archive can still be read after a fault. Memory: that of `archive` and
//! `snapshot`, and one small record a stream.

mod lists;
mod nats_backup;

use std::collections::BTreeMap;
use std::io::{self, Read};

use serde::Serialize;
use serde_json::Value;

use super::input::{PROGRAM, unwrapped};
use super::nats_backup::agrees;
use crate::archive::{self, Entry, Index, Layout, MAX_FAULTS, Manifest, Reader, Tar};
use crate::cli;
use crate::command::output::print;
use crate::command::report::text_of;
use crate::description::Description;
use crate::envelope::Damaged;
use crate::exit::Exit;
use crate::names::{Printable, Size, StreamName, consumers, counted};
use crate::snapshot::{self, Content, Contents, HALF_A_BATCH, InspectOptions, OwnConfig, ReportedState};
use crate::terminal::Messages;
use crate::terminal::progress::{Progress, StreamOutcome, StreamResult};

/// What was found out about an archive. Its JSON is documented in chatto-manifest(1): members may be added.
#[derive(Debug, Serialize)]
pub struct VerifyReport {
    /// In one word.
    pub verdict: Verdict,
    /// Whether the archive has an end record whose every sum was compared.
    pub end_record: bool,
    /// Streams whose snapshots are whole.
    pub streams: u64,
    /// The live messages in them.
    pub messages: u64,
    /// The bytes of these snapshots as they lie in the archive.
    pub bytes: u64,
    /// Streams that are not in the archive because they failed when it was made.
    pub failed: Vec<FailedStream>,
    /// What is wrong with it, at most [`MAX_FAULTS`] and one.
    pub faults: Vec<ArchiveFault>,
    /// What a restore would not bring back as it was, although nothing is wrong with the archive; at most
    /// [`MAX_FAULTS`].
    pub warnings: Vec<ArchiveFault>,
    /// What was found of each stream; not in the JSON.
    #[serde(skip)]
    results: Vec<StreamResult>,
}

/// The verdict in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// No fault was found.
    Sound,
    /// No fault was found, and the archive itself says that streams are missing.
    Incomplete,
    /// Faults were found.
    Damaged,
}

/// Something wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ArchiveFault {
    /// The entry, below the top-level directory, or the place between two entries; safe to print.
    pub place: String,
    /// What is wrong there; safe to print.
    pub what: String,
}

/// A stream that failed when the archive was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailedStream {
    /// Its name.
    pub stream: StreamName,
    /// What the manifest says of it; safe to print.
    pub error: String,
}

pub(super) fn run(options: cli::Verify, progress: Progress) -> anyhow::Result<Exit> {
    let messages = Messages::new(PROGRAM, options.reading.say.verbosity());
    let input = progress.summed(unwrapped(options.reading, progress.clone())?);
    let report = verify_tar(archive::recognise(input))?;
    report.results.iter().for_each(|result| progress.result(result.clone()));
    let text = if options.json {
        let mut json = serde_json::to_string_pretty(&report)?;
        json.push('\n');
        json
    } else {
        report.to_string()
    };
    // Whoever does not read on has the exit status.
    print(text.as_bytes())?;
    Ok(match report.verdict {
        Verdict::Sound => Exit::Done,
        Verdict::Incomplete => {
            let failed = counted(report.failed.len() as u64, "stream");
            messages.error(&format!("the archive is sound, but {failed} failed when it was made"));
            Exit::Partial
        }
        Verdict::Damaged => {
            let faults = counted(report.faults.len() as u64, "fault");
            messages.error(&format!("the archive is damaged: {faults} found"));
            Exit::Damaged
        }
    })
}

/// Reads an archive, or a tar of backup directories, to its end, and reports everything that is wrong with it.
///
/// # Errors
/// Only when the input cannot be read ([`archive::Error::Io`]) or holds keys and no streams
/// ([`archive::Error::Keys`]); damage is in the [`VerifyReport`].
pub fn verify(input: impl Read) -> Result<VerifyReport, archive::Error> {
    verify_tar(archive::recognise(input))
}

fn verify_tar<R: Read>(input: Tar<R>) -> Result<VerifyReport, archive::Error> {
    let mut verifying = Verifying::default();
    let mut archive = match input {
        Tar::Archive(input) => Reader::audit(input),
        Tar::NatsBackup(mut input) => {
            let read = verifying.nats_backup(&mut input);
            verifying.record_read(read)?;
            return Ok(verifying.report(false));
        }
    };
    let read = verifying.read(&mut archive);
    let audited = archive.take_faults();
    audited.into_iter().for_each(|error| verifying.damage(error));
    verifying.record_read(read)?;
    let ended = archive.finish().ok();
    // The lists can be compared only with an archive that was read to its end.
    if let Some(ended) = &ended {
        if ended.layout == Layout::Keys {
            return Err(archive::Error::Keys);
        }
        verifying.lists(ended);
    }
    Ok(verifying.report(ended.is_some_and(|ended| ended.sums)))
}

#[derive(Default)]
struct Verifying {
    index: Option<Index>,
    manifest: Option<Manifest>,
    /// The description of every stream, of the attempt that came last.
    described: BTreeMap<StreamName, ReportedState>,
    found: BTreeMap<StreamName, FoundSnapshot>,
    /// The description of a stream, or its snapshot's own configuration, if the other one has not come yet. Empty for
    /// archives with an index, because every description has a sum there.
    unmatched: BTreeMap<StreamName, ConfigSource>,
    /// The bytes of all of `unmatched`.
    unmatched_size: usize,
    /// The streams that have an empty file, and the name of that file.
    empty: BTreeMap<StreamName, &'static str>,
    faults: Vec<ArchiveFault>,
}

/// The snapshot of a stream that was not abandoned, whole or damaged.
struct FoundSnapshot {
    attempt: Option<u32>,
    bytes: u64,
    /// What it holds. None if it is damaged.
    contents: Option<Contents>,
    /// Whether its description came before it.
    described: bool,
}

/// A snapshot that was read to its end.
struct CheckedSnapshot {
    /// The stream that the snapshot itself names, if the caller did not know it.
    own_name: Option<StreamName>,
    found: FoundSnapshot,
    /// What is wrong with it.
    fault: Option<String>,
    /// The configuration in the snapshot itself.
    own: Option<Vec<u8>>,
}

/// A text with the configuration of a stream, and where it comes from.
enum ConfigSource {
    Description(Vec<u8>),
    OwnConfig(Vec<u8>),
}

/// The most bytes of descriptions and configurations that wait for each other: those of some 30,000 streams. What does
/// not fit is not compared.
const MAX_UNMATCHED: usize = 64 << 20;

/// A snapshot that was checked. It counts unless the next entry abandons it.
struct PendingSnapshot {
    stream: StreamName,
    /// Its file name, if it is in one piece.
    file: &'static str,
    found: FoundSnapshot,
    fault: Option<String>,
}

/// Counts the bytes of a snapshot while they are read.
struct CountingReader<R> {
    body: R,
    bytes: u64,
}

impl<R: Read> Read for CountingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.body.read(buffer)?;
        self.bytes = self.bytes.saturating_add(got as u64);
        Ok(got)
    }
}

impl Verifying {
    fn read<R: Read>(&mut self, archive: &mut Reader<R>) -> Result<(), archive::Error> {
        let mut pending: Option<PendingSnapshot> = None;
        loop {
            let entry = archive.next();
            if let Some(pending) = pending.take()
                && !matches!(entry, Ok(Some(Entry::Abandoned { .. })))
            {
                self.record(pending);
            }
            let (stream, file, attempt) = match entry? {
                None => return Ok(()),
                Some(Entry::Index(index)) => {
                    self.index = Some(index);
                    continue;
                }
                Some(Entry::Manifest(manifest)) => {
                    self.manifest = Some(manifest);
                    continue;
                }
                Some(Entry::Backup { stream, attempt, json }) => {
                    let place = match attempt {
                        Some(n) => format!("streams/{stream}/attempt-{n}/backup.json"),
                        None => format!("streams/{stream}/backup.json"),
                    };
                    self.describe(stream, place, &json);
                    continue;
                }
                Some(Entry::Empty { stream, file }) => {
                    self.empty.insert(stream, file);
                    continue;
                }
                Some(Entry::Snapshot { stream, file, .. }) => (stream, file, None),
                Some(Entry::Part { stream, attempt, .. }) => (stream, "", Some(attempt)),
                Some(Entry::Abandoned { .. } | Entry::Other { .. } | Entry::Sums { .. }) => continue,
            };
            let CheckedSnapshot { found, fault, own, .. } =
                self.check(Some(&stream), attempt, archive.joined())?;
            if let Some(own) = own {
                self.compare_configs(
                    &stream,
                    format!("streams/{stream}/backup.json"),
                    ConfigSource::OwnConfig(own),
                );
            }
            pending = Some(PendingSnapshot { stream, file, found, fault });
        }
    }

    /// Takes the description of `stream` that lies at `place`.
    fn describe(&mut self, stream: StreamName, place: String, json: &[u8]) {
        let Description { settings, reported, .. } = match Description::from_json(json) {
            Ok(description) => description,
            Err(error) => return self.fault(place, Printable::new(&text_of(&error.into())).to_string()),
        };
        let name = settings.get("name").and_then(Value::as_str);
        if let Some(name) = name.filter(|name| *name != stream.as_str()) {
            self.fault(place.clone(), format!("it describes the stream {}", Printable::new(name)));
        }
        // In an archive that is not ours the snapshot may have come first.
        let held = self.found.get(&stream).and_then(|found| found.contents.as_ref());
        if let Some(Err(short)) = held.map(|contents| contents.agrees_with(&reported)) {
            self.fault(place.clone(), short.to_string());
        }
        self.compare_configs(&stream, place, ConfigSource::Description(json.to_vec()));
        self.described.insert(stream, reported);
    }

    /// Compares the description of `stream`, which lies at `place`, with the configuration in its snapshot, when both have
    /// come.
    fn compare_configs(&mut self, stream: &StreamName, place: String, source: ConfigSource) {
        if self.index.is_some() {
            return;
        }
        let held = match (self.unmatched.remove(stream), source) {
            (Some(ConfigSource::Description(json)), ConfigSource::OwnConfig(own)) => {
                self.unmatched_size = self.unmatched_size.saturating_sub(json.len());
                agrees(&own, &json)
            }
            (Some(ConfigSource::OwnConfig(own)), ConfigSource::Description(json)) => {
                self.unmatched_size = self.unmatched_size.saturating_sub(own.len());
                agrees(&own, &json)
            }
            (_, source) => {
                let (ConfigSource::Description(bytes) | ConfigSource::OwnConfig(bytes)) = &source;
                let size = self.unmatched_size.saturating_add(bytes.len());
                if size <= MAX_UNMATCHED {
                    self.unmatched_size = size;
                    self.unmatched.insert(stream.clone(), source);
                }
                Ok(())
            }
        };
        if let Err(unlike) = held {
            self.fault(place, unlike.to_string());
        }
    }

    /// Reads one snapshot to its end. It belongs to `stream`, or else to the stream that it names itself. The error is that
    /// of the archive.
    fn check(
        &self,
        stream: Option<&StreamName>,
        attempt: Option<u32>,
        body: impl Read,
    ) -> Result<CheckedSnapshot, archive::Error> {
        let reported = stream.and_then(|stream| self.described.get(stream));
        let described = reported.is_some();
        let reported = reported.cloned().unwrap_or_default();
        let own = OwnConfig::default();
        let wanted = InspectOptions { own: Some(own.clone()), ..InspectOptions::default() };
        let mut body = CountingReader { body, bytes: 0 };
        let (named, promised) = (stream.cloned(), reported.clone());
        let inspected = snapshot::read_in_background(&mut body, move |snapshot| {
            let content = Content::new(snapshot).decoded_in_background();
            match named {
                Some(stream) => snapshot::inspect_with(&stream, &promised, wanted, content)
                    .map(|contents| (None, contents)),
                None => snapshot::inspect_unnamed(&promised, wanted, content),
            }
        })?;
        let (name, contents, fault) = match inspected {
            Ok((name, contents)) => {
                let short = contents.agrees_with(&reported).err().map(|short| short.to_string());
                (name, Some(contents), short)
            }
            Err(snapshot::Fault::Io(error)) => return Err(error.into()),
            Err(fault) => (None, None, Some(fault.to_string())),
        };
        let bytes = body.bytes;
        // The configuration in a damaged snapshot is not proven.
        let own = contents.as_ref().and_then(|_| own.get().cloned());
        let found = FoundSnapshot { attempt, bytes, contents, described };
        Ok(CheckedSnapshot { own_name: name, found, fault, own })
    }

    fn record(&mut self, pending: PendingSnapshot) {
        let PendingSnapshot { stream, file, found, fault } = pending;
        if let Some(what) = fault {
            let place = match found.attempt {
                Some(n) => format!("streams/{stream}/attempt-{n}"),
                None => format!("streams/{stream}/{file}"),
            };
            self.fault(place, what);
        }
        self.found.insert(stream, found);
    }

    /// Adds the error that ended the reading to the faults. An input that cannot be read at all is no fault of the archive.
    fn record_read(&mut self, read: Result<(), archive::Error>) -> Result<(), archive::Error> {
        match read {
            Ok(()) => {}
            Err(archive::Error::Io { place, source }) => match Damaged::find(&source) {
                Some(damaged) => self.fault(place, damaged.to_string()),
                None => return Err(archive::Error::Io { place, source }),
            },
            Err(archive::Error::Keys) => return Err(archive::Error::Keys),
            Err(error) => self.damage(error),
        }
        Ok(())
    }

    fn damage(&mut self, error: archive::Error) {
        match error {
            archive::Error::Damaged { entry, what } | archive::Error::Unsafe { entry, what } => {
                self.fault(entry.to_string(), what);
            }
            archive::Error::Truncated { place } => self.fault(place, "the archive is cut short".into()),
            error @ (archive::Error::NotAnArchive { .. } | archive::Error::NatsBackup) => {
                self.fault("the input".into(), error.to_string());
            }
            error => self.fault("the archive".into(), text_of(&error.into())),
        }
    }

    fn fault(&mut self, place: String, what: String) {
        match self.faults.len() {
            MAX_FAULTS => self.faults.push(ArchiveFault {
                place: "the archive".into(),
                what: "has more faults than are listed".into(),
            }),
            n if n < MAX_FAULTS => self.faults.push(ArchiveFault { place, what }),
            _ => {}
        }
    }

    fn warnings(&self) -> Vec<ArchiveFault> {
        let found = self.found.iter().filter_map(|(stream, found)| Some((stream, found.contents.as_ref()?)));
        let of_snapshots = found.flat_map(|(stream, contents)| {
            let half_batch = contents.within_batch.then(|| HALF_A_BATCH.to_owned());
            let ahead = || format!("ahead of its last message: {}", consumers(&contents.ahead));
            let ahead = (!contents.ahead.is_empty()).then(ahead);
            let place = format!("streams/{stream}");
            half_batch.into_iter().chain(ahead).map(move |what| ArchiveFault { place: place.clone(), what })
        });
        let listed = self.manifest.iter().flat_map(|manifest| &manifest.streams);
        let lacking = listed.filter(|entry| !entry.missing_consumers.is_empty()).map(|entry| ArchiveFault {
            place: format!("streams/{}", entry.name),
            what: format!("lacks {}, as the manifest says", consumers(&entry.missing_consumers)),
        });
        of_snapshots.chain(lacking).take(MAX_FAULTS).collect()
    }

    fn results(&self, failed: &[FailedStream]) -> Vec<StreamResult> {
        let found = self.found.iter().map(|(stream, found)| match &found.contents {
            None => StreamResult::not(stream.as_str(), StreamOutcome::Failed, "its snapshot is damaged"),
            Some(contents) => StreamResult::done(stream, contents.messages, found.bytes)
                .lacking(contents.within_batch.then(|| HALF_A_BATCH.to_owned())),
        });
        let failed = failed
            .iter()
            .map(|failed| StreamResult::not(failed.stream.as_str(), StreamOutcome::Failed, &failed.error));
        found.chain(failed).collect()
    }

    fn report(self, end_record: bool) -> VerifyReport {
        let whole = || self.found.values().filter_map(|found| Some((found, found.contents.as_ref()?)));
        let messages = whole().map(|(_, contents)| contents.messages).fold(0, u64::saturating_add);
        let bytes = whole().map(|(found, _)| found.bytes).fold(0, u64::saturating_add);
        let streams = whole().count() as u64;
        let listed = self.manifest.iter().flat_map(|manifest| &manifest.streams);
        let failed: Vec<_> = listed
            .filter_map(|stream| {
                let error = Printable::new(stream.error.as_ref()?).to_string();
                Some(FailedStream { stream: stream.name.clone(), error })
            })
            .collect();
        let warnings = self.warnings();
        let results = self.results(&failed);
        let verdict = match (self.faults.is_empty(), failed.is_empty()) {
            (false, _) => Verdict::Damaged,
            (true, false) => Verdict::Incomplete,
            (true, true) => Verdict::Sound,
        };
        VerifyReport {
            verdict,
            end_record,
            streams,
            messages,
            bytes,
            failed,
            faults: self.faults,
            warnings,
            results,
        }
    }
}

/// One line a fault and a failed stream, and the verdict.
impl std::fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for fault in &self.faults {
            writeln!(f, "fault: {}: {}", fault.place, fault.what)?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {}: {}", warning.place, warning.what)?;
        }
        for failed in &self.failed {
            writeln!(f, "failed: {}: {}", failed.stream, failed.error)?;
        }
        let verdict = match self.verdict {
            Verdict::Sound => "sound",
            Verdict::Incomplete => "incomplete",
            Verdict::Damaged => "damaged",
        };
        let (streams, messages) = (counted(self.streams, "whole stream"), counted(self.messages, "message"));
        write!(f, "{verdict}: {streams}, {messages}, {}", Size(self.bytes))?;
        if !self.end_record && self.verdict != Verdict::Damaged {
            write!(f, "; no end record, so nothing proves that no file changed or is missing")?;
        }
        writeln!(f)
    }
}
