//! The archive on stdout. Writing happens on a thread that may wait for the pipe, while captures go
//! on being acknowledged.

use std::fs::File;
use std::io::{self, BufWriter, Seek};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::archive::{Digest, Index, Manifest, Writer};
use crate::names::StreamName;
use crate::terminal::progress::Taken;

/// Small entries are gathered up to this size before they are written, in bytes.
const GATHER: usize = 64 << 10;

type Archive = Writer<BufWriter<Taken<File>>>;

/// The archive that is being written.
#[derive(Clone)]
pub(super) struct Output {
    // `None` once finished.
    archive: Arc<Mutex<Option<Archive>>>,
}

/// A write under way.
pub(super) type Writing<T> = JoinHandle<io::Result<T>>;

/// A whole snapshot, wherever it was gathered.
pub(super) enum Snapshot {
    Memory(Vec<Bytes>),
    Spool(File),
}

impl Output {
    pub fn new(to: Taken<File>, mtime: u64) -> Self {
        let archive = Writer::new(BufWriter::with_capacity(GATHER, to), mtime);
        Output { archive: Arc::new(Mutex::new(Some(archive))) }
    }

    fn write<T: Send + 'static>(
        &self,
        what: impl FnOnce(&mut Archive) -> io::Result<T> + Send + 'static,
    ) -> Writing<T> {
        let archive = Arc::clone(&self.archive);
        tokio::task::spawn_blocking(move || {
            match archive.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
                Some(archive) => what(archive),
                None => Err(io::Error::other("the archive is finished")),
            }
        })
    }

    pub fn index(&self, index: Index) -> Writing<()> {
        self.write(move |archive| archive.index(&index))
    }

    /// `digest` is that of the whole snapshot, and `size` its length.
    pub fn whole(
        &self,
        stream: StreamName,
        backup_json: Bytes,
        snapshot: Snapshot,
        size: u64,
        digest: Digest,
    ) -> Writing<()> {
        self.write(move |archive| match snapshot {
            Snapshot::Memory(pieces) => archive.whole_in_pieces(&stream, &backup_json, &pieces, digest),
            // Summed again: a disk lies between the check and the archive.
            Snapshot::Spool(mut file) => {
                file.rewind()?;
                archive.whole(&stream, &backup_json, &mut file, size).map(drop)
            }
        })
    }

    pub fn attempt(&self, stream: StreamName, n: u32, backup_json: Bytes) -> Writing<()> {
        self.write(move |archive| archive.attempt(&stream, n, &backup_json))
    }

    pub fn part(&self, pieces: Vec<Bytes>) -> Writing<()> {
        self.write(move |archive| archive.part(&pieces).map(drop))
    }

    pub fn abandon(&self, reason: String) -> Writing<()> {
        self.write(move |archive| archive.abandon(&reason))
    }

    pub fn finish(&self, manifest: Manifest) -> Writing<()> {
        let archive = Arc::clone(&self.archive);
        tokio::task::spawn_blocking(move || {
            match archive.lock().unwrap_or_else(PoisonError::into_inner).take() {
                Some(archive) => archive.finish(&manifest).map(drop),
                None => Err(io::Error::other("the archive is finished")),
            }
        })
    }
}
