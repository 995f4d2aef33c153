//! Asks for a secret line at the controlling terminal, while stdin and stdout are pipes. Does not know what the line is for.
//!
//! It turns off only the echo. So Ctrl-C stays a signal of the terminal, which reaches all programs of a pipeline. (A prompt
//! that reads it as a character would end only its own program.) But a signal can come while the echo is off. So a thread
//! waits for the signals that end or stop a program, and restores the terminal first.
//!
//! The programs of one pipeline share a terminal. If two of them asked at the same time, each would get parts of both
//! answers, and the first to end would turn the echo on again for the other. So a program locks the terminal's device while
//! it asks.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, makedev, minor};
use rustix::io::Errno;
use rustix::stdio;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr, ttyname};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::flag::register_conditional_default;
use signal_hook::iterator::{Handle, Signals};
use signal_hook::low_level::emulate_default_handler;
use zeroize::Zeroizing;

/// The longest line that a terminal takes, in bytes. A longer one is given cut to one byte more.
pub const MAX_LINE: usize = 4095;

const SIGNALS: [i32; 5] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP];

/// For each of [`SIGNALS`], whether it has its default effect now.
static DEFAULTS: OnceLock<[Arc<AtomicBool>; SIGNALS.len()]> = OnceLock::new();

/// Those that the program handles itself, as bits by their numbers, which are below 64.
static HANDLED: AtomicU64 = AtomicU64::new(0);

/// The terminal whose echo is off, and how it was before.
static HIDDEN: Mutex<Option<(Arc<File>, Termios)>> = Mutex::new(None);

/// Brings the echo back if a prompt has it off. For a program that ends while a thread of its own still asks:
/// nobody else would.
pub fn echo_again() {
    if let Some((terminal, before)) = HIDDEN.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // Nothing can be done here about a terminal that is gone.
        let _ = tcsetattr(&terminal, OptionalActions::Now, &before);
    }
}

/// Says that the program handles these signals itself, ends soon after one, and calls [`echo_again`] then:
/// the prompt's own thread may be too late. Without this word a prompt ends the program at once, and leaves
/// the default behaviour behind: a handler that was ever registered cannot be taken back.
pub fn signals_are_handled(signals: &[i32]) {
    let bits = signals.iter().fold(0, |bits, signal| bits | bit(*signal));
    HANDLED.fetch_or(bits, Ordering::SeqCst);
    if DEFAULTS.get().is_some() {
        let _ = defaults(true);
    }
}

fn bit(signal: i32) -> u64 {
    u32::try_from(signal).ok().and_then(|signal| 1u64.checked_shl(signal)).unwrap_or(0)
}

fn is_handled(signal: i32) -> bool {
    HANDLED.load(Ordering::SeqCst) & bit(signal) != 0
}

/// Turns the default behaviour of the [`SIGNALS`] on, but for those that are handled, or off.
fn defaults(on: bool) -> std::io::Result<()> {
    let defaults = match DEFAULTS.get() {
        Some(defaults) => defaults,
        None => {
            let defaults = DEFAULTS.get_or_init(Default::default);
            for (signal, default) in SIGNALS.iter().zip(defaults) {
                register_conditional_default(*signal, Arc::clone(default))?;
            }
            defaults
        }
    };
    for (signal, default) in SIGNALS.iter().zip(defaults) {
        default.store(on && !is_handled(*signal), Ordering::SeqCst);
    }
    Ok(())
}

/// Why nobody was asked, or why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// The program has no terminal.
    #[error("there is no terminal to ask at")]
    NoTerminal(#[source] std::io::Error),
    /// The terminal stopped listening in the middle.
    #[error("cannot ask at the terminal")]
    Terminal(#[source] std::io::Error),
    /// Typed twice, differently.
    #[error("the two answers differ")]
    Differ,
}

/// Whether there is a terminal to ask at.
pub fn can_ask() -> bool {
    Terminal::open().is_ok()
}

/// Asks for a line, once.
///
/// # Errors
/// [`PromptError`].
pub fn ask(prompt: &str) -> Result<Zeroizing<Vec<u8>>, PromptError> {
    Terminal::in_turn()?.hidden(prompt)
}

/// Asks for a line that `check` takes, and once more against slips.
///
/// # Errors
/// [`PromptError`], and what `check` says of the first line.
pub fn ask_twice<T, E: From<PromptError>>(
    prompt: &str,
    check: impl FnOnce(&[u8]) -> Result<T, E>,
) -> Result<T, E> {
    let terminal = Terminal::in_turn()?;
    let line = terminal.hidden(prompt)?;
    let checked = check(&line)?;
    if *terminal.hidden("the same again: ")? != *line {
        return Err(PromptError::Differ.into());
    }
    Ok(checked)
}

/// Says something where the prompt was: that the answer was wrong, before asking again.
///
/// # Errors
/// [`PromptError`].
pub fn tell(text: &str) -> Result<(), PromptError> {
    let terminal = Terminal::open()?;
    writeln!(&*terminal, "{text}").map_err(PromptError::Terminal)
}

struct Terminal {
    file: Arc<File>,
    lock: TerminalLock,
}

/// A lock on the terminal's device while a program asks. None if the device is not known or cannot be locked. Then programs
/// do not wait for each other.
#[derive(Clone)]
struct TerminalLock(Option<Arc<OwnedFd>>);

impl TerminalLock {
    /// Waits until no other program asks.
    fn acquire() -> TerminalLock {
        let lock = TerminalLock(device().map(Arc::new));
        lock.reacquire();
        lock
    }

    /// Waits once more, after [`TerminalLock::release`].
    fn reacquire(&self) {
        if let Some(device) = &self.0 {
            // If the lock fails, the program asks without it.
            while flock(device, FlockOperation::LockExclusive) == Err(Errno::INTR) {}
        }
    }

    /// Lets another program ask.
    fn release(&self) {
        if let Some(device) = &self.0 {
            let _ = flock(device, FlockOperation::Unlock);
        }
    }
}

/// The device behind `/dev/tty`, which itself is one file for all terminals. Opened anew, because a lock belongs to
/// an open file, and the programs of a pipeline have theirs from one shell.
fn device() -> Option<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let number = controlling_terminal()?;
    let open = |name: &Path| {
        let opened = rustix::fs::open(name, flags, Mode::empty()).ok()?;
        fstat(&opened).is_ok_and(|about| about.st_rdev == number).then_some(opened)
    };
    let named = |stream: BorrowedFd<'_>| {
        let name = ttyname(stream, Vec::new()).ok()?;
        open(Path::new(name.to_str().ok()?))
    };
    let streams = [stdio::stderr(), stdio::stdin(), stdio::stdout()];
    let numbered = || open(Path::new(&format!("/dev/pts/{}", minor(number))));
    streams.into_iter().find_map(named).or_else(numbered)
}

/// The number of the controlling terminal's device: `tty_nr` in `/proc/self/stat` (proc_pid_stat(5)).
fn controlling_terminal() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The program's name, in parentheses, may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let number = fields.split_whitespace().nth(4)?.parse::<i32>().ok()?.cast_unsigned();
    let (major, minor) = (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xf_ff00);
    (number != 0).then(|| makedev(major, minor))
}

impl Terminal {
    /// The terminal, once it is this program's turn.
    fn in_turn() -> Result<Self, PromptError> {
        let file = Terminal::open()?;
        Ok(Terminal { file, lock: TerminalLock::acquire() })
    }

    fn open() -> Result<Arc<File>, PromptError> {
        let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty");
        terminal.map(Arc::new).map_err(PromptError::NoTerminal)
    }

    /// One line without its line feed.
    fn hidden(&self, prompt: &str) -> Result<Zeroizing<Vec<u8>>, PromptError> {
        let hidden = EchoOff::new(self, prompt).map_err(PromptError::Terminal)?;
        let line = self.line().map_err(PromptError::Terminal);
        hidden.restore();
        line
    }

    fn line(&self) -> std::io::Result<Zeroizing<Vec<u8>>> {
        // Never grown: a reallocation would leave a copy behind.
        let mut line = Zeroizing::new(Vec::with_capacity(MAX_LINE + 1));
        let mut byte = Zeroizing::new([0u8]);
        while line.len() <= MAX_LINE {
            match (&*self.file).read(&mut *byte) {
                Ok(0) => break,
                Ok(_) if byte[0] == b'\n' => break,
                Ok(_) => line.push(byte[0]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(line)
    }
}

/// A terminal with its echo off, until [`EchoOff::restore`].
struct EchoOff {
    signals: Handle,
    watcher: JoinHandle<()>,
}

impl EchoOff {
    fn new(Terminal { file: terminal, lock }: &Terminal, prompt: &str) -> std::io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        hidden.local_modes.insert(LocalModes::ECHONL);

        let mut signals = Signals::new(SIGNALS)?;
        let handle = signals.handle();
        defaults(false)?;
        let watcher = std::thread::Builder::new().name("prompt".into()).spawn({
            let (terminal, before, hidden) = (Arc::clone(terminal), before.clone(), hidden.clone());
            let (lock, prompt) = (lock.clone(), prompt.to_string());
            move || {
                for signal in signals.forever() {
                    // Nothing can be done here about a terminal that is gone.
                    let _ = tcsetattr(&terminal, OptionalActions::Now, &before);
                    let _ = writeln!(&*terminal);
                    if is_handled(signal) {
                        continue;
                    }
                    // While this program is stopped, others may ask.
                    lock.release();
                    let _ = emulate_default_handler(signal);
                    lock.reacquire();
                    // Only a stopped program comes here, once it goes on.
                    let _ = tcsetattr(&terminal, OptionalActions::Now, &hidden);
                    let _ = write!(&*terminal, "{prompt}");
                }
            }
        });
        let watcher = watcher.inspect_err(|_| drop(defaults(true)))?;
        *HIDDEN.lock().unwrap_or_else(PoisonError::into_inner) = Some((Arc::clone(terminal), before));
        let this = EchoOff { signals: handle, watcher };
        let shown = tcsetattr(terminal, OptionalActions::Now, &hidden)
            .map_err(std::io::Error::from)
            .and_then(|()| (&**terminal).write_all(prompt.as_bytes()));
        match shown {
            Ok(()) => Ok(this),
            Err(error) => {
                this.restore();
                Err(error)
            }
        }
    }

    fn restore(self) {
        echo_again();
        // It registers nothing any more, and so cannot fail.
        let _ = defaults(true);
        self.signals.close();
        // The watcher cannot panic, and there is nobody to tell.
        let _ = self.watcher.join();
    }
}
