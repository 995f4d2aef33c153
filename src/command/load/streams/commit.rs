//! The stream at hand: from the end of its snapshot to the moment when it stands, or the old one does
//! again.

use std::time::Duration;

use tokio::time::Instant;

use super::super::compare_state::{difference, lost_settings, parse};
use super::super::read_back::{self, Equal, compare};
use super::super::restoring::RestoringError;
use super::copies::Fresh;
use super::{Current, Loading, until};
use crate::command::Failure;
use crate::command::report::{say, text_of};
use crate::command::verifier::{NotProven, Proven};
use crate::exit::Exit;
use crate::jetstream::{Error, Removal, StreamReply};
use crate::names::{Printable, Size, counted, listed};
use crate::snapshot::{Format, HALF_A_BATCH};

/// How long a restored stream may take to show what was restored; a cluster's answer can be early.
const SETTLE: Duration = Duration::from_secs(5);

/// What to do about a stream that may be somebody else's.
const LOOK: &str =
    "look at it (nats stream info NAME), and replace it with --conflict overwrite if it is not wanted";

/// How what the server holds is not what was proven, and what to do about it.
struct Differs {
    text: String,
    hint: Option<String>,
}

impl From<String> for Differs {
    fn from(text: String) -> Self {
        Differs { text, hint: None }
    }
}

impl Loading {
    /// The snapshot has come whole: has it proven, makes it real, and compares.
    pub(super) async fn finish(&mut self) -> anyhow::Result<()> {
        let Some(current) = &mut self.current else { return Ok(()) };
        if current.over {
            self.current = None;
            return Ok(());
        }
        let proven = match self.verdict().await {
            Ok(proven) => proven,
            Err(error) => {
                self.current_failed(error).await;
                self.current = None;
                return Ok(());
            }
        };
        if let Err(failure) = self.suits(&proven) {
            self.current_failed_as(Exit::Failed, &failure.to_string()).await;
            self.hint_once(failure.hint);
            self.current = None;
            return Ok(());
        }
        let begun = self.current.as_ref().is_some_and(|current| current.restoring.begun);
        if !begun && !self.make_room().await {
            self.current = None;
            return Ok(());
        }
        let _section = self.critical.begin();
        let Some(current) = &mut self.current else { return Ok(()) };
        match current.restoring.commit().await {
            Ok(None) => self.stands(proven),
            Ok(Some(reply)) => {
                let mut judged = self.compare(&reply, &proven).await;
                if judged.is_ok() {
                    judged = self.kept_settings(&reply);
                }
                if judged.is_ok() && self.options.read_back {
                    judged = self.read_back(&proven).await;
                }
                if judged.is_ok() {
                    judged = self.take_mark(&reply).await;
                }
                match judged {
                    Ok(()) => self.stands(proven),
                    Err(Differs { text, hint }) => {
                        self.current_failed_as(Exit::Partial, &text).await;
                        self.hint_once(hint);
                    }
                }
            }
            Err(error) => self.current_failed(error).await,
        }
        self.current = None;
        Ok(())
    }

    /// Waits for the check, while the server goes on hearing from us.
    async fn verdict(&mut self) -> Result<Proven, RestoringError> {
        let Some(current) = &mut self.current else {
            return Err(NotProven::Broken("there is no stream".into()).into());
        };
        let Some(verifier) = current.restoring.take_verifier() else {
            return Err(NotProven::Broken("its verdict was given before".into()).into());
        };
        let verdict = verifier.verdict();
        tokio::pin!(verdict);
        loop {
            tokio::select! {
                verdict = &mut verdict => return Ok(verdict?),
                () = until(current.restoring.silent_until()) => current.restoring.keep_alive().await?,
            }
        }
    }

    /// Whether the destination can hold what was proven.
    fn suits(&self, proven: &Proven) -> Result<(), Failure> {
        let Some(current) = &self.current else { return Ok(()) };
        self.can_take(current.restoring.goes_as(proven.contents.format))?;
        self.destination().check_consumers(&proven.contents.newer)?;
        if current.traits.in_memory && proven.contents.format == Format::Tar && proven.contents.messages > 0 {
            return Err(Failure::new(
                Exit::Failed,
                "it lives in memory, and a server restores none of its messages from this kind of snapshot",
            ));
        }
        Ok(())
    }

    /// Makes room for the stream at hand, where the user wants it to replace another. `false` when it
    /// could not be made; the stream has failed then, and the old one stands.
    pub(super) async fn make_room(&mut self) -> bool {
        let Some(current) = &self.current else { return false };
        let stream = current.restoring.stream.clone();
        if self.options.dry_run || self.emptied.as_ref() == Some(&stream) {
            return true;
        }
        if let Some(mark) = self.existing.mark(&stream).cloned() {
            return self.remove_left_over(&stream, &mark).await;
        }
        let Some(old) = self.existing.get(&stream).cloned() else { return true };
        if let Some(rescue) = &mut self.options.rescue
            && let Err(error) = rescue.take(&self.server, &stream, old, self.messages).await
        {
            say(&self.messages, &error);
            self.current_failed_as(Exit::Partial, "not replaced: the old one could not be rescued first")
                .await;
            return false;
        }
        let _section = self.critical.begin();
        self.emptied = Some(stream.clone());
        if let Err(e) = self.server.delete(&stream).await {
            // It may be that only the answer was lost.
            if matches!(self.server.stream(&stream).await, Ok(Some(_))) {
                self.emptied = None;
            }
            self.current_failed_as(Exit::Partial, &format!("cannot delete the old one: {e}")).await;
            self.hint_once(e.hint());
            return false;
        }
        true
    }

    /// Puts the old stream back whose place is empty.
    pub(super) async fn put_back(&mut self) {
        let _section = self.critical.begin();
        let Some(stream) = self.emptied.take() else { return };
        if self.gone {
            self.messages.error(&format!("stream {stream}: the old one cannot be put back"));
            return;
        }
        let Some(rescue) = &mut self.options.rescue else {
            self.messages.error(&format!("stream {stream}: the old one is gone (--no-rescue)"));
            return;
        };
        match rescue.put_back(&self.server, &stream, self.messages).await {
            Ok(()) => self.messages.notice(&format!("stream {stream}: the old one is back")),
            Err(error) => say(&self.messages, &error),
        }
    }

    /// Compares the server's word with what was read.
    async fn compare(&self, reply: &StreamReply, proven: &Proven) -> Result<(), Differs> {
        let Some(current) = &self.current else { return Ok(()) };
        let stream = &current.restoring.stream;
        let deadline = Instant::now() + SETTLE;
        let mut state = parse(&reply.state)?;
        loop {
            let difference = difference(&state, &proven.contents, current.traits.may_expire);
            let Some(text) = difference else { break };
            if Instant::now() >= deadline {
                return Err(text.into());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            match self.server.stream(stream).await {
                Ok(Some(reply)) => state = parse(&reply.state)?,
                Ok(None) => return Err("it is gone after its restore".to_string().into()),
                Err(e) => return Err(Differs { text: e.to_string(), hint: e.hint() }),
            }
        }
        let expired = proven.contents.messages.saturating_sub(state.messages);
        if expired > 0 {
            self.messages.notice(&format!(
                "stream {stream}: {} past their time (max_age or TTL) and not restored",
                counted(expired, "message")
            ));
        }
        Ok(())
    }

    /// Compares the configuration that the server gave the stream with the one that was asked for.
    fn kept_settings(&self, reply: &StreamReply) -> Result<(), Differs> {
        const HINT: &str =
            "--drop-setting NAME restores the stream without a setting that the server does not keep";
        let Some(current) = &self.current else { return Ok(()) };
        match lost_settings(current.restoring.config(), &reply.config)? {
            None => Ok(()),
            Some(text) => Err(Differs { text, hint: Some(HINT.into()) }),
        }
    }

    /// Takes the mark of a restore that is not over from the stream.
    async fn take_mark(&self, reply: &StreamReply) -> Result<(), Differs> {
        let Some(current) = &self.current else { return Ok(()) };
        let taken = current.restoring.take_mark(&reply.config).await;
        taken.map_err(|e| Differs {
            text: format!("the mark of its restore cannot be removed: {e}"),
            hint: e.hint(),
        })
    }

    /// Compares what the server holds with what was read, down to the messages.
    async fn read_back(&self, proven: &Proven) -> Result<(), Differs> {
        let Some(current) = &self.current else { return Ok(()) };
        let stream = &current.restoring.stream;
        if current.traits.in_memory {
            self.messages.detail(&format!("stream {stream}: lives in memory, not read back"));
            return Ok(());
        }
        let back = read_back::contents(&self.server, stream).await;
        let back = back.map_err(|error| format!("cannot be read back: {}", text_of(&error)))?;
        let messages = counted(back.messages, "message");
        self.messages.detail(&match compare(&proven.contents, &back, current.traits.may_expire)? {
            Equal::Messages => format!("stream {stream}: read back: {messages}, each as in the archive"),
            Equal::Counts => format!("stream {stream}: read back: {messages}"),
        });
        Ok(())
    }

    fn stands(&mut self, proven: Proven) {
        let Some(Current { restoring, traits, flight, .. }) = self.current.take() else { return };
        flight.done();
        if !restoring.begin_anew.is_empty() {
            let names: Vec<_> = restoring.begin_anew.iter().map(|name| Printable::new(name)).collect();
            self.messages.warning(&format!(
                "stream {}: consumers in memory lose their position and begin anew: {}",
                restoring.stream,
                listed(&names)
            ));
        }
        let stream = restoring.stream;
        if traits.replicas != traits.replicas_before {
            *self.replica_changes.entry((traits.replicas_before, traits.replicas)).or_default() += 1;
        }
        if !traits.dropped.is_empty() {
            self.messages.notice(&format!("stream {stream}: {} left out", traits.dropped.join(", ")));
        }
        if proven.contents.within_batch {
            self.messages.warning(&format!("stream {stream}: {HALF_A_BATCH}"));
        }
        self.unplaced = self.unplaced.saturating_add(traits.unplaced.into());
        self.messages.detail(&format!(
            "stream {stream}: {}, {}, {}",
            counted(proven.contents.messages, "message"),
            counted(proven.contents.consumers, "consumer"),
            Size(proven.bytes)
        ));
        self.emptied = None;
        if !self.options.dry_run && (traits.replicas > 1 || self.server.cluster().is_some()) {
            self.fresh.push(Fresh::new(stream.clone(), traits.may_expire));
        }
        self.done.insert(stream, proven);
    }

    pub(super) async fn current_failed(&mut self, error: RestoringError) {
        let exit = match &error {
            RestoringError::NotProven(_) | RestoringError::Config(_) => Exit::Damaged,
            RestoringError::Restore(_) | RestoringError::Convert(_) => Exit::Partial,
        };
        let hint = error.hint();
        if let (RestoringError::Restore(restore), Some(current)) = (&error, &mut self.current)
            && restore.is_taken()
        {
            // Somebody made a stream of this name meanwhile: what is there is theirs.
            current.restoring.begun = false;
        }
        self.current_failed_as(exit, &text_of(&anyhow::Error::new(error))).await;
        self.hint_once(hint);
    }

    /// What ails one stream may ail all of them.
    pub(super) fn hint_once(&mut self, hint: Option<String>) {
        if let Some(hint) = hint
            && self.hints.insert(hint.clone())
        {
            self.messages.hint(&hint);
        }
    }

    pub(super) async fn current_failed_as(&mut self, exit: Exit, text: &str) {
        let _section = self.critical.begin();
        let Some(current) = &mut self.current else { return };
        current.over = true;
        let stream = current.restoring.stream.clone();
        self.fail(&stream, exit, text);
        if !self.server.reconnected().await {
            self.gone = true;
        }
        self.remove_what_was_begun().await;
        self.put_back().await;
    }

    /// Drops the stream at hand, which is not proven, and puts back what it was to replace.
    pub(super) async fn give_up(&mut self) {
        self.remove_what_was_begun().await;
        self.current = None;
        self.put_back().await;
    }

    /// Removes what this run created of the stream at hand, and nothing else.
    pub(super) async fn remove_what_was_begun(&mut self) {
        let _section = self.critical.begin();
        let Some(current) = &mut self.current else { return };
        if !current.restoring.begun {
            return;
        }
        let stream = current.restoring.stream.clone();
        let removed = match self.gone {
            true => {
                current.restoring.begun = false;
                Err(Error::Disconnected)
            }
            false => current.restoring.remove().await,
        };
        match removed {
            Ok(Removal::Gone) => {}
            Ok(Removal::NotOurs) => {
                let what = "what is there of this name was not made by this restore, and is left alone";
                self.messages.notice(&format!("stream {stream}: {what}"));
                self.hint_once(Some(LOOK.into()));
            }
            Err(e) => {
                self.gone |= e.is_passing();
                let what = format!("cannot remove what is there of it: {e}");
                self.messages.error(&format!("stream {stream}: {what}"));
                self.hint_once(e.hint());
            }
        }
    }
}
