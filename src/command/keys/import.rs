//! `chatto-keys import`: adds the keys of an export file to a server, and overwrites none.

use anyhow::Context;

use super::bucket::{KeyOutcome, add, compare};
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

    say_skipped(&import.skipped, messages);

    let mut counts = KeyCounts { dry_run, messages, imported: 0, there: 0, different: 0 };
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
        let mut done = |record: &KeyRecord, outcome| counts.add(&record.key_ref, outcome);
        match (is_there, dry_run) {
            (false, true) => records.iter().for_each(|record| done(record, KeyOutcome::Imported)),
            (true, true) => compare(&bucket, records, done).await?,
            (_, false) => add(&bucket, records, done).await?,
        }
        Ok(())
    });
    progress.keys(Keys {
        done: counts.imported,
        there: counts.there,
        skipped: import.skipped.len() as u64,
        failed: counts.different,
    });
    let added = added.with_context(|| match dry_run {
        true => "cannot look at the server's keys".to_owned(),
        false => {
            let keys = counted(records.len() as u64, "key");
            format!("{} of {keys} imported; it is safe to run it again", counts.imported)
        }
    })?;
    if let Err(signal) = added {
        return offline::ended(Err(signal));
    }
    Ok(counts.conclude())
}

/// The results so far.
struct KeyCounts {
    dry_run: bool,
    messages: Messages,
    imported: u64,
    there: u64,
    different: u64,
}

impl KeyCounts {
    /// Counts the result of a key, and prints it.
    fn add(&mut self, key: &KeyRef, outcome: KeyOutcome) {
        let imported = self.imported_or_not();
        let count = match outcome {
            KeyOutcome::Imported => {
                self.messages.detail(&format!("key {key}: {imported}"));
                &mut self.imported
            }
            KeyOutcome::There => {
                self.messages.detail(&format!("key {key}: already there"));
                &mut self.there
            }
            KeyOutcome::Different => {
                self.messages.error(&format!("key {key}: the server has another value for it, which stays"));
                &mut self.different
            }
        };
        *count = count.saturating_add(1);
    }

    /// Prints the totals, and gives the exit code.
    fn conclude(&self) -> Exit {
        let KeyCounts { dry_run, messages, imported, there, different } = *self;
        let imported = format!("{} {}", counted(imported, "key"), self.imported_or_not());
        messages.closing(&format!("{imported}, {there} already there, {different} different"));
        if different == 0 {
            return Exit::Done;
        }
        let not = if dry_run { "would not be imported" } else { "not imported" };
        messages.error(&format!("{} {not}", counted(different, "key")));
        messages
            .hint("messages written with them stay unreadable on this server; is it the one they come from?");
        Exit::Partial
    }

    fn imported_or_not(&self) -> &'static str {
        if self.dry_run { "would be imported" } else { "imported" }
    }
}

/// Names the keys that are never imported.
fn say_skipped(keys: &[KeyRef], messages: Messages) {
    for (what, kind) in
        [("of calls, which are over", KeyKind::Call), ("data keys, which belong elsewhere", KeyKind::Dek)]
    {
        let refs: Vec<&KeyRef> = keys.iter().filter(|key| key.kind() == kind).collect();
        for key in &refs {
            messages.detail(&format!("key {key}: skipped"));
        }
        if !refs.is_empty() {
            messages.closing(&format!("{} skipped: {what}", counted(refs.len() as u64, "key")));
        }
    }
}
