//! Holds consumers until the messages of their stream have been written. Memory: [`MAX_CONSUMERS`]. Knows no format.

use super::items::Consumer;

/// The most bytes that the consumers of one stream may take, which are held until its messages have been written.
pub const MAX_CONSUMERS: usize = 16 << 20;

/// What a pending message takes, and one that was delivered again, in bytes.
const A_PENDING: usize = 24;
const A_REDELIVERED: usize = 16;

/// Those that wait.
#[derive(Default)]
pub(super) struct HeldConsumers {
    held: Vec<Consumer>,
    bytes: usize,
}

/// They take more than [`MAX_CONSUMERS`].
pub(super) struct TooManyConsumers;

impl HeldConsumers {
    /// Holds one more.
    pub fn hold(&mut self, consumer: Consumer) -> Result<(), TooManyConsumers> {
        let state = &consumer.state;
        let pending = state.pending.len().saturating_mul(A_PENDING);
        let redelivered = state.redelivered.len().saturating_mul(A_REDELIVERED);
        let texts = consumer.info.get().len() + consumer.name.len();
        let size = pending.saturating_add(redelivered).saturating_add(texts + size_of::<Consumer>());
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > MAX_CONSUMERS {
            return Err(TooManyConsumers);
        }
        self.held.push(consumer);
        Ok(())
    }

    /// All of them, now that their turn has come.
    pub fn into_all(self) -> Vec<Consumer> {
        self.held
    }
}
