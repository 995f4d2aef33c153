//! The name of a stream, checked. Knows no server.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::printable::Printable;

/// The longest stream name that nats-server accepts, in bytes (`JSMaxNameLen`).
pub const STREAM_NAME_MAX: usize = 255;

/// A JetStream stream name that is safe as a subject token and as a directory name.
///
/// Names come from servers and from archives that anybody may have written, so they are checked
/// once, here, and are a type of their own afterwards.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StreamName(String);

/// Why a text is not a [`StreamName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Nothing at all.
    #[error("a stream name is empty")]
    Empty,
    /// Longer than [`STREAM_NAME_MAX`].
    #[error("stream name \"{0}\" is longer than {STREAM_NAME_MAX} bytes")]
    Long(Printable),
    /// Holds a character that NATS or a file system gives a meaning to.
    #[error("stream name \"{0}\" holds {1:?}")]
    Character(Printable, char),
}

impl StreamName {
    /// Checks `name` against the rules of nats-server and of `chatto restore`: none of
    /// `/ \ . * >`, white space or control characters.
    pub fn new(name: impl Into<String>) -> Result<Self, BadName> {
        let name = name.into();
        if name.is_empty() {
            return Err(BadName::Empty);
        }
        let bad = |c: &char| matches!(c, '/' | '\\' | '.' | '*' | '>') || c.is_whitespace() || c.is_control();
        if let Some(c) = name.chars().find(bad) {
            return Err(BadName::Character(Printable::new(&name), c));
        }
        if name.len() > STREAM_NAME_MAX {
            return Err(BadName::Long(Printable::new(&name)));
        }
        Ok(StreamName(name))
    }

    /// The name as the server knows it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for StreamName {
    type Error = BadName;
    fn try_from(name: String) -> Result<Self, BadName> {
        StreamName::new(name)
    }
}

impl From<StreamName> for String {
    fn from(name: StreamName) -> String {
        name.0
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Printable::new(&self.0).fmt(f)
    }
}
