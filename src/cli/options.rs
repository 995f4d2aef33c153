//! The options that several programs share. Does no I/O.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use secrecy::SecretString;

use crate::names::Glob;
use crate::terminal::Style;
use crate::terminal::Verbosity;

/// The headings of the help. Set on each option: a heading for a whole group counts for all that follows it.
pub(super) const STREAMS: &str = "Streams";
pub(super) const MESSAGES: &str = "Messages";
pub(super) const OTHERS: &str = "Other options";
pub(super) const DECRYPTION: &str = "Decryption";

/// Where the server is and how to be let in; every program that talks to one has these.
#[derive(Debug, Args)]
#[command(next_help_heading = "Server")]
pub struct ConnectionOptions {
    /// Chatto's configuration file [default: chatto.toml, if it is there]
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// NATS server, or a cluster's, separated by commas
    #[arg(short = 's', long = "server", value_name = "URL")]
    pub server: Option<String>,
    /// User name
    #[arg(long, value_name = "NAME", conflicts_with_all = ["creds", "nkey"])]
    pub user: Option<String>,
    /// File that holds the user's password
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,
    /// File that holds a token
    #[arg(long, value_name = "FILE", conflicts_with_all = ["user", "creds", "nkey"])]
    pub token_file: Option<PathBuf>,
    /// NATS credentials file, usually *.creds
    #[arg(long, value_name = "FILE", conflicts_with = "nkey")]
    pub creds: Option<PathBuf>,
    /// File that holds an nkey seed
    #[arg(long, value_name = "FILE")]
    pub nkey: Option<PathBuf>,
    /// PEM file of the only certificate authorities to trust
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// PEM file of a client certificate
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// PEM file of its private key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// JetStream domain to address, such as one behind a leaf node
    #[arg(long, value_name = "NAME")]
    pub js_domain: Option<String>,
    /// Context of the nats program, instead of the environment and FILE
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// How long to wait for the server's next answer
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub timeout: Duration,
}

/// How much to say; every program has these.
#[derive(Debug, Args)]
pub struct MessageOptions {
    /// Say what happens, step by step
    #[arg(short, long, conflicts_with = "quiet", help_heading = MESSAGES)]
    verbose: bool,
    /// Say nothing but errors
    #[arg(short, long, help_heading = MESSAGES)]
    quiet: bool,
    /// Write what it came to as JSON to FILE; - is stderr
    // Found before the other arguments are known to be right, by `command::reporting`.
    #[arg(long, value_name = "FILE", help_heading = MESSAGES)]
    report: Option<PathBuf>,
}

impl MessageOptions {
    /// The two flags as one value.
    pub fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, true) => Verbosity::Verbose,
            (false, false) => Verbosity::Normal,
        }
    }
}

/// How to show how far the program is; those that move whole archives have it.
#[derive(Debug, Args)]
pub struct ProgressOptions {
    /// How to show progress: auto, json or none
    // A list of possible values with texts of their own would turn --help into several screens.
    #[arg(long, value_name = "MODE", value_enum, default_value = "auto", hide_possible_values = true, help_heading = MESSAGES)]
    progress: ProgressMode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ProgressMode {
    Auto,
    Json,
    None,
}

impl ProgressOptions {
    /// The option as a value.
    pub fn style(&self) -> Style {
        match self.progress {
            ProgressMode::Auto => Style::Terminal,
            ProgressMode::Json => Style::Json,
            ProgressMode::None => Style::Never,
        }
    }
}

/// What opens an encrypted input; every program that reads one has these.
#[derive(Debug, Args)]
pub struct DecryptionOptions {
    /// File that holds the passphrase; - and /dev/fd/N work
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase", help_heading = DECRYPTION)]
    pub passphrase_file: Option<PathBuf>,
    /// The passphrase itself; other users of this machine can see it
    #[arg(long, value_name = "TEXT", value_parser = secret, help_heading = DECRYPTION)]
    pub passphrase: Option<SecretString>,
    /// age or SSH identity file; may be repeated
    #[arg(short, long, value_name = "FILE", help_heading = DECRYPTION)]
    pub identity: Vec<PathBuf>,
}

pub(super) fn secret(text: &str) -> Result<SecretString, String> {
    Ok(text.into())
}

/// Which streams of all that are there.
#[derive(Debug, Default, Args)]
pub struct StreamSelection {
    /// Only streams whose name matches; may be repeated
    #[arg(long, value_name = "GLOB", help_heading = STREAMS)]
    pub stream: Vec<Glob>,
    /// Not those whose name matches; may be repeated
    #[arg(long, value_name = "GLOB", help_heading = STREAMS)]
    pub exclude: Vec<Glob>,
}

impl StreamSelection {
    /// Whether anything but everything is asked for.
    pub fn is_choosy(&self) -> bool {
        !self.stream.is_empty() || !self.exclude.is_empty()
    }

    /// Whether `name` is selected.
    pub fn selects(&self, name: &crate::names::StreamName) -> bool {
        (self.stream.is_empty() || self.stream.iter().any(|glob| glob.matches(name)))
            && !self.exclude.iter().any(|glob| glob.matches(name))
    }
}

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(n) if n > 0.0 && n <= 86_400.0 => Ok(Duration::from_secs_f64(n)),
        _ => Err("not a number of seconds between 0 and 86400".into()),
    }
}
