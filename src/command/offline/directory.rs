//! The data directory of a stopped Chatto: the checks before a server may open it, and the clean-up afterwards. Starts no
//! server.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::fs::{Access, FlockOperation, access, flock};
use rustix::process::geteuid;

use super::intent::Intent;
use crate::chatto::in_use;
use crate::command::Failure;
use crate::command::failure::shown;
use crate::exit::Exit;
use crate::jetstream::private_server;
use crate::jetstream::store::{self, Store, StoreError};
use crate::release::Version;

/// A data directory, locked against our other programs.
pub(in crate::command) struct Directory {
    pub path: PathBuf,
    /// What it holds.
    pub streams: BTreeSet<String>,
    /// Locked as long as it is open.
    lock: File,
    intent: Intent,
    /// Whether it is ours to remove when nothing came into it.
    made: bool,
    /// Whether it is somebody else's, with nothing of ours in it.
    theirs: bool,
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
        let lock = File::open(&path).map_err(|e| refused(&path, "open", e))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let what = format!("another program of ours works on {}", shown(&path));
                return Err(Failure::new(Exit::Failed, what).hint("wait for its end").into());
            }
            Err(error) => return Err(anyhow::Error::from(io::Error::from(error)).context(text())),
        }
        if let Some(user) = in_use::process_using(&path).with_context(text)? {
            let what =
                format!("process {} ({}) uses {}: {}", user.process, user.name, shown(&path), user.sign);
            return Err(Failure::new(Exit::Failed, what)
                .hint("stop Chatto first; where it is another one, work on a copy of the directory")
                .into());
        }
        let store = match store::inspect(&path) {
            Err(StoreError::Unreadable { path, cause }) => return Err(refused(&path, "read", cause)),
            store => store?.unwrap_or_default(),
        };
        if store.streams.is_empty() && intent != Intent::Create {
            return Err(Failure::new(Exit::Failed, format!("{} holds no streams", shown(&path)))
                .hint("the directory is nats.embedded.data_dir of Chatto's configuration")
                .into());
        }
        not_older(&store, version, binary, &path)?;
        writable(&path)?;
        let theirs =
            lock.metadata().with_context(text)?.uid() != geteuid().as_raw() && ours_in(&path).is_none();
        Ok(Directory { path, streams: store.streams, lock, intent, made: false, theirs })
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

    /// A file that belongs to us now, in a directory of somebody else's, who may not be able to open it.
    pub fn not_theirs(&self) -> Option<PathBuf> {
        if self.theirs { ours_in(&self.path) } else { None }
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

/// Who may not open a store is told who may.
fn refused(path: &Path, verb: &str, error: io::Error) -> anyhow::Error {
    let denied = error.kind() == io::ErrorKind::PermissionDenied;
    let failure = Failure::new(Exit::Failed, format!("cannot {verb} {}: {error}", shown(path)));
    match denied {
        true => failure.hint("run this as the user that Chatto runs as, such as by sudo -u chatto").into(),
        false => failure.into(),
    }
}

/// A server writes into its store, also for whoever only reads.
fn writable(path: &Path) -> anyhow::Result<()> {
    let root = path.join(store::JETSTREAM);
    let dir = if root.is_dir() { &root } else { path };
    access(dir, Access::WRITE_OK | Access::EXEC_OK).map_err(|e| refused(dir, "write into", e.into()))
}

/// Something in the store of a data directory that belongs to us.
fn ours_in(path: &Path) -> Option<PathBuf> {
    owned_by(geteuid().as_raw(), &path.join(store::JETSTREAM))
}

/// The first that is found of what belongs to a user.
fn owned_by(user: u32, dir: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    entries.map(|entry| entry.path()).find_map(|path| {
        let about = fs::symlink_metadata(&path).ok()?;
        match about.uid() == user {
            true => Some(path),
            false if about.is_dir() => owned_by(user, &path),
            false => None,
        }
    })
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
