//! Opens the archive that an action reads, whatever it is wrapped in. Does not know what the action does with it.

use crate::archive::{self, ArchiveEnd, Layout, Tar};
use crate::cli;
use crate::command::secrets;
use crate::envelope::{self, Opened};
use crate::terminal::Messages;
use crate::terminal::progress::{Metered, Progress};

pub(super) const PROGRAM: &str = "chatto-manifest";

/// The input that `reading` names, unwrapped, for the reader that it is for.
pub(super) fn open(reading: cli::ArchiveInput, progress: Progress) -> anyhow::Result<Tar<Opened>> {
    Ok(archive::recognise(unwrapped(reading, progress)?))
}

/// The same, whatever it is.
pub(super) fn unwrapped(reading: cli::ArchiveInput, progress: Progress) -> anyhow::Result<Opened> {
    let messages = Messages::new(PROGRAM, reading.say.verbosity());
    let file = reading.file.as_deref();
    let input = secrets::input(file)?;
    let mut secrets = secrets::unlock(reading.secrets, file, messages)?;
    let input = Metered::reading(input, progress);
    Ok(envelope::open(Box::new(input), &mut secrets)?)
}

/// Refuses what holds no streams.
pub(super) fn of_streams(ended: &ArchiveEnd) -> anyhow::Result<()> {
    if ended.layout != Layout::Keys {
        return Ok(());
    }
    Err(archive::Error::Keys.into())
}
