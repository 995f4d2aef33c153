//! `chatto-keys seal` and `chatto-keys open`: encrypt and decrypt with age, with a passphrase that nobody has to type. Know
//! nothing of the content.

use std::io::{self, BufWriter, Read, Write};

use anyhow::Context;
use zeroize::Zeroizing;

use super::output::{PROGRAM, write_failure};
use crate::cli;
use crate::command::Failure;
use crate::command::secrets::{input, read_failure, sealing, unlock};
use crate::envelope;
use crate::exit::Exit;
use crate::terminal::progress::{Metered, Progress};
use crate::terminal::{self, Messages};

/// Bytes that are moved at once.
const PIECE: usize = 64 << 10;

/// Runs `chatto-keys seal`.
pub(super) fn seal(options: cli::Seal, progress: Progress) -> anyhow::Result<Exit> {
    refuse_terminal("an encrypted file is binary", "chatto-keys seal FILE > FILE.age")?;
    let messages = Messages::new(PROGRAM, options.say.verbosity());
    let file = options.file.as_deref();
    let sealing = sealing(options.encryption, Some(file), messages)?;
    let mut input = Metered::reading(input(file)?, progress.clone());
    let encryption = sealing.encryption()?;
    let stdout = progress.summed(terminal::stdout().context("cannot use stdout")?);
    let stdout = BufWriter::with_capacity(PIECE, stdout);
    let mut sealed = envelope::seal(stdout, &encryption).map_err(|error| match error {
        envelope::Error::Write(error) => write_failure(&error).into(),
        error => anyhow::Error::from(error),
    })?;
    copy(&mut input, &mut sealed)?;
    sealed.finish().and_then(|mut stdout| stdout.flush()).map_err(|error| write_failure(&error))?;
    Ok(Exit::Done)
}

/// Runs `chatto-keys open`.
pub(super) fn open(options: cli::Open, progress: Progress) -> anyhow::Result<Exit> {
    refuse_terminal("what it decrypts may be binary", "chatto-keys open FILE > OTHER, or into a pipe")?;
    let messages = Messages::new(PROGRAM, options.say.verbosity());
    let file = options.file.as_deref();
    let mut secrets = unlock(options.secrets, file, messages)?;
    let input = Box::new(Metered::reading(input(file)?, progress.clone()));
    let mut opened = envelope::unseal(input, &mut secrets)?;
    let mut stdout = progress.summed(terminal::stdout().context("cannot use stdout")?);
    copy(&mut opened, &mut stdout)?;
    Ok(Exit::Done)
}

fn refuse_terminal(why: &str, instead: &str) -> anyhow::Result<()> {
    if terminal::stdout_is_terminal() {
        let text = format!("stdout is a terminal, and {why}");
        return Err(Failure::new(Exit::Usage, text).hint(instead).into());
    }
    Ok(())
}

/// `std::io::copy`, but it tells a failed read from a failed write, and wipes its buffer.
fn copy(from: &mut impl Read, to: &mut impl Write) -> anyhow::Result<()> {
    let mut buffer = Zeroizing::new(vec![0; PIECE]);
    loop {
        let n = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(read_failure(error)),
        };
        to.write_all(buffer.get(..n).unwrap_or_default()).map_err(|error| write_failure(&error))?;
    }
}
