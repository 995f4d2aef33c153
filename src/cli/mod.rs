//! The options of every program, as data. No I/O happens here, so that tests and documentation checks
//! can import it.

// A text on a group of options that is flattened would replace the group's own.
#![allow(missing_docs)]

mod dump;
mod keys;
mod load;
mod manifest;
mod offline;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Command, Parser, ValueEnum};
use secrecy::SecretString;

use crate::names::Glob;
use crate::terminal::Verbosity;
use crate::terminal::progress::Style;

pub use dump::Dump;
pub use keys::{
    Action as KeysAction, EncryptionOptions, Export, Import, Keys, List, Open, Seal, Verify as VerifyKeys,
};
pub use load::{Conflict, Load};
pub use manifest::{
    Action as ManifestAction, ArchiveInput, Diff, EditStreams, ImportTar, Join, ListStreams, Manifest,
    SelectStreams, Show, SnapshotFormat, Verify,
};
pub use offline::OfflineOptions;

/// One of the programs.
pub trait Program: Parser {
    /// The options that people need first, of the program or of any of its subcommands, in this order: the ids of
    /// clap's. Where there are none, all are shown at once.
    const FIRST: &[&str];

    /// Its command line, with those options at the top of its help.
    fn arguments() -> Command {
        arranged(Self::command(), Self::FIRST)
    }

    /// The same for a help text with no more than those.
    fn brief() -> Command {
        brief(Self::arguments(), Self::FIRST)
    }
}

fn arranged(command: Command, first: &[&str]) -> Command {
    let order = |id: &str| first.iter().position(|of| *of == id);
    let has_first = command.get_arguments().any(|arg| order(arg.get_id().as_str()).is_some());
    let command = command.mut_args(|arg| match order(arg.get_id().as_str()) {
        Some(place) => arg.help_heading(None).display_order(place),
        None if has_first && !arg.is_positional() && arg.get_help_heading().is_none() => {
            arg.help_heading(OTHERS)
        }
        None => arg,
    });
    command.mut_subcommands(|action| arranged(action, first))
}

fn brief(command: Command, first: &[&str]) -> Command {
    let name = command.get_bin_name().unwrap_or(command.get_name()).to_owned();
    let has_first = command.get_arguments().any(|arg| first.contains(&arg.get_id().as_str()));
    let command = match has_first {
        true => {
            let said = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples = said.split_once("\n\n").map(|(examples, _)| format!("{examples}\n\n"));
            command
                .mut_args(|arg| if arg.get_help_heading().is_some() { arg.hide(true) } else { arg })
                .after_help(format!("{}All options: {name} --help", examples.unwrap_or_default()))
        }
        false => command,
    };
    command.mut_subcommands(|action| {
        let name = format!("{name} {}", action.get_name());
        brief(action.bin_name(name), first)
    })
}

/// The headings of the help. Set on each option: a heading for a whole group counts for all that follows it.
const STREAMS: &str = "Streams";
const MESSAGES: &str = "Messages";
const OTHERS: &str = "Other options";
const DECRYPTION: &str = "Decryption";

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

fn secret(text: &str) -> Result<SecretString, String> {
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

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(n) if n > 0.0 && n <= 86_400.0 => Ok(Duration::from_secs_f64(n)),
        _ => Err("not a number of seconds between 0 and 86400".into()),
    }
}
