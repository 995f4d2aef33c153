//! The options of `chatto-manifest`. Knows what may be typed, and not what it does.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::{Span, SpanRelativeTo, Timestamp};

use super::options::{DecryptionOptions, MessageOptions, StreamSelection};
use super::program::Program;
use crate::names::{Prefix, Renaming, SubjectPattern};
use crate::snapshot::Format;

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
    /// Write an archive with streams renamed, and with less in them
    Edit(Box<EditStreams>),
    /// Write the same archive with every stream as one entry
    Join(Join),
    /// Write what differs between two archives
    Diff(Diff),
    /// Make an archive of a tar of a "nats backup account" or "nats backup stream" directory
    Import(ImportTar),
}

impl Action {
    /// How much to say.
    pub fn say(&self) -> &MessageOptions {
        match self {
            Action::Show(options) => &options.reading.say,
            Action::List(options) => &options.reading.say,
            Action::Verify(options) => &options.reading.say,
            Action::Select(options) => &options.reading.say,
            Action::Edit(options) => &options.reading.say,
            Action::Join(options) => &options.reading.say,
            Action::Diff(options) => &options.say,
            Action::Import(options) => &options.reading.say,
        }
    }
}

/// The archive, and what opens it.
#[derive(Debug, Args)]
pub struct ArchiveInput {
    /// The archive, wrapped or not; stdin when absent or -
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub secrets: DecryptionOptions,
    #[command(flatten)]
    pub say: MessageOptions,
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
    pub reading: ArchiveInput,
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
    pub reading: ArchiveInput,
}

/// `chatto-manifest verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// Write the verdict as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub reading: ArchiveInput,
}

/// `chatto-manifest select`.
#[derive(Debug, Args)]
pub struct SelectStreams {
    #[command(flatten)]
    pub select: StreamSelection,
    #[command(flatten)]
    pub reading: ArchiveInput,
}

/// `chatto-manifest edit`.
#[derive(Debug, Args)]
pub struct EditStreams {
    /// Give a stream another name, and a bucket its subjects too; may be repeated
    #[arg(long, value_name = "OLD=NEW", help_heading = EDITS)]
    pub rename: Vec<Renaming>,
    /// Begin subjects with NEW instead of OLD; may be repeated
    #[arg(long, value_name = "OLD=NEW", help_heading = EDITS)]
    pub subject: Vec<Prefix>,
    /// Keep only messages whose subject matches; may be repeated
    #[arg(long, value_name = "PATTERN", help_heading = EDITS)]
    pub keep_subject: Vec<SubjectPattern>,
    /// Drop messages whose subject matches; may be repeated
    #[arg(long, alias = "exclude-subject", value_name = "PATTERN", help_heading = EDITS)]
    pub drop_subject: Vec<SubjectPattern>,
    /// Keep only messages stored at TIME or later: RFC 3339, or how long ago, such as 2h
    #[arg(long, value_name = "TIME", value_parser = past, help_heading = EDITS)]
    pub after: Option<Timestamp>,
    /// Keep only messages stored before TIME
    #[arg(long, value_name = "TIME", value_parser = past, help_heading = EDITS)]
    pub before: Option<Timestamp>,
    /// Keep only messages with this sequence or a higher one
    #[arg(long, value_name = "N", help_heading = EDITS)]
    pub first_seq: Option<u64>,
    /// Keep only messages with this sequence or a lower one
    #[arg(long, value_name = "N", help_heading = EDITS)]
    pub last_seq: Option<u64>,
    /// Keep only the newest message of each subject, or the newest N; the input is read three times
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "1", value_parser = clap::value_parser!(u32).range(1..), help_heading = EDITS)]
    pub last_per_subject: Option<u32>,
    /// Leave the streams' consumers out
    #[arg(long, help_heading = EDITS)]
    pub no_consumers: bool,
    /// Write snapshots as tar, as servers before 2.15 do, or as natsarc1; for that the input is read twice
    #[arg(long, value_enum, hide_possible_values = true, help_heading = OUTPUT)]
    pub format: Option<SnapshotFormat>,
    /// Write unchanged data as the same bytes each time, for restic and its like
    #[arg(long, help_heading = OUTPUT)]
    pub rsyncable: bool,
    #[command(flatten)]
    pub select: StreamSelection,
    /// Write no archive; say what would go
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Spool an input that can be read only once in DIR, as it comes, if it is to be read more than once
    #[arg(long, value_name = "DIR")]
    pub spool_dir: Option<PathBuf>,
    #[command(flatten)]
    pub reading: ArchiveInput,
}

/// The format of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SnapshotFormat {
    /// Of servers before 2.15
    Tar,
    /// Of servers from 2.15 on
    #[value(name = "natsarc1")]
    NatsArc1,
}

impl From<SnapshotFormat> for Format {
    fn from(format: SnapshotFormat) -> Self {
        match format {
            SnapshotFormat::Tar => Format::Tar,
            SnapshotFormat::NatsArc1 => Format::NatsArc1,
        }
    }
}

const EDITS: &str = "Edits";
const OUTPUT: &str = "The edited archive";

/// A time that has passed, or how long ago that was.
fn past(text: &str) -> Result<Timestamp, String> {
    let now = Timestamp::now();
    let ago = || {
        let span = text.parse::<Span>().ok().filter(|span| !span.is_negative())?;
        let ago = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
        now.checked_sub(ago).ok()
    };
    match text.parse::<Timestamp>().ok().or_else(ago) {
        Some(time) if time > now => Err(format!("{time} is in the future")),
        Some(time) => Ok(time),
        None => {
            Err("write a time with its zone, such as 2026-08-01T03:00:00Z, or how long ago, such as 2h"
                .into())
        }
    }
}

/// `chatto-manifest join`.
#[derive(Debug, Args)]
pub struct Join {
    /// Spool an input that can be read only once in DIR, as it comes
    #[arg(long, value_name = "DIR")]
    pub spool_dir: Option<PathBuf>,
    #[command(flatten)]
    pub reading: ArchiveInput,
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
    pub secrets: DecryptionOptions,
    #[command(flatten)]
    pub say: MessageOptions,
}

/// `chatto-manifest import`.
#[derive(Debug, Args)]
pub struct ImportTar {
    /// Spool an input that can be read only once in DIR, as it comes
    #[arg(long, value_name = "DIR")]
    pub spool_dir: Option<PathBuf>,
    #[command(flatten)]
    pub reading: ArchiveInput,
}

const EXAMPLES: &str = "\
Examples:
  chatto-manifest verify -i key.txt chatto.tar.gz.age
  chatto-manifest select --exclude 'OBJ_*' backup.tar > small.tar
  chatto-manifest edit --rename KV_A=KV_A_OLD backup.tar > old.tar

Exit status: 0 done, 3 some streams failed, 4 damaged archive, 6 cannot decrypt;
diff: 0 equal, 1 different, 2 trouble; see chatto-manifest(1)";
