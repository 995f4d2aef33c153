//! Writes an S2 stream: content in, frames out. Knows no format inside the frames.
//!
//! Frames are compressed and of one size, or stored and cut where they are told to be. Stored ones have the same
//! bytes wherever the same content lies between two cuts.
//! The [`compressor`] makes the frames.

use std::io::{self, Write};

use super::compressor::{self, BackgroundFrames, FrameMaker};
use super::frames::{IDENTIFIER, MAGIC};

/// How much content one frame carries, in bytes: large enough to compress well, small enough to stay in a
/// processor's cache.
const FRAME: usize = 256 << 10;
/// After so many bytes of content, a background thread compresses the rest.
const WORTH: u64 = 1 << 20;

/// Writes content in frames of at most [`FRAME`] bytes.
pub struct FrameWriter<W> {
    out: W,
    frames: Frames,
    /// How many bytes of content may still come before a background thread makes the frames. None if it never does.
    background_after: Option<u64>,
    /// Content that fills no frame yet.
    rest: Vec<u8>,
    /// Memory for frames that are held back.
    held: Vec<u8>,
}

/// Where frames are made.
enum Frames {
    Here(FrameMaker),
    Background(BackgroundFrames),
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
        let frames = Frames::Here(FrameMaker::compressing());
        FrameWriter { out, frames, background_after: None, rest: Vec::with_capacity(FRAME), held: Vec::new() }
    }

    /// Stores what no frame has yet, and all that comes.
    pub fn stored(self) -> Self {
        FrameWriter { frames: Frames::Here(FrameMaker::storing()), ..self }
    }

    /// Has all but the beginning of a long one compressed on a thread of its own.
    pub fn compressed_in_background(self) -> Self {
        FrameWriter { background_after: Some(WORTH), ..self }
    }

    /// Ends the frame here.
    pub fn cut(&mut self) -> io::Result<()> {
        let rest = std::mem::take(&mut self.rest);
        if !rest.is_empty() {
            self.frame(&rest)?;
        }
        self.rest = rest;
        self.rest.clear();
        Ok(())
    }

    /// Ends the frame here. What is written from now on is held back, until it is known what [comes before](Self::release)
    /// it.
    pub fn hold(&mut self) -> io::Result<()> {
        self.cut()?;
        match &mut self.frames {
            Frames::Here(maker) => {
                maker.hold(std::mem::take(&mut self.held));
                Ok(())
            }
            Frames::Background(background) => background.hold(),
        }
    }

    /// Ends the frame here. Writes a stored frame with the content `before`, and then what was held back.
    pub fn release(&mut self, before: &[u8]) -> io::Result<()> {
        self.cut()?;
        match &mut self.frames {
            Frames::Here(maker) => {
                let held = maker.release();
                compressor::write_stored(before, &mut self.out)?;
                self.out.write_all(&held)?;
                self.held = compressor::reused(held);
                Ok(())
            }
            Frames::Background(background) => background.release(before, &mut self.out),
        }
    }

    /// Ends the frame here, and flushes the output: it may end a piece of its own here too.
    pub fn end_unit(&mut self) -> io::Result<()> {
        self.cut()?;
        self.out.flush()
    }

    /// Takes more content.
    // For short pieces of a known length, an inlined copy takes half the time.
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() >= FRAME - self.rest.len() {
            return self.fill(bytes);
        }
        self.rest.extend_from_slice(bytes);
        Ok(())
    }

    /// Takes content that fills a frame or more.
    fn fill(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while bytes.len() >= FRAME - self.rest.len() {
            let (now, later) = bytes.split_at(FRAME - self.rest.len());
            bytes = later;
            if self.rest.is_empty() {
                // A frame that begins here needs no copy.
                self.frame(now)?;
            } else {
                self.rest.extend_from_slice(now);
                self.cut()?;
            }
        }
        self.rest.extend_from_slice(bytes);
        Ok(())
    }

    /// Ends the stream.
    pub fn finish(mut self) -> io::Result<W> {
        self.cut()?;
        if let Frames::Background(background) = &mut self.frames {
            background.finish(&mut self.out)?;
        }
        self.out.flush()?;
        Ok(self.out)
    }

    fn frame(&mut self, content: &[u8]) -> io::Result<()> {
        if let Some(left) = &mut self.background_after {
            *left = left.saturating_sub(content.len() as u64);
        }
        self.move_to_background();
        match &mut self.frames {
            Frames::Here(maker) => maker.frame(content, &mut self.out),
            Frames::Background(background) => background.frame(content, &mut self.out),
        }
    }

    /// Lets a background thread make the frames from now on, if that is allowed and worth it.
    fn move_to_background(&mut self) {
        if self.background_after != Some(0) {
            return;
        }
        self.background_after = None;
        if let Frames::Here(maker) = &mut self.frames
            && maker.compresses()
        {
            self.frames = match BackgroundFrames::begin(std::mem::take(maker)) {
                Ok(background) => Frames::Background(background),
                Err(maker) => Frames::Here(maker),
            };
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
            let Frames::Here(maker) = self.frames else { panic!("it is already") };
            let background = BackgroundFrames::begin_always(maker).ok().unwrap();
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
    fn what_is_held_back_follows_what_comes_before_it_and_the_same_in_the_background() {
        let units: Vec<_> = [3, 2 * FRAME, FRAME / 2, 0, 40 * FRAME]
            .map(|len| [noise(len), b"text ".repeat(len / 9)].concat())
            .into();
        let write = |mut framing: FrameWriter<Vec<u8>>| {
            framing.write(b"first").unwrap();
            for (n, unit) in units.iter().enumerate() {
                framing.hold().unwrap();
                unit.chunks(5 + n * FRAME).for_each(|piece| framing.write(piece).unwrap());
                framing.release(format!("of {} bytes:", unit.len()).as_bytes()).unwrap();
                framing.write(b"between").unwrap();
            }
            framing.finish().unwrap()
        };
        let begin = || FrameWriter::begin(Vec::new()).unwrap();
        let mut whole = b"first".to_vec();
        for unit in &units {
            whole.extend([format!("of {} bytes:", unit.len()).as_bytes(), unit, b"between"].concat());
        }
        let here = write(begin());
        assert!(decoded(&here).unwrap() == whole);
        assert!(write(begin().compressed_in_background_always()) == here);
        assert!(
            write(begin().compressed_in_background()) == here,
            "it moves there while frames are held back"
        );
        assert!(decoded(&write(begin().stored())).unwrap() == whole);
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
