//! The edges: the standard streams, the words for a person, the report for a program. stdout is data, stderr is words.
//! Knows nothing of what is said.
//!
//! What holds at the terminal, for every program:
//!
//! - Binary data is neither written to a terminal nor read from one: refused before anything else.
//! - An error is one line, `PROGRAM: error: …`, and a line `PROGRAM: hint: …` where the reader can act.
//! - Success is silent, unless stderr is a terminal or `-v` was given.
//! - Progress is shown on a terminal, under the rules of [`progress`].
//! - Names from a server or an archive are escaped (`names::Printable`) before they come here.

mod descriptors;
pub mod progress;
pub mod prompt;
pub mod report;
mod screen;

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;

use serde_json::{Value, json};

use self::progress::Style;
use crate::exit::Exit;
use crate::names::without_secrets;

/// How much a program says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Errors only (`-q`).
    Quiet,
    /// Errors and warnings; on a terminal also a closing line.
    Normal,
    /// Everything that happens (`-v`).
    Verbose,
}

/// Where a program's words go.
#[derive(Clone, Copy, Debug)]
pub struct Messages {
    program: &'static str,
    verbosity: Verbosity,
    terminal: bool,
    style: Style,
}

impl Messages {
    /// Words of `program` on stderr.
    pub fn new(program: &'static str, verbosity: Verbosity) -> Self {
        let style = if verbosity == Verbosity::Quiet { Style::Never } else { Style::Terminal };
        Messages { program, verbosity, terminal: stderr_is_terminal(), style }
    }

    /// The same with progress shown otherwise. With [`Style::Json`] every message is a JSON line too, and
    /// nothing but the progress itself is silenced by `-q`.
    pub fn showing(self, style: Style) -> Self {
        let quiet = self.verbosity == Verbosity::Quiet && style == Style::Terminal;
        Messages { style: if quiet { Style::Never } else { style }, ..self }
    }

    /// Whether errors are all that is said (`-q`).
    pub fn are_quiet(&self) -> bool {
        self.verbosity == Verbosity::Quiet
    }

    /// The last word to a program that reads along: how far it came, and the exit status.
    pub fn summary(&self, exit: Exit) {
        if self.style == Style::Json {
            let mut event = progress::summary_event();
            event.insert("event".into(), "summary".into());
            event.insert("status".into(), (exit as u8).into());
            self.event(&Value::Object(event));
        }
    }

    /// How progress is shown.
    pub fn style(&self) -> Style {
        self.style
    }

    /// The same with nothing but errors, for work inside other work.
    pub fn errors_only(self) -> Self {
        Messages { verbosity: Verbosity::Quiet, ..self }
    }

    /// The program that speaks.
    pub fn program(&self) -> &'static str {
        self.program
    }

    /// Something failed; always said.
    pub fn error(&self, text: &str) {
        self.line("error", text);
    }

    /// What the reader can do about the error just said.
    pub fn hint(&self, text: &str) {
        self.line("hint", text);
    }

    /// Something is done, but not as one might think; said unless `-q`.
    pub fn warning(&self, text: &str) {
        if self.verbosity > Verbosity::Quiet {
            self.line("warning", text);
        }
    }

    /// What was done as a whole; said on a terminal or with `-v`.
    pub fn closing(&self, text: &str) {
        if self.verbosity == Verbosity::Verbose || (self.terminal && self.verbosity == Verbosity::Normal) {
            self.said("closing", text, screen::last_words);
        }
    }

    /// A change that the user should know of even in a log; said unless `-q`.
    pub fn notice(&self, text: &str) {
        if self.verbosity > Verbosity::Quiet {
            self.plain("notice", text);
        }
    }

    /// A step on the way; said with `-v`.
    pub fn detail(&self, text: &str) {
        if self.verbosity == Verbosity::Verbose {
            self.plain("detail", text);
        }
    }

    /// A text of several lines that is no message, such as a help text; always said.
    pub fn plain_text(&self, text: &str) {
        match self.style {
            Style::Json => self.message("help", text),
            _ => screen::words(text),
        }
    }

    /// What was asked for by a signal; always said.
    pub(in crate::terminal) fn answer(&self, text: &str) {
        self.plain("answer", text);
    }

    /// Something for a program that reads along.
    pub(in crate::terminal) fn event(&self, event: &Value) {
        screen::words(&event.to_string());
    }

    fn line(&self, kind: &'static str, text: &str) {
        let text = &without_secrets(text);
        report::said(kind, text);
        match self.style {
            Style::Json => self.message(kind, text),
            _ => screen::words(&format!("{}: {kind}: {text}", self.program)),
        }
    }

    fn plain(&self, kind: &str, text: &str) {
        self.said(kind, text, screen::words);
    }

    fn said(&self, kind: &str, text: &str, aloud: fn(&str)) {
        let text = &without_secrets(text);
        match self.style {
            Style::Json => self.message(kind, text),
            _ => aloud(&format!("{}: {text}", self.program)),
        }
    }

    fn message(&self, kind: &str, text: &str) {
        self.event(&json!({"event": "message", "kind": kind, "text": text}));
    }
}

/// stdout as a plain file: the standard library's own handle looks for line ends in binary data.
pub fn stdout() -> io::Result<File> {
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

/// stderr as a plain file.
fn stderr() -> io::Result<File> {
    Ok(File::from(io::stderr().as_fd().try_clone_to_owned()?))
}

/// stdin as a plain file, without a buffer that nobody asked for.
pub fn stdin() -> io::Result<File> {
    Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?))
}

/// Whether we were started so that this signal is nothing to us, as a terminal's end by nohup(1). Linux says so in
/// `/proc/self/status`; elsewhere the answer is no.
pub fn ignores(signal: i32) -> bool {
    let bit = u32::try_from(signal.saturating_sub(1)).ok().and_then(|bit| 1u64.checked_shl(bit)).unwrap_or(0);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & bit != 0)
}

/// Takes progress off the screen, for words that go to stdout; it comes back below them.
pub fn clear() {
    screen::clear();
}

/// Whether stdout is a terminal.
pub fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether stdin is a terminal.
pub fn stdin_is_terminal() -> bool {
    io::stdin().is_terminal()
}

fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Whether the program was started without a stdout, as by `>&-`: what is written then goes nowhere.
pub fn stdout_is_closed() -> bool {
    descriptors::stdout_was_closed()
}

/// Whether the program was started without a stdin.
pub fn stdin_is_closed() -> bool {
    descriptors::stdin_was_closed()
}
