//! What the fuzz targets share: input cut into pieces, and content made to look sound from outside, so
//! that the fuzzer gets behind the checksums. Knows no target.

pub mod files;
pub mod repair;
pub mod s2;

use std::io::{self, Read};

/// Bytes that come in pieces of the given sizes, over and over; a size of 0 stands for 256.
#[derive(Debug)]
pub struct Pieces<'a> {
    rest: &'a [u8],
    sizes: std::iter::Cycle<std::slice::Iter<'a, u8>>,
}

impl<'a> Pieces<'a> {
    pub fn new(bytes: &'a [u8], sizes: &'a [u8]) -> Self {
        Pieces { rest: bytes, sizes: sizes.iter().cycle() }
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let size = match self.sizes.next() {
            Some(0) | None => 256,
            Some(size) => usize::from(*size),
        };
        let (piece, rest) = self.rest.split_at(size.min(self.rest.len()));
        self.rest = rest;
        Some(piece).filter(|piece| !piece.is_empty())
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        let before = self.rest;
        let piece = self.next().unwrap_or_default();
        let n = piece.len().min(into.len());
        into[..n].copy_from_slice(&piece[..n]);
        self.rest = &before[n..];
        Ok(n)
    }
}
