//! What an archive says that it holds, in its index and its manifest, held against what came. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::super::proof::Proven;
use crate::archive::{Index, Kind, Manifest};
use crate::cli::Select;
use crate::names::StreamName;

/// The announcements so far.
#[derive(Default)]
pub(super) struct Announced {
    /// The selected streams that the index, or else the manifest, lists.
    listed: Option<BTreeSet<StreamName>>,
    /// The streams that came, perhaps before anything had listed them.
    came: BTreeSet<StreamName>,
    manifest: Option<Manifest>,
}

impl Announced {
    /// Takes the index; gives the streams that are coming.
    pub fn index(&mut self, index: &Index, select: &Select) -> BTreeSet<StreamName> {
        let listed = index.streams.iter().filter(|stream| stream.kind != Kind::Skipped);
        self.list(listed.map(|stream| &stream.name), select)
    }

    /// Takes the manifest; gives the streams that are coming, where nothing had listed them before, and
    /// the selected ones that it records as failed, with the reason.
    pub fn manifest(
        &mut self,
        manifest: Manifest,
        select: &Select,
    ) -> (BTreeSet<StreamName>, Vec<(StreamName, String)>) {
        let held = manifest.streams.iter().filter(|s| s.kind != Kind::Skipped && s.error.is_none());
        let coming = match self.listed {
            Some(_) => BTreeSet::new(),
            None => self.list(held.map(|stream| &stream.name), select),
        };
        let chosen = manifest.streams.iter().filter(|s| s.kind != Kind::Skipped && select.selects(&s.name));
        let failed = chosen.filter_map(|s| Some((s.name.clone(), s.error.clone()?))).collect();
        self.manifest = Some(manifest);
        (coming, failed)
    }

    /// A stream came.
    pub fn came(&mut self, stream: &StreamName) {
        self.came.insert(stream.clone());
    }

    /// The streams that were listed and did not come.
    pub fn missing(&self) -> Vec<StreamName> {
        self.listed.iter().flatten().filter(|name| !self.came.contains(name)).cloned().collect()
    }

    /// The streams that the manifest describes otherwise than they were proven to be.
    pub fn belied<'a>(&'a self, proven: &BTreeMap<StreamName, Proven>) -> Vec<&'a StreamName> {
        let entries = self.manifest.iter().flat_map(|manifest| &manifest.streams);
        let belied = entries.filter(|entry| {
            proven.get(&entry.name).is_some_and(|proven| {
                // The numbers of `chatto backup` are the server's promise; ours, with a sum, were counted.
                entry.error.is_some()
                    || entry.kind == Kind::Skipped
                    || entry.bytes != proven.bytes
                    || entry
                        .sha256
                        .is_some_and(|sum| sum != proven.sha256 || entry.messages != proven.contents.messages)
            })
        });
        belied.map(|entry| &entry.name).collect()
    }

    fn list<'a>(
        &mut self,
        names: impl Iterator<Item = &'a StreamName>,
        select: &Select,
    ) -> BTreeSet<StreamName> {
        let coming: BTreeSet<_> = names.filter(|name| select.selects(name)).cloned().collect();
        self.listed = Some(coming.clone());
        coming
    }
}
