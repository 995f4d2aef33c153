//! What all programs that read and write envelopes share: their input, and the options for passphrases, identities and
//! recipients. Knows nothing of the content.

use std::fs::File;
use std::io;
use std::path::Path;

use super::Failure;
use super::failure::shown;
use super::report::text_of;
use crate::envelope::{self, Damaged, GivenSecrets};
use crate::exit::Exit;
use crate::terminal::{self, Messages};
use crate::{cli, envelope::SecretError};

/// The input that `file` names; absent or `-` is stdin, which must not be a terminal.
pub(super) fn input(file: Option<&Path>) -> anyhow::Result<File> {
    let cannot = |name: &dyn std::fmt::Display, error: io::Error| {
        Failure::new(Exit::Usage, format!("cannot read {name}: {error}"))
    };
    match file.filter(|file| *file != Path::new("-")) {
        Some(file) => {
            let opened = File::open(file).and_then(|opened| match opened.metadata()?.is_dir() {
                true => Err(io::ErrorKind::IsADirectory.into()),
                false => Ok(opened),
            });
            Ok(opened.map_err(|error| match error.kind() {
                io::ErrorKind::IsADirectory => {
                    cannot(&shown(file), error).hint("feed its tar: tar cf - DIR | the same command")
                }
                _ => cannot(&shown(file), error),
            })?)
        }
        None if terminal::stdin_is_closed() => {
            Err(Failure::new(Exit::Usage, "stdin is closed").hint("name a FILE, or feed a pipe").into())
        }
        None if terminal::stdin_is_terminal() => {
            Err(Failure::new(Exit::Usage, "stdin is a terminal").hint("name a FILE, or feed a pipe").into())
        }
        None => Ok(terminal::stdin().map_err(|error| cannot(&"stdin", error))?),
    }
}

/// The secrets that `options` give for opening `file`.
pub(super) fn unlock(
    options: cli::DecryptionOptions,
    file: Option<&Path>,
    messages: Messages,
) -> anyhow::Result<GivenSecrets> {
    let warn = move |text: &str| messages.warning(text);
    let given = GivenSecrets::new(options.passphrase_file, options.passphrase, options.identity, warn);
    not_twice(given.stdin_uses(), file)?;
    Ok(given)
}

/// What to encrypt with, as far as the options say it.
pub(super) enum Sealing {
    /// What the options name.
    Given(envelope::Encryption),
    /// A passphrase that is to be asked for.
    Ask(GivenSecrets),
}

/// Reads what `options` name. `data` is the input that shall be encrypted, if it is one.
pub(super) fn sealing(
    options: cli::EncryptionOptions,
    data: Option<Option<&Path>>,
    messages: Messages,
) -> anyhow::Result<Sealing> {
    let ask = options.is_empty();
    let passphrase = options.passphrase_file.is_some() || options.passphrase.is_some();
    let warn = move |text: &str| messages.warning(text);
    let mut given = GivenSecrets::new(options.passphrase_file, options.passphrase, Vec::new(), warn);
    if let Some(data) = data {
        let lists = options.recipients_file.iter().filter(|file| envelope::is_stdin(file)).count();
        not_twice(given.stdin_uses().saturating_add(lists), data)?;
    }
    if ask {
        return Ok(Sealing::Ask(given));
    }
    if passphrase {
        let passphrase = given.new_passphrase().map_err(envelope::Error::from)?;
        return Ok(Sealing::Given(envelope::Encryption::passphrase(passphrase)));
    }
    let mut recipients = Vec::new();
    for text in &options.recipient {
        recipients.push(envelope::recipient(text).map_err(usage)?);
    }
    for file in &options.recipients_file {
        recipients.extend(envelope::recipients_of_file(file).map_err(usage)?);
    }
    Ok(Sealing::Given(envelope::Encryption::Recipients(recipients)))
}

impl Sealing {
    /// What to encrypt with; asks at the terminal when the options left it open.
    pub(super) fn encryption(self) -> anyhow::Result<envelope::Encryption> {
        let mut given = match self {
            Sealing::Given(encryption) => return Ok(encryption),
            Sealing::Ask(given) => given,
        };
        let passphrase = given.new_passphrase().map_err(|error| match error {
            SecretError::NoTerminal(_) => anyhow::Error::new(
                Failure::new(Exit::Usage, text_of(&error.into()))
                    .hint("give --passphrase-file FILE or -r RECIPIENT"),
            ),
            error => envelope::Error::from(error).into(),
        })?;
        Ok(envelope::Encryption::passphrase(passphrase))
    }
}

fn usage(error: SecretError) -> Failure {
    let error = envelope::Error::from(error);
    let hint = error.hint("chatto-keys");
    Failure { exit: Exit::Usage, what: text_of(&error.into()), hint }
}

/// stdin can be one thing only: `uses` times a secret, or the data.
fn not_twice(uses: usize, data: Option<&Path>) -> anyhow::Result<()> {
    let data = usize::from(data.is_none_or(envelope::is_stdin));
    if uses.saturating_add(data) > 1 && uses > 0 {
        let text = "stdin cannot be both the input and a secret, nor two secrets";
        return Err(Failure::new(Exit::Usage, text)
            .hint("use another descriptor: --passphrase-file /dev/fd/3 3<FILE")
            .into());
    }
    Ok(())
}

/// An input that failed in the middle of reading it.
pub(super) fn read_failure(error: io::Error) -> anyhow::Error {
    match Damaged::find(&error) {
        Some(damaged) => envelope::Error::from(damaged.clone()).into(),
        None => anyhow::Error::new(error).context("cannot read the input"),
    }
}
