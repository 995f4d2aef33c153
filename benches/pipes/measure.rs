//! The measurements, in the order of the table.

use std::fs::File;
use std::path::Path;
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::baseline::{Backup, restore_one_at_a_time, take_and_drop};
use crate::link::Link;
use crate::programs::{between, ours, ours_at, time, time_shell, used, used_held_back};
use crate::spent::Spent;
use crate::support::far::Machines;
use crate::support::programs::path;
use crate::support::server::{LATEST, Server};
use crate::table::Goal::{AtLeast, AtMost};
use crate::table::{Table, seconds, speed};
use crate::turns::{DATA, by_turns, ratio};
use crate::{Asked, convert, data, growth, others, repositories};

/// A measurement adds its rows to the table.
type Measure = for<'a> fn(&'a Asked, &'a mut Table) -> Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

/// All of them, by the names that a run can ask for.
pub const ALL: &[(&str, Measure)] = &[
    ("dump", |asked, table| Box::pin(dump(asked, table))),
    ("load", |asked, table| Box::pin(load(asked, table))),
    ("streams", |asked, table| Box::pin(streams(asked, table))),
    ("pipe", |asked, table| Box::pin(pipe(asked, table))),
    ("verify", |asked, table| Box::pin(verify(asked, table))),
    ("convert", |asked, table| Box::pin(convert::all(asked, table))),
    ("memory", |asked, table| Box::pin(memory(asked, table))),
    ("start", |asked, table| Box::pin(start(asked, table))),
    ("growth", |asked, table| Box::pin(growth::all(asked, table))),
    ("repositories", |asked, table| Box::pin(repositories::all(asked, table))),
    ("others", |asked, table| Box::pin(others::all(asked, table))),
];

/// The last release whose snapshots are the blocks of its store: to restore one is to write files, not messages.
const BLOCKS: &str = "2.14.5";

/// A link over a continent.
const FAR: Link = Link { round_trip: Duration::from_millis(40), bandwidth: None };

/// The same with 100 Mbit/s.
const FAR_AND_NARROW: Link = Link { bandwidth: Some(100e6 / 8.0), ..FAR };

fn dump_to(server: &Server, archive: &Path) -> Result<()> {
    time(ours_at("chatto-dump", server).stdout(File::create(archive)?)).map(drop)
}

fn dump_to_nowhere(command: &mut Command) -> Result<Duration> {
    time(command.stdout(Stdio::null()))
}

async fn dump(asked: &Asked, table: &mut Table) -> Result<()> {
    let assets = data::server();
    data::attachments(&assets, asked.scaled(DATA)).await?;
    against_bare_client(asked, table, "dump, attachments", &assets, 0.85).await?;

    let far = FAR.to(&assets).await?;
    let (near, over) = by_turns(
        asked.rounds,
        async || dump_to_nowhere(&mut ours_at("chatto-dump", &assets)),
        async || dump_to_nowhere(&mut ours("chatto-dump", &far, assets.token())),
    )
    .await?;
    table.ratio(
        "dump over 40 ms, against here",
        seconds(near),
        seconds(over),
        ratio(near, over),
        AtLeast(0.5),
    );
    drop(assets);

    let events = data::server();
    data::events(&events, asked.scaled(DATA)).await?;
    against_bare_client(asked, table, "dump, events", &events, 0.65).await
}

async fn against_bare_client(
    asked: &Asked,
    table: &mut Table,
    what: &str,
    server: &Server,
    goal: f64,
) -> Result<()> {
    let mut bytes = 0;
    let (bare, dump) = by_turns(
        asked.rounds,
        async || {
            let take = async || {
                bytes = take_and_drop(&server.url(), server.token()).await?;
                Ok(())
            };
            Spent::on(&[server], take).await
        },
        async || {
            let dump = async || dump_to_nowhere(&mut ours_at("chatto-dump", server)).map(drop);
            Spent::on(&[server], dump).await
        },
    )
    .await?;
    table.ratio(
        what,
        speed(bytes, bare.wall),
        speed(bytes, dump.wall),
        ratio(bare.wall, dump.wall),
        AtLeast(goal),
    );
    table.spent(&format!("{what}: the bare client"), bare);
    table.spent(&format!("{what}: chatto-dump"), dump);
    Ok(())
}

async fn load(asked: &Asked, table: &mut Table) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let archive = dir.path().join("assets.tar");
    // The latest comes last, and its archive goes over the links.
    for release in [BLOCKS, LATEST] {
        let source = data::server_of(release);
        data::attachments(&source, asked.scaled(DATA)).await?;
        dump_to(&source, &archive)?;
        drop(source);
        against_one_at_a_time(asked, table, release, &archive).await?;
    }
    over_links(asked, table, &dir, &archive).await
}

/// `archive` is of a server of the same release.
async fn against_one_at_a_time(
    asked: &Asked,
    table: &mut Table,
    release: &str,
    archive: &Path,
) -> Result<()> {
    let backup = Backup::of_archive(archive)?;
    let size = backup.snapshot.len() as u64;
    let (one, load) = by_turns(
        asked.rounds,
        async || {
            let to = data::server_of(release);
            let restore = async || restore_one_at_a_time(&to.url(), to.token(), &backup).await;
            Spent::on(&[&to], restore).await
        },
        async || {
            let to = data::server_of(release);
            let load = async || time(ours_at("chatto-load", &to).stdin(File::open(archive)?)).map(drop);
            Spent::on(&[&to], load).await
        },
    )
    .await?;
    let what = format!("load into {release}");
    table.ratio(
        &what,
        speed(size, one.wall),
        speed(size, load.wall),
        ratio(one.wall, load.wall),
        AtLeast(2.5),
    );
    table.spent(&format!("{what}: one chunk at a time"), one);
    table.spent(&format!("{what}: chatto-load"), load);
    Ok(())
}

async fn over_links(asked: &Asked, table: &mut Table, dir: &TempDir, archive: &Path) -> Result<()> {
    let size = asked.scaled(DATA) as u64;
    // One chunk at a time would take twenty minutes over such a link: a part of it tells its speed.
    let part = dir.path().join("part.tar");
    let source = data::server();
    data::attachments(&source, asked.scaled(DATA) / 100).await?;
    dump_to(&source, &part)?;
    let small = Backup::of_archive(&part)?;
    let (one, load) = by_turns(
        asked.rounds,
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
            time(ours("chatto-load", &url, to.token()).stdin(File::open(archive)?))
        },
    )
    .await?;
    let few = small.snapshot.len() as u64;
    let gain = (size as f64 / load.as_secs_f64()) / (few as f64 / one.as_secs_f64());
    table.ratio("load over 40 ms", speed(few, one), speed(size, load), gain, AtLeast(60.0));

    // Where the link is the limit, all of it is to be used.
    let to = data::server();
    let url = FAR_AND_NARROW.to(&to).await?;
    let narrow = asked.scaled(DATA / 10);
    let source = data::server();
    data::attachments(&source, narrow).await?;
    dump_to(&source, &part)?;
    let took = time(ours("chatto-load", &url, to.token()).stdin(File::open(&part)?))?;
    let link = Duration::from_secs_f64(narrow as f64 / (100e6 / 8.0));
    table.ratio(
        "load over 40 ms and 100 Mbit/s, of the link",
        speed(narrow as u64, link),
        speed(narrow as u64, took),
        ratio(link, took),
        AtLeast(0.8),
    );
    Ok(())
}

async fn streams(asked: &Asked, table: &mut Table) -> Result<()> {
    let server = data::server();
    data::streams(&server, asked.scaled(2_000)).await?;
    let far = FAR.to(&server).await?;
    for (what, url, most) in
        [("dump of 2,000 streams, against -j 1", server.url(), 0.4), ("the same over 40 ms", far, 0.15)]
    {
        let (one, many) = by_turns(
            if url == server.url() { asked.rounds } else { 1 },
            async || dump_to_nowhere(ours("chatto-dump", &url, server.token()).args(["-j", "1"])),
            async || dump_to_nowhere(&mut ours("chatto-dump", &url, server.token())),
        )
        .await?;
        table.ratio(what, seconds(one), seconds(many), ratio(many, one), AtMost(most));
    }
    Ok(())
}

/// Between two machines that ssh(1) connects, each with a server; both of them are this one.
async fn pipe(asked: &Asked, table: &mut Table) -> Result<()> {
    let dir = tempfile::tempdir()?;
    for name in ["bin", "source"] {
        std::fs::create_dir(dir.path().join(name))?;
    }
    let bin = dir.path().join("bin");
    let _machines = Machines::start(dir.path(), &["source"], &bin, &std::env::var("PATH")?);
    let dump = format!("{}/ssh source \"$FROM $DUMP\"", bin.display());
    let source = data::server();
    data::attachments(&source, asked.scaled(DATA) / 2).await?;
    let turn = async |script: String| {
        let to = data::server();
        let run = async || time_shell(&script, &source, &to, dir.path()).map(drop);
        Spent::on(&[&source, &to], run).await
    };
    let (through_file, piped) = by_turns(
        asked.rounds,
        async || turn(format!("{dump} > backup.tar; $TO $LOAD backup.tar")).await,
        async || turn(format!("{dump} | $TO $LOAD")).await,
    )
    .await?;
    let what = "dump over ssh piped into load";
    table.ratio(
        &format!("{what}, against by way of a file"),
        seconds(through_file.wall),
        seconds(piped.wall),
        ratio(piped.wall, through_file.wall),
        AtMost(0.7),
    );
    table.spent(&format!("{what}: by way of a file"), through_file);
    table.spent(&format!("{what}: at once"), piped);
    Ok(())
}

async fn verify(asked: &Asked, table: &mut Table) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let archive = dir.path().join("backup.tar");
    for (what, events) in [("verify, attachments", false), ("verify, events", true)] {
        let source = data::server();
        match events {
            true => data::events(&source, asked.scaled(DATA)).await?,
            false => data::attachments(&source, asked.scaled(DATA)).await?,
        }
        dump_to(&source, &archive)?;
        drop(source);
        let size = std::fs::metadata(&archive)?.len();
        let (sum, verify) = by_turns(
            asked.rounds,
            async || time(Command::new("sha256sum").arg(&archive).stdout(Stdio::null())),
            async || {
                time(Command::new(path("chatto-manifest")).arg("verify").arg(&archive).stdout(Stdio::null()))
            },
        )
        .await?;
        table.ratio(
            &format!("{what}, against sha256sum"),
            speed(size, sum),
            speed(size, verify),
            ratio(sum, verify),
            AtLeast(0.5),
        );
    }
    Ok(())
}

async fn memory(asked: &Asked, table: &mut Table) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut peaks: [Vec<u64>; 2] = Default::default();
    let mut written = [0; 2];
    for size in [100_000_000, 4_000_000_000] {
        let source = data::server();
        data::attachments(&source, asked.scaled(size)).await?;
        let dump = ours_at("chatto-dump", &source);
        let taken = used_held_back(&dump)?;
        peaks[0].push(taken.memory);
        written[0] += taken.written;
        if size == 4_000_000_000 {
            first_bytes(table, &source)?;
            spool(table, &source, &dir)?;
        }
        let archive = dir.path().join("backup.tar");
        dump_to(&source, &archive)?;
        drop(source);
        let to = data::server();
        let taken = used(&ours_at("chatto-load", &to), Some(&archive))?;
        peaks[1].push(taken.memory);
        written[1] += taken.written;
    }
    for ((what, peaks), written) in ["dump", "load"].into_iter().zip(peaks).zip(written) {
        let mib = |kib: u64| kib as f64 / 1024.0;
        let (small, large) = (peaks.first().context("a peak")?, peaks.last().context("a peak")?);
        table.ratio(
            &format!("peak memory of a {what}, 4 GB against 100 MB"),
            format!("{:.1} MiB", mib(*small)),
            format!("{:.1} MiB", mib(*large)),
            mib(*large) / mib(*small),
            AtMost(1.1),
        );
        let most = mib(*small.max(large));
        table.figure(
            &format!("peak memory of a {what}"),
            format!("{most:.1} MiB"),
            most,
            " MiB",
            AtMost(96.0),
        );
        let bytes = written as f64;
        table.figure(
            &format!("written to disk by a {what}"),
            format!("{written} bytes"),
            bytes,
            " B",
            AtMost(0.0),
        );
    }
    Ok(())
}

/// A spool holds no more than the stream in flight.
fn spool(table: &mut Table, source: &Server, dir: &TempDir) -> Result<()> {
    let mut dump = ours_at("chatto-dump", source);
    dump.arg("--spool-dir").arg(dir.path());
    let written = used(&dump, None)?.written;
    let archive = dir.path().join("spooled.tar");
    time(dump.stdout(File::create(&archive)?))?;
    let size = std::fs::metadata(&archive)?.len();
    std::fs::remove_file(&archive)?;
    // Such an archive is as long as its one snapshot; the file system adds what it keeps beside the data.
    table.ratio(
        "written to disk with --spool-dir, against the archive",
        format!("{} MB", size / 1_000_000),
        format!("{} MB", written / 1_000_000),
        written as f64 / size as f64,
        AtMost(1.01),
    );
    Ok(())
}

/// From the program's start to the first part of the snapshot, and so with the connecting and the listing.
fn first_bytes(table: &mut Table, source: &Server) -> Result<()> {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let (first, after) = between(&mut ours_at("chatto-dump", source), b"part-000001")?;
        best = best.min(first + after);
    }
    let ms = best.as_secs_f64() * 1e3;
    table.figure("first bytes of a 4 GB stream", seconds(best), ms, " ms", AtMost(200.0));
    Ok(())
}

async fn start(asked: &Asked, table: &mut Table) -> Result<()> {
    let server = data::server();
    let mut best = Duration::MAX;
    for _ in 0..asked.rounds.max(10) {
        best = best.min(between(&mut ours_at("chatto-dump", &server), b"backup/")?.0);
    }
    let ms = best.as_secs_f64() * 1e3;
    table.figure("start to first byte, empty server", seconds(best), ms, " ms", AtMost(50.0));
    for program in ["chatto-dump", "chatto-load", "chatto-keys", "chatto-manifest"] {
        let mb = std::fs::metadata(path(program))?.len() as f64 / 1e6;
        table.figure(&format!("size of {program}"), format!("{mb:.1} MB"), mb, " MB", AtMost(10.0));
    }
    Ok(())
}
