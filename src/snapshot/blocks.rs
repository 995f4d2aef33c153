//! Decodes the blocks of an S2 stream, one after another. Knows S2's frames (see [`frames`](super::frames)), and no format
//! inside them.
//!
//! The framing is ours, over the block decoder of the `minlz` crate, because a stream reader that
//! hides frames also hides where a cut or a flipped bit is. Every frame with data carries a CRC-32C of
//! it, so a change is noticed here wherever it is, except in
//!
//! - the payload of padding and skippable frames, which means nothing;
//! - the type byte of those frames, as long as it stays one of them;
//! - the encoding of an S2 block, where another encoding of the same data is the same data.

use std::io::{self, BufReader, Read, Write};

use minlz::s2;

use super::frames::{COMPRESSED, CRC_LEN, HEADER_LEN, IDENTIFIER, MAGIC, PAD, STORED, payload_len};

/// The most that one frame may decompress to: the largest block that S2 writers make.
pub const MAX_BLOCK: usize = 4 << 20;
/// The most that one data frame may carry: a block that did not compress, its checksum and length.
const MAX_FRAME: usize = MAX_BLOCK + 64;
/// The most bytes of frames without data in a row. Servers write none; what restores a snapshot has to
/// hold them back, and must not be made to hold more than it may.
const MAX_IDLE: u64 = 1 << 20;
/// Small frames are read through a buffer of this size.
const INPUT_BUFFER: usize = 64 << 10;
/// In steps of how many bytes the memory for decoded ones grows.
const GROWTH: usize = 64 << 10;

/// Why there is no next block.
#[derive(Debug)]
pub enum Broken {
    /// The stream ends within a frame.
    Cut,
    /// It is no stream of S2, or not the one that was written.
    Damaged(&'static str),
    /// It is beyond what is read.
    Unsupported(&'static str),
    /// The input failed.
    Io(io::Error),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Broken::Io(error)
    }
}

/// Decoded bytes, in memory that is used again.
#[derive(Default)]
pub struct Decoded {
    /// All of it is as long as it ever was; the decoded bytes are at its beginning.
    memory: Vec<u8>,
    len: usize,
}

impl Decoded {
    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Forgets them.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// All of them.
    pub fn bytes(&self) -> &[u8] {
        self.memory.get(..self.len).unwrap_or(&[])
    }

    /// Room for `len` bytes behind them.
    fn room(&mut self, len: usize) -> &mut [u8] {
        let end = self.len + len;
        if self.memory.len() < end {
            // Twice as much where that is little.
            let more = end.next_power_of_two().min(end.next_multiple_of(GROWTH));
            self.memory.reserve_exact(more - self.memory.len());
            self.memory.resize(more, 0);
        }
        self.memory.get_mut(self.len..end).unwrap_or_default()
    }
}

/// Reads blocks. Holds one frame, of at most [`MAX_BLOCK`] and a few bytes.
pub struct Blocks<R> {
    input: BufReader<R>,
    compressed: u64,
    /// What `compressed` was behind the last frame with data.
    data_until: u64,
    identified: bool,
    frame: Vec<u8>,
    kept: Option<Kept>,
}

/// Frames as they came, for a caller that copies them. Frames without data are left out, except the identifier.
#[derive(Default)]
struct Kept {
    /// Frames whose content has been consumed to the last byte.
    whole: Vec<u8>,
    /// The current frame.
    current: Vec<u8>,
}

impl<R: Read> Blocks<R> {
    /// Nothing is read yet.
    pub fn new(input: R) -> Self {
        Blocks {
            input: BufReader::with_capacity(INPUT_BUFFER, input),
            compressed: 0,
            data_until: 0,
            identified: false,
            frame: Vec::new(),
            kept: None,
        }
    }

    /// How many bytes of the stream have been read, up to the end of a frame or to where it broke.
    pub fn compressed(&self) -> u64 {
        self.compressed
    }

    /// Whether the next frame has been read from the input, so that it comes without waiting for that.
    pub fn is_at_hand(&self) -> bool {
        let buffer = self.input.buffer();
        buffer.first_chunk().is_some_and(|header| buffer.len() >= HEADER_LEN + payload_len(*header))
    }

    /// Keeps the frames until they are [passed on](Blocks::pass).
    pub fn keep(&mut self, keep: bool) {
        self.kept = keep.then(Kept::default);
    }

    /// Writes the kept frames to `out`: those before the one at hand, and that too if it has been `consumed`.
    pub fn pass(&mut self, consumed: bool, out: &mut impl Write) -> io::Result<()> {
        let Some(kept) = &mut self.kept else { return Ok(()) };
        if consumed {
            kept.whole.append(&mut kept.current);
        }
        if !kept.whole.is_empty() {
            out.write_all(&kept.whole)?;
            kept.whole.clear();
        }
        Ok(())
    }

    /// Decodes the next block, which may be an empty one, to the end of `to`. `false` when the stream has ended
    /// cleanly. Nothing of a block that is wrong is seen.
    pub fn next(&mut self, to: &mut Decoded) -> Result<bool, Broken> {
        loop {
            if let Some(kept) = &mut self.kept {
                kept.whole.append(&mut kept.current);
            }
            let mut header = [0; HEADER_LEN];
            match self.read(&mut header)? {
                HEADER_LEN => {}
                0 if self.identified => return Ok(false),
                _ => return Err(Broken::Cut),
            }
            let [kind, ..] = header;
            let len = payload_len(header);
            if kind != IDENTIFIER && !self.identified {
                return Err(Broken::Damaged("it does not begin as an S2 stream"));
            }
            match kind {
                COMPRESSED | STORED => {
                    self.data(kind, len, to)?;
                    return Ok(true);
                }
                0x80..=IDENTIFIER if self.compressed + len as u64 - self.data_until > MAX_IDLE => {
                    return Err(Broken::Unsupported("it has too much padding"));
                }
                IDENTIFIER => self.identifier(len)?,
                PAD | 0x80..PAD => self.skip(len as u64)?,
                _ => return Err(Broken::Damaged("a frame is of an unknown type")),
            }
        }
    }

    fn identifier(&mut self, len: usize) -> Result<(), Broken> {
        if len != MAGIC.len() {
            return Err(Broken::Damaged("a stream identifier has the wrong length"));
        }
        let mut magic = [0; MAGIC.len()];
        self.exact(&mut magic)?;
        if magic != *MAGIC {
            return Err(Broken::Damaged("a stream identifier is not that of S2"));
        }
        self.identified = true;
        Ok(())
    }

    /// Reads and decodes the `len` bytes of a frame with data.
    fn data(&mut self, kind: u8, len: usize, to: &mut Decoded) -> Result<(), Broken> {
        if len > MAX_FRAME {
            return Err(Broken::Damaged("a frame is larger than S2 allows"));
        }
        let mut crc = [0; CRC_LEN];
        let Some(len) = len.checked_sub(CRC_LEN) else {
            self.exact(crc.get_mut(..len).unwrap_or_default())?;
            return Err(Broken::Damaged("a frame is too short for its checksum"));
        };
        self.exact(&mut crc)?;
        let len = if kind == STORED {
            // Read to where it belongs.
            self.exact(to.room(len))?;
            len
        } else {
            self.compressed_data(len, to)?
        };
        self.data_until = self.compressed;
        if len > MAX_BLOCK {
            return Err(Broken::Damaged("a block is larger than S2 allows"));
        }
        if masked_crc(to.room(len)) != u32::from_le_bytes(crc) {
            return Err(Broken::Damaged("a frame's checksum does not match"));
        }
        to.len += len;
        Ok(())
    }

    /// Reads and decompresses a block behind the decoded bytes, without adding it to them. Gives its length.
    fn compressed_data(&mut self, len: usize, to: &mut Decoded) -> Result<usize, Broken> {
        let mut frame = std::mem::take(&mut self.frame);
        frame.resize(len, 0);
        let read = self.exact(&mut frame);
        self.frame = frame;
        read?;
        let Ok((len, _)) = s2::decode_len(&self.frame) else {
            return Err(Broken::Damaged("a block does not tell its length"));
        };
        if len > MAX_BLOCK {
            return Err(Broken::Damaged("a block is larger than S2 allows"));
        }
        match s2::decode_into(to.room(len), &self.frame) {
            Ok(decoded) if decoded == len => Ok(len),
            _ => Err(Broken::Damaged("a block does not decompress")),
        }
    }

    fn skip(&mut self, len: u64) -> Result<(), Broken> {
        if let Some(kept) = &mut self.kept {
            kept.current.clear();
        }
        let skipped = io::copy(&mut self.input.by_ref().take(len), &mut io::sink())?;
        self.compressed += skipped;
        if skipped < len { Err(Broken::Cut) } else { Ok(()) }
    }

    fn exact(&mut self, buffer: &mut [u8]) -> Result<(), Broken> {
        if self.read(buffer)? < buffer.len() { Err(Broken::Cut) } else { Ok(()) }
    }

    /// Reads until `buffer` is full or the input ends.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
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
