//! Writes the archive to stdout, on one thread, in the order of the requests. The thread may wait for the pipe, and captures
//! go on meanwhile. Knows no server.

use std::fs::File;
use std::io::{self, BufWriter, Seek};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::task::{Context, Poll};
use std::thread;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::watchdog::Heartbeat;
use crate::archive::{Digest, Index, Manifest, Writer};
use crate::names::StreamName;
use crate::terminal::progress::{Metered, ReportHash};

/// Small entries are collected up to this size before they are written, in bytes.
const GATHER: usize = 64 << 10;

type Archive = Writer<BufWriter<Metered<ReportHash<File>>>>;

/// One write to the archive. The archive is `None` once it is finished.
type WriteTask = Box<dyn FnOnce(&mut Option<Archive>) + Send>;

/// The archive that is being written. Callers wait for their writes, and so bound the queue.
pub(super) struct Output {
    tasks: Sender<WriteTask>,
}

/// A write that was requested. It is made before all later ones, even if nobody waits for it.
pub(super) struct PendingWrite<T>(oneshot::Receiver<io::Result<T>>);

impl<T> Future for PendingWrite<T> {
    type Output = io::Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        let done = Pin::new(&mut self.0).poll(context);
        done.map(|done| done.unwrap_or_else(|_| Err(io::Error::other("what writes the archive broke off"))))
    }
}

/// A whole snapshot, in memory or on disk.
pub(super) enum Snapshot {
    Memory(Vec<Bytes>),
    /// The digest is that of the bytes that were written to the file.
    Spool(File, Digest),
}

impl Output {
    /// An archive that goes to `to`. `heartbeat` is told of the writing.
    pub fn new(to: Metered<ReportHash<File>>, mtime: u64, heartbeat: Arc<Heartbeat>) -> io::Result<Self> {
        let (tasks, queue) = channel::<WriteTask>();
        let mut archive = Some(Writer::new(BufWriter::with_capacity(GATHER, to), mtime));
        // It ends when the last step is done, or with the program, should nobody read what it writes.
        thread::Builder::new().name("archive".into()).spawn(move || {
            for task in queue {
                let _at_work = heartbeat.at_work();
                task(&mut archive);
            }
        })?;
        Ok(Output { tasks })
    }

    fn queue<T: Send + 'static>(
        &self,
        task: impl FnOnce(&mut Option<Archive>) -> io::Result<T> + Send + 'static,
    ) -> PendingWrite<T> {
        let (done, writing) = oneshot::channel();
        // A thread that is gone has dropped `done`, and that is told to whoever waits; it is no matter if
        // nobody does.
        let _ = self.tasks.send(Box::new(move |archive| drop(done.send(task(archive)))));
        PendingWrite(writing)
    }

    fn write<T: Send + 'static>(
        &self,
        what: impl FnOnce(&mut Archive) -> io::Result<T> + Send + 'static,
    ) -> PendingWrite<T> {
        self.queue(|archive| match archive.as_mut() {
            Some(archive) => what(archive),
            None => Err(finished()),
        })
    }

    pub fn index(&self, index: Index) -> PendingWrite<()> {
        self.write(move |archive| archive.index(&index))
    }

    /// `size` is the length of the whole snapshot. Gives its digest.
    pub fn whole(
        &self,
        stream: StreamName,
        backup_json: Bytes,
        snapshot: Snapshot,
        size: u64,
    ) -> PendingWrite<Digest> {
        self.write(move |archive| match snapshot {
            Snapshot::Memory(pieces) => archive.whole_in_pieces(&stream, &backup_json, &pieces),
            // A disk lies between the check and the archive.
            Snapshot::Spool(mut file, written) => {
                file.rewind()?;
                let digest = archive.whole(&stream, &backup_json, &mut file, size)?;
                match digest == written {
                    true => Ok(digest),
                    false => {
                        Err(io::Error::other("the spool gives back other bytes than were written to it"))
                    }
                }
            }
        })
    }

    pub fn attempt(&self, stream: StreamName, n: u32, backup_json: Bytes) -> PendingWrite<()> {
        self.write(move |archive| archive.attempt(&stream, n, &backup_json))
    }

    pub fn part(&self, pieces: Vec<Bytes>) -> PendingWrite<()> {
        self.write(move |archive| archive.part(&pieces).map(drop))
    }

    /// The digest of the digests of the parts of the attempt that was written last.
    pub fn parts_digest(&self) -> PendingWrite<Option<Digest>> {
        self.write(|archive| Ok(archive.parts_digest()))
    }

    pub fn abandon(&self, reason: String) -> PendingWrite<()> {
        self.write(move |archive| archive.abandon(&reason))
    }

    pub fn finish(&self, manifest: Manifest) -> PendingWrite<()> {
        self.queue(move |archive| match archive.take() {
            Some(archive) => archive.finish(&manifest).map(drop),
            None => Err(finished()),
        })
    }
}

fn finished() -> io::Error {
    io::Error::other("the archive is finished")
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use jiff::Timestamp;

    use super::*;
    use crate::terminal::progress::{Progress, Verbs};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_spool_that_gives_back_other_bytes_fails_the_archive() {
        for (written, sound) in [("snapshot", true), ("Snapshot", false)] {
            let output = output(File::options().write(true).open("/dev/null").unwrap());
            output.index(index()).await.unwrap();
            let mut spool = tempfile::tempfile().unwrap();
            io::Write::write_all(&mut spool, b"snapshot").unwrap();
            let snapshot = Snapshot::Spool(spool, Digest::of(written.as_bytes()));
            let json = Bytes::from_static(b"{}");
            let whole = output.whole(StreamName::new("S").unwrap(), json, snapshot, 8).await;
            assert_eq!(whole.is_ok(), sound, "{whole:?}");
        }
    }

    fn output(to: File) -> Output {
        let progress = Progress::new(Verbs { streams: "captured", archive: "written" });
        let to = progress.summed(to);
        Output::new(Metered::new(to, progress), 0, Arc::default()).unwrap()
    }

    fn index() -> Index {
        Index {
            version: 1,
            created_at: Timestamp::UNIX_EPOCH,
            generator: String::new(),
            server: None,
            include_keys: false,
            streams: Vec::new(),
        }
    }

    /// A capture that breaks off leaves a part behind that nobody waits for any more.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_asked_for_first_is_written_first_whether_or_not_anybody_waits_for_it() {
        let stream = StreamName::new("S").unwrap();
        for round in 0..100 {
            let (mut reader, writer) = io::pipe().unwrap();
            let reading = thread::spawn(move || reader.read_to_end(&mut Vec::new()));
            let output = output(File::from(std::os::fd::OwnedFd::from(writer)));
            drop(output.index(index()));
            for attempt in 1..=20 {
                drop(output.attempt(stream.clone(), attempt, Bytes::from_static(b"{}")));
                drop(output.part(vec![Bytes::from_static(&[7; 100_000])]));
                let abandoned = output.abandon("it broke off".into()).await;
                assert!(abandoned.is_ok(), "round {round}, attempt {attempt}: {abandoned:?}");
            }
            drop(output);
            reading.join().unwrap().unwrap();
        }
    }
}
