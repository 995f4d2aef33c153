//! What it costs to write snapshots of 2.15 again as tars, against checking them: `chatto-manifest edit --format tar`
//! against `chatto-manifest verify`, as a person runs them. The edit also sums what it reads and what it writes.

use std::process::{Command, Stdio};

use anyhow::Result;

use crate::Asked;
use crate::dump::archive_of;
use crate::programs::time;
use crate::support::programs::path;
use crate::table::Goal::AtLeast;
use crate::table::{Table, speed};
use crate::turns::{by_turns, ratio};

pub async fn all(asked: &Asked, table: &mut Table) -> Result<()> {
    for content in ["attachments", "events"] {
        let what = format!("edit --format tar, {content}, against verify");
        table.measure(&what, async |table| against_verify(asked, table, &what, content).await).await;
    }
    Ok(())
}

async fn against_verify(asked: &Asked, table: &mut Table, what: &str, content: &str) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let archive = dir.path().join("backup.tar");
    let size = archive_of(asked, content, &archive).await?;
    let run = |options: &[&str]| {
        time(Command::new(path("chatto-manifest")).args(options).arg(&archive).stdout(Stdio::null()))
    };
    let (verify, edit) =
        by_turns(asked.rounds, async || run(&["verify"]), async || run(&["edit", "--format", "tar"])).await?;
    table.ratio(what, speed(size, verify), speed(size, edit), ratio(verify, edit), AtLeast(0.5));
    Ok(())
}
