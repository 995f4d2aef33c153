//! Descriptors 0 to 2: as plain files, whether they are terminals, and which of them were closed when the program began.
//! Reads and writes nothing itself.
//!
//! If one of them is closed, the standard library opens `/dev/null` in its place before `main`, so that no other file gets
//! its number. But then a program without an output believes that it has written everything. A `/dev/null` that the user gave
//! looks the same (some programs open theirs for reading and writing too). So this module looks before the standard library
//! does.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
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

/// stdout as a plain file: the standard library's own handle looks for line ends in binary data.
pub fn stdout() -> io::Result<File> {
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

/// stderr as a plain file.
pub(super) fn stderr() -> io::Result<File> {
    Ok(File::from(io::stderr().as_fd().try_clone_to_owned()?))
}

/// stdin as a plain file, without a buffer that nobody asked for.
pub fn stdin() -> io::Result<File> {
    Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?))
}

/// Whether stdout is a terminal.
pub fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether stdin is a terminal.
pub fn stdin_is_terminal() -> bool {
    io::stdin().is_terminal()
}

/// Whether stderr is a terminal.
pub(super) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Whether the program was started without a stdout, as by `>&-`. Then all output is lost.
pub fn stdout_is_closed() -> bool {
    CLOSED.load(Ordering::Relaxed) & 2 != 0
}

/// Whether the program was started without a stdin.
pub fn stdin_is_closed() -> bool {
    CLOSED.load(Ordering::Relaxed) & 1 != 0
}
