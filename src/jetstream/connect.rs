//! One connection to a server or a cluster, and the facts that the server reports about itself. Does not know where the
//! address came from.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{ConnectErrorKind, ConnectOptions, Event, ServerError};
use secrecy::ExposeSecret;
use tempfile::TempPath;
use tokio::sync::watch;

use super::connection::{Auth, Connection};
use super::guard::{self, SizeGuard};
use super::permission_violation::{PermissionViolation, ViolationSender};
use super::tls::{self, Setup};
use super::{Error, credentials};
use crate::names::Printable;
use crate::release::Version;

/// Room for chunks that arrived and were not taken yet, a subscription. A server never has more than
/// a window of chunks under way (8 MiB of at least 1 KiB), so a full channel, which would drop
/// messages silently, cannot come about.
const SUBSCRIPTION_CAPACITY: usize = 64 * 1024;

/// Where every request of the JetStream API begins, unless it goes to another domain.
const API_PREFIX: &str = "$JS.API";

/// A connection, cheap to clone.
#[derive(Clone)]
pub struct Server {
    pub(super) client: async_nats::Client,
    pub(super) servers: Arc<str>,
    losses: watch::Receiver<u64>,
    denials: ViolationSender,
    pub(super) guard: SizeGuard,
    /// Read whenever the connection is made anew.
    _authorities: Option<Arc<TempPath>>,
    /// Where every request of the JetStream API begins: `$JS.API`, or that of a domain.
    pub(super) api_prefix: Arc<str>,
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

/// Connects, and makes sure that JetStream answers. `timeout` bounds this and is the default for
/// every request; `program` is the name that the server's operator sees.
///
/// # Errors
/// [`Error::Unusable`] before anything is sent, where `to` holds a certificate or credentials that are
/// none; [`Error::Unreachable`], [`Error::Tls`], [`Error::Refused`], [`Error::Denied`] and
/// [`Error::NoJetStream`] as far as we came.
pub async fn connect(to: &Connection, timeout: Duration, program: &str) -> Result<Server, Error> {
    let servers: Arc<str> = to.to_string().into();
    let (lost, losses) = watch::channel(0u64);
    let lost = Arc::new(lost);
    let denials = ViolationSender::default();
    let denied = denials.clone();
    let (options, authorities) = options(to)?;
    let options = options
        .name(program)
        // Nothing that we publish is for us: see `account_lock`.
        .no_echo()
        .connection_timeout(timeout)
        .request_timeout(Some(timeout))
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .event_callback(move |event| {
            let (lost, denied) = (Arc::clone(&lost), denied.clone());
            async move {
                match event {
                    Event::Disconnected | Event::Closed => lost.send_modify(|n| *n += 1),
                    Event::ServerError(ServerError::Other(text)) => {
                        if let Some(violation) = PermissionViolation::parse(&text) {
                            denied.tell(violation);
                        }
                    }
                    _ => {}
                }
            }
        });
    let urls = to.urls.clone();
    // A task of its own: the library may look for the end of a long line for minutes without a pause.
    let mut connecting = tokio::spawn(async move { options.connect(&urls).await });
    let client = tokio::select! {
        client = &mut connecting => client.map_err(|e| Error::Unreachable { servers: servers.to_string(), cause: e.to_string() })?,
        grown = guard::grown() => {
            connecting.abort();
            return Err(grown.err().unwrap_or_else(guard::too_large));
        }
    };
    let client = client.map_err(|e| connect_error(to, &e))?;
    let guard = SizeGuard::over(&client)?;
    let api_prefix = match &to.js_domain {
        Some(domain) => format!("$JS.{domain}.API").into(),
        None => API_PREFIX.into(),
    };
    let _authorities = authorities.map(Arc::new);
    let server = Server { client, servers, losses, denials, guard, _authorities, api_prefix, timeout };
    server.account().await?;
    Ok(server)
}

/// What the client library is to do, and the file that it reads whenever it connects, if there is one.
fn options(to: &Connection) -> Result<(ConnectOptions, Option<TempPath>), Error> {
    let options = ConnectOptions::new();
    let mut options = match &to.auth {
        Auth::None => options,
        Auth::Token(token) => options.token(token.expose_secret().into()),
        Auth::UserPass(user, password) => {
            options.user_and_password(user.clone(), password.expose_secret().into())
        }
        // A seed with its file's newline fails like garbage.
        Auth::NKey(seed) => options.nkey(seed.expose_secret().trim().into()),
        Auth::Credentials(creds) => options
            .credentials(creds.text.expose_secret())
            .map_err(|_| Error::Unusable(format!("{} holds no NATS credentials", creds.from)))?,
    };
    let mut authorities = None;
    match tls::setup(&to.tls)? {
        Setup::Usual => {}
        Setup::Configured(config) => options = options.tls_client_config(*config).require_tls(true),
        Setup::Authorities(file) => {
            options = options.add_root_certificates(file.to_path_buf()).require_tls(true);
            authorities = Some(file);
        }
    }
    if to.tls.first {
        options = options.tls_first();
    }
    if let Some(prefix) = &to.inbox_prefix {
        options = options.custom_inbox_prefix(prefix);
    }
    Ok((options, authorities))
}

fn connect_error(to: &Connection, error: &async_nats::ConnectError) -> Error {
    let servers = to.to_string();
    let unread = || (error.kind() == ConnectErrorKind::Tls).then(tls::system_fault).flatten();
    if let Some(fault) = tls::fault(error).or_else(unread) {
        return Error::Tls { servers, fault };
    }
    // The library's text repeats the kind; its source, where there is one, is what happened.
    let cause = match std::error::Error::source(error) {
        Some(source) => source.to_string(),
        None => error.kind().to_string(),
    };
    let cause = Printable::new(cause.strip_prefix("nats: ").unwrap_or(&cause)).to_string();
    let said_by_server = std::error::Error::source(error).is_some_and(|source| source.is::<ServerError>());
    match error.kind() {
        ConnectErrorKind::Authentication => Error::Unusable("the nkey's seed is malformed".into()),
        ConnectErrorKind::AuthorizationViolation => {
            let cause = credentials::expiry(&to.auth).unwrap_or(cause);
            Error::Refused { servers, cause, check: Some(method(&to.auth)) }
        }
        // Such as an account's limit of connections.
        _ if said_by_server => Error::Refused { servers, cause, check: None },
        _ => Error::Unreachable { servers, cause },
    }
}

/// What to look at when this is not accepted.
fn method(auth: &Auth) -> &'static str {
    match auth {
        Auth::None => "give credentials",
        Auth::Token(_) => "check the token",
        Auth::UserPass(..) => "check the user and password",
        Auth::Credentials(_) => "check the credentials file: it may be another account's, or revoked",
        Auth::NKey(_) => "check the nkey: the server must know its public half",
    }
}

impl Server {
    pub(super) fn watch_for_loss(&self) -> LossWatch {
        let losses = self.losses.clone();
        let before = *losses.borrow();
        LossWatch { losses, before }
    }

    /// Why the connection was lost.
    pub(super) fn lost(&self) -> Error {
        if self.guard.has_seen() { guard::too_large() } else { Error::Disconnected }
    }

    /// The JetStream domain that is addressed, where it may not be the server's own.
    pub(super) fn domain(&self) -> Option<&str> {
        self.api_prefix.strip_prefix("$JS.")?.strip_suffix(".API")
    }

    /// Begins to notice what the server does not let us do.
    pub(super) fn watch_for_denials(&self) -> super::permission_violation::ViolationReceiver {
        self.denials.watch()
    }

    /// The server's version; `None` when it does not look like one.
    pub fn version(&self) -> Option<Version> {
        self.client.server_info().version.parse().ok()
    }

    /// The version of the server that answers JetStream's requests, where that is surely the one that we are connected
    /// to.
    pub fn jetstream_version(&self) -> Option<Version> {
        let info = self.client.server_info();
        let own = self.domain().is_none_or(|domain| info.domain.as_deref() == Some(domain));
        (info.jetstream && own).then(|| self.version()).flatten()
    }

    /// The server's version as it gives it.
    pub fn version_text(&self) -> String {
        self.client.server_info().version
    }

    /// The name of the cluster that the server is part of.
    pub fn cluster(&self) -> Option<String> {
        self.client.server_info().cluster.filter(|name| !name.is_empty())
    }

    /// Whether what is asked may be answered by one of several servers, none of which has everything.
    pub fn may_be_in_cluster(&self) -> bool {
        self.cluster().is_some() || self.domain().is_some()
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
