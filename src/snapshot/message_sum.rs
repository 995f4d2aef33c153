//! A sum over messages that is the same for the same messages, in every format and in every order. Knows no format.
//!
//! It finds accidents, not forgeries. Each message has a CRC-32C; these are mixed and added up. For large messages that
//! costs next to nothing beside the checksums that are checked anyway. For small messages it is a tenth of all the work,
//! so it is done only where somebody compares.

use super::items::Record;

/// The bytes of one message as they pass: subject, headers, payload. None where nobody wants their sum.
#[derive(Debug, Clone, Copy)]
pub struct MessageCrc(Option<u32>);

impl MessageCrc {
    /// Takes the next ones.
    pub fn append(&mut self, bytes: &[u8]) {
        if let Some(crc) = &mut self.0 {
            *crc = crc32c::crc32c_append(*crc, bytes);
        }
    }
}

/// The sum so far; by default one that nobody wants.
#[derive(Debug, Clone, Copy, Default)]
pub struct MessageSum {
    wanted: bool,
    total: u64,
    messages: u64,
}

impl MessageSum {
    /// Of no messages so far. One that is not `wanted` stays none.
    pub fn new(wanted: bool) -> Self {
        MessageSum { wanted, total: 0, messages: 0 }
    }

    /// For the bytes of the next message.
    pub fn bytes(&self) -> MessageCrc {
        MessageCrc(self.wanted.then_some(0))
    }

    /// Adds a message. `time` is in ns since 1970; the lengths, in bytes, of subject, headers and payload tell
    /// where one of them ends.
    pub fn add(&mut self, sequence: u64, time: i64, lengths: [u64; 3], bytes: MessageCrc) {
        let MessageCrc(Some(crc)) = bytes else { return };
        let [subject, headers, payload] = lengths;
        let numbers = [sequence, time.cast_unsigned(), subject, headers, payload, crc.into()];
        // Addition does not care about the order.
        self.total = self.total.wrapping_add(numbers.into_iter().fold(0, mix));
        self.messages = self.messages.saturating_add(1);
    }

    /// The sum, if it is wanted and as many messages were added as `messages`.
    pub fn of(self, messages: u64) -> Option<u64> {
        (self.wanted && self.messages == messages).then_some(self.total)
    }
}

impl Record<'_> {
    /// Adds the message to a sum.
    pub(super) fn add_to(&self, sum: &mut MessageSum) {
        let parts = [self.subject, self.headers, self.payload];
        let mut bytes = sum.bytes();
        parts.iter().for_each(|part| bytes.append(part));
        sum.add(self.sequence, self.time, parts.map(|part| part.len() as u64), bytes);
    }
}

/// Spreads every bit of both over all bits, as the finaliser of MurmurHash3 does.
fn mix(state: u64, number: u64) -> u64 {
    let mut mixed = state.rotate_left(23).wrapping_add(number).wrapping_add(0x9e37_79b9_7f4a_7c15);
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        mixed = (mixed ^ mixed >> 33).wrapping_mul(factor);
    }
    mixed ^ mixed >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(messages: &[(u64, i64, &str, &str, &str)]) -> Option<u64> {
        let mut sum = MessageSum::new(true);
        for (sequence, time, subject, headers, payload) in messages {
            let parts = [subject, headers, payload];
            let mut bytes = sum.bytes();
            parts.iter().for_each(|part| bytes.append(part.as_bytes()));
            sum.add(*sequence, *time, parts.map(|part| part.len() as u64), bytes);
        }
        sum.of(messages.len() as u64)
    }

    #[test]
    fn the_order_does_not_matter_and_everything_else_does() {
        let one = (1, 7, "a.b", "h", "payload");
        let two = (2, -7, "a.c", "", "payload");
        let both = sum(&[one, two]);
        assert_eq!(sum(&[two, one]), both);
        for other in [
            &[one][..],
            &[one, one],
            &[one, two, two],
            &[(3, 7, "a.b", "h", "payload"), two],
            &[(1, 8, "a.b", "h", "payload"), two],
            &[(1, 7, "a.x", "h", "payload"), two],
            &[(1, 7, "a.b", "x", "payload"), two],
            &[(1, 7, "a.b", "h", "payloaD"), two],
            &[(1, 7, "a.bh", "", "payload"), two],
            &[(1, 7, "a.b", "hp", "ayload"), two],
            &[(2, 7, "a.b", "h", "payload"), (1, -7, "a.c", "", "payload")],
        ] {
            assert_ne!(sum(other), both, "{other:?}");
        }
    }

    #[test]
    fn a_sum_of_other_messages_too_is_none() {
        let mut sum = MessageSum::new(true);
        sum.add(1, 0, [0; 3], sum.bytes());
        assert_eq!(sum.of(0), None);
        assert!(sum.of(1).is_some());
        assert_eq!(MessageSum::new(false).of(0), None, "nobody wants it");
    }
}
