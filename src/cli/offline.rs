//! The options for the data of a stopped Chatto. Does no I/O.

use std::path::PathBuf;

use clap::Args;

/// Where the data of a stopped Chatto is; every program that talks to a server has these.
///
/// Under the heading of those that say where a running server is.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Server")]
pub struct OfflineOptions {
    /// Start a private nats-server on chatto.toml's data directory
    #[arg(long, group = "private", conflicts_with_all = NETWORK)]
    pub offline: bool,
    /// Start a private nats-server on DIR
    #[arg(long, value_name = "DIR", group = "private", conflicts_with_all = NETWORK)]
    pub data_dir: Option<PathBuf>,
    /// The private server [default: $NATS_SERVER, else on $PATH]
    #[arg(long, value_name = "PATH", requires = "private")]
    pub nats_server: Option<PathBuf>,
}

/// What says where a running server is and how to be let in: nothing of it is for a private one.
pub(super) const NETWORK: [&str; 11] = [
    "server",
    "user",
    "password_file",
    "token_file",
    "creds",
    "nkey",
    "tls_ca",
    "tls_cert",
    "tls_key",
    "js_domain",
    "context",
];
