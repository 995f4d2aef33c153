//! What every program does before and after its work: it parses the options, and ends with a message and an exit code. Knows
//! nothing of the work.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;

use clap::error::{ContextKind, ErrorKind};

use super::address_space;
use super::output::require_stdout;
use super::report::{exit_of, say};
use super::report_option::{self, EndedBySignal};
use crate::cli::Program;
use crate::exit::Exit;
use crate::names::Printable;
use crate::terminal::Style;
use crate::terminal::report::call_off;
use crate::terminal::{self, Messages, Verbosity};

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
    terminal::progress::say_summary(&messages, exit);
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
            if let Some(EndedBySignal(signal)) = error.downcast_ref() {
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
