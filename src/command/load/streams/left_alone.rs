//! Streams that are at the destination already: those that are left alone, and what restores have left that were
//! cut off.

use super::super::existing::{Extent, Standing};
use super::super::target;
use super::{Loading, Skipped};
use crate::description::Description;
use crate::exit::Exit;
use crate::jetstream::{Mark, Removal, StreamReply};
use crate::names::StreamName;

/// What to do about a stream that is not what the archive holds.
const REPLACE: &str =
    "--conflict overwrite --stream NAME replaces it; what it holds now is kept until all is well";

impl Loading {
    /// Leaves alone a stream that is there.
    pub(super) fn skip(&mut self, stream: StreamName, json: &[u8]) {
        let old = self.existing.get(&stream).and_then(Option::as_ref);
        if old.is_none() {
            const UNKNOWN: &str = "exists, left alone, and the server does not say what it holds";
            self.fail(&stream, Exit::Partial, UNKNOWN);
            const HINT: &str = "its servers may be away, or it may be what a restore has left that was cut off: run \
                                this again in a moment, and replace it with --conflict overwrite if it stays so";
            self.hint_once(Some(HINT.into()));
            return;
        }
        if old.is_some_and(|old| old.mark.is_some()) {
            const HALF: &str = "a restore of it was cut off, so it may lack what the archive holds, and somebody \
                                has written to it since; left alone";
            self.fail(&stream, Exit::Partial, HALF);
            const HINT: &str = "save what was written, if it is needed, and replace it with --conflict overwrite \
                                --no-rescue";
            self.hint_once(Some(HINT.into()));
            return;
        }
        let described = Description::from_json(json).ok();
        let archived = described.map(|Description { reported, .. }| Extent {
            messages: reported.messages,
            first_seq: reported.first_seq,
            last_seq: reported.last_seq,
        });
        let traits =
            target::request(&stream, json, target::Wanted { replicas: None, placement: true, dropped: &[] });
        let may_expire = traits.is_ok_and(|(_, traits)| traits.may_expire);
        self.skipped.insert(stream, Skipped { archived, may_expire });
    }

    /// Says of each stream that was left alone how it stands to the archive.
    pub(super) fn say_how_the_others_stand(&mut self) {
        let mut differ = false;
        for (stream, skipped) in &self.skipped {
            // What our dump has counted is more certain than what the server said when it began.
            let archived = self.announced.counted(stream).or(skipped.archived);
            let here = self.existing.get(stream).and_then(Option::as_ref).map(Extent::from);
            let standing =
                here.zip(archived).map(|(here, archived)| here.against(&archived, skipped.may_expire));
            match standing {
                None => self.messages.detail(&format!("stream {stream}: exists, left alone")),
                Some(Standing::AsArchived) => {
                    self.messages
                        .detail(&format!("stream {stream}: exists, left alone; as long as in the archive"));
                }
                Some(Standing::GoneOn(text)) => {
                    self.messages.detail(&format!("stream {stream}: exists, left alone; {text}"));
                }
                Some(Standing::Differs(text)) => {
                    differ = true;
                    self.messages
                        .warning(&format!("stream {stream}: exists, left alone, and differs: {text}"));
                }
            }
        }
        if differ {
            self.hint_once(Some(REPLACE.into()));
        }
    }

    /// Removes what a restore has left of the stream at hand. `false` when that could not be done; the stream
    /// has failed then.
    pub(super) async fn remove_left_over(&mut self, stream: &StreamName, mark: &Mark) -> bool {
        let _section = self.critical.begin();
        let left = |reply: &StreamReply| {
            Mark::of(&reply.config).as_ref() == Some(mark) && !mark.is_older_than(&last_written(reply))
        };
        match self.server.remove_if(stream, left).await {
            Ok(Removal::Gone) => {
                self.existing.removed(stream);
                let what = "what a restore had left that was cut off is removed";
                self.messages.notice(&format!("stream {stream}: {what}, and it is restored again"));
                true
            }
            Ok(Removal::NotOurs) => {
                const CHANGED: &str =
                    "a restore of it was cut off, and somebody has changed it meanwhile; left alone";
                self.current_failed_as(Exit::Partial, CHANGED).await;
                false
            }
            Err(e) => {
                let what = format!("cannot remove what a restore has left that was cut off: {e}");
                self.current_failed_as(Exit::Partial, &what).await;
                self.hint_once(e.hint());
                false
            }
        }
    }

    /// Names what restores have left that were cut off, and this one has not replaced.
    pub(super) fn say_what_is_left_over(&self) {
        let left = self.existing.left_over();
        for stream in
            left.filter(|stream| !self.done.contains_key(stream) && !self.failed.contains_key(stream))
        {
            let what = "half of it is there: a restore of it was cut off, and this one does not bring it";
            self.messages.warning(&format!("stream {stream}: {what}"));
        }
    }
}

/// When the last message was written, as the server says it; nothing where it does not.
fn last_written(reply: &StreamReply) -> String {
    #[derive(serde::Deserialize)]
    struct State {
        last_ts: String,
    }
    serde_json::from_str::<State>(reply.state.get()).map(|state| state.last_ts).unwrap_or_default()
}
