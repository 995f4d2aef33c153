//! `chatto-manifest`: know what is in a backup, without a server.
//!
//! Every action reads an archive to its end, so its answer is that of a whole archive. Only `--index` stops after the
//! first file. The reader of a text may stop early. An archive that is written gets its end record only when all of the
//! input has been read and all of the output has been written.
//!
//! A tar of a directory of `nats backup account` is not an archive. `show`, `list`, `verify` and `diff` read it all the
//! same, and `import` makes an archive out of it.

mod diff;
mod edit;
mod import;
mod input;
mod join;
mod list;
mod nats_backup;
mod output;
mod rereadable;
mod select;
mod show;
pub mod verify;

use self::input::PROGRAM;
use super::output::require_stdout;
use crate::cli;
use crate::exit::Exit;
use crate::terminal::Messages;
use crate::terminal::progress::{Progress, Verbs};

/// Streams are not counted here, only what is read.
const DOING: Verbs = Verbs { streams: "read", archive: "read" };

/// Runs the program.
pub fn run(options: cli::Manifest) -> anyhow::Result<Exit> {
    require_stdout()?;
    let action = options.action.unwrap_or(cli::ManifestAction::Show(options.show));
    let messages = Messages::new(PROGRAM, action.say().verbosity());
    let (progress, _shown) = Progress::shown(DOING, messages);
    match action {
        cli::ManifestAction::Show(options) => show::run(options, progress),
        cli::ManifestAction::List(options) => list::run(options, progress),
        cli::ManifestAction::Verify(options) => verify::run(options, progress),
        cli::ManifestAction::Select(options) => select::run(options, progress),
        cli::ManifestAction::Join(options) => join::run(options, progress),
        cli::ManifestAction::Edit(options) => edit::run(*options, progress),
        cli::ManifestAction::Diff(options) => diff::run(options, progress),
        cli::ManifestAction::Import(options) => import::run(options, progress),
    }
}
