//! `chatto-load`.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use super::{Connect, Say, Secrets, Select};

/// Restore a Chatto server from an archive of chatto-dump or chatto backup
#[derive(Debug, Parser)]
#[command(name = "chatto-load", version, after_help = EXAMPLES)]
pub struct Load {
    /// The archive; stdin when absent or -
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// What to do about streams that exist already
    #[arg(long, value_name = "MODE", value_enum, default_value = "error")]
    pub conflict: Conflict,
    #[command(flatten)]
    #[allow(missing_docs)] // a text here would replace the group's own
    pub select: Select,
    /// Replicas of every restored stream [default: nats.replicas, else the archive's on a cluster, else 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=5))]
    pub replicas: Option<u32>,
    /// Do not keep the streams that are overwritten until all is well
    #[arg(long)]
    pub no_rescue: bool,
    /// Where to keep them [default: $TMPDIR, else /var/tmp]
    #[arg(long, value_name = "DIR", conflicts_with = "no_rescue")]
    pub rescue_dir: Option<PathBuf>,
    /// Read and check everything, change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Restore into a private, throwaway nats-server, compare, and throw it away
    #[arg(long, conflicts_with_all = ["dry_run", "config", "server", "conflict"])]
    pub rehearse: bool,
    /// The nats-server to rehearse with [default: $NATS_SERVER, else nats-server on $PATH]
    #[arg(long, value_name = "PATH", requires = "rehearse")]
    pub nats_server: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub secrets: Secrets,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub say: Say,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub connect: Connect,
}

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
  age -d backup.tar.gz.age | chatto-load
  chatto-load --conflict skip backup.tar.gz

Exit status: 0 done, 3 some streams failed (named), 4 damaged archive, 5 streams exist;
chatto-load(1) has all.";
