//! The end of a load: what the archive promised and did not bring, the report, and the exit status.

use super::Loading;
use crate::archive::{Ended, Layout};
use crate::chatto::policy;
use crate::command::Failure;
use crate::exit::Exit;
use crate::names::{Size, StreamName, consumers, counted};

impl Loading {
    /// The archive has been read to its end.
    pub(super) fn conclude(&mut self, ended: Ended) -> anyhow::Result<Exit> {
        if ended.layout == Layout::Keys || (self.has_keys && self.done.is_empty()) {
            return Err(Failure::new(
                Exit::Damaged,
                "this is an export of encryption keys, not an archive of streams",
            )
            .hint("chatto-keys import reads it")
            .into());
        }
        let belied: Vec<_> = self.announced.belied(&self.done).into_iter().cloned().collect();
        for stream in belied {
            self.fail(&stream, Exit::Damaged, "the manifest does not agree with its snapshot");
        }
        for stream in self.announced.unlisted(&self.done) {
            self.fail(&stream, Exit::Damaged, "the archive holds it and its manifest does not list it");
        }
        for (stream, file) in self.announced.emptied() {
            if self.options.select.selects(&stream) {
                let what = format!("its {file} is empty, and the manifest does not say that it failed");
                self.fail(&stream, Exit::Damaged, &what);
            }
        }
        let undescribed = std::mem::take(&mut self.early.pieces).into_keys();
        let undescribed =
            undescribed.map(|stream| (stream, "the archive holds its snapshot and not its backup.json"));
        let missing = self.announced.missing().into_iter();
        let missing = missing.map(|stream| (stream, "the archive lists it and does not hold it"));
        let described = std::mem::take(&mut self.described).into_keys();
        let described =
            described.map(|stream| (stream, "the archive holds its backup.json and not its snapshot"));
        for (stream, what) in undescribed.chain(missing).chain(described).collect::<Vec<_>>() {
            // The manifest may have said that it failed.
            if self.options.select.selects(&stream) && !self.failed.contains_key(&stream) {
                self.fail(&stream, Exit::Damaged, what);
            }
        }
        self.say_how_the_others_stand();
        self.say_what_is_left_over();
        let nothing = self.done.is_empty() && self.failed.is_empty() && self.skipped.is_empty();
        if nothing && self.options.select.is_choosy() {
            return Err(Failure::new(Exit::Failed, "--stream and --exclude select no stream of the archive")
                .hint("tar tf shows what is in it")
                .into());
        }
        for ((before, after), streams) in &self.replica_changes {
            self.messages.notice(&format!(
                "{}: replicas {before} in the archive, {after} here",
                counted(*streams, "stream")
            ));
        }
        if self.unplaced > 0 {
            self.messages.notice(&format!("{}: placement left out", counted(self.unplaced, "stream")));
        }
        for (stream, missing) in self.announced.lacking(&self.done) {
            let names = consumers(missing);
            self.messages
                .warning(&format!("stream {stream}: the archive lacks {names}, as its manifest says"));
        }
        let restored = match &self.options {
            options if options.dry_run => "would be restored",
            options if options.read_back => "restored and read back",
            _ => "restored",
        };
        let bytes = self.done.values().map(|proven| proven.bytes).sum();
        self.messages.closing(&format!(
            "{} {restored}, {}; {} left alone, {} failed{}{}",
            counted(self.done.len() as u64, "stream"),
            Size(bytes),
            self.skipped.len(),
            self.failed.len(),
            if ended.sums { "" } else { " (the archive has no end record)" },
            match self.lacks_keys() {
                true =>
                    "; this server has no encryption keys: chatto-keys import, before Chatto's first start",
                false => "",
            },
        ));
        if let Some(rescue) = self.options.rescue.take() {
            rescue.conclude(self.failed.is_empty(), &self.messages);
        }
        // A damaged archive is worse news than a stream that was known to be missing.
        let worst = self.failed.values().copied().max_by_key(|exit| *exit == Exit::Damaged);
        match worst {
            None => Ok(Exit::Done),
            Some(Exit::Damaged) => Ok(Exit::Damaged),
            Some(_) if self.done.is_empty() && self.skipped.is_empty() => Ok(Exit::Failed),
            Some(_) => Ok(Exit::Partial),
        }
    }

    /// Whether what is a Chatto's now has no keys. Without them it refuses every login.
    fn lacks_keys(&self) -> bool {
        let keys = |name: &StreamName| name.as_str() == policy::KEY_BUCKET;
        let lasts = !self.options.dry_run && !self.options.read_back;
        lasts
            && self.done.keys().any(policy::tells_chatto)
            && !self.done.keys().chain(self.existing.names()).any(keys)
    }

    pub(super) fn say_what_stands(&mut self) {
        if let Some(rescue) = self.options.rescue.take() {
            rescue.conclude(false, &self.messages);
        }
        if self.options.dry_run {
            return;
        }
        let names: Vec<String> = self.done.keys().map(ToString::to_string).collect();
        self.messages.notice(&match names.is_empty() {
            true => "nothing was restored".to_string(),
            false => format!("restored before that, and kept: {}", names.join(", ")),
        });
    }
}
