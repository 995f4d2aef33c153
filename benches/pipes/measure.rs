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
use crate::programs::{between, ours, ours_at, time, time_shell, used};
use crate::support::programs::path;
use crate::support::server::Server;
use crate::table::Goal::{AtLeast, AtMost};
use crate::table::{Table, seconds, speed};
use crate::{Asked, data, growth};

/// A measurement adds its rows to the table.
type Measure = for<'a> fn(&'a Asked, &'a mut Table) -> Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

/// All of them, by the names that a run can ask for.
pub const ALL: &[(&str, Measure)] = &[
    ("dump", |asked, table| Box::pin(dump(asked, table))),
    ("load", |asked, table| Box::pin(load(asked, table))),
    ("streams", |asked, table| Box::pin(streams(asked, table))),
    ("pipe", |asked, table| Box::pin(pipe(asked, table))),
    ("verify", |asked, table| Box::pin(verify(asked, table))),
    ("memory", |asked, table| Box::pin(memory(asked, table))),
    ("start", |asked, table| Box::pin(start(asked, table))),
    ("growth", |asked, table| Box::pin(growth::all(asked, table))),
];

/// The data of most measurements, in bytes.
const DATA: usize = 2_000_000_000;

/// A link over a continent.
const FAR: Link = Link { round_trip: Duration::from_millis(40), bandwidth: None };

/// The same with 100 Mbit/s.
const FAR_AND_NARROW: Link = Link { bandwidth: Some(100e6 / 8.0), ..FAR };

/// Both sides of a ratio by turns, so that what slows the machine slows both; the fastest of each counts.
async fn by_turns<A, B>(rounds: usize, mut a: A, mut b: B) -> Result<(Duration, Duration)>
where
    A: AsyncFnMut() -> Result<Duration>,
    B: AsyncFnMut() -> Result<Duration>,
{
    let mut best = (Duration::MAX, Duration::MAX);
    for _ in 0..rounds.max(1) {
        best.0 = best.0.min(a().await?);
        best.1 = best.1.min(b().await?);
    }
    Ok(best)
}

fn ratio(slow: Duration, fast: Duration) -> f64 {
    slow.as_secs_f64() / fast.as_secs_f64()
}

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
            let begun = Instant::now();
            bytes = take_and_drop(&server.url(), server.token()).await?;
            Ok(begun.elapsed())
        },
        async || dump_to_nowhere(&mut ours_at("chatto-dump", server)),
    )
    .await?;
    table.ratio(what, speed(bytes, bare), speed(bytes, dump), ratio(bare, dump), AtLeast(goal));
    Ok(())
}

async fn load(asked: &Asked, table: &mut Table) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let archive = dir.path().join("assets.tar");
    let source = data::server();
    data::attachments(&source, asked.scaled(DATA)).await?;
    dump_to(&source, &archive)?;
    drop(source);
    let backup = Backup::of_archive(&archive)?;
    let size = backup.snapshot.len() as u64;

    let (one, load) = by_turns(
        asked.rounds,
        async || {
            let to = data::server();
            let begun = Instant::now();
            restore_one_at_a_time(&to.url(), to.token(), &backup).await?;
            Ok(begun.elapsed())
        },
        async || {
            let to = data::server();
            time(ours_at("chatto-load", &to).stdin(File::open(&archive)?))
        },
    )
    .await?;
    table.ratio("load", speed(size, one), speed(size, load), ratio(one, load), AtLeast(2.5));
    drop(backup);

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
            time(ours("chatto-load", &url, to.token()).stdin(File::open(&archive)?))
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

async fn pipe(asked: &Asked, table: &mut Table) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let source = data::server();
    data::attachments(&source, asked.scaled(DATA) / 2).await?;
    let dump = "CHATTO_NATS_CLIENT_URL=$FROM_URL CHATTO_NATS_CLIENT_TOKEN=$FROM_TOKEN $DUMP";
    let load = "CHATTO_NATS_CLIENT_URL=$TO_URL CHATTO_NATS_CLIENT_TOKEN=$TO_TOKEN $LOAD";
    let (through_file, piped) = by_turns(
        asked.rounds,
        async || {
            let to = data::server();
            time_shell(&format!("{dump} > backup.tar; {load} < backup.tar"), &source, &to, dir.path())
        },
        async || {
            let to = data::server();
            time_shell(&format!("{dump} | {load}"), &source, &to, dir.path())
        },
    )
    .await?;
    table.ratio(
        "dump piped into load, against by way of a file",
        seconds(through_file),
        seconds(piped),
        ratio(piped, through_file),
        AtMost(0.7),
    );
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
        let taken = used(&dump, None)?;
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
