//! How far an inspection has come, for the one who feeds the same bytes to a server.
//!
//! A server drops a restore that stays silent for some seconds, so a loader whose input stalls puts
//! an S2 padding frame ([`PADDING`](super::frames::PADDING)) between two frames. It may do so only
//! where the server still reads: after the content's logical end the server has stopped decoding,
//! and padding would be taken for something else. Only the inspection knows where that end is.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Shared between an inspection and whoever feeds it. Starts at nothing.
#[derive(Debug, Default)]
pub struct Progress {
    settled: AtomicU64,
    ended: AtomicBool,
}

impl Progress {
    /// Nothing read yet.
    pub fn new() -> Self {
        Progress::default()
    }

    /// Whether a padding frame may follow the first `boundary` bytes of the snapshot.
    ///
    /// `boundary` must be the end of a frame ([`Frames::boundary`](super::Frames::boundary)). False
    /// until the inspection has digested everything before it: ask again.
    pub fn may_pad(&self, boundary: u64) -> bool {
        // The end is recorded before the count that covers it, so a count read first is enough.
        let settled = self.settled.load(Ordering::Acquire);
        boundary > 0 && settled >= boundary && !self.ended.load(Ordering::Acquire)
    }

    /// Whether the content's logical end has been read.
    pub fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Every frame in the first `bytes` bytes has been read and its content judged.
    pub(super) fn settle(&self, bytes: u64) {
        self.settled.store(bytes, Ordering::Release);
    }

    /// The content's logical end has been read.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }
}
