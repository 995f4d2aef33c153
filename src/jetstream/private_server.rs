//! A private, throwaway nats-server: started, awaited, stopped and cleaned up after.
//!
//! It listens on loopback alone, asks for a random token, and lives in a directory that only its
//! owner can read. `chatto-load --rehearse`, `--offline`, the demo and the tests all start theirs
//! here. Knows nothing of streams and prints nothing.
//!
//! How it comes to be known that the server is ready, without a pause of guessed length: its log is
//! read from a pipe until it names the port it listens on, and then a connection must be greeted
//! with `INFO`. (The server can write its ports to a file instead, but not in one step, and later.)
//!
//! What becomes of it when we die: it stays in our process group, so a signal from the terminal
//! reaches it too, and where util-linux's `setpriv` is at hand (on every Debian) the kernel stops it
//! even when we are killed. Its directory then stays behind, in the temporary directory.

mod binary;
mod log;

use std::fmt;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tempfile::TempDir;

pub use self::binary::{find_binary, version};
pub use self::log::Log;
use self::log::{Event, LogTail, watch};
use super::Version;
use crate::names::Printable;

/// How long a server may take to stop before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// The longest `INFO` line that is accepted from a server that we started ourselves.
const INFO_MAX: u64 = 64 << 10;

/// Why there is no private server, or why it did not end well.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No binary where the user or the environment said, or none on `$PATH`.
    #[error("no nats-server {0}")]
    NoBinary(String),
    /// The binary cannot be run, or is not a nats-server.
    #[error("cannot run {binary}: {reason}")]
    NotRunnable {
        /// Which binary.
        binary: Printable,
        /// What happened.
        reason: String,
    },
    /// The private directory cannot be made or written.
    #[error("cannot prepare a directory for the private nats-server: {0}")]
    Directory(#[source] io::Error),
    /// The server went away before it was ready.
    #[error("the private nats-server stopped before it was ready; its log ends with: {0}")]
    Early(Log),
    /// The server was not ready in time.
    #[error("the private nats-server was not ready after {limit:?}; its log ends with: {log}")]
    Late {
        /// What it had.
        limit: Duration,
        /// The end of its log.
        log: Log,
    },
    /// It listens, but does not answer as a nats-server with JetStream.
    #[error("the private nats-server does not answer on {address}: {reason}")]
    Mute {
        /// Where it says that it listens.
        address: SocketAddr,
        /// What happened.
        reason: String,
    },
    /// It did not stop when told to and was killed.
    #[error(
        "the private nats-server did not stop after {STOP_LIMIT:?} and was killed; its log ends with: {0}"
    )]
    Killed(Log),
}

/// Who may connect.
#[derive(Clone, Debug, Default)]
pub enum Access {
    /// Whoever has a random token, known to [`PrivateServer::token`] only.
    #[default]
    RandomToken,
    /// Whoever has this token. It must be made of letters, digits, `-` and `_`.
    Token(String),
    /// Anybody on this machine, unless [`Options::extra`] says otherwise.
    Open,
}

/// What may be chosen about a private server. The defaults are those of a throwaway one.
#[derive(Clone, Debug)]
pub struct Options {
    /// The store directory, which is then kept; by default one inside the private directory. The
    /// server keeps its files in `jetstream` below it.
    pub store_dir: Option<PathBuf>,
    /// The server's name; nodes of one cluster must have different ones.
    pub name: String,
    /// The port on loopback; by default one that the system chooses.
    pub port: Option<u16>,
    /// Who may connect.
    pub access: Access,
    /// The largest message, in bytes; by default the server's own 1 MiB.
    pub max_payload: Option<u32>,
    /// Lines added to the end of the configuration as they are; `name` is not quoted either.
    pub extra: String,
    /// How long the server may take until it is ready; recovering a large store takes a while.
    pub start_limit: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            store_dir: None,
            name: "private".into(),
            port: None,
            access: Access::default(),
            max_payload: None,
            extra: String::new(),
            start_limit: Duration::from_secs(60),
        }
    }
}

/// A running nats-server of our own. Dropping it stops it and removes its private directory.
#[derive(Debug)]
pub struct PrivateServer {
    child: Child,
    running: bool,
    log: LogTail,
    gone: Receiver<Event>,
    address: SocketAddr,
    token: Option<String>,
    version: Version,
    _private: TempDir,
}

/// What we want to know of the `INFO` line that greets a connection.
#[derive(Debug, Deserialize)]
struct Info {
    version: String,
    #[serde(default)]
    jetstream: bool,
}

impl PrivateServer {
    /// Starts `binary` and waits until it is ready.
    pub fn start(binary: &Path, options: &Options) -> Result<Self, Error> {
        let deadline = Instant::now() + options.start_limit;
        let private = tempfile::Builder::new()
            .prefix("chatto-nats-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .map_err(Error::Directory)?;
        let token = match &options.access {
            Access::RandomToken => Some(random_token().map_err(Error::Directory)?),
            Access::Token(token) => Some(token.clone()),
            Access::Open => None,
        };
        let configuration = private.path().join("nats-server.conf");
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&configuration)
            .and_then(|mut file| file.write_all(configure(token.as_deref(), options).as_bytes()))
            .map_err(Error::Directory)?;
        let store = options.store_dir.clone().unwrap_or_else(|| private.path().join("store"));

        let mut command = tied_to_us(binary);
        command.arg("--config").arg(&configuration).arg("--store_dir").arg(&store);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let log = LogTail::default();
        let (events, gone) = channel();
        let child = watch(command, log.clone(), events).map_err(|e| not_runnable(binary, e))?;
        // From here on, leaving drops `server`, and that stops what was started.
        let mut server = PrivateServer {
            child,
            running: true,
            log,
            gone,
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            token,
            version: Version(0, 0, 0),
            _private: private,
        };
        match server.gone.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Event::Listening(port)) => server.address.set_port(port),
            Ok(Event::Gone) | Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::Early(server.log.last_lines()));
            }
            Err(RecvTimeoutError::Timeout) => {
                return Err(Error::Late { limit: options.start_limit, log: server.log.last_lines() });
            }
        }
        let mute = |reason: String| Error::Mute { address: server.address, reason };
        let info = greet(server.address, deadline).map_err(|e| mute(e.to_string()))?;
        if !info.jetstream {
            return Err(mute(format!("no JetStream; its log ends with: {}", server.log.last_lines())));
        }
        server.version = info
            .version
            .parse()
            .map_err(|()| mute(format!("its version is {}", Printable::new(&info.version))))?;
        Ok(server)
    }

    /// Where it listens, as `nats://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The token that it asks for, unless it is [`Access::Open`].
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The release that is running.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The last lines of its log.
    pub fn log(&self) -> Log {
        self.log.last_lines()
    }

    /// The operating system's number for the process.
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Lets it shut down cleanly and waits for it; kills it when that takes longer than 30 s.
    pub fn stop(mut self) -> Result<(), Error> {
        self.shut_down()
    }

    /// Kills it at once, as a power cut would, and waits until it is gone.
    pub fn kill(mut self) {
        self.kill_and_wait();
    }

    fn shut_down(&mut self) -> Result<(), Error> {
        if !self.running {
            return Ok(());
        }
        // The process is not waited for before `running` is false, so the number is still its own.
        let told = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .map(|pid| kill_process(pid, Signal::TERM).is_ok());
        let deadline = Instant::now() + STOP_LIMIT;
        while told == Some(true) {
            match self.gone.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Event::Listening(_)) => {}
                Ok(Event::Gone) | Err(RecvTimeoutError::Disconnected) => {
                    self.kill_and_wait();
                    return Ok(());
                }
                Err(RecvTimeoutError::Timeout) => break,
            }
        }
        self.kill_and_wait();
        Err(Error::Killed(self.log.last_lines()))
    }

    fn kill_and_wait(&mut self) {
        if self.running {
            // Both fail only when the process is gone already, and that is what is wanted.
            let _ = self.child.kill();
            let _ = self.child.wait();
            self.running = false;
        }
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        // Nobody is left to be told that it had to be killed.
        let _ = self.shut_down();
    }
}

/// The configuration file. The store's path is no part of it: it is an argument, which needs no
/// quoting.
fn configure(token: Option<&str>, options: &Options) -> String {
    let port = options.port.map_or(-1, i32::from);
    let name = &options.name;
    let mut text = format!("listen: \"127.0.0.1:{port}\"\nserver_name: \"{name}\"\njetstream: {{}}\n");
    if let Some(token) = token {
        text += &format!("authorization: {{ token: \"{token}\" }}\n");
    }
    if let Some(bytes) = options.max_payload {
        // No more than that may be in flight to one client, so it grows along.
        text += &format!("max_payload: {bytes}\nmax_pending: {}\n", u64::from(bytes).max(64 << 20));
    }
    text + &options.extra + "\n"
}

/// 128 random bits in hexadecimal.
fn random_token() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn not_runnable(binary: &Path, reason: impl fmt::Display) -> Error {
    Error::NotRunnable { binary: Printable::new(&binary.to_string_lossy()), reason: reason.to_string() }
}

/// A command for `binary` that the kernel ends when the thread that starts it ends, if that can be
/// had. `PR_SET_PDEATHSIG` must be set between fork and exec, and `setpriv` is there to do so.
fn tied_to_us(binary: &Path) -> Command {
    let setpriv = || {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "--"]);
        command
    };
    let probe =
        setpriv().arg("true").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if probe.is_ok_and(|status| status.success()) {
        let mut command = setpriv();
        command.arg(binary);
        command
    } else {
        Command::new(binary)
    }
}

/// Connects and reads the `INFO` line, which a nats-server sends unasked.
fn greet(address: SocketAddr, deadline: Instant) -> io::Result<Info> {
    let left = || deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let stream = TcpStream::connect_timeout(&address, left())?;
    stream.set_read_timeout(Some(left()))?;
    let mut line = String::new();
    BufReader::new(stream.take(INFO_MAX)).read_line(&mut line)?;
    let json = line.strip_prefix("INFO ").ok_or_else(|| io::Error::other("it is not a nats-server"))?;
    Ok(serde_json::from_str(json.trim_end())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_listens_on_loopback_alone() {
        let text = configure(Some("abc"), &Options { extra: "debug: false".into(), ..Options::default() });
        assert!(text.starts_with("listen: \"127.0.0.1:-1\"\n"), "{text}");
        assert!(text.contains("token: \"abc\"") && text.ends_with("debug: false\n"), "{text}");
    }
}
