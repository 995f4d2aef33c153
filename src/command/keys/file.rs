//! Reads the file of `import` and `verify`: an export in any envelope, and perhaps in a tar. It reads and checks the whole
//! file before anybody gets a key from it. Knows no server.

use std::io::{self, Cursor, Read};
use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::archive;
use crate::chatto::keys::{self, EXPORT_MAX, ParsedExport};
use crate::cli;
use crate::command::Failure;
use crate::command::secrets::{input, read_failure, unlock};
use crate::envelope::{self, GivenSecrets};
use crate::exit::Exit;
use crate::terminal::Messages;
use crate::terminal::progress::Progress;

/// The length of a tar header, and where in it a POSIX tar names its format.
const HEADER: usize = 512;
const MAGIC: std::ops::Range<usize> = 257..262;

/// The export's name in a tar.
const MEMBER: &str = "keys.json";

/// What to do with an archive of streams, which is no export.
pub(super) const ARCHIVE_IS_RESTORED: &str =
    "an archive of chatto-dump is restored by chatto-load, and its keys with it if it holds them";
pub(super) const ARCHIVE_IS_VERIFIED: &str = "an archive of chatto-dump is checked by chatto-manifest verify";

/// An input that has not been read yet, and the secrets that open it.
pub(super) struct KeyFile {
    file: Option<PathBuf>,
    secrets: GivenSecrets,
}

impl KeyFile {
    pub(super) fn new(
        secrets: cli::DecryptionOptions,
        file: Option<PathBuf>,
        messages: Messages,
    ) -> anyhow::Result<KeyFile> {
        let secrets = unlock(secrets, file.as_deref(), messages)?;
        Ok(KeyFile { file, secrets })
    }

    /// Reads and checks all of it. `of_archive` is the hint for a tar that is no export, `of_bad` that for
    /// an export that is refused.
    pub(super) fn read(
        mut self,
        progress: &Progress,
        of_archive: &str,
        of_bad: &str,
    ) -> anyhow::Result<ParsedExport> {
        let opened = envelope::open(Box::new(input(self.file.as_deref())?), &mut self.secrets)?;
        let json = export_in(progress.summed(opened), of_archive)?;
        let import = keys::import(&json)
            .map_err(|error| Failure::new(Exit::Damaged, error.to_string()).hint(of_bad))?;
        Ok(import)
    }
}

/// The export that `content` is, or holds as a tar. All of it is read: only then is it known that none of it
/// was changed.
fn export_in(mut content: impl Read, of_archive: &str) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let failed = read_failure;
    let mut head = Zeroizing::new(Vec::with_capacity(HEADER));
    content.by_ref().take(HEADER as u64).read_to_end(&mut head).map_err(failed)?;
    let is_tar = head.get(MAGIC) == Some(b"ustar");
    let mut whole = Cursor::new(&**head).chain(content);
    if is_tar {
        in_tar(&mut whole, of_archive)
    } else {
        Ok(read_export(&mut whole).map_err(failed)?.ok_or_else(too_long)?)
    }
}

fn in_tar(content: &mut impl Read, of_archive: &str) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let mut found = None;
    let mut archive = archive::Reader::new(content);
    while let Some(entry) = archive.next()? {
        if let archive::Entry::Other { path, mut body, .. } = entry
            && path == MEMBER
        {
            let json = read_export(&mut body).map_err(archive::Error::from)?;
            found = Some(json.ok_or_else(too_long)?);
        }
    }
    found.ok_or_else(|| Failure::new(Exit::Damaged, "the tar holds no keys.json").hint(of_archive).into())
}

/// All of `content`; `None` if it is longer than [`EXPORT_MAX`]. In pieces, so that a vector that grows
/// leaves no unwiped copies of itself behind.
fn read_export(content: &mut impl Read) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    const PIECE: usize = 1 << 20;
    let mut pieces: Vec<Zeroizing<Vec<u8>>> = Vec::new();
    let mut len = 0usize;
    loop {
        let mut piece = Zeroizing::new(Vec::with_capacity(PIECE));
        let n = content.by_ref().take(PIECE as u64).read_to_end(&mut piece)?;
        len = len.saturating_add(n);
        if len as u64 > EXPORT_MAX {
            return Ok(None);
        }
        if n == 0 {
            break;
        }
        pieces.push(piece);
    }
    let mut whole = Zeroizing::new(Vec::with_capacity(len));
    for piece in pieces {
        whole.extend_from_slice(&piece);
    }
    Ok(Some(whole))
}

fn too_long() -> Failure {
    Failure::new(Exit::Damaged, format!("longer than {}: not a key export", crate::names::Size(EXPORT_MAX)))
}
