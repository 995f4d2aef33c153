//! Talk to a NATS server with JetStream: connect, list streams, capture one as a snapshot, restore
//! one from it. Knows nothing of tar, of what is inside a snapshot, or of Chatto's rules.
//!
//! What a server sends has a bound: an answer ([`api`]), a list ([`pages`]), a description and a chunk
//! ([`capture`]), and whatever comes without being a message ([`guard`]).
//!
//! Everything here is plain requests on the `$JS.API` subjects (documented in NATS's reference,
//! "JetStream wire API"), and every configuration and state is carried as the JSON text that the
//! server sent: each server version knows fields that a typed struct would lose.

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
mod mark;
mod pages;
mod permission_violation;
pub mod private_server;
mod replicas;
mod restore;
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
pub use mark::Mark;
pub use permission_violation::to_allow;
pub use replicas::Replicas;
pub use restore::{Restore, RestoreError};
pub use tls_fault::TlsFault;

pub use crate::release::Version;
