//! Writes an S2 stream: content in, frames out. Knows no format inside them.
//!
//! Frames are compressed and of one size, or stored and cut where they are told to be. Stored ones have the same
//! bytes wherever the same content lies between two cuts.

use std::io::{self, Write};

use minlz::s2::Encoder;

use super::blocks::masked_crc;
use super::frames::{COMPRESSED, HEADER_LEN, IDENTIFIER, MAGIC, STORED};

/// How much content one frame carries, in bytes: large enough to compress well, small enough to stay in a
/// processor's cache.
const FRAME: usize = 256 << 10;

/// Writes content in frames of at most [`FRAME`] bytes.
pub struct Framing<W> {
    out: W,
    encoder: Encoder,
    /// Whether frames are stored.
    stores: bool,
    /// Content that fills no frame yet.
    rest: Vec<u8>,
    frame: Vec<u8>,
}

impl<W: Write> Framing<W> {
    /// Begins the stream.
    pub fn begin(mut out: W) -> io::Result<Self> {
        out.write_all(&header(IDENTIFIER, MAGIC.len()))?;
        out.write_all(MAGIC)?;
        Ok(Framing::after(out))
    }

    /// Goes on with a stream of which `out` has frames.
    pub fn after(out: W) -> Self {
        let (encoder, rest, frame) = (Encoder::new(), Vec::with_capacity(FRAME), Vec::new());
        Framing { out, encoder, stores: false, rest, frame }
    }

    /// Stores what no frame has yet, and all that comes.
    pub fn stored(self) -> Self {
        Framing { stores: true, ..self }
    }

    /// Ends the frame here.
    pub fn cut(&mut self) -> io::Result<()> {
        self.flush()
    }

    /// Ends the frame here, and flushes the output: it may end a piece of its own here too.
    pub fn end_unit(&mut self) -> io::Result<()> {
        self.flush()?;
        self.out.flush()
    }

    /// Takes more content.
    pub fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.rest.is_empty() && bytes.len() >= FRAME {
                let (whole, later) = bytes.split_at(FRAME);
                self.frame(whole)?;
                bytes = later;
                continue;
            }
            let (now, later) = bytes.split_at(bytes.len().min(FRAME - self.rest.len()));
            self.rest.extend_from_slice(now);
            bytes = later;
            if self.rest.len() == FRAME {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Ends the stream.
    pub fn finish(mut self) -> io::Result<W> {
        self.flush()?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn flush(&mut self) -> io::Result<()> {
        let rest = std::mem::take(&mut self.rest);
        if !rest.is_empty() {
            self.frame(&rest)?;
        }
        self.rest = rest;
        self.rest.clear();
        Ok(())
    }

    fn frame(&mut self, content: &[u8]) -> io::Result<()> {
        let crc = masked_crc(content).to_le_bytes();
        if self.stores {
            self.out.write_all(&header(STORED, crc.len() + content.len()))?;
            self.out.write_all(&crc)?;
            return self.out.write_all(content);
        }
        let block = self.encoder.encode(content);
        let (kind, block) =
            if block.len() < content.len() { (COMPRESSED, &*block) } else { (STORED, content) };
        self.frame.clear();
        self.frame.extend(header(kind, crc.len() + block.len()));
        self.frame.extend(crc);
        self.frame.extend_from_slice(block);
        // In one piece, for whoever sends pieces on.
        self.out.write_all(&self.frame)
    }
}

/// A frame's type and length; a frame here is far shorter than the 16 MiB that fit.
fn header(kind: u8, len: usize) -> [u8; HEADER_LEN] {
    let [a, b, c, ..] = len.to_le_bytes();
    [kind, a, b, c]
}
