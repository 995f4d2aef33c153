//! The archive as a sequence of events, read on a thread of its own: the input may stall, and the
//! server must hear from us meanwhile.

use std::fs::File;
use std::io::Read;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::archive::{Ended, Entry, Index, Manifest, Reader};
use crate::envelope::{self, Given};
use crate::names::StreamName;
use crate::terminal::progress::{Progress, Taken};

/// How much is read at once, in bytes: what a pipe holds.
const PIECE: usize = 64 << 10;

/// How many events wait for the server at most; the reading stops then, and so does the writer of the
/// archive at the pipe's other end. Together with [`PIECE`]: 2 MiB.
const WAITING: usize = 32;

/// What comes, in the order of the archive.
pub(super) enum Event {
    Index(Index),
    Manifest(Manifest),
    /// The description of a stream's snapshot, which may come after it in archives that are not ours.
    Backup {
        stream: StreamName,
        attempt: Option<u32>,
        json: Vec<u8>,
    },
    /// A snapshot in one piece begins; [`Event::Bytes`] follow, and then [`Event::SnapshotEnd`]. One in
    /// parts begins with its [`Event::Backup`] and ends when anything but bytes follows.
    Snapshot(StreamName),
    SnapshotEnd,
    Bytes(Bytes),
    Abandoned {
        stream: StreamName,
        attempt: u32,
        reason: String,
    },
    /// An export of encryption keys, which is not restored here.
    Keys,
    Sums,
    /// The archive has been read to its end, and it was whole.
    End(Ended),
    /// The archive cannot be read on.
    Failed(anyhow::Error),
}

/// Begins to read `archive`, and notes how far it is.
pub(super) fn events(archive: File, mut secrets: Given, progress: Progress) -> Receiver<Event> {
    let archive = Taken::reading(archive, progress);
    let (to, events) = channel(WAITING);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = read(archive, &mut secrets, &to) {
            // Nobody listens any more when the restore has failed on its own.
            let _ = to.blocking_send(Event::Failed(error));
        }
    });
    events
}

fn read(archive: Taken<File>, secrets: &mut Given, to: &Sender<Event>) -> anyhow::Result<()> {
    let mut archive = Reader::new(envelope::open(Box::new(archive), secrets)?);
    loop {
        let events = match archive.next()? {
            None => break,
            Some(Entry::Index(index)) => to.blocking_send(Event::Index(index)),
            Some(Entry::Manifest(manifest)) => to.blocking_send(Event::Manifest(manifest)),
            Some(Entry::Backup { stream, attempt, json }) => {
                to.blocking_send(Event::Backup { stream, attempt, json })
            }
            Some(Entry::Snapshot { stream, body, .. }) => {
                if to.blocking_send(Event::Snapshot(stream)).is_err() || !pieces(body, to)? {
                    return Ok(());
                }
                to.blocking_send(Event::SnapshotEnd)
            }
            // Parts come in order, right after their attempt's description: their bytes are all that counts.
            Some(Entry::Part { body, .. }) => {
                if !pieces(body, to)? {
                    return Ok(());
                }
                continue;
            }
            Some(Entry::Abandoned { stream, attempt, reason }) => {
                to.blocking_send(Event::Abandoned { stream, attempt, reason })
            }
            Some(Entry::Other { path, .. }) if path == "keys.json" => to.blocking_send(Event::Keys),
            Some(Entry::Other { .. }) => continue,
            Some(Entry::Sums { .. }) => to.blocking_send(Event::Sums),
        };
        if events.is_err() {
            return Ok(());
        }
    }
    let _ = to.blocking_send(Event::End(archive.finish()?));
    Ok(())
}

/// Sends a body on. `false` when nobody wants it.
fn pieces(mut body: impl Read, to: &Sender<Event>) -> anyhow::Result<bool> {
    loop {
        // What came is sent on as it came: a stall must not hold it back.
        let mut piece = BytesMut::zeroed(PIECE);
        let n = body.read(&mut piece).map_err(crate::archive::Error::from)?;
        if n == 0 {
            return Ok(true);
        }
        piece.truncate(n);
        if to.blocking_send(Event::Bytes(piece.freeze())).is_err() {
            return Ok(false);
        }
    }
}
