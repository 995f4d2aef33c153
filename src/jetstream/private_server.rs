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
//! reaches it too, and where util-linux's `setpriv` is at hand (on every Debian) the kernel stops it even when
//! we are killed. The directory is then left behind in the temporary directory.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tempfile::TempDir;

use crate::names::Printable;

/// How long a server may take to stop before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// How many of the log's last lines an error quotes.
const LOG_LINES: usize = 8;

/// The longest log line, in bytes; a longer one counts as several.
const LOG_LINE_MAX: u64 = 4096;

/// The longest `INFO` line that is accepted from a server that we started ourselves.
const INFO_MAX: u64 = 64 << 10;

/// The log line that names the port; the same in every release from 2.9 to 2.15.
const LISTENING: &str = "Listening for client connections on ";

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

/// The last lines of a server's log, made printable.
#[derive(Clone, Debug, Default)]
pub struct Log(Vec<Printable>);

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing");
        }
        self.0.iter().try_for_each(|line| write!(f, "\n    {line}"))
    }
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
    info: Info,
    _private: TempDir,
}

/// What we want to know of the `INFO` line that greets a connection.
#[derive(Debug, Deserialize)]
struct Info {
    version: Version,
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
            info: Info { version: Version::default(), jetstream: false },
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
        server.info = greet(server.address, deadline)
            .map_err(|reason| Error::Mute { address: server.address, reason: reason.to_string() })?;
        if !server.info.jetstream {
            let reason = format!("no JetStream; its log ends with: {}", server.log.last_lines());
            return Err(Error::Mute { address: server.address, reason });
        }
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
        self.info.version
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

/// What is heard from a running server.
#[derive(Debug)]
enum Event {
    /// It listens on this port.
    Listening(u16),
    /// Its log has ended, and so has the process, or is about to.
    Gone,
}

/// Starts `command` in a thread that reads its log and lives as long as it does: the kernel ties
/// the process to the thread that started it.
fn watch(mut command: Command, log: LogTail, events: Sender<Event>) -> io::Result<Child> {
    let (started, child) = channel();
    thread::Builder::new().name("nats-server log".into()).spawn(move || match command.spawn() {
        Ok(mut child) => {
            let stderr = child.stderr.take();
            // The other side waits for this message, and for nothing before it.
            let _ = started.send(Ok(child));
            if let Some(stderr) = stderr {
                read_log(stderr, &log, &events);
            }
            let _ = events.send(Event::Gone);
        }
        Err(e) => {
            let _ = started.send(Err(e));
        }
    })?;
    child.recv().map_err(io::Error::other)?
}

/// Keeps the log's last lines until it ends, and tells when the port is known.
fn read_log(stderr: ChildStderr, log: &LogTail, events: &Sender<Event>) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.by_ref().take(LOG_LINE_MAX).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        if let Some(port) = listening_port(&text) {
            // A closed channel means that nobody waits any more.
            let _ = events.send(Event::Listening(port));
        }
        log.push(text.trim_end());
    }
}

/// The port in `[1] 2026/01/01 00:00:00 [INF] Listening for client connections on 127.0.0.1:4222`.
fn listening_port(line: &str) -> Option<u16> {
    let (_, address) = line.split_once(LISTENING)?;
    address.trim_end().parse::<SocketAddr>().ok().map(|address| address.port())
}

/// The last lines of a log that another thread reads.
#[derive(Clone, Debug, Default)]
struct LogTail(Arc<Mutex<VecDeque<String>>>);

impl LogTail {
    fn lines(&self) -> MutexGuard<'_, VecDeque<String>> {
        // A half-written line is no reason to lose the log.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &str) {
        let mut lines = self.lines();
        if lines.len() == LOG_LINES {
            lines.pop_front();
        }
        lines.push_back(line.to_owned());
    }

    fn last_lines(&self) -> Log {
        Log(self.lines().iter().map(|line| Printable::new(line)).collect())
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

/// Finds the nats-server to run: `option` (what the user gave), else `$NATS_SERVER`, else
/// `nats-server` on `$PATH`.
///
/// What was named and is not there is an error, not a reason to look further.
pub fn find_binary(option: Option<&Path>) -> Result<PathBuf, Error> {
    find(option, std::env::var_os("NATS_SERVER"), std::env::var_os("PATH"))
}

fn find(option: Option<&Path>, variable: Option<OsString>, path: Option<OsString>) -> Result<PathBuf, Error> {
    let named = |file: &Path, by: &str| {
        if is_executable(file) {
            return Ok(file.to_path_buf());
        }
        Err(Error::NoBinary(format!(
            "that can be run at {}, which {by} names",
            Printable::new(&file.to_string_lossy())
        )))
    };
    if let Some(file) = option {
        return named(file, "--nats-server");
    }
    if let Some(file) = variable.filter(|file| !file.is_empty()) {
        return named(Path::new(&file), "$NATS_SERVER");
    }
    std::env::split_paths(path.as_deref().unwrap_or(OsStr::new("")))
        .map(|dir| dir.join("nats-server"))
        .find(|file| is_executable(file))
        .ok_or_else(|| {
            Error::NoBinary(
                "on $PATH: install it (it is one file, from the NATS project's releases), or name one with \
                 --nats-server or $NATS_SERVER"
                    .into(),
            )
        })
}

fn is_executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

fn not_runnable(binary: &Path, reason: impl fmt::Display) -> Error {
    Error::NotRunnable { binary: Printable::new(&binary.to_string_lossy()), reason: reason.to_string() }
}

/// Asks `binary` which release it is.
pub fn version(binary: &Path) -> Result<Version, Error> {
    let output = Command::new(binary)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|e| not_runnable(binary, e))?;
    String::from_utf8_lossy(&output.stdout)
        .strip_prefix("nats-server: ")
        .and_then(|text| text.trim().parse().ok())
        .ok_or_else(|| not_runnable(binary, "it does not say that it is a nats-server"))
}

/// A release of nats-server. Ordered; what follows the three numbers (`-RC.1`) is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Version {
    /// 2 in 2.14.5.
    pub major: u32,
    /// 14 in 2.14.5.
    pub minor: u32,
    /// 5 in 2.14.5.
    pub patch: u32,
}

/// A text that is not a [`Version`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a nats-server version such as 2.14.5")]
pub struct BadVersion;

impl std::str::FromStr for Version {
    type Err = BadVersion;
    fn from_str(text: &str) -> Result<Self, BadVersion> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let numbers = text.split(['-', '+']).next().unwrap_or(text);
        let mut parts = numbers.split('.').map(|part| part.parse().map_err(|_| BadVersion));
        let mut next = || parts.next().unwrap_or(Err(BadVersion));
        let version = Version { major: next()?, minor: next()?, patch: next()? };
        if parts.next().is_some() { Err(BadVersion) } else { Ok(version) }
    }
}

impl TryFrom<String> for Version {
    type Error = BadVersion;
    fn try_from(text: String) -> Result<Self, BadVersion> {
        text.parse()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_ordered_as_numbers() {
        let version = |text: &str| text.parse::<Version>();
        assert_eq!(version("v2.14.5"), Ok(Version { major: 2, minor: 14, patch: 5 }));
        assert_eq!(version("2.12.0-RC.1").map(|v| v.to_string()), Ok("2.12.0".into()));
        assert!(version("2.9.10").unwrap() < version("2.10.2").unwrap());
        for bad in ["", "2.14", "2.14.5.1", "2.x.1", "latest"] {
            assert_eq!(version(bad), Err(BadVersion), "{bad}");
        }
    }

    #[test]
    fn the_port_is_read_from_the_log() {
        let line =
            "[7] 2026/11/22 07:58:31.480421 [INF] Listening for client connections on 127.0.0.1:44831\n";
        assert_eq!(listening_port(line), Some(44831));
        assert_eq!(listening_port("[7] 2026/11/22 07:58:31.480421 [INF] Server is ready\n"), None);
    }

    #[test]
    fn a_binary_is_looked_for_where_the_user_said_and_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let binary = dir.path().join("nats-server");
        let path = || Some(OsString::from(dir.path()));
        let message = |found: Result<PathBuf, Error>| found.unwrap_err().to_string();

        assert!(message(find(None, None, path())).contains("--nats-server or $NATS_SERVER"));
        fs::write(&binary, "#!/bin/sh\n").unwrap();
        assert!(find(None, None, path()).is_err(), "not executable");
        fs::set_permissions(&binary, Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find(None, None, path()).unwrap(), binary);
        assert_eq!(find(None, Some("".into()), path()).unwrap(), binary);
        assert!(
            message(find(None, Some("/none".into()), path())).contains("/none, which $NATS_SERVER names")
        );
        assert!(message(find(Some(Path::new("/none")), None, path())).contains("--nats-server names"));
    }

    #[test]
    fn the_configuration_listens_on_loopback_alone() {
        let text = configure(Some("abc"), &Options { extra: "debug: false".into(), ..Options::default() });
        assert!(text.starts_with("listen: \"127.0.0.1:-1\"\n"), "{text}");
        assert!(text.contains("token: \"abc\"") && text.ends_with("debug: false\n"), "{text}");
    }
}
