//! A private, throwaway nats-server: started, awaited, stopped and cleaned up after.
//!
//! It listens on loopback only, asks for a random token, and lives in a directory that only its owner can read.
//! `chatto-load --rehearse`, `--offline`, the demo and the tests all start their servers here. Knows nothing of streams,
//! and prints nothing.
//!
//! How we learn that the server is ready, without guessing a pause: we read its log from a pipe until it names its port,
//! and then a connection must get `INFO`. (The server can write its ports to a file instead, but later, and not in one
//! step.)
//!
//! What happens when our process dies: the server has its own process group, so Ctrl-C reaches only us, and a load can
//! clean up on a server that still runs. A shell beside the server reads a pipe, and only we have the other end. When the
//! pipe ends without a word, even by `SIGKILL`, the shell stops the server and removes the private directory, because the
//! store of a throwaway server holds data that may be encrypted in the archive. (`PR_SET_PDEATHSIG` could stop the server
//! too, but only on Linux, and without `unsafe` only through a program that not every system has.)
//!
//! The configuration, with the token in it, is removed as soon as the server has read it. If the store belongs to somebody
//! else, the private directory is removed then too, so a crash leaves nothing behind.

mod binary;
mod error;
mod log;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tempfile::TempDir;

pub use self::binary::{find_binary, version};
pub use self::error::Error;
use self::error::not_runnable;
pub use self::log::Log;
use self::log::{Event, LogTail, watch};
use crate::names::Printable;
use crate::release::Version;

/// Becomes the server, beside a shell that stops it when our end of its stdin is closed without a line, and
/// then removes the private directory, once nobody writes into it any more.
///
/// `$0` is the private directory, the first argument the signal that ends the server, the others are its command
/// line. The shell must not hold stderr, by whose end the server's is known, hence `exec`: a shell keeps what it
/// redirects otherwise. Signals from a terminal are not for it.
const TIED_TO_US: &str = r#"
exec 3<&0 < /dev/null
end=$1
shift
(
    trap '' HUP INT QUIT TERM
    exec > /dev/null 2>&1
    read -r _ <&3 || {
        kill -s "$end" $$
        tries=0
        while kill -0 $$ && [ $tries -lt 600 ]; do
            tries=$((tries + 1))
            sleep 1
        done
        rm -rf -- "$0"
    }
) &
exec 3<&- "$@"
"#;

/// Where there are nats-servers to be had.
pub const RELEASES: &str = "https://github.com/nats-io/nats-server/releases";

/// The longest `INFO` line that is accepted from a server that we started ourselves.
const INFO_MAX: u64 = 64 << 10;

/// How long a client may take to say who it is, in seconds. A server's own 2 s are against strangers; here they
/// would turn away only us, on a machine that has other things to do.
const SAY_WHO: u64 = 60;

/// Who may connect.
#[derive(Clone, Debug, Default)]
pub enum Authorization {
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
    pub access: Authorization,
    /// The largest message, in bytes; by default the server's own 1 MiB.
    pub max_payload: Option<u32>,
    /// The most that streams may take or reserve, in bytes (`max_file_store`); by default what the disk
    /// has free.
    pub max_store: Option<u64>,
    /// Lines added to the end of the configuration as they are; `name` is not quoted either.
    pub extra: String,
    /// How long the server may take until it is ready; recovering a large store takes a while.
    pub start_limit: Duration,
    /// How long the server may take to stop before it is killed.
    pub stop_limit: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            store_dir: None,
            name: "private".into(),
            port: None,
            access: Authorization::default(),
            max_payload: None,
            max_store: None,
            extra: String::new(),
            start_limit: Duration::from_secs(60),
            stop_limit: Duration::from_secs(30),
        }
    }
}

/// A server that is about to be started. [`StartCanceller`] ends the wait for it.
#[derive(Debug)]
pub struct Starter {
    events: Sender<Event>,
    heard: Receiver<Event>,
}

/// Calls the start of a server off, from another thread.
#[derive(Clone, Debug)]
pub struct StartCanceller(Sender<Event>);

impl StartCanceller {
    /// What was started is shut down, and [`Starter::start`] ends with [`Error::CalledOff`]. Nothing
    /// happens to a server that is ready.
    pub fn now(&self) {
        // Nobody hears it when the start is over already.
        let _ = self.0.send(Event::CalledOff);
    }
}

/// A running nats-server of our own. Dropping it stops it and removes its private directory.
#[derive(Debug)]
pub struct PrivateServer {
    child: Child,
    /// What ties it to us: a line tells the shell beside it that all is well.
    tie: Option<ChildStdin>,
    running: bool,
    stop_limit: Duration,
    log: LogTail,
    gone: Receiver<Event>,
    address: SocketAddr,
    token: Option<String>,
    version: Version,
    _private: Option<TempDir>,
}

/// The fields that we need of the `INFO` line at the beginning of a connection.
#[derive(Debug, Deserialize)]
struct Info {
    version: String,
    #[serde(default)]
    jetstream: bool,
}

impl Starter {
    /// A start that can be called off.
    pub fn new() -> (Self, StartCanceller) {
        let (events, heard) = channel();
        let cancel = StartCanceller(events.clone());
        (Starter { events, heard }, cancel)
    }

    /// Starts `binary` and waits until it is ready.
    pub fn start(self, binary: &Path, options: &Options) -> Result<PrivateServer, Error> {
        let deadline = Instant::now() + options.start_limit;
        let private = tempfile::Builder::new()
            .prefix("chatto-nats-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .map_err(Error::Directory)?;
        let token = match &options.access {
            Authorization::RandomToken => Some(random_token().map_err(Error::Directory)?),
            Authorization::Token(token) => Some(token.clone()),
            Authorization::Open => None,
        };
        let configuration = private.path().join("nats-server.conf");
        write_for_us(&configuration, &configure(token.as_deref(), options)).map_err(Error::Directory)?;
        let store = options.store_dir.clone().unwrap_or_else(|| private.path().join("store"));

        let mut command = Command::new("sh");
        // A store that is thrown away need not be brought to rest.
        let end = if options.store_dir.is_some() { "TERM" } else { "KILL" };
        command.arg("-c").arg(TIED_TO_US).arg(private.path()).arg(end).arg(binary);
        command.arg("--config").arg(&configuration).arg("--store_dir").arg(&store);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        let log = LogTail::default();
        let mut child = watch(command, log.clone(), self.events).map_err(|e| not_runnable(binary, e))?;
        // From here on, leaving drops `server`, and that stops what was started.
        let mut server = PrivateServer {
            tie: child.stdin.take(),
            child,
            running: true,
            stop_limit: options.stop_limit,
            log,
            gone: self.heard,
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            token,
            version: Version(0, 0, 0),
            _private: Some(private),
        };
        match server.gone.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Event::Listening(port)) => server.address.set_port(port),
            Ok(Event::CalledOff) => return Err(Error::CalledOff),
            Ok(Event::Gone) | Err(RecvTimeoutError::Disconnected) => {
                // There is nothing to wait for any more.
                server.kill_and_wait();
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
        fs::remove_file(&configuration).map_err(Error::Directory)?;
        if options.store_dir.is_some() {
            server._private = None;
        }
        Ok(server)
    }
}

/// Writes `text` to a new file that nobody else may read.
fn write_for_us(file: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    file.write_all(text.as_bytes())
}

impl PrivateServer {
    /// Starts `binary` and waits until it is ready.
    pub fn start(binary: &Path, options: &Options) -> Result<Self, Error> {
        Starter::new().0.start(binary, options)
    }

    /// Where it listens, as `nats://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The token that it asks for, unless it is [`Authorization::Open`].
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

    /// Lets it shut down cleanly and waits for it; kills it when that takes longer than
    /// [`Options::stop_limit`].
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
        let deadline = Instant::now() + self.stop_limit;
        while told == Some(true) {
            match self.gone.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Event::Listening(_) | Event::CalledOff) => {}
                Ok(Event::Gone) | Err(RecvTimeoutError::Disconnected) => {
                    self.kill_and_wait();
                    return Ok(());
                }
                Err(RecvTimeoutError::Timeout) => break,
            }
        }
        self.kill_and_wait();
        Err(Error::Killed { limit: self.stop_limit, log: self.log.last_lines() })
    }

    fn kill_and_wait(&mut self) {
        if self.running {
            // Both fail only when the process is gone already, and that is what is wanted.
            let _ = self.child.kill();
            let _ = self.child.wait();
            self.running = false;
            // From here on its number may be another process's.
            if let Some(mut tie) = self.tie.take() {
                let _ = tie.write_all(b"\n");
            }
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
    let limits = options.max_store.map(|bytes| format!("max_file_store: {bytes}")).unwrap_or_default();
    let mut text =
        format!("listen: \"127.0.0.1:{port}\"\nserver_name: \"{name}\"\njetstream: {{ {limits} }}\n");
    let token = token.map(|token| format!("token: \"{token}\", ")).unwrap_or_default();
    text += &format!("authorization: {{ {token}timeout: {SAY_WHO} }}\n");
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
        assert!(text.contains("token: \"abc\", timeout: 60") && text.ends_with("debug: false\n"), "{text}");
    }
}
