//! Runs our programs at a real pseudo-terminal, driven by expect(1).

use std::process::Command;

use tempfile::TempDir;

use super::programs::{Finished, path, program_for, run};
use super::server::Server;

/// What every script begins with: a step that does not happen fails the test.
const PRELUDE: &str = r#"
set timeout 120
proc want {text} {
    expect {
        -exact $text {}
        timeout { puts "\nno \"$text\""; exit 99 }
        eof { puts "\nended before \"$text\""; exit 98 }
    }
}
proc end {} {
    expect { eof {} timeout { puts "\nno end"; exit 97 } }
    lassign [wait] pid id failed code
    exit $code
}
proc shell {script} {
    uplevel 1 [list spawn -noecho sh -c $script]
}
"#;

/// Runs an expect script in `dir`, where `$dump`, `$load` and `$keys` are our programs.
pub fn expect(dir: &TempDir, script: &str) -> Finished {
    expect_with(Command::new("expect"), dir, script)
}

/// The same with our programs configured for `server`.
pub fn expect_for(server: &Server, dir: &TempDir, script: &str) -> Finished {
    let configured = program_for("chatto-keys", server);
    let mut command = Command::new("expect");
    for (name, value) in configured.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    expect_with(command, dir, script)
}

fn expect_with(mut command: Command, dir: &TempDir, script: &str) -> Finished {
    // An interactive sh(1) begins with what this names.
    command.env_remove("ENV");
    // Whatever terminal these tests were started from, if any.
    command.env("TERM", "xterm").env("LC_ALL", "C.UTF-8");
    let ours = ["dump", "load", "keys"].map(|name| {
        let program = path(&format!("chatto-{name}"));
        format!("set {name} {}\n", program.display())
    });
    command.current_dir(dir.path()).args(["-c", &format!("{}{PRELUDE}{script}", ours.concat())]);
    run(command)
}
