//! How cost grows with streams, messages and their size. A line each: what, the time of a dump, the time
//! for one of them.

use anyhow::Result;

use crate::programs::{ours_at, time};
use crate::support::server::Server;
use crate::table::{Table, seconds};
use crate::{Asked, data};

/// In messages of each size, in bytes.
const CONTENT: usize = 256 << 20;

pub async fn all(asked: &Asked, table: &mut Table) -> Result<()> {
    for count in [1, 10, 100, 1_000, 5_000] {
        let count = asked.scaled(count);
        let server = data::server();
        data::streams(&server, count).await?;
        line(asked, table, &format!("{count} streams"), count, "stream", &server)?;
    }
    for count in [1_000, 10_000, 100_000, 1_000_000] {
        let count = asked.scaled(count);
        let server = data::server();
        data::messages(&server, count).await?;
        line(asked, table, &format!("{count} messages of 100 bytes"), count, "message", &server)?;
    }
    for size in [1 << 10, 64 << 10, 8 << 20] {
        let content = asked.scaled(CONTENT);
        let server = data::server();
        data::assets(&server, "SIZES", content, size).await?;
        let what = format!("256 MiB in messages of {} KiB", size >> 10);
        line(asked, table, &what, content >> 20, "MiB", &server)?;
    }
    Ok(())
}

fn line(
    asked: &Asked,
    table: &mut Table,
    what: &str,
    count: usize,
    unit: &str,
    server: &Server,
) -> Result<()> {
    let mut best = None;
    for _ in 0..asked.rounds {
        let took = time(ours_at("chatto-dump", server).stdout(std::process::Stdio::null()))?;
        best = best.filter(|best| *best < took).or(Some(took));
    }
    let took = best.unwrap_or_default();
    let each = took.as_secs_f64() / count.max(1) as f64 * 1e6;
    table.growth([what.into(), seconds(took), format!("{each:.2} µs a {unit}")]);
    Ok(())
}
