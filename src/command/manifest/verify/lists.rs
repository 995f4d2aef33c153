//! Compares the index and the manifest with the streams that came. Reads nothing itself.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{FoundSnapshot, Verifying};
use crate::archive::{ArchiveEnd, Index, Layout, Manifest, ManifestStream, StreamKind};

const MANIFEST: &str = "manifest.json";
const INDEX: &str = "index.json";

impl Verifying {
    pub(super) fn lists(&mut self, ended: &ArchiveEnd) {
        let mut faults = Vec::new();
        if let Some(manifest) = &self.manifest {
            self.manifest_faults(manifest, ended.layout, &mut faults);
            if let Some(index) = &self.index {
                index_faults(index, manifest, &mut faults);
            }
        }
        let listed = || self.manifest.iter().flat_map(|manifest| &manifest.streams);
        let failed: BTreeSet<_> = listed().filter(|s| s.error.is_some()).map(|s| &s.name).collect();
        for (stream, file) in self.empty.iter().filter(|(stream, _)| !failed.contains(stream)) {
            let what = "is empty, and the manifest does not say that the stream failed".to_owned();
            faults.push((format!("streams/{stream}/{file}"), what));
        }
        // What the manifest says to be there is missed above.
        let held: BTreeSet<_> = listed().filter(|s| s.kind != StreamKind::Skipped).map(|s| &s.name).collect();
        for stream in self.described.keys() {
            let found = self.found.contains_key(stream) || self.empty.contains_key(stream);
            if !found && !held.contains(stream) {
                faults.push((format!("streams/{stream}/stream.tar.s2"), "is missing".to_owned()));
            }
        }
        for stream in self.found.keys().filter(|stream| !self.described.contains_key(*stream)) {
            let what = "is missing, and without it the stream cannot be restored".to_owned();
            faults.push((format!("streams/{stream}/backup.json"), what));
        }
        faults.into_iter().for_each(|(place, what)| self.fault(place, what));
    }

    fn manifest_faults(&self, manifest: &Manifest, layout: Layout, faults: &mut Vec<(String, String)>) {
        let mut listed = BTreeSet::new();
        for entry in &manifest.streams {
            let name = &entry.name;
            listed.insert(name);
            let held = entry.kind != StreamKind::Skipped && entry.error.is_none();
            let whats = match (self.found.get(name), held) {
                (Some(_), false) if entry.kind == StreamKind::Skipped => {
                    vec![format!("says that stream {name} was left out, and it came")]
                }
                (Some(_), false) => vec![format!("says that stream {name} failed, and it came")],
                // Said where its empty file lies.
                (None, true) if self.empty.contains_key(name) => Vec::new(),
                (None, true) => vec![format!("lists stream {name}, which did not come")],
                (Some(found), true) => differences(entry, found),
                (None, false) => Vec::new(),
            };
            faults.extend(whats.into_iter().map(|what| (MANIFEST.to_owned(), what)));
        }
        for name in self.found.keys().filter(|name| !listed.contains(name)) {
            faults.push((MANIFEST.into(), format!("does not list stream {name}, which came")));
        }
        // Other programs may count in another way.
        if layout == Layout::Ours && manifest.count(manifest.stats.duration_ms) != manifest.stats {
            faults.push((MANIFEST.into(), "its totals are not those of its streams".into()));
        }
    }
}

/// What `entry` says otherwise than it is. The numbers of `chatto backup` are the server's reported state, which
/// was checked already; ours were counted.
fn differences(entry: &ManifestStream, found: &FoundSnapshot) -> Vec<String> {
    let name = &entry.name;
    let mut whats = Vec::new();
    let mut compare = |what: &str, says: Option<u64>, is: Option<u64>| {
        if let (Some(says), Some(is)) = (says, is)
            && says != is
        {
            whats.push(format!("says that stream {name} has {what} {says}, and it has {is}"));
        }
    };
    compare("bytes", Some(entry.bytes), Some(found.bytes));
    if let Some(contents) = found.contents.as_ref().filter(|_| entry.is_counted()) {
        compare("the last sequence", entry.last_seq, Some(contents.last_seq));
        compare("consumers", entry.consumers, Some(contents.consumers));
        // Where the stream changed during the capture, these depend on the description.
        if found.described {
            compare("messages", Some(entry.messages), Some(contents.messages));
            compare("the first sequence", entry.first_seq, Some(contents.first_seq));
            compare("deleted messages", entry.deleted, Some(contents.deleted));
        }
        let format = contents.format.to_string();
        if entry.format.as_ref().is_some_and(|says| *says != format) {
            whats.push(format!("says that stream {name} has another format than {format}"));
        }
    }
    if entry.is_counted() && entry.attempt != found.attempt {
        whats.push(format!("does not name the attempt of stream {name} that came last"));
    }
    whats
}

fn index_faults(index: &Index, manifest: &Manifest, faults: &mut Vec<(String, String)>) {
    let mut fault = |what: String| faults.push((INDEX.to_owned(), what));
    // Without a time it is that of an rsyncable archive, or of what was made of one.
    let has_time = index.created_at != Timestamp::UNIX_EPOCH;
    if has_time && index.created_at != manifest.created_at {
        fault("has another time than the manifest".into());
    }
    if manifest.include_keys.is_some_and(|keys| keys != index.include_keys) {
        fault("disagrees with the manifest on whether keys are included".into());
    }
    let of = |entry: &ManifestStream| (entry.name.clone(), entry.kind == StreamKind::Skipped);
    let listed: BTreeMap<_, _> = manifest.streams.iter().map(of).collect();
    for stream in &index.streams {
        match listed.get(&stream.name) {
            None => fault(format!("announces stream {}, of which the manifest says nothing", stream.name)),
            Some(skipped) if *skipped != (stream.kind == StreamKind::Skipped) => {
                fault(format!("disagrees with the manifest on whether stream {} was left out", stream.name));
            }
            Some(_) => {}
        }
    }
}
