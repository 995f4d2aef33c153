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
//! - A layer that is cut or altered is an [`io::Error`](std::io::Error) that holds a [`Damaged`], however far the
//!   reading had come; [`Damaged::find`] recognises it inside any chain of errors.
//! - Memory is bounded by one large zstd window ([`ZSTD_WINDOW_LOG_MAX`]) and [`LAYERS_MAX`] small ones
//!   ([`ZSTD_WINDOW_LOG_NESTED`]), whatever the input says of itself, and by [`SCRYPT_WORK_FACTOR_MAX`] while a passphrase is tried.

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
