//! Reads the archive on its own thread, and gives it as a sequence of events. The input may stall, and meanwhile the server
//! must get messages from us. Knows no server.

use std::fs::File;
use std::io::Read;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{Instant, timeout_at};

use crate::archive::{ArchiveEnd, Entry, Index, Manifest, Reader};
use crate::envelope::{self, GivenSecrets};
use crate::names::StreamName;
use crate::terminal::progress::{Metered, Progress};

/// How much is read at once, in bytes: what a pipe holds.
const PIECE: usize = 64 << 10;

/// How many events wait for the server at most; the reading stops then, and so does the writer of the
/// archive at the pipe's other end. Together with [`PIECE`]: 2 MiB.
const WAITING: usize = 32;

/// How long bytes that are no full piece may wait for more.
const GATHERING: Duration = Duration::from_millis(50);

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
    /// A file of a stream has nothing in it, as `chatto backup` leaves them of one that failed.
    Empty {
        stream: StreamName,
        file: &'static str,
    },
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
    End(ArchiveEnd),
    /// The archive cannot be read on.
    Failed(anyhow::Error),
}

/// The events of an archive that is being read.
///
/// What comes in small pieces is joined here. Whoever holds bytes counts them by their length, so no piece
/// may keep much more memory than that: neither the rest of a read buffer nor the accounting of one piece
/// for every byte. A full piece passes as it is; less is copied together until it is a full piece or
/// [`GATHERING`] is over, so there are at most twenty small pieces a second, and a stall holds nothing back.
pub(super) struct Events {
    from: Receiver<Event>,
    /// What came and is no full piece yet, and when the first of it came.
    gathered: BytesMut,
    since: Instant,
    /// What came after it.
    next: Option<Event>,
}

impl Events {
    fn new(from: Receiver<Event>) -> Events {
        Events { from, gathered: BytesMut::new(), since: Instant::now(), next: None }
    }

    /// The next event; none when the reading has broken off. Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.next.take() {
                return Some(event);
            }
            let event = match self.gathered.is_empty() {
                true => self.from.recv().await,
                false => match timeout_at(self.since + GATHERING, self.from.recv()).await {
                    Ok(event) => event,
                    Err(_) => return Some(self.gathered()),
                },
            };
            match event {
                Some(Event::Bytes(bytes)) => {
                    if self.gathered.is_empty() {
                        if bytes.len() >= PIECE {
                            return Some(Event::Bytes(bytes));
                        }
                        self.since = Instant::now();
                    }
                    self.gathered.extend_from_slice(&bytes);
                    if self.gathered.len() >= PIECE {
                        return Some(self.gathered());
                    }
                }
                event if self.gathered.is_empty() => return event,
                event => {
                    self.next = event;
                    return Some(self.gathered());
                }
            }
        }
    }

    /// What has been gathered, in a piece of just its length.
    fn gathered(&mut self) -> Event {
        let piece = Bytes::copy_from_slice(&self.gathered);
        self.gathered.clear();
        Event::Bytes(piece)
    }
}

/// Begins to read `archive`, and notes how far it is.
pub(super) fn events(archive: File, mut secrets: GivenSecrets, progress: Progress) -> Events {
    let archive = Metered::reading(archive, progress.clone());
    let (to, events) = channel(WAITING);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = read(archive, &mut secrets, &progress, &to) {
            // Nobody listens any more when the restore has failed on its own.
            let _ = to.blocking_send(Event::Failed(error));
        }
    });
    Events::new(events)
}

fn read(
    archive: Metered<File>,
    secrets: &mut GivenSecrets,
    progress: &Progress,
    to: &Sender<Event>,
) -> anyhow::Result<()> {
    let mut archive = Reader::new(progress.summed(envelope::open(Box::new(archive), secrets)?));
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
            Some(Entry::Empty { stream, file }) => to.blocking_send(Event::Empty { stream, file }),
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
    let mut buffer = vec![0; PIECE];
    loop {
        // What came is sent on as it came: a stall must not hold it back. [`Events`] joins it.
        let n = body.read(&mut buffer).map_err(crate::archive::Error::from)?;
        if n == 0 {
            return Ok(true);
        }
        let piece = match n == PIECE {
            true => Bytes::from(std::mem::replace(&mut buffer, vec![0; PIECE])),
            false => Bytes::copy_from_slice(buffer.get(..n).unwrap_or_default()),
        };
        if to.blocking_send(Event::Bytes(piece)).is_err() {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(event: Option<Event>) -> Bytes {
        match event {
            Some(Event::Bytes(bytes)) => bytes,
            _ => panic!("no bytes"),
        }
    }

    #[tokio::test]
    async fn small_pieces_are_joined_and_nothing_is_lost_or_out_of_order() {
        let (to, from) = channel(WAITING);
        let mut events = Events::new(from);
        let sender = tokio::spawn(async move {
            for n in 0..3 * PIECE {
                let piece = Bytes::from(vec![u8::try_from(n % 251).unwrap()]);
                to.send(Event::Bytes(piece)).await.ok().unwrap();
            }
            to.send(Event::SnapshotEnd).await.ok().unwrap();
        });
        let (mut came, mut pieces) = (Vec::new(), 0);
        loop {
            match events.recv().await {
                Some(Event::Bytes(bytes)) => {
                    came.extend_from_slice(&bytes);
                    pieces += 1;
                }
                Some(Event::SnapshotEnd) => break,
                _ => panic!("neither bytes nor the end"),
            }
        }
        sender.await.unwrap();
        let sent: Vec<_> = (0..3 * PIECE).map(|n| u8::try_from(n % 251).unwrap()).collect();
        assert!(came == sent);
        assert!(pieces < PIECE, "{pieces} pieces of {} bytes", sent.len());
    }

    #[tokio::test]
    async fn a_stall_holds_nothing_back() {
        let (to, from) = channel(WAITING);
        let mut events = Events::new(from);
        to.send(Event::Bytes(Bytes::from_static(b"ab"))).await.ok().unwrap();
        to.send(Event::Bytes(Bytes::from_static(b"c"))).await.ok().unwrap();
        assert_eq!(bytes(events.recv().await), "abc");
    }
}
