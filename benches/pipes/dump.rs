//! A dump of one large stream, against a client that does no more than take the snapshot.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Result;

use crate::baseline::{take_and_drop, take_and_sum};
use crate::link::FAR;
use crate::programs::{Ran, ours, ours_at, ran, time};
use crate::spent::{Spent, in_this_process};
use crate::support::server::Server;
use crate::table::Goal::{AtLeast, AtMost, Shown};
use crate::table::{Table, seconds, speed};
use crate::turns::{DATA, EVENTS, by_turns, ratio};
use crate::{Asked, data};

pub async fn all(asked: &Asked, table: &mut Table) -> Result<()> {
    let what = "dump, attachments";
    table
        .measure(what, async |table| {
            let server = data::server();
            let bytes = asked.scaled(DATA);
            data::attachments(&server, bytes).await?;
            let (bare, dump) = against_bare_client(asked, table, what, &server, 0.8).await?;
            table.cpu("CPU of chatto-dump a GB, attachments", bytes, bare, dump);
            floor(asked, table, bytes, &server).await?;
            table
                .measure("dump over 40 ms, against here", async |table| far(asked, table, &server).await)
                .await;
            Ok(())
        })
        .await;
    let what = "dump, events";
    table
        .measure(what, async |table| {
            let server = data::server();
            data::events(&server, asked.scaled(EVENTS)).await?;
            against_bare_client(asked, table, what, &server, 0.65).await.map(drop)
        })
        .await;
    Ok(())
}

/// Into a file.
pub fn dump_to(server: &Server, archive: &Path) -> Result<()> {
    time(ours_at("chatto-dump", server).stdout(File::create(archive)?)).map(drop)
}

/// Of a server with `content`, "attachments" or "events", into a file. Gives the size of the archive.
pub async fn archive_of(asked: &Asked, content: &str, archive: &Path) -> Result<u64> {
    let source = data::server();
    match content {
        "events" => data::events(&source, asked.scaled(DATA)).await?,
        _ => data::attachments(&source, asked.scaled(DATA)).await?,
    }
    dump_to(&source, archive)?;
    Ok(std::fs::metadata(archive)?.len())
}

pub fn dump_to_nowhere(command: &mut Command) -> Result<Ran> {
    ran(command.stdout(Stdio::null()))
}

/// What the bare client takes if it also sums what it throws away, on one thread, which costs least.
async fn floor(asked: &Asked, table: &mut Table, bytes: usize, server: &Server) -> Result<()> {
    let mut cpu = Duration::MAX;
    for _ in 0..asked.rounds {
        let (url, token) = (server.url(), server.token().to_owned());
        let sum = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(take_and_sum(&url, &token)).map(drop)
        };
        cpu = cpu.min(in_this_process(async || tokio::task::spawn_blocking(sum).await?).await?);
    }
    let what = "CPU of a bare client that sums, a GB, attachments";
    table.figure(what, a_gb(cpu, bytes), " s", Shown);
    Ok(())
}

async fn far(asked: &Asked, table: &mut Table, server: &Server) -> Result<()> {
    let far = FAR.to(server).await?;
    let (near, over) = by_turns(
        asked.rounds,
        async || Ok(dump_to_nowhere(&mut ours_at("chatto-dump", server))?.wall),
        async || Ok(dump_to_nowhere(&mut ours("chatto-dump", &far, server.token()))?.wall),
    )
    .await?;
    table.ratio(
        "dump over 40 ms, against here",
        seconds(near),
        seconds(over),
        ratio(near, over),
        AtLeast(0.5),
    );
    Ok(())
}

async fn against_bare_client(
    asked: &Asked,
    table: &mut Table,
    what: &str,
    server: &Server,
    goal: f64,
) -> Result<(Duration, Duration)> {
    let mut bytes = 0;
    let (bare, dump) = by_turns(
        asked.rounds,
        async || {
            let take = async || {
                bytes = take_and_drop(&server.url(), server.token()).await?;
                Ok(())
            };
            Spent::on(&[server.process_id()], async || in_this_process(take).await).await
        },
        async || {
            let dump = async || Ok(dump_to_nowhere(&mut ours_at("chatto-dump", server))?.cpu);
            Spent::on(&[server.process_id()], dump).await
        },
    )
    .await?;
    table.ratio(
        &format!("{what}, against a bare client"),
        speed(bytes, bare.wall),
        speed(bytes, dump.wall),
        ratio(bare.wall, dump.wall),
        AtLeast(goal),
    );
    table.spent(&format!("{what}: the bare client"), bare);
    table.spent(&format!("{what}: chatto-dump"), dump);
    Ok((bare.program, dump.program))
}

/// The seconds of CPU that are spent for a GB.
fn a_gb(cpu: Duration, bytes: usize) -> f64 {
    cpu.as_secs_f64() / (bytes as f64 / 1e9)
}

impl Table {
    /// The CPU time that a bare client takes for those bytes, and a program of ours.
    pub fn cpu(&mut self, what: &str, bytes: usize, bare: Duration, ours: Duration) {
        let of = |cpu| format!("{:.2} s", a_gb(cpu, bytes));
        self.row(what, of(bare), of(ours), a_gb(ours, bytes), " s", AtMost(0.9));
    }
}
