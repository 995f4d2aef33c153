//! The program `chatto-load`: see its man page, and `command::load`.

use chatto_pipes::{command, exit::Exit};

fn main() -> Exit {
    command::main("chatto-load", std::env::args_os(), command::load::run)
}
