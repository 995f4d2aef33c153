//! `chatto-keys verify`: checks, without a server, whether an import would accept the file.

use super::file::{ARCHIVE_IS_VERIFIED, KeyFile};
use super::output::PROGRAM;
use crate::chatto::keys::{KeyKind, KeyRef, ParsedExport};
use crate::cli;
use crate::command::Failure;
use crate::command::output::print;
use crate::exit::Exit;
use crate::names::counted;
use crate::terminal::Messages;
use crate::terminal::progress::{Keys, Progress};

const REFUSED: &str = "an import would refuse it too: make another export, or take an older one";
const EMPTY: &str = "it restores nothing: make another export, or take an older one";

/// Runs `chatto-keys verify`.
pub(super) fn run(options: cli::VerifyKeys, progress: &Progress) -> anyhow::Result<Exit> {
    let messages = Messages::new(PROGRAM, options.say.verbosity());
    let import = KeyFile::new(options.secrets, options.file, messages)?.read(
        progress,
        ARCHIVE_IS_VERIFIED,
        REFUSED,
    )?;
    progress.keys(Keys {
        done: import.records.len() as u64,
        skipped: import.skipped.len() as u64,
        ..Keys::default()
    });
    for record in &import.records {
        messages.detail(&format!("key {}: {}", record.key_ref, record.key_ref.kind()));
    }
    for key in &import.skipped {
        messages.detail(&format!("key {key}: {}, which an import skips", key.kind()));
    }
    if import.records.is_empty() {
        let text = "the key export holds no key that an import would take";
        return Err(Failure::new(Exit::Damaged, text).hint(EMPTY).into());
    }
    print(format!("{}\n", verdict(&import)).as_bytes())?;
    Ok(Exit::Done)
}

fn verdict(import: &ParsedExport) -> String {
    let held = by_kind(import.records.iter().map(|record| &record.key_ref));
    let skipped = match by_kind(import.skipped.iter()) {
        none if none.is_empty() => none,
        some => format!("; an import skips {some}"),
    };
    let keys = counted(import.records.len() as u64, "key");
    format!("sound: {keys} ({held}), version {}{skipped}", import.version)
}

/// Such as `2 user, 1 kek`.
fn by_kind<'a>(refs: impl Iterator<Item = &'a KeyRef> + Clone) -> String {
    let count = |kind| (kind, refs.clone().filter(|key| key.kind() == kind).count());
    let counts = [KeyKind::User, KeyKind::Kek, KeyKind::Call, KeyKind::Dek].map(count);
    let some = counts.into_iter().filter(|(_, n)| *n > 0).map(|(kind, n)| format!("{n} {kind}"));
    some.collect::<Vec<_>>().join(", ")
}
