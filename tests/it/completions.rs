//! Completions: the shells accept them, and they have every option of every program.

#[path = "../../examples/completions.rs"]
mod generator;
use std::fs;
use std::process::Command;

use crate::support::programs::run;
use chatto_pipes::cli;
use clap::CommandFactory as _;

/// Where each shell looks for a program's completions, as `make install` names the files.
const SHELLS: [(&str, &str, &str); 3] = [("bash", "", ".bash"), ("zsh", "_", ""), ("fish", "", ".fish")];

#[test]
fn every_shell_takes_them_and_knows_every_option() {
    let dir = tempfile::tempdir().unwrap();
    generator::write(dir.path()).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 12);
    // What a shell says of its surroundings is not about these files.
    for program in
        [cli::Dump::command(), cli::Load::command(), cli::Keys::command(), cli::Manifest::command()]
    {
        for (shell, before, after) in SHELLS {
            let file = dir.path().join(format!("{before}{}{after}", program.get_name()));
            let mut check = Command::new(shell);
            check.arg("-n").arg(&file).env("HOME", dir.path()).env("LC_ALL", "C.UTF-8");
            assert_eq!(run(check).expect_code(0).stderr, "", "{}", file.display());
            let text = fs::read_to_string(&file).unwrap();
            for command in std::iter::once(&program).chain(program.get_subcommands()) {
                for option in command.get_arguments().filter_map(|arg| arg.get_long()) {
                    let known = if shell == "fish" { format!("-l {option} ") } else { format!("--{option}") };
                    assert!(text.contains(&known), "{}: {known}", file.display());
                }
            }
        }
    }
}
