//! The options about passphrases, identities and recipients, which several programs share.

use std::path::PathBuf;

use clap::Args;

use crate::envelope::Passphrase;

/// What opens an encrypted input; every program that reads a file has these.
#[derive(Debug, Args)]
#[command(next_help_heading = "Decryption")]
pub struct Unlock {
    /// File that holds the passphrase; - and /dev/fd/N work
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// The passphrase itself; other users of this machine can see it
    #[arg(long, value_name = "TEXT", value_parser = passphrase, conflicts_with = "passphrase_file")]
    pub passphrase: Option<Passphrase>,
    /// Identity file of age, or SSH private key; may be repeated
    #[arg(short = 'i', long, value_name = "FILE")]
    pub identity: Vec<PathBuf>,
}

/// What an output is encrypted with: a passphrase or recipients, never both.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Encryption")]
pub struct Lock {
    /// File that holds the passphrase; - and /dev/fd/N work
    #[arg(long, value_name = "FILE", conflicts_with_all = ["recipient", "recipients_file"])]
    pub passphrase_file: Option<PathBuf>,
    /// The passphrase itself; other users of this machine can see it
    #[arg(long, value_name = "TEXT", value_parser = passphrase, conflicts_with_all = ["passphrase_file", "recipient", "recipients_file"])]
    pub passphrase: Option<Passphrase>,
    /// age or SSH public key; may be repeated
    #[arg(short = 'r', long, value_name = "RECIPIENT")]
    pub recipient: Vec<String>,
    /// File of such keys, one a line; may be repeated
    #[arg(short = 'R', long, value_name = "FILE")]
    pub recipients_file: Vec<PathBuf>,
}

impl Lock {
    /// Whether none of the options was given.
    pub fn is_empty(&self) -> bool {
        self.passphrase_file.is_none()
            && self.passphrase.is_none()
            && self.recipient.is_empty()
            && self.recipients_file.is_empty()
    }
}

fn passphrase(text: &str) -> Result<Passphrase, std::convert::Infallible> {
    Ok(Passphrase::from(text.to_string()))
}
