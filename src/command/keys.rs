//! `chatto-keys`: export, import and list a Chatto server's encryption keys; seal and open files.
//!
//! Keys and data belong in two files in two places, because whoever has both can read the messages. An export is encrypted,
//! unless it goes into a pipe, where another program may encrypt it. An import checks its whole input before it writes
//! anything. It never overwrites a key, not even one that appears while it runs: the server itself refuses that.

mod bucket;
mod crypt;
mod export;
mod file;
mod import;
mod output;
mod server;
mod verify;

use self::output::PROGRAM;
use self::server::fetch;
use super::offline;
use super::output::{print, require_stdout};
use crate::cli;
use crate::exit::Exit;
use crate::terminal::Style;
use crate::terminal::progress::{Keys, Progress, Verbs};
use crate::terminal::{Messages, Verbosity};

const DOING: Verbs = Verbs { streams: "read", archive: "read" };

/// Runs the program.
pub fn run(options: cli::Keys) -> anyhow::Result<Exit> {
    if !matches!(options.action, cli::KeysAction::Import(_)) {
        require_stdout()?;
    }
    // Keys are few and files that are sealed may be large: there is an answer for whoever asks, and no more.
    let messages = Messages::new(PROGRAM, Verbosity::Normal).showing(Style::Never);
    let (progress, _shown) = Progress::shown(DOING, messages);
    match options.action {
        cli::KeysAction::Export(options) => export::run(options, &progress),
        cli::KeysAction::Import(options) => import::run(options, &progress),
        cli::KeysAction::Verify(options) => verify::run(options, &progress),
        cli::KeysAction::List(options) => list(&options, &progress),
        cli::KeysAction::Seal(options) => crypt::seal(options, progress),
        cli::KeysAction::Open(options) => crypt::open(options, progress),
    }
}

/// One line a key: its ref, its kind, and for an invalid one what is wrong with it.
fn list(options: &cli::List, progress: &Progress) -> anyhow::Result<Exit> {
    let messages = Messages::new(PROGRAM, options.say.verbosity());
    let found = match fetch(&options.connect, &options.offline, messages)? {
        Ok(found) => found,
        Err(signal) => return offline::ended(Err(signal)),
    };
    let mut lines = String::new();
    let mut keys = Keys::default();
    for record in &found {
        lines += &match record.validate() {
            Ok(()) => {
                keys.done = keys.done.saturating_add(1);
                format!("{}\t{}\n", record.key_ref, record.key_ref.kind())
            }
            Err(reason) => {
                keys.failed = keys.failed.saturating_add(1);
                format!("{}\tinvalid\t{reason}\n", record.key_ref)
            }
        };
    }
    progress.keys(keys);
    print(lines.as_bytes())?;
    Ok(Exit::Done)
}
