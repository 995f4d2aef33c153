//! Takes a snapshot out of its S2 frames and puts it back. So the content can be wrong while every frame's checksum is right.

use minlz::s2;

/// What is inside a snapshot: the S2 stream decoded.
pub fn unwrapped(mut snapshot: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    while let Some((head, rest)) = snapshot.split_first_chunk::<4>() {
        let len = usize::from(head[1]) | usize::from(head[2]) << 8 | usize::from(head[3]) << 16;
        let (frame, rest) = rest.split_at(len);
        snapshot = rest;
        match head[0] {
            0x00 => content.extend(s2::decode(&frame[4..]).unwrap()),
            0x01 => content.extend(&frame[4..]),
            _ => {}
        }
    }
    content
}

/// `content` as a snapshot whose frames' checksums fit it.
pub fn wrapped(content: &[u8]) -> Vec<u8> {
    let mut out = b"\xff\x06\x00\x00S2sTwO".to_vec();
    for data in content.chunks(64 << 10) {
        let crc = crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8);
        out.push(0x01);
        out.extend(&u32::try_from(4 + data.len()).unwrap().to_le_bytes()[..3]);
        out.extend(crc.to_le_bytes());
        out.extend(data);
    }
    out
}
