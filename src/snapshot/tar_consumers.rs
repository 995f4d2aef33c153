//! Changes the consumers of a snapshot in the tar format. Everything before them passes as it came, frame by frame: servers put
//! the consumers last.
//!
//! - A consumer that stands beyond the snapshot's last message is put back to it. A server reads a consumer's state while
//!   messages still come. Such a consumer would miss as many of the messages that the restored stream stores next
//!   (nats-server #7693).
//! - Consumers that a server left out of the snapshot are added (nats-server #7829).

use std::io::{Read, Write};

use serde_json::value::RawValue;

use super::block::{self, Header};
use super::consumer::{ConsumerState, MAX_STATE};
use super::content::Content;
use super::convert::ConvertError;
use super::entries::{self, Entry};
use super::fault::Fault;
use super::frame_writer::FrameWriter;
use super::inspect::format_of_content;
use super::items::Consumer;
use super::writer::{self, WriteError};
use super::{Format, MAX_NAMES};
use crate::names::StreamName;

/// How much content passes before the frames that held it are passed on, in bytes.
const PASSED_AT_ONCE: u64 = 1 << 20;
/// The most zeros that follow a tar's end, in bytes. Servers write 1,024; other programs fill up records of 10 KiB.
const MAX_TRAILING: u64 = 1 << 20;

/// Passes a snapshot in the tar format on to `out`, and puts consumers that stand beyond its end back to it. Its
/// last sequence is `promised` or the last that its blocks show, whichever is later.
///
/// # Errors
/// [`ConvertError`]. What is found on the way is much less than what [`inspect`](super::inspect()) finds.
pub fn put_consumers_back(promised: u64, bytes: impl Read, mut out: impl Write) -> Result<(), ConvertError> {
    let mut content = Content::new(bytes).keeping_frames();
    let mut last = promised;
    let mut passed = false;
    loop {
        content.pass_frames(&mut out).map_err(WriteError::Io)?;
        let before = content.consumed().to_vec();
        let Some(entry) = entries::next(&mut content)? else {
            trailing(&mut content)?;
            return Ok(content.pass_frames(&mut out).map_err(WriteError::Io)?);
        };
        if entry.path.starts_with("obs/") {
            if !passed {
                return Err(content.damaged("a file is out of order").into());
            }
            content.keep_none();
            let mut tar = FrameWriter::after(out);
            tar.write(&before).map_err(WriteError::Io)?;
            return consumers(&mut content, entry, last, tar);
        }
        passed = true;
        last = last.max(pass(&mut content, &entry, &mut out)?);
    }
}

/// Passes a snapshot on to `out` with consumers added that it lacks: `lacking` is given the names of those that it
/// has, none where they are too long together ([`MAX_NAMES`]), and gives the others. Each stands at the snapshot's
/// end at most. One in NATSARC1 passes as it came: it lacks none, and had to say before them how many there are.
///
/// # Errors
/// As [`put_consumers_back`].
pub fn add_consumers(
    stream: &StreamName,
    promised: u64,
    bytes: impl Read,
    mut out: impl Write,
    lacking: impl FnOnce(Option<&[String]>) -> Vec<Consumer>,
) -> Result<(), ConvertError> {
    let mut content = Content::new(bytes).keeping_frames();
    if content.fill()?.first().copied().map(format_of_content) == Some(Format::NatsArc1) {
        loop {
            let at_hand = content.fill()?.len();
            content.consume(at_hand);
            content.pass_frames(&mut out).map_err(WriteError::Io)?;
            if at_hand == 0 {
                return Ok(());
            }
        }
    }
    let mut last = promised;
    let (mut names, mut names_bytes) = (Vec::new(), 0);
    let before = loop {
        content.pass_frames(&mut out).map_err(WriteError::Io)?;
        let before = content.consumed().to_vec();
        let Some(entry) = entries::next(&mut content)? else { break before };
        if let Some(name) = entry.path.strip_prefix("obs/").and_then(|rest| rest.strip_suffix("/meta.inf")) {
            names_bytes += name.len() + size_of::<String>();
            if names_bytes <= MAX_NAMES {
                names.push(name.to_owned());
            }
        }
        last = last.max(pass(&mut content, &entry, &mut out)?);
    };
    trailing(&mut content)?;
    let mut lacking = lacking((names_bytes <= MAX_NAMES).then_some(&names));
    if lacking.is_empty() {
        return Ok(content.pass_frames(&mut out).map_err(WriteError::Io)?);
    }
    content.keep_none();
    let mut tar = FrameWriter::after(out);
    tar.write(&before).map_err(WriteError::Io)?;
    for consumer in &mut lacking {
        consumer.place(last);
        writer::consumer(&mut tar, stream, consumer)?;
    }
    writer::end(tar).map_err(WriteError::Io)?;
    Ok(())
}

/// Passes a file on; gives its last sequence where it is a block.
fn pass<R: Read>(content: &mut Content<R>, entry: &Entry, out: &mut impl Write) -> Result<u64, ConvertError> {
    let last = match entry.path.ends_with(".blk") {
        true => last_of_block(content, entry.size, out)?,
        false => {
            pass_bytes(content, entry.size, out)?;
            0
        }
    };
    entries::padding(content, entry.size)?;
    Ok(last)
}

fn pass_bytes<R: Read>(
    content: &mut Content<R>,
    mut left: u64,
    out: &mut impl Write,
) -> Result<(), ConvertError> {
    while left > 0 {
        let now = left.min(PASSED_AT_ONCE);
        content.pass(now, |_| {})?;
        content.pass_frames(out).map_err(WriteError::Io)?;
        left -= now;
    }
    Ok(())
}

/// Reads what follows a tar's end, which is held until it is over.
fn trailing<R: Read>(content: &mut Content<R>) -> Result<(), Fault> {
    let end = content.offset();
    content.within(None);
    loop {
        let bytes = content.fill()?;
        let len = bytes.len();
        if len == 0 {
            return Ok(());
        }
        if bytes.iter().any(|byte| *byte != 0) {
            return Err(content.damaged("something follows its end"));
        }
        content.consume(len);
        if content.offset() - end > MAX_TRAILING {
            return Err(content.unsupported("it has too much padding"));
        }
    }
}

/// Passes a block on; gives its last sequence.
fn last_of_block<R: Read>(
    content: &mut Content<R>,
    mut left: u64,
    out: &mut impl Write,
) -> Result<u64, ConvertError> {
    let mut last = 0;
    while left > 0 {
        let mut header = [0; block::HEADER_LEN];
        content.exact(&mut header)?;
        let Header { len, sequence, .. } = Header::parse(&header);
        let rest = len.checked_sub(header.len() as u64).filter(|_| len <= left);
        let Some(rest) = rest else { return Err(content.damaged("a record's length").into()) };
        pass_bytes(content, rest, out)?;
        last = last.max(sequence & !(block::ERASED | block::TOMBSTONE));
        left -= len;
    }
    Ok(last)
}

/// Writes this entry and all that follow, each consumer where it may stand.
fn consumers<R: Read, W: Write>(
    content: &mut Content<R>,
    first: Entry,
    last: u64,
    mut tar: FrameWriter<W>,
) -> Result<(), ConvertError> {
    let mut next = Some(first);
    let mut info = None;
    while let Some(Entry { path, size }) = next {
        if size > MAX_STATE {
            return Err(content.unsupported("a consumer's state is too long").into());
        }
        let mut data = Vec::new();
        content.pass(size, |piece| data.extend_from_slice(piece))?;
        entries::padding(content, size)?;
        if path.ends_with("/meta.inf") {
            info = serde_json::from_slice::<Box<RawValue>>(&data).ok();
        } else if path.ends_with("/o.dat")
            && let (Some(info), Ok(state)) = (info.take(), ConsumerState::decode(&data))
        {
            let mut consumer = Consumer { name: String::new(), info, state: state.clone() };
            consumer.put_back_to(last);
            if consumer.state != state {
                data = consumer.state.encode();
            }
        }
        writer::file(&mut tar, &path, &data).map_err(WriteError::Io)?;
        next = entries::next(content)?;
    }
    content.finish(Some(0))?;
    writer::end(tar).map_err(WriteError::Io)?;
    Ok(())
}
