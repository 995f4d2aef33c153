//! The program `chatto-dump`: see its man page, and `command::dump`.

use chatto_pipes::{command, exit::Exit};

fn main() -> Exit {
    command::main("chatto-dump", std::env::args_os(), command::dump::run)
}
