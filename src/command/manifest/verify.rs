//! `verify`: everything that can be known of an archive without a server.
//!
//! The envelope and the tar are checked by reading them, the sums by the archive's audit, and every snapshot
//! by `snapshot::inspect`, as it flows past; what the manifest and the index say is held against what came. All
//! faults are gathered, as far as the damage lets the rest be read. Memory: what `archive` and `snapshot`
//! say of theirs, and one small record a stream.

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
    // The status says it all to whoever does not read on.
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

/// Reads an archive, or a tar of backup directories, to its end and says all that is wrong with it.
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
            verifying.broken_off(read)?;
            return Ok(verifying.report(false));
        }
    };
    let read = verifying.read(&mut archive);
    let audited = archive.take_faults();
    audited.into_iter().for_each(|error| verifying.damage(error));
    verifying.broken_off(read)?;
    let ended = archive.finish().ok();
    // What the lists say is held only against an archive that was read to its end.
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
    came: BTreeMap<StreamName, Came>,
    /// Of each stream of which only one has come: its description, or its snapshot's own configuration. Of archives
    /// with an index neither, as every description has a sum there.
    halves: BTreeMap<StreamName, Half>,
    /// The bytes of those, in all.
    halves_size: usize,
    /// The streams of which a file came with nothing in it, and which file.
    empty: BTreeMap<StreamName, &'static str>,
    faults: Vec<ArchiveFault>,
}

/// A snapshot that came whole or not; only the one that counts.
struct Came {
    attempt: Option<u32>,
    bytes: u64,
    /// What it holds, where it could be checked.
    contents: Option<Contents>,
    /// Whether its description came before it.
    described: bool,
}

/// A snapshot that was read to its end.
struct Looked {
    /// The stream that it names itself, where nobody else did.
    itself: Option<StreamName>,
    came: Came,
    /// What is wrong with it.
    fault: Option<String>,
    /// Its own configuration.
    own: Option<Vec<u8>>,
}

/// What says how a stream is configured.
enum Half {
    Description(Vec<u8>),
    OwnConfig(Vec<u8>),
}

/// The most bytes of descriptions and configurations that wait for one another: those of some 30,000 streams. What
/// does not fit is not compared.
const MAX_HALVES: usize = 64 << 20;

/// A snapshot that was checked, and counts unless the next entry abandons it.
struct Checked {
    stream: StreamName,
    /// What it is called, in one piece.
    file: &'static str,
    came: Came,
    fault: Option<String>,
}

/// A snapshot whose bytes are counted as they are read.
struct Counted<R> {
    body: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.body.read(buffer)?;
        self.bytes = self.bytes.saturating_add(got as u64);
        Ok(got)
    }
}

impl Verifying {
    fn read<R: Read>(&mut self, archive: &mut Reader<R>) -> Result<(), archive::Error> {
        let mut checked: Option<Checked> = None;
        loop {
            let entry = archive.next();
            if let Some(checked) = checked.take()
                && !matches!(entry, Ok(Some(Entry::Abandoned { .. })))
            {
                self.settle(checked);
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
            let Looked { came, fault, own, .. } = self.check(Some(&stream), attempt, archive.joined())?;
            if let Some(own) = own {
                self.hold(&stream, format!("streams/{stream}/backup.json"), Half::OwnConfig(own));
            }
            checked = Some(Checked { stream, file, came, fault });
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
        let held = self.came.get(&stream).and_then(|came| came.contents.as_ref());
        if let Some(Err(short)) = held.map(|contents| contents.agrees_with(&reported)) {
            self.fault(place.clone(), short.to_string());
        }
        self.hold(&stream, place, Half::Description(json.to_vec()));
        self.described.insert(stream, reported);
    }

    /// Holds the description of `stream`, which lies at `place`, and the configuration in its snapshot against one
    /// another, when both have come.
    fn hold(&mut self, stream: &StreamName, place: String, half: Half) {
        if self.index.is_some() {
            return;
        }
        let held = match (self.halves.remove(stream), half) {
            (Some(Half::Description(json)), Half::OwnConfig(own)) => {
                self.halves_size = self.halves_size.saturating_sub(json.len());
                agrees(&own, &json)
            }
            (Some(Half::OwnConfig(own)), Half::Description(json)) => {
                self.halves_size = self.halves_size.saturating_sub(own.len());
                agrees(&own, &json)
            }
            (_, half) => {
                let (Half::Description(bytes) | Half::OwnConfig(bytes)) = &half;
                let size = self.halves_size.saturating_add(bytes.len());
                if size <= MAX_HALVES {
                    self.halves_size = size;
                    self.halves.insert(stream.clone(), half);
                }
                Ok(())
            }
        };
        if let Err(unlike) = held {
            self.fault(place, unlike.to_string());
        }
    }

    /// Reads one snapshot to its end: of `stream`, or of the one that it names itself. The error is that of the
    /// archive.
    fn check(
        &self,
        stream: Option<&StreamName>,
        attempt: Option<u32>,
        body: impl Read,
    ) -> Result<Looked, archive::Error> {
        let reported = stream.and_then(|stream| self.described.get(stream));
        let described = reported.is_some();
        let reported = reported.cloned().unwrap_or_default();
        let own = OwnConfig::default();
        let wanted = InspectOptions { own: Some(own.clone()), ..InspectOptions::default() };
        let mut body = Counted { body, bytes: 0 };
        let (named, promised) = (stream.cloned(), reported.clone());
        let inspected = snapshot::read_beside(&mut body, move |snapshot| {
            let content = Content::new(snapshot).decoded_beside();
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
        // Without contents, what it says of itself is as little proven as the rest.
        let own = contents.as_ref().and_then(|_| own.get().cloned());
        let came = Came { attempt, bytes, contents, described };
        Ok(Looked { itself: name, came, fault, own })
    }

    fn settle(&mut self, checked: Checked) {
        let Checked { stream, file, came, fault } = checked;
        if let Some(what) = fault {
            let place = match came.attempt {
                Some(n) => format!("streams/{stream}/attempt-{n}"),
                None => format!("streams/{stream}/{file}"),
            };
            self.fault(place, what);
        }
        self.came.insert(stream, came);
    }

    /// What kept the input from being read to its end is a fault of it, unless it could not be read at all.
    fn broken_off(&mut self, read: Result<(), archive::Error>) -> Result<(), archive::Error> {
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
        let came = self.came.iter().filter_map(|(stream, came)| Some((stream, came.contents.as_ref()?)));
        let of_snapshots = came.flat_map(|(stream, contents)| {
            let half = contents.within_batch.then(|| HALF_A_BATCH.to_owned());
            let ahead = || format!("ahead of its last message: {}", consumers(&contents.ahead));
            let ahead = (!contents.ahead.is_empty()).then(ahead);
            let place = format!("streams/{stream}");
            half.into_iter().chain(ahead).map(move |what| ArchiveFault { place: place.clone(), what })
        });
        let listed = self.manifest.iter().flat_map(|manifest| &manifest.streams);
        let lacking = listed.filter(|entry| !entry.missing_consumers.is_empty()).map(|entry| ArchiveFault {
            place: format!("streams/{}", entry.name),
            what: format!("lacks {}, as the manifest says", consumers(&entry.missing_consumers)),
        });
        of_snapshots.chain(lacking).take(MAX_FAULTS).collect()
    }

    fn results(&self, failed: &[FailedStream]) -> Vec<StreamResult> {
        let came = self.came.iter().map(|(stream, came)| match &came.contents {
            None => StreamResult::not(stream.as_str(), StreamOutcome::Failed, "its snapshot is damaged"),
            Some(contents) => StreamResult::done(stream, contents.messages, came.bytes)
                .lacking(contents.within_batch.then(|| HALF_A_BATCH.to_owned())),
        });
        let failed = failed
            .iter()
            .map(|failed| StreamResult::not(failed.stream.as_str(), StreamOutcome::Failed, &failed.error));
        came.chain(failed).collect()
    }

    fn report(self, end_record: bool) -> VerifyReport {
        let whole = || self.came.values().filter_map(|came| Some((came, came.contents.as_ref()?)));
        let messages = whole().map(|(_, contents)| contents.messages).fold(0, u64::saturating_add);
        let bytes = whole().map(|(came, _)| came.bytes).fold(0, u64::saturating_add);
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
