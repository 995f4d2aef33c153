//! Permission violations: what a server does not let its user do.
//!
//! A server answers a message that may not be published, or a subscription that may not be made, with
//! a line of its own (`-ERR 'Permissions Violation for Publish to "SUBJECT"'`, nats-server
//! `server/client.go`). This line is no answer to the request, so the request would wait
//! for ever. This module passes the line to the code that waits. Does not know what was requested.

use tokio::sync::broadcast::{Receiver, Sender, channel, error::RecvError};

use super::error::Error;

/// How many denials may wait for somebody to look at them; the oldest are forgotten first, and whoever
/// caused those causes more.
const WAITING: usize = 256;

/// One thing that the server does not let us do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PermissionViolation {
    Publish(String),
    Subscribe(String),
}

impl PermissionViolation {
    /// What the server's error line says, if it is about permissions.
    pub fn parse(text: &str) -> Option<PermissionViolation> {
        let rest = text.split_once("ermissions Violation for ")?.1;
        let subject = rest.split('"').nth(1)?.to_string();
        match rest.split(' ').next()? {
            "Subscription" => Some(PermissionViolation::Subscribe(subject)),
            "Publish" => Some(PermissionViolation::Publish(subject)),
            _ => None,
        }
    }

    fn error(self) -> Error {
        match self {
            PermissionViolation::Publish(subject) => Error::Denied { deed: "publish", subject },
            PermissionViolation::Subscribe(subject) => Error::Denied { deed: "subscribe", subject },
        }
    }
}

/// All denials of one connection, told to whoever watches.
#[derive(Clone)]
pub(super) struct ViolationSender(Sender<PermissionViolation>);

impl Default for ViolationSender {
    fn default() -> Self {
        ViolationSender(channel(WAITING).0)
    }
}

impl ViolationSender {
    pub fn tell(&self, violation: PermissionViolation) {
        // That nobody waits for anything is no failure.
        let _ = self.0.send(violation);
    }

    pub fn watch(&self) -> ViolationReceiver {
        ViolationReceiver(self.0.subscribe())
    }
}

/// Notices what is denied from its making on.
pub(super) struct ViolationReceiver(Receiver<PermissionViolation>);

impl ViolationReceiver {
    /// Returns when publishing to `subject`, or listening for answers at all, is denied. One that ends with
    /// a dot stands for all below it.
    pub async fn denied(&mut self, subject: &str) -> Error {
        loop {
            match self.0.recv().await {
                // Somebody else's, on the same connection.
                Ok(PermissionViolation::Publish(denied)) if !concerns(&denied, subject) => {}
                Ok(violation) => return violation.error(),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

fn concerns(denied: &str, subject: &str) -> bool {
    denied == subject || (subject.ends_with('.') && denied.starts_with(subject))
}

/// The subject that the user's permissions must allow, so that all of its kind go through.
pub fn to_allow(subject: &str) -> String {
    let tokens: Vec<&str> = subject.split('.').collect();
    match tokens[..] {
        [.., "API", "STREAM", "SNAPSHOT" | "RESTORE" | "UPDATE" | "DELETE", stream] => {
            format!("{}*", subject.strip_suffix(stream).unwrap_or(subject))
        }
        [.., "API", "CONSUMER", "LIST", stream] => {
            format!("{}*", subject.strip_suffix(stream).unwrap_or(subject))
        }
        ["$JS", "SNAPSHOT", deed, ..] => format!("$JS.SNAPSHOT.{deed}.>"),
        ["$KV", bucket, ..] => format!("$KV.{bucket}.>"),
        [first, _, _, ..] if first.starts_with('_') => format!("{first}.>"),
        _ => subject.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_lines_are_understood() {
        let publish = r#"Permissions Violation for Publish to "$JS.API.INFO""#;
        assert_eq!(
            PermissionViolation::parse(publish),
            Some(PermissionViolation::Publish("$JS.API.INFO".into()))
        );
        let subscribe = r#"Permissions Violation for Subscription to "_INBOX.a.*" using queue "q""#;
        assert_eq!(
            PermissionViolation::parse(subscribe),
            Some(PermissionViolation::Subscribe("_INBOX.a.*".into()))
        );
        assert_eq!(PermissionViolation::parse("Stale Connection"), None);
        assert_eq!(PermissionViolation::parse("Permissions Violation for Publish to "), None);
    }

    #[tokio::test]
    async fn a_denial_finds_whom_it_concerns_and_nobody_else() {
        let denials = ViolationSender::default();
        let (mut whole, mut below) = (denials.watch(), denials.watch());
        for subject in
            ["$JS.API.STREAM.SNAPSHOT.EVT2", "$JS.ACK.EVT2.x", "$JS.ACK.EVT.x", "$JS.API.STREAM.SNAPSHOT.EVT"]
        {
            denials.tell(PermissionViolation::Publish(subject.into()));
        }
        let error = whole.denied("$JS.API.STREAM.SNAPSHOT.EVT").await;
        assert!(error.to_string().ends_with("publish to \"$JS.API.STREAM.SNAPSHOT.EVT\""), "{error}");
        let error = below.denied("$JS.ACK.EVT.").await;
        assert!(error.to_string().ends_with("publish to \"$JS.ACK.EVT.x\""), "{error}");
        denials.tell(PermissionViolation::Subscribe("_INBOX.a.*".into()));
        let error = whole.denied("$JS.API.INFO").await;
        assert!(error.to_string().ends_with("subscribe to \"_INBOX.a.*\""), "{error}");
    }

    #[test]
    fn one_subject_stands_for_all_of_its_kind() {
        for (denied, allow) in [
            ("$JS.API.INFO", "$JS.API.INFO"),
            ("$JS.API.STREAM.LIST", "$JS.API.STREAM.LIST"),
            ("$JS.API.STREAM.SNAPSHOT.EVT", "$JS.API.STREAM.SNAPSHOT.*"),
            ("$JS.API.STREAM.INFO.KV_KEYS", "$JS.API.STREAM.INFO.KV_KEYS"),
            ("$JS.hub.API.STREAM.SNAPSHOT.EVT", "$JS.hub.API.STREAM.SNAPSHOT.*"),
            ("$JS.SNAPSHOT.ACK.EVT.Xy.128.3", "$JS.SNAPSHOT.ACK.>"),
            ("$JS.SNAPSHOT.RESTORE.EVT.Xy", "$JS.SNAPSHOT.RESTORE.>"),
            ("$KV.ENCRYPTION_KEYS.user.ada", "$KV.ENCRYPTION_KEYS.>"),
            ("_INBOX.abc.*", "_INBOX.>"),
        ] {
            assert_eq!(to_allow(denied), allow);
        }
    }
}
