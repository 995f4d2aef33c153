//! Runs NATS's own command line tool, which `scripts/get-nats` gets.

use std::path::Path;
use std::process::{Command, Stdio};

use super::programs::run;
use super::server::Server;

/// The tool, told the server.
pub fn nats(server: &Server) -> Command {
    let mut get = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/get-nats"));
    get.stdin(Stdio::null());
    let path = String::from_utf8(run(get).expect_code(0).stdout).unwrap();
    let mut nats = Command::new(path.trim());
    // No configuration of this environment's, and none left behind.
    nats.env_clear().env("HOME", server.store()).stdin(Stdio::null());
    nats.args(["--server", &server.url()]);
    if !server.token().is_empty() {
        nats.args(["--token", server.token()]);
    }
    nats
}
