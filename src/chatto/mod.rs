//! Everything that is special to Chatto: its configuration ([`config`]), its encryption keys ([`keys`]), the signs that it
//! runs on a directory ([`in_use`]), and the streams that belong in a backup and their order ([`policy`]). Knows nothing of
//! how bytes travel.

pub mod config;
pub mod in_use;
pub mod keys;
pub mod policy;
