//! The tar inside a snapshot: headers, names and the end, strictly. Knows nothing of what the files
//! mean.
//!
//! A reader of our own, because this one must notice every cut and bound every length; the tar crate
//! takes an archive without its end, and reads extended headers of any size into memory.
//!
//! | bytes of the 512-byte header | what |
//! |---|---|
//! | 0..100 | name, NUL-padded |
//! | 124..136 | size, octal |
//! | 148..156 | checksum: the sum of the header's bytes with this field as spaces, octal |
//! | 156 | type: `0` (or NUL) a file, `x` extended header for the next one; servers write no others |
//! | 257..262 | `ustar` |
//! | 345..500 | prefix of the name |
//!
//! Data is padded with zeros to 512 bytes; two blocks of zeros end the archive. An extended header
//! is lines of `LENGTH KEY=VALUE\n`; `path` and `size` count, times do not. Servers write one for every
//! file (Go's `archive/tar`, PAX format). Source: POSIX.1-2017, pax.

use std::io::Read;

use super::content::Content;
use super::fault::Fault;
use crate::names::Printable;

/// The longest extended header that is read: a path of a stream's or consumer's name and a few times.
const MAX_EXTENDED: u64 = 16 << 10;
const BLOCK: usize = 512;

/// One file of the tar.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its path, as written.
    pub path: String,
    /// Its length in bytes.
    pub size: u64,
}

/// Reads the next entry's header, or nothing at the two zero blocks that end the tar. The entry
/// before must have been read to its end, and its [`padding`] too.
pub fn next<R: Read>(content: &mut Content<R>) -> Result<Option<Entry>, Fault> {
    content.within(None);
    let mut path = None;
    let mut size = None;
    loop {
        let header = header(content)?;
        if header.iter().all(|byte| *byte == 0) {
            if path.is_some() || size.is_some() {
                return Err(content.damaged("an extended header without its file"));
            }
            if self::header(content)?.iter().any(|byte| *byte != 0) {
                return Err(content.damaged("a lone block of zeros"));
            }
            return Ok(None);
        }
        verify(content, &header)?;
        let here = octal(field(&header, 124, 12)).ok_or_else(|| content.damaged("a tar header's size"))?;
        match header[156] {
            b'x' => {
                if here > MAX_EXTENDED {
                    return Err(content.damaged("an extended tar header is too long"));
                }
                let mut text = vec![0; here as usize];
                content.exact(&mut text)?;
                padding(content, here)?;
                for (key, value) in records(&text).ok_or_else(|| content.damaged("an extended tar header"))? {
                    match key {
                        b"path" => path = Some(value.to_vec()),
                        b"size" => size = Some(decimal(value).ok_or_else(|| content.damaged("a size"))?),
                        _ => {}
                    }
                }
            }
            b'0' | 0 => {
                let bytes = path.unwrap_or_else(|| name(&header));
                let path = String::from_utf8(bytes).map_err(|_| content.damaged("a name is not UTF-8"))?;
                content.within(Some(Printable::new(&path)));
                return Ok(Some(Entry { path, size: size.unwrap_or(here) }));
            }
            _ => return Err(content.damaged("an entry is not a file")),
        }
    }
}

/// Reads the zeros that follow `size` bytes of data.
pub fn padding<R: Read>(content: &mut Content<R>, size: u64) -> Result<(), Fault> {
    let mut zeros = true;
    content.pass(size.wrapping_neg() % BLOCK as u64, |bytes| zeros &= bytes.iter().all(|byte| *byte == 0))?;
    if zeros { Ok(()) } else { Err(content.damaged("the padding of an entry is not zeros")) }
}

fn header<R: Read>(content: &mut Content<R>) -> Result<[u8; BLOCK], Fault> {
    let mut header = [0; BLOCK];
    content.exact(&mut header)?;
    Ok(header)
}

fn verify<R: Read>(content: &Content<R>, header: &[u8; BLOCK]) -> Result<(), Fault> {
    let bytes: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
    let field_bytes: u64 = field(header, 148, 8).iter().map(|byte| u64::from(*byte)).sum();
    let sum = bytes - field_bytes + 8 * u64::from(b' ');
    if field(header, 257, 5) != b"ustar" || octal(field(header, 148, 8)) != Some(sum) {
        return Err(content.damaged("a tar header's checksum does not match"));
    }
    Ok(())
}

fn field(header: &[u8; BLOCK], at: usize, len: usize) -> &[u8] {
    header.get(at..at + len).unwrap_or(&[])
}

fn name(header: &[u8; BLOCK]) -> Vec<u8> {
    let text = |at, len| field(header, at, len).split(|byte| *byte == 0).next().unwrap_or(&[]);
    match text(345, 155) {
        [] => text(0, 100).to_vec(),
        prefix => [prefix, text(0, 100)].join(&b'/'),
    }
}

fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?;
    u64::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok()
}

fn decimal(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The `KEY=VALUE`s of an extended header.
fn records(mut text: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut found = Vec::new();
    while !text.is_empty() {
        let space = text.iter().position(|byte| *byte == b' ')?;
        let len = usize::try_from(decimal(text.get(..space)?)?).ok()?;
        let record = text.get(space + 1..len)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        found.push((record.get(..equals)?, record.get(equals + 1..)?));
        text = text.get(len..)?;
    }
    Some(found)
}
