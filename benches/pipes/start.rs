//! What a program costs before it has done anything.

use std::time::Duration;

use anyhow::Result;

use crate::programs::{between, ours_at};
use crate::support::programs::path;
use crate::table::Goal::AtMost;
use crate::table::Table;
use crate::{Asked, data};

pub async fn all(asked: &Asked, table: &mut Table) -> Result<()> {
    let server = data::server();
    let mut best = Duration::MAX;
    for _ in 0..asked.rounds.max(10) {
        best = best.min(between(&mut ours_at("chatto-dump", &server), b"backup/")?.0);
    }
    table.figure("start to first byte, empty server", best.as_secs_f64() * 1e3, " ms", AtMost(50.0));
    let mut largest = 0;
    for program in ["chatto-dump", "chatto-load", "chatto-keys", "chatto-manifest"] {
        largest = largest.max(std::fs::metadata(path(program))?.len());
    }
    table.figure("size of the largest program", largest as f64 / 1e6, " MB", AtMost(10.0));
    Ok(())
}
