//! `chatto-keys export`: reads the keys of a server, checks them, and writes the export file.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileTypeExt;

use anyhow::Context;
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::output::{PROGRAM, write_failure};
use super::server::fetch;
use crate::archive;
use crate::chatto::keys::{self, ExportVersion, KEYS_MAX, KeyRecord};
use crate::cli;
use crate::command::secrets::{Sealing, sealing};
use crate::command::{Failure, offline};
use crate::envelope;
use crate::exit::Exit;
use crate::names::counted;
use crate::terminal::progress::{Keys, Progress};
use crate::terminal::{self, Messages, prompt};

/// Runs `chatto-keys export`.
pub(super) fn run(options: cli::Export, progress: &Progress) -> anyhow::Result<Exit> {
    let messages = Messages::new(PROGRAM, options.say.verbosity());
    let stdout = terminal::stdout().context("cannot use stdout")?;
    let encryption = protection(&options, &stdout)?;
    let unasked =
        if encryption.is_none() && !options.plaintext { "; the pipe gets them unencrypted" } else { "" };
    let sealing = encryption.map(|encryption| sealing(encryption, None, messages)).transpose()?;

    let now = Timestamp::now();
    let found = match fetch(&options.connect, &options.offline, messages)? {
        Ok(found) => found,
        Err(signal) => return offline::ended(Err(signal)),
    };
    let (kept, left_out): (Vec<KeyRecord>, Vec<KeyRecord>) =
        found.into_iter().partition(|record| record.key_ref.kind().is_exported());
    let (valid, invalid) = validated(kept, messages);
    progress.keys(Keys {
        done: valid.len() as u64,
        skipped: left_out.len() as u64,
        failed: invalid,
        ..Keys::default()
    });
    if valid.is_empty() {
        let text = match (invalid, left_out.len()) {
            (0, 0) => "the server has no keys".to_string(),
            (0, calls) => {
                format!("the server has no keys but those of {calls} calls, which are never exported")
            }
            (invalid, _) => format!("no valid key among the {invalid} of the server"),
        };
        return Err(Failure::new(Exit::Failed, text).into());
    }
    require_room(&valid, options.format_version)?;
    let json = keys::export(&valid, options.format_version, now).context("cannot write the export")?;
    let bytes = if options.tar { tar_of(&json, now).context("cannot write the tar")? } else { json };
    write(progress.summed(stdout), &bytes, sealing)?;

    let calls = match left_out.len() {
        0 => String::new(),
        n => format!("; {n} of calls left out, which die with the call"),
    };
    messages.closing(&format!("{} exported{calls}{unasked}", counted(valid.len() as u64, "key")));
    if invalid > 0 {
        messages.error(&format!("{} not exported", counted(invalid, "key")));
        return Ok(Exit::Partial);
    }
    Ok(Exit::Done)
}

/// The valid ones, and how many others there are, each of which is named.
fn validated(records: Vec<KeyRecord>, messages: Messages) -> (Vec<KeyRecord>, u64) {
    let mut valid = Vec::new();
    let mut invalid: u64 = 0;
    for record in records {
        match record.validate() {
            Ok(()) => valid.push(record),
            Err(reason) => {
                messages.error(&format!("key {}: {reason}", record.key_ref));
                invalid = invalid.saturating_add(1);
            }
        }
    }
    (valid, invalid)
}

/// Refuses keys that an export of this version cannot hold.
fn require_room(keys: &[KeyRecord], version: ExportVersion) -> Result<(), Failure> {
    if let Some(other) = keys.iter().find(|record| !version.holds(&record.key_ref)) {
        let text = format!("key {}: an export of version 2 can hold keys of users only", other.key_ref);
        return Err(Failure::new(Exit::Failed, text).hint(
            "leave --format-version out: only Chatto v0.0.x, which has no such keys, needs version 2",
        ));
    }
    if keys.len() > KEYS_MAX {
        let text = format!("{} keys, and an export holds at most {KEYS_MAX}", keys.len());
        return Err(
            Failure::new(Exit::Failed, text).hint("chatto-dump --include-keys takes them with the streams")
        );
    }
    Ok(())
}

/// What to encrypt with, or `None` for an export that may be plaintext: into a pipe, or by `--plaintext`.
fn protection(options: &cli::Export, stdout: &File) -> anyhow::Result<Option<cli::EncryptionOptions>> {
    let readable = options.plaintext && !options.tar;
    if terminal::stdout_is_terminal() && !readable {
        return Err(Failure::new(Exit::Usage, "stdout is a terminal")
            .hint("chatto-keys export > keys.age asks for a passphrase; chatto-keys list shows which keys there are")
            .into());
    }
    if !options.encryption.is_empty() {
        return Ok(Some(options.encryption.clone()));
    }
    let kind = stdout.metadata().context("cannot use stdout")?.file_type();
    if options.plaintext || kind.is_fifo() || kind.is_socket() {
        return Ok(None);
    }
    if prompt::can_ask() {
        return Ok(Some(options.encryption.clone()));
    }
    Err(Failure::new(Exit::Usage, "the keys would be written to a file unencrypted")
        .hint("give --passphrase-file FILE or -r RECIPIENT; or --plaintext if that is what you want")
        .into())
}

fn write(mut stdout: impl Write, bytes: &[u8], sealing: Option<Sealing>) -> anyhow::Result<()> {
    let Some(sealing) = sealing else {
        return Ok(stdout.write_all(bytes).map_err(|error| write_failure(&error))?);
    };
    let encryption = sealing.encryption()?;
    let mut seal = envelope::seal(BufWriter::new(stdout), &encryption).map_err(|error| match error {
        envelope::Error::Write(error) => write_failure(&error).into(),
        error => anyhow::Error::from(error),
    })?;
    let written = seal.write_all(bytes).and_then(|()| seal.finish()?.flush());
    Ok(written.map_err(|error| write_failure(&error))?)
}

/// A tar with the export as its only file; made in memory that is wiped, and large enough from the start.
fn tar_of(json: &[u8], now: Timestamp) -> io::Result<Zeroizing<Vec<u8>>> {
    const BLOCK: usize = 512;
    let len = json.len().next_multiple_of(BLOCK).saturating_add(4 * BLOCK);
    let mut bytes = Zeroizing::new(Vec::with_capacity(len));
    archive::write_keys(&mut *bytes, u64::try_from(now.as_second()).unwrap_or_default(), json)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tar_is_made_without_growing() {
        for len in [0, 1, 511, 512, 513] {
            let json = vec![b'x'; len];
            let tar = tar_of(&json, Timestamp::UNIX_EPOCH).unwrap();
            assert_eq!(tar.len(), tar.capacity(), "{len}");
            let mut archive = tar::Archive::new(&tar[..]);
            let names: Vec<_> = archive
                .entries()
                .unwrap()
                .map(|e| e.unwrap().path().unwrap().display().to_string())
                .collect();
            assert_eq!(names, ["backup/", "backup/keys.json"]);
        }
    }
}
