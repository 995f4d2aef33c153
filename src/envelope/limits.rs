//! The limits for layers and for secrets.

use crate::terminal::prompt::MAX_LINE;

/// How many layers are opened before an input is refused as a trick. People use one to three.
pub const LAYERS_MAX: usize = 4;

/// The largest zstd window, as a power of two: 128 MiB, what zstd(1) accepts without `--long` too.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// The same for a zstd layer inside another, which nobody makes on purpose: 8 MiB, what levels up to 19 use.
pub const ZSTD_WINDOW_LOG_NESTED: u32 = 23;

/// The scrypt work factor, as a power of two, that seals are written with: what age(1) writes. Takes
/// 256 MiB and about a second.
pub const SCRYPT_WORK_FACTOR: u8 = 18;

/// The largest scrypt work factor that is tried: 1 GiB and some seconds. More is an attack, or a file
/// whose owner can open it with age(1).
pub const SCRYPT_WORK_FACTOR_MAX: u8 = 20;

/// The longest passphrase, in bytes; a terminal takes no longer line either.
pub const PASSPHRASE_MAX: usize = MAX_LINE;
