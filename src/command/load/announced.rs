//! The streams that an archive lists in its index and its manifest, compared with the streams that came. Pure: reads
//! nothing itself.

use std::collections::{BTreeMap, BTreeSet};

use super::super::verifier::Proven;
use super::existing::MessageRange;
use crate::archive::{Index, Manifest, StreamKind};
use crate::cli::StreamSelection;
use crate::names::StreamName;

/// The lists that have come so far.
#[derive(Default)]
pub(super) struct Announced {
    /// The selected streams that the index and the manifest list.
    listed: BTreeSet<StreamName>,
    /// The bytes of messages that the index tells of each stream.
    bytes: BTreeMap<StreamName, u64>,
    /// Whether an index has come, which lists all that follows.
    indexed: bool,
    /// The streams that came, perhaps before anything had listed them.
    came: BTreeSet<StreamName>,
    /// The streams of which a file came with nothing in it, and which file.
    empty: BTreeMap<StreamName, &'static str>,
    manifest: Option<Manifest>,
}

impl Announced {
    /// Takes the index; gives the streams that are coming.
    pub fn index(&mut self, index: &Index, select: &StreamSelection) -> BTreeSet<StreamName> {
        let listed = index.streams.iter().filter(|stream| stream.kind != StreamKind::Skipped);
        self.indexed = true;
        self.bytes = listed.clone().map(|stream| (stream.name.clone(), stream.bytes)).collect();
        self.list(listed.map(|stream| &stream.name), select)
    }

    /// Takes the manifest; gives the streams that it says to be held, and the selected ones that it
    /// records as failed, with the reason.
    pub fn manifest(
        &mut self,
        manifest: Manifest,
        select: &StreamSelection,
    ) -> (BTreeSet<StreamName>, Vec<(StreamName, String)>) {
        let held = manifest.streams.iter().filter(|s| s.kind != StreamKind::Skipped && s.error.is_none());
        let coming = self.list(held.map(|stream| &stream.name), select);
        let chosen =
            manifest.streams.iter().filter(|s| s.kind != StreamKind::Skipped && select.selects(&s.name));
        let failed = chosen.filter_map(|s| Some((s.name.clone(), s.error.clone()?))).collect();
        self.manifest = Some(manifest);
        (coming, failed)
    }

    /// Whether the stream may come: an index, where there was one, lists it.
    pub fn expects(&self, stream: &StreamName) -> bool {
        !self.indexed || self.listed.contains(stream)
    }

    /// Whether an index has come: the archive is one of ours then, and has a sum of every file.
    pub fn has_index(&self) -> bool {
        self.indexed
    }

    /// What our dump has counted in the stream's snapshot, where the manifest has come and is one of ours.
    pub fn counted(&self, stream: &StreamName) -> Option<MessageRange> {
        let entry = self.manifest.as_ref()?.streams.iter().find(|entry| entry.name == *stream)?;
        entry.is_counted().then_some(())?;
        Some(MessageRange {
            messages: entry.messages,
            first_seq: entry.first_seq?,
            last_seq: entry.last_seq?,
        })
    }

    /// How many bytes of messages the index tells of.
    pub fn bytes(&self, stream: &StreamName) -> Option<u64> {
        self.bytes.get(stream).copied()
    }

    /// A stream came.
    pub fn came(&mut self, stream: &StreamName) {
        self.came.insert(stream.clone());
    }

    /// A file of a stream came with nothing in it.
    pub fn empty(&mut self, stream: StreamName, file: &'static str) {
        self.empty.insert(stream, file);
    }

    /// The streams with an empty file that the manifest does not say to have failed, and the file.
    pub fn emptied(&self) -> Vec<(StreamName, &'static str)> {
        let streams = || self.manifest.iter().flat_map(|manifest| &manifest.streams);
        let failed: BTreeSet<_> = streams().filter(|s| s.error.is_some()).map(|s| &s.name).collect();
        let emptied = self.empty.iter().filter(|(name, _)| !failed.contains(name));
        emptied.map(|(name, file)| (name.clone(), *file)).collect()
    }

    /// The streams that were listed and did not come.
    pub fn missing(&self) -> Vec<StreamName> {
        self.listed.difference(&self.came).filter(|name| !self.empty.contains_key(name)).cloned().collect()
    }

    /// The streams that the manifest describes otherwise than they were proven to be.
    pub fn belied<'a>(&'a self, proven: &BTreeMap<StreamName, Proven>) -> Vec<&'a StreamName> {
        let entries = self.manifest.iter().flat_map(|manifest| &manifest.streams);
        let belied = entries.filter(|entry| {
            proven.get(&entry.name).is_some_and(|proven| {
                entry.error.is_some()
                    || entry.kind == StreamKind::Skipped
                    || entry.bytes != proven.bytes
                    || (entry.is_counted() && entry.messages != proven.contents.messages)
            })
        });
        belied.map(|entry| &entry.name).collect()
    }

    /// The streams whose snapshots lack consumers by the manifest, and those consumers' names.
    pub fn lacking<'a>(
        &'a self,
        proven: &'a BTreeMap<StreamName, Proven>,
    ) -> impl Iterator<Item = (&'a StreamName, &'a [String])> {
        let entries = self.manifest.iter().flat_map(|manifest| &manifest.streams);
        entries
            .filter(|entry| !entry.missing_consumers.is_empty() && proven.contains_key(&entry.name))
            .map(|entry| (&entry.name, entry.missing_consumers.as_slice()))
    }

    /// The proven streams that the manifest, where there was one, does not list.
    pub fn unlisted(&self, proven: &BTreeMap<StreamName, Proven>) -> Vec<StreamName> {
        let Some(manifest) = &self.manifest else { return Vec::new() };
        let listed: BTreeSet<_> = manifest.streams.iter().map(|entry| &entry.name).collect();
        proven.keys().filter(|name| !listed.contains(name)).cloned().collect()
    }

    fn list<'a>(
        &mut self,
        names: impl Iterator<Item = &'a StreamName>,
        select: &StreamSelection,
    ) -> BTreeSet<StreamName> {
        let coming: BTreeSet<_> = names.filter(|name| select.selects(name)).cloned().collect();
        self.listed.extend(coming.iter().cloned());
        coming
    }
}
