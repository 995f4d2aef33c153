//! Handles a limited address space (`ulimit -v`). If an allocation fails, the program ends at once, in the middle of a
//! stream. So the program reserves little, and if the limit is too low, it says so before it begins. Knows no streams.
//!
//! Most of the reserved memory is arenas of the C library's allocator: 64 MiB for each thread, or 128 MiB while one is
//! being made. The C library reads the number of arenas from the environment before `main`. So if there is a limit, the
//! program starts itself again with one arena. A dump of 40 streams then needs less than 120 MB instead of 400 MB.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::{Resource, getrlimit};

use super::Failure;
use crate::exit::Exit;
use crate::names::Size;
use crate::terminal;

/// What the C library reads.
const ARENAS: &str = "MALLOC_ARENA_MAX";

/// What a program needs, in bytes: 96 MiB of memory, its code and libraries, and the stacks of some 30 threads.
const NEEDED: u64 = 192 << 20;

/// The limit, in bytes, where there is one.
fn limit() -> Option<u64> {
    getrlimit(Resource::As).current
}

/// Under a limit, becomes the same program with one arena. Nothing may have been read or opened before.
pub(super) fn economise() {
    if limit().is_none() || std::env::var_os(ARENAS).is_some() {
        return;
    }
    // What starts anew finds something in their place, and does not know that they were closed.
    if terminal::stdin_is_closed() || terminal::stdout_is_closed() {
        return;
    }
    let (Ok(program), mut arguments) = (std::env::current_exe(), std::env::args_os()) else { return };
    let Some(name) = arguments.next() else { return };
    // It returns only where it has failed; then the program goes on as it is.
    let _ = Command::new(program).arg0(name).args(arguments).env(ARENAS, "1").exec();
}

/// Whether there is a limit.
pub(super) fn is_limited() -> bool {
    limit().is_some()
}

/// Refuses a limit that is too low to come to an end with.
///
/// # Errors
/// The limit is lower than [`NEEDED`].
pub(super) fn require() -> Result<(), Failure> {
    match limit() {
        Some(limit) if limit < NEEDED => {
            let text =
                format!("the address space is limited to {}, and {} are needed", Size(limit), Size(NEEDED));
            Err(Failure::new(Exit::Failed, text)
                .hint("raise the limit: ulimit -v, or LimitAS= in a unit of systemd"))
        }
        _ => Ok(()),
    }
}
