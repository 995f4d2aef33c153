//! The options of `chatto-dump`. Knows what may be typed, and not what it does.

use std::path::PathBuf;

use clap::Parser;

use super::offline::OfflineOptions;
use super::options::{ConnectionOptions, MessageOptions, ProgressOptions, STREAMS, StreamSelection};
use super::program::Program;
use crate::names::Size;

/// The least that `--buffer` may be.
const BUFFER_MIN: Size = Size(8 << 20);

/// Write a Chatto server's data to stdout as a tar archive, with every snapshot proven
#[derive(Debug, Parser)]
#[command(name = "chatto-dump", version, after_help = EXAMPLES)]
pub struct Dump {
    /// Dump the encryption keys too: who reads the archive can then read all
    #[arg(long)]
    pub include_keys: bool,
    #[command(flatten)]
    pub select: StreamSelection,
    /// Leave the streams' consumers out
    #[arg(long, help_heading = STREAMS)]
    pub no_consumers: bool,
    /// Let the server check each stream before it sends it
    #[arg(long, help_heading = STREAMS)]
    pub check: bool,
    /// How many small streams to capture at once
    #[arg(short = 'j', long = "jobs", value_name = "N", help_heading = RESOURCES, default_value = "16", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: u16,
    /// Memory for data under way
    #[arg(long, value_name = "SIZE", help_heading = RESOURCES, default_value = "32M", value_parser = buffer)]
    pub buffer: Size,
    /// Gather large streams in a file in DIR, so that each is one entry
    #[arg(long, value_name = "DIR", help_heading = RESOURCES)]
    pub spool_dir: Option<PathBuf>,
    /// Write unchanged data as the same bytes each time, for restic and its like
    #[arg(long, help_heading = RESOURCES)]
    pub rsyncable: bool,
    /// How often to try a stream again
    #[arg(long, value_name = "N", help_heading = STREAMS, default_value = "3", value_parser = clap::value_parser!(u32).range(..=1000))]
    pub retries: u32,
    /// Capture nothing; list what would be
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub say: MessageOptions,
    #[command(flatten)]
    pub showing: ProgressOptions,
    #[command(flatten)]
    pub connect: ConnectionOptions,
    #[command(flatten)]
    pub offline: OfflineOptions,
}

impl Program for Dump {
    const FIRST: &[&str] = &["config", "server", "token_file", "include_keys", "dry_run"];
}

const RESOURCES: &str = "Memory and speed";

const EXAMPLES: &str = "\
Examples:
  chatto-dump | gzip | age -p > chatto.tar.gz.age
  chatto-dump | zstd | ssh new chatto-load

Exit status: 0 done, 3 some streams failed, 7 no server; see chatto-dump(1)";

fn buffer(text: &str) -> Result<Size, String> {
    match text.parse::<Size>() {
        Ok(size) if size < BUFFER_MIN => Err(format!("less than {BUFFER_MIN}")),
        Ok(size) if usize::try_from(size.0).is_err() => Err("more than this machine can address".into()),
        Ok(size) => Ok(size),
        Err(bad) => Err(bad.to_string()),
    }
}
