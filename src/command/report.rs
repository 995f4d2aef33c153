//! Turns an error into a message on stderr and an exit code. This is the only place that knows which error leads to which
//! exit code.

use super::failure::Failure;
use super::hint;
use crate::exit::Exit;
use crate::terminal::Messages;
use crate::{archive, chatto, envelope, jetstream};

/// Says `error` with its chain of causes and its hint.
pub(super) fn say(messages: &Messages, error: &anyhow::Error) {
    messages.error(&text_of(error));
    if let Some(hint) = hint_of(messages.program(), error) {
        messages.hint(&hint);
    }
}

/// The chain of causes as one line.
pub(super) fn text_of(error: &anyhow::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = cause.to_string();
        // Some libraries repeat their source in their own text.
        if !parts.last().is_some_and(|said| said.contains(&text)) {
            parts.push(text);
        }
    }
    parts.join(": ").replace('\n', " ")
}

/// What to do about it, as the first cause that knows.
pub(super) fn hint_of(program: &str, error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return failure.hint.clone();
        }
        if let Some(error) = cause.downcast_ref::<jetstream::Error>() {
            return hint::of_server(error);
        }
        if let Some(error) = cause.downcast_ref::<envelope::Error>() {
            return error.hint(program);
        }
        if let Some(error) = cause.downcast_ref::<jetstream::private_server::Error>() {
            return hint::of_private_server(error);
        }
        if let Some(error) = cause.downcast_ref::<jetstream::store::StoreError>() {
            return hint::of_store(error);
        }
        match cause.downcast_ref() {
            Some(archive::Error::Truncated { .. }) => {
                return Some("whatever wrote or carried it ended early: look for its message".into());
            }
            Some(archive::Error::NatsBackup) if program == "chatto-load" => {
                return Some("make an archive of it: chatto-manifest import FILE | chatto-load".into());
            }
            Some(archive::Error::NatsBackup) => {
                return Some("make an archive of it: chatto-manifest import FILE > backup.tar".into());
            }
            Some(archive::Error::Keys) if program == "chatto-manifest" => {
                return Some("chatto-keys verify checks it, and chatto-keys import reads it".into());
            }
            Some(archive::Error::Keys) => return Some("chatto-keys import reads it".into()),
            Some(archive::Error::Archive) => {
                return Some("chatto-manifest join makes every stream one entry, select takes some".into());
            }
            _ => {}
        }
        cause.downcast_ref::<chatto::config::ConfigError>().and_then(|error| error.hint())
    })
}

/// How a program ends that failed with `error`: the first cause with an exit code of its own decides.
pub(super) fn exit_of(error: &anyhow::Error) -> Exit {
    error.chain().find_map(of_cause).unwrap_or(Exit::Failed)
}

fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Exit> {
    if let Some(failure) = cause.downcast_ref::<Failure>() {
        return Some(failure.exit);
    }
    if cause.is::<chatto::config::ConfigError>() {
        return Some(Exit::Usage);
    }
    if let Some(error) = cause.downcast_ref::<jetstream::Error>() {
        return match error {
            jetstream::Error::Unusable(_) => Some(Exit::Usage),
            jetstream::Error::Unreachable { .. }
            | jetstream::Error::Tls { .. }
            | jetstream::Error::Refused { .. }
            | jetstream::Error::Denied { .. }
            | jetstream::Error::NoJetStream { .. } => Some(Exit::Unreachable),
            _ => None,
        };
    }
    if let Some(error) = cause.downcast_ref::<envelope::Error>() {
        return Some(error.exit());
    }
    if envelope::Damaged::find(cause).is_some() {
        return Some(Exit::Damaged);
    }
    match cause.downcast_ref::<archive::Error>() {
        // What the input said decides: it may be an envelope that does not open.
        Some(archive::Error::Io { .. }) | None => None,
        Some(archive::Error::Archive) => Some(Exit::Usage),
        Some(_) => Some(Exit::Damaged),
    }
}
