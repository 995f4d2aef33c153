//! What is inside a server's snapshot of a stream, and whether it is whole. Knows no server and no
//! archive: bytes go in, [`Contents`] or a [`Fault`] come out.
//!
//! A snapshot whose transfer succeeded can still be empty, cut, or hold the server's own error message
//! instead of messages, and a server restores some of these without a word. So a snapshot counts only
//! once [`inspect`] has read it to its end.
//!
//! ```text
//! bytes ─ content (S2 frames) ─┬─ entries (tar) ─ tarball ─┬─ block ─┐
//!                              │                           └─ index ─┴─ tally ─ Contents
//!                              └─ natsarc ───────────────────────────────────── Contents
//! ```
//!
//! Both readers can also [show](inspect_items) what they read, [`Item`] by item. A [`Writer`] makes a snapshot
//! of such items in the tar format, which every server from 2.10 on restores, and a [`NatsArcWriter`] one in
//! NATSARC1, for streams in memory:
//!
//! ```text
//! items ─ writer (tar, records; cuts) or natsarc_writer ─ framing (S2 frames) ─ bytes
//! ```
//!
//! [`edit`](mod@edit) joins both, and leaves out what is not to be [kept](Keep) and [renames](Rename) what is.
//!
//! Everything is read in one pass. Memory: two S2 blocks ([`MAX_BLOCK`] each), one config or one consumer's
//! state (64 MiB at most), and for the tar format the sequences of the records (two bytes for a scattered
//! message, a bit for one in a row; at most [`MAX_SETS`], three times that in an edit, and 32 MiB for what one block has
//! deleted). Messages
//! are never held by a check; who is shown items is shown whole messages ([`MAX_RECORD`]), and a writer holds
//! one block ([`MAX_BLOCK_FILE`]) or one message, whichever is larger, or consumers ([`MAX_HELD`]).

mod block;
mod checksums;
mod consumer;
mod consumers;
mod content;
mod convert;
mod cuts;
mod edit;
#[cfg(test)]
mod edit_tests;
mod ending;
mod entries;
mod fault;
mod frames;
mod framing;
mod held_consumers;
mod index;
mod items;
mod keep;
mod leb128;
mod message_sum;
mod meta;
mod natsarc;
mod natsarc_writer;
mod newest;
mod rename;
mod reported_state;
mod rsyncable;
mod tally;
mod tarball;
#[cfg(test)]
mod test_snapshots;
#[cfg(test)]
mod tests;
mod writer;
#[cfg(test)]
mod writer_tests;

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

pub use consumer::{BadState, ConsumerState, Pending, SequencePair};
pub use consumers::MAX_NAMES;
pub use content::MAX_BLOCK;
pub use convert::{ConvertError, MAX_NAMED, add_consumers, put_consumers_back, to_natsarc1, to_tar};
pub use edit::{Edit, EditError, EditResult, MessageCounts, PastState, edit};
pub use ending::MAX_AHEAD;
pub use fault::{Fault, Place};
pub use frames::{Frames, PADDING};
pub use held_consumers::MAX_CONSUMERS;
pub use items::{Consumer, Item, MAX_RECORD, Record, State};
pub use keep::{Keep, Matched};
pub use meta::{ConfigMismatch, agrees, of_consumer as consumer_info, of_stream as stream_info};
pub use natsarc_writer::{MAX_HELD, NatsArcWriter};
pub use newest::{MAX_NEWEST, deleted, newest};
pub use rename::Rename;
pub use reported_state::{ReportedState, Shortfall};
pub use rsyncable::{Origin, rsyncable};
pub use tally::{MAX_SETS, Sequences};
pub use writer::{MAX_BLOCK_FILE, WriteError, Writer};

use crate::names::StreamName;
use consumers::{Consumers, NewerSettings};
use content::Content;
use items::{NoVisitor, VisitFn, Visitor};
use message_sum::MessageSum;

/// What a whole snapshot holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// The format it is in.
    pub format: Format,
    /// Live messages. Exact, unless the stream changed during the capture: then the reported state decides
    /// between what the server's index and what the records say.
    pub messages: u64,
    /// Messages that a restoring server may find, `messages` or more: those that a limit removed still
    /// have their records, and a server that cannot use the index brings them back until it applies the
    /// limits again.
    pub records: u64,
    /// Of those records, how many may be of live messages or not: the stream changed during the capture, or there is no
    /// index.
    pub unsettled: u64,
    /// The first sequence; one more than the last when there are no messages any more.
    pub first_seq: u64,
    /// The last sequence, whether or not its message is live.
    pub last_seq: u64,
    /// Sequences between first and last without a live message.
    pub deleted: u64,
    /// Consumers.
    pub consumers: u64,
    /// Those of them that a server still has after a restore, also where nobody uses them: no ephemeral ones.
    pub lasting_consumers: u64,
    /// What [`InspectOptions::newer`] said of the consumers, each with the first consumer that it was said of.
    pub newer: BTreeMap<&'static str, String>,
    /// Whether it ends with a message of an atomic batch and without the batch's end.
    pub within_batch: bool,
    /// The names of consumers that stand beyond the last sequence, [`MAX_AHEAD`] at most. Such a consumer
    /// never gets what a restored stream stores next.
    pub ahead: Vec<String>,
    /// The names of all consumers. None where they are not [wanted](InspectOptions::names), or are too long together
    /// ([`MAX_NAMES`]).
    pub names: Option<Vec<String>>,
    /// A sum over sequence, time, subject, headers and payload of every message, which depends neither on the
    /// format nor on the order in which they lie in it: equal sums, equal messages, as far as accidents go.
    /// None where it was not [wanted](InspectOptions::sum), or where the snapshot also holds messages that are not
    /// live, because it says which ones only after they have been read.
    pub sum: Option<u64>,
    /// Bytes of the decompressed content.
    pub bytes: u64,
}

/// What is said of a snapshot that ends [within a batch](Contents::within_batch).
pub const HALF_A_BATCH: &str = "it ends within an atomic batch, and the rest of the batch is not in it";

/// What somebody may want of a snapshot beside the proof that it is whole. By default, nothing.
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

/// The stream's configuration as the snapshot itself has it, with a sum that held (`meta.inf`, at most 8 MiB):
/// for [`agrees`]. Stays empty where a snapshot has none, as one in NATSARC1.
pub type OwnConfig = Arc<OnceLock<Vec<u8>>>;

/// The format of a snapshot. Displayed as the manifest names it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// Of servers before 2.15.
    #[default]
    Tar,
    /// Of servers from 2.15 on.
    NatsArc1,
}

impl Format {
    /// The format of the snapshot that begins with these bytes; none when they do not say it.
    pub fn of(beginning: &[u8]) -> Option<Format> {
        frames::first_byte(beginning).map(Format::of_content)
    }

    /// The first byte tells: a tar begins with the name of its first file, and that is `meta.inf`, or
    /// `PaxHeaders.0/meta.inf` before it.
    fn of_content(first: u8) -> Format {
        if natsarc::MAGIC.first() == Some(&first) { Format::NatsArc1 } else { Format::Tar }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Format::Tar => "tar",
            Format::NatsArc1 => "natsarc1",
        })
    }
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
pub fn inspect_with(
    stream: &StreamName,
    reported: &ReportedState,
    wanted: InspectOptions,
    bytes: impl Read,
) -> Result<Contents, Fault> {
    let content = Content::new(bytes).counting(wanted.decoded);
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
pub fn inspect_items<E: From<Fault>>(
    stream: &StreamName,
    reported: &ReportedState,
    bytes: impl Read,
    each: impl FnMut(Item<'_>) -> Result<(), E>,
) -> Result<Contents, E> {
    let mut each = VisitFn::new(each);
    let (sum, consumers) = (MessageSum::default(), Consumers::default());
    let read = read(Some(stream), reported, Content::new(bytes), sum, consumers, None, &mut each);
    read.map(|(_, contents)| contents)
}

/// The same for a snapshot of which nobody has said yet whose it is. Gives the name that it says itself: one
/// in NATSARC1 says none.
///
/// # Errors
/// As [`inspect`].
pub fn inspect_unnamed(
    reported: &ReportedState,
    wanted: InspectOptions,
    bytes: impl Read,
) -> Result<(Option<StreamName>, Contents), Fault> {
    let content = Content::new(bytes).counting(wanted.decoded);
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
    if content.fill()?.first().copied().map(Format::of_content) == Some(Format::NatsArc1) {
        return Ok((None, natsarc::read(&mut content, sum, consumers, visitor)?));
    }
    let (name, contents) = tarball::read(&mut content, stream, reported, sum, consumers, own, visitor)?;
    Ok((Some(name), contents))
}
