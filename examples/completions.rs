//! Writes the completions of all four programs for bash, zsh and fish: `completions DIRECTORY`.
//!
//! `make` runs it, so the programs themselves need no option that only a build would use.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use chatto_pipes::cli;
use clap::CommandFactory as _;
use clap_complete::{Shell, generate_to};

#[allow(dead_code)] // The test of completions takes `write` alone.
fn main() -> Result<()> {
    write(&std::env::args_os().nth(1).map(PathBuf::from).context("usage: completions DIRECTORY")?)
}

/// Writes a file for each program and shell, named as the shell expects it, into `directory`.
pub fn write(directory: &Path) -> Result<()> {
    std::fs::create_dir_all(directory)?;
    let programs =
        [cli::Dump::command(), cli::Load::command(), cli::Keys::command(), cli::Manifest::command()];
    for mut program in programs {
        let name = program.get_name().to_owned();
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            generate_to(shell, &mut program, &name, directory)?;
        }
    }
    Ok(())
}
