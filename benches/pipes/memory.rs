//! Peak memory, and what is written to disk, whatever the size of the data and of the pieces that come in.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::ChildStdin;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::dump::dump_to;
use crate::programs::{between, ours_at, time, used, used_held_back};
use crate::support::programs::program;
use crate::support::server::Server;
use crate::table::Goal::AtMost;
use crate::table::{Table, megabytes};
use crate::{Asked, data};

const SMALL: usize = 100_000_000;
const LARGE: usize = 2_000_000_000;

/// How an archive comes in: in pieces as large as a pipe takes, or in small ones, each when the one before has been
/// read.
#[derive(Clone, Copy)]
enum Pieces {
    Large,
    Small,
}

const PIECE: usize = 512;

/// How long small ones come in; then they may gather.
const SMALL_PIECES: Duration = Duration::from_secs(30);

pub async fn all(asked: &Asked, table: &mut Table) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let archive = dir.path().join("backup.tar");
    let (mut dumps, mut loads, mut verifies) = (Vec::new(), Vec::new(), Vec::new());
    for size in [SMALL, LARGE] {
        let source = data::server();
        data::attachments(&source, asked.scaled(size)).await?;
        dumps.push(used_held_back(&ours_at("chatto-dump", &source))?);
        if size == LARGE {
            table.measure("first bytes", async |table| first_bytes(table, &source)).await;
            table.measure("spool", async |table| spool(table, &source, dir.path())).await;
        }
        dump_to(&source, &archive)?;
        drop(source);
        let pieces = if size == SMALL { &[Pieces::Large, Pieces::Small][..] } else { &[Pieces::Large] };
        for pieces in pieces {
            let to = data::server();
            let feed = |stdin: &mut ChildStdin| pieces.of(&archive, stdin);
            loads.push(used(&ours_at("chatto-load", &to), feed)?);
            let mut verify = program("chatto-manifest");
            verifies.push(used(verify.arg("verify"), feed)?);
        }
    }
    let pieces = format!("in pieces of {PIECE} bytes to 64 KiB");
    let mut written = 0;
    for (what, used) in [
        ("dump".to_owned(), dumps),
        (format!("load, {pieces}"), loads),
        (format!("verify, {pieces}"), verifies),
    ] {
        let most = used.iter().map(|used| used.memory).max().unwrap_or_default();
        written += used.iter().map(|used| used.written).sum::<u64>();
        let what = format!("peak memory, 100 MB to 2 GB: {what}");
        table.figure(&what, most as f64 / 1024.0, " MiB", AtMost(96.0));
    }
    table.figure("written to disk by all of these", written as f64, " B", AtMost(0.0));
    Ok(())
}

impl Pieces {
    fn of(self, archive: &Path, stdin: &mut ChildStdin) -> Result<()> {
        let mut archive = File::open(archive)?;
        match self {
            Pieces::Large => drop(std::io::copy(&mut archive, stdin)?),
            Pieces::Small => {
                let mut bytes = Vec::new();
                archive.read_to_end(&mut bytes)?;
                let begun = Instant::now();
                for piece in bytes.chunks(PIECE) {
                    // A machine that is busy with something else would take an hour for it.
                    while begun.elapsed() < SMALL_PIECES && rustix::io::ioctl_fionread(&*stdin)? > 0 {
                        std::thread::yield_now();
                    }
                    stdin.write_all(piece)?;
                }
            }
        }
        Ok(())
    }
}

/// A spool holds no more than the stream in flight.
fn spool(table: &mut Table, source: &Server, dir: &Path) -> Result<()> {
    let mut dump = ours_at("chatto-dump", source);
    dump.arg("--spool-dir").arg(dir);
    let written = used(&dump, |_| Ok(()))?.written;
    let archive = dir.join("spooled.tar");
    time(dump.stdout(File::create(&archive)?))?;
    let size = std::fs::metadata(&archive)?.len();
    std::fs::remove_file(&archive)?;
    // Such an archive is as long as its one snapshot; the file system adds what it keeps beside the data.
    table.ratio(
        "written to disk with --spool-dir, against the archive",
        megabytes(size),
        megabytes(written),
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
    table.figure("first bytes of a 2 GB stream", best.as_secs_f64() * 1e3, " ms", AtMost(200.0));
    Ok(())
}
