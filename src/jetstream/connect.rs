//! One connection to a server or a cluster, and what it says of itself.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{ConnectErrorKind, ConnectOptions, Event};
use secrecy::ExposeSecret;
use tokio::sync::watch;

use super::Error;
use crate::chatto::config::{Auth, Connection};

/// Room for chunks that arrived and were not taken yet, a subscription. A server never has more than
/// a window of chunks under way (8 MiB of at least 1 KiB), so a full channel, which would drop
/// messages silently, cannot come about.
const SUBSCRIPTION_CAPACITY: usize = 64 * 1024;

/// A connection, cheap to clone.
#[derive(Clone)]
pub struct Server {
    pub(super) client: async_nats::Client,
    pub(super) servers: Arc<str>,
    losses: watch::Receiver<u64>,
    pub(super) timeout: Duration,
}

/// Notices that a connection was lost, even if it stands again. A snapshot or a restore does not
/// survive that, although the client library mends the connection by itself.
pub(super) struct LossWatch {
    losses: watch::Receiver<u64>,
    before: u64,
}

impl LossWatch {
    /// Returns when the connection has been lost since this watch was made.
    pub(super) async fn lost(&mut self) {
        while *self.losses.borrow_and_update() == self.before {
            if self.losses.changed().await.is_err() {
                return;
            }
        }
    }
}

/// A nats-server version. What follows the patch number (`-beta.1`) does not take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl FromStr for Version {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let core = text.trim_start_matches('v').split(['-', '+']).next().unwrap_or_default();
        let mut numbers = core.split('.').map(|n| n.parse().map_err(|_| ()));
        let mut next = || numbers.next().unwrap_or(Err(()));
        Ok(Version(next()?, next()?, next()?))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// Connects, and makes sure that JetStream answers. `timeout` bounds this and is the default for
/// every request; `program` is the name that the server's operator sees.
pub async fn connect(to: &Connection, timeout: Duration, program: &str) -> Result<Server, Error> {
    let servers: Arc<str> = to.to_string().into();
    let (lost, losses) = watch::channel(0u64);
    let lost = Arc::new(lost);
    let options = options(to, &servers)?
        .name(program)
        .connection_timeout(timeout)
        .request_timeout(Some(timeout))
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .event_callback(move |event| {
            let lost = Arc::clone(&lost);
            async move {
                if matches!(event, Event::Disconnected | Event::Closed) {
                    lost.send_modify(|n| *n += 1);
                }
            }
        });
    let client = options.connect(&to.urls).await.map_err(|e| connect_error(&servers, &e))?;
    let server = Server { client, servers, losses, timeout };
    server.require_jetstream().await?;
    Ok(server)
}

fn options(to: &Connection, servers: &str) -> Result<ConnectOptions, Error> {
    let unreachable = |cause: String| Error::Unreachable { servers: servers.into(), cause };
    let options = ConnectOptions::new();
    let options = match &to.auth {
        Auth::None => options,
        Auth::Token(token) => options.token(token.expose_secret().into()),
        Auth::UserPass(user, password) => {
            options.user_and_password(user.clone(), password.expose_secret().into())
        }
        // A seed with its file's newline fails like garbage.
        Auth::NKey(seed) => options.nkey(seed.expose_secret().trim().into()),
        Auth::Credentials(path) => {
            let text = std::fs::read_to_string(path)
                .map(zeroize::Zeroizing::new)
                .map_err(|e| unreachable(format!("cannot read {}: {e}", path.display())))?;
            options
                .credentials(&text)
                .map_err(|_| unreachable(format!("{} holds no NATS credentials", path.display())))?
        }
    };
    match &to.ca_pem {
        None => Ok(options),
        Some(_) => Err(unreachable("nats.client.ca_cert is not supported yet".into())),
    }
}

fn connect_error(servers: &str, error: &async_nats::ConnectError) -> Error {
    let servers = servers.to_string();
    // The library's text repeats the kind; its source, where there is one, is what happened.
    let cause = match std::error::Error::source(error) {
        Some(source) => source.to_string(),
        None => error.kind().to_string(),
    };
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            Error::Refused { servers, cause: error.kind().to_string() }
        }
        _ => Error::Unreachable { servers, cause },
    }
}

impl Server {
    pub(super) fn watch_for_loss(&self) -> LossWatch {
        let losses = self.losses.clone();
        let before = *losses.borrow();
        LossWatch { losses, before }
    }

    /// The server's version; `None` when it does not look like one.
    pub fn version(&self) -> Option<Version> {
        self.client.server_info().version.parse().ok()
    }

    /// The server's version as it gives it.
    pub fn version_text(&self) -> String {
        self.client.server_info().version
    }

    /// The name of the cluster that the server is part of.
    pub fn cluster(&self) -> Option<String> {
        self.client.server_info().cluster.filter(|name| !name.is_empty())
    }

    /// The largest message that the server takes, in bytes.
    pub fn max_payload(&self) -> usize {
        self.client.server_info().max_payload
    }

    /// The servers that were asked for, for messages.
    pub fn servers(&self) -> &str {
        &self.servers
    }

    /// Whether the connection stands, as far as is known.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }

    /// Waits, up to the time limit, until the connection stands again after a loss.
    pub async fn reconnected(&self) -> bool {
        let deadline = tokio::time::Instant::now() + self.timeout;
        while !self.is_connected() {
            if tokio::time::Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!("2.9.25".parse::<Version>().unwrap() < "2.10.0".parse().unwrap());
        assert_eq!("v2.15.1-RC.1".parse(), Ok(Version(2, 15, 1)));
        assert!("dev".parse::<Version>().is_err());
        assert!("2.x.1".parse::<Version>().is_err());
    }
}
