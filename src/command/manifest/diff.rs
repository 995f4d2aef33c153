//! `diff`: prints the differences between two archives, one line each. Knows no snapshot format.
//!
//! It compares everything that needs no messages in memory: the names of the streams, their configurations, the number
//! of messages, the sequences, the times of the first and the last message, and the consumers. It does not compare bytes,
//! because two snapshots of an unchanged stream can differ in their bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::value::RawValue;

use super::input::{PROGRAM, of_streams};
use super::nats_backup;
use crate::archive::{self, Entry, NatsBackupFile, NatsBackupTar, Reader, StreamKind, Tar};
use crate::cli;
use crate::command::failure::shown;
use crate::command::output::print;
use crate::command::report::{exit_of, say};
use crate::command::{Failure, secrets};
use crate::description::{BadDescription, Description, Times};
use crate::envelope;
use crate::exit::Exit;
use crate::names::{Printable, StreamName, counted};
use crate::settings::{self, Config};
use crate::snapshot::ReportedState;
use crate::terminal::Messages;
use crate::terminal::progress::{Metered, Progress};

/// The answer "different": 1, as with diff(1).
const DIFFERENT: Exit = Exit::Failed;

/// What would be [`Exit::Failed`] with other actions: 2, as with diff(1).
const TROUBLE: Exit = Exit::Usage;

/// The most bytes that the descriptions of one archive may have together: 8,000 streams have some 16 MiB. Of those of
/// both archives all configurations are held, as they are written.
const MAX_DESCRIPTIONS: usize = 24 << 20;

pub(super) fn run(options: cli::Diff, progress: Progress) -> anyhow::Result<Exit> {
    let messages = Messages::new(PROGRAM, options.say.verbosity());
    match compare(options, messages, progress) {
        Err(error) if exit_of(&error) == Exit::Failed => {
            say(&messages, &error);
            Ok(TROUBLE)
        }
        answer => answer,
    }
}

fn compare(options: cli::Diff, messages: Messages, progress: Progress) -> anyhow::Result<Exit> {
    let cli::Diff { a, b, secrets, .. } = options;
    if envelope::is_stdin(&a) && envelope::is_stdin(&b) {
        return Err(Failure::new(Exit::Usage, "only one of two archives can be stdin").into());
    }
    let (inputs, mut secrets) = {
        let inputs = (secrets::input(Some(&a))?, secrets::input(Some(&b))?);
        let stdin: &Path = if envelope::is_stdin(&a) { &a } else { &b };
        (inputs, secrets::unlock(secrets, Some(stdin), messages)?)
    };
    let mut streams = |input, name: &PathBuf| -> anyhow::Result<Streams> {
        let opened = envelope::open(Box::new(Metered::new(input, progress.clone())), &mut secrets);
        let read = opened.map_err(anyhow::Error::from).and_then(|opened| match archive::recognise(opened) {
            Tar::Archive(input) => streams(Reader::new(input)),
            Tar::NatsBackup(input) => streams_of_nats_backup(input),
        });
        read.map_err(|error| error.context(shown(name).to_string()))
    };
    let (old, new) = (streams(inputs.0, &a)?, streams(inputs.1, &b)?);
    let lines = differences(&old, &new);
    print(lines.concat().as_bytes())?;
    progress.answer(if lines.is_empty() { "equal" } else { "different" });
    Ok(if lines.is_empty() { Exit::Done } else { DIFFERENT })
}

/// The facts about a stream that are compared.
#[derive(Debug, Clone)]
struct ComparedStream {
    /// This is kept as text, because it takes many times the memory when it is parsed.
    config: Box<RawValue>,
    state: State,
    consumers: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct State {
    messages: u64,
    first_seq: u64,
    last_seq: u64,
    times: Times,
}

impl ComparedStream {
    fn from_json(json: &[u8]) -> Result<Self, BadDescription> {
        let description = Description::from_json(json)?;
        let times = description.times()?;
        let ReportedState { messages, first_seq, last_seq, .. } = description.reported;
        let state = State { messages, first_seq, last_seq, times };
        Ok(ComparedStream { config: description.config, state, consumers: None })
    }
}

type Streams = BTreeMap<StreamName, ComparedStream>;

/// The streams of an archive, by their descriptions.
#[derive(Default)]
struct Descriptions {
    streams: Streams,
    bytes: usize,
}

impl Descriptions {
    fn add(&mut self, stream: StreamName, place: &str, json: &[u8]) -> anyhow::Result<()> {
        self.bytes = self.bytes.saturating_add(json.len());
        if self.bytes > MAX_DESCRIPTIONS {
            let what = "the archive's descriptions are too large to compare";
            return Err(Failure::new(Exit::Failed, what).into());
        }
        let described = ComparedStream::from_json(json).map_err(|BadDescription(error)| {
            let (place, error) = (Printable::new(place), Printable::new(&error.to_string()));
            Failure::new(Exit::Damaged, format!("{place}: {error}"))
        })?;
        self.streams.insert(stream, described);
        Ok(())
    }
}

/// The streams of a whole archive, with the numbers that were counted if the archive has them.
fn streams<R: Read>(mut archive: Reader<R>) -> anyhow::Result<Streams> {
    let mut described = Descriptions::default();
    let mut manifest = None;
    while let Some(entry) = archive.next()? {
        match entry {
            Entry::Manifest(read) => manifest = Some(read),
            Entry::Backup { stream, json, .. } => {
                let place = format!("streams/{}/backup.json", stream.as_str());
                described.add(stream, &place, &json)?;
            }
            _ => {}
        }
    }
    of_streams(&archive.finish()?)?;
    let mut streams = described.streams;
    for listed in manifest.iter().flat_map(|manifest| &manifest.streams) {
        if listed.kind == StreamKind::Skipped || listed.error.is_some() {
            streams.remove(&listed.name);
        } else if let Some(stream) = streams.get_mut(&listed.name).filter(|_| listed.is_counted()) {
            stream.state.messages = listed.messages;
            stream.state.first_seq = listed.first_seq.unwrap_or(stream.state.first_seq);
            stream.state.last_seq = listed.last_seq.unwrap_or(stream.state.last_seq);
            stream.consumers = listed.consumers;
        }
    }
    Ok(streams)
}

/// The streams of a tar of backup directories, as their descriptions have them.
fn streams_of_nats_backup<R: Read>(mut input: NatsBackupTar<R>) -> anyhow::Result<Streams> {
    let mut described = Descriptions::default();
    while let Some(found) = input.next()? {
        let NatsBackupFile::Backup { directory, json } = found else { continue };
        let place = nats_backup::place(&directory, nats_backup::BACKUP);
        described.add(nats_backup::described(&place, &json)?.0, &place, &json)?;
    }
    Ok(described.streams)
}

/// One line a difference, sorted by stream.
fn differences(old: &Streams, new: &Streams) -> Vec<String> {
    let names: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let mut lines = Vec::new();
    for name in names {
        let found = match (old.get(name), new.get(name)) {
            (None, Some(stream)) => vec![format!("added: {}", counted(stream.state.messages, "message"))],
            (Some(stream), None) => vec![format!("removed: {}", counted(stream.state.messages, "message"))],
            (Some(old), Some(new)) => stream_differences(old, new),
            (None, None) => Vec::new(),
        };
        lines.extend(found.into_iter().map(|what| format!("{name}: {what}\n")));
    }
    lines
}

fn stream_differences(old: &ComparedStream, new: &ComparedStream) -> Vec<String> {
    let mut found = Vec::new();
    // That it is a configuration was seen when it was read.
    let config = |of: &ComparedStream| serde_json::from_str::<Config>(of.config.get()).unwrap_or_default();
    let changed = settings::differences(&config(old), &config(new));
    if !changed.is_empty() {
        let changed: Vec<_> = changed.iter().map(|field| Printable::new(field).to_string()).collect();
        found.push(format!("reconfigured: {}", changed.join(", ")));
    }
    let (a, b) = (&old.state, &new.state);
    if is_rewritten(a, b) {
        let (before, after) = (sequences(a), sequences(b));
        found.push(format!("rewritten: was {before}, is {after}"));
    } else {
        if b.last_seq > a.last_seq {
            let grown = b.last_seq.saturating_sub(a.last_seq);
            let first = a.last_seq.saturating_add(1);
            found.push(format!(
                "grown: {} written, sequences {first}-{}",
                counted(grown, "message"),
                b.last_seq
            ));
        }
        let expected = a.messages.saturating_add(b.last_seq.saturating_sub(a.last_seq));
        if b.messages < expected {
            let gone = counted(expected.saturating_sub(b.messages), "message");
            let first = match a.first_seq == b.first_seq {
                true => String::new(),
                false => format!(", the first is {} and was {}", b.first_seq, a.first_seq),
            };
            found.push(format!("shrunk: {gone} removed{first}"));
        }
    }
    if let (Some(before), Some(after)) = (old.consumers, new.consumers)
        && before != after
    {
        found.push(format!("consumers: was {before}, is {after}"));
    }
    found
}

/// Whether the newer state cannot have come from the older: a sequence is never used twice, and its message
/// never changes.
fn is_rewritten(a: &State, b: &State) -> bool {
    let same_first = a.first_seq == b.first_seq && a.messages > 0 && b.messages > 0;
    // Once the last message is gone, its time is told one way or another.
    let whole =
        |s: &State| s.messages > 0 && s.first_seq.saturating_add(s.messages) == s.last_seq.saturating_add(1);
    let same_last = a.last_seq == b.last_seq && whole(a) && whole(b);
    b.last_seq < a.last_seq
        || b.first_seq < a.first_seq
        || b.messages > a.messages.saturating_add(b.last_seq.saturating_sub(a.last_seq))
        || (same_first && a.times.first_ts != b.times.first_ts)
        || (same_last && a.times.last_ts != b.times.last_ts)
}

fn sequences(state: &State) -> String {
    let messages = counted(state.messages, "message");
    format!("{messages} in sequences {}-{}", state.first_seq, state.last_seq)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn streams(json: &str) -> Streams {
        let streams: BTreeMap<StreamName, &RawValue> = serde_json::from_str(json).unwrap();
        let described = |raw: &RawValue| ComparedStream::from_json(raw.get().as_bytes()).unwrap();
        streams.into_iter().map(|(name, raw)| (name, described(raw))).collect()
    }

    fn between(old: &str, new: &str) -> Vec<String> {
        let state = |state: &str| streams(&format!(r#"{{"S":{{"config":{{}},"state":{{{state}}}}}}}"#));
        differences(&state(old), &state(new))
    }

    #[test]
    fn a_state_that_can_come_from_another_is_growth_or_loss() {
        let old = r#""messages":5,"first_seq":2,"last_seq":9,"first_ts":"a","last_ts":"b""#;
        assert_eq!(between(old, old), [""; 0]);
        let grown = r#""messages":7,"first_seq":2,"last_seq":11,"first_ts":"a","last_ts":"c""#;
        assert_eq!(between(old, grown), ["S: grown: 2 messages written, sequences 10-11\n"]);
        let trimmed = r#""messages":4,"first_seq":5,"last_seq":10,"first_ts":"d","last_ts":"c""#;
        assert_eq!(
            between(old, trimmed),
            [
                "S: grown: 1 message written, sequences 10-10\n",
                "S: shrunk: 2 messages removed, the first is 5 and was 2\n"
            ]
        );
    }

    #[test]
    fn a_state_that_cannot_come_from_another_is_a_rewrite() {
        let old = r#""messages":8,"first_seq":2,"last_seq":9,"first_ts":"a","last_ts":"b""#;
        for new in [
            r#""messages":7,"first_seq":2,"last_seq":8,"first_ts":"a","last_ts":"b""#,
            r#""messages":8,"first_seq":1,"last_seq":9,"first_ts":"a","last_ts":"b""#,
            r#""messages":9,"first_seq":2,"last_seq":9,"first_ts":"a","last_ts":"b""#,
            r#""messages":8,"first_seq":2,"last_seq":9,"first_ts":"x","last_ts":"b""#,
            r#""messages":8,"first_seq":2,"last_seq":9,"first_ts":"a","last_ts":"x""#,
        ] {
            let lines = between(old, new);
            assert!(lines.len() == 1 && lines[0].starts_with("S: rewritten: was 8 messages"), "{lines:?}");
        }
    }

    #[test]
    fn what_one_program_writes_and_another_leaves_out_is_no_difference() {
        let old = streams(r#"{"A":{"config":{"name":"A","max_msgs":-1},"state":{}}}"#);
        let new = streams(
            r#"{"A":{"config":{"name":"A","allow_msg_ttl":false,"compression":"none","sealed":false,"max_msgs":0,
                "consumer_limits":{},"metadata":{"_nats.ver":"2.14.5"}},"state":{}}}"#,
        );
        assert_eq!(differences(&old, &new), [""; 0]);
        assert_eq!(differences(&new, &old), [""; 0]);
    }

    #[test]
    fn streams_come_and_go_and_change_their_configuration() {
        let old = streams(
            r#"{"A":{"config":{"x":1,"y":[2]},"state":{}},"B":{"config":{},"state":{"messages":1}}}"#,
        );
        let new =
            streams(r#"{"A":{"config":{"x":1,"y":[3],"z":7},"state":{}},"C":{"config":{},"state":{}}}"#);
        let lines = differences(&old, &new);
        assert_eq!(lines, ["A: reconfigured: y, z\n", "B: removed: 1 message\n", "C: added: 0 messages\n"]);
    }
}
