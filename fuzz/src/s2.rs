//! S2 streams: content into frames and out again. The layout is in the crate's `snapshot::Frames`.

use crate::Pieces;

pub const START: &[u8] = b"\xff\x06\x00\x00S2sTwO";

const COMPRESSED: u8 = 0;
const STORED: u8 = 1;

/// `content` in frames of the given sizes, every second one compressed.
pub fn wrap(content: &[u8], sizes: &[u8]) -> Vec<u8> {
    let mut stream = START.to_vec();
    for (n, data) in Pieces::new(content, sizes).enumerate() {
        let block = minlz::s2::encode(data);
        let (kind, body) = if n % 2 == 0 { (STORED, data) } else { (COMPRESSED, block.as_slice()) };
        stream.push(kind);
        stream.extend(&(body.len() as u32 + 4).to_le_bytes()[..3]);
        stream.extend(crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes());
        stream.extend(body);
    }
    stream
}

/// The content of a sound S2 stream, for seeds.
pub fn unwrap(mut stream: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    while let Some(([kind, len @ ..], rest)) = stream.split_first_chunk::<4>() {
        let [a, b, c] = *len;
        let (body, rest) = rest.split_at(u32::from_le_bytes([a, b, c, 0]) as usize);
        match *kind {
            COMPRESSED => content.extend(minlz::s2::decode(&body[4..]).unwrap()),
            STORED => content.extend(&body[4..]),
            _ => {}
        }
        stream = rest;
    }
    content
}
