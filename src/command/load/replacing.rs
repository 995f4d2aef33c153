//! Replaces an old stream: removes it to make room for the one in the archive, and puts it back if that one fails. Does not
//! restore the new one.
//!
//! Unless `--no-rescue` is given, the old stream is in a rescue archive on disk before it is deleted. The incomplete stream
//! of a killed restore is removed without one, because the archive has more of it.

use std::cell::{Ref, RefCell};
use std::collections::BTreeSet;

use super::critical_sections::CriticalSections;
use super::existing::Existing;
use super::rescue::Rescue;
use crate::command::hint;
use crate::command::report::say;
use crate::jetstream::{Removal, RestoreMarker, Server, StreamReply};
use crate::names::StreamName;
use crate::terminal::Messages;

/// The streams at the destination, and the rescue archives of those that are replaced.
pub(super) struct Replacing {
    server: Server,
    messages: Messages,
    critical: CriticalSections,
    existing: RefCell<Existing>,
    /// Where old streams are kept; none to do without.
    rescue: Option<Rescue>,
    /// The streams whose old ones have been deleted and whose new ones are not there yet.
    emptied: RefCell<BTreeSet<StreamName>>,
}

/// Why an old stream was not removed.
#[derive(Debug)]
pub(super) struct NotReplaced {
    pub text: String,
    pub hint: Option<String>,
}

impl From<&str> for NotReplaced {
    fn from(text: &str) -> Self {
        NotReplaced { text: text.into(), hint: None }
    }
}

impl Replacing {
    pub fn new(
        server: Server,
        existing: Existing,
        rescue: Option<Rescue>,
        messages: Messages,
        critical: CriticalSections,
    ) -> Self {
        let existing = RefCell::new(existing);
        Replacing { server, messages, critical, existing, rescue, emptied: RefCell::default() }
    }

    /// The streams that were at the destination before.
    pub fn existing(&self) -> Ref<'_, Existing> {
        self.existing.borrow()
    }

    /// Sees to it that there is no stream of this name. The old one, if there was one, can be put back after that.
    pub async fn make_room(&self, stream: &StreamName) -> Result<(), NotReplaced> {
        if self.emptied.borrow().contains(stream) {
            return Ok(());
        }
        let left_over = self.existing().marker(stream).cloned();
        if let Some(marker) = left_over {
            return self.remove_left_over(stream, &marker).await;
        }
        if !self.existing().has(stream) {
            return Ok(());
        }
        self.keep(stream).await?;
        let _section = self.critical.begin();
        self.emptied.borrow_mut().insert(stream.clone());
        if let Err(e) = self.server.delete(stream).await {
            // It may be that only the answer was lost.
            if matches!(self.server.stream(stream).await, Ok(Some(_))) {
                self.emptied.borrow_mut().remove(stream);
            }
            return Err(NotReplaced {
                text: format!("cannot delete the old one: {e}"),
                hint: hint::of_server(&e),
            });
        }
        Ok(())
    }

    /// Archives the old stream, if there is one that is to be kept and was not kept before.
    pub async fn keep(&self, stream: &StreamName) -> Result<(), NotReplaced> {
        let Some(old) = self.existing().get(stream).cloned() else { return Ok(()) };
        let Some(rescue) = self.rescue.as_ref().filter(|rescue| !rescue.has(stream)) else { return Ok(()) };
        if let Err(error) = rescue.take(&self.server, stream, old, self.messages).await {
            say(&self.messages, &error);
            return Err("not replaced: the old one could not be rescued first".into());
        }
        Ok(())
    }

    /// The new stream is in the place of the old one.
    pub fn replaced(&self, stream: &StreamName) {
        self.emptied.borrow_mut().remove(stream);
    }

    /// A new stream that was restored has vanished: its place is empty if an old one was there.
    pub fn vanished(&self, stream: &StreamName) {
        if self.existing().has(stream) {
            self.emptied.borrow_mut().insert(stream.clone());
        }
    }

    /// Puts the old stream back if its place is empty. A server that is `gone` is not asked.
    pub async fn put_back(&self, stream: &StreamName, gone: bool) {
        let _section = self.critical.begin();
        if !self.emptied.borrow_mut().remove(stream) {
            return;
        }
        if gone {
            self.messages.error(&format!("stream {stream}: the old one cannot be put back"));
            return;
        }
        let Some(rescue) = &self.rescue else {
            self.messages.error(&format!("stream {stream}: the old one is gone (--no-rescue)"));
            return;
        };
        match rescue.put_back(&self.server, stream, self.messages).await {
            Ok(()) => self.messages.notice(&format!("stream {stream}: the old one is back")),
            Err(error) => say(&self.messages, &error),
        }
    }

    /// Removes or names the rescue archives. Only the first call does something.
    pub fn conclude(&self, all_is_well: bool) {
        if let Some(rescue) = &self.rescue {
            rescue.conclude(all_is_well, &self.messages);
        }
    }

    /// Removes what a killed restore has left, which has this `marker`.
    async fn remove_left_over(&self, stream: &StreamName, marker: &RestoreMarker) -> Result<(), NotReplaced> {
        let _section = self.critical.begin();
        let left = |reply: &StreamReply| {
            RestoreMarker::of(&reply.config).as_ref() == Some(marker)
                && !marker.is_older_than(&last_written(reply))
        };
        match self.server.remove_if(stream, left).await {
            Ok(Removal::Gone) => {
                self.existing.borrow_mut().removed(stream);
                let what = "what a restore had left that was cut off is removed";
                self.messages.notice(&format!("stream {stream}: {what}, and it is restored again"));
                Ok(())
            }
            Ok(Removal::NotOurs) => {
                Err("a restore of it was cut off, and somebody has changed it meanwhile; left alone".into())
            }
            Err(e) => Err(NotReplaced {
                text: format!("cannot remove what a restore has left that was cut off: {e}"),
                hint: hint::of_server(&e),
            }),
        }
    }
}

/// When the last message was written, as the server says it; empty where it does not.
fn last_written(reply: &StreamReply) -> String {
    #[derive(serde::Deserialize)]
    struct State {
        last_ts: String,
    }
    serde_json::from_str::<State>(reply.state.get()).map(|state| state.last_ts).unwrap_or_default()
}
