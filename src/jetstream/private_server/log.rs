//! Reads the log of a running server from a pipe: finds its port and its end, and keeps the last lines for error messages.
//! Does not start or stop the server.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::names::Printable;

/// How many of the log's last lines an error quotes.
const LOG_LINES: usize = 8;

/// The longest log line, in bytes; a longer one counts as several.
const LOG_LINE_MAX: u64 = 4096;

/// The log line that names the port; the same in every release from 2.9 to 2.15.
const LISTENING: &str = "Listening for client connections on ";

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

/// An event in the log of a running server.
#[derive(Debug)]
pub(super) enum Event {
    /// It listens on this port.
    Listening(u16),
    /// Its log has ended, and so has the process, or is about to.
    Gone,
    /// Said not by the server but by whoever waits for it: nobody wants it any more.
    CalledOff,
}

/// Starts `command`, and a thread that reads its log to the end.
pub(super) fn watch(mut command: Command, log: LogTail, events: Sender<Event>) -> io::Result<Child> {
    let mut child = command.spawn()?;
    let stderr = child.stderr.take();
    let reader = thread::Builder::new().name("nats-server log".into()).spawn(move || {
        if let Some(stderr) = stderr {
            read_log(stderr, &log, &events);
        }
        let _ = events.send(Event::Gone);
    });
    match reader {
        Ok(_) => Ok(child),
        Err(e) => {
            // Without a reader nobody would know of its end.
            let _ = child.kill();
            let _ = child.wait();
            Err(e)
        }
    }
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
pub(super) struct LogTail(Arc<Mutex<VecDeque<String>>>);

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

    pub(super) fn last_lines(&self) -> Log {
        Log(self.lines().iter().map(|line| Printable::new(line)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_from_the_log() {
        let line =
            "[7] 2026/11/22 07:58:31.480421 [INF] Listening for client connections on 127.0.0.1:44831\n";
        assert_eq!(listening_port(line), Some(44831));
        assert_eq!(listening_port("[7] 2026/11/22 07:58:31.480421 [INF] Server is ready\n"), None);
    }
}
