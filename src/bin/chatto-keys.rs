//! The program `chatto-keys`: see its man page, and `command::keys`.

use chatto_pipes::{command, exit::Exit};

fn main() -> Exit {
    command::main("chatto-keys", std::env::args_os(), command::keys::run)
}
