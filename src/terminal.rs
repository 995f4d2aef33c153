//! The standard streams, the messages for a person, and the report for a program. stdout is data, stderr is messages. Knows
//! nothing of what the messages are about.
//!
//! The rules at the terminal, for every program:
//!
//! - Binary data is neither written to a terminal nor read from one. The program refuses it before anything else.
//! - An error is one line, `PROGRAM: error: …`. If the reader can act, a line `PROGRAM: hint: …` follows.
//! - Success is silent, unless stderr is a terminal or `-v` was given.
//! - Progress is shown on a terminal, under the rules of [`progress`].
//! - Names from a server or an archive are escaped (`names::Printable`) before they come here.

mod log;
mod messages;
pub mod progress;
pub mod prompt;
pub mod report;
mod screen;
mod standard_streams;

pub use messages::{Messages, Style, Verbosity};
pub use standard_streams::{
    stdin, stdin_is_closed, stdin_is_terminal, stdout, stdout_is_closed, stdout_is_terminal,
};

/// Takes progress off the screen, for words that go to stdout; it comes back below them.
pub fn clear() {
    screen::clear();
}

/// Whether we were started so that this signal is nothing to us, as a terminal's end by nohup(1). Linux says so in
/// `/proc/self/status`; elsewhere the answer is no.
pub fn ignores(signal: i32) -> bool {
    let bit = u32::try_from(signal.saturating_sub(1)).ok().and_then(|bit| 1u64.checked_shl(bit)).unwrap_or(0);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & bit != 0)
}
