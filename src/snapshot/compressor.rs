//! Makes frames of an S2 stream out of content, and holds them back where it is told to. Knows neither what the content is nor
//! the output.
//!
//! For a long stream, a [background thread](BackgroundFrames) makes them, because compression is nearly half of the work
//! of writing events.
//!
//! ```text
//! here: content of a frame ─ that thread: CRC, S2 ─ frames, in the same order ─ here: output
//! ```
//!
//! The frames are the same in both cases. Memory: [`AHEAD`] times the content of a frame, and as much compressed; beside it
//! what is held back, up to three times.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use snap::raw::{Encoder, max_compress_len};

use super::background::has_second_processor;
use super::blocks::masked_crc;
use super::frames::{COMPRESSED, CRC_LEN, HEADER_LEN, STORED};

/// Of how many bytes each sample is that tells whether a frame is worth compressing, and how far apart they begin.
const SAMPLE: usize = 4 << 10;
const SAMPLE_EVERY: usize = 64 << 10;
/// The most frames that are in work in the background: 6 MiB of content. The output may take a while for some of them, as
/// an archive does that sums a part at once. The other thread goes on meanwhile.
const AHEAD: usize = 24;
/// Memory of frames that were held back is used again unless it is larger: one large message costs it once.
const MAX_REUSED: usize = 8 << 20;

/// Makes one frame after another.
#[derive(Default)]
pub struct FrameMaker {
    /// None if frames are stored.
    compressor: Option<Box<Compressor>>,
    /// The frames that are held back, if they are.
    held: Option<Vec<u8>>,
}

impl FrameMaker {
    /// Of compressed frames, or of stored ones where the content does not compress.
    pub fn compressing() -> Self {
        FrameMaker { compressor: Some(Box::new(Compressor::new())), held: None }
    }

    /// Of stored frames.
    pub fn storing() -> Self {
        FrameMaker::default()
    }

    /// Whether frames are compressed.
    pub fn compresses(&self) -> bool {
        self.compressor.is_some()
    }

    /// Makes a frame with this content. It goes to `out` unless frames are held back.
    pub fn frame(&mut self, content: &[u8], out: &mut impl Write) -> io::Result<()> {
        let compressed = self.compressor.as_mut().and_then(|compressor| compressor.compressed(content));
        match &mut self.held {
            Some(held) => write_frame(content, compressed, held),
            None => write_frame(content, compressed, out),
        }
    }

    /// Holds the frames back from now on, in `memory`.
    pub fn hold(&mut self, memory: Vec<u8>) {
        self.held = Some(memory);
    }

    /// Gives the frames that were held back. No more are.
    pub fn release(&mut self) -> Vec<u8> {
        self.held.take().unwrap_or_default()
    }
}

/// Memory to hold frames in, from frames that were held in it.
pub fn reused(mut held: Vec<u8>) -> Vec<u8> {
    held.clear();
    held.shrink_to(MAX_REUSED);
    held
}

/// Compresses the content of frames.
struct Compressor {
    encoder: Encoder,
    /// What it has compressed last.
    block: Vec<u8>,
    /// Whether the last frame did not compress.
    incompressible: bool,
}

impl Compressor {
    fn new() -> Self {
        Compressor { encoder: Encoder::new(), block: Vec::new(), incompressible: false }
    }

    /// The content compressed, if that makes it shorter. To find out that it does not, costs a copy of all of it. So
    /// after a frame that did not compress, samples tell whether the next one is tried.
    fn compressed(&mut self, content: &[u8]) -> Option<&[u8]> {
        let mut samples = content.chunks(SAMPLE_EVERY).map(|chunk| chunk.get(..SAMPLE).unwrap_or(chunk));
        if self.incompressible && !samples.any(|sample| self.shorter(sample).is_some()) {
            return None;
        }
        let shorter = self.shorter(content);
        self.incompressible = shorter.is_none();
        self.block.get(..shorter?)
    }

    /// Compresses this into the block. Gives the block's length, if it is shorter.
    fn shorter(&mut self, content: &[u8]) -> Option<usize> {
        self.block.resize(max_compress_len(content.len()).max(self.block.len()), 0);
        self.encoder.compress(content, &mut self.block).ok().filter(|len| *len < content.len())
    }
}

/// Writes a stored frame with this content to `out`.
pub fn write_stored(content: &[u8], out: &mut impl Write) -> io::Result<()> {
    write_frame(content, None, out)
}

fn write_frame(content: &[u8], compressed: Option<&[u8]>, out: &mut impl Write) -> io::Result<()> {
    let (kind, block) = compressed.map_or((STORED, content), |block| (COMPRESSED, block));
    out.write_all([header(kind, CRC_LEN + block.len()), masked_crc(content).to_le_bytes()].as_flattened())?;
    out.write_all(block)
}

/// A frame's type and length; a frame here is far shorter than the 16 MiB that fit.
pub fn header(kind: u8, len: usize) -> [u8; HEADER_LEN] {
    let [a, b, c, ..] = len.to_le_bytes();
    [kind, a, b, c]
}

/// Where frames are made on a thread of its own. The thread ends when this is dropped.
pub struct BackgroundFrames {
    work: Sender<Work>,
    made: Receiver<Made>,
    /// How many frames, and groups of frames that are released, are in work.
    count: usize,
    /// Memory to be used again: of content, and of frames that were held back.
    used: Vec<Vec<u8>>,
    used_by_held: Option<Vec<u8>>,
}

enum Work {
    Frame(Vec<u8>),
    Hold(Vec<u8>),
    /// With the content of the frame that comes before those that were held back.
    Release(Vec<u8>),
}

struct Made {
    /// What the frame was made of, or the one before those that were held back.
    content: Vec<u8>,
    /// What goes to the output.
    frames: Vec<u8>,
    /// What was held back, and goes there next.
    held: Option<Vec<u8>>,
}

impl BackgroundFrames {
    /// Goes on with the work of `maker` on a thread. Gives it back where there is no second processor, or no thread.
    pub fn begin(maker: FrameMaker) -> Result<Self, FrameMaker> {
        match has_second_processor() {
            true => BackgroundFrames::begin_always(maker),
            false => Err(maker),
        }
    }

    /// The same, and where there is one processor.
    pub fn begin_always(maker: FrameMaker) -> Result<Self, FrameMaker> {
        let (work, works) = channel();
        let (to, made) = channel();
        // The maker is sent after the thread has started, so it is not lost if it cannot start.
        let (give, take) = channel::<FrameMaker>();
        let thread = thread::Builder::new().name("compress".into()).spawn(move || {
            if let Ok(maker) = take.recv() {
                make(maker, &works, &to);
            }
        });
        if thread.is_err() {
            return Err(maker);
        }
        give.send(maker).map_err(|unsent| unsent.0)?;
        Ok(BackgroundFrames { work, made, count: 0, used: Vec::new(), used_by_held: None })
    }

    /// Has a frame with this content made. Writes what has been made to `out`.
    pub fn frame(&mut self, content: &[u8], out: &mut impl Write) -> io::Result<()> {
        let content = self.copied(content);
        self.send(Work::Frame(content), out)
    }

    /// Holds back the frames from now on.
    pub fn hold(&mut self) -> io::Result<()> {
        let memory = self.used_by_held.take().unwrap_or_default();
        self.work.send(Work::Hold(memory)).map_err(|_| broke_off())
    }

    /// Has the frames that were held back written after a stored one with the content `before`.
    pub fn release(&mut self, before: &[u8], out: &mut impl Write) -> io::Result<()> {
        let before = self.copied(before);
        self.send(Work::Release(before), out)
    }

    fn copied(&mut self, content: &[u8]) -> Vec<u8> {
        let mut memory = self.used.pop().unwrap_or_default();
        memory.clear();
        memory.extend_from_slice(content);
        memory
    }

    fn send(&mut self, work: Work, out: &mut impl Write) -> io::Result<()> {
        while self.count >= AHEAD {
            self.next(out)?;
        }
        while let Ok(made) = self.made.try_recv() {
            self.made(made, out)?;
        }
        self.count += 1;
        self.work.send(work).map_err(|_| broke_off())
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
        let Made { content, frames, held } = made;
        self.count -= 1;
        self.used.push(content);
        out.write_all(&frames)?;
        if let Some(held) = held {
            out.write_all(&held)?;
            self.used_by_held = Some(reused(held));
        }
        Ok(())
    }
}

/// Does all work, and sends what it has made.
fn make(mut maker: FrameMaker, works: &Receiver<Work>, to: &Sender<Made>) {
    for work in works {
        let mut frames = Vec::new();
        // Writing to memory does not fail.
        let made = match work {
            Work::Hold(memory) => {
                maker.hold(memory);
                continue;
            }
            Work::Frame(content) => {
                let _ = maker.frame(&content, &mut frames);
                Made { content, frames, held: None }
            }
            Work::Release(before) => {
                let _ = write_stored(&before, &mut frames);
                Made { content: before, frames, held: Some(maker.release()) }
            }
        };
        if to.send(made).is_err() {
            return;
        }
    }
}

fn broke_off() -> io::Error {
    io::Error::other("the compressing broke off")
}
