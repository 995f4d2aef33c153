//! Real nats-servers for tests: any pinned release, one call.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use async_nats::Client;
use chatto_pipes::jetstream::Version;
use chatto_pipes::jetstream::private_server::{Authorization, Options, PrivateServer};
use tempfile::TempDir;

use super::api;
use super::port::Port;

/// The releases that every round trip is tested on.
pub const RELEASES: [&str; 4] = ["2.11.11", "2.12.8", "2.14.5", "2.15.1"];

/// The newest of them, for tests that need just a server.
pub const LATEST: &str = "2.15.1";

/// Where `scripts/get-nats-server` put a release. A missing one fails the test.
pub fn binary(release: &str) -> PathBuf {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/nats-server").join(release).join("nats-server");
    assert!(path.is_file(), "nats-server {release} is missing; run: scripts/get-nats-server {release}");
    path
}

/// A server whose store, port and token outlive a restart. Dropped, it is stopped and removed.
pub struct Server {
    binary: PathBuf,
    options: Options,
    running: Option<PrivateServer>,
    port: Port,
    store: TempDir,
}

impl Server {
    /// Starts a release with an empty store.
    pub fn start(release: &str) -> Server {
        Server::start_with(release, Options::default())
    }

    /// Starts a release with an empty store and other options.
    pub fn start_with(release: &str, options: Options) -> Server {
        Server::start_on(release, options, tempfile::tempdir().unwrap())
    }

    /// Starts a release on a directory, which it moves: a server owns its store.
    pub fn on_directory(release: &str, dir: &Path) -> Server {
        let store = tempfile::tempdir_in(dir.parent().unwrap()).unwrap();
        std::fs::rename(dir.join("jetstream"), store.path().join("jetstream")).unwrap();
        Server::start_on(release, Options::default(), store)
    }

    /// Starts a release with the store of `other`, which must be stopped, copied: a perfect twin.
    pub fn start_twin(release: &str, other: &Server) -> Server {
        assert!(other.running.is_none(), "the store of a running server is in motion");
        let store = tempfile::tempdir().unwrap();
        let from = other.store.path().join("jetstream");
        let copied = Command::new("cp").arg("-a").arg(&from).arg(store.path()).status().unwrap();
        assert!(copied.success(), "cannot copy {}", from.display());
        Server::start_on(release, Options::default(), store)
    }

    /// A twin of this server as it is now, stopped and started again meanwhile. What happens to either
    /// does not happen to the other.
    pub fn twin(&mut self, release: &str) -> Server {
        self.stop();
        let twin = Server::start_twin(release, self);
        self.start_again();
        twin
    }

    fn start_on(release: &str, mut options: Options, store: TempDir) -> Server {
        let binary = binary(release);
        let port = Port::keep();
        options.store_dir = Some(store.path().to_path_buf());
        options.port = Some(port.number());
        let running = PrivateServer::start(&binary, &options).unwrap_or_else(|e| panic!("{e}"));
        if let Some(token) = running.token() {
            options.access = Authorization::Token(token.to_owned());
        }
        Server { binary, options, running: Some(running), port, store }
    }

    fn running(&self) -> &PrivateServer {
        self.running.as_ref().expect("the server is stopped")
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port.number())
    }

    /// The token it asks for; empty when it asks for none.
    pub fn token(&self) -> &str {
        match &self.options.access {
            Authorization::Token(token) => token,
            _ => "",
        }
    }

    /// The release that runs.
    pub fn version(&self) -> Version {
        self.running().version()
    }

    /// The last lines of its log; right after the start, what it says of where it listens.
    pub fn log(&self) -> String {
        self.running().log().to_string()
    }

    /// The running process's number.
    pub fn process_id(&self) -> u32 {
        self.running().process_id()
    }

    /// The directory that holds the store (`jetstream` below it).
    pub fn store(&self) -> &Path {
        self.store.path()
    }

    /// A new connection.
    pub async fn client(&self) -> Result<Client> {
        let token = self.token();
        api::connect(&self.url(), (!token.is_empty()).then_some(token)).await
    }

    /// Shuts it down cleanly.
    pub fn stop(&mut self) {
        self.running.take().expect("the server is stopped").stop().unwrap_or_else(|e| panic!("{e}"));
    }

    /// Kills it, as a power cut would.
    pub fn kill(&mut self) {
        self.running.take().expect("the server is stopped").kill();
    }

    /// Starts it again after [`Server::stop`] or [`Server::kill`]: same store, port and token.
    pub fn start_again(&mut self) {
        assert!(self.running.is_none(), "the server is running");
        self.running =
            Some(PrivateServer::start(&self.binary, &self.options).unwrap_or_else(|e| panic!("{e}")));
    }

    /// Stops it cleanly and starts it again.
    pub fn restart(&mut self) {
        self.stop();
        self.start_again();
    }
}
