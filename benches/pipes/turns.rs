//! Two things measured by turns.

use std::time::Duration;

use anyhow::Result;

/// The attachments of most measurements, in bytes.
pub const DATA: usize = 1_000_000_000;

/// The events of most measurements, in bytes before they are compressed.
pub const EVENTS: usize = 500_000_000;

/// Both sides of a ratio by turns, so that what slows the machine slows both; the fastest of each counts.
pub async fn by_turns<T, A, B>(rounds: usize, mut a: A, mut b: B) -> Result<(T, T)>
where
    T: PartialOrd,
    A: AsyncFnMut() -> Result<T>,
    B: AsyncFnMut() -> Result<T>,
{
    let faster = |one, other| if other < one { other } else { one };
    let mut best = (a().await?, b().await?);
    for _ in 1..rounds {
        best = (faster(best.0, a().await?), faster(best.1, b().await?));
    }
    Ok(best)
}

pub fn ratio(slow: Duration, fast: Duration) -> f64 {
    slow.as_secs_f64() / fast.as_secs_f64()
}
