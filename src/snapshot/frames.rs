//! The S2 stream format's frames, and a cursor that finds their ends without decoding anything.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | type: [`COMPRESSED`], [`STORED`], [`PAD`], [`IDENTIFIER`], `0x80..=0xfd` skippable, others not allowed |
//! | 3 | length of the rest, little-endian |
//! | length | compressed and stored: masked CRC-32C of the decompressed data (u32 LE), then an S2 block or the data itself; identifier: `S2sTwO` |
//!
//! Source: the framing format of Snappy and its extensions in S2, `github.com/klauspost/compress/s2`.

/// The frame type of an S2 block.
pub const COMPRESSED: u8 = 0x00;
/// The frame type of data that did not compress.
pub const STORED: u8 = 0x01;
/// The frame type of padding.
pub const PAD: u8 = 0xfe;
/// The frame type of the stream identifier.
pub const IDENTIFIER: u8 = 0xff;
/// The length of a frame's type and length.
pub const HEADER_LEN: usize = 4;
/// A whole, empty padding frame: nothing to a reader, but proof of life to a server.
pub const PADDING: [u8; 4] = [PAD, 0, 0, 0];

/// A cursor over the frames of an S2 stream that is pushed through in pieces.
#[derive(Debug, Default)]
pub struct Frames {
    header: [u8; HEADER_LEN],
    have: usize,
    payload: usize,
    pushed: u64,
    boundary: u64,
}

impl Frames {
    /// At the start of a stream.
    pub fn new() -> Self {
        Frames::default()
    }

    /// Takes the next `bytes` of the stream; returns how many of them lie before the last frame end
    /// among them, or nothing if no frame ends in them.
    pub fn push(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut rest = bytes;
        let mut last = None;
        while !rest.is_empty() {
            let in_header = self.have < HEADER_LEN;
            let want = if in_header { HEADER_LEN - self.have } else { self.payload };
            let (now, later) = rest.split_at(want.min(rest.len()));
            rest = later;
            if in_header {
                for (to, from) in self.header.iter_mut().skip(self.have).zip(now) {
                    *to = *from;
                }
                self.have += now.len();
                if self.have == HEADER_LEN {
                    self.payload = payload_len(self.header);
                }
            } else {
                self.payload -= now.len();
            }
            if self.have == HEADER_LEN && self.payload == 0 {
                self.have = 0;
                last = Some(bytes.len() - rest.len());
            }
        }
        if let Some(last) = last {
            self.boundary = self.pushed + last as u64;
        }
        self.pushed += bytes.len() as u64;
        last
    }

    /// How many bytes of the stream lie before the last frame end that was pushed.
    pub fn boundary(&self) -> u64 {
        self.boundary
    }

    /// Whether the last byte pushed was the last of a frame.
    pub fn at_boundary(&self) -> bool {
        self.boundary == self.pushed
    }
}

/// The length of what follows a frame's header.
pub(super) fn payload_len(header: [u8; HEADER_LEN]) -> usize {
    let [_, a, b, c] = header;
    usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_ends_are_found_however_the_bytes_are_cut() {
        let mut stream = Vec::new();
        let mut ends = vec![0];
        for len in [6usize, 0, 1, 300, 70_000, 0, 0, 5] {
            stream.extend([STORED, len as u8, (len >> 8) as u8, (len >> 16) as u8]);
            stream.resize(stream.len() + len, 0xff);
            ends.push(stream.len() as u64);
        }
        stream.extend([STORED, 9, 0, 0, 1]);
        for piece in [1, 2, 3, 5, 1000, 69_999, stream.len()] {
            let mut frames = Frames::new();
            let mut pushed = 0u64;
            for bytes in stream.chunks(piece) {
                let found = frames.push(bytes);
                let expected = ends.iter().rev().find(|end| **end <= pushed + bytes.len() as u64).copied();
                let within = expected.filter(|end| *end > pushed).map(|end| (end - pushed) as usize);
                assert_eq!(found, within, "pieces of {piece} at {pushed}");
                pushed += bytes.len() as u64;
                assert_eq!(Some(frames.boundary()), expected);
                assert_eq!(frames.at_boundary(), expected == Some(pushed));
            }
        }
    }
}
