//! `chatto-keys import`.

use std::io::{self, Cursor, Read};

use anyhow::Context;
use zeroize::Zeroizing;

use super::PROGRAM;
use super::bucket::{Outcome, add};
use crate::archive;
use crate::chatto::keys::{self, BUCKET, BUCKET_DESCRIPTION, EXPORT_MAX, KeyRef, Kind};
use crate::cli;
use crate::command::Failure;
use crate::command::offline::{self, Access, Intent, Signals};
use crate::command::secrets::{input, read_failure, unlock};
use crate::envelope;
use crate::exit::Exit;
use crate::names::counted;
use crate::terminal::Messages;

/// The length of a tar header, and where in it a POSIX tar names its format.
const HEADER: usize = 512;
const MAGIC: std::ops::Range<usize> = 257..262;

/// The export's name in a tar.
const MEMBER: &str = "keys.json";

/// Runs `chatto-keys import`.
pub(super) fn run(options: cli::Import) -> anyhow::Result<Exit> {
    let messages = Messages::new(PROGRAM, options.say.verbosity());
    let file = options.file.as_deref();
    let mut secrets = unlock(options.secrets, file, messages)?;
    let access = Access::find(&options.offline, &options.connect, Intent::Change)?;
    let opened = envelope::open(Box::new(input(file)?), &mut secrets)?;
    let json = export_in(opened)?;
    let import = keys::import(&json)
        .map_err(|error| Failure::new(Exit::Damaged, error.to_string()).hint("nothing was imported"))?;
    drop(json);

    for (what, kind) in
        [("of calls, which are over", Kind::Call), ("data keys, which belong elsewhere", Kind::Dek)]
    {
        let refs: Vec<&KeyRef> = import.skipped.iter().filter(|key| key.kind() == kind).collect();
        for key in &refs {
            messages.detail(&format!("key {key}: skipped"));
        }
        if !refs.is_empty() {
            messages.closing(&format!("{} skipped: {what}", counted(refs.len() as u64, "key")));
        }
    }

    let (mut imported, mut there, mut different) = (0u64, 0u64, 0u64);
    let records = &import.records;
    let replicas = access.replicas().unwrap_or(1);
    let added = access.run(&options.connect, messages, Signals::EndIt, async |reached| {
        let bucket = reached.server.bucket(BUCKET)?;
        reached.require_readable(bucket.stream()).await?;
        if reached.server.stream(bucket.stream()).await?.is_none() {
            let made = bucket.make(BUCKET_DESCRIPTION, replicas).await;
            made.with_context(|| format!("cannot make the bucket {BUCKET}"))?;
        }
        let added = add(&bucket, records, |record, outcome| {
            let tally = match outcome {
                Outcome::Imported => &mut imported,
                Outcome::There => &mut there,
                Outcome::Different => &mut different,
            };
            *tally = tally.saturating_add(1);
            let key = &record.key_ref;
            match outcome {
                Outcome::Imported => messages.detail(&format!("key {key}: imported")),
                Outcome::There => messages.detail(&format!("key {key}: already there")),
                Outcome::Different => {
                    messages.error(&format!("key {key}: the server has another value for it, which stays"))
                }
            }
        });
        Ok(added.await?)
    });
    let added = added.with_context(|| {
        format!("{imported} of {} imported; it is safe to run it again", counted(records.len() as u64, "key"))
    })?;
    if let Err(signal) = added {
        return offline::ended(Err(signal));
    }
    messages.closing(&format!(
        "{} imported, {there} already there, {different} different",
        counted(imported, "key")
    ));
    if different > 0 {
        messages.error(&format!("{} not imported", counted(different, "key")));
        messages
            .hint("messages written with them stay unreadable on this server; is it the one they come from?");
        return Ok(Exit::Partial);
    }
    Ok(Exit::Done)
}

/// The export that `content` is, or holds as a tar. All of it is read: only then is it known that none of it
/// was changed.
fn export_in(mut content: impl Read) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let failed = read_failure;
    let mut head = Zeroizing::new(Vec::with_capacity(HEADER));
    content.by_ref().take(HEADER as u64).read_to_end(&mut head).map_err(failed)?;
    let is_tar = head.get(MAGIC) == Some(b"ustar");
    let mut whole = Cursor::new(&**head).chain(content);
    if is_tar {
        in_tar(&mut whole)
    } else {
        Ok(read_export(&mut whole).map_err(failed)?.ok_or_else(too_long)?)
    }
}

fn in_tar(content: &mut impl Read) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let mut found = None;
    let mut archive = archive::Reader::new(content);
    while let Some(entry) = archive.next()? {
        if let archive::Entry::Other { path, mut body, .. } = entry
            && path == MEMBER
        {
            let json = read_export(&mut body).map_err(archive::Error::from)?;
            found = Some(json.ok_or_else(too_long)?);
        }
    }
    found.ok_or_else(|| {
        Failure::new(Exit::Damaged, "the tar holds no keys.json")
            .hint(
                "an archive of chatto-dump is restored by chatto-load, and its keys with it if it holds them",
            )
            .into()
    })
}

/// All of `content`; `None` if it is longer than [`EXPORT_MAX`]. In pieces, so that a vector that grows
/// leaves no unwiped copies of itself behind.
fn read_export(content: &mut impl Read) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    const PIECE: usize = 1 << 20;
    let mut pieces: Vec<Zeroizing<Vec<u8>>> = Vec::new();
    let mut len = 0usize;
    loop {
        let mut piece = Zeroizing::new(Vec::with_capacity(PIECE));
        let n = content.by_ref().take(PIECE as u64).read_to_end(&mut piece)?;
        len = len.saturating_add(n);
        if len as u64 > EXPORT_MAX {
            return Ok(None);
        }
        if n == 0 {
            break;
        }
        pieces.push(piece);
    }
    let mut whole = Zeroizing::new(Vec::with_capacity(len));
    for piece in pieces {
        whole.extend_from_slice(&piece);
    }
    Ok(Some(whole))
}

fn too_long() -> Failure {
    Failure::new(Exit::Damaged, format!("longer than {}: not a key export", crate::names::Size(EXPORT_MAX)))
}
