//! After the commit: compares the stream at the destination with the verified snapshot. Does not know how it was sent.

use std::time::Duration;

use tokio::time::Instant;

use super::compare_state::{State, begins_too_early, difference, lost_settings, parse};
use super::context::Context;
use super::read_back::{self, EqualBy, compare};
use super::restoring::Restoring;
use super::target::Traits;
use crate::command::hint;
use crate::command::report::text_of;
use crate::command::verifier::Proven;
use crate::jetstream::StreamReply;
use crate::names::{StreamName, counted};

/// How long a restored stream may take to show what was restored: the answer of a cluster can be early.
const SETTLE: Duration = Duration::from_secs(5);

/// The pause before the server is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// What to do about a stream whose removed messages come back and may not be purged.
const WITHOUT_REMOVED: &str = "chatto-manifest edit --rsyncable writes an archive without them";

/// How the stream differs from the verified snapshot, and what to do about it.
pub(super) struct Mismatch {
    pub text: String,
    pub hint: Option<String>,
}

impl From<String> for Mismatch {
    fn from(text: String) -> Self {
        Mismatch { text, hint: None }
    }
}

/// Confirms the stream whose commit was answered with `reply`. Its marker is gone after that.
pub(super) async fn confirm(
    context: &Context,
    restoring: &Restoring,
    traits: &Traits,
    reply: &StreamReply,
    proven: &Proven,
) -> Result<(), Mismatch> {
    state(context, restoring, traits, reply, proven).await?;
    settings(restoring, reply)?;
    if context.options.read_back {
        messages(context, restoring, traits, proven).await?;
    }
    restoring.remove_marker(&reply.config).await.map_err(|e| Mismatch {
        text: format!("the mark of its restore cannot be removed: {e}"),
        hint: hint::of_server(&e),
    })
}

/// Compares the state that the server reports with what was read. What came back from before the first sequence is removed
/// again: a server may send a tar without an index, and then no server knows that it was removed.
async fn state(
    context: &Context,
    restoring: &Restoring,
    traits: &Traits,
    reply: &StreamReply,
    proven: &Proven,
) -> Result<(), Mismatch> {
    let stream = &restoring.stream;
    let deadline = Instant::now() + SETTLE;
    let mut state = parse(&reply.state)?;
    let mut purged = false;
    while let Some(text) = difference(&state, &proven.contents, traits.may_expire) {
        if !purged && begins_too_early(&state, &proven.contents) {
            remove_before_first(context, stream, &state, proven).await?;
            purged = true;
        } else if Instant::now() >= deadline {
            return Err(text.into());
        } else {
            tokio::time::sleep(ASK_AGAIN).await;
        }
        match context.server.stream(stream).await {
            Ok(Some(reply)) => state = parse(&reply.state)?,
            Ok(None) => return Err("it is gone after its restore".to_string().into()),
            Err(e) => return Err(Mismatch { text: e.to_string(), hint: hint::of_server(&e) }),
        }
    }
    let expired = proven.contents.messages.saturating_sub(state.messages);
    if expired > 0 {
        context.messages.notice(&format!(
            "stream {stream}: {} past their time (max_age or TTL) and not restored",
            counted(expired, "message")
        ));
    }
    Ok(())
}

/// Removes what the archive's stream did not have any more.
async fn remove_before_first(
    context: &Context,
    stream: &StreamName,
    state: &State,
    proven: &Proven,
) -> Result<(), Mismatch> {
    let first = proven.contents.first_seq;
    let cause = format!("before message {first}, where the archive's stream begins");
    context.server.purge_before(stream, first).await.map_err(|e| Mismatch {
        text: format!(
            "the server took removed messages for live ones, from message {} on, and does not remove what is {cause}: {e}",
            state.first_seq
        ),
        hint: hint::of_server(&e).or_else(|| Some(WITHOUT_REMOVED.into())),
    })?;
    context.messages.detail(&format!("stream {stream}: removed again what was {cause}"));
    Ok(())
}

/// Compares the configuration that the server gave the stream with the one that was asked for.
fn settings(restoring: &Restoring, reply: &StreamReply) -> Result<(), Mismatch> {
    const HINT: &str =
        "--drop-setting NAME restores the stream without a setting that the server does not keep";
    match lost_settings(restoring.config(), &reply.config)? {
        None => Ok(()),
        Some(text) => Err(Mismatch { text, hint: Some(HINT.into()) }),
    }
}

/// Reads the stream back and compares every message.
async fn messages(
    context: &Context,
    restoring: &Restoring,
    traits: &Traits,
    proven: &Proven,
) -> Result<(), Mismatch> {
    let stream = &restoring.stream;
    if traits.in_memory {
        context.messages.detail(&format!("stream {stream}: lives in memory, not read back"));
        return Ok(());
    }
    let back = read_back::contents(&context.server, stream).await;
    let back = back.map_err(|error| format!("cannot be read back: {}", text_of(&error)))?;
    let messages = counted(back.messages, "message");
    context.messages.detail(&match compare(&proven.contents, &back, traits.may_expire)? {
        EqualBy::Messages => format!("stream {stream}: read back: {messages}, each as in the archive"),
        EqualBy::Counts => format!("stream {stream}: read back: {messages}"),
    });
    Ok(())
}
