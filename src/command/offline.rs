//! Gives a program its server: through the network, or as a private nats-server on the data directory of a stopped Chatto,
//! or as a throwaway one. Knows nothing of what the program does there.
//!
//! A directory is opened only under these conditions: it holds a store of one account that is not encrypted, no process
//! seems to use it, and the nats-server is not older than the one that wrote it. If a stream is on the disk and the server
//! does not list it, the stream counts as unavailable, so it is never left out silently.

mod directory;
mod intent;

use std::collections::BTreeSet;
use std::fs;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use async_nats::ServerAddr;
use secrecy::SecretString;
use tokio::signal::unix::SignalKind;

use self::directory::Directory;
pub(super) use self::intent::Intent;
use super::Failure;
use super::failure::shown;
use super::report_option::EndedBySignal;
use super::session::{self, EndSignals};
use crate::chatto::config::{self, NatsConfig};
use crate::cli;
use crate::exit::Exit;
use crate::jetstream::connection::{Auth, Connection};
use crate::jetstream::private_server::{self, PrivateServer, Starter};
use crate::jetstream::{Listing, Server, Unavailable};
use crate::names::StreamName;
use crate::terminal::Messages;

/// How long a server may take to recover a store; nobody knows how large it is, and Ctrl-C works.
const START_LIMIT: Duration = Duration::from_secs(6 * 3600);

/// How long a server may take to bring a store to rest.
const STOP_LIMIT: Duration = Duration::from_secs(600);

/// The room for streams, in bytes: 1 EiB. Those that are there must not be refused because they fill, or
/// reserve, more than the disk has free now.
const UNLIMITED: u64 = 1 << 60;

/// The largest message of a private server, in bytes: the most that any server can be configured to take
/// (nats-server, `MAX_PAYLOAD_MAX_SIZE`). What another server took must not be refused here.
const MAX_PAYLOAD: u32 = 64 << 20;

/// How long a configured server may take to answer, if it is there against all expectation.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// Who handles the signals that ask a program to end while it works on a private server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signals {
    /// The work is dropped at once.
    EndIt,
    /// The work watches for them.
    AreWatched,
}

/// A way to a server, checked as far as this is possible before it is used.
pub(super) enum Endpoint {
    Network(Box<NatsConfig>),
    Private { binary: PathBuf, directory: Option<Directory> },
}

/// A server that was reached.
pub(super) struct ConnectedServer {
    pub server: Server,
    /// What its store holds, where that was looked at.
    on_disk: BTreeSet<String>,
    endings: Option<EndSignals>,
}

/// The nats-server to run.
fn find_binary(given: Option<&Path>) -> Result<PathBuf, private_server::Error> {
    private_server::find_binary(given.map(|file| (file, "--nats-server")))
}

impl Endpoint {
    /// What the options, the environment and `chatto.toml` lead to. Starts and connects nothing.
    pub fn find(
        options: &cli::OfflineOptions,
        connect: &cli::ConnectionOptions,
        intent: Intent,
    ) -> anyhow::Result<Self> {
        if !options.offline && options.data_dir.is_none() {
            return Ok(Endpoint::Network(Box::new(session::configuration(connect)?)));
        }
        let stopped = config::stopped_chatto(connect.config.as_deref(), |name| std::env::var(name).ok())?;
        let configured = stopped.data_dir.clone();
        let path = match &options.data_dir {
            Some(dir) => dir.clone(),
            None => configured_dir(configured.as_deref(), connect.config.as_deref())?,
        };
        let is_configured = configured.is_some_and(|dir| is_same(&dir, &path));
        if let Some(url) = stopped.urls.iter().find(|url| is_configured && answers(url)) {
            return Err(Failure::new(Exit::Failed, format!("Chatto's server runs: {} answers", shown(url)))
                .hint("do without --offline and --data-dir while Chatto runs, or stop it")
                .into());
        }
        let binary = find_binary(options.nats_server.as_deref())?;
        let directory = Directory::open(path, intent, &binary)?;
        Ok(Endpoint::Private { binary, directory: Some(directory) })
    }

    /// A server with nothing in it that is thrown away afterwards.
    pub fn throwaway(binary: Option<&Path>) -> anyhow::Result<Self> {
        let binary = find_binary(binary)?;
        Ok(Endpoint::Private { binary, directory: None })
    }

    /// Whether nobody else can be a client of the server.
    pub fn is_private(&self) -> bool {
        matches!(self, Endpoint::Private { .. })
    }

    /// `nats.replicas`, where it is set; a private server can have but one of anything.
    pub fn replicas(&self) -> Option<u32> {
        match self {
            Endpoint::Network(connection) => connection.replicas,
            Endpoint::Private { .. } => None,
        }
    }

    /// Starts what has to be started, connects, runs `work`, and stops what was started, whatever
    /// happened. `Err` within `Ok` is the signal that ended it.
    pub fn run<T>(
        self,
        connect: &cli::ConnectionOptions,
        messages: Messages,
        signals: Signals,
        work: impl AsyncFnOnce(ConnectedServer) -> anyhow::Result<T>,
    ) -> anyhow::Result<Result<T, SignalKind>> {
        let program = messages.program();
        match self {
            Endpoint::Network(connection) => session::block_on(async {
                for file in &connection.exposed {
                    messages
                        .warning(&format!("others can read the secret in {0}: chmod 600 {0}", shown(file)));
                }
                let server = session::connect(&connection, connect, program).await?;
                work(ConnectedServer { server, on_disk: BTreeSet::new(), endings: None }).await.map(Ok)
            }),
            Endpoint::Private { binary, directory } => session::block_on(async {
                let mut endings = EndSignals::watch()?;
                let started = start(binary, directory.as_ref(), &mut endings).await;
                if let (Ok(Err(_)) | Err(_), Some(directory)) = (&started, &directory) {
                    directory.tidy();
                }
                let private = match started? {
                    Ok(private) => private,
                    Err(signal) => return Ok(Err(signal)),
                };
                let mut on_disk = BTreeSet::new();
                if let Some(directory) = &directory {
                    let (version, path) = (private.version(), shown(&directory.path));
                    messages.detail(&format!("a private nats-server {version} runs on {path}"));
                    on_disk = directory.streams.clone();
                }
                let connection = connection_to(&private);
                let ended = async {
                    let server = tokio::select! {
                        server = session::connect(&connection, connect, program) => server?,
                        signal = endings.next() => return Ok(Err(signal)),
                    };
                    match signals {
                        Signals::AreWatched => {
                            work(ConnectedServer { server, on_disk, endings: Some(endings) }).await.map(Ok)
                        }
                        Signals::EndIt => tokio::select! {
                            result = work(ConnectedServer { server, on_disk, endings: None }) => result.map(Ok),
                            signal = endings.next() => Ok(Err(signal)),
                        },
                    }
                };
                let ended = ended.await;
                let stopped = tokio::task::spawn_blocking(|| private.stop()).await;
                let stopped = stopped.context("waiting for the private nats-server broke off")?;
                let settled = match &directory {
                    Some(directory) => stopped.map_err(Into::into).and_then(|()| directory.settle()),
                    None => stopped.map_err(Into::into),
                };
                if let Some(file) = directory.as_ref().and_then(Directory::not_theirs) {
                    messages.warning(&format!(
                        "{} belongs to us now, and not to the owner of the data directory: give it to them \
                         (chown), or Chatto may not be able to read it",
                        shown(&file)
                    ));
                }
                // What went wrong first is what there is to say.
                ended.and_then(|ended| settled.map(|()| ended))
            }),
        }
    }
}

/// Starts a server, unless a signal comes first.
async fn start(
    binary: PathBuf,
    directory: Option<&Directory>,
    endings: &mut EndSignals,
) -> anyhow::Result<Result<PrivateServer, SignalKind>> {
    let mut options = private_server::Options { max_payload: Some(MAX_PAYLOAD), ..Default::default() };
    if let Some(directory) = directory {
        options.store_dir = Some(directory.path.clone());
        options.max_store = Some(UNLIMITED);
        options.start_limit = START_LIMIT;
        options.stop_limit = STOP_LIMIT;
    }
    let (starter, cancel) = Starter::new();
    let mut starting = tokio::task::spawn_blocking(move || starter.start(&binary, &options));
    let started = tokio::select! {
        started = &mut starting => started,
        signal = endings.next() => {
            cancel.now();
            // One that became ready at the last moment is stopped by being dropped.
            let _ = starting.await;
            return Ok(Err(signal));
        }
    };
    Ok(Ok(started.context("starting the private nats-server broke off")??))
}

fn connection_to(server: &PrivateServer) -> NatsConfig {
    let auth = match server.token() {
        Some(token) => Auth::Token(SecretString::from(token)),
        None => Auth::None,
    };
    let connection = Connection { urls: vec![server.url()], auth, ..Connection::default() };
    NatsConfig { connection, ..NatsConfig::default() }
}

impl ConnectedServer {
    /// The signals, for work that [watches](Signals::AreWatched) for them: none is missed in between.
    pub fn endings(&mut self) -> anyhow::Result<EndSignals> {
        self.endings.take().map_or_else(EndSignals::watch, Ok)
    }

    /// The streams that the server lists, and those of its store that it does not.
    pub async fn streams(&self) -> anyhow::Result<Listing> {
        let mut listing = self.server.streams().await.context("cannot list the streams")?;
        let mut lost = self.on_disk.clone();
        for name in listing.streams.iter().map(|stream| stream.name.as_str()) {
            lost.remove(name);
        }
        for stream in &listing.unavailable {
            lost.remove(&stream.name);
        }
        let reason = "it is on the disk, and nats-server cannot read it";
        listing.unavailable.extend(lost.into_iter().map(|name| Unavailable { name, reason: reason.into() }));
        Ok(listing)
    }

    /// Fails where a stream is on the disk and the server does not know it.
    pub async fn require_readable(&self, stream: &StreamName) -> anyhow::Result<()> {
        if !self.on_disk.contains(stream.as_str()) {
            return Ok(());
        }
        let listing = self.streams().await?;
        match listing.unavailable.iter().find(|unavailable| unavailable.name == stream.as_str()) {
            Some(lost) => anyhow::bail!("stream {stream}: {}", lost.reason),
            None => Ok(()),
        }
    }
}

/// `nats.embedded.data_dir`, where it is certain which directory that is.
fn configured_dir(dir: Option<&Path>, file: Option<&Path>) -> Result<PathBuf, Failure> {
    let usage = |what: String| Failure::new(Exit::Usage, what).hint("give --data-dir DIR");
    let Some(dir) = dir else {
        return Err(usage(
            "nats.embedded.data_dir of an enabled embedded server is nowhere configured".into(),
        ));
    };
    let here = file
        .and_then(Path::parent)
        .is_none_or(|dir| dir.as_os_str().is_empty() || is_same(dir, Path::new(".")));
    if dir.is_relative() && !here {
        let what = "is relative to where Chatto runs, which is not known";
        return Err(usage(format!("nats.embedded.data_dir: {} {what}", shown(dir))));
    }
    Ok(dir.into())
}

fn is_same(a: &Path, b: &Path) -> bool {
    a == b || matches!((fs::canonicalize(a), fs::canonicalize(b)), (Ok(a), Ok(b)) if a == b)
}

/// Whether anybody listens where `url` leads.
fn answers(url: &str) -> bool {
    let Some((host, port)) = place(url) else { return false };
    let addresses = (host.as_str(), port).to_socket_addrs();
    addresses.into_iter().flatten().any(|address| TcpStream::connect_timeout(&address, ANSWER_LIMIT).is_ok())
}

/// The host and the port that the client library connects to.
fn place(url: &str) -> Option<(String, u16)> {
    let server: ServerAddr = url.parse().ok()?;
    Some((server.host().to_owned(), server.port()))
}

/// What its work came to, or the signal that ended it.
pub(super) fn ended(ended: Result<Exit, SignalKind>) -> anyhow::Result<Exit> {
    Ok(ended.map_err(|signal| EndedBySignal(signal.as_raw_value()))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_server_is_looked_for_where_the_client_would_connect() {
        for (url, host, port) in [
            ("nats://127.0.0.1:4223", "127.0.0.1", 4223),
            ("nats://u:p@chat.example", "chat.example", 4222),
            ("nats://[::1]", "::1", 4222),
            ("tls://[::1]:5222", "::1", 5222),
            ("ws://chat.example/nats", "chat.example", 80),
            ("wss://chat.example", "chat.example", 443),
        ] {
            assert_eq!(place(url), Some((host.into(), port)), "{url}");
        }
    }
}
