//! Decides what a dump does with each stream of the list, before anything is captured. Pure: asks no server.

use crate::archive::{IndexedStream, ManifestStream, StreamKind};
use crate::chatto::policy::{self, CaptureStep, Skip};
use crate::cli;
use crate::jetstream::{Listed, Listing};
use crate::names::StreamName;

/// What is wrong with a stream that a restore has not completed.
pub(super) const HALF: &str =
    "a restore of it is under way or was cut off, so what is there is not the stream";

/// Every stream of the account, by what happens to it.
pub(super) struct Plan {
    /// To be captured, in order: by step, then small before large, then by name.
    pub captures: Vec<Listed>,
    /// Left out, and why.
    pub skipped: Vec<(Listed, Skip)>,
    /// Cannot be captured, and why. The name may not be a valid one.
    pub unavailable: Vec<(String, String)>,
}

impl Plan {
    pub fn new(listing: Listing, options: &cli::Dump) -> Plan {
        let mut captures = Vec::new();
        let mut skipped = Vec::new();
        let mut half = Vec::new();
        for stream in listing.streams {
            match skip(&stream, options) {
                None if stream.marker.is_some() => half.push((stream.name.to_string(), HALF.to_string())),
                Some(why) => skipped.push((stream, why)),
                None => captures.push(stream),
            }
        }
        captures.sort_by(|a, b| {
            (CaptureStep::of(&a.name), a.bytes, &a.name).cmp(&(CaptureStep::of(&b.name), b.bytes, &b.name))
        });
        let unavailable = listing
            .unavailable
            .into_iter()
            .filter(|stream| match StreamName::new(stream.name.as_str()) {
                Ok(name) => {
                    options.select.selects(&name)
                        && policy::skip(&name, false, options.include_keys).is_none()
                }
                Err(_) => true,
            })
            .map(|stream| (stream.name, stream.reason))
            .chain(half)
            .collect();
        Plan { captures, skipped, unavailable }
    }

    /// How many streams the archive is to name.
    pub fn streams(&self) -> usize {
        self.captures.len() + self.skipped.len() + self.unavailable.len()
    }

    /// The index of the archive that this plan leads to, without what only the caller knows.
    pub fn indexed(&self) -> Vec<IndexedStream> {
        let coming = self.captures.iter().map(|stream| indexed(stream, None));
        let skipped = self.skipped.iter().map(|(stream, why)| indexed(stream, Some(*why)));
        coming.chain(skipped).collect()
    }
}

fn skip(stream: &Listed, options: &cli::Dump) -> Option<Skip> {
    if !options.select.selects(&stream.name) {
        return Some(Skip::NotSelected);
    }
    policy::skip(&stream.name, stream.in_memory, options.include_keys)
}

fn indexed(stream: &Listed, skip: Option<Skip>) -> IndexedStream {
    IndexedStream {
        name: stream.name.clone(),
        kind: if skip.is_some() { StreamKind::Skipped } else { StreamKind::of(&stream.name) },
        storage: Some(if stream.in_memory { "memory" } else { "file" }.into()),
        replicas: Some(stream.replicas),
        messages: stream.messages,
        bytes: stream.bytes,
        format: None,
        reason: skip.map(|why| why.reason().into()),
        settings: stream.settings.iter().map(ToString::to_string).collect(),
    }
}

/// A skipped stream as the manifest lists it.
pub(super) fn skipped_entry(stream: &Listed, why: Skip) -> ManifestStream {
    ManifestStream {
        reason: Some(why.reason().into()),
        ..ManifestStream::new(stream.name.clone(), StreamKind::Skipped)
    }
}

/// A failed stream as the manifest lists it.
pub(super) fn failed_entry(name: StreamName, error: String, attempts: Option<u32>) -> ManifestStream {
    let kind = StreamKind::of(&name);
    ManifestStream { error: Some(error), attempts, ..ManifestStream::new(name, kind) }
}
