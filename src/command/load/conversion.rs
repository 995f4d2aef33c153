//! A snapshot that is written again on its way to a server, on a thread of its own: one in NATSARC1 as a tar, and
//! a tar with its consumers where they may stand. Memory: what is fed is bounded by whoever counts it, and what
//! has been written by [`AHEAD`].

use std::io::{self, Read, Write};
use std::sync::mpsc;

use bytes::{Buf, Bytes};
use serde_json::value::RawValue;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;

use crate::names::StreamName;
use crate::snapshot::{ConvertError, Format, ReportedState, put_consumers_back, to_tar};

/// How many pieces of the tar wait for the server at most. Each is a frame of 256 KiB, or those that lay in as
/// many bytes as they came.
const AHEAD: usize = 16;

/// A conversion under way.
pub(super) struct Conversion {
    bytes: mpsc::Sender<Piece>,
    tar: Receiver<Bytes>,
    writing: Option<JoinHandle<Result<Vec<String>, ConvertError>>>,
    /// Once all has come: the consumers whose state a tar does not keep.
    pub in_memory: Vec<String>,
}

enum Piece {
    Bytes(Bytes),
    End,
}

impl Conversion {
    /// Begins to write a snapshot of `stream` that is in this `format`. The stream shall have this `config`.
    pub fn begin(
        stream: &StreamName,
        config: &RawValue,
        reported: &ReportedState,
        format: Format,
    ) -> Conversion {
        let (bytes, pieces) = mpsc::channel();
        let (to, tar) = channel(AHEAD);
        let (stream, config) = (stream.clone(), config.to_owned());
        let input = Input { pieces, current: Bytes::new(), ended: false };
        let last = reported.last_seq;
        let writing = tokio::task::spawn_blocking(move || match format {
            Format::NatsArc1 => to_tar(&stream, &config, input, Output(to)),
            Format::Tar => put_consumers_back(last, input, Output(to)).map(|()| Vec::new()),
        });
        Conversion { bytes, tar, writing: Some(writing), in_memory: Vec::new() }
    }

    /// Feeds the next bytes of the snapshot as it came.
    pub fn feed(&self, bytes: Bytes) {
        // When it has ended early, what comes next says why.
        let _ = self.bytes.send(Piece::Bytes(bytes));
    }

    /// No more bytes will come.
    pub fn end(&self) {
        let _ = self.bytes.send(Piece::End);
    }

    /// The next bytes of the tar that are there already.
    pub fn ready(&mut self) -> Option<Bytes> {
        self.tar.try_recv().ok()
    }

    /// Waits for the next bytes of the tar; none when all of it has come.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ConvertError> {
        if let Some(bytes) = self.tar.recv().await {
            return Ok(Some(bytes));
        }
        let Some(writing) = &mut self.writing else { return Ok(None) };
        let ended = writing.await;
        self.writing = None;
        self.in_memory = ended.map_err(|e| ConvertError::Fault(io::Error::other(e).into()))??;
        Ok(None)
    }
}

/// A sender that goes away without an end is an error, never an end.
struct Input {
    pieces: mpsc::Receiver<Piece>,
    current: Bytes,
    ended: bool,
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

struct Output(Sender<Bytes>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Bytes::copy_from_slice(bytes));
        sent.map(|()| bytes.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
