//! Asks for a passphrase at the controlling terminal, while stdin and stdout are pipes.
//!
//! Only the echo is turned off. Ctrl-C stays a signal of the terminal, which reaches all programs of a
//! pipeline at once; a prompt that read it as a character would end itself alone. In return a signal can
//! come while the echo is off, so a thread waits for those that end or stop a program and restores the
//! terminal first.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::flag::register_conditional_default;
use signal_hook::iterator::{Handle, Signals};
use signal_hook::low_level::emulate_default_handler;
use zeroize::Zeroizing;

use super::error::SecretError;
use super::secrets::{PASSPHRASE_MAX, Passphrase, TYPED, checked};

const SIGNALS: [i32; 5] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP];

/// Whether a signal outside a prompt does what it does by default.
static DEFAULTS: OnceLock<Arc<AtomicBool>> = OnceLock::new();
static HANDLED: AtomicBool = AtomicBool::new(false);

/// Says that the program handles SIGINT and its like itself. A handler that was ever registered cannot be
/// taken back, so without this word a prompt leaves the default behaviour behind: the signal ends the program.
pub fn signals_are_handled() {
    HANDLED.store(true, Ordering::SeqCst);
    if let Some(defaults) = DEFAULTS.get() {
        defaults.store(false, Ordering::SeqCst);
    }
}

/// Whether there is a terminal to ask at.
pub fn can_ask() -> bool {
    Terminal::open().is_ok()
}

/// Asks for a passphrase, once.
pub(super) fn ask(prompt: &str) -> Result<Passphrase, SecretError> {
    let terminal = Terminal::open()?;
    let line = terminal.hidden(prompt)?;
    checked(&line, TYPED)
}

/// Asks for a passphrase that does not exist yet, and once more against slips.
pub(super) fn ask_twice(prompt: &str) -> Result<Passphrase, SecretError> {
    let terminal = Terminal::open()?;
    let line = terminal.hidden(prompt)?;
    let passphrase = checked(&line, TYPED)?;
    if *terminal.hidden("the same again: ")? != *line {
        return Err(SecretError::Differ);
    }
    Ok(passphrase)
}

/// Says something where the prompt was: that a passphrase was wrong, before asking again.
pub(super) fn tell(text: &str) -> Result<(), SecretError> {
    let terminal = Terminal::open()?;
    writeln!(&*terminal.0, "{text}").map_err(SecretError::Terminal)
}

struct Terminal(Arc<File>);

impl Terminal {
    fn open() -> Result<Self, SecretError> {
        let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty");
        terminal.map(|file| Terminal(Arc::new(file))).map_err(SecretError::NoTerminal)
    }

    /// One line without its line feed.
    fn hidden(&self, prompt: &str) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        let hidden = Hidden::new(&self.0, prompt).map_err(SecretError::Terminal)?;
        let line = self.line().map_err(SecretError::Terminal);
        hidden.restore();
        line
    }

    fn line(&self) -> std::io::Result<Zeroizing<Vec<u8>>> {
        // Never grown: a reallocation would leave a copy behind.
        let mut line = Zeroizing::new(Vec::with_capacity(PASSPHRASE_MAX + 1));
        let mut byte = Zeroizing::new([0u8]);
        while line.len() <= PASSPHRASE_MAX {
            match (&*self.0).read(&mut *byte) {
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

/// The terminal with its echo off, until [`Hidden::restore`].
struct Hidden {
    terminal: Arc<File>,
    before: Termios,
    signals: Handle,
    watcher: JoinHandle<()>,
    defaults: Arc<AtomicBool>,
}

impl Hidden {
    fn new(terminal: &Arc<File>, prompt: &str) -> std::io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        hidden.local_modes.insert(LocalModes::ECHONL);

        let defaults = defaults()?;
        let mut signals = Signals::new(SIGNALS)?;
        let handle = signals.handle();
        defaults.store(false, Ordering::SeqCst);
        let watcher = std::thread::spawn({
            let (terminal, before, hidden) = (Arc::clone(terminal), before.clone(), hidden.clone());
            let prompt = prompt.to_string();
            move || {
                for signal in signals.forever() {
                    // Nothing can be done here about a terminal that is gone.
                    let _ = tcsetattr(&terminal, OptionalActions::Now, &before);
                    let _ = writeln!(&*terminal);
                    let _ = emulate_default_handler(signal);
                    // Only a stopped program comes here, once it goes on.
                    let _ = tcsetattr(&terminal, OptionalActions::Now, &hidden);
                    let _ = write!(&*terminal, "{prompt}");
                }
            }
        });
        let this = Hidden { terminal: Arc::clone(terminal), before, signals: handle, watcher, defaults };
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
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
        self.defaults.store(!HANDLED.load(Ordering::SeqCst), Ordering::SeqCst);
        self.signals.close();
        // The watcher cannot panic, and there is nobody to tell.
        let _ = self.watcher.join();
    }
}

/// Registers the default behaviour of [`SIGNALS`], for the time between and after prompts.
fn defaults() -> std::io::Result<Arc<AtomicBool>> {
    if let Some(defaults) = DEFAULTS.get() {
        return Ok(Arc::clone(defaults));
    }
    let defaults = Arc::clone(DEFAULTS.get_or_init(|| Arc::new(AtomicBool::new(false))));
    for signal in SIGNALS {
        register_conditional_default(signal, Arc::clone(&defaults))?;
    }
    Ok(defaults)
}
