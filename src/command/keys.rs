//! `chatto-keys`: export, import and list a Chatto server's encryption keys; seal and open files.
//!
//! Keys and data belong into two files in two places, since either alone is worthless to a thief. An
//! export is encrypted unless it goes into a pipe, where another program may encrypt it. An import
//! validates its whole input before it writes anything, and never overwrites a key, also not one that
//! appears while it runs: the server itself refuses that.

mod bucket;
mod crypt;
mod export;
mod import;

use std::io;

use anyhow::Context;

use self::bucket::Found;
use super::report::{hint_of_output, print};
use super::{Failure, session};
use crate::chatto::keys::BUCKET;
use crate::cli;
use crate::exit::Exit;
use crate::terminal::progress::{Doing, Progress, Style};
use crate::terminal::{Messages, Verbosity};

const PROGRAM: &str = "chatto-keys";

const DOING: Doing = Doing { streams: "read", archive: "read" };

/// Runs the program.
pub fn run(options: cli::Keys) -> anyhow::Result<Exit> {
    // Keys are few and files that are sealed may be large: there is an answer for whoever asks, and no more.
    let messages = Messages::new(PROGRAM, Verbosity::Normal).showing(Style::Never);
    let (progress, _shown) = Progress::shown(DOING, messages);
    match options.action {
        cli::KeysAction::Export(options) => export::run(options),
        cli::KeysAction::Import(options) => import::run(options),
        cli::KeysAction::List(options) => list(&options),
        cli::KeysAction::Seal(options) => crypt::seal(options, progress),
        cli::KeysAction::Open(options) => crypt::open(options, progress),
    }
}

/// One line a key: its ref, its kind, and for an invalid one what is wrong with it.
fn list(options: &cli::List) -> anyhow::Result<Exit> {
    let found = fetch(&options.connect)?;
    let mut lines = String::new();
    for record in &found {
        lines += &match record.validate() {
            Ok(()) => format!("{}\t{}\n", record.key_ref, record.key_ref.kind()),
            Err(reason) => format!("{}\tinvalid\t{reason}\n", record.key_ref),
        };
    }
    print(lines.as_bytes())?;
    Ok(Exit::Done)
}

/// Every key of the server that is not deleted, sorted by ref.
fn fetch(options: &cli::Connect) -> anyhow::Result<Found> {
    let connection = session::configuration(options)?;
    session::block_on(async {
        let server = session::connect(&connection, options, PROGRAM).await?;
        let found = bucket::fetch(&server.bucket(BUCKET)?).await.context("cannot read the keys")?;
        found.ok_or_else(|| {
            Failure::new(Exit::Failed, format!("there is no bucket {BUCKET}"))
                .hint("is this the right server and account? Chatto makes the bucket when it starts")
                .into()
        })
    })
}

/// What is wrong with a write of the result.
fn write_failure(error: &io::Error) -> Failure {
    let hint = hint_of_output(error);
    Failure { exit: Exit::Failed, what: format!("cannot write to stdout: {error}"), hint }
}
