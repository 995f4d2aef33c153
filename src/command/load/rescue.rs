//! The rescue archives of `--conflict=overwrite`. Each old stream is written to its own archive, which is checked and on
//! disk before the stream is deleted. It is an ordinary archive, so `chatto-load` can restore it, even if this run is
//! killed. Does not delete streams.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use futures_util::future::LocalBoxFuture;
use jiff::Timestamp;
use tempfile::TempPath;

use super::super::{Failure, dump};
use crate::exit::Exit;
use crate::jetstream::{Listed, Server};
use crate::names::StreamName;
use crate::terminal::Messages;

/// How much of a stream's name goes into its archive's file name, in characters.
const NAME_IN_FILE: usize = 50;

/// Restores an archive into a server. It reports its own errors.
pub(super) type Restore = fn(Server, File, Messages) -> LocalBoxFuture<'static, anyhow::Result<Exit>>;

/// The rescue archives of one run.
pub(super) struct Rescue {
    dir: PathBuf,
    /// Part of every file's name: this run's.
    stamp: String,
    kept: RefCell<BTreeMap<StreamName, PathBuf>>,
    restore: Restore,
}

impl Rescue {
    /// Archives in `dir`, else in `$TMPDIR`, else in `/var/tmp`, which outlives a reboot.
    pub fn new(dir: Option<&Path>, restore: Restore) -> Self {
        let temporary = std::env::var_os("TMPDIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let dir = dir.map(Path::to_path_buf).or(temporary).unwrap_or_else(|| "/var/tmp".into());
        let stamp = format!("{}-{}", Timestamp::now().strftime("%Y%m%dT%H%M%SZ"), std::process::id());
        Rescue { dir, stamp, kept: RefCell::default(), restore }
    }

    /// Archives the stream as it is now. Only after this may it be deleted.
    pub async fn take(
        &self,
        server: &Server,
        stream: &StreamName,
        old: Option<Listed>,
        messages: Messages,
    ) -> anyhow::Result<()> {
        let old = old.with_context(|| format!("stream {stream}: the server cannot describe it"))?;
        let part: String = stream.as_str().chars().take(NAME_IN_FILE).collect();
        let number = self.kept.borrow().len() + 1;
        let file = format!("chatto-rescue-{}-{number}-{part}.tar", self.stamp);
        let path = self.dir.join(file);
        if let Err(error) = write(server, old, &path, messages).await {
            let what = format!("cannot keep stream {stream} in {}: {error:#}", self.dir.display());
            return Err(Failure::new(Exit::Partial, what)
                .hint("choose another directory with --rescue-dir, or do without with --no-rescue")
                .into());
        }
        messages.detail(&format!("stream {stream}: the old one is kept in {}", path.display()));
        self.kept.borrow_mut().insert(stream.clone(), path);
        Ok(())
    }

    /// Whether the stream has been archived.
    pub fn has(&self, stream: &StreamName) -> bool {
        self.kept.borrow().contains_key(stream)
    }

    /// Restores the stream as it was archived.
    pub async fn put_back(
        &self,
        server: &Server,
        stream: &StreamName,
        messages: Messages,
    ) -> anyhow::Result<()> {
        let Some(path) = self.kept.borrow().get(stream).cloned() else {
            anyhow::bail!("stream {stream}: the old one was not kept");
        };
        let failed = || {
            Failure::new(Exit::Failed, format!("stream {stream}: the old one could not be put back"))
                .hint(format!("{} puts it back", that_restores(&path)))
        };
        if !server.reconnected().await {
            return Err(failed().into());
        }
        let archive = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        match (self.restore)(server.clone(), archive, messages.errors_only()).await {
            Ok(Exit::Done) => {}
            _ => return Err(failed().into()),
        }
        // The old stream is on the server again.
        let _ = fs::remove_file(&path);
        self.kept.borrow_mut().remove(stream);
        Ok(())
    }

    /// The end of the run. The archives are removed if all is well; otherwise the user must know where they are.
    pub fn conclude(&self, all_is_well: bool, messages: &Messages) {
        for (stream, path) in self.kept.take() {
            if !all_is_well {
                let command = that_restores(&path);
                messages.notice(&format!("stream {stream}: the old one is kept; {command} puts it back"));
            } else if let Err(e) = fs::remove_file(&path) {
                messages.warning(&format!("cannot remove {}: {e}", path.display()));
            }
        }
    }
}

/// The command that puts back what is kept at `path`, whatever there is now, as a shell reads it.
fn that_restores(path: &Path) -> String {
    let path = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%=".contains(c);
    let path = if path.chars().all(plain) { path } else { format!("'{}'", path.replace('\'', r"'\''")) };
    format!("chatto-load --conflict overwrite {path}")
}

/// Writes the archive at `path`. An unfinished file is removed.
async fn write(server: &Server, old: Listed, path: &Path, messages: Messages) -> anyhow::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let unfinished = TempPath::try_from_path(path)?;
    let on_disk = file.try_clone()?;
    dump::rescue(server, old, file, messages.errors_only()).await?;
    tokio::task::spawn_blocking(move || on_disk.sync_all()).await??;
    if let Some(dir) = path.parent() {
        File::open(dir)?.sync_all()?;
    }
    unfinished.keep()?;
    Ok(())
}
