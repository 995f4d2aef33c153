//! Many small streams, several at once against one after another.

use std::fs::File;
use std::path::Path;

use anyhow::Result;

use crate::dump::{dump_to, dump_to_nowhere};
use crate::link::FAR;
use crate::programs::{has_option, ours, time};
use crate::support::server::Server;
use crate::table::Goal::AtMost;
use crate::table::{Table, seconds};
use crate::turns::{by_turns, ratio};
use crate::{Asked, data};

/// How many are here, and how many are over a link.
const HERE: usize = 2_000;
const OVER_A_LINK: usize = 150;

pub async fn all(asked: &Asked, table: &mut Table) -> Result<()> {
    let dir = tempfile::tempdir()?;
    for (count, far, goals) in [(HERE, false, [0.4, 0.5]), (OVER_A_LINK, true, [0.15, 0.15])] {
        let server = data::server();
        data::streams(&server, asked.scaled(count)).await?;
        let archive = dir.path().join("backup.tar");
        dump_to(&server, &archive)?;
        let over = if far { " over 40 ms" } else { "" };
        let [dump, load] =
            ["dump", "load"].map(|does| format!("{does} of {count} small streams{over}, against -j 1"));
        table.measure(&dump, async |table| dumps(asked, table, &dump, &server, far, goals[0]).await).await;
        drop(server);
        match has_option("chatto-load", "-j, --jobs")? {
            true => {
                table
                    .measure(&load, async |table| loads(asked, table, &load, &archive, far, goals[1]).await)
                    .await;
            }
            false => table.nothing(&load, "chatto-load has no -j"),
        }
    }
    Ok(())
}

/// Over a link it is the round trips that take the time, and they do not vary.
fn rounds(asked: &Asked, far: bool) -> usize {
    if far { 1 } else { asked.rounds }
}

async fn at(server: &Server, far: bool) -> Result<String> {
    if far { FAR.to(server).await } else { Ok(server.url()) }
}

async fn dumps(
    asked: &Asked,
    table: &mut Table,
    what: &str,
    server: &Server,
    far: bool,
    goal: f64,
) -> Result<()> {
    let url = at(server, far).await?;
    let dump = || ours("chatto-dump", &url, server.token());
    let (one, many) = by_turns(
        rounds(asked, far),
        async || Ok(dump_to_nowhere(dump().args(["-j", "1"]))?.wall),
        async || Ok(dump_to_nowhere(&mut dump())?.wall),
    )
    .await?;
    table.ratio(what, seconds(one), seconds(many), ratio(many, one), AtMost(goal));
    Ok(())
}

async fn loads(
    asked: &Asked,
    table: &mut Table,
    what: &str,
    archive: &Path,
    far: bool,
    goal: f64,
) -> Result<()> {
    let load = async |options: &[&str]| {
        let to = data::server();
        let url = at(&to, far).await?;
        time(ours("chatto-load", &url, to.token()).args(options).stdin(File::open(archive)?))
    };
    let (one, many) =
        by_turns(rounds(asked, far), async || load(&["-j", "1"]).await, async || load(&[]).await).await?;
    table.ratio(what, seconds(one), seconds(many), ratio(many, one), AtMost(goal));
    Ok(())
}
