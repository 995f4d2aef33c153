//! What `--rsyncable` costs a dump, and what a compressor makes of such an archive.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};

use crate::dump::dump_to_nowhere;
use crate::load::BLOCKS;
use crate::programs::ours_at;
use crate::support::server::{LATEST, Server};
use crate::table::Goal::{AtLeast, AtMost};
use crate::table::{Table, megabytes, speed};
use crate::turns::{EVENTS, by_turns, ratio};
use crate::{Asked, data};

pub async fn all(asked: &Asked, table: &mut Table) -> Result<()> {
    for release in [BLOCKS, LATEST] {
        for content in ["attachments", "events"] {
            let what = format!("dump --rsyncable, {content} of {release}, against without");
            table
                .measure(&what, async |table| {
                    let server = data::server_of(release);
                    let bytes = asked.scaled(EVENTS);
                    match content {
                        "events" => data::events(&server, bytes).await?,
                        _ => data::attachments(&server, bytes).await?,
                    }
                    costs(asked, table, &what, &server, bytes as u64).await?;
                    match content {
                        "events" => compresses(table, release, &server),
                        _ => Ok(()),
                    }
                })
                .await;
        }
    }
    Ok(())
}

async fn costs(asked: &Asked, table: &mut Table, what: &str, server: &Server, bytes: u64) -> Result<()> {
    let dump =
        async |options: &[&str]| Ok(dump_to_nowhere(ours_at("chatto-dump", server).args(options))?.wall);
    let (plain, rsyncable) =
        by_turns(asked.rounds, async || dump(&[]).await, async || dump(&["--rsyncable"]).await).await?;
    table.ratio(what, speed(bytes, plain), speed(bytes, rsyncable), ratio(plain, rsyncable), AtLeast(0.7));
    Ok(())
}

fn compresses(table: &mut Table, release: &str, server: &Server) -> Result<()> {
    let mut sizes = [0; 2];
    for (size, options) in sizes.iter_mut().zip([&[][..], &["--rsyncable"]]) {
        let mut dump = ours_at("chatto-dump", server).args(options).stdout(Stdio::piped()).spawn()?;
        let mut zstd = std::process::Command::new("zstd")
            .stdin(dump.stdout.take().context("a pipe")?)
            .stdout(Stdio::piped())
            .spawn()?;
        *size = std::io::copy(&mut zstd.stdout.take().context("a pipe")?, &mut std::io::sink())?;
        ensure!(zstd.wait()?.success() && dump.wait()?.success(), "zstd failed");
    }
    let [plain, rsyncable] = sizes;
    let smaller = rsyncable as f64 / plain as f64;
    table.ratio(
        &format!("size of dump --rsyncable through zstd, events of {release}, against without"),
        megabytes(plain),
        megabytes(rsyncable),
        smaller,
        AtMost(0.85),
    );
    Ok(())
}
