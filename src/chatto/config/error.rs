//! The errors of a configuration, and the hints for them. Knows no server.

use std::path::PathBuf;

use crate::names::Printable;

/// The file that is read when none is named; it may be missing.
pub const DEFAULT_FILE: &str = "chatto.toml";

/// A configuration that leads nowhere. Nothing has been attempted yet.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {cause}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// The file is not TOML, or a key has the wrong type. The text of the file is never quoted: it
    /// holds secrets.
    #[error("{}: line {line}: {what}", path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// What the parser says.
        what: String,
    },
    /// One value makes no sense.
    #[error("{key}: {what}")]
    Value {
        /// The key as in `chatto.toml`, or the option.
        key: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// A context of the `nats` program is not there, or asks for what cannot be done.
    #[error("context {name}: {what}")]
    Context {
        /// Its name.
        name: Printable,
        /// What is wrong with it.
        what: String,
    },
    /// Chatto runs NATS inside itself and opens no port.
    #[error("NATS is embedded in Chatto and listens on no port")]
    Embedded,
    /// Nothing names a server.
    #[error("no NATS server is configured")]
    Nowhere,
}

impl ConfigError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            ConfigError::Embedded => Some(
                "set nats.embedded.port and nats.embedded.bind_address in chatto.toml and restart Chatto, or stop \
                 Chatto and give --offline"
                    .into(),
            ),
            ConfigError::Nowhere => Some(format!(
                "give -s URL, set CHATTO_NATS_CLIENT_URL, or name Chatto's {DEFAULT_FILE} with -c FILE"
            )),
            ConfigError::Context { .. } => {
                Some("nats context ls lists the contexts; -s, --creds and the like do without one".into())
            }
            _ => None,
        }
    }
}
