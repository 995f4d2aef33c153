//! Passphrases and identities: the secrets that open an age layer, and the files that hold them. Secrets are wiped from
//! memory when they are dropped, and no `Debug` shows them.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

use super::error::SecretError;
use super::limits::PASSPHRASE_MAX;
use crate::names::Printable;

pub use age::secrecy::SecretString as Passphrase;

/// A secret that opens files for one recipient: an age identity or an SSH key.
pub type Identity = Box<dyn age::Identity>;

/// Answers [`open`](super::open()) when it meets an age layer. Asked only then, and only for the kind of secret
/// that the layer takes.
pub trait Secrets {
    /// The passphrase to try as the `attempt`th, counted from 1 for each layer; `None` when there is no
    /// other to try.
    fn passphrase(&mut self, attempt: u32) -> Result<Option<Passphrase>, SecretError>;

    /// The identities to try, in order. None means that none was given.
    fn identities(&mut self) -> Result<Vec<Identity>, SecretError>;
}

/// The passphrase that `line` holds.
pub(super) fn checked(line: &[u8], origin: &str) -> Result<Passphrase, SecretError> {
    let origin = || Printable::new(origin);
    if line.is_empty() {
        return Err(SecretError::Empty(origin()));
    }
    if line.len() > PASSPHRASE_MAX {
        return Err(SecretError::Long(origin()));
    }
    match std::str::from_utf8(line) {
        Ok(text) => Ok(Passphrase::from(text.to_string())),
        Err(_) => Err(SecretError::NotText(origin())),
    }
}

/// Whether `file` is one of the names of stdin.
pub fn is_stdin(file: &Path) -> bool {
    ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"].iter().any(|name| file == Path::new(name))
}

pub(super) fn printable(file: &Path) -> Printable {
    if file == Path::new("-") { Printable::new("stdin") } else { Printable::new(&file.to_string_lossy()) }
}

/// At most `max` bytes of `file`, and one more if it has more. Never grown, so that no copy stays behind.
pub(super) fn read_secret(
    file: &Path,
    what: &'static str,
    max: u64,
) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let unreadable = |error| SecretError::Unreadable { what, file: printable(file), error };
    let input: Box<dyn Read> = match file {
        file if file == Path::new("-") => Box::new(io::stdin().lock()),
        file => Box::new(File::open(file).map_err(unreadable)?),
    };
    read_at_most(input, max).map_err(unreadable)
}

pub(super) fn read_at_most(input: impl Read, max: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let limit = max.saturating_add(1);
    // `read_to_end` grows a vector that is full, if only to find the end: give it room for that.
    let room = usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(64);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    input.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}
