//! Writes a snapshot again while it flows, on its own thread. Memory: the caller counts the bytes that it feeds, and so
//! bounds them. Converted bytes are bounded by [`AHEAD`] pieces, or by two large ones. Knows no format.

use std::io::{self, Write};
use std::mem;

use bytes::Bytes;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;

use super::pieces::{Feed, Input, feed};
use crate::snapshot::{ConvertError, WriteError};

/// How long a piece of what is written is, in bytes: as long as a chunk of a server. So a part of an archive is a
/// number of whole pieces, and what waits for the next part keeps nothing in memory that has been written.
const PIECE: usize = 64 << 10;

/// How many of them wait at most.
const AHEAD: usize = 64;

/// A conversion at work. At its end it gives a `T`.
pub(super) struct Conversion<T> {
    snapshot: Feed,
    written: Receiver<Bytes>,
    writing: Option<JoinHandle<Result<T, ConvertError>>>,
    /// What was found out, once all has been written.
    pub found: Option<T>,
}

impl<T: Send + 'static> Conversion<T> {
    /// Begins to write a snapshot again with `convert`.
    pub fn begin(
        convert: impl FnOnce(Input, &mut Output) -> Result<T, ConvertError> + Send + 'static,
    ) -> Conversion<T> {
        Conversion::begin_with(AHEAD, PIECE, convert)
    }

    /// The same in pieces that end where `convert` flushes its output, or have `most` bytes.
    pub fn begin_in_pieces(
        most: usize,
        convert: impl FnOnce(Input, &mut Output) -> Result<T, ConvertError> + Send + 'static,
    ) -> Conversion<T> {
        Conversion::begin_with(1, most, convert)
    }

    fn begin_with(
        ahead: usize,
        most: usize,
        convert: impl FnOnce(Input, &mut Output) -> Result<T, ConvertError> + Send + 'static,
    ) -> Conversion<T> {
        let (to, written) = channel(ahead);
        let (snapshot, input) = feed();
        let mut output = Output { to, piece: Vec::new(), most };
        let writing = tokio::task::spawn_blocking(move || {
            let found = convert(input, &mut output)?;
            output.flush().map_err(WriteError::Io)?;
            Ok(found)
        });
        Conversion { snapshot, written, writing: Some(writing), found: None }
    }

    /// Feeds the next bytes of the snapshot as it came.
    pub fn feed(&self, bytes: Bytes) {
        // When it has ended early, what comes next says why.
        let _ = self.snapshot.bytes(bytes);
    }

    /// No more bytes will come.
    pub fn end(&self) {
        self.snapshot.end();
    }

    /// The next bytes that have been written already.
    pub fn ready(&mut self) -> Option<Bytes> {
        self.written.try_recv().ok()
    }

    /// Waits for the next bytes; none when all has been written. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ConvertError> {
        if let Some(bytes) = self.written.recv().await {
            return Ok(Some(bytes));
        }
        let Some(writing) = &mut self.writing else { return Ok(None) };
        let ended = writing.await;
        self.writing = None;
        self.found = Some(ended.map_err(|e| ConvertError::Fault(io::Error::other(e).into()))??);
        Ok(None)
    }
}

/// The output of the conversion.
pub(super) struct Output {
    to: Sender<Bytes>,
    /// What is sent in one piece.
    piece: Vec<u8>,
    /// The most bytes of a piece.
    most: usize,
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let now = bytes.get(..self.most - self.piece.len()).unwrap_or(bytes);
        self.piece.extend_from_slice(now);
        if self.piece.len() == self.most {
            self.flush()?;
        }
        Ok(now.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match mem::take(&mut self.piece) {
            piece if piece.is_empty() => Ok(()),
            piece => self.to.blocking_send(piece.into()).map_err(|_| io::ErrorKind::BrokenPipe.into()),
        }
    }
}
