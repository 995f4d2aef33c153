//! Reads gzip as gzip(1) does: one member after another, and then zero bytes, because tape drives and block devices pad.
//! `flate2::read::MultiGzDecoder` refuses these zeros, so this is our own reader. Knows nothing of the content.

use std::io::{self, BufRead, ErrorKind, Read};

use flate2::bufread::GzDecoder;

/// The content of all members.
pub(super) struct GzipReader<R>(State<R>);

enum State<R> {
    Member(Box<GzDecoder<R>>),
    End,
}

impl<R: BufRead> GzipReader<R> {
    pub fn new(input: R) -> Self {
        GzipReader(State::Member(Box::new(GzDecoder::new(input))))
    }
}

impl<R: BufRead> Read for GzipReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while let State::Member(member) = &mut self.0 {
            let n = member.read(buf)?;
            if n > 0 || buf.is_empty() {
                return Ok(n);
            }
            // The member is over and its checksum was right.
            let State::Member(member) = std::mem::replace(&mut self.0, State::End) else { break };
            let mut input = member.into_inner();
            match input.fill_buf()?.first() {
                None => {}
                Some(0) => padding(&mut input)?,
                Some(_) => *self = GzipReader::new(input),
            }
        }
        Ok(0)
    }
}

fn padding(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let bytes = input.fill_buf()?;
        if bytes.is_empty() {
            return Ok(());
        }
        if bytes.iter().any(|&byte| byte != 0) {
            return Err(io::Error::new(ErrorKind::InvalidData, "something else follows its end"));
        }
        let n = bytes.len();
        input.consume(n);
    }
}
