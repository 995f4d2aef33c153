//! Makes frames of an S2 stream out of content. Knows neither the order of the frames nor the output.
//!
//! For a long stream, a [background thread](BackgroundCompressor) makes them, because compression is nearly half of the work
//! of writing events.
//!
//! ```text
//! here: content of a frame ─ that thread: CRC, S2 ─ frames, in the same order ─ here: output
//! ```
//!
//! The frames are the same in both cases. Memory: [`AHEAD`] times the content of a frame, and as much compressed.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use minlz::s2::Encoder;

use super::background::has_second_processor;
use super::blocks::masked_crc;
use super::frames::{COMPRESSED, CRC_LEN, HEADER_LEN, STORED};

/// Of how many bytes each sample is that tells whether a frame is worth compressing, and how far apart they begin.
const SAMPLE: usize = 4 << 10;
const SAMPLE_EVERY: usize = 64 << 10;
/// The most frames that are in work in the background.
const AHEAD: usize = 8;

/// Makes one frame after another.
#[derive(Default)]
pub struct Compressor {
    encoder: Encoder,
    /// Whether the last frame did not compress.
    incompressible: bool,
}

impl Compressor {
    /// The content compressed, if that makes it shorter. To find out that it does not, costs a copy of all of it. So
    /// after a frame that did not compress, samples tell whether the next one is tried.
    fn compressed(&mut self, content: &[u8]) -> Option<Vec<u8>> {
        if self.incompressible && !content.chunks(SAMPLE_EVERY).any(|chunk| self.sample_compresses(chunk)) {
            return None;
        }
        let block = self.encoder.encode(content);
        self.incompressible = block.len() >= content.len();
        (!self.incompressible).then_some(block)
    }

    fn sample_compresses(&mut self, chunk: &[u8]) -> bool {
        let sample = chunk.get(..SAMPLE).unwrap_or(chunk);
        self.encoder.encode(sample).len() < sample.len()
    }

    /// Writes a frame with this content to `out`.
    pub fn write(&mut self, content: &[u8], out: &mut impl Write) -> io::Result<()> {
        let compressed = self.compressed(content);
        write_frame(content, masked_crc(content), compressed.as_deref(), out)
    }
}

/// Writes a stored frame with this content to `out`.
pub fn write_stored(content: &[u8], out: &mut impl Write) -> io::Result<()> {
    write_frame(content, masked_crc(content), None, out)
}

fn write_frame(content: &[u8], crc: u32, compressed: Option<&[u8]>, out: &mut impl Write) -> io::Result<()> {
    let (kind, block) = compressed.map_or((STORED, content), |block| (COMPRESSED, block));
    out.write_all([header(kind, CRC_LEN + block.len()), crc.to_le_bytes()].as_flattened())?;
    out.write_all(block)
}

/// A frame's type and length; a frame here is far shorter than the 16 MiB that fit.
pub fn header(kind: u8, len: usize) -> [u8; HEADER_LEN] {
    let [a, b, c, ..] = len.to_le_bytes();
    [kind, a, b, c]
}

/// Where frames are made on a thread of its own. The thread ends when this is dropped.
pub struct BackgroundCompressor {
    content: Sender<Vec<u8>>,
    made: Receiver<Made>,
    /// How many frames are being made.
    count: usize,
    /// Memory to be used again.
    used: Vec<Vec<u8>>,
}

struct Made {
    content: Vec<u8>,
    crc: u32,
    compressed: Option<Vec<u8>>,
}

impl BackgroundCompressor {
    /// Goes on with a compressor's work on a thread. None where there is no second processor, or no thread.
    pub fn begin(from: &Compressor) -> Option<Self> {
        has_second_processor().then(|| BackgroundCompressor::begin_always(from)).flatten()
    }

    /// The same, and where there is one processor.
    pub fn begin_always(from: &Compressor) -> Option<Self> {
        let mut compressor = Compressor { incompressible: from.incompressible, ..Compressor::default() };
        let (content, contents) = channel::<Vec<u8>>();
        let (to, made) = channel();
        let thread = thread::Builder::new().name("compress".into()).spawn(move || {
            for content in contents {
                let compressed = compressor.compressed(&content);
                let made = Made { crc: masked_crc(&content), content, compressed };
                if to.send(made).is_err() {
                    return;
                }
            }
        });
        thread.ok().map(|_| BackgroundCompressor { content, made, count: 0, used: Vec::new() })
    }

    /// Has a frame with this content made. Writes those that have been made to `out`.
    pub fn write(&mut self, content: &[u8], out: &mut impl Write) -> io::Result<()> {
        while self.count >= AHEAD {
            self.next(out)?;
        }
        while let Ok(made) = self.made.try_recv() {
            self.made(made, out)?;
        }
        let mut memory = self.used.pop().unwrap_or_default();
        memory.clear();
        memory.extend_from_slice(content);
        self.count += 1;
        self.content.send(memory).map_err(|_| broke_off())
    }

    /// Writes all that is left to `out`.
    pub fn finish(&mut self, out: &mut impl Write) -> io::Result<()> {
        while self.count > 0 {
            self.next(out)?;
        }
        Ok(())
    }

    fn next(&mut self, out: &mut impl Write) -> io::Result<()> {
        let made = self.made.recv().map_err(|_| broke_off())?;
        self.made(made, out)
    }

    fn made(&mut self, made: Made, out: &mut impl Write) -> io::Result<()> {
        let Made { content, crc, compressed } = made;
        self.count -= 1;
        write_frame(&content, crc, compressed.as_deref(), out)?;
        self.used.push(content);
        Ok(())
    }
}

fn broke_off() -> io::Error {
    io::Error::other("the compressing broke off")
}
