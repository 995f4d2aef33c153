//! stdout, for programs that write their result there. Knows nothing of the result.

use std::io::Write;

use anyhow::Context;

use super::failure::Failure;
use crate::exit::Exit;
use crate::terminal;

/// What to do about an output that cannot be written, where that is known: the program that reads it has ended.
pub(super) fn hint_of_output(error: &std::io::Error) -> Option<String> {
    (error.kind() == std::io::ErrorKind::BrokenPipe)
        .then(|| "the program that reads it ended early: look for its own message".into())
}

/// Refuses to begin where what the program writes would go nowhere.
pub(super) fn require_stdout() -> Result<(), Failure> {
    match terminal::stdout_is_closed() {
        true => Err(Failure::new(Exit::Usage, "stdout is closed, and the output would be lost")
            .hint("write it to a file or a pipe, or to /dev/null if nobody wants it")),
        false => Ok(()),
    }
}

/// Writes text. `false` when nobody reads on, which is no failure: it was read as far as somebody cared to.
pub(super) fn print(text: &[u8]) -> anyhow::Result<bool> {
    terminal::clear();
    let mut out = std::io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        written => written.context("cannot write to stdout").map(|()| true),
    }
}
