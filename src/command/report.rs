//! From an error to words on stderr and an exit code. The only place that knows which error ends a
//! program how.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use clap::error::{ContextKind, ErrorKind};

use super::address_space;
use super::report_option::{self, Signalled};
use crate::cli::Program;
use crate::exit::Exit;
use crate::names::Printable;
use crate::terminal::progress::Style;
use crate::terminal::report::call_off;
use crate::terminal::{self, Messages, Verbosity};
use crate::{archive, chatto, envelope, jetstream};

/// A failure that a command words itself.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Failure {
    /// How the program ends.
    pub exit: Exit,
    /// What happened.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Failure { exit, what: what.into(), hint: None }
    }

    /// The same with a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Runs a program: parses its options, calls `run`, and says what went wrong.
pub fn main<A: Program>(
    program: &'static str,
    arguments: impl IntoIterator<Item = OsString>,
    run: impl FnOnce(A) -> anyhow::Result<Exit>,
) -> Exit {
    address_space::economise();
    terminal::progress::take_questions();
    keep_out_of_core_files();
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let style = if asks_for_json(&arguments) { Style::Json } else { Style::Terminal };
    let messages = Messages::new(program, Verbosity::Normal).showing(style);
    let exit = match report_option::begin(messages, &arguments) {
        Ok(()) => parse_and_run(messages, arguments, run),
        Err(refused) => {
            say(&messages, &refused.into());
            Exit::Usage
        }
    };
    messages.summary(exit);
    exit
}

/// Whether whoever reads stderr wants JSON (`--progress json`): known before the arguments are, because they may
/// be wrong.
fn asks_for_json(arguments: &[OsString]) -> bool {
    arguments.windows(2).any(|pair| matches!(pair, [name, mode] if name == "--progress" && mode == "json"))
        || arguments.iter().any(|argument| argument == "--progress=json")
}

fn parse_and_run<A: Program>(
    messages: Messages,
    arguments: Vec<OsString>,
    run: impl FnOnce(A) -> anyhow::Result<Exit>,
) -> Exit {
    let arguments = match parse::<A>(messages, arguments) {
        Ok(arguments) => arguments,
        Err(exit) => return report_option::finish(messages, exit),
    };
    match run(arguments) {
        Ok(exit) => report_option::finish(messages, exit),
        Err(error) => {
            if let Some(Signalled(signal)) = error.downcast_ref() {
                // It does not come back.
                let _ = report_option::end_by(messages, *signal);
                return Exit::Failed;
            }
            say(&messages, &error);
            report_option::finish(messages, exit_of(&error))
        }
    }
}

/// The arguments; or, where there is nothing to run, how the program ends that has said why.
fn parse<A: Program>(messages: Messages, arguments: Vec<OsString>) -> Result<A, Exit> {
    if let Some(meant) = similar_subcommand::<A>(&arguments) {
        messages.error(&meant);
        return Err(Exit::Usage);
    }
    let asked = arguments.clone();
    let parsed = A::arguments().try_get_matches_from(arguments).and_then(|matches| {
        report_option::understood(messages, &matches);
        A::from_arg_matches(&matches)
    });
    match parsed {
        Ok(arguments) => Ok(arguments),
        // Nothing was said at all: the help is the answer, and not a line of it is an error.
        Err(e) if e.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            messages.plain_text(e.render().to_string().trim_end());
            Err(Exit::Usage)
        }
        Err(e) if matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            let e = brief_help::<A>(&asked).unwrap_or(e);
            // Nothing is done that could be taken for a backup.
            call_off();
            if let Err(closed) = require_stdout() {
                say(&messages, &closed.into());
                return Err(Exit::Usage);
            }
            // A reader that has seen enough of a help text is no failure.
            let _ = std::io::stdout().write_all(e.render().to_string().as_bytes());
            Err(Exit::Done)
        }
        Err(e) => {
            let text = e.render().to_string();
            messages.error(text.strip_prefix("error: ").unwrap_or(&text).trim_end());
            if names_an_output(&e) {
                messages.hint(&format!("stdout is the output: {} > FILE", messages.program()));
            }
            Err(Exit::Usage)
        }
    }
}

/// The help text with the options that people need first, where it was asked for by `-h`.
fn brief_help<A: Program>(arguments: &[OsString]) -> Option<clap::Error> {
    let all = arguments.iter().any(|argument| argument == "--help") || arguments.get(1)? == "help";
    if all { None } else { A::brief().try_get_matches_from(arguments).err() }
}

/// What was typed as a subcommand, is none, and is too much like one to be taken for a file that is not there.
fn similar_subcommand<A: Program>(arguments: &[OsString]) -> Option<String> {
    /// As similar as clap's own tips are.
    const SIMILAR: f64 = 0.7;
    let word = arguments.get(1)?.to_str()?;
    let command = A::arguments();
    let mut names = command.get_subcommands().map(clap::Command::get_name);
    if word.starts_with('-') || word == "help" || Path::new(word).exists() {
        return None;
    }
    if command.get_subcommands().any(|subcommand| subcommand.get_name() == word) {
        return None;
    }
    let meant = names.find(|name| strsim::jaro(name, word) > SIMILAR)?;
    let word = Printable::new(word);
    Some(format!("unrecognized subcommand '{word}'\n\n  tip: a similar subcommand exists: '{meant}'"))
}

/// Whether an option was given that names an output file in other programs.
fn names_an_output(error: &clap::Error) -> bool {
    let unknown = error.get(ContextKind::InvalidArg).map(ToString::to_string);
    error.kind() == ErrorKind::UnknownArgument && matches!(unknown.as_deref(), Some("-o" | "--output"))
}

/// No core file is made of this process or of those that it starts: passphrases and keys would be in it. A limit
/// does not count where cores go into a pipe, and not everywhere can a process say that it is not to be dumped.
fn keep_out_of_core_files() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    // A system that refuses leaves things as they were.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// Says `error` with its chain of causes and its hint.
pub(super) fn say(messages: &Messages, error: &anyhow::Error) {
    messages.error(&text_of(error));
    if let Some(hint) = hint_of(messages.program(), error) {
        messages.hint(&hint);
    }
}

/// The chain of causes as one line.
pub(super) fn text_of(error: &anyhow::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = cause.to_string();
        // Some libraries repeat their source in their own text.
        if !parts.last().is_some_and(|said| said.contains(&text)) {
            parts.push(text);
        }
    }
    parts.join(": ").replace('\n', " ")
}

/// What to do about it, as the first cause that knows.
pub(super) fn hint_of(program: &str, error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return failure.hint.clone();
        }
        if let Some(error) = cause.downcast_ref::<jetstream::Error>() {
            return error.hint();
        }
        if let Some(error) = cause.downcast_ref::<envelope::Error>() {
            return error.hint(program);
        }
        if let Some(error) = cause.downcast_ref::<jetstream::private_server::Error>() {
            return error.hint();
        }
        if let Some(error) = cause.downcast_ref::<jetstream::store::StoreError>() {
            return error.hint();
        }
        match cause.downcast_ref() {
            Some(archive::Error::Truncated { .. }) => {
                return Some("whatever wrote or carried it ended early: look for its message".into());
            }
            Some(archive::Error::NatsBackup) if program == "chatto-load" => {
                return Some("make an archive of it: chatto-manifest import FILE | chatto-load".into());
            }
            Some(archive::Error::NatsBackup) => {
                return Some("make an archive of it: chatto-manifest import FILE > backup.tar".into());
            }
            Some(archive::Error::Keys) if program == "chatto-manifest" => {
                return Some("chatto-keys verify checks it, and chatto-keys import reads it".into());
            }
            Some(archive::Error::Keys) => return Some("chatto-keys import reads it".into()),
            Some(archive::Error::Archive) => {
                return Some("chatto-manifest join makes every stream one entry, select takes some".into());
            }
            _ => {}
        }
        cause.downcast_ref::<chatto::config::ConfigError>().and_then(|error| error.hint())
    })
}

/// How a program ends that failed with `error`: the first cause with an exit code of its own decides.
pub(super) fn exit_of(error: &anyhow::Error) -> Exit {
    error.chain().find_map(of_cause).unwrap_or(Exit::Failed)
}

fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Exit> {
    if let Some(failure) = cause.downcast_ref::<Failure>() {
        return Some(failure.exit);
    }
    if cause.is::<chatto::config::ConfigError>() {
        return Some(Exit::Usage);
    }
    if let Some(error) = cause.downcast_ref::<jetstream::Error>() {
        return match error {
            jetstream::Error::Unusable(_) => Some(Exit::Usage),
            jetstream::Error::Unreachable { .. }
            | jetstream::Error::Tls { .. }
            | jetstream::Error::Refused { .. }
            | jetstream::Error::Denied { .. }
            | jetstream::Error::NoJetStream { .. } => Some(Exit::Unreachable),
            _ => None,
        };
    }
    if let Some(error) = cause.downcast_ref::<envelope::Error>() {
        return Some(error.exit());
    }
    if envelope::Damaged::find(cause).is_some() {
        return Some(Exit::Damaged);
    }
    match cause.downcast_ref::<archive::Error>() {
        // What the input said decides: it may be an envelope that does not open.
        Some(archive::Error::Io { .. }) | None => None,
        Some(archive::Error::Archive) => Some(Exit::Usage),
        Some(_) => Some(Exit::Damaged),
    }
}

/// A path or another text from outside, for a message.
pub(super) fn shown(text: impl AsRef<std::ffi::OsStr>) -> Printable {
    Printable::new(&text.as_ref().to_string_lossy())
}

/// What to do about an output that cannot be written, where that is known: the program that reads it has ended.
pub(super) fn hint_of_output(error: &std::io::Error) -> Option<String> {
    (error.kind() == std::io::ErrorKind::BrokenPipe)
        .then(|| "the program that reads it ended early: look for its own message".into())
}

/// Refuses to begin where what the program writes would go nowhere.
pub(super) fn require_stdout() -> Result<(), Failure> {
    match terminal::stdout_is_closed() {
        true => Err(Failure::new(Exit::Usage, "stdout is closed, and the output would be lost")
            .hint("write it to a file or a pipe, or to /dev/null if nobody wants it")),
        false => Ok(()),
    }
}

/// Writes text. `false` when nobody reads on, which is no failure: it was read as far as somebody cared to.
pub(super) fn print(text: &[u8]) -> anyhow::Result<bool> {
    terminal::clear();
    let mut out = std::io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        written => written.context("cannot write to stdout").map(|()| true),
    }
}
