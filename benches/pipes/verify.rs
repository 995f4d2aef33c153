//! A verification, against the sum that sha256sum(1) takes of the same file.

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
    for (content, goal) in [("attachments", 0.5), ("events", 1.0)] {
        let what = format!("verify, {content}, against sha256sum");
        table.measure(&what, async |table| against_sum(asked, table, &what, content, goal).await).await;
    }
    Ok(())
}

async fn against_sum(asked: &Asked, table: &mut Table, what: &str, content: &str, goal: f64) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let archive = dir.path().join("backup.tar");
    let size = archive_of(asked, content, &archive).await?;
    let (sum, verify) = by_turns(
        asked.rounds,
        async || time(Command::new("sha256sum").arg(&archive).stdout(Stdio::null())),
        async || {
            time(Command::new(path("chatto-manifest")).arg("verify").arg(&archive).stdout(Stdio::null()))
        },
    )
    .await?;
    table.ratio(what, speed(size, sum), speed(size, verify), ratio(sum, verify), AtLeast(goal));
    Ok(())
}
