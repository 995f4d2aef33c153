//! Takes the bytes of an edited snapshot. It keeps them in memory, and if they are too many, writes them into the archive
//! in parts. Knows no snapshot format.

use std::io::{self, Write};

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use crate::archive::{Digest, PART_SIZE, Writer};
use crate::description::{BadDescription, Description};
use crate::names::StreamName;
use crate::snapshot::{Edit, EditResult, MessageCounts};

/// The most bytes of a snapshot that are kept in memory: 32 MiB.
pub(super) const MAX_HELD: u64 = 4 * PART_SIZE as u64;

/// An edited snapshot that is being written.
pub(super) struct Sink<'a, W: Write> {
    /// None in a dry run.
    archive: Option<&'a mut Writer<W>>,
    name: &'a StreamName,
    /// The description, for a snapshot in parts.
    description: Vec<u8>,
    attempt: u32,
    /// Whether a part ends wherever it is flushed.
    small_parts: bool,
    edited_bytes: EditedBytes,
    /// Bytes that do not fill a piece yet.
    rest: BytesMut,
}

/// The result: the bytes of the snapshot, or what is known of those that were written in parts.
pub(super) struct EditedBytes {
    /// All bytes of the snapshot, unless it is in parts.
    pub pieces: Vec<Bytes>,
    pub in_parts: bool,
    pub bytes: u64,
    /// The digest of the parts' digests.
    pub parts_sha256: Option<Digest>,
}

impl<'a, W: Write> Sink<'a, W> {
    pub fn new(
        archive: Option<&'a mut Writer<W>>,
        name: &'a StreamName,
        description: Vec<u8>,
        attempt: u32,
        small_parts: bool,
    ) -> Self {
        let edited_bytes = EditedBytes { pieces: Vec::new(), in_parts: false, bytes: 0, parts_sha256: None };
        Sink { archive, name, description, attempt, small_parts, edited_bytes, rest: BytesMut::new() }
    }

    pub fn finish(mut self) -> io::Result<EditedBytes> {
        self.piece()?;
        let in_parts = self.archive.filter(|_| self.edited_bytes.in_parts);
        self.edited_bytes.parts_sha256 = in_parts.and_then(|archive| archive.parts_digest());
        Ok(self.edited_bytes)
    }

    fn piece(&mut self) -> io::Result<()> {
        let Some(archive) = self.archive.as_mut().filter(|_| !self.rest.is_empty()) else {
            self.rest.clear();
            return Ok(());
        };
        if !self.edited_bytes.in_parts && self.edited_bytes.bytes > MAX_HELD {
            archive.attempt(self.name, self.attempt, &self.description)?;
            self.edited_bytes.in_parts = true;
            for piece in self.edited_bytes.pieces.drain(..) {
                archive.part(&[piece])?;
            }
        }
        if self.edited_bytes.in_parts {
            let piece = std::mem::take(&mut self.rest).freeze();
            archive.part(std::slice::from_ref(&piece))?;
            // Memory of such a size comes from the kernel, page by page, unless it is used again.
            self.rest = piece.try_into_mut().unwrap_or_default();
        } else {
            // A copy has no spare capacity: there may be many small pieces.
            self.edited_bytes.pieces.push(Bytes::copy_from_slice(&self.rest));
        }
        self.rest.clear();
        Ok(())
    }
}

impl<W: Write> Write for Sink<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fit = PART_SIZE.saturating_sub(self.rest.len()).min(bytes.len());
        let bytes = bytes.get(..fit).unwrap_or(bytes);
        self.rest.extend_from_slice(bytes);
        self.edited_bytes.bytes = self.edited_bytes.bytes.saturating_add(bytes.len() as u64);
        if self.rest.len() == PART_SIZE {
            self.piece()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.small_parts { self.piece() } else { Ok(()) }
    }
}

/// The description of a stream that was edited.
pub(super) fn description(config: &RawValue, edited: &EditResult) -> Result<Description, BadDescription> {
    let MessageCounts { messages, first_seq, deleted } = edited.whole;
    let mut state = json!({
        "messages": messages,
        "bytes": edited.bytes,
        "first_seq": first_seq,
        "last_seq": edited.last_seq,
        "consumer_count": edited.consumers,
    });
    if let Some(fields) = state.as_object_mut() {
        if deleted > 0 {
            fields.insert("num_deleted".into(), deleted.into());
        }
        for (name, time) in [("first_ts", edited.first_time), ("last_ts", edited.last_time)] {
            if let Some(time) = Timestamp::from_nanosecond(time.into()).ok().filter(|_| time != 0) {
                fields.insert(name.into(), time.to_string().into());
            }
        }
    }
    Description::new(config.to_owned(), to_raw_value(&state)?)
}

/// The description, as JSON, of a snapshot whose content is not known yet. It has the source's state, or a state of zeros.
pub(super) fn early_description(
    config: &RawValue,
    source: &Description,
    edit: &Edit,
) -> Result<Vec<u8>, BadDescription> {
    let as_promised = Description::new(config.to_owned(), source.state.clone())?;
    match (edit.promises(), edit.rsyncable) {
        (true, _) => as_promised.to_json(),
        (false, true) => as_promised.to_json_without_state(),
        (false, false) => description(config, &EditResult::default())?.to_json(),
    }
}
