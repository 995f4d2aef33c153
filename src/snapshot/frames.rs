//! The frames of the S2 stream format, and a cursor that finds their ends without decoding anything. Knows no content.
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
/// The content of a stream identifier.
pub(super) const MAGIC: &[u8; 6] = b"S2sTwO";
/// The length of the checksum before the data of a frame.
pub(super) const CRC_LEN: usize = 4;
/// A whole, empty padding frame: nothing to a reader, but proof of life to a server.
pub const PADDING: [u8; 4] = [PAD, 0, 0, 0];

/// A cursor over the frames of an S2 stream that is pushed through in pieces. It knows which bytes
/// surely lie before the content's end.
///
/// A server that restores has stopped reading at the content's end, and padding sent after it would be
/// taken for something else. The end is in the last frame with data, so everything before the frame
/// with data that began last is safe to send, with padding after it for as long as one likes.
#[derive(Debug, Default)]
pub struct Frames {
    header: [u8; HEADER_LEN],
    have: usize,
    payload: usize,
    pushed: u64,
    last_data: u64,
}

impl Frames {
    /// At the start of a stream.
    pub fn new() -> Self {
        Frames::default()
    }

    /// Takes the next `bytes` of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let in_header = self.have < HEADER_LEN;
            let want = if in_header { HEADER_LEN - self.have } else { self.payload };
            let (now, later) = rest.split_at(want.min(rest.len()));
            rest = later;
            self.pushed += now.len() as u64;
            if in_header {
                for (to, from) in self.header.iter_mut().skip(self.have).zip(now) {
                    *to = *from;
                }
                self.have += now.len();
                if self.have == HEADER_LEN {
                    self.payload = payload_len(self.header);
                    if matches!(self.header, [COMPRESSED | STORED, ..]) {
                        self.last_data = self.pushed - HEADER_LEN as u64;
                    }
                }
            } else {
                self.payload -= now.len();
            }
            if self.have == HEADER_LEN && self.payload == 0 {
                self.have = 0;
            }
        }
    }

    /// How many bytes of the stream are whole frames before the content's end.
    pub fn safe(&self) -> u64 {
        self.last_data
    }
}

/// The first byte of the content of a stream of which `beginning` is the beginning, where that is easily
/// seen: in the frame after the identifier. A block begins with its length as a varint and a literal,
/// whose tag has its length less one in the upper six bits, or, from 60 on, how many bytes of length follow.
pub(super) fn first_byte(beginning: &[u8]) -> Option<u8> {
    let identifier = HEADER_LEN + MAGIC.len();
    let frame = beginning.get(identifier..).filter(|_| beginning.first() == Some(&IDENTIFIER))?;
    let data = frame.get(HEADER_LEN + CRC_LEN..)?;
    match *frame.first()? {
        STORED => data.first().copied(),
        COMPRESSED => {
            let length = data.iter().position(|byte| byte & 0x80 == 0)?;
            let (tag, rest) = data.get(length + 1..)?.split_first()?;
            let more = (usize::from(tag >> 2) + 1).saturating_sub(60);
            rest.get(more).copied().filter(|_| tag & 3 == 0)
        }
        _ => None,
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
    fn the_frame_with_data_that_began_last_is_held_back() {
        let mut stream = vec![IDENTIFIER, 6, 0, 0];
        stream.extend(b"S2sTwO");
        // Where each frame with data begins, and where that is known: when its header is there.
        let mut begins = Vec::new();
        for (kind, len) in
            [(STORED, 300usize), (PAD, 0), (COMPRESSED, 70_000), (STORED, 5), (0x80, 9), (PAD, 3)]
        {
            if kind == STORED || kind == COMPRESSED {
                begins.push(stream.len() as u64);
            }
            stream.extend([kind, len as u8, (len >> 8) as u8, (len >> 16) as u8]);
            stream.resize(stream.len() + len, 0xff);
        }
        for piece in [1, 2, 3, 5, 1000, 69_999, stream.len()] {
            let mut frames = Frames::new();
            let mut pushed = 0u64;
            for bytes in stream.chunks(piece) {
                frames.push(bytes);
                pushed += bytes.len() as u64;
                let known = begins.iter().rev().find(|begin| **begin + HEADER_LEN as u64 <= pushed);
                assert_eq!(frames.safe(), known.copied().unwrap_or(0), "pieces of {piece} at {pushed}");
            }
        }
    }
}
