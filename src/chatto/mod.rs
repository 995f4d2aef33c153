//! What is Chatto's own: where its NATS is ([`config`]), whether one runs on a directory ([`in_use`]), and
//! which of its streams belong into a backup, in which order ([`policy`]). Knows nothing of how bytes travel.

pub mod config;
pub mod in_use;
pub mod keys;
pub mod policy;
