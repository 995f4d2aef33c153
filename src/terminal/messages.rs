//! The messages of a program on stderr: as lines for a person, or as JSON for another program. Does not know what they are
//! about.

use serde_json::{Value, json};

use super::log;
use super::screen;
use super::standard_streams::stderr_is_terminal;
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

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// On a terminal, as lines that change.
    #[default]
    Terminal,
    /// As JSON lines.
    Json,
    /// Not at all.
    Never,
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

    /// Prints what the reader can do about the last error.
    pub fn hint(&self, text: &str) {
        self.line("hint", text);
    }

    /// Something is done, but not as one might think; said unless `-q`.
    pub fn warning(&self, text: &str) {
        if self.verbosity > Verbosity::Quiet {
            self.line("warning", text);
        }
    }

    /// Prints the result of the whole run, on a terminal or with `-v`.
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

    /// Prints the answer to a signal, always.
    pub(super) fn answer(&self, text: &str) {
        self.plain("answer", text);
    }

    /// Something for a program that reads along.
    pub(super) fn event(&self, event: &Value) {
        screen::words(&event.to_string());
    }

    fn line(&self, kind: &'static str, text: &str) {
        let text = &without_secrets(text);
        log::said(kind, text);
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
