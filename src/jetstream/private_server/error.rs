//! The errors when a private server starts or ends.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::log::Log;
use crate::names::Printable;

/// Why there is no private server, or why it did not end well.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No binary where the user or the environment said, or none on `$PATH`.
    #[error("no nats-server {0}")]
    NoBinary(String),
    /// The binary cannot be run, or is not a nats-server.
    #[error("cannot run {binary}: {reason}")]
    NotRunnable {
        /// Which binary.
        binary: Printable,
        /// What happened.
        reason: String,
    },
    /// The private directory cannot be made or written.
    #[error("cannot prepare a directory for the private nats-server: {0}")]
    Directory(#[source] io::Error),
    /// The server went away before it was ready.
    #[error("the private nats-server stopped before it was ready; its log ends with: {0}")]
    Early(Log),
    /// The server was not ready in time.
    #[error("the private nats-server was not ready after {limit:?}; its log ends with: {log}")]
    Late {
        /// What it had.
        limit: Duration,
        /// The end of its log.
        log: Log,
    },
    /// It listens, but does not answer as a nats-server with JetStream.
    #[error("the private nats-server does not answer on {address}: {reason}")]
    Mute {
        /// Where it says that it listens.
        address: SocketAddr,
        /// What happened.
        reason: String,
    },
    /// It did not stop when told to and was killed.
    #[error("the private nats-server did not stop after {limit:?} and was killed; its log ends with: {log}")]
    Killed {
        /// What it had.
        limit: Duration,
        /// The end of its log.
        log: Log,
    },
    /// Nobody wants it any more.
    #[error("the start of the private nats-server was called off")]
    CalledOff,
}

pub(super) fn not_runnable(binary: &Path, reason: impl fmt::Display) -> Error {
    Error::NotRunnable { binary: Printable::new(&binary.to_string_lossy()), reason: reason.to_string() }
}
