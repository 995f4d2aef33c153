//! What is inside a server's snapshot of a stream, and whether it is whole. Knows no server and no
//! archive: bytes go in, [`Contents`] or a [`Fault`] come out.
//!
//! A snapshot whose transfer succeeded can still be empty, cut, or hold the server's own error message instead of messages.
//! A server restores some of these silently. So a snapshot is valid only when [`inspect()`] has read it to its end.
//!
//! ```text
//! bytes ─ blocks (S2 frames) ─ content ─┬─ entries (tar) ─ tarball ─┬─ block ─┐
//!                                       │                           └─ index ─┴─ tally ─ Contents
//!                                       └─ natsarc ───────────────────────────────────── Contents
//! ```
//!
//! A [background thread](mod@background) may decode the blocks of a long snapshot.
//!
//! Both readers can also [show](inspect_items) what they read, [`Item`] by item. A [`Writer`] makes a snapshot
//! of such items in the tar format, which every server from 2.10 on restores, and a [`NatsArcWriter`] one in
//! NATSARC1, for streams in memory:
//!
//! ```text
//! items ─ writer (tar, records; cuts) or natsarc_writer ─ framing (S2 frames; compressor) ─ bytes
//! ```
//!
//! Four modules read a snapshot and write another one. [`convert`](mod@convert) changes the format,
//! [`tar_consumers`](mod@tar_consumers) only the consumers, [`rsyncable`](mod@rsyncable) makes unchanged messages the same
//! bytes in every snapshot, and [`edit`](mod@edit) keeps the messages of a [filter](MessageFilter) and [renames](Rename) the
//! stream. The last two share what they find out on the way (`kept_messages`, `held_consumers`) and where they write to
//! (`tar_output`). NATSARC1 has the number of messages before the
//! messages, so [`edit_to_natsarc1`] needs a [`survey`] of the same snapshot first.
//!
//! Everything is read in one pass. Memory: two S2 blocks ([`MAX_BLOCK`] each), or five where they are decoded beside,
//! one config or one consumer's state (64 MiB at most), and for the tar format the sequences of the records (two bytes
//! for a scattered message, a bit for one in a row; at most [`MAX_SETS`], three times that where an edit or an rsyncable
//! snapshot is written, and 32 MiB for what one block has deleted). Messages are never held by a check; who is shown items is
//! shown whole messages ([`MAX_RECORD`]), and a writer holds the frames of one block ([`MAX_BLOCK_FILE`]) or of one message,
//! whichever is larger, or consumers ([`MAX_HELD`]). Where a background thread compresses, it holds three blocks at most, and
//! 6 MiB that wait to be compressed.

mod background;
mod block;
mod blocks;
mod checksums;
mod chunking;
mod compressor;
mod consumer;
mod consumers;
mod content;
mod contents;
mod convert;
mod edit;
#[cfg(test)]
mod edit_tests;
mod edit_to_natsarc;
mod entries;
mod fault;
mod frame_writer;
mod frames;
mod held_consumers;
mod index;
mod inspect;
mod items;
mod kept_messages;
mod last_record;
mod leb128;
mod message_filter;
mod message_sum;
mod meta;
mod natsarc;
mod natsarc_writer;
mod newest;
mod opener;
mod past;
mod rename;
mod renamed_subjects;
mod reported_state;
mod rsyncable;
mod sequences;
mod tally;
mod tar_consumers;
mod tar_output;
mod tarball;
#[cfg(test)]
mod test_snapshots;
#[cfg(test)]
mod tests;
mod writer;
#[cfg(test)]
mod writer_tests;

pub use background::{Pieces, read_in_background};
pub use blocks::MAX_BLOCK;
pub use consumer::{BadState, ConsumerState, Pending, SequencePair};
pub use consumers::MAX_NAMES;
pub use content::Content;
pub use contents::{Contents, HALF_A_BATCH};
pub use convert::{ConvertError, MAX_NAMED, to_natsarc1, to_tar};
pub use edit::{Edit, EditError, EditResult, MAX_NEWEST, MessageCounts, Survey, edit, survey, without_index};
pub use edit_to_natsarc::edit_to_natsarc1;
pub use fault::{Fault, Place};
pub use frames::{Frames, PADDING};
pub use held_consumers::MAX_CONSUMERS;
pub use inspect::{InspectOptions, format_of, inspect, inspect_items, inspect_unnamed, inspect_with};
pub use items::{Consumer, Item, MAX_RECORD, Record, State};
pub use last_record::MAX_AHEAD;
pub use message_filter::{MatchedPatterns, MessageFilter};
pub use meta::{ConfigMismatch, OwnConfig, agrees, of_consumer as consumer_info, of_stream as stream_info};
pub use natsarc_writer::{MAX_HELD, NatsArcWriter};
pub use newest::{deleted, newest};
pub use opener::opener;
pub use past::PastState;
pub use rename::Rename;
pub use renamed_subjects::RenamedSubjects;
pub use reported_state::{ReportedState, Shortfall};
pub use rsyncable::{StreamInfo, rsyncable};
pub use sequences::{MAX_SETS, Sequences};
pub use tar_consumers::{add_consumers, put_consumers_back};
pub use writer::{MAX_BLOCK_FILE, WriteError, Writer};

pub use crate::release::Format;
