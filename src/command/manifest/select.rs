//! `select`: writes an archive with some of the streams, and with a new index, manifest and sums. If all streams are
//! selected, the new archive is the same as the old one, byte for byte. Knows no snapshot format.
//!
//! It reads the input once. So an archive of `chatto backup` must have its manifest, and each description, before the
//! snapshots, as that program writes it. `import` takes any order.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};

use anyhow::Context;

use super::input::{PROGRAM, open};
use super::output::{binary_output, closing, copy_failure};
use crate::archive::{
    self, Digest, Entry, Index, IndexedStream, Manifest, ManifestStream, Reader, StreamKind, Writer,
};
use crate::chatto::policy::{Skip, holds_keys};
use crate::cli::{self, StreamSelection};
use crate::command::Failure;
use crate::exit::Exit;
use crate::names::StreamName;
use crate::terminal::Messages;
use crate::terminal::progress::Progress;

pub(super) fn run(options: cli::SelectStreams, progress: Progress) -> anyhow::Result<Exit> {
    let messages = Messages::new(PROGRAM, options.reading.say.verbosity());
    let output = binary_output("select", &progress)?;
    let mut archive = open(options.reading, progress.clone())?.archive()?;
    let manifest = copy(&mut archive, output, &options.select, None)?;
    Ok(closing(messages, &manifest, &progress))
}

/// What to do if a stream is missing.
pub(super) const LIST: &str = "chatto-manifest list names them";

/// The snapshots in parts: the number of the valid attempt, and its bytes.
pub(super) type SnapshotsInParts = BTreeMap<StreamName, (u32, u64)>;

/// Copies the streams that `select` selects from `archive` to `output`. With `joined`, every snapshot becomes one entry.
/// Gives the manifest of what it wrote.
#[expect(clippy::too_many_lines, reason = "one arm for each kind of entry, and they share what has come")]
pub(super) fn copy<R: Read>(
    archive: &mut Reader<R>,
    output: impl Write,
    select: &StreamSelection,
    joined: Option<&SnapshotsInParts>,
) -> anyhow::Result<Manifest> {
    let mut output = Some(output);
    let mut begin = |index: &Index, json: Option<Vec<u8>>| -> anyhow::Result<Writer<_>> {
        require_any(index, select)?;
        let mtime = u64::try_from(index.created_at.as_second()).unwrap_or_default();
        let output = output.take().context("the archive has two indexes")?;
        let mut writer = Writer::new(output, mtime);
        match json.filter(|_| !select.is_choosy()) {
            Some(json) => writer.index_json(&json),
            None => writer.index(&selected_index(index.clone(), select)),
        }
        .map_err(copy_failure)?;
        Ok(writer)
    };

    let mut writer = None;
    let mut manifest: Option<(Manifest, Vec<u8>)> = None;
    let mut described: Option<(StreamName, Vec<u8>)> = None;
    let mut seen = SeenStreams::default();
    let mut digests = BTreeMap::new();
    while let Some(entry) = archive.next()? {
        match entry {
            Entry::Index(index) => writer = Some(begin(&index, Some(archive.take_json()))?),
            Entry::Manifest(read) => {
                if writer.is_none() {
                    writer = Some(begin(&index_of(&read), None)?);
                }
                manifest = Some((read, archive.take_json()));
            }
            Entry::Backup { stream, .. }
            | Entry::Snapshot { stream, .. }
            | Entry::Empty { stream, .. }
            | Entry::Part { stream, .. }
            | Entry::Abandoned { stream, .. }
                if !select.selects(&stream) => {}
            Entry::Backup { stream, attempt: Some(n), json } => match joined {
                Some(joined) if joined.get(&stream).is_some_and(|(counts, _)| *counts == n) => {
                    described = Some((stream, json));
                }
                Some(_) => {}
                None => {
                    require_writer(&mut writer)?.attempt(&stream, n, &json).map_err(copy_failure)?;
                    seen.whole.insert(stream);
                }
            },
            Entry::Backup { stream, attempt: None, json } => {
                seen.other.insert(stream.clone());
                described = Some((stream, json));
            }
            Entry::Snapshot { stream, size, mut body, .. } => {
                let json = description(&mut described, &stream)?;
                require_writer(&mut writer)?
                    .copy_whole(&stream, &json, &mut body, size)
                    .map_err(copy_failure)?;
                seen.whole.insert(stream);
            }
            Entry::Empty { stream, .. } => drop(seen.other.insert(stream)),
            Entry::Part { stream, attempt, size, mut body, .. } => match joined {
                None => require_writer(&mut writer)?.copy_part(&mut body, size).map_err(copy_failure)?,
                Some(joined) => {
                    if let Some((_, size)) = joined.get(&stream).filter(|(counts, _)| *counts == attempt) {
                        let json = description(&mut described, &stream)?;
                        let mut whole = archive.joined();
                        let writer = require_writer(&mut writer)?;
                        let digest = writer.whole(&stream, &json, &mut whole, *size).map_err(copy_failure)?;
                        digests.insert(stream.clone(), digest);
                        seen.whole.insert(stream);
                    }
                }
            },
            Entry::Abandoned { stream, reason, .. } if joined.is_none() => {
                seen.whole.remove(&stream);
                require_writer(&mut writer)?.abandon(&reason).map_err(copy_failure)?;
            }
            Entry::Abandoned { .. } | Entry::Other { .. } | Entry::Sums { .. } => {}
        }
    }
    // Nothing remains to be read: this gives no error that was not given already.
    if let Some((manifest, json)) = manifest {
        seen.compare(&manifest, select)?;
        let parts = joined.is_some() && manifest.streams.iter().any(|stream| stream.attempt.is_some());
        let writer = writer.take().context("the archive has no index")?;
        if select.is_choosy() || parts {
            let manifest = selected_manifest(manifest, select, &digests);
            writer.finish(&manifest).map_err(copy_failure)?;
            return Ok(manifest);
        }
        writer.finish_json(&json).map_err(copy_failure)?;
        return Ok(manifest);
    }
    Err(archive::Error::Keys.into())
}

/// Refuses a selection of nothing.
pub(super) fn require_any(index: &Index, select: &StreamSelection) -> Result<(), Failure> {
    let mut coming = index.streams.iter().filter(|stream| stream.kind != StreamKind::Skipped);
    if !select.is_choosy() || coming.any(|stream| select.selects(&stream.name)) {
        return Ok(());
    }
    Err(Failure::new(Exit::Failed, "--stream and --exclude select no stream of the archive").hint(LIST))
}

/// Which of the selected streams have come.
#[derive(Default)]
pub(super) struct SeenStreams {
    /// Streams with a whole snapshot.
    pub whole: BTreeSet<StreamName>,
    /// Streams of which something else came: a description, or an empty file.
    pub other: BTreeSet<StreamName>,
}

impl SeenStreams {
    /// Refuses the archive if other streams came than the manifest lists. In an archive without sums, nothing else shows
    /// that a stream is missing.
    pub fn compare(&self, manifest: &Manifest, select: &StreamSelection) -> Result<(), Failure> {
        let listed =
            || manifest.streams.iter().filter(|s| s.kind != StreamKind::Skipped && select.selects(&s.name));
        let damaged =
            |what| Err(Failure::new(Exit::Damaged, format!("the archive is damaged: manifest.json: {what}")));
        let mut held = listed().filter(|stream| stream.error.is_none());
        if let Some(stream) = held.find(|stream| !self.whole.contains(&stream.name)) {
            return damaged(format!("lists stream {}, which did not come", stream.name));
        }
        let names: BTreeSet<_> = listed().map(|stream| &stream.name).collect();
        if let Some(stream) = self.whole.union(&self.other).find(|stream| !names.contains(stream)) {
            return damaged(format!("does not list stream {stream}, which came"));
        }
        Ok(())
    }
}

fn require_writer<W: Write>(writer: &mut Option<Writer<W>>) -> anyhow::Result<&mut Writer<W>> {
    writer.as_mut().ok_or_else(|| out_of_order("the manifest comes after streams").into())
}

/// The description of `stream`, which came right before its snapshot.
pub(super) fn description(
    described: &mut Option<(StreamName, Vec<u8>)>,
    stream: &StreamName,
) -> anyhow::Result<Vec<u8>> {
    match described.take() {
        Some((of, json)) if of == *stream => Ok(json),
        _ => Err(out_of_order(&format!(
            "backup.json does not come right before the snapshot of stream {stream}"
        ))
        .into()),
    }
}

pub(super) fn out_of_order(what: &str) -> Failure {
    Failure::new(Exit::Failed, format!("the archive has another order than chatto backup writes: {what}"))
        .hint("put it in order first: chatto-manifest import FILE > archive")
}

/// The index that belongs before the streams of `manifest`.
pub(super) fn index_of(manifest: &Manifest) -> Index {
    let held = manifest.streams.iter().filter(|stream| stream.error.is_none());
    let keys = any_keys(held.clone().map(|stream| (stream.kind, &stream.name)));
    Index {
        version: 1,
        created_at: manifest.created_at,
        generator: super::output::generator(),
        server: manifest.server.clone(),
        include_keys: manifest.include_keys.unwrap_or(keys),
        streams: held
            .map(|stream| IndexedStream {
                name: stream.name.clone(),
                kind: stream.kind,
                storage: None,
                replicas: None,
                messages: stream.messages,
                bytes: stream.bytes,
                format: stream.format.clone(),
                reason: stream.reason.clone(),
                settings: Vec::new(),
            })
            .collect(),
    }
}

/// Lists the streams that are not selected as left out, as `chatto-dump --stream` does.
fn selected_index(mut index: Index, select: &StreamSelection) -> Index {
    for stream in &mut index.streams {
        if stream.kind != StreamKind::Skipped && !select.selects(&stream.name) {
            stream.kind = StreamKind::Skipped;
            stream.reason = Some(Skip::NotSelected.reason().into());
        }
    }
    index.include_keys &= any_keys(index.streams.iter().map(|stream| (stream.kind, &stream.name)));
    index
}

/// The manifest of the selected streams. `digests` are those of the snapshots that were in parts and are now one entry.
fn selected_manifest(
    mut manifest: Manifest,
    select: &StreamSelection,
    digests: &BTreeMap<StreamName, Digest>,
) -> Manifest {
    for stream in &mut manifest.streams {
        if stream.kind != StreamKind::Skipped && !select.selects(&stream.name) {
            let reason = Some(Skip::NotSelected.reason().into());
            *stream =
                ManifestStream { reason, ..ManifestStream::new(stream.name.clone(), StreamKind::Skipped) };
        }
        if let Some(digest) = digests.get(&stream.name) {
            (stream.attempt, stream.parts_sha256, stream.sha256) = (None, None, Some(*digest));
        }
    }
    let keys = any_keys(manifest.streams.iter().map(|stream| (stream.kind, &stream.name)));
    manifest.include_keys = manifest.include_keys.map(|before| before && keys);
    manifest.stats = manifest.count(manifest.stats.duration_ms);
    manifest
}

pub(super) fn any_keys<'a>(streams: impl IntoIterator<Item = (StreamKind, &'a StreamName)>) -> bool {
    streams.into_iter().any(|(kind, name)| kind != StreamKind::Skipped && holds_keys(name))
}
