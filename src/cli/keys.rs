//! `chatto-keys`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::{Connect, Lock, Say, Unlock};

/// Export and import a Chatto server's encryption keys; encrypt and decrypt backups
#[derive(Debug, Parser)]
#[command(name = "chatto-keys", version, after_help = EXAMPLES)]
pub struct Keys {
    /// What to do
    #[command(subcommand)]
    pub action: Action,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Write the keys to stdout as JSON, encrypted unless it goes into a pipe
    Export(Export),
    /// Bring exported keys back; keys that exist are never overwritten
    Import(Import),
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
    #[arg(long)]
    pub tar: bool,
    /// Write the keys unencrypted wherever stdout leads
    #[arg(long, conflicts_with_all = ["passphrase_file", "passphrase", "recipient", "recipients_file"])]
    pub plaintext: bool,
    /// What to encrypt with
    #[command(flatten)]
    pub lock: Lock,
    /// How much to say
    #[command(flatten)]
    pub say: Say,
    /// Where the server is
    #[command(flatten)]
    pub connect: Connect,
}

/// `chatto-keys import`.
#[derive(Debug, Args)]
pub struct Import {
    /// The export, wrapped or not; stdin when absent or -
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// What decrypts
    #[command(flatten)]
    pub unlock: Unlock,
    /// How much to say
    #[command(flatten)]
    pub say: Say,
    /// Where the server is
    #[command(flatten)]
    pub connect: Connect,
}

/// `chatto-keys list`.
#[derive(Debug, Args)]
pub struct List {
    /// How much to say
    #[command(flatten)]
    pub say: Say,
    /// Where the server is
    #[command(flatten)]
    pub connect: Connect,
}

/// `chatto-keys seal`.
#[derive(Debug, Args)]
pub struct Seal {
    /// What to encrypt; stdin when absent or -
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// What to encrypt with
    #[command(flatten)]
    pub lock: Lock,
    /// How much to say
    #[command(flatten)]
    pub say: Say,
}

/// `chatto-keys open`.
#[derive(Debug, Args)]
pub struct Open {
    /// What to decrypt; stdin when absent or -
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// What decrypts
    #[command(flatten)]
    pub unlock: Unlock,
    /// How much to say
    #[command(flatten)]
    pub say: Say,
}

const EXAMPLES: &str = "\
Examples:
  chatto-keys export > keys.age
  chatto-keys import keys.age
  chatto-dump | gzip | chatto-keys seal --passphrase-file pass > backup.tar.gz.age

Exit status: 0 done, 3 some keys failed (named), 4 damaged input, 6 cannot decrypt, 7 no server;
chatto-keys(1) has all.";
