//! Every example of chatto-manifest(1) prints what the page shows.

// A failed expectation in a helper is a failed test.
use std::fs;
use std::process::{Command, Stdio};

use crate::support::captures::{STREAMS, Shape, archive, capture};
use crate::support::programs::{path, run};

const PAGE: &str = include_str!("../../man/chatto-manifest.1");

/// The commands of a page's examples, each with the output that is shown below it.
fn examples() -> Vec<(String, String)> {
    let examples = PAGE.split(".Sh EXAMPLES").nth(1).unwrap().split(".Sh ").next().unwrap();
    let displays = examples.split(".Bd -literal -offset indent\n").skip(1);
    let mut found: Vec<(String, String)> = Vec::new();
    for line in displays.flat_map(|display| display.split(".Ed").next().unwrap().lines()) {
        let line = line.replace("\\e", "\\").replace("\\&", "");
        match line.strip_prefix("$ ") {
            Some(command) => found.push((command.to_owned(), String::new())),
            None => {
                let (_, output) = found.last_mut().expect("an example begins with a command");
                *output += &format!("{line}\n");
            }
        }
    }
    found
}

#[test]
fn the_examples_of_the_manual_are_true() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("backup.tar"), archive("2.14.5", Shape::Parts)).unwrap();
    for stream in STREAMS {
        let directory = dir.path().join("account").join(stream);
        fs::create_dir_all(&directory).unwrap();
        let (json, snapshot) = capture("2.14.5", stream);
        fs::write(directory.join("backup.json"), json).unwrap();
        fs::write(directory.join("stream.tar.s2"), snapshot).unwrap();
    }
    let programs = path("chatto-manifest").parent().unwrap().to_owned();
    let paths = std::env::join_paths(
        std::iter::once(programs).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let paths = paths.unwrap();
    let examples = examples();
    assert!(examples.len() > 10, "{examples:?}");
    for action in ["list", "verify", "select", "edit", "join", "diff", "import"] {
        assert!(examples.iter().any(|(command, _)| command.contains(&format!("chatto-manifest {action}"))));
    }
    for (command, want) in examples {
        let mut shell = Command::new("sh");
        // The words on stderr are shown too, as at a terminal.
        shell.args(["-c", &format!("exec 2>&1; {command}")]).current_dir(dir.path());
        shell.env("PATH", &paths).stdin(Stdio::null());
        let got = String::from_utf8(run(shell).stdout).unwrap();
        assert_eq!(got, want, "$ {command}");
    }
}
