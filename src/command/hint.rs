//! Hints for the errors of a server: which option, or which setting of Chatto, helps. The errors themselves know no options.

use crate::jetstream::private_server::{self, RELEASES};
use crate::jetstream::store::StoreError;
use crate::jetstream::{ApiError, Error, TlsFault, to_allow};
use crate::names::Printable;

/// What to do about an error of a server, where a person can.
pub(super) fn of_server(error: &Error) -> Option<String> {
    match error {
        Error::Unreachable { .. } => Some(
            "is the server running, and is the URL right (-s, CHATTO_NATS_CLIENT_URL, chatto.toml)?"
                .into(),
        ),
        Error::Refused { check, .. } => check.map(|check| {
            format!("{check} (--creds, --nkey, --user, --token-file, CHATTO_NATS_CLIENT_*, chatto.toml)")
        }),
        Error::Tls { fault, .. } => of_tls(fault),
        Error::Denied { deed, subject } => Some(format!(
            "allow the user to {deed} to \"{}\"; all that is needed is under PERMISSIONS in the manual",
            Printable::new(&to_allow(subject))
        )),
        Error::NoJetStream { domain: Some(_), .. } => Some(
            "check --js-domain, and that this server is connected to the servers of that domain".into(),
        ),
        Error::NoJetStream { domain: None, .. } => {
            Some("start nats-server with JetStream (-js), or enable it for this account".into())
        }
        Error::TimedOut { .. } => Some(
            "the stream or its cluster may have no leader, or the server be busy: try again, or with a larger \
             --timeout"
                .into(),
        ),
        Error::Api(api) => of_answer(api),
        Error::Disconnected
        | Error::Answer { .. }
        | Error::Unusable(_)
        | Error::TooLarge { .. }
        | Error::TooMany { .. } => None,
    }
}

fn of_answer(api: &ApiError) -> Option<String> {
    match (api.cause(), api.consumer()) {
        _ if api.is_snapshot_in_progress() => {
            Some("another backup of this stream is under way, or was until a moment ago: try again".into())
        }
        // Only of a stream in memory, which is restored message by message.
        _ if api.description.contains("exceeds maximum payload size") => {
            Some("set max_payload of this server to that of the server which the backup was made on".into())
        }
        (10126 | 10074, Some(consumer)) => Some(format!(
            "consumer \"{}\" asks for more replicas than its stream would have here: restore into a \
             cluster with --replicas as large, or set the consumer's num_replicas to 0 where it comes \
             from and dump again, or dump with --no-consumers",
            Printable::new(consumer)
        )),
        (cause, _) => of_cause(cause),
    }
}

fn of_cause(cause: u32) -> Option<String> {
    let hint = match cause {
        10074 => "this server or cluster cannot keep so many replicas: give --replicas N",
        10025 => {
            "this server does not know a setting of the stream: restore into the version that the dump came from \
             or a newer one, or without the setting: --drop-setting NAME"
        }
        10002 | 10023 | 10026 | 10027 | 10028 | 10047 | 10077 | 10113 | 10120 | 10122 => {
            "raise the server's or the account's JetStream limits (max_file, max_mem, max_streams), or free \
             space"
        }
        10008 => {
            "see that more than half of the cluster's servers run, and try again when they have a leader"
        }
        10005 => {
            "no server here fits the stream's placement, or too few do: --no-placement restores without it, \
             --replicas N with fewer copies"
        }
        _ => return None,
    };
    Some(hint.into())
}

/// What to do about TLS that fails.
fn of_tls(fault: &TlsFault) -> Option<String> {
    Some(match fault {
        TlsFault::Untrusted => {
            "name the authority's certificate: --tls-ca FILE, CHATTO_NATS_CLIENT_CA_CERT or nats.client.ca_cert"
        }
        TlsFault::OtherName(_) => "connect by a name that the certificate holds (-s), if this is the right server",
        TlsFault::OutOfTime => "renew the server's certificate, or set the clock of this machine",
        TlsFault::WantsCertificate(_) => "give one that the server trusts: --tls-cert FILE with --tls-key FILE",
        TlsFault::NotTls => "leave the certificate options and tls:// away, or is this another port than the server's?",
        TlsFault::NoSystem(_) => {
            "name the authority's certificate with --tls-ca FILE; with --tls-cert, set SSL_CERT_FILE to the \
             same file and unset SSL_CERT_DIR; or install the system's (ca-certificates)"
        }
        TlsFault::Other(_) => return None,
    }.into())
}

/// What to do where there is no private server.
pub(super) fn of_private_server(error: &private_server::Error) -> Option<String> {
    matches!(error, private_server::Error::NoBinary(_)).then(|| {
        format!(
            "name one with --nats-server PATH, set NATS_SERVER, or put nats-server on PATH; it is one file, \
             from {RELEASES}"
        )
    })
}

/// What to do about a store directory that cannot be used.
pub(super) fn of_store(error: &StoreError) -> Option<String> {
    match error {
        StoreError::Unreadable { .. } => None,
        StoreError::Beside { right, .. } => {
            Some(format!("give {}", Printable::new(&right.to_string_lossy())))
        }
        StoreError::Accounts { .. } => {
            Some("start nats-server with the configuration that these accounts are in, and use -s URL".into())
        }
        StoreError::Clustered { .. } => Some("start the cluster and use -s URL".into()),
        StoreError::Encrypted { .. } => {
            Some("start nats-server with the configuration that the key is in, and use -s URL".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `JSStreamRestoreErrF`, whatever the reason.
    const RESTORE_FAILED: u32 = 10062;

    #[test]
    fn a_cluster_without_a_leader_is_one_that_lacks_servers() {
        let description = "JetStream system temporarily unavailable".into();
        let hint = of_answer(&ApiError { code: 503, err_code: 10008, description }).unwrap();
        assert!(hint.contains("more than half of the cluster's servers"), "{hint}");
    }

    #[test]
    fn a_consumer_with_too_many_replicas_is_named_and_its_stream_is_not() {
        let hint = |description: &str| {
            of_answer(&ApiError { code: 500, err_code: RESTORE_FAILED, description: description.into() })
                .unwrap()
        };
        let why = "consumer config replica count exceeds parent stream (10126)";
        for of_consumer in ["failed to add consumer \"mailer\"", "error restoring consumer [\"mailer\"]"] {
            let hint = hint(&format!("restore failed: {of_consumer}: {why}"));
            assert!(hint.starts_with("consumer \"mailer\" asks for more replicas"), "{hint}");
        }
        let of_stream = hint("restore failed: replicas > 1 not supported in non-clustered mode (10074)");
        assert!(of_stream.ends_with("give --replicas N"), "{of_stream}");
    }
}
