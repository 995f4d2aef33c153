//! `--report`: makes sure that there is a report, however the run ends. Knows nothing of the run.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::failure::shown;
use super::{Failure, session};
use crate::exit::Exit;
use crate::terminal::report::{self, ReportTarget, RunEnd, RunHeader, Unwritable};
use crate::terminal::{self, Messages, prompt};

const OPTION: &str = "--report";

/// A run that a signal ended, and that has left everything as it should.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("ended by signal {0}")]
pub(super) struct EndedBySignal(pub i32);

/// Makes ready for the report that `arguments` ask for, which may be wrong otherwise.
///
/// # Errors
/// When it cannot be written: then nothing is done.
pub(super) fn begin(messages: Messages, arguments: &[OsString]) -> Result<(), Failure> {
    let Some(path) = asked_for(arguments) else { return Ok(()) };
    let to = ReportTarget::claim(&path).map_err(|error| refusal(&path, &error))?;
    report::begin(to, RunHeader::new(messages.program()));
    watch(messages);
    Ok(())
}

/// Where a report is asked for.
fn asked_for(arguments: &[OsString]) -> Option<PathBuf> {
    let mut arguments = arguments.iter().skip(1).take_while(|argument| *argument != "--");
    while let Some(argument) = arguments.next() {
        if argument == OPTION {
            return arguments.next().map(PathBuf::from);
        }
        let value = argument.as_bytes().strip_prefix(OPTION.as_bytes());
        if let Some(path) = value.and_then(|value| value.strip_prefix(b"=")) {
            return Some(OsStr::from_bytes(path).into());
        }
    }
    None
}

fn refusal(path: &Path, error: &Unwritable) -> Failure {
    let hint = match error {
        Unwritable::NoReport => "name a file that is not there, or a report of an earlier run",
        Unwritable::Output => "give the report a file of its own, or - for stderr",
        Unwritable::Io(_) => {
            "nothing was done: name a file in a directory that can be written, or - for stderr"
        }
    };
    Failure::new(Exit::Usage, format!("cannot write the report {}: {error}", shown(path))).hint(hint)
}

/// Notes what the run is, once its arguments are understood.
pub(super) fn understood(messages: Messages, matches: &ArgMatches) {
    let program = messages.program();
    let (name, options) = match matches.subcommand() {
        Some((name, options)) => (Some(name), options),
        None => (program.strip_prefix("chatto-"), matches),
    };
    let is_set = |option| matches!(options.try_get_one::<bool>(option), Ok(Some(true)));
    // Without a word, chatto-manifest shows the manifest.
    let name = if name == Some("manifest") { Some("show") } else { name };
    let name = if is_set("rehearse") { Some("rehearse") } else { name };
    report::is_of(RunHeader {
        command: name.map(str::to_owned),
        dry_run: is_set("dry_run"),
        ..RunHeader::new(program)
    });
}

/// Writes the report of a run that ends with `exit`, if there is to be one, and gives the status that it then ends
/// with: a run that was to leave a report and does not has not done all that was asked for.
pub(super) fn finish(messages: Messages, exit: Exit) -> Exit {
    let _end = report::end();
    let command = report::command();
    match report::write(RunEnd::Exit(exit), messages.style()) {
        Ok(()) => exit,
        Err(error) => {
            not_written(messages, &error);
            match (command.as_deref(), exit) {
                // Its 0 and 1 are answers.
                (Some("diff"), Exit::Done | Exit::Failed) => Exit::Usage,
                (_, Exit::Done) => Exit::Failed,
                _ => exit,
            }
        }
    }
}

fn not_written(messages: Messages, error: &io::Error) {
    messages.error(&format!("cannot write the report: {error}"));
    messages.hint("all else was done as has been said; the report that was there before is unchanged");
}

/// Writes the report of a run that `signal` ended, and ends the program as the signal does.
pub(super) fn end_by(messages: Messages, signal: i32) -> io::Result<()> {
    let _end = report::end();
    if let Err(error) = report::write(RunEnd::Signal(signal), messages.style()) {
        not_written(messages, &error);
    }
    prompt::echo_again();
    emulate_default_handler(signal)
}

/// Has a signal leave a report where it would end the program at once. A program that handles signals itself comes
/// to [`end_by`] when it is through.
fn watch(messages: Messages) {
    let signals = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| !terminal::ignores(*signal));
    let signals: Vec<i32> = signals.collect();
    // A program that cannot watch for them ends by them, and the report stays as it was.
    let Ok(mut watched) = Signals::new(&signals) else { return };
    prompt::signals_are_handled(&signals);
    std::thread::spawn(move || {
        for signal in watched.forever() {
            if !session::signals_are_watched() {
                // It does not come back.
                let _ = end_by(messages, signal);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_asked_for_in_either_form_and_before_the_operands_only() {
        let asked = |line: &str| {
            let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            asked_for(&arguments)
        };
        assert_eq!(asked("chatto-load --report a b"), Some("a".into()));
        assert_eq!(asked("chatto-load b --report=a=b"), Some("a=b".into()));
        assert_eq!(asked("chatto-load --report -"), Some("-".into()));
        for line in [
            "chatto-load",
            "--report a",
            "chatto-load --report",
            "chatto-load --reports a",
            "x -- --report a",
        ] {
            assert_eq!(asked(line), None, "{line}");
        }
    }
}
