//! How cost grows with streams, messages and their size. A line each: what, the time of a dump, the time
//! for one of them.

use anyhow::Result;

use crate::programs::{ours_at, time};
use crate::support::server::Server;
use crate::table::{Table, seconds};
use crate::{Asked, data};

pub async fn all(asked: &Asked, table: &mut Table) -> Result<()> {
    for count in [1, 10, 100, 1_000, 10_000] {
        let count = asked.scaled(count);
        let server = data::server();
        data::streams(&server, count).await?;
        line(asked, table, &format!("{count} streams"), count, "stream", &server)?;
    }
    for count in [1_000, 10_000, 100_000, 1_000_000, 10_000_000] {
        let count = asked.scaled(count);
        let server = data::server();
        data::messages(&server, count).await?;
        line(asked, table, &format!("{count} messages of 100 bytes"), count, "message", &server)?;
    }
    let bytes = asked.scaled(1 << 30);
    for size in [1 << 10, 8 << 10, 64 << 10, 1 << 20, 8 << 20] {
        let server = data::server();
        data::assets(&server, "SIZES", bytes, size).await?;
        let what = format!("1 GiB in messages of {} KiB", size >> 10);
        line(asked, table, &what, bytes >> 20, "MiB", &server)?;
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
    table.growth(format!("{what}  {}  {each:.2} µs a {unit}", seconds(took)));
    Ok(())
}
