//! A load of one large stream, against a client that sends it in the same way and checks nothing, and over links.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::baseline::{Backup, restore_one_at_a_time, restore_windowed};
use crate::dump::dump_to;
use crate::link::{FAR, FAR_AND_NARROW};
use crate::programs::{ours, ours_at, ran, time};
use crate::spent::{Spent, in_this_process};
use crate::support::server::LATEST;
use crate::table::Goal::AtLeast;
use crate::table::{Table, speed};
use crate::turns::{DATA, by_turns, ratio};
use crate::{Asked, data};

/// The last release whose snapshots are the blocks of its store: to restore one is to write files, not messages.
pub const BLOCKS: &str = "2.14.5";

pub async fn all(asked: &Asked, table: &mut Table) -> Result<()> {
    for release in [BLOCKS, LATEST] {
        let what = format!("load into {release}");
        table.measure(&what, async |table| against_bare_client(asked, table, release, &what).await).await;
    }
    Ok(())
}

/// With an archive of the same release.
async fn against_bare_client(asked: &Asked, table: &mut Table, release: &str, what: &str) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let archive = dir.path().join("assets.tar");
    let bytes = asked.scaled(DATA);
    let source = data::server_of(release);
    data::attachments(&source, bytes).await?;
    dump_to(&source, &archive)?;
    drop(source);
    let backup = Backup::of_archive(&archive)?;
    let (bare, load) = by_turns(
        asked.rounds,
        async || {
            let to = data::server_of(release);
            let restore = async || restore_windowed(&to.url(), to.token(), &backup).await;
            Spent::on(&[to.process_id()], async || in_this_process(restore).await).await
        },
        async || {
            let to = data::server_of(release);
            let load = async || Ok(ran(ours_at("chatto-load", &to).stdin(File::open(&archive)?))?.cpu);
            Spent::on(&[to.process_id()], load).await
        },
    )
    .await?;
    table.ratio(
        &format!("{what}, against a bare windowed client"),
        speed(backup.bytes(), bare.wall),
        speed(backup.bytes(), load.wall),
        ratio(bare.wall, load.wall),
        AtLeast(0.85),
    );
    table.cpu(
        &format!("CPU of chatto-load into {release} a GB, attachments"),
        bytes,
        bare.program,
        load.program,
    );
    table.spent(&format!("{what}: the bare windowed client"), bare);
    table.spent(&format!("{what}: chatto-load"), load);
    Ok(())
}

pub async fn over_links(asked: &Asked, table: &mut Table) -> Result<()> {
    let dir = tempfile::tempdir()?;
    table.measure("load over 40 ms", async |table| far(asked, table, dir.path()).await).await;
    let what = "load over 40 ms and 100 Mbit/s, of the link";
    table.measure(what, async |table| far_and_narrow(asked, table, what, dir.path()).await).await;
    Ok(())
}

async fn far(asked: &Asked, table: &mut Table, dir: &Path) -> Result<()> {
    let [archive, part] = ["all.tar", "part.tar"].map(|file| dir.join(file));
    let bytes = asked.scaled(DATA / 2);
    // One chunk at a time would take minutes over such a link: a part of it tells its speed.
    for (archive, bytes) in [(&archive, bytes), (&part, bytes / 100)] {
        let source = data::server();
        data::attachments(&source, bytes).await?;
        dump_to(&source, archive)?;
    }
    let small = Backup::of_archive(&part)?;
    let (one, load) = by_turns(
        asked.rounds.min(2),
        async || {
            let to = data::server();
            let url = FAR.to(&to).await?;
            let begun = Instant::now();
            restore_one_at_a_time(&url, to.token(), &small).await?;
            Ok(begun.elapsed())
        },
        async || {
            let to = data::server();
            let url = FAR.to(&to).await?;
            time(ours("chatto-load", &url, to.token()).stdin(File::open(&archive)?))
        },
    )
    .await?;
    let gain = (bytes as f64 / load.as_secs_f64()) / (small.bytes() as f64 / one.as_secs_f64());
    table.ratio(
        "load over 40 ms, against one chunk at a time",
        speed(small.bytes(), one),
        speed(bytes as u64, load),
        gain,
        AtLeast(60.0),
    );
    Ok(())
}

/// Where the link is the limit, all of it is to be used.
async fn far_and_narrow(asked: &Asked, table: &mut Table, what: &str, dir: &Path) -> Result<()> {
    let archive = dir.join("narrow.tar");
    let bytes = asked.scaled(DATA / 10);
    let source = data::server();
    data::attachments(&source, bytes).await?;
    dump_to(&source, &archive)?;
    drop(source);
    let to = data::server();
    let url = FAR_AND_NARROW.to(&to).await?;
    let took = time(ours("chatto-load", &url, to.token()).stdin(File::open(&archive)?))?;
    let link = Duration::from_secs_f64(bytes as f64 / (100e6 / 8.0));
    table.ratio(what, speed(bytes as u64, link), speed(bytes as u64, took), ratio(link, took), AtLeast(0.8));
    Ok(())
}
