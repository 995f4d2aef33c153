//! A failure with a message, a hint and an exit code from a command itself. Knows no other error.

use crate::exit::Exit;
use crate::names::Printable;

/// A failure that a command words itself.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Failure {
    /// How the program ends.
    pub exit: Exit,
    /// What happened.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Failure { exit, what: what.into(), hint: None }
    }

    /// The same with a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// A path or another text from outside, for a message.
pub(super) fn shown(text: impl AsRef<std::ffi::OsStr>) -> Printable {
    Printable::new(&text.as_ref().to_string_lossy())
}
