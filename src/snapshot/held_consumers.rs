//! Holds consumers until the messages of their stream have been written. Only then it is known where the stream ends, and no
//! consumer may stand beyond that. Memory: [`MAX_CONSUMERS`]. Writes nothing.

use super::items::Consumer;
use super::{Contents, Format, meta};

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

    /// All of them, now that the snapshot that they come from has ended: none stands beyond its end. None if one of them has
    /// no configuration that is known here.
    ///
    /// NATSARC1 says of a consumer only that it was there when the snapshot began, which is another time in each snapshot. An
    /// rsyncable one has the time `created` (ns since 1970) instead.
    pub fn into_placed(self, source: &Contents, created: Option<i64>) -> Option<Vec<Consumer>> {
        let mut consumers = self.held;
        for consumer in &mut consumers {
            if source.format == Format::Tar {
                consumer.put_back_to(source.last_seq);
                continue;
            }
            consumer.place(source.last_seq);
            if let Some(time) = created {
                consumer.info = meta::created_at(&consumer.info, time)?;
            }
        }
        Some(consumers)
    }
}
