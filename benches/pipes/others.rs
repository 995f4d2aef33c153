//! Other programs for the same job, where they are installed: NATS's own command line, which backs up into a
//! directory, and Chatto's, whose archive is compressed, as ours is by gzip(1).

use anyhow::Result;

use crate::programs::time_shell;
use crate::support::server::Server;
use crate::table::Goal::Shown;
use crate::table::{Table, speed};
use crate::turns::{DATA, by_turns, ratio};
use crate::{Asked, data};

/// One of them: its command lines, and ours for the same.
struct Other {
    name: &'static str,
    backup: [&'static str; 2],
    restore: [&'static str; 2],
}

const OTHERS: [Other; 2] = [
    Other {
        name: "nats",
        backup: ["$FROM nats backup account theirs --force --consumers", "$FROM $DUMP > ours"],
        restore: ["$TO nats backup restore account theirs", "$TO $LOAD ours"],
    },
    Other {
        name: "chatto",
        backup: ["rm -f theirs; $FROM chatto backup -o theirs", "$FROM $DUMP | gzip > ours"],
        restore: ["$TO chatto restore theirs", "$TO $LOAD ours"],
    },
];

pub async fn all(asked: &Asked, table: &mut Table) -> Result<()> {
    let (found, missing): (Vec<_>, Vec<_>) = OTHERS.iter().partition(|other| is_on_path(other.name));
    for other in missing {
        table.nothing(&format!("dump and load, against {}", other.name), "not on $PATH");
    }
    if found.is_empty() {
        return Ok(());
    }
    for kind in ["attachments", "events"] {
        let source = data::server();
        match kind {
            "events" => data::events(&source, asked.scaled(DATA)).await?,
            _ => data::attachments(&source, asked.scaled(DATA)).await?,
        }
        for other in &found {
            against(asked, table, kind, &source, other).await?;
        }
    }
    Ok(())
}

/// What the first of them writes into a directory of their own, the second reads.
async fn against(asked: &Asked, table: &mut Table, kind: &str, source: &Server, other: &Other) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let bytes = asked.scaled(DATA) as u64;
    for (does, [theirs, ours]) in [("dump", other.backup), ("load", other.restore)] {
        let what = format!("{does}, {kind}, against {}", other.name);
        let turn = async |script| time_shell(script, source, &data::server(), dir.path());
        match by_turns(asked.rounds, async || turn(theirs).await, async || turn(ours).await).await {
            Ok((theirs, ours)) => {
                table.ratio(&what, speed(bytes, theirs), speed(bytes, ours), ratio(theirs, ours), Shown);
            }
            // It has said why. Its release may not suit the server's: no reason to lose the other figures.
            Err(_) => table.nothing(&what, "failed"),
        }
    }
    Ok(())
}

pub fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}
