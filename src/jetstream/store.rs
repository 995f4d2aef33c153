//! Looks at a server's store directory while no server runs on it: whose streams it holds, and which nats-server can open
//! it. Reads little, and changes nothing.
//!
//! | path below the store directory | what |
//! |---|---|
//! | `jetstream/ACCOUNT/streams/STREAM/` | a stream; `$G` is the account of whoever needs none. A leading `.` marks one that is being deleted. Streams in memory are not here |
//! | `…/meta.inf` | its configuration in JSON; `metadata` holds `_nats.req.level`, the API level that it needs (2.11 and later) |
//! | `…/meta.key` | there when the stream is encrypted |
//! | `…/msgs/index.db` | an index; its second byte tells which release line wrote it last (see `snapshot::index`) |
//! | `…/obs/CONSUMER/meta.inf` | a consumer's configuration, likewise |
//! | `…/msgs/N.blk` | messages; where there are none, and no `meta.inf` with its `meta.sum`, a server was stopped while it created or deleted the stream |
//! | `jetstream/$SYS/_js_/` | there when the server was a node of a cluster |
//!
//! `_nats.ver` and `_nats.level`, which a server shows in its answers, are not stored. Source:
//! nats-server, `server/jetstream.go`, `jetstream_versioning.go` and `filestore.go`; 2.15.1's files are
//! laid out as 2.14's, by experiment.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::names::Printable;
use crate::release::{self, Version};

/// The directory that a server keeps below the one that it is given.
pub const JETSTREAM: &str = "jetstream";

/// The account of whoever needs no account; an embedded server has no other.
const GLOBAL: &str = "$G";

/// The largest `meta.inf` that is read, in bytes; a server takes API requests of at most 1 MiB.
const META_MAX: u64 = 4 << 20;

/// A store that a server with one account can open.
#[derive(Debug, Default)]
pub struct Store {
    /// The names of its streams; a server that opens it lists them all, or something is wrong with some.
    pub streams: BTreeSet<String>,
    /// The oldest release that may open it, and why.
    pub needs: Option<(Version, String)>,
}

/// Why a directory is not a [`Store`].
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be read.
    #[error("cannot read {}: {cause}", Printable::new(&path.to_string_lossy()))]
    Unreadable {
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A server given this directory would not find the store that is near it.
    #[error("{} is not the store directory, but {what}", Printable::new(&dir.to_string_lossy()))]
    Beside {
        /// The directory.
        dir: PathBuf,
        /// What it is.
        what: &'static str,
        /// The one that was meant.
        right: PathBuf,
    },
    /// Its streams belong to accounts that only their server's configuration knows.
    #[error("{} holds streams of other accounts: {accounts}", Printable::new(&dir.to_string_lossy()))]
    Accounts {
        /// The directory.
        dir: PathBuf,
        /// Which.
        accounts: Printable,
    },
    /// It belongs to a node of a cluster.
    #[error("{} belongs to a node of a cluster", Printable::new(&dir.to_string_lossy()))]
    Clustered {
        /// The directory.
        dir: PathBuf,
    },
    /// Its streams are encrypted.
    #[error("{} is encrypted: there is {}", Printable::new(&dir.to_string_lossy()), Printable::new(&key.to_string_lossy()))]
    Encrypted {
        /// The directory.
        dir: PathBuf,
        /// The file that tells so.
        key: PathBuf,
    },
}

/// Looks at `dir`; `None` when no server has ever kept streams there.
pub fn inspect(dir: &Path) -> Result<Option<Store>, StoreError> {
    let root = dir.join(JETSTREAM);
    if !root.is_dir() {
        return match nearby(dir)? {
            Some((right, what)) => Err(StoreError::Beside { dir: dir.into(), what, right }),
            None => Ok(None),
        };
    }
    if root.join("$SYS").join("_js_").exists() {
        return Err(StoreError::Clustered { dir: dir.into() });
    }
    let mut others = Vec::new();
    for account in entries(&root)?.into_iter().filter(|account| account != GLOBAL) {
        if !streams(&root.join(&account))?.is_empty() {
            others.push(account);
        }
    }
    if !others.is_empty() {
        return Err(StoreError::Accounts { dir: dir.into(), accounts: Printable::new(&others.join(", ")) });
    }
    let account = root.join(GLOBAL);
    let mut store = Store { streams: streams(&account)?, needs: None };
    for name in store.streams.clone() {
        store.look_at(dir, &name, &account.join("streams").join(&name))?;
    }
    Ok(Some(store))
}

impl Store {
    fn look_at(&mut self, dir: &Path, name: &str, stream: &Path) -> Result<(), StoreError> {
        let key = stream.join("meta.key");
        if key.exists() {
            return Err(StoreError::Encrypted { dir: dir.into(), key });
        }
        let name = Printable::new(name);
        if let Some(version) = index_version(&stream.join("msgs").join("index.db"))? {
            let by = release::of_index(version);
            self.need(by, || format!("stream {name} was written by {by} or later"));
        }
        self.need_level(&stream.join("meta.inf"), || format!("stream {name}"))?;
        let consumers = stream.join("obs");
        for consumer in entries(&consumers)? {
            self.need_level(&consumers.join(&consumer).join("meta.inf"), || {
                format!("consumer {} of stream {name}", Printable::new(&consumer))
            })?;
        }
        Ok(())
    }

    fn need_level(&mut self, meta: &Path, what: impl Fn() -> String) -> Result<(), StoreError> {
        if let Some(level) = required_level(meta)? {
            let by = release::of_level(level);
            self.need(by, || format!("{} uses what {by} brought (API level {level})", what()));
        }
        Ok(())
    }

    fn need(&mut self, version: Version, why: impl Fn() -> String) {
        if self.needs.as_ref().is_none_or(|(known, _)| version > *known) {
            self.needs = Some((version, why()));
        }
    }
}

/// The store that was meant by whoever named `dir`, and what `dir` is of it.
fn nearby(dir: &Path) -> Result<Option<(PathBuf, &'static str)>, StoreError> {
    let named = |path: &Path| path.file_name().is_some_and(|name| name == JETSTREAM);
    // Deeper: it is, or is in, a directory of that name with accounts in it.
    if let Ok(path) = fs::canonicalize(dir) {
        for inside in path.ancestors().filter(|path| named(path)) {
            let has_accounts = entries(inside)?.iter().any(|name| inside.join(name).join("streams").is_dir());
            if let Some(right) = inside.parent().filter(|_| has_accounts) {
                return Ok(Some((right.into(), "lies inside it")));
            }
        }
    }
    if dir.join(GLOBAL).join("streams").is_dir() {
        return Ok(Some((dir.into(), "a jetstream directory by another name")));
    }
    // Higher: the store is right below.
    for name in entries(dir)? {
        let below = dir.join(&name);
        if below.join(JETSTREAM).join(GLOBAL).is_dir() {
            return Ok(Some((below, "holds it")));
        }
    }
    Ok(None)
}

/// The streams of an account's directory, without those that are being deleted or were never there.
fn streams(account: &Path) -> Result<BTreeSet<String>, StoreError> {
    let directory = account.join("streams");
    let mut found = BTreeSet::new();
    for name in entries(&directory)?.into_iter().filter(|name| !name.starts_with('.')) {
        let stream = directory.join(&name);
        let described = stream.join("meta.inf").exists() && stream.join("meta.sum").exists();
        if described || entries(&stream.join("msgs"))?.iter().any(|file| file.ends_with(".blk")) {
            found.insert(name);
        }
    }
    Ok(found)
}

/// The names in a directory; none where there is no directory.
fn entries(dir: &Path) -> Result<Vec<String>, StoreError> {
    let failed = |cause| StoreError::Unreadable { path: dir.into(), cause };
    let list = match fs::read_dir(dir) {
        Ok(list) => list,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(e) => return Err(failed(e)),
    };
    let names = list.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    names.collect::<io::Result<_>>().map_err(failed)
}

/// The second byte of an `index.db`. A server that was killed may have left none.
fn index_version(path: &Path) -> Result<Option<u8>, StoreError> {
    const MAGIC: u8 = 11;
    let mut head = [0; 2];
    let read = match File::open(path) {
        Ok(mut file) => file.read_exact(&mut head),
        Err(e) => Err(e),
    };
    match read {
        Ok(()) => Ok((head[0] == MAGIC).then_some(head[1])),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) => Ok(None),
        Err(cause) => Err(StoreError::Unreadable { path: path.into(), cause }),
    }
}

/// `_nats.req.level` of a `meta.inf`. One that is damaged is for the server to find.
fn required_level(path: &Path) -> Result<Option<usize>, StoreError> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Meta {
        metadata: Metadata,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Metadata {
        #[serde(rename = "_nats.req.level")]
        level: Option<String>,
    }
    let mut text = Vec::new();
    match File::open(path).and_then(|file| file.take(META_MAX).read_to_end(&mut text)) {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(StoreError::Unreadable { path: path.into(), cause }),
    }
    let meta: Meta = serde_json::from_slice(&text).unwrap_or_default();
    Ok(meta.metadata.level.and_then(|level| level.parse().ok()))
}
