//! `chatto-load`.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use super::{Connect, Say, Secrets, Select, Showing};

/// Restore a Chatto server from an archive of chatto-dump or chatto backup
#[derive(Debug, Parser)]
#[command(name = "chatto-load", version, after_help = EXAMPLES)]
pub struct Load {
    /// The archive; stdin when absent or -
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// If a stream exists: error, skip or overwrite
    // A list of possible values with texts of their own would turn --help into several screens.
    #[arg(long, value_name = "MODE", value_enum, default_value = "error", hide_possible_values = true)]
    pub conflict: Conflict,
    #[command(flatten)]
    #[allow(missing_docs)] // a text here would replace the group's own
    pub select: Select,
    /// Replicas of every stream [default: nats.replicas, else as archived]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=5))]
    pub replicas: Option<u32>,
    /// Let the destination choose the servers of every stream
    #[arg(long)]
    pub no_placement: bool,
    /// Do not keep the old streams until all is well
    #[arg(long)]
    pub no_rescue: bool,
    /// Where to keep the old streams [default: $TMPDIR, else /var/tmp]
    #[arg(long, value_name = "DIR", conflicts_with = "no_rescue")]
    pub rescue_dir: Option<PathBuf>,
    /// Read and check everything, change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Restore into a private nats-server, compare, and throw it away
    #[arg(long, conflicts_with_all = REHEARSE_NEEDS_NONE)]
    pub rehearse: bool,
    /// Rehearse with this one [default: $NATS_SERVER, else on $PATH]
    #[arg(long, value_name = "PATH", requires = "rehearse")]
    pub nats_server: Option<PathBuf>,
    // Before the groups, whose headings also cover what follows them.
    #[command(flatten)]
    #[allow(missing_docs)]
    pub say: Say,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub showing: Showing,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub secrets: Secrets,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub connect: Connect,
}

/// The options that make no sense for a private server.
const REHEARSE_NEEDS_NONE: [&str; 14] = [
    "dry_run",
    "conflict",
    "config",
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

/// What to do about a stream that exists at the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Conflict {
    /// Change nothing at all and fail
    Error,
    /// Leave it alone and restore the others
    Skip,
    /// Replace it
    Overwrite,
}

const EXAMPLES: &str = "\
Examples:
  chatto-load -i key.txt chatto.tar.gz.age
  chatto-load --rehearse -i key.txt chatto.tar.gz.age

Exit status: 0 done, 3 some streams failed, 4 archive damaged, 5 streams exist;
see chatto-load(1)";
