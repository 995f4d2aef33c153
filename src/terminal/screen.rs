//! Lines at the bottom of the terminal that change. Knows the terminal, and not what the lines say.
//!
//! A process has one stderr, so it has one screen. All messages go through [`words`], which removes the lines first.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::getpgrp;
use rustix::termios::{LocalModes, tcgetattr, tcgetpgrp, tcgetwinsize};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The terminal's size where it does not say: columns and rows.
const SIZE: (usize, usize) = (80, 24);

/// The lines on the screen.
struct Screen {
    /// The columns that each line takes.
    standing: Vec<usize>,
    /// Set when nothing will stand there any more.
    over: bool,
}

static SCREEN: Mutex<Screen> = Mutex::new(Screen { standing: Vec::new(), over: false });

impl Screen {
    /// Takes the lines away: gives what erases them. A terminal that has become narrower has wrapped them.
    fn emptied(&mut self) -> String {
        let columns = columns().max(1);
        match self.standing.drain(..).map(|width| width.div_ceil(columns).max(1)).sum() {
            0usize => String::new(),
            rows => format!("\x1b[{rows}A\r\x1b[J"),
        }
    }
}

fn screen() -> MutexGuard<'static, Screen> {
    SCREEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes words to stderr, above whatever stands there.
pub(super) fn words(text: &str) {
    say(&mut screen(), text);
}

/// The same, and nothing stands below them any more.
pub(super) fn last_words(text: &str) {
    let mut screen = screen();
    screen.over = true;
    say(&mut screen, text);
}

fn say(screen: &mut Screen, text: &str) {
    let mut out = screen.emptied();
    out += text;
    out.push('\n');
    // A stderr that cannot be written to is nobody's reason to stop a backup.
    let _ = io::stderr().lock().write_all(out.as_bytes());
}

/// Replaces what stands on the screen, unless somebody else is using it: a program that asks for a
/// passphrase has turned the echo off, and one in the background has no screen.
pub(super) fn show(lines: &[String]) {
    let mut screen = screen();
    if screen.over || !is_ours() {
        return;
    }
    let (columns, rows) = size();
    let mut out = screen.emptied();
    // The last column stays free: a terminal wraps when it is used.
    for line in lines.iter().skip(lines.len().saturating_sub(rows.saturating_sub(1))) {
        let line = fitting(line, columns.saturating_sub(1), ellipsis());
        screen.standing.push(line.width());
        out += &line;
        out.push('\n');
    }
    let _ = io::stderr().lock().write_all(out.as_bytes());
}

/// Takes away what stands on the screen.
pub(super) fn clear() {
    let mut screen = screen();
    let out = screen.emptied();
    let _ = io::stderr().lock().write_all(out.as_bytes());
}

/// Whether lines can be taken away again: what cannot move its cursor says so, or nothing.
pub(super) fn can_be_erased() -> bool {
    std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
}

/// What stands for the rest of a text that is too long, in the terminal's characters.
pub(super) fn ellipsis() -> &'static str {
    let set = [std::env::var("LC_ALL"), std::env::var("LC_CTYPE"), std::env::var("LANG")];
    let locale = set.into_iter().flatten().find(|value| !value.is_empty()).unwrap_or_default();
    let locale = locale.to_ascii_lowercase();
    if locale.contains("utf-8") || locale.contains("utf8") { "…" } else { "~" }
}

/// The width of the terminal in columns.
pub(super) fn columns() -> usize {
    size().0
}

fn is_ours() -> bool {
    let stderr = io::stderr();
    let echoes = tcgetattr(&stderr).is_ok_and(|modes| modes.local_modes.contains(LocalModes::ECHO));
    stderr.is_terminal() && echoes && tcgetpgrp(&stderr).is_ok_and(|group| group == getpgrp())
}

fn size() -> (usize, usize) {
    match tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => SIZE,
    }
}

/// The beginning of `line`, as far as it fits into `columns`.
fn fitting(line: &str, columns: usize, ellipsis: &str) -> String {
    if line.width() <= columns {
        return line.into();
    }
    let mut left = columns.saturating_sub(1);
    let fits = |c: &char| {
        let width = c.width().unwrap_or(0);
        let fits = width <= left;
        left = left.saturating_sub(width);
        fits
    };
    line.chars().take_while(fits).chain(ellipsis.chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_where_the_terminal_ends() {
        assert_eq!(fitting("abcdef", 6, "…"), "abcdef");
        assert_eq!(fitting("abcdef", 5, "…"), "abcd…");
        assert_eq!(fitting("日本語", 5, "…"), "日本…");
        assert_eq!(fitting("日本語", 4, "…"), "日…");
    }
}
