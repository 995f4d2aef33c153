//! The options of `chatto-load`. Knows what may be typed, and not what it does.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use super::offline::NETWORK;
use super::offline::OfflineOptions;
use super::options::{
    ConnectionOptions, DecryptionOptions, MessageOptions, ProgressOptions, STREAMS, StreamSelection,
};
use super::program::Program;

/// Restore a Chatto server from an archive of chatto-dump or chatto backup: FILE, else stdin
#[derive(Debug, Parser)]
#[command(name = "chatto-load", version, after_help = EXAMPLES)]
#[command(override_usage = "chatto-load [OPTIONS] [FILE]")]
pub struct Load {
    /// The archive; stdin when absent or -
    // The first line of --help says it: all the rest is to fit one screen.
    #[arg(value_name = "FILE", hide = true)]
    pub file: Option<PathBuf>,
    /// If a stream exists: error, skip or overwrite
    // A list of possible values with texts of their own would turn --help into several screens.
    #[arg(long, value_name = "MODE", value_enum, default_value = "error", hide_possible_values = true)]
    pub conflict: Conflict,
    #[command(flatten)]
    pub select: StreamSelection,
    /// Replicas of every stream [default: nats.replicas, else as archived]
    #[arg(long, value_name = "N", help_heading = STREAMS, value_parser = clap::value_parser!(u32).range(1..=5))]
    pub replicas: Option<u32>,
    /// Let the destination choose the servers of every stream
    #[arg(long, help_heading = STREAMS)]
    pub no_placement: bool,
    /// Restore without this setting of streams; may be repeated
    #[arg(long, value_name = "NAME", help_heading = STREAMS, value_parser = setting)]
    pub drop_setting: Vec<String>,
    /// Do not keep the old streams until all is well
    #[arg(long, help_heading = EXISTING)]
    pub no_rescue: bool,
    /// Where to keep the old streams [default: $TMPDIR, else /var/tmp]
    #[arg(long, value_name = "DIR", help_heading = EXISTING, conflicts_with = "no_rescue")]
    pub rescue_dir: Option<PathBuf>,
    /// How many small streams to restore at once
    #[arg(short = 'j', long = "jobs", value_name = "N", help_heading = STREAMS, default_value = "16", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: u16,
    /// Read and check everything, change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Restore into a private nats-server, compare, and throw it away
    #[arg(long, group = "private", conflicts_with_all = ["dry_run", "config", "conflict"], conflicts_with_all = NETWORK)]
    pub rehearse: bool,
    /// Restore although clients consume from the destination
    #[arg(long, help_heading = EXISTING)]
    pub force: bool,
    // Before the groups, whose headings also cover what follows them.
    #[command(flatten)]
    pub say: MessageOptions,
    #[command(flatten)]
    pub showing: ProgressOptions,
    #[command(flatten)]
    pub secrets: DecryptionOptions,
    #[command(flatten)]
    pub connect: ConnectionOptions,
    #[command(flatten)]
    pub offline: OfflineOptions,
}

impl Program for Load {
    const FIRST: &[&str] = &["config", "identity", "conflict", "dry_run", "rehearse"];
}

const EXISTING: &str = "What is there already";

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

/// A setting that a stream can do without.
fn setting(name: &str) -> Result<String, &'static str> {
    match name {
        "" => Err("a setting has a name"),
        "name" | "storage" => Err("a stream cannot do without it"),
        _ => Ok(name.into()),
    }
}

const EXAMPLES: &str = "\
Examples:
  chatto-load -i key.txt chatto.tar.gz.age
  chatto-load --rehearse -i key.txt chatto.tar.gz.age

Exit status: 0 done, 3 some failed, 4 damaged, 5 exists; see chatto-load(1)";
