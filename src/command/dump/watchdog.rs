//! The watchdog: if nothing happens in a dump any more, it ends the dump with a message. Knows no streams.
//!
//! Every wait for the server has its own time limit. If nothing happens for longer than that, parts of this program wait
//! for each other, which is a fault of this program. Without the watchdog, such a backup would never end. The reader of our
//! output may take any time, and so may a disk and a check. While one of them is at work, the watchdog does not count.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// How often the watchdog looks at a dump before the dump counts as stuck. It counts looks and not time, because the machine
/// or the program may have been stopped for a while.
const LOOKS: u32 = 10;

/// Shows that a dump is alive. All parts of a dump share it.
#[derive(Debug, Default)]
pub(super) struct Heartbeat {
    beats: AtomicU64,
    /// How many parts are at work now that have no time limit: a writer, a check.
    at_work: AtomicUsize,
}

/// A part of the dump is at work until this is dropped.
pub(super) struct WorkGuard(Arc<Heartbeat>);

impl Heartbeat {
    /// Something happened: bytes arrived, an answer came, a wait was over.
    pub fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// A part of the dump begins work that has no time limit.
    pub fn at_work(self: &Arc<Self>) -> WorkGuard {
        self.at_work.fetch_add(1, Ordering::Relaxed);
        WorkGuard(Arc::clone(self))
    }

    /// Waits until nothing has happened for `limit`.
    pub async fn stopped(&self, limit: Duration) {
        let (mut seen, mut looks) = (self.beats.load(Ordering::Relaxed), 0);
        while looks < LOOKS {
            tokio::time::sleep(limit / LOOKS).await;
            let beats = self.beats.load(Ordering::Relaxed);
            looks = match beats == seen && self.at_work.load(Ordering::Relaxed) == 0 {
                true => looks + 1,
                false => 0,
            };
            seen = beats;
        }
    }
}

impl Drop for WorkGuard {
    fn drop(&mut self) {
        self.0.at_work.fetch_sub(1, Ordering::Relaxed);
        self.0.beat();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    use super::*;

    /// Short, and long enough for a loaded machine to beat in time.
    const LIMIT: Duration = Duration::from_millis(200);

    /// Whether the watchdog is satisfied now.
    async fn is_pending(mut future: std::pin::Pin<&mut impl Future>) -> bool {
        poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await
    }

    #[tokio::test]
    async fn a_dump_in_which_nothing_happens_is_stuck_and_one_that_waits_for_its_reader_is_not() {
        let heartbeat = Arc::new(Heartbeat::default());
        heartbeat.stopped(LIMIT).await;

        let writing = heartbeat.at_work();
        let mut stopped = pin!(heartbeat.stopped(LIMIT));
        for _ in 0..3 * LOOKS {
            assert!(is_pending(stopped.as_mut()).await, "the reader takes its time");
            tokio::time::sleep(LIMIT / LOOKS).await;
        }
        drop(writing);
        stopped.await;
    }

    #[tokio::test]
    async fn whatever_happens_keeps_a_dump_alive() {
        let heartbeat = Heartbeat::default();
        let mut stopped = pin!(heartbeat.stopped(LIMIT));
        for _ in 0..3 * LOOKS {
            heartbeat.beat();
            assert!(is_pending(stopped.as_mut()).await);
            tokio::time::sleep(LIMIT / LOOKS).await;
        }
    }
}
