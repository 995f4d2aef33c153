//! How much of what arrived is still in memory. The bytes count themselves out when their last
//! holder (the pipe, the check) lets go of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::Notify;

/// What every piece costs beside its bytes, in bytes: its place in two queues, and its own count.
const A_PIECE: usize = 256;

/// A count of bytes held, shared by everybody who holds some.
#[derive(Debug, Default)]
pub struct Hold {
    held: AtomicUsize,
    freed: Notify,
}

struct Held {
    bytes: Bytes,
    hold: Arc<Hold>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.hold.held.fetch_sub(self.bytes.len().saturating_add(A_PIECE), Ordering::AcqRel);
        self.hold.freed.notify_one();
    }
}

impl Hold {
    /// Bytes that are counted until the last clone of them is gone.
    pub fn count(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        self.held.fetch_add(bytes.len().saturating_add(A_PIECE), Ordering::AcqRel);
        Bytes::from_owner(Held { bytes, hold: Arc::clone(self) })
    }

    /// Waits until the count falls, or has fallen since the last wait.
    pub async fn falls(&self) {
        self.freed.notified().await;
    }

    /// How many bytes are held now.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_held_until_their_last_clone_is_gone() {
        let hold = Arc::new(Hold::default());
        let bytes = hold.count(Bytes::from_static(b"12345"));
        let slice = bytes.slice(1..2);
        drop(bytes);
        assert_eq!(hold.held(), 5 + A_PIECE);
        drop(slice);
        assert_eq!(hold.held(), 0);
    }
}
