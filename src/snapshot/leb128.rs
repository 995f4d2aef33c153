//! LEB128 numbers as Go's `encoding/binary` writes them: seven bits a byte, the lowest first, bit 7 set in
//! all but the last byte, ten bytes at most. Signed numbers are zigzag: the sign is the lowest bit.

/// A number that is being read.
#[derive(Default)]
struct Number {
    value: u64,
    shift: u32,
}

/// More than 64 bits.
struct TooLong;

impl Number {
    /// Takes the next byte; returns the number after its last one.
    fn push(&mut self, byte: u8) -> Result<Option<u64>, TooLong> {
        if self.shift > 63 || self.shift == 63 && byte > 1 {
            return Err(TooLong);
        }
        self.value |= u64::from(byte & 0x7f) << self.shift;
        self.shift += 7;
        Ok((byte < 0x80).then_some(self.value))
    }
}

/// Appends a number.
pub fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// Appends a signed number.
pub fn put_signed(out: &mut Vec<u8>, value: i64) {
    put(out, (value << 1 ^ value >> 63).cast_unsigned());
}

/// The signed number that was read as `value`.
pub fn signed(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// Reads a number byte by byte. None: it has more than 64 bits.
pub fn read<E>(mut next: impl FnMut() -> Result<u8, E>) -> Result<Option<u64>, E> {
    let mut number = Number::default();
    loop {
        match number.push(next()?) {
            Ok(Some(value)) => return Ok(Some(value)),
            Ok(None) => {}
            Err(TooLong) => return Ok(None),
        }
    }
}

/// Takes the first `N` numbers off `bytes`, if they are whole and fit.
pub fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u64; N]> {
    let mut rest = *bytes;
    let mut numbers = [0; N];
    for number in &mut numbers {
        let (first, later) = rest.split_first()?;
        rest = later;
        // Most are lengths of a byte or two.
        if *first < 0x80 {
            *number = u64::from(*first);
            continue;
        }
        let mut longer = Number { value: u64::from(first & 0x7f), shift: 7 };
        *number = loop {
            let (next, later) = rest.split_first()?;
            rest = later;
            if let Some(value) = longer.push(*next).ok()? {
                break value;
            }
        };
    }
    *bytes = rest;
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::super::test_snapshots::uvarint;
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for value in [0, 1, -1, 63, -64, 64, -65, i64::MAX, i64::MIN] {
            let mut bytes = Vec::new();
            put_signed(&mut bytes, value);
            assert_eq!(read(&bytes).map(signed), Some(value));
            assert_eq!(bytes, uvarint((value << 1 ^ value >> 63).cast_unsigned()));
        }
    }

    fn read(bytes: &[u8]) -> Option<u64> {
        let mut bytes = bytes.iter();
        super::read(|| bytes.next().copied().ok_or(())).ok().flatten()
    }

    #[test]
    fn numbers_end_and_fit() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            assert_eq!(read(&uvarint(value)), Some(value));
        }
        assert_eq!(read(&[0x80, 0x80]), None, "no end");
        assert_eq!(read(&[[0xff; 9].as_slice(), &[2]].concat()), None, "65 bits");
        assert_eq!(read(&[0x80; 11]), None, "eleven bytes");
    }

    #[test]
    fn several_numbers_are_taken_at_once_or_not_at_all() {
        let values = [0, 300, u64::MAX];
        let written = values.map(uvarint).concat();
        let bytes = [written.as_slice(), b"rest"].concat();
        let mut left = bytes.as_slice();
        assert_eq!(take(&mut left), Some(values));
        assert_eq!(left, b"rest");
        for cut in 0..written.len() {
            let mut left = &written[..cut];
            assert_eq!(take::<3>(&mut left), None, "{cut}");
            assert_eq!(left.len(), cut);
        }
        assert_eq!(take::<1>(&mut [[0xff; 9].as_slice(), &[2]].concat().as_slice()), None, "65 bits");
    }
}
