//! Which of descriptors 0 to 2 were closed when the program began.
//!
//! The standard library opens `/dev/null` in the place of each before `main`, so that no other file takes that
//! place. It also hides that there is no output: whoever writes into it believes that all is written. A
//! `/dev/null` that the user gave cannot be told from that one afterwards (some programs give theirs for reading and
//! writing too), so this looks before the standard library does.

use std::sync::atomic::{AtomicU8, Ordering};

use rustix::fd::BorrowedFd;
use rustix::io::{Errno, fcntl_getfd};
use rustix::stdio;

/// Bit N is set when descriptor N was closed.
static CLOSED: AtomicU8 = AtomicU8::new(0);

#[ctor::ctor]
fn look() {
    let closed = |descriptor: BorrowedFd<'_>| fcntl_getfd(descriptor) == Err(Errno::BADF);
    CLOSED
        .store(u8::from(closed(stdio::stdin())) | u8::from(closed(stdio::stdout())) << 1, Ordering::Relaxed);
}

/// Whether there was no stdin.
pub(super) fn stdin_was_closed() -> bool {
    CLOSED.load(Ordering::Relaxed) & 1 != 0
}

/// Whether there was no stdout.
pub(super) fn stdout_was_closed() -> bool {
    CLOSED.load(Ordering::Relaxed) & 2 != 0
}
