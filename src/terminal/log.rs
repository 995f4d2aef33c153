//! Keeps the messages that were printed, if the run writes a report. Prints nothing.

use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// The most messages that a report repeats.
const MAX_LOG: usize = 1_000;

/// One message.
#[derive(Debug, Serialize)]
pub(super) struct LogEntry {
    kind: &'static str,
    text: String,
}

/// All of it.
#[derive(Default)]
pub(super) struct Log {
    pub entries: Vec<LogEntry>,
    /// How many messages there were beyond [`MAX_LOG`].
    pub omitted: u64,
}

static LOG: Mutex<Option<Log>> = Mutex::new(None);

fn log() -> MutexGuard<'static, Option<Log>> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps all messages from now on.
pub(super) fn keep() {
    *log() = Some(Log::default());
}

/// Whether it is kept.
pub(super) fn is_kept() -> bool {
    log().is_some()
}

/// Notes a message.
pub(super) fn said(kind: &'static str, text: &str) {
    if let Some(log) = &mut *log() {
        match log.entries.len() < MAX_LOG {
            true => log.entries.push(LogEntry { kind, text: text.into() }),
            false => log.omitted = log.omitted.saturating_add(1),
        }
    }
}

/// Gives the messages that were kept, and keeps no more.
pub(super) fn take() -> Log {
    mem::take(&mut *log()).unwrap_or_default()
}
