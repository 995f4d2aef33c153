//! Whether what the server holds after a restore is what was proven. Pure.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::proof::Proven;

/// The part of a stream's state that is compared.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct State {
    pub messages: u64,
    last_seq: u64,
    consumer_count: u64,
}

pub(super) fn parse(state: &RawValue) -> Result<State, String> {
    serde_json::from_str(state.get()).map_err(|e| format!("cannot understand the server's answer: {e}"))
}

/// What the server holds otherwise than it was proven, in words.
pub(super) fn difference(state: &State, proven: &Proven, may_expire: bool) -> Option<String> {
    let contents = &proven.contents;
    let fewer = state.messages < contents.messages && !may_expire;
    if fewer || state.messages > contents.messages.max(contents.records) {
        return Some(format!(
            "the server holds {} messages after the restore, and the archive {}",
            state.messages, contents.messages
        ));
    }
    if state.last_seq != contents.last_seq {
        return Some(format!(
            "the server ends at message {} after the restore, and the archive at {}",
            state.last_seq, contents.last_seq
        ));
    }
    if state.consumer_count != contents.consumers {
        return Some(format!(
            "the server holds {} consumers after the restore, and the archive {}",
            state.consumer_count, contents.consumers
        ));
    }
    None
}
