//! `import`: makes an archive out of a tar of a `nats backup account` or `nats backup stream` directory. Knows no server.
//!
//! Such a tar has its files in any order, and an archive begins with the list of its streams. So the input is read three
//! times: to collect the descriptions, to compare each snapshot with its description, and to copy the snapshots that are
//! whole. The other snapshots are named, in the manifest too.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use jiff::Timestamp;
use serde_json::Value;

use super::input::PROGRAM;
use super::nats_backup::{BACKUP, Snapshots, described, described_by, place};
use super::output::{binary_output, closing, copy_failure};
use super::rereadable::RereadableInput;
use crate::archive::{
    self, HashingReader, Index, IndexedStream, Manifest, ManifestStream, NatsBackupFile, NatsBackupTar,
    Stats, StreamKind, Writer,
};
use crate::chatto::policy::holds_keys;
use crate::cli;
use crate::command::Failure;
use crate::exit::Exit;
use crate::names::{Printable, StreamName};
use crate::snapshot::{self, InspectOptions, OwnConfig, ReportedState};
use crate::terminal::Messages;
use crate::terminal::progress::Progress;

/// The most bytes that the descriptions of all streams may have together: 8,000 streams have some 16 MiB.
const MAX_DESCRIPTIONS: usize = 32 << 20;

/// Why a stream with an empty description is missing.
const FAILED: &str = "its backup.json is empty: it failed when the backup was made";

/// One stream of the input.
struct ImportedStream {
    name: StreamName,
    reported: ReportedState,
    replicas: Option<u32>,
    /// The settings that not every release knows.
    settings: Vec<String>,
    /// The bytes of its description. A stream cannot be written without them.
    json: Vec<u8>,
    /// The position of its snapshot among all snapshots of the input.
    place: usize,
    /// Its entry in the manifest, which also says what is wrong with its snapshot.
    entry: ManifestStream,
}

type Streams = BTreeMap<String, ImportedStream>;

pub(super) fn run(options: cli::ImportTar, progress: Progress) -> anyhow::Result<Exit> {
    let messages = Messages::new(PROGRAM, options.reading.say.verbosity());
    let output = binary_output("import", &progress)?;
    let mut input =
        RereadableInput::new("import", options.reading, options.spool_dir.as_deref(), progress.clone())?;
    let mut streams = describe(&mut NatsBackupTar::new(input.open()?))?;
    prove(&mut NatsBackupTar::new(input.open()?), &mut streams)?;
    let manifest = write(&mut NatsBackupTar::new(input.open()?), &streams, output)?;
    let kept = streams.values().filter(|stream| stream.entry.error.is_none());
    for stream in kept.filter(|stream| holds_keys(&stream.name)) {
        let name = &stream.name;
        messages.warning(&format!(
            "stream {name} holds keys and is in the archive; chatto-manifest select --exclude {name} takes it out"
        ));
    }
    Ok(closing(messages, &manifest, &progress))
}

fn damaged(directory: &str, what: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Damaged, format!("{}/backup.json: {what}", Printable::new(directory)))
}

fn describe<R: Read>(input: &mut NatsBackupTar<R>) -> anyhow::Result<Streams> {
    let mut streams = Streams::new();
    let mut names = std::collections::BTreeSet::new();
    let mut bytes = 0usize;
    let mut snapshots = Snapshots::default();
    while let Some(found) = input.next()? {
        let (directory, json) = match found {
            NatsBackupFile::Backup { directory, json } => (directory, json),
            NatsBackupFile::Snapshot { directory, file, size, .. } => {
                snapshots.take(&directory, file, size)?;
                continue;
            }
        };
        bytes = bytes.saturating_add(json.len());
        if bytes > MAX_DESCRIPTIONS {
            return Err(damaged(&directory, "with it, the descriptions have too many bytes").into());
        }
        // `chatto backup` leaves nothing else of a stream that failed.
        let failed = json.is_empty();
        let (reported, name, replicas, settings) = if failed {
            let name = directory.rsplit('/').next().unwrap_or_default();
            let name = StreamName::new(name).map_err(|e| damaged(&directory, e))?;
            (ReportedState::default(), name, None, Vec::new())
        } else {
            let (name, description) = described(&place(&directory, BACKUP), &json)?;
            let replicas = description.settings.get("num_replicas").and_then(Value::as_u64);
            let replicas = replicas.and_then(|n| u32::try_from(n).ok());
            let settings = description.newer_settings();
            (description.reported, name, replicas, settings)
        };
        if !names.insert(name.clone()) {
            return Err(damaged(&directory, format!("stream {name} comes twice")).into());
        }
        let error = Some(if failed { FAILED } else { "its snapshot is not in the tar" }.to_owned());
        let entry = ManifestStream { error, ..ManifestStream::new(name.clone(), StreamKind::of(&name)) };
        let described = ImportedStream { name, reported, replicas, settings, json, place: usize::MAX, entry };
        if streams.insert(directory.clone(), described).is_some() {
            return Err(damaged(&directory, "comes twice").into());
        }
    }
    if streams.is_empty() {
        return Err(Failure::new(Exit::Damaged, "the tar holds no backup.json of a stream").into());
    }
    Ok(streams)
}

fn prove<R: Read>(input: &mut NatsBackupTar<R>, streams: &mut Streams) -> anyhow::Result<()> {
    let mut place = 0usize;
    while let Some(found) = input.next()? {
        let NatsBackupFile::Snapshot { directory, body, .. } = found else { continue };
        let Some(stream) = streams.get_mut(&directory) else {
            return Err(
                damaged(&directory, "is missing, and without it the stream cannot be restored").into()
            );
        };
        (stream.place, place) = (place, place.saturating_add(1));
        if stream.json.is_empty() {
            continue;
        }
        let mut body = HashingReader::new(body);
        let own = OwnConfig::default();
        let wanted = InspectOptions { own: Some(own.clone()), ..InspectOptions::default() };
        let contents = match snapshot::inspect_with(&stream.name, &stream.reported, wanted, &mut body) {
            Err(snapshot::Fault::Io(error)) => return Err(archive::Error::from(error).into()),
            Err(fault) => Err(fault.to_string()),
            Ok(contents) => {
                match (contents.agrees_with(&stream.reported), described_by(&own, &stream.json)) {
                    (Err(short), _) => Err(short.to_string()),
                    (_, Err(unlike)) => Err(unlike.to_string()),
                    (Ok(()), Ok(())) => Ok(contents),
                }
            }
        };
        io::copy(&mut body, &mut io::sink()).map_err(archive::Error::from)?;
        let name = stream.name.clone();
        let entry = ManifestStream::new(name.clone(), StreamKind::of(&name));
        stream.entry = match contents {
            Err(error) => ManifestStream { error: Some(error), ..entry },
            Ok(contents) => ManifestStream {
                messages: contents.messages,
                bytes: body.length(),
                format: Some(contents.format.to_string()),
                first_seq: Some(contents.first_seq),
                last_seq: Some(contents.last_seq),
                deleted: Some(contents.deleted),
                consumers: Some(contents.consumers),
                sha256: Some(body.digest()),
                ..entry
            },
        };
    }
    Ok(())
}

fn write<R: Read>(
    input: &mut NatsBackupTar<R>,
    streams: &Streams,
    output: impl Write,
) -> anyhow::Result<Manifest> {
    let now = Timestamp::now();
    let created_at = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let mut in_order: Vec<_> = streams.values().collect();
    in_order.sort_by_key(|stream| stream.place);
    let indexed = |stream: &&ImportedStream| IndexedStream {
        name: stream.name.clone(),
        kind: StreamKind::of(&stream.name),
        storage: stream.reported.storage.clone(),
        replicas: stream.replicas,
        messages: stream.reported.messages,
        bytes: stream.entry.bytes,
        format: stream.entry.format.clone(),
        reason: None,
        settings: stream.settings.clone(),
    };
    let index = Index {
        version: 1,
        created_at,
        generator: super::output::generator(),
        server: None,
        include_keys: streams.values().any(|stream| holds_keys(&stream.name)),
        streams: in_order.iter().map(indexed).collect(),
    };
    let mut manifest = Manifest {
        version: 1,
        created_at,
        generator: Some(index.generator.clone()),
        server: None,
        include_keys: Some(index.include_keys),
        rsyncable: false,
        edited: Vec::new(),
        streams: in_order.iter().map(|stream| stream.entry.clone()).collect(),
        stats: Stats::default(),
    };
    manifest.stats = manifest.count(0);
    let mtime = u64::try_from(created_at.as_second()).unwrap_or_default();
    let mut writer = Writer::new(output, mtime);
    writer.index(&index).map_err(copy_failure)?;
    while let Some(found) = input.next()? {
        if let NatsBackupFile::Snapshot { directory, size, mut body, .. } = found
            && let Some(stream) = streams.get(&directory).filter(|stream| stream.entry.error.is_none())
        {
            writer.whole(&stream.name, &stream.json, &mut body, size).map_err(copy_failure)?;
        }
    }
    writer.finish(&manifest).map_err(copy_failure)?;
    Ok(manifest)
}
