//! Reads the tar format of servers before 2.15: the files of a snapshot, their order, and the checks for each. [`entries`],
//! [`block`] and [`index`] read the files themselves. Knows no S2.
//!
//! | file, in this order | what |
//! |---|---|
//! | `meta.inf` | the stream's config and when it was created, JSON |
//! | `meta.sum` | the checksum of `meta.inf` |
//! | `msgs/N.idx`, `msgs/N.fss` | 2.9 only: index and subjects of the block that follows |
//! | `msgs/N.blk` | block N, N ascending; decrypted and decompressed by the server |
//! | `msgs/index.db` | 2.10 and later, unless the server could not write it: index of all blocks |
//! | `obs/C/meta.inf`, `obs/C/meta.sum`, `obs/C/o.dat` | of each consumer in a file: config, its checksum, state |
//! | `errors.txt` | only when something went wrong: why the snapshot is not whole |
//!
//! Servers restore the files in any order, so our own [writer](super::Writer) puts the consumers before the
//! blocks, where NATSARC1 has them, and writes no index.
//!
//! `o.dat` and `.fss` carry no checksum: the S2 frames' checksums alone cover them. Source: nats-server,
//! `streamSnapshot` in `server/filestore.go`.

use std::io::Read;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::consumer::{self, ConsumerState};
use super::consumers::Consumers;
use super::content::Content;
use super::entries::{self, Entry};
use super::fault::Fault;
use super::index::{self, BlockIndex};
use super::items::{Consumer, Item, Visitor};
use super::message_sum::MessageSum;
use super::meta::{self, checksum};
use super::reported_state::ReportedState;
use super::tally::{IndexedMessages, Tally};
use super::{Contents, Format, OwnConfig, block, consumers};
use crate::names::{Printable, StreamName};

/// The longest `meta.inf` that is read: servers bound a config's metadata to 128 KiB, and a stream has
/// some hundreds of subjects at most.
const MAX_META: u64 = 8 << 20;
/// How much of `errors.txt` is read.
const MAX_REASON: u64 = 4 << 10;

/// Reads a snapshot in the tar format to its end. Gives the stream's name, which must be `stream` where
/// that is known. Messages are added to `sum`, its configuration is put into `own`, and everything is shown to
/// `visitor`.
pub fn read<R: Read, L: Visitor>(
    content: &mut Content<R>,
    stream: Option<&StreamName>,
    reported: &ReportedState,
    sum: MessageSum,
    consumers: Consumers,
    own: Option<OwnConfig>,
    visitor: &mut L,
) -> Result<(StreamName, Contents), L::Error> {
    let mut seen = Seen { own, ..Seen::new(stream.cloned(), sum, consumers) };
    if L::VISITS {
        seen.tally = std::mem::take(&mut seen.tally).noting_dead();
    }
    while let Some(entry) = entries::next(content)? {
        seen.entry(content, &entry, visitor)?;
        entries::padding(content, entry.size)?;
    }
    if seen.stage < Stage::Blocks || seen.stage == Stage::ConsumerMeta || seen.stage == Stage::ConsumerSum {
        return Err(content.damaged("its last files are missing").into());
    }
    if seen.block_index.is_some() {
        return Err(content.damaged("an index is without its block").into());
    }
    content.finish(Some(0))?;
    if let Some(index) = seen.index.as_ref().filter(|index| L::VISITS && index.is_quiet(reported)) {
        for sequence in seen.tally.dead(index).iter() {
            visitor.item(Item::Deleted { sequence, time: 0 })?;
        }
    }
    let stream = seen.stream(content)?.clone();
    let sum = seen.tally.sum;
    let ending = std::mem::take(&mut seen.tally.ending);
    let index = seen.index.take();
    let count = seen.tally.count(index.as_ref(), reported);
    let contents = Contents {
        format: Format::Tar,
        messages: count.messages,
        records: count.records,
        unsettled: match &index {
            Some(index) if index.is_quiet(reported) => 0,
            _ => count.records.saturating_sub(count.messages),
        },
        first_seq: count.first,
        last_seq: count.last,
        deleted: count.deleted(),
        consumers: seen.consumers.count,
        lasting_consumers: seen.consumers.lasting,
        newer: seen.consumers.newer,
        within_batch: ending.is_within_batch(count.last),
        ahead: ending.ahead(count.last),
        names: seen.consumers.names,
        // All records are live then, and none comes twice.
        sum: sum.of(count.messages).filter(|_| count.records == count.messages),
        bytes: content.offset(),
    };
    Ok((stream, contents))
}

/// The kind of the last file, which decides what may come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Nothing,
    Meta,
    Blocks,
    Index,
    ConsumerMeta,
    ConsumerSum,
    Consumers,
}

/// What has been read so far, from which follows what may come next.
struct Seen {
    /// The stream of the snapshot. If the caller did not say it, it is known from the first file on.
    stream: Option<StreamName>,
    stage: Stage,
    /// The checksum that the next `meta.sum` must hold.
    sum: String,
    /// Where the stream's configuration goes once its checksum holds, and it until then.
    own: Option<OwnConfig>,
    meta: Vec<u8>,
    /// The consumer that is being read.
    consumer: String,
    /// Its configuration, where somebody looks.
    info: Option<Box<RawValue>>,
    /// The sequence at which it is configured to begin, if it is.
    begins: u64,
    consumers: Consumers,
    block: Option<u32>,
    block_index: Option<(u32, BlockIndex)>,
    index: Option<IndexedMessages>,
    tally: Tally,
}

impl Seen {
    fn new(stream: Option<StreamName>, sum: MessageSum, consumers: Consumers) -> Self {
        Seen {
            stream,
            stage: Stage::Nothing,
            sum: String::new(),
            own: None,
            meta: Vec::new(),
            consumer: String::new(),
            info: None,
            begins: 0,
            consumers,
            block: None,
            block_index: None,
            index: None,
            tally: Tally::new(sum),
        }
    }

    #[expect(
        clippy::too_many_lines,
        reason = "one arm for each file: together they are the order in which servers write them"
    )]
    fn entry<R: Read, L: Visitor>(
        &mut self,
        content: &mut Content<R>,
        entry: &Entry,
        visitor: &mut L,
    ) -> Result<(), L::Error> {
        let size = entry.size;
        let path: Vec<&str> = entry.path.split('/').collect();
        match (path.as_slice(), self.stage) {
            (["errors.txt"], _) => Err(servers_reason(content, size).into()),
            (["meta.inf"], Stage::Nothing) => {
                let meta = meta(content, size)?;
                let stream = self.own_name(content, &meta)?;
                if L::VISITS {
                    visitor.item(Item::Info(&raw(content, &meta)?))?;
                }
                self.sum = checksum(stream.as_str(), &meta);
                self.meta = meta;
                self.stream = Some(stream);
                self.stage = Stage::Meta;
                Ok(())
            }
            (["meta.sum"], Stage::Meta) => {
                self.check_sum(content, size)?;
                let meta = std::mem::take(&mut self.meta);
                if let Some(own) = &self.own {
                    let _ = own.set(meta);
                }
                self.stage = Stage::Blocks;
                Ok(())
            }
            (["msgs", "index.db"], Stage::Blocks) if self.index.is_none() => {
                let stream = self.stream(content)?.clone();
                self.index = Some(index::read(content, &stream, size, &mut self.tally)?);
                self.stage = Stage::Index;
                Ok(())
            }
            (["msgs", file], Stage::Blocks) => self.block_file(content, file, size, visitor),
            (["msgs", file], Stage::Consumers) if self.block.is_none() && self.index.is_none() => {
                self.stage = Stage::Blocks;
                self.block_file(content, file, size, visitor)
            }
            (["obs", consumer, "meta.inf"], Stage::Blocks | Stage::Index | Stage::Consumers) => {
                let meta = meta(content, size)?;
                self.consumer = (*consumer).to_owned();
                self.sum = checksum(&format!("{}/{consumer}", self.stream(content)?.as_str()), &meta);
                self.begins = self.consumers.add(consumer, &meta);
                if L::VISITS {
                    self.info = Some(raw(content, &meta)?);
                }
                self.stage = Stage::ConsumerMeta;
                Ok(())
            }
            (["obs", consumer, "meta.sum"], Stage::ConsumerMeta) if *consumer == self.consumer => {
                self.check_sum(content, size)?;
                self.stage = Stage::ConsumerSum;
                Ok(())
            }
            (["obs", consumer, "o.dat"], Stage::ConsumerSum) if *consumer == self.consumer => {
                match self.info.take() {
                    Some(info) => {
                        let name = self.consumer.clone();
                        let state = state(content, size)?;
                        let reached = consumers::reached(state.reached(), self.begins);
                        self.tally.ending.consumer(&name, reached);
                        visitor.item(Item::Consumer(Consumer { name, info, state }))?;
                    }
                    None => {
                        let reached = consumers::reached(reached(content, size)?, self.begins);
                        self.tally.ending.consumer(&self.consumer, reached);
                    }
                }
                self.stage = Stage::Consumers;
                Ok(())
            }
            (["meta.inf" | "meta.sum"] | ["msgs", _] | ["obs", _, "meta.inf" | "meta.sum" | "o.dat"], _) => {
                Err(content.damaged("a file is out of order").into())
            }
            _ => Err(content.unsupported("a file that no known server writes").into()),
        }
    }

    fn block_file<R: Read, L: Visitor>(
        &mut self,
        content: &mut Content<R>,
        file: &str,
        size: u64,
        visitor: &mut L,
    ) -> Result<(), L::Error> {
        let numbered = file.split_once('.').and_then(|(n, kind)| Some((n.parse::<u32>().ok()?, kind)));
        let Some((number, kind)) = numbered else {
            return Err(content.unsupported("a file that no known server writes").into());
        };
        if self.block.is_some_and(|last| number <= last) {
            return Err(content.damaged("a block is out of order").into());
        }
        match kind {
            "idx" if self.block_index.is_none() => {
                self.block_index = Some((number, BlockIndex::read(content, size)?));
                Ok(())
            }
            "fss" => Ok(content.pass(size, |_| {})?),
            "blk" => {
                let stream = self.stream(content)?.clone();
                block::read(content, &stream, number, size, &mut self.tally, visitor)?;
                self.block = Some(number);
                match self.block_index.take() {
                    None => Ok(()),
                    Some((of, block_index)) if of == number => {
                        let index = self.index.get_or_insert_default();
                        Ok(block_index.hold(content, &mut self.tally, index)?)
                    }
                    Some(_) => Err(content.damaged("an index is without its block").into()),
                }
            }
            _ => Err(content.unsupported("a file that no known server writes").into()),
        }
    }

    /// Whose snapshot it is. No file is read before the first, which says it.
    fn stream<R: Read>(&self, content: &Content<R>) -> Result<&StreamName, Fault> {
        self.stream.as_ref().ok_or_else(|| content.damaged("a file is out of order"))
    }

    /// The stream's name as its `meta.inf` has it, which must be the one that the caller said, if any.
    fn own_name<R: Read>(&self, content: &Content<R>, meta: &[u8]) -> Result<StreamName, Fault> {
        #[derive(Deserialize)]
        struct Named {
            name: StreamName,
        }
        match serde_json::from_slice::<Named>(meta) {
            Ok(Named { name }) if self.stream.as_ref().is_none_or(|stream| *stream == name) => Ok(name),
            Ok(_) => Err(content.damaged("it is of another stream")),
            Err(_) => Err(content.damaged("a config is not what servers write")),
        }
    }

    fn check_sum<R: Read>(&self, content: &mut Content<R>, size: u64) -> Result<(), Fault> {
        if size != self.sum.len() as u64 {
            return Err(content.damaged("a checksum file has the wrong length"));
        }
        let mut equal = true;
        let mut expected = self.sum.as_bytes();
        content.pass(size, |piece| {
            let (now, later) = expected.split_at(piece.len().min(expected.len()));
            equal &= now == piece;
            expected = later;
        })?;
        if equal { Ok(()) } else { Err(content.damaged("a config's checksum does not match")) }
    }
}

/// Reads a configuration, which is bounded by its length and by the number of its values.
fn meta<R: Read>(content: &mut Content<R>, size: u64) -> Result<Vec<u8>, Fault> {
    if size > MAX_META {
        return Err(content.unsupported("a config is too long"));
    }
    let config = whole_file(content, size)?;
    meta::bounded(content, &config)?;
    Ok(config)
}

fn raw<R: Read>(content: &Content<R>, meta: &[u8]) -> Result<Box<RawValue>, Fault> {
    serde_json::from_slice(meta).map_err(|_| content.damaged("a config is not what servers write"))
}

fn state<R: Read>(content: &mut Content<R>, size: u64) -> Result<ConsumerState, Fault> {
    if size > consumer::MAX_STATE {
        return Err(content.unsupported("a consumer's state is too long"));
    }
    let state = whole_file(content, size)?;
    ConsumerState::decode(&state)
        .map_err(|_| content.unsupported("a consumer's state is not what known servers write"))
}

/// How far a consumer has come in its stream, by its `o.dat`. One that cannot be understood has come nowhere:
/// what is in it is for the server to judge.
fn reached<R: Read>(content: &mut Content<R>, size: u64) -> Result<u64, Fault> {
    let mut begin = Vec::new();
    content.pass(size, |bytes| {
        let missing = consumer::BEGIN.saturating_sub(begin.len());
        begin.extend_from_slice(bytes.get(..missing).unwrap_or(bytes));
    })?;
    Ok(ConsumerState::reached_by(&begin).unwrap_or(0))
}

fn whole_file<R: Read>(content: &mut Content<R>, size: u64) -> Result<Vec<u8>, Fault> {
    let mut file = Vec::new();
    content.pass(size, |bytes| file.extend_from_slice(bytes))?;
    Ok(file)
}

/// Why the server gave up, as `errors.txt` says it.
fn servers_reason<R: Read>(content: &mut Content<R>, size: u64) -> Fault {
    match whole_file(content, size.min(MAX_REASON)) {
        Ok(text) => Fault::Reported(Printable::new(&String::from_utf8_lossy(&text))),
        Err(fault) => fault,
    }
}
