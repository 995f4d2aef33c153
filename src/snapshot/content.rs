//! A snapshot's content: the S2 stream decoded frame by frame, with the offset of every byte.
//! Knows S2's frames (see [`frames`](super::frames)) and no format inside them.
//!
//! The framing is ours, over the block decoder of the `minlz` crate, because a stream reader that
//! hides frames also hides where a cut or a flipped bit is. Every frame with data carries a CRC-32C of
//! it, so a change is noticed here wherever it is, except in
//!
//! - the payload of padding and skippable frames, which means nothing;
//! - the type byte of those frames, as long as it stays one of them;
//! - the encoding of an S2 block, where another encoding of the same data is the same data.

use std::io::{self, BufReader, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use minlz::s2;

use super::fault::{Fault, Place};
use super::frames::{COMPRESSED, CRC_LEN, HEADER_LEN, IDENTIFIER, MAGIC, PAD, STORED, payload_len};
use crate::names::Printable;

/// The most that one frame may decompress to: the largest block that S2 writers make.
pub const MAX_BLOCK: usize = 4 << 20;
/// The most that one data frame may carry: a block that did not compress, its checksum and length.
const MAX_FRAME: usize = MAX_BLOCK + 64;
/// The most bytes of frames without data in a row. Servers write none; what restores a snapshot has to
/// hold them back, and must not be made to hold more than it may.
const MAX_IDLE: u64 = 1 << 20;
/// Small frames (one a message in NATSARC1) are read through a buffer of this size.
const INPUT_BUFFER: usize = 64 << 10;

/// Reads decoded bytes. Holds one frame and one decoded block, each at most [`MAX_BLOCK`] and a few
/// bytes.
pub struct Content<R> {
    input: BufReader<R>,
    compressed: u64,
    /// What `compressed` was behind the last frame with data.
    data_until: u64,
    offset: u64,
    identified: bool,
    ended: bool,
    frame: Vec<u8>,
    block: Vec<u8>,
    held: Held,
    at: usize,
    end: usize,
    /// Where the decoded bytes begin, of which `at` is the next.
    begin: usize,
    entry: Option<Printable>,
    sequence: Option<u64>,
    decoded: Arc<AtomicU64>,
    kept: Option<Kept>,
}

/// Frames as they came, for somebody who passes them on; those without data but the identifier are left out.
#[derive(Default)]
struct Kept {
    /// Those of which every byte of content has been consumed.
    whole: Vec<u8>,
    /// The one at hand.
    current: Vec<u8>,
}

/// Which buffer holds the decoded bytes: stored data is not copied again.
enum Held {
    Frame,
    Block,
}

impl<R: Read> Content<R> {
    /// Nothing is read yet.
    pub fn new(input: R) -> Self {
        Content {
            input: BufReader::with_capacity(INPUT_BUFFER, input),
            compressed: 0,
            data_until: 0,
            offset: 0,
            identified: false,
            ended: false,
            frame: Vec::new(),
            block: Vec::new(),
            held: Held::Frame,
            at: 0,
            end: 0,
            begin: 0,
            entry: None,
            sequence: None,
            decoded: Arc::default(),
            kept: None,
        }
    }

    /// Keeps the frames until they are [passed on](Content::pass_frames).
    pub fn keeping_frames(self) -> Self {
        Content { kept: Some(Kept::default()), ..self }
    }

    /// Keeps no more frames, and forgets those that are kept.
    pub fn keep_none(&mut self) {
        self.kept = None;
    }

    /// Writes the frames whose content has been consumed to `out`.
    pub fn pass_frames(&mut self, out: &mut impl Write) -> io::Result<()> {
        let Some(kept) = &mut self.kept else { return Ok(()) };
        if self.at == self.end {
            kept.whole.append(&mut kept.current);
            self.begin = self.at;
        }
        if !kept.whole.is_empty() {
            out.write_all(&kept.whole)?;
            kept.whole.clear();
        }
        Ok(())
    }

    /// What of the frame at hand has been consumed.
    pub fn consumed(&self) -> &[u8] {
        self.held().get(self.begin..self.at).unwrap_or(&[])
    }

    /// Notes in `decoded` how many bytes of content have been decoded.
    pub fn counting(self, decoded: Arc<AtomicU64>) -> Self {
        Content { decoded, ..self }
    }

    /// Decoded bytes that are at hand; at least one, unless the stream has ended cleanly.
    pub fn fill(&mut self) -> Result<&[u8], Fault> {
        while self.at == self.end && !self.ended {
            self.next_frame()?;
        }
        Ok(self.at_hand())
    }

    /// Moves past `n` of the bytes at hand.
    pub fn consume(&mut self, n: usize) {
        let n = n.min(self.end - self.at);
        self.at += n;
        self.offset += n as u64;
    }

    /// The next `buffer.len()` bytes.
    pub fn exact(&mut self, buffer: &mut [u8]) -> Result<(), Fault> {
        let mut filled = 0;
        let len = buffer.len() as u64;
        self.pass(len, |piece| {
            if let Some(to) = buffer.get_mut(filled..filled + piece.len()) {
                to.copy_from_slice(piece);
            }
            filled += piece.len();
        })
    }

    /// The next `n` bytes, shown to `each` in pieces.
    pub fn pass(&mut self, mut n: u64, mut each: impl FnMut(&[u8])) -> Result<(), Fault> {
        while n > 0 {
            let bytes = self.fill()?;
            if bytes.is_empty() {
                return Err(self.cut());
            }
            let take = usize::try_from(n).unwrap_or(usize::MAX).min(bytes.len());
            each(bytes.get(..take).unwrap_or(bytes));
            self.consume(take);
            n -= take as u64;
        }
        Ok(())
    }

    /// The logical end has been read: nothing but `padding` bytes may follow.
    pub fn finish(&mut self, padding: Option<u8>) -> Result<(), Fault> {
        self.within(None);
        loop {
            let bytes = self.fill()?;
            if bytes.is_empty() {
                return Ok(());
            }
            if bytes.iter().any(|byte| Some(*byte) != padding) {
                return Err(self.damaged("something follows its end"));
            }
            let len = bytes.len();
            self.consume(len);
        }
    }

    /// Bytes of content before the next one.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Names the entry that is being read, for faults.
    pub fn within(&mut self, entry: Option<Printable>) {
        self.entry = entry;
        self.sequence = None;
    }

    /// Names the message that is being read, for faults.
    pub fn at_sequence(&mut self, sequence: Option<u64>) {
        self.sequence = sequence;
    }

    /// The content ends here and should not.
    pub fn cut(&self) -> Fault {
        Fault::Cut(self.place())
    }

    /// The content is wrong here.
    pub fn damaged(&self, what: &'static str) -> Fault {
        Fault::Damaged { what, place: self.place() }
    }

    /// The content is strange here.
    pub fn unsupported(&self, what: &'static str) -> Fault {
        Fault::Unsupported { what, place: self.place() }
    }

    fn place(&self) -> Place {
        Place {
            offset: self.offset,
            compressed: self.compressed,
            entry: self.entry.clone(),
            sequence: self.sequence,
        }
    }

    fn held(&self) -> &[u8] {
        match self.held {
            Held::Frame => &self.frame,
            Held::Block => &self.block,
        }
    }

    fn at_hand(&self) -> &[u8] {
        self.held().get(self.at..self.end).unwrap_or(&[])
    }

    /// Reads one frame. Called only when everything before it has been consumed.
    fn next_frame(&mut self) -> Result<(), Fault> {
        if let Some(kept) = &mut self.kept {
            kept.whole.append(&mut kept.current);
        }
        let mut header = [0; HEADER_LEN];
        match self.read_input(&mut header)? {
            HEADER_LEN => {}
            0 if self.identified => {
                self.ended = true;
                return Ok(());
            }
            _ => return Err(self.cut()),
        }
        let [kind, ..] = header;
        let len = payload_len(header);
        if kind != IDENTIFIER && !self.identified {
            return Err(self.damaged("it does not begin as an S2 stream"));
        }
        match kind {
            COMPRESSED | STORED => {
                if len > MAX_FRAME {
                    return Err(self.damaged("a frame is larger than S2 allows"));
                }
                self.read_frame(len)?;
                self.data_until = self.compressed;
                self.decode(kind)
            }
            0x80..=IDENTIFIER if self.compressed + len as u64 - self.data_until > MAX_IDLE => {
                Err(self.unsupported("it has too much padding"))
            }
            IDENTIFIER => {
                if len != MAGIC.len() {
                    return Err(self.damaged("a stream identifier has the wrong length"));
                }
                self.read_frame(len)?;
                if self.frame != MAGIC {
                    return Err(self.damaged("a stream identifier is not that of S2"));
                }
                self.identified = true;
                Ok(())
            }
            PAD | 0x80..PAD => self.skip(len as u64),
            _ => Err(self.damaged("a frame is of an unknown type")),
        }
    }

    /// Makes the data of the frame just read the bytes at hand.
    fn decode(&mut self, kind: u8) -> Result<(), Fault> {
        let Some((crc, data)) = self.frame.split_first_chunk::<CRC_LEN>() else {
            return Err(self.damaged("a frame is too short for its checksum"));
        };
        let crc = u32::from_le_bytes(*crc);
        let (held, at, end) = if kind == STORED {
            (Held::Frame, CRC_LEN, self.frame.len())
        } else {
            let Ok((len, _)) = s2::decode_len(data) else {
                return Err(self.damaged("a block does not tell its length"));
            };
            if len > MAX_BLOCK {
                return Err(self.damaged("a block is larger than S2 allows"));
            }
            if self.block.len() < len {
                self.block.resize(len, 0);
            }
            if s2::decode_into(&mut self.block, data) != Ok(len) {
                return Err(self.damaged("a block does not decompress"));
            }
            (Held::Block, 0, len)
        };
        if end - at > MAX_BLOCK {
            return Err(self.damaged("a block is larger than S2 allows"));
        }
        (self.held, self.begin, self.at, self.end) = (held, at, at, end);
        if masked_crc(self.at_hand()) != crc {
            // Nothing of a frame that is wrong may be seen.
            self.at = self.end;
            return Err(self.damaged("a frame's checksum does not match"));
        }
        self.decoded.fetch_add((self.end - self.at) as u64, Ordering::Relaxed);
        Ok(())
    }

    fn read_frame(&mut self, len: usize) -> Result<(), Fault> {
        let mut frame = std::mem::take(&mut self.frame);
        frame.resize(len, 0);
        let got = self.read_input(&mut frame);
        self.frame = frame;
        (self.begin, self.at, self.end) = (0, 0, 0);
        if got? < len { Err(self.cut()) } else { Ok(()) }
    }

    fn skip(&mut self, len: u64) -> Result<(), Fault> {
        if let Some(kept) = &mut self.kept {
            kept.current.clear();
        }
        let skipped = io::copy(&mut self.input.by_ref().take(len), &mut io::sink())?;
        self.compressed += skipped;
        if skipped < len { Err(self.cut()) } else { Ok(()) }
    }

    /// Reads until `buffer` is full or the input ends.
    fn read_input(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut have = 0;
        while let Some(rest) = buffer.get_mut(have..).filter(|rest| !rest.is_empty()) {
            match self.input.read(rest) {
                Ok(0) => break,
                Ok(n) => have += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.compressed += have as u64;
        if let Some(kept) = &mut self.kept {
            kept.current.extend_from_slice(buffer.get(..have).unwrap_or(buffer));
        }
        Ok(have)
    }
}

/// CRC-32C as S2 frames carry it: rotated and offset, so that a CRC of data with CRCs in it works.
pub(super) fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}
