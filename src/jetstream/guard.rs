//! Bounds the bytes that are not a whole message yet. The client library holds a message, or a line, until its end has come,
//! and takes any length that the server announces. So the guard watches how much has come since the last whole message,
//! and cuts the connection when that is more than any answer has.
//!
//! The server's first line comes before the library gives a connection. Until then the guard watches the memory of the
//! process, where the system shows it (Linux's `/proc`).
//!
//! The guard has a thread of its own. The program's thread may be busy with what the server sends.

use std::io;
use std::sync::atomic::Ordering;
use std::thread::{self, sleep};
use std::time::Duration;

use async_nats::Client;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use super::Error;

/// The largest answer that is taken, in bytes: a page of 100,000 subjects has 8 MiB.
pub(super) const MAX_ANSWER: usize = 16 << 20;

/// How often it is looked at. At 1 GB/s 5 MB come meanwhile.
const TICK: Duration = Duration::from_millis(5);

/// By how much the memory of the process may grow while it connects, in bytes.
const CONNECTING: u64 = 32 << 20;

/// Whether a server has sent something that is too large.
#[derive(Clone)]
pub(super) struct SizeGuard(watch::Receiver<bool>);

impl SizeGuard {
    /// Watches over `client` for as long as anybody holds the guard.
    pub fn over(client: &Client) -> Result<SizeGuard, Error> {
        let (tell, told) = watch::channel(false);
        let (client, runtime) = (client.clone(), Handle::current());
        start_thread(move || watch_over(&client, &tell, &runtime))?;
        Ok(SizeGuard(told))
    }

    /// Returns when something too large has come, with what is to be said of it.
    pub async fn alarm(&self) -> Error {
        if self.0.clone().wait_for(|told| *told).await.is_err() {
            std::future::pending::<()>().await;
        }
        too_large()
    }

    /// Whether something too large has come.
    pub fn has_seen(&self) -> bool {
        *self.0.borrow()
    }
}

pub(super) fn too_large() -> Error {
    Error::TooLarge { what: "something that the server sends".into(), limit: MAX_ANSWER as u64 }
}

/// Starts a thread, which ends by itself.
fn start_thread(watch: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    let failed = |e: io::Error| Error::Unusable(format!("cannot start a thread: {e}"));
    thread::Builder::new().name("guard".into()).spawn(watch).map(drop).map_err(failed)
}

fn watch_over(client: &Client, tell: &watch::Sender<bool>, runtime: &Handle) {
    let statistics = client.statistics();
    let (mut messages, mut bytes) = (0, 0);
    while !tell.is_closed() {
        sleep(TICK);
        let came = statistics.in_messages.load(Ordering::Relaxed);
        let now = statistics.in_bytes.load(Ordering::Relaxed);
        if came != messages {
            (messages, bytes) = (came, now);
        } else if now.saturating_sub(bytes) > MAX_ANSWER as u64 {
            bytes = now;
            tell.send_replace(true);
            // Frees what the library has read so far.
            let _ = runtime.block_on(client.force_reconnect());
        }
    }
}

/// Returns when the process has grown by more than a server's first line can explain; never where that is not
/// to be seen.
pub(super) async fn grown() -> Result<(), Error> {
    let Some(before) = resident() else { return std::future::pending().await };
    let (tell, told) = oneshot::channel();
    start_thread(move || {
        while !tell.is_closed() {
            sleep(TICK);
            if resident().is_some_and(|now| now.saturating_sub(before) > CONNECTING) {
                let _ = tell.send(());
                return;
            }
        }
    })?;
    match told.await {
        Ok(()) => Ok(()),
        Err(_) => std::future::pending().await,
    }
}

/// The memory of this process, in bytes.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}
