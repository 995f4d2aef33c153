//! Talks to a NATS server with JetStream: connects, lists streams, captures a stream as a snapshot, and restores one. Knows
//! nothing of tar, of the content of a snapshot, or of Chatto's rules.
//!
//! Everything that a server sends has a bound: an answer ([`api`]), a list ([`pages`]), a description and a chunk
//! ([`capture`]), and bytes that are no whole message yet ([`guard`]).
//!
//! All requests go to the `$JS.API` subjects (documented in NATS's reference, "JetStream wire API"). Every configuration
//! and state is kept as the JSON text that the server sent, because each release knows fields that a struct would drop.

mod account;
mod account_lock;
mod api;
mod bucket;
mod capture;
mod connect;
pub mod connection;
mod consumers;
mod credentials;
mod error;
mod guard;
mod in_flight;
mod list;
mod pages;
mod permission_violation;
pub mod private_server;
mod replicas;
mod restore;
mod restore_marker;
pub mod store;
mod tls;
mod tls_fault;

pub use account::{Account, Usage};
pub use account_lock::{AccountLock, LockError};
pub use api::{Removal, StreamReply};
pub use bucket::{Bucket, Entry};
pub use capture::{CHECK_LIMIT, Capture, CaptureError, Snapshotting};
pub use connect::{Server, connect};
pub use consumers::{ConsumerInfo, ListedConsumer, Position};
pub use error::{ApiError, Error};
pub use in_flight::InFlight;
pub use list::{Listed, Listing, Unavailable};
pub use permission_violation::to_allow;
pub use replicas::Replicas;
pub use restore::{Restore, RestoreError};
pub use restore_marker::RestoreMarker;
pub use tls_fault::TlsFault;

pub use crate::release::Version;
