//! `chatto-keys import`.

use anyhow::Context;

use super::bucket::{Outcome, add, look};
use super::file::{self, ARCHIVE_IS_RESTORED};
use super::output::PROGRAM;
use crate::chatto::keys::{BUCKET, BUCKET_DESCRIPTION, KeyKind, KeyRecord, KeyRef};
use crate::cli;
use crate::command::offline::{self, Endpoint, Intent, Signals};
use crate::exit::Exit;
use crate::names::counted;
use crate::terminal::Messages;
use crate::terminal::progress::{Keys, Progress};

/// Runs `chatto-keys import`.
pub(super) fn run(options: cli::Import, progress: &Progress) -> anyhow::Result<Exit> {
    let messages = Messages::new(PROGRAM, options.say.verbosity());
    let dry_run = options.dry_run;
    let source = file::KeyFile::new(options.secrets, options.file, messages)?;
    let intent = if dry_run { Intent::Read } else { Intent::Change };
    let access = Endpoint::find(&options.offline, &options.connect, intent)?;
    let import = source.read(progress, ARCHIVE_IS_RESTORED, "nothing was imported")?;

    for (what, kind) in
        [("of calls, which are over", KeyKind::Call), ("data keys, which belong elsewhere", KeyKind::Dek)]
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
    let imported_or_not = if dry_run { "would be imported" } else { "imported" };
    let records = &import.records;
    let replicas = access.replicas().unwrap_or(1);
    let added = access.run(&options.connect, messages, Signals::EndIt, async |reached| {
        let bucket = reached.server.bucket(BUCKET)?;
        reached.require_readable(bucket.stream()).await?;
        let is_there = reached.server.stream(bucket.stream()).await?.is_some();
        if !is_there && dry_run {
            messages.detail(&format!("the bucket {BUCKET} would be made"));
        } else if !is_there {
            let made = bucket.make(BUCKET_DESCRIPTION, replicas).await;
            made.with_context(|| format!("cannot make the bucket {BUCKET}"))?;
        }
        let mut done = |record: &KeyRecord, outcome| {
            let tally = match outcome {
                Outcome::Imported => &mut imported,
                Outcome::There => &mut there,
                Outcome::Different => &mut different,
            };
            *tally = tally.saturating_add(1);
            let key = &record.key_ref;
            match outcome {
                Outcome::Imported => messages.detail(&format!("key {key}: {imported_or_not}")),
                Outcome::There => messages.detail(&format!("key {key}: already there")),
                Outcome::Different => {
                    messages.error(&format!("key {key}: the server has another value for it, which stays"))
                }
            }
        };
        match (is_there, dry_run) {
            (false, true) => records.iter().for_each(|record| done(record, Outcome::Imported)),
            (true, true) => look(&bucket, records, done).await?,
            (_, false) => add(&bucket, records, done).await?,
        }
        Ok(())
    });
    progress.keys(Keys { done: imported, there, skipped: import.skipped.len() as u64, failed: different });
    let added = added.with_context(|| match dry_run {
        true => "cannot look at the server's keys".to_owned(),
        false => {
            let keys = counted(records.len() as u64, "key");
            format!("{imported} of {keys} imported; it is safe to run it again")
        }
    })?;
    if let Err(signal) = added {
        return offline::ended(Err(signal));
    }
    messages.closing(&format!(
        "{} {imported_or_not}, {there} already there, {different} different",
        counted(imported, "key")
    ));
    if different > 0 {
        let not = if dry_run { "would not be imported" } else { "not imported" };
        messages.error(&format!("{} {not}", counted(different, "key")));
        messages
            .hint("messages written with them stay unreadable on this server; is it the one they come from?");
        return Ok(Exit::Partial);
    }
    Ok(Exit::Done)
}
