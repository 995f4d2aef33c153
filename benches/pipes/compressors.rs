//! Dumps and loads as people run them, through a compressor, against the same without. Half of the data compresses, as
//! events do, and half does not, as attachments do.

use std::time::Duration;

use anyhow::Result;

use crate::programs::{is_on_path, shell, time};
use crate::support::server::Server;
use crate::table::{Table, megabytes};
use crate::{Asked, data};

/// Each half, in bytes.
const HALF: usize = 150_000_000;

const COMPRESSORS: [&str; 5] = ["zstd", "zstd -T0", "pigz", "gzip", "gzip -1"];

pub async fn all(asked: &Asked, table: &mut Table) -> Result<()> {
    let source = data::server();
    let half = asked.scaled(HALF);
    data::attachments(&source, half).await?;
    data::events(&source, half).await?;
    let plain = Measured::of(asked, &source, "cat")?;
    plain.line(table, "nothing", &plain, half * 2);
    for compressor in COMPRESSORS {
        let program = compressor.split(' ').next().unwrap_or_default();
        let what = format!("`{compressor}`");
        if !is_on_path(program) {
            table.nothing(&what, "not on $PATH");
            continue;
        }
        table
            .measure(&what, async |table| {
                Measured::of(asked, &source, compressor)?.line(table, &what, &plain, half * 2);
                Ok(())
            })
            .await;
    }
    Ok(())
}

/// The fastest of some rounds, and the size of the archive.
struct Measured {
    dump: Duration,
    load: Duration,
    size: u64,
}

impl Measured {
    fn of(asked: &Asked, source: &Server, compressor: &str) -> Result<Measured> {
        let dir = tempfile::tempdir()?;
        let mut best = Measured { dump: Duration::MAX, load: Duration::MAX, size: 0 };
        for _ in 0..asked.rounds.min(2) {
            let to = data::server();
            let urls = [source.url(), to.url()];
            let script =
                |script: &str| shell(script, [&urls[0], &urls[1]], [source.token(), to.token()], dir.path());
            best.dump = best.dump.min(time(&mut script(&format!("$FROM $DUMP | {compressor} > backup")))?);
            best.load = best.load.min(time(&mut script("$TO $LOAD backup"))?);
            best.size = std::fs::metadata(dir.path().join("backup"))?.len();
        }
        Ok(best)
    }

    fn line(&self, table: &mut Table, what: &str, plain: &Measured, bytes: usize) {
        let of = |took: Duration, plain: Duration| {
            let speed = bytes as f64 / 1e6 / took.as_secs_f64();
            format!("{speed:.0} MB/s, {:.2} of it", plain.as_secs_f64() / took.as_secs_f64())
        };
        let share = self.size as f64 / plain.size as f64;
        table.piped([
            what.into(),
            of(self.dump, plain.dump),
            of(self.load, plain.load),
            format!("{}, {share:.2} of it", megabytes(self.size)),
        ]);
    }
}
