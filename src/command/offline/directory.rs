//! The data directory of a stopped Chatto: what must hold before a server may open it, and how it is
//! left. Starts no server.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::fs::{FlockOperation, flock};

use super::Intent;
use crate::chatto::in_use;
use crate::command::Failure;
use crate::command::report::shown;
use crate::exit::Exit;
use crate::jetstream::Version;
use crate::jetstream::private_server;
use crate::jetstream::store::{self, Store};

/// A data directory that nobody else of us works on.
pub(in crate::command) struct Directory {
    pub path: PathBuf,
    /// What it holds.
    pub streams: BTreeSet<String>,
    /// Locked as long as it is open.
    lock: File,
    intent: Intent,
    /// Whether it is ours to remove when nothing came into it.
    made: bool,
}

impl Directory {
    /// Makes sure that a server may be started on it.
    pub fn open(path: PathBuf, intent: Intent, binary: &Path) -> anyhow::Result<Self> {
        let version = private_server::version(binary)?;
        let made = intent == Intent::Create && make(&path)?;
        let opened = Directory::checked(path.clone(), intent, binary, version);
        if opened.is_err() && made {
            let _ = fs::remove_dir(&path);
        }
        Ok(Directory { made, ..opened? })
    }

    fn checked(path: PathBuf, intent: Intent, binary: &Path, version: Version) -> anyhow::Result<Self> {
        let text = || format!("cannot open {}", shown(&path));
        let lock = File::open(&path).with_context(text)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let what = format!("another program of ours works on {}", shown(&path));
                return Err(Failure::new(Exit::Failed, what).hint("wait for its end").into());
            }
            Err(error) => return Err(anyhow::Error::from(io::Error::from(error)).context(text())),
        }
        if let Some(user) = in_use::user_of(&path).with_context(text)? {
            let what =
                format!("process {} ({}) uses {}: {}", user.process, user.name, shown(&path), user.sign);
            return Err(Failure::new(Exit::Failed, what)
                .hint("stop Chatto first; where it is another one, work on a copy of the directory")
                .into());
        }
        let store = store::inspect(&path)?.unwrap_or_default();
        if store.streams.is_empty() && intent != Intent::Create {
            return Err(Failure::new(Exit::Failed, format!("{} holds no streams", shown(&path)))
                .hint("the directory is nats.embedded.data_dir of Chatto's configuration")
                .into());
        }
        not_older(&store, version, binary, &path)?;
        Ok(Directory { path, streams: store.streams, lock, intent, made: false })
    }

    /// The server is gone: what was written is to survive a power cut, and what was only prepared is to go.
    pub fn settle(&self) -> anyhow::Result<()> {
        self.tidy();
        if self.intent == Intent::Read {
            return Ok(());
        }
        // The server syncs what it writes only now and then.
        #[cfg(target_os = "linux")]
        rustix::fs::syncfs(&self.lock)
            .map_err(io::Error::from)
            .with_context(|| format!("cannot bring {} to the disk", shown(&self.path)))?;
        #[cfg(not(target_os = "linux"))]
        rustix::fs::sync();
        Ok(())
    }

    /// Removes what a server prepared where there were no streams before and are none now.
    pub fn tidy(&self) {
        if self.streams.is_empty() {
            remove_empty(&self.path.join(store::JETSTREAM));
            if self.made {
                let _ = fs::remove_dir(&self.path);
            }
        }
    }
}

/// Makes a directory for its owner only, unless there is one. `true` when it was made.
fn make(path: &Path) -> anyhow::Result<bool> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(anyhow::Error::from(e).context(format!("cannot make {}", shown(path)))),
    }
}

/// Removes directories with nothing but such directories in them; anything else keeps them from going.
fn remove_empty(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok) {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty(&entry.path());
        }
    }
    let _ = fs::remove_dir(dir);
}

/// An older server than the one that wrote a store drops what it does not know.
fn not_older(store: &Store, version: Version, binary: &Path, path: &Path) -> Result<(), Failure> {
    let Some((needs, why)) = store.needs.as_ref().filter(|(needs, _)| *needs > version) else {
        return Ok(());
    };
    let what = format!("nats-server {version} ({}) is too old for {}: {why}", shown(binary), shown(path));
    Err(Failure::new(Exit::Failed, what).hint(format!(
        "name nats-server {needs} or later with --nats-server PATH; it is one file, from {}",
        private_server::RELEASES
    )))
}
