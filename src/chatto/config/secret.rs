//! Reads files that hold a secret or a certificate: once, up to a bound, and wiped from memory afterwards. Does not know
//! what the secret is for.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use secrecy::SecretString;
use zeroize::Zeroizing;

use super::error::ConfigError;
use crate::jetstream::connection::SourcedText;
use crate::names::Printable;

/// The largest such file, in bytes: a system's bundle of certificates has some 200 KiB.
const FILE_MAX: usize = 1 << 20;

/// The longest password or token, in bytes.
const LINE_MAX: usize = 64 << 10;

/// A password or a token: the content of the file without one trailing line break.
pub(super) fn line(path: &Path) -> Result<SecretString, ConfigError> {
    let text = read(path, LINE_MAX)?;
    let bare = text.strip_suffix('\n').unwrap_or(&text);
    let bare = bare.strip_suffix('\r').unwrap_or(bare);
    match bare.is_empty() {
        true => Err(unreadable(path, io::Error::other("it is empty"))),
        false => Ok(bare.into()),
    }
}

/// The seed of a user's nkey, be it alone in its file or decorated as in a file of credentials.
pub(super) fn seed(path: &Path) -> Result<SecretString, ConfigError> {
    let text = read(path, LINE_MAX)?;
    let seed = text.lines().map(str::trim).find(|line| line.starts_with("SU"));
    seed.map(SecretString::from)
        .ok_or_else(|| unreadable(path, io::Error::other("it holds no seed of a user's nkey (SU...)")))
}

/// The content of the file as it is.
pub(super) fn whole(path: &Path) -> Result<SourcedText, ConfigError> {
    let from = Printable::new(&path.to_string_lossy()).to_string();
    Ok(SourcedText { from, text: read(path, FILE_MAX)?.as_str().into() })
}

/// The file as text that is wiped when it is dropped.
pub(super) fn read(path: &Path, max: usize) -> Result<Zeroizing<String>, ConfigError> {
    let failed = |cause| unreadable(path, cause);
    // Large enough from the start: a text that grows leaves copies of itself behind.
    let mut text = Zeroizing::new(String::with_capacity(max.saturating_add(1)));
    let file = File::open(path).map_err(failed)?;
    let read = file.take(max as u64 + 1).read_to_string(&mut text).map_err(failed)?;
    match read > max {
        true => Err(failed(io::Error::other("it is too long for a secret"))),
        false => Ok(text),
    }
}

/// Whether others than its owner can read the file; a pipe is nobody else's.
pub(super) fn is_exposed(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|about| about.is_file() && about.mode() & 0o044 != 0)
}

fn unreadable(path: &Path, cause: io::Error) -> ConfigError {
    ConfigError::Unreadable { path: path.into(), cause }
}
