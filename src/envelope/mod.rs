//! Opens whatever a person wrapped an archive in, and seals: gzip, zstd and age, in any nesting.
//!
//! A file must be restorable by whoever holds it, without knowing how it was made, so every layer is
//! recognised by its first bytes. This module must not know what is inside: input that begins like no
//! layer is handed on as it is, and the reader of the content judges it.
//!
//! | first bytes | layer | source |
//! |---|---|---|
//! | `1f 8b 08` | gzip, one or several members, zero padding after the last | RFC 1952 |
//! | `28 b5 2f fd`, `50..5f 2a 4d 18` | zstd, frames and skippable frames | RFC 8878 |
//! | `age-encryption.org/` | age | <https://age-encryption.org/v1> |
//! | `-----BEGIN AGE ENCRYPTED FILE-----` | age, armored | the same |
//!
//! What other programs unwrap is named together with the command that does it (see [`Foreign`]).
//!
//! # What a reader may rely on
//!
//! - Bytes of an age layer are handed out only once they are authenticated; those of gzip and zstd
//!   as they come, since their checksums follow the content. *The end* of every layer is proven only
//!   when [`Opened`] has been read to its end: read on after the last byte that you need.
//! - A layer that is cut or altered is an [`io::Error`] that holds a [`Damaged`], however far the
//!   reading had come; [`Damaged::find`] recognises it inside any chain of errors.
//! - Memory is bounded by one large zstd window ([`ZSTD_WINDOW_LOG_MAX`]) and [`LAYERS_MAX`] small ones
//!   ([`ZSTD_WINDOW_LOG_NESTED`]), whatever the input says of itself, and by [`SCRYPT_WORK_FACTOR_MAX`] while a passphrase is tried.

mod error;
mod gzip;
mod layer;
mod prompt;
mod seal;
mod secrets;
mod unlock;

use std::fmt;
use std::io::{self, BufRead, BufReader, Cursor, Read};

pub use error::{DamageKind, Damaged, Error, Locked, SecretError};
pub use prompt::{can_ask, echo_again, signals_are_handled};
pub use seal::{Encryption, Sealed, recipient, recipients_of_file, seal};
pub use secrets::{GivenSecrets, Identity, PASSPHRASE_MAX, Passphrase, Secrets, is_stdin};
pub use unlock::{SCRYPT_WORK_FACTOR, SCRYPT_WORK_FACTOR_MAX};

use layer::{Layer, OuterInput};

/// How many layers are opened before an input is refused as a trick. People use one to three.
pub const LAYERS_MAX: usize = 4;

/// The largest zstd window, as a power of two: 128 MiB, what zstd(1) accepts without `--long` too.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// The same for a zstd layer inside another, which nobody makes on purpose: 8 MiB, what levels up to 19 use.
pub const ZSTD_WINDOW_LOG_NESTED: u32 = 23;

/// Bytes read ahead of a layer.
const BUFFER: usize = 64 << 10;

/// Bytes that are looked at to recognise a layer: the longest of the first bytes below.
const HEAD: usize = 34;

const ARMOR: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";

/// A layer that is opened here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerKind {
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
    /// age, binary.
    Age,
    /// age, armored: the same in base64, as it travels in mails.
    Armored,
}

impl LayerKind {
    /// The layer that begins with `head`.
    fn of(head: &[u8]) -> Option<LayerKind> {
        match head {
            [0x1f, 0x8b, 0x08, ..] => Some(LayerKind::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(LayerKind::Zstd),
            _ if head.starts_with(b"age-encryption.org/") => Some(LayerKind::Age),
            _ if head.starts_with(ARMOR) => Some(LayerKind::Armored),
            _ => None,
        }
    }
}

impl fmt::Display for LayerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            LayerKind::Gzip => "gzip",
            LayerKind::Zstd => "zstd",
            LayerKind::Age | LayerKind::Armored => "age",
        })
    }
}

/// A wrapping that is recognised, but left to the program that knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// What it is called.
    pub name: &'static str,
    /// The command that writes its content to stdout, when given a file's name.
    pub command: &'static str,
}

/// First bytes of what others unwrap; from the formats' own documents and file(1)'s magic(5).
const FOREIGN: [(&[u8], Foreign); 10] = [
    (b"\xfd7zXZ\0", Foreign { name: "xz", command: "xz -dc" }),
    (b"BZh", Foreign { name: "bzip2", command: "bzip2 -dc" }),
    (b"\x04\x22\x4d\x18", Foreign { name: "lz4", command: "lz4 -dc" }),
    (b"\x02\x21\x4c\x18", Foreign { name: "lz4", command: "lz4 -dc" }),
    (b"LZIP", Foreign { name: "lzip", command: "lzip -dc" }),
    (b"\x1f\x9d", Foreign { name: "compress", command: "gzip -dc" }),
    (b"7z\xbc\xaf\x27\x1c", Foreign { name: "7z", command: "7z x -so" }),
    (b"PK\x03\x04", Foreign { name: "zip", command: "unzip -p" }),
    (b"-----BEGIN PGP MESSAGE-----", Foreign { name: "OpenPGP", command: "gpg -d" }),
    (b"Salted__", Foreign { name: "openssl enc", command: "openssl enc -d -aes-256-cbc -pbkdf2 -in" }),
];

impl Foreign {
    fn of(head: &[u8]) -> Option<Foreign> {
        FOREIGN.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, foreign)| *foreign)
    }
}

/// The content of an input, without its wrappings.
pub struct Opened {
    input: Box<dyn Read + Send>,
    layers: Vec<LayerKind>,
}

impl Opened {
    /// What was unwrapped, the outermost first; empty for a bare input.
    pub fn layers(&self) -> &[LayerKind] {
        &self.layers
    }
}

impl Read for Opened {
    /// # Errors
    /// Whatever reading the input said, as it said it; or an error that holds a [`Damaged`].
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.input.read(buf).map_err(layer::unmark)
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("layers", &self.layers).finish_non_exhaustive()
    }
}

/// Opens whatever `input` is wrapped in; `secrets` is asked only when an age layer is met.
///
/// # Errors
/// The first bytes of the content must be reached: everything that can go wrong on the way there is an
/// [`Error`]; what goes wrong later comes out of reading [`Opened`].
pub fn open(input: Box<dyn Read + Send>, secrets: &mut dyn Secrets) -> Result<Opened, Error> {
    let mut input: Box<dyn Read + Send> = Box::new(OuterInput(input));
    let mut layers = Vec::new();
    loop {
        let head = head(&mut input).map_err(Error::reading)?;
        let format = LayerKind::of(&head);
        if let (None, Some(foreign)) = (format, Foreign::of(&head)) {
            return Err(Error::Foreign(foreign));
        }
        let whole = Cursor::new(head).chain(input);
        let Some(format) = format else {
            return Ok(Opened { input: Box::new(whole), layers });
        };
        if layers.len() == LAYERS_MAX {
            return Err(Error::TooDeep);
        }
        let nested = layers.contains(&LayerKind::Zstd);
        layers.push(format);
        let whole = BufReader::with_capacity(BUFFER, whole);
        input = match format {
            LayerKind::Gzip => Box::new(Layer::new(format, gzip::Members::new(whole))),
            LayerKind::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(whole).map_err(Error::Read)?;
                let window = if nested { ZSTD_WINDOW_LOG_NESTED } else { ZSTD_WINDOW_LOG_MAX };
                decoder.window_log_max(window).map_err(Error::Read)?;
                Box::new(Layer::new(format, decoder))
            }
            LayerKind::Age | LayerKind::Armored => sealed(format, whole, secrets)?,
        };
    }
}

/// Takes off one layer of age and nothing else: undoes [`seal()`].
///
/// # Errors
/// As [`open`], and [`Error::NotSealed`].
pub fn unseal(input: Box<dyn Read + Send>, secrets: &mut dyn Secrets) -> Result<Opened, Error> {
    let mut input = OuterInput(input);
    let head = head(&mut input).map_err(Error::reading)?;
    let Some(format @ (LayerKind::Age | LayerKind::Armored)) = LayerKind::of(&head) else {
        return Err(Error::NotSealed);
    };
    let whole = BufReader::with_capacity(BUFFER, Cursor::new(head).chain(input));
    Ok(Opened { input: sealed(format, whole, secrets)?, layers: vec![format] })
}

fn sealed(
    format: LayerKind,
    input: impl BufRead + Send + 'static,
    secrets: &mut dyn Secrets,
) -> Result<Box<dyn Read + Send>, Error> {
    Ok(match format {
        LayerKind::Armored => Box::new(Layer::new(format, unlock::open(unlock::armored(input), secrets)?)),
        _ => Box::new(Layer::new(format, unlock::open(input, secrets)?)),
    })
}

/// The first [`HEAD`] bytes, or all there are.
fn head(input: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD);
    input.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(head)
}

#[cfg(test)]
mod tests;
