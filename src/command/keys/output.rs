//! What all actions that write a result have in common. Knows no keys.

use std::io;

use crate::command::Failure;
use crate::command::output::hint_of_output;
use crate::exit::Exit;

pub(super) const PROGRAM: &str = "chatto-keys";

/// What is wrong with a write of the result.
pub(super) fn write_failure(error: &io::Error) -> Failure {
    let hint = hint_of_output(error);
    Failure { exit: Exit::Failed, what: format!("cannot write to stdout: {error}"), hint }
}
