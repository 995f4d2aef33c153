//! The program `chatto-manifest`: see its man page, and `command::manifest`.

use chatto_pipes::{command, exit::Exit};

fn main() -> Exit {
    command::main("chatto-manifest", std::env::args_os(), command::manifest::run)
}
