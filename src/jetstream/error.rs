//! The errors between us and a server, as messages for a person. Knows no options: `command::hint` has the hints.

use std::time::Duration;

use serde::Deserialize;

use super::tls_fault::TlsFault;
use crate::names::{Printable, Size};

/// Why a request failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No server answers there.
    #[error("cannot reach {servers}: {cause}")]
    Unreachable {
        /// Where we tried.
        servers: String,
        /// What the network said.
        cause: String,
    },
    /// The server does not let us in.
    #[error("{servers} refuses us: {cause}")]
    Refused {
        /// Which server.
        servers: String,
        /// What it said, or what we know better.
        cause: String,
        /// What is to be checked, where it is for us to do.
        check: Option<&'static str>,
    },
    /// Credentials or certificates that are none; nothing has been sent.
    #[error("{0}")]
    Unusable(String),
    /// The two ends do not agree on TLS.
    #[error("no secure connection to {servers}: {fault}")]
    Tls {
        /// Where we tried.
        servers: String,
        /// What is wrong.
        fault: TlsFault,
    },
    /// The server's permissions keep us from a subject.
    #[error("the server does not let us {deed} to \"{}\"", Printable::new(subject))]
    Denied {
        /// `publish` or `subscribe`.
        deed: &'static str,
        /// The subject.
        subject: String,
    },
    /// The server runs without JetStream, or this account has none.
    #[error("{servers} has no JetStream for this account{}: {cause}", in_domain(domain))]
    NoJetStream {
        /// Which server.
        servers: String,
        /// The domain that was addressed, where it was not the server's own.
        domain: Option<String>,
        /// What it said.
        cause: String,
    },
    /// A connection was lost in the middle of something that cannot be resumed.
    #[error("the connection to the server was lost")]
    Disconnected,
    /// No answer within the limit.
    #[error("no answer to {request} within {} s", limit.as_secs())]
    TimedOut {
        /// Which request (its subject's last part).
        request: String,
        /// How long we waited.
        limit: Duration,
    },
    /// The server answered with an error.
    #[error("{}", .0.text())]
    Api(ApiError),
    /// The server sends more at once than it can have to say.
    #[error("{what} is larger than {}: this is no NATS server, or it is not sound", Size(*limit))]
    TooLarge {
        /// What is.
        what: String,
        /// The most that is taken, in bytes.
        limit: u64,
    },
    /// The server lists more than can be held.
    #[error("the answer to {request} lists more than {limit} items")]
    TooMany {
        /// Which request.
        request: String,
        /// The most that are taken.
        limit: u64,
    },
    /// The server answered with something that is not an answer.
    #[error("cannot understand the answer to {request}: {what}")]
    Answer {
        /// Which request.
        request: String,
        /// What is wrong with the answer.
        what: String,
    },
}

fn in_domain(domain: &Option<String>) -> String {
    domain.as_ref().map(|domain| format!(" in domain {}", Printable::new(domain))).unwrap_or_default()
}

impl Error {
    /// Whether somebody else's stream stands where one was to be restored.
    pub fn is_taken(&self) -> bool {
        matches!(self, Error::Api(api) if STREAM_EXISTS.contains(&api.cause()))
    }

    /// Whether the server knows of no leader of its cluster.
    pub fn is_leaderless(&self) -> bool {
        matches!(self, Error::Api(api) if api.err_code == CLUSTER_NOT_AVAILABLE)
    }

    /// Whether another try may succeed without anybody doing anything.
    pub fn is_passing(&self) -> bool {
        match self {
            Error::Disconnected | Error::TimedOut { .. } | Error::Unreachable { .. } => true,
            Error::Api(api) => api.code == 503 || api.is_snapshot_in_progress(),
            _ => false,
        }
    }
}

/// The `error` object of a JetStream API response.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct ApiError {
    /// An HTTP-like code.
    #[serde(default)]
    pub code: u16,
    /// NATS's own number (`errors.json` of nats-server).
    #[serde(default)]
    pub err_code: u32,
    /// A text for people.
    #[serde(default)]
    pub description: String,
}

/// `JSStreamNotFoundErr`.
pub const STREAM_NOT_FOUND: u32 = 10059;
/// `JSClusterNotAvailErr`.
const CLUSTER_NOT_AVAILABLE: u32 = 10008;
/// `JSStreamNameExistRestoreFailedErr` and `JSStreamNameExistErr`.
const STREAM_EXISTS: [u32; 2] = [10130, 10058];
/// `JSStreamSnapshotErrF`, whatever the reason.
const SNAPSHOT_FAILED: u32 = 10064;
/// `JSStreamRestoreErrF`, whatever the reason.
const RESTORE_FAILED: u32 = 10062;
/// `JSNotEnabledErr` and `JSNotEnabledForAccountErr`.
pub const NOT_ENABLED: [u32; 2] = [10076, 10039];

impl ApiError {
    fn text(&self) -> String {
        format!("the server answers: {} ({})", Printable::new(&self.description), self.err_code)
    }

    /// The server makes one snapshot of a stream at a time; an attempt that was let go may still count.
    pub fn is_snapshot_in_progress(&self) -> bool {
        self.err_code == SNAPSHOT_FAILED && self.description.contains("in progress")
    }

    /// The number that tells what happened: a failed restore has one of its own and gives the cause's
    /// at the end of its text.
    pub fn cause(&self) -> u32 {
        let in_text = || self.description.rsplit_once('(')?.1.strip_suffix(')')?.parse().ok();
        if self.err_code == RESTORE_FAILED { in_text().unwrap_or(RESTORE_FAILED) } else { self.err_code }
    }

    /// The consumer that could not be restored, as the server names it. Since 2.15 `consumer "NAME"`, before
    /// `consumer ["NAME"]`.
    pub fn consumer(&self) -> Option<&str> {
        let after = |text| Some(self.description.split_once(text)?.1);
        let name = after("consumer [\"").or_else(|| after("consumer \""))?;
        Some(name.split_once('"')?.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_of_a_failed_restore_is_found_in_its_text() {
        let cause = |err_code, description: &str| {
            ApiError { code: 500, err_code, description: description.into() }.cause()
        };
        let text =
            "restore failed: error adding stream: replicas > 1 not supported in non-clustered mode (10074)";
        assert_eq!(cause(RESTORE_FAILED, text), 10074);
        assert_eq!(cause(RESTORE_FAILED, "restore failed: invalid tar header"), RESTORE_FAILED);
        assert_eq!(cause(10025, "something (7)"), 10025);
    }

    #[test]
    fn a_name_that_is_taken_is_known_also_as_the_cause_of_a_failed_restore() {
        let taken = |err_code, description: &str| {
            Error::Api(ApiError { code: 500, err_code, description: description.into() }).is_taken()
        };
        let text = "stream name already in use, cannot restore";
        assert!(taken(10130, text));
        // So since 2.15.
        assert!(taken(RESTORE_FAILED, &format!("restore failed: error adding stream: {text} (10130)")));
        assert!(!taken(RESTORE_FAILED, "restore failed: insufficient storage resources available (10047)"));
    }
}
