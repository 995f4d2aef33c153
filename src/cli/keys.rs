//! The options of `chatto-keys`. Knows what may be typed, and not what it does.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use secrecy::SecretString;

use super::offline::OfflineOptions;
use super::options::{ConnectionOptions, DecryptionOptions, MessageOptions};
use super::program::Program;
use crate::chatto::keys::ExportVersion;

/// Export and import a Chatto server's encryption keys; encrypt and decrypt backups
#[derive(Debug, Parser)]
#[command(name = "chatto-keys", version, after_help = EXAMPLES)]
pub struct Keys {
    /// What to do
    #[command(subcommand)]
    pub action: Action,
}

impl Program for Keys {
    const FIRST: &[&str] = &["config", "passphrase_file", "recipients_file", "identity", "dry_run"];
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Write the keys to stdout as JSON, encrypted unless it goes into a pipe
    Export(Export),
    /// Bring exported keys back; keys that exist are never overwritten
    Import(Import),
    /// Check an export without a server: what an import would refuse is named
    Verify(Verify),
    /// List key refs and kinds, never key material
    List(List),
    /// Encrypt stdin or FILE to stdout, with a passphrase that need not be typed
    Seal(Seal),
    /// Decrypt stdin or FILE to stdout
    Open(Open),
}

/// `chatto-keys export`.
#[derive(Debug, Args)]
pub struct Export {
    /// Write the export as backup/keys.json in a tar
    #[arg(long, help_heading = EXPORT)]
    pub tar: bool,
    /// Write the keys unencrypted wherever stdout leads
    #[arg(long, help_heading = EXPORT, conflicts_with_all = ["passphrase_file", "passphrase", "recipient", "recipients_file"])]
    pub plaintext: bool,
    /// Version of the export: 3, or 2 for Chatto v0.0.x, which can hold user keys only
    #[arg(long, help_heading = EXPORT, value_name = "N", default_value = "3")]
    pub format_version: ExportVersion,
    #[command(flatten)]
    pub say: MessageOptions,
    #[command(flatten)]
    pub encryption: EncryptionOptions,
    #[command(flatten)]
    pub connect: ConnectionOptions,
    #[command(flatten)]
    pub offline: OfflineOptions,
}

/// `chatto-keys import`.
#[derive(Debug, Args)]
pub struct Import {
    /// Check the export and the server's keys, and change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// The export, wrapped or not; stdin when absent or -
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub say: MessageOptions,
    #[command(flatten)]
    pub secrets: DecryptionOptions,
    #[command(flatten)]
    pub connect: ConnectionOptions,
    #[command(flatten)]
    pub offline: OfflineOptions,
}

/// `chatto-keys verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// The export, wrapped or not; stdin when absent or -
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub say: MessageOptions,
    #[command(flatten)]
    pub secrets: DecryptionOptions,
}

/// `chatto-keys list`.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    pub say: MessageOptions,
    #[command(flatten)]
    pub connect: ConnectionOptions,
    #[command(flatten)]
    pub offline: OfflineOptions,
}

/// `chatto-keys seal`.
#[derive(Debug, Args)]
pub struct Seal {
    /// What to encrypt; stdin when absent or -
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub say: MessageOptions,
    #[command(flatten)]
    pub encryption: EncryptionOptions,
}

/// `chatto-keys open`.
#[derive(Debug, Args)]
pub struct Open {
    /// What to decrypt; stdin when absent or -
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub say: MessageOptions,
    #[command(flatten)]
    pub secrets: DecryptionOptions,
}

/// What an output is encrypted with: a passphrase or recipients, never both.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Encryption")]
pub struct EncryptionOptions {
    /// File that holds the passphrase; - and /dev/fd/N work
    #[arg(long, value_name = "FILE", conflicts_with_all = ["passphrase", "recipient", "recipients_file"])]
    pub passphrase_file: Option<PathBuf>,
    /// The passphrase itself; other users of this machine can see it
    #[arg(long, value_name = "TEXT", value_parser = super::options::secret, conflicts_with_all = ["recipient", "recipients_file"])]
    pub passphrase: Option<SecretString>,
    /// age or SSH public key; may be repeated
    #[arg(short = 'r', long, value_name = "RECIPIENT")]
    pub recipient: Vec<String>,
    /// File of such keys, one a line; may be repeated
    #[arg(short = 'R', long, value_name = "FILE")]
    pub recipients_file: Vec<PathBuf>,
}

impl EncryptionOptions {
    /// Whether none of the options was given.
    pub fn is_empty(&self) -> bool {
        self.passphrase_file.is_none()
            && self.passphrase.is_none()
            && self.recipient.is_empty()
            && self.recipients_file.is_empty()
    }
}

const EXPORT: &str = "The export";

const EXAMPLES: &str = "\
Examples:
  chatto-keys export > keys.age
  chatto-keys verify keys.age
  chatto-keys import keys.age

Exit status: 0 done, 3 some keys failed, 4 damaged input, 6 cannot decrypt,
7 no server; see chatto-keys(1)";
