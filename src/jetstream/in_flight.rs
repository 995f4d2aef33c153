//! In-flight bytes: counts the bytes that have arrived and are still in memory. A piece of bytes is counted until its last
//! owner (the pipe, the verifier) drops it. Does not know what the bytes are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::Notify;

/// What every piece costs beside its bytes, in bytes: its place in two queues, and its own count.
const A_PIECE: usize = 256;

/// A count of the bytes in flight, shared by everybody who owns some.
#[derive(Debug, Default)]
pub struct InFlight {
    bytes: AtomicUsize,
    freed: Notify,
}

struct Counted {
    bytes: Bytes,
    in_flight: Arc<InFlight>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.in_flight.bytes.fetch_sub(self.bytes.len().saturating_add(A_PIECE), Ordering::AcqRel);
        self.in_flight.freed.notify_one();
    }
}

impl InFlight {
    /// Bytes that are counted until the last clone of them is gone.
    pub fn count(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        self.bytes.fetch_add(bytes.len().saturating_add(A_PIECE), Ordering::AcqRel);
        Bytes::from_owner(Counted { bytes, in_flight: Arc::clone(self) })
    }

    /// Waits until the count falls, or has fallen since the last wait.
    pub async fn falls(&self) {
        self.freed.notified().await;
    }

    /// How many bytes are held now.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_held_until_their_last_clone_is_gone() {
        let in_flight = Arc::new(InFlight::default());
        let bytes = in_flight.count(Bytes::from_static(b"12345"));
        let slice = bytes.slice(1..2);
        drop(bytes);
        assert_eq!(in_flight.bytes(), 5 + A_PIECE);
        drop(slice);
        assert_eq!(in_flight.bytes(), 0);
    }
}
