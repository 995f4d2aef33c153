//! An input that is read more than once: a FILE, or a pipe that was copied to a spool file first. The copy has the bytes
//! as they came, so an encrypted input stays encrypted on the disk. Does not know why it is read again.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::Context;

use super::input::PROGRAM;
use crate::cli;
use crate::command::failure::shown;
use crate::command::{Failure, secrets};
use crate::envelope::{self, GivenSecrets, Identity, Opened, Passphrase, SecretError, Secrets};
use crate::exit::Exit;
use crate::terminal::Messages;
use crate::terminal::progress::{Metered, Progress};

pub(super) struct RereadableInput {
    file: File,
    /// Where the input begins: a descriptor may be handed over in the middle of a file.
    start: u64,
    secrets: Remembered,
    progress: Progress,
}

impl RereadableInput {
    /// Takes the input that `reading` names; one that cannot be read twice goes to `spool_dir` first.
    pub fn new(
        action: &str,
        reading: cli::ArchiveInput,
        spool_dir: Option<&Path>,
        progress: Progress,
    ) -> anyhow::Result<RereadableInput> {
        let messages = Messages::new(PROGRAM, reading.say.verbosity());
        let name = reading.file.as_deref();
        let mut file = secrets::input(name)?;
        let secrets = Remembered {
            given: secrets::unlock(reading.secrets, name, messages)?,
            said: Vec::new(),
            next: 0,
        };
        let twice = file.metadata().is_ok_and(|metadata| metadata.is_file());
        match spool_dir {
            _ if twice => {}
            Some(dir) => file = spooled(file, dir)?,
            None => {
                return Err(Failure::new(
                    Exit::Usage,
                    format!("{action} reads its input more than once, and this one can be read only once"),
                )
                .hint("name a FILE, or a directory with room for it: --spool-dir DIR")
                .into());
            }
        }
        let start = file.stream_position().context("cannot read the input")?;
        Ok(RereadableInput { file, start, secrets, progress })
    }

    /// The input from its beginning, unwrapped. What was opened before goes on where it is.
    pub fn open(&mut self) -> anyhow::Result<Opened> {
        let file = self.file.try_clone().context("cannot read the input")?;
        let positioned = Positioned { file, at: self.start };
        self.secrets.next = 0;
        let input = Metered::new(positioned, self.progress.clone());
        Ok(envelope::open(Box::new(input), &mut self.secrets)?)
    }
}

/// A file that several readers share. Each reader has its own position.
struct Positioned {
    file: File,
    at: u64,
}

impl Read for Positioned {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(buf, self.at)?;
        self.at = self.at.saturating_add(n as u64);
        Ok(n)
    }
}

/// A copy in `dir` that has no name, so that it is gone when the program is.
fn spooled(mut input: File, dir: &Path) -> anyhow::Result<File> {
    let failed =
        |error: io::Error| Failure::new(Exit::Failed, format!("cannot spool in {}: {error}", shown(dir)));
    let mut spool = tempfile::tempfile_in(dir).map_err(failed)?;
    io::copy(&mut input, &mut spool).map_err(failed)?;
    spool.rewind().map_err(failed)?;
    Ok(spool)
}

/// Remembers secrets, so that nobody is asked twice. The same input asks for the same secrets in the same order.
struct Remembered {
    given: GivenSecrets,
    said: Vec<Option<Passphrase>>,
    next: usize,
}

impl Secrets for Remembered {
    fn passphrase(&mut self, attempt: u32) -> Result<Option<Passphrase>, SecretError> {
        let said = match self.said.get(self.next) {
            Some(said) => said.clone(),
            None => {
                let said = self.given.passphrase(attempt)?;
                self.said.push(said.clone());
                said
            }
        };
        self.next = self.next.saturating_add(1);
        Ok(said)
    }

    fn identities(&mut self) -> Result<Vec<Identity>, SecretError> {
        self.given.identities()
    }
}
