//! Reads the descriptions in a tar of a directory of `nats backup account` or `nats backup stream`. Such a tar has neither
//! a manifest nor an end record, so nothing in it shows that a stream is missing. Reads no snapshot.

use std::collections::BTreeMap;
use std::io::Read;

use serde::Serialize;

use crate::archive::{ManifestStream, NatsBackupFile, NatsBackupTar, StreamKind};
use crate::command::Failure;
use crate::description::{BadDescription, Description};
use crate::exit::Exit;
use crate::names::{Printable, StreamName};
use crate::snapshot::{self, ConfigMismatch, OwnConfig};

/// The file that describes a stream.
pub(super) const BACKUP: &str = "backup.json";

/// What is wrong with a snapshot that has no description.
pub(super) const UNDESCRIBED: &str = "is missing, and without it the stream cannot be restored";

/// The path of a file in a directory, safe to print.
pub(super) fn place(directory: &str, file: &str) -> String {
    match directory {
        "" => file.to_owned(),
        directory => format!("{}/{file}", Printable::new(directory)),
    }
}

/// The description at `place`, and the stream that it names.
pub(super) fn described(place: &str, json: &[u8]) -> Result<(StreamName, Description), Failure> {
    let described =
        Description::from_json(json).and_then(|description| Ok((description.stream()?, description)));
    described.map_err(|BadDescription(error)| damaged(place, Printable::new(&error.to_string())))
}

fn damaged(place: &str, what: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Damaged, format!("{place}: {what}"))
}

/// The snapshots that have come. Each directory has one.
#[derive(Default)]
pub(super) struct Snapshots(BTreeMap<String, (&'static str, u64)>);

impl Snapshots {
    /// Takes the snapshot `file` in `directory`. It is an error if the directory already has one, because nobody can know
    /// which of them is right.
    pub fn take(&mut self, directory: &str, file: &'static str, size: u64) -> Result<(), Failure> {
        let Some((other, _)) = self.0.insert(directory.to_owned(), (file, size)) else { return Ok(()) };
        let failure = damaged(&place(directory, file), second(other, file));
        Err(failure.hint("pack the directory again without the file that is not of this backup"))
    }
}

/// What is wrong with the snapshot `file` in a directory that has had `other`.
pub(super) fn second(other: &str, file: &str) -> String {
    match other == file {
        true => "comes twice".to_owned(),
        false => format!("comes beside {other}, and a stream has one snapshot"),
    }
}

/// Whether the description `json` has the configuration that the snapshot itself has, where it has one.
pub(super) fn described_by(own: &OwnConfig, json: &[u8]) -> Result<(), ConfigMismatch> {
    own.get().map_or(Ok(()), |own| agrees(own, json))
}

/// The same for a description that may be invalid. Somebody else reports that.
pub(super) fn agrees(own: &[u8], json: &[u8]) -> Result<(), ConfigMismatch> {
    Description::from_json(json).map_or(Ok(()), |description| snapshot::agrees(own, &description.settings))
}

/// The streams as their descriptions say, with the size of their snapshots. A stream without a snapshot has an error.
pub(super) fn promised<R: Read>(input: &mut NatsBackupTar<R>) -> anyhow::Result<Vec<ManifestStream>> {
    let mut snapshots = Snapshots::default();
    let mut streams = BTreeMap::new();
    while let Some(found) = input.next()? {
        match found {
            NatsBackupFile::Snapshot { directory, file, size, .. } => {
                snapshots.take(&directory, file, size)?
            }
            NatsBackupFile::Backup { directory, json } => {
                let place = place(&directory, BACKUP);
                let (name, Description { reported, .. }) = described(&place, &json)?;
                let promised = ManifestStream {
                    messages: reported.messages,
                    first_seq: Some(reported.first_seq),
                    last_seq: Some(reported.last_seq),
                    deleted: Some(reported.num_deleted),
                    error: Some("its snapshot is not in the tar".to_owned()),
                    ..ManifestStream::new(name.clone(), StreamKind::of(&name))
                };
                streams.insert(directory, promised);
            }
        }
    }
    for (directory, (_, size)) in snapshots.0 {
        let Some(stream) = streams.get_mut(&directory) else {
            return Err(damaged(&place(&directory, BACKUP), UNDESCRIBED).into());
        };
        (stream.bytes, stream.error) = (size, None);
    }
    Ok(streams.into_values().collect())
}

/// The streams as JSON, as in a manifest.
pub(super) fn json(streams: &[ManifestStream]) -> anyhow::Result<String> {
    #[derive(Serialize)]
    struct ListedStreams<'a> {
        streams: &'a [ManifestStream],
    }
    let mut json = serde_json::to_string_pretty(&ListedStreams { streams })?;
    json.push('\n');
    Ok(json)
}
