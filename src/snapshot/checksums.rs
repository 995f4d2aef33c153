//! The keys of the HighwayHash-64 checksums that servers write. Knows no format.
//!
//! | checksum | key: SHA-256 of | stored as |
//! |---|---|---|
//! | of `meta.inf`, in `meta.sum` | `STREAM` | lower-case hexadecimal of the bytes below |
//! | of a consumer's `meta.inf`, in its `meta.sum` | `STREAM/CONSUMER` | the same |
//! | at the end of a record in `msgs/N.blk` | `STREAM-N` | 8 bytes, little-endian |
//! | at the end of `msgs/index.db` | `STREAM` | 8 bytes, little-endian |
//!
//! Source: nats-server, `server/filestore.go`.

use highway::{HighwayHasher, Key};
use sha2::{Digest, Sha256};

/// The length of a checksum in bytes.
pub const SUM_LEN: usize = 8;

/// A hasher whose key is the SHA-256 of `name`.
pub fn keyed(name: &str) -> HighwayHasher {
    let digest: [u8; 32] = Sha256::digest(name.as_bytes()).into();
    let mut key = [0; 4];
    for (word, bytes) in key.iter_mut().zip(digest.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    HighwayHasher::new(Key(key))
}

/// A checksum as `meta.sum` holds it.
pub fn hexadecimal(sum: u64) -> String {
    format!("{:016x}", sum.swap_bytes())
}
