//! Opens the layers around an archive: gzip, zstd and age, in any nesting. Also encrypts with age.
//!
//! Whoever has a file must be able to restore it without knowing how it was made. So every layer is recognised by its first
//! bytes. This module does not know the content: if an input begins like no layer, it is passed on unchanged, and the reader
//! of the content decides what it is.
//!
//! | first bytes | layer | source |
//! |---|---|---|
//! | `1f 8b 08` | gzip, one or several members, zero padding after the last | RFC 1952 |
//! | `28 b5 2f fd`, `50..5f 2a 4d 18` | zstd, frames and skippable frames | RFC 8878 |
//! | `age-encryption.org/` | age | <https://age-encryption.org/v1> |
//! | `-----BEGIN AGE ENCRYPTED FILE-----` | age, armored | the same |
//!
//! For other formats, the error names the command that unwraps them (see [`Foreign`]).
//!
//! # What a reader may rely on
//!
//! - The bytes of an age layer are passed on only after they are authenticated. Those of gzip and zstd are passed on as
//!   they come, because their checksums come after the content. *The end* of every layer is proven only when [`Opened`] has
//!   been read to its end: so read on after the last byte that you need.
//! - If a layer is cut or altered, reading gives an [`io::Error`](std::io::Error) that holds a [`Damaged`], at any place.
//!   [`Damaged::find`] finds it in any chain of errors.
//! - Memory is bounded by one large zstd window ([`ZSTD_WINDOW_LOG_MAX`]) and [`LAYERS_MAX`] small ones
//!   ([`ZSTD_WINDOW_LOG_NESTED`]), whatever the input asks for. While a passphrase is tried, [`SCRYPT_WORK_FACTOR_MAX`] is
//!   the bound.

mod error;
mod given;
mod gzip;
mod layer;
mod limits;
mod open;
mod recognise;
mod seal;
mod secrets;
mod unlock;

pub use error::{DamageKind, Damaged, Error, Locked, SecretError};
pub use given::GivenSecrets;
pub use limits::{
    LAYERS_MAX, PASSPHRASE_MAX, SCRYPT_WORK_FACTOR, SCRYPT_WORK_FACTOR_MAX, ZSTD_WINDOW_LOG_MAX,
    ZSTD_WINDOW_LOG_NESTED,
};
pub use open::{Opened, open, unseal};
pub use recognise::{Foreign, LayerKind};
pub use seal::{Encryption, Sealed, recipient, recipients_of_file, seal};
pub use secrets::{Identity, Passphrase, Secrets, is_stdin};

#[cfg(test)]
mod tests;
