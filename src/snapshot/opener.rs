//! Bytes that may be sent before a snapshot in tar format, and that do not change what is restored. They make a server begin
//! to read, and its acknowledgement proves that it has begun. Sends nothing itself.

use std::io;

use super::frame_writer::FrameWriter;
use super::frames::PADDING;
use crate::tar_header;

/// What may be sent before the frames of a snapshot in tar format: an S2 stream with the PAX header of a comment, which
/// belongs to the file that follows, and padding.
///
/// Nothing is in it that a server could restore. The snapshot's own identifier may follow in the middle of an S2 stream.
/// A server of 2.15 reads the first frame with data to recognise the format, and passes the rest to its reader of tars:
/// only that one reads the padding.
pub fn opener() -> io::Result<Vec<u8>> {
    let mut stream = FrameWriter::begin(Vec::new())?.stored();
    stream.write(&tar_header::comment("a restore begins")?)?;
    let mut opener = stream.finish()?;
    opener.extend_from_slice(&PADDING);
    Ok(opener)
}

#[cfg(test)]
mod tests {
    use super::super::test_snapshots::{self, START, frame, s2};
    use super::super::tests::decoded;
    use super::super::{Format, Frames, format_of};
    use super::*;

    #[test]
    fn it_is_the_beginning_of_a_tar_and_nothing_of_a_snapshot() {
        let opener = opener().unwrap();
        assert_eq!(format_of(&opener), Some(Format::Tar));
        assert!(opener.starts_with(START) && opener.ends_with(&frame(0xfe, b"")));
        let mut frames = Frames::new();
        frames.push(&opener);
        // One frame with data: what a server has read that has taken the padding after it.
        assert_eq!(frames.safe(), START.len() as u64);
        let snapshot = s2(&test_snapshots::tar(&[("meta.inf", b"{}".to_vec())]), 100);
        let together = [opener, snapshot].concat();
        let content = decoded(&together).unwrap();
        let mut files = tar::Archive::new(content.as_slice());
        let files: Vec<_> =
            files.entries().unwrap().map(|file| file.unwrap().path().unwrap().into_owned()).collect();
        assert_eq!(files, [std::path::Path::new("meta.inf")]);
    }
}
