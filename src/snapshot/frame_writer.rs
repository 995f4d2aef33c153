//! Writes an S2 stream: content in, frames out. Knows no format inside the frames.
//!
//! Frames are compressed and of one size, or stored and cut where they are told to be. Stored ones have the same
//! bytes wherever the same content lies between two cuts.
//! The [`compressor`] makes the frames that are compressed.

use std::io::{self, Write};

use super::compressor::{self, BackgroundCompressor, Compressor};
use super::frames::{IDENTIFIER, MAGIC};

/// How much content one frame carries, in bytes: large enough to compress well, small enough to stay in a
/// processor's cache.
const FRAME: usize = 256 << 10;
/// After so many bytes of content, a background thread compresses the rest.
const WORTH: u64 = 8 << 20;

/// Writes content in frames of at most [`FRAME`] bytes.
pub struct FrameWriter<W> {
    out: W,
    frames: Frames,
    /// How many bytes of content may still come before a background thread makes the frames. None if it never does.
    background_after: Option<u64>,
    /// Content that fills no frame yet.
    rest: Vec<u8>,
}

/// How frames are made.
enum Frames {
    Stored,
    Compressed(Compressor),
    Background(BackgroundCompressor),
}

impl<W: Write> FrameWriter<W> {
    /// Begins the stream.
    pub fn begin(mut out: W) -> io::Result<Self> {
        out.write_all(&compressor::header(IDENTIFIER, MAGIC.len()))?;
        out.write_all(MAGIC)?;
        Ok(FrameWriter::after(out))
    }

    /// Goes on with a stream of which `out` has frames.
    pub fn after(out: W) -> Self {
        let frames = Frames::Compressed(Compressor::default());
        FrameWriter { out, frames, background_after: None, rest: Vec::with_capacity(FRAME) }
    }

    /// Stores what no frame has yet, and all that comes.
    pub fn stored(self) -> Self {
        FrameWriter { frames: Frames::Stored, ..self }
    }

    /// Has all but the beginning of a long one compressed on a thread of its own.
    pub fn compressed_in_background(self) -> Self {
        FrameWriter { background_after: Some(WORTH), ..self }
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
            if bytes.len() >= FRAME {
                // A frame that begins here needs no copy.
                self.flush()?;
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
        if let Frames::Background(background) = &mut self.frames {
            background.finish(&mut self.out)?;
        }
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
        self.move_to_background(content.len() as u64);
        match &mut self.frames {
            Frames::Stored => compressor::write_stored(content, &mut self.out),
            Frames::Compressed(compressor) => compressor.write(content, &mut self.out),
            Frames::Background(background) => background.write(content, &mut self.out),
        }
    }

    /// Lets a background thread make the frames from now on, if that is allowed and worth it. A frame with `len` bytes comes
    /// next.
    fn move_to_background(&mut self, len: u64) {
        let Some(left) = &mut self.background_after else { return };
        if let Some(less) = left.checked_sub(len) {
            *left = less;
            return;
        }
        self.background_after = None;
        if let Frames::Compressed(compressor) = &self.frames
            && let Some(background) = BackgroundCompressor::begin(compressor)
        {
            self.frames = Frames::Background(background);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::decoded;
    use super::*;

    impl<W: Write> FrameWriter<W> {
        /// Has all of it compressed on a thread, be there a processor for that or not.
        fn compressed_in_background_always(self) -> Self {
            let background = BackgroundCompressor::begin_always(&Compressor::default()).unwrap();
            FrameWriter { frames: Frames::Background(background), ..self }
        }
    }

    /// What does not compress.
    fn noise(len: usize) -> Vec<u8> {
        let mut state = len as u64;
        let next = || {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            (state >> 56) as u8
        };
        std::iter::repeat_with(next).take(len).collect()
    }

    fn framed(mut framing: FrameWriter<Vec<u8>>, content: &[u8], piece: usize) -> Vec<u8> {
        content.chunks(piece).for_each(|piece| framing.write(piece).unwrap());
        framing.finish().unwrap()
    }

    #[test]
    fn what_is_framed_is_read_again_and_the_same_in_the_background() {
        // Frames of text, of noise and of both follow one another.
        let mut content = Vec::new();
        for quarters in [1, 3, 8, 2, 9] {
            content.extend(b"content ".repeat(quarters * FRAME / 32));
            content.extend(noise(quarters * FRAME / 4 + 7));
        }
        let begin = || FrameWriter::begin(Vec::new()).unwrap();
        for piece in [999, FRAME - 1, FRAME, FRAME + 1, content.len()] {
            let here = framed(begin(), &content, piece);
            assert!(decoded(&here).unwrap() == content, "{piece}");
            assert!(framed(begin().compressed_in_background_always(), &content, piece) == here, "{piece}");
            assert!(decoded(&framed(begin().stored(), &content, piece)).unwrap() == content, "{piece}");
        }
    }

    #[test]
    fn text_is_compressed_again_after_noise() {
        let content = [noise(3 * FRAME), b"content ".repeat(5 * FRAME)].concat();
        let framed = framed(FrameWriter::begin(Vec::new()).unwrap(), &content, content.len());
        assert!(framed.len() < 6 * FRAME, "{}", framed.len());
    }

    #[test]
    fn an_output_that_fails_is_an_error_in_the_background_too() {
        struct Fails;
        impl Write for Fails {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::Error::other("on purpose"))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut framing = FrameWriter::after(Fails).compressed_in_background_always();
        let written =
            noise(FRAME).chunks(1000).cycle().take(100_000).try_for_each(|piece| framing.write(piece));
        assert_eq!(written.unwrap_err().to_string(), "on purpose");
        let mut framing = FrameWriter::after(Fails).compressed_in_background_always();
        framing.write(b"content").unwrap();
        assert_eq!(framing.finish().err().unwrap().to_string(), "on purpose");
    }
}
