//! `chatto-manifest`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::{Program, Say, Secrets, Select};

/// Know what is in a backup, without a server
#[derive(Debug, Parser)]
#[command(name = "chatto-manifest", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Manifest {
    /// What to do
    #[command(subcommand)]
    pub action: Option<Action>,
    #[command(flatten)]
    pub show: Show,
}

impl Program for Manifest {
    const FIRST: &[&str] = &[];
}

/// What to do; [`Action::Show`] where nothing is said.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Write the manifest: JSON, or a table at a terminal
    Show(Show),
    /// Write the names of the streams, one a line
    List(ListStreams),
    /// Check everything that can be checked without a server
    Verify(Verify),
    /// Write a smaller archive
    Select(SelectStreams),
    /// Write the same archive with every stream as one entry
    Join(Join),
    /// Write what differs between two archives
    Diff(Diff),
    /// Make an archive of a tar of a "nats backup account" or "nats backup stream" directory
    Import(ImportTar),
}

impl Action {
    /// How much to say.
    pub fn say(&self) -> &Say {
        match self {
            Action::Show(options) => &options.reading.say,
            Action::List(options) => &options.reading.say,
            Action::Verify(options) => &options.reading.say,
            Action::Select(options) => &options.reading.say,
            Action::Join(options) => &options.reading.say,
            Action::Diff(options) => &options.say,
            Action::Import(options) => &options.reading.say,
        }
    }
}

/// The archive, and what opens it.
#[derive(Debug, Args)]
pub struct Reading {
    /// The archive, wrapped or not; stdin when absent or -
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub secrets: Secrets,
    #[command(flatten)]
    pub say: Say,
}

/// `chatto-manifest show`.
#[derive(Debug, Args)]
pub struct Show {
    /// Write a table, wherever stdout leads
    #[arg(long)]
    pub table: bool,
    /// Read only the beginning of the archive
    #[arg(long)]
    pub index: bool,
    #[command(flatten)]
    pub reading: Reading,
}

/// `chatto-manifest list`.
#[derive(Debug, Args)]
pub struct ListStreams {
    /// Kind, messages, sequences, bytes and time of capture as well, separated by tabs
    #[arg(short, long)]
    pub long: bool,
    /// End every name with NUL instead of a newline, for xargs -0
    #[arg(short = '0', long)]
    pub null: bool,
    /// Read only the beginning of the archive
    #[arg(long)]
    pub index: bool,
    #[command(flatten)]
    pub reading: Reading,
}

/// `chatto-manifest verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// Write the verdict as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub reading: Reading,
}

/// `chatto-manifest select`.
#[derive(Debug, Args)]
pub struct SelectStreams {
    #[command(flatten)]
    pub select: Select,
    #[command(flatten)]
    pub reading: Reading,
}

/// `chatto-manifest join`.
#[derive(Debug, Args)]
pub struct Join {
    /// Spool an input that can be read only once in DIR, as it comes
    #[arg(long, value_name = "DIR")]
    pub spool_dir: Option<PathBuf>,
    #[command(flatten)]
    pub reading: Reading,
}

/// `chatto-manifest diff`.
#[derive(Debug, Args)]
pub struct Diff {
    /// The older archive; - is stdin
    #[arg(value_name = "A")]
    pub a: PathBuf,
    /// The newer archive; - is stdin
    #[arg(value_name = "B")]
    pub b: PathBuf,
    #[command(flatten)]
    pub secrets: Secrets,
    #[command(flatten)]
    pub say: Say,
}

/// `chatto-manifest import`.
#[derive(Debug, Args)]
pub struct ImportTar {
    /// Spool an input that can be read only once in DIR, as it comes
    #[arg(long, value_name = "DIR")]
    pub spool_dir: Option<PathBuf>,
    #[command(flatten)]
    pub reading: Reading,
}

const EXAMPLES: &str = "\
Examples:
  chatto-manifest verify -i key.txt chatto.tar.gz.age
  chatto-manifest select --exclude 'OBJ_*' backup.tar > small.tar

Exit status: 0 done, 3 some streams failed, 4 damaged archive, 6 cannot decrypt;
diff: 0 equal, 1 different, 2 trouble; see chatto-manifest(1)";
