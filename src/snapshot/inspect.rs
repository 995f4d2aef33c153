//! Reads one snapshot to its end, in either format, and checks all of it. Knows no server and no archive.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::consumers::{Consumers, NewerSettings};
use super::content::Content;
use super::contents::Contents;
use super::fault::Fault;
use super::items::{Item, NoVisitor, VisitFn, Visitor};
use super::message_sum::MessageSum;
use super::meta::OwnConfig;
use super::reported_state::ReportedState;
use super::{Format, frames, natsarc, tarball};
use crate::names::StreamName;

/// What a caller wants besides the proof that the snapshot is whole. By default, nothing.
#[derive(Debug, Clone, Default)]
pub struct InspectOptions {
    /// [`Contents::sum`], which takes its time where messages are small.
    pub sum: bool,
    /// [`Contents::names`].
    pub names: bool,
    /// Where to note meanwhile how many bytes of content have been decoded.
    pub decoded: Arc<AtomicU64>,
    /// Names the settings of a consumer's configuration (JSON) that not every server knows.
    pub newer: Option<NewerSettings>,
    /// Where to put the snapshot's own [configuration](OwnConfig).
    pub own: Option<OwnConfig>,
}

/// The format of the snapshot that begins with these bytes; none when they do not say it.
pub fn format_of(beginning: &[u8]) -> Option<Format> {
    frames::first_byte(beginning).map(format_of_content)
}

/// The first byte tells: a tar begins with the name of its first file, and that is `meta.inf`, or
/// `PaxHeaders.0/meta.inf` before it.
pub(super) fn format_of_content(first: u8) -> Format {
    if natsarc::MAGIC.first() == Some(&first) { Format::NatsArc1 } else { Format::Tar }
}

/// Reads one snapshot to the end of `bytes` and checks all of it.
///
/// `reported` decides only what the bytes leave open: see [`Contents::messages`]. Whether it was kept is
/// [`Contents::agrees_with`].
///
/// # Errors
/// The first [`Fault`] met; the rest of `bytes` is then unread.
pub fn inspect(stream: &StreamName, reported: &ReportedState, bytes: impl Read) -> Result<Contents, Fault> {
    inspect_with(stream, reported, InspectOptions { sum: true, ..InspectOptions::default() }, bytes)
}

/// The same for somebody who wants less, or more, than the contents.
///
/// # Errors
/// As [`inspect`].
pub fn inspect_with<R: Read>(
    stream: &StreamName,
    reported: &ReportedState,
    wanted: InspectOptions,
    bytes: impl Into<Content<R>>,
) -> Result<Contents, Fault> {
    let content = bytes.into().counting(wanted.decoded);
    let sum = MessageSum::new(wanted.sum);
    let consumers = Consumers::new(wanted.newer, wanted.names);
    let read = read(Some(stream), reported, content, sum, consumers, wanted.own, &mut NoVisitor);
    read.map(|(_, contents)| contents)
}

/// The same, and shows meanwhile what it reads, item by item. What was shown counts only once all has been
/// read.
///
/// # Errors
/// As [`inspect`], and what `each` returns.
pub fn inspect_items<R: Read, E: From<Fault>>(
    stream: &StreamName,
    reported: &ReportedState,
    bytes: impl Into<Content<R>>,
    each: impl FnMut(Item<'_>) -> Result<(), E>,
) -> Result<Contents, E> {
    let mut each = VisitFn::new(each);
    let (sum, consumers) = (MessageSum::default(), Consumers::default());
    let read = read(Some(stream), reported, bytes.into(), sum, consumers, None, &mut each);
    read.map(|(_, contents)| contents)
}

/// The same for a snapshot of which nobody has said yet whose it is. Gives the name that it says itself: one
/// in NATSARC1 says none.
///
/// # Errors
/// As [`inspect`].
pub fn inspect_unnamed<R: Read>(
    reported: &ReportedState,
    wanted: InspectOptions,
    bytes: impl Into<Content<R>>,
) -> Result<(Option<StreamName>, Contents), Fault> {
    let content = bytes.into().counting(wanted.decoded);
    let (sum, consumers) = (MessageSum::new(wanted.sum), Consumers::new(wanted.newer, wanted.names));
    read(None, reported, content, sum, consumers, wanted.own, &mut NoVisitor)
}

fn read<R: Read, L: Visitor>(
    stream: Option<&StreamName>,
    reported: &ReportedState,
    mut content: Content<R>,
    sum: MessageSum,
    consumers: Consumers,
    own: Option<OwnConfig>,
    visitor: &mut L,
) -> Result<(Option<StreamName>, Contents), L::Error> {
    if content.fill()?.first().copied().map(format_of_content) == Some(Format::NatsArc1) {
        return Ok((None, natsarc::read(&mut content, sum, consumers, visitor)?));
    }
    let (name, contents) = tarball::read(&mut content, stream, reported, sum, consumers, own, visitor)?;
    Ok((Some(name), contents))
}
