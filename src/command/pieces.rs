//! Passes the bytes of a snapshot to another thread, which reads them. The caller counts the bytes that it feeds, and so
//! bounds the memory. Knows no format.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, channel};

use bytes::{Buf, Bytes};

/// Where they are fed.
pub(super) struct Feed(Sender<Piece>);

/// Where they are read. A [`Feed`] that goes away without an end is an error, never an end.
pub(super) struct Input {
    pieces: Receiver<Piece>,
    current: Bytes,
    ended: bool,
}

enum Piece {
    Bytes(Bytes),
    End,
}

/// Both ends.
pub(super) fn feed() -> (Feed, Input) {
    let (to, pieces) = channel();
    (Feed(to), Input { pieces, current: Bytes::new(), ended: false })
}

impl Feed {
    /// Feeds the next bytes. `false` when nobody reads any more.
    pub fn bytes(&self, bytes: Bytes) -> bool {
        self.0.send(Piece::Bytes(bytes)).is_ok()
    }

    /// No more bytes will come. One that reads no more takes no end either.
    pub fn end(&self) {
        let _ = self.0.send(Piece::End);
    }
}

impl Read for Input {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.ended {
            match self.pieces.recv() {
                Ok(Piece::Bytes(bytes)) => self.current = bytes,
                Ok(Piece::End) => self.ended = true,
                Err(_) => return Err(io::Error::other("the snapshot was given up")),
            }
        }
        let n = into.len().min(self.current.len());
        self.current.copy_to_slice(&mut into[..n]);
        if self.current.is_empty() {
            // Counted as held for as long as anything of it is there.
            self.current = Bytes::new();
        }
        Ok(n)
    }
}
