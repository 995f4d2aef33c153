//! Streams that exist at the destination and stay as they are: those that `--conflict skip` leaves alone, and leftovers of
//! killed restores. Changes nothing on the server.

use super::announced::Announced;
use super::context::Context;
use super::existing::{MessageRange, StreamComparison};
use super::outcomes::Skipped;
use super::target;
use crate::description::Description;
use crate::exit::Exit;
use crate::names::StreamName;
use crate::terminal::progress::{StreamOutcome, StreamResult};

/// What to do about a stream that differs from the archive.
const REPLACE: &str =
    "--conflict overwrite --stream NAME replaces it; what it holds now is kept until all is well";

/// Leaves alone a stream that exists. `json` is its description in the archive.
pub(super) fn skip(context: &Context, stream: StreamName, json: &[u8]) {
    let existing = context.replacing.existing();
    let old = existing.get(&stream).and_then(Option::as_ref);
    if old.is_none() {
        const UNKNOWN: &str = "exists, left alone, and the server does not say what it holds";
        context.fail(&stream, Exit::Partial, UNKNOWN);
        const HINT: &str = "its servers may be away, or it may be what a restore has left that was cut off: run \
                                this again in a moment, and replace it with --conflict overwrite if it stays so";
        context.hint(Some(HINT.into()));
        return;
    }
    if old.is_some_and(|old| old.marker.is_some()) {
        const HALF: &str = "a restore of it was cut off, so it may lack what the archive holds, and somebody \
                                has written to it since; left alone";
        context.fail(&stream, Exit::Partial, HALF);
        const HINT: &str = "save what was written, if it is needed, and replace it with --conflict overwrite \
                                --no-rescue";
        context.hint(Some(HINT.into()));
        return;
    }
    let described = Description::from_json(json).ok();
    let archived = described.map(|Description { reported, .. }| MessageRange {
        messages: reported.messages,
        first_seq: reported.first_seq,
        last_seq: reported.last_seq,
    });
    let traits = target::request(
        &stream,
        json,
        target::TargetOptions { replicas: None, placement: true, dropped: &[] },
    );
    let may_expire = traits.is_ok_and(|(_, traits)| traits.may_expire);
    context.outcomes.borrow_mut().skip(stream, Skipped { archived, may_expire });
}

/// Reports, for each stream that was left alone, how it differs from the archive.
pub(super) fn say_how_they_stand(context: &Context, announced: &Announced) {
    let mut differ = false;
    let (existing, messages) = (context.replacing.existing(), context.messages);
    for (stream, skipped) in context.outcomes.borrow().skipped() {
        // The numbers that our dump has counted are more certain than those of the server.
        let archived = announced.counted(stream).or(skipped.archived);
        let here = existing.get(stream).and_then(Option::as_ref).map(MessageRange::from);
        let comparison =
            here.zip(archived).map(|(here, archived)| here.compare(&archived, skipped.may_expire));
        if let Some(StreamComparison::Different(text) | StreamComparison::Newer(text)) = &comparison {
            let why = format!("exists, left alone: {text}");
            context.progress.result(StreamResult::not(stream.as_str(), StreamOutcome::Skipped, why));
        }
        match comparison {
            None => messages.detail(&format!("stream {stream}: exists, left alone")),
            Some(StreamComparison::Same) => {
                messages.detail(&format!("stream {stream}: exists, left alone; as long as in the archive"));
            }
            Some(StreamComparison::Newer(text)) => {
                messages.detail(&format!("stream {stream}: exists, left alone; {text}"));
            }
            Some(StreamComparison::Different(text)) => {
                differ = true;
                messages.warning(&format!("stream {stream}: exists, left alone, and differs: {text}"));
            }
        }
    }
    if differ {
        context.hint(Some(REPLACE.into()));
    }
}

/// Names the leftovers of killed restores that this run has not replaced.
pub(super) fn say_what_is_left_over(context: &Context) {
    let (existing, outcomes) = (context.replacing.existing(), context.outcomes.borrow());
    let left = existing.left_over();
    for stream in
        left.filter(|stream| !outcomes.restored().contains_key(stream) && !outcomes.has_failed(stream))
    {
        let what = "half of it is there: a restore of it was cut off, and this one does not bring it";
        context.messages.warning(&format!("stream {stream}: {what}"));
    }
}
