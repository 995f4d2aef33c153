//! Writes and reads the 512-byte headers of a tar: those of an archive, and those of the tar inside a snapshot. Does not know
//! what the paths mean.
//!
//! Source: POSIX.1-2017, pax(1), "ustar Interchange Format" and "pax Extended Header"; what GNU tar
//! adds is from its manual, "Basic Tar Format".
//!
//! | offset | bytes | field | we write | we read |
//! |---|---|---|---|---|
//! | 0 | 100 | name | path, or what follows the prefix | cut at NUL |
//! | 100 | 8 | mode | 0600, directories 0700 | no |
//! | 108 | 8, 8 | uid, gid | 0 | no |
//! | 124 | 12 | size | octal; 0 for a directory | octal, or base-256 when bit 7 is set |
//! | 136 | 12 | mtime | the dump's start | no |
//! | 148 | 8 | checksum | sum of all bytes, this field as spaces | checked |
//! | 156 | 1 | type | `0` file, `5` directory, `x` PAX | `0`, NUL, `5`, `x`, `g`, `L` |
//! | 157 | 100 | link name | empty | no |
//! | 257 | 6, 2 | magic, version | `ustar` NUL, `00` | tells whether there is a prefix |
//! | 265 | 32, 32 | uname, gname | empty | no |
//! | 329 | 8, 8 | device | 0 | no |
//! | 345 | 155 | prefix | what goes before name and a slash | only with the magic above |
//!
//! If a path does not fit into prefix and name, or if a size is 8 GiB or more, a PAX extended header comes before the
//! header. A PAX record is `LENGTH KEY=VALUE` and a newline. LENGTH counts all of that.

use std::io;

use tar::{EntryType, Header};

/// The unit of a tar.
pub(crate) const BLOCK: usize = 512;

/// The largest size that fits in the 11 octal digits of the size field, plus one.
const OCTAL_LIMIT: u64 = 1 << 33;

/// How many bytes of zeros follow `size` bytes of an entry.
pub(crate) fn padding(size: u64) -> usize {
    let over = usize::try_from(size % 512).unwrap_or(0);
    if over == 0 { 0 } else { BLOCK.saturating_sub(over) }
}

/// The header of the file or directory at `path` (a directory's ends in a slash), with the PAX header
/// that it may need.
pub(crate) fn build(path: &str, size: u64, mtime: u64) -> io::Result<Vec<u8>> {
    let split = split(path);
    // What a header is called whose path stands in PAX.
    let (top, _) = path.split_once('/').unwrap_or((".", ""));
    let beside = |name: &str| format!("{top}/{name}");
    let mut pax = Vec::new();
    if split.is_none() {
        record(&mut pax, "path", path);
    }
    if size >= OCTAL_LIMIT {
        record(&mut pax, "size", &size.to_string());
    }
    let mut out = Vec::with_capacity(BLOCK);
    if !pax.is_empty() {
        let length = u64::try_from(pax.len()).unwrap_or(u64::MAX);
        let header = ustar(("", &beside("PaxHeader")), EntryType::XHeader, length, mtime)?;
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(&pax);
        out.resize(out.len().saturating_add(padding(length)), 0);
    }
    let kind = if path.ends_with('/') { EntryType::Directory } else { EntryType::Regular };
    // Where PAX has the truth, this is only for what does not know PAX.
    let size = if size >= OCTAL_LIMIT { 0 } else { size };
    let long_name = beside("LongName");
    let header = ustar(split.unwrap_or(("", &long_name)), kind, size, mtime)?;
    out.extend_from_slice(header.as_bytes());
    Ok(out)
}

/// A PAX header with a comment. It belongs to the entry that follows, and changes nothing of it.
pub(crate) fn comment(text: &str) -> io::Result<Vec<u8>> {
    let mut pax = Vec::new();
    record(&mut pax, "comment", text);
    let length = u64::try_from(pax.len()).unwrap_or(u64::MAX);
    let mut out = ustar(("", "PaxHeader"), EntryType::XHeader, length, 0)?.as_bytes().to_vec();
    out.extend_from_slice(&pax);
    out.resize(out.len().saturating_add(padding(length)), 0);
    Ok(out)
}

fn ustar((prefix, name): (&str, &str), kind: EntryType, size: u64, mtime: u64) -> io::Result<Header> {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(if kind.is_dir() { 0o700 } else { 0o600 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size);
    header.set_mtime(mtime);
    header.set_device_major(0)?;
    header.set_device_minor(0)?;
    if let Some(fields) = header.as_ustar_mut() {
        fields.name.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
        fields.prefix.iter_mut().zip(prefix.bytes()).for_each(|(to, from)| *to = from);
    }
    header.set_cksum();
    Ok(header)
}

/// `path` as ustar's prefix (at most 155 bytes) and name (at most 100), the slash between them gone.
fn split(path: &str) -> Option<(&str, &str)> {
    if path.len() <= 100 {
        return Some(("", path));
    }
    let fits = |(prefix, name): &(&str, &str)| prefix.len() <= 155 && name.len() <= 100 && !name.is_empty();
    let splits = path
        .match_indices('/')
        .filter_map(|(at, _)| Some((path.get(..at)?, path.get(at.checked_add(1)?..)?)));
    splits.rev().find(fits)
}

/// Adds one PAX record. Its length counts its own digits, so it is found by trying.
fn record(pax: &mut Vec<u8>, key: &str, value: &str) {
    let rest = format!(" {key}={value}\n");
    let digits = (1..20).find(|digits| (rest.len().saturating_add(*digits)).to_string().len() == *digits);
    let length = rest.len().saturating_add(digits.unwrap_or(0));
    pax.extend_from_slice(format!("{length}{rest}").as_bytes());
}

/// What a header says that matters here.
pub(crate) struct Fields {
    pub kind: EntryType,
    /// None: it is no number.
    pub size: Option<u64>,
    pub path: Vec<u8>,
    /// Whether it has the magic of POSIX, or GNU's.
    pub ustar: bool,
}

/// Reads a header. None: its checksum is wrong.
pub(crate) fn parse(block: &[u8; BLOCK]) -> Option<Fields> {
    let mut header = Header::new_old();
    header.as_mut_bytes().copy_from_slice(block);
    let (before, rest) = block.split_at(148);
    let (_, after) = rest.split_at(8);
    let sum: u32 = before.iter().chain(&[b' '; 8]).chain(after).map(|byte| u32::from(*byte)).sum();
    if header.cksum().ok()? != sum {
        return None;
    }
    Some(Fields {
        kind: header.entry_type(),
        size: number(&header.as_old().size),
        path: header.path_bytes().into_owned(),
        ustar: header.as_ustar().is_some() || header.as_gnu().is_some(),
    })
}

/// A number in octal, with spaces before and spaces or NUL after it, or in base-256. An empty field is 0.
fn number(field: &[u8; 12]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let (marker, value) = field.split_first_chunk::<4>()?;
        let value = u64::from_be_bytes(value.try_into().ok()?);
        return (*marker == [0x80, 0, 0, 0]).then_some(value);
    }
    let text = field.split(|c| *c == 0).next()?.trim_ascii();
    let mut digits = text.iter().map(|c| (*c as char).to_digit(8));
    digits.try_fold(0, |value: u64, digit| value.checked_mul(8)?.checked_add(u64::from(digit?)))
}

/// What a PAX extended header says that matters here.
#[derive(Default)]
pub(crate) struct Pax {
    pub path: Option<Vec<u8>>,
    pub size: Option<u64>,
}

impl Pax {
    /// Reads the records of a PAX header.
    ///
    /// # Errors
    /// Says what is wrong with them.
    pub fn parse(mut records: &[u8]) -> Result<Self, &'static str> {
        let mut pax = Pax::default();
        while !records.is_empty() {
            let (key, value);
            (key, value, records) = next_record(records).ok_or("a PAX record is malformed")?;
            let twice = match key {
                b"path" => pax.path.replace(value.to_vec()).is_some(),
                b"size" => {
                    let size =
                        str::from_utf8(value).ok().filter(|text| text.bytes().all(|c| c.is_ascii_digit()));
                    let size = size.and_then(|text| text.parse().ok()).ok_or("a PAX size is no number")?;
                    pax.size.replace(size).is_some()
                }
                key if key.starts_with(b"GNU.sparse.") => return Err("a sparse file"),
                _ => false,
            };
            if twice {
                return Err("a PAX header gives its path or size twice");
            }
        }
        Ok(pax)
    }
}

/// The first record's key and value, and what follows it.
fn next_record(records: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = records.iter().take(20).position(|c| *c == b' ')?;
    let digits = str::from_utf8(records.get(..space)?).ok()?;
    digits.bytes().all(|c| c.is_ascii_digit()).then_some(())?;
    let (record, rest) = records.split_at_checked(digits.parse().ok()?)?;
    let text = record.get(space.checked_add(1)?..)?.strip_suffix(b"\n")?;
    let equals = text.iter().position(|c| *c == b'=')?;
    Some((text.get(..equals)?, text.get(equals.checked_add(1)?..)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_split_at_a_slash_or_not_at_all() {
        let a = |n| "a".repeat(n);
        assert_eq!(split(&a(100)), Some(("", a(100).as_str())));
        assert_eq!(split(&a(101)), None);
        assert_eq!(split(&format!("{}/{}", a(155), a(100))), Some((a(155).as_str(), a(100).as_str())));
        assert_eq!(split(&format!("{}/{}", a(156), a(100))), None);
        assert_eq!(split(&format!("{}/{}", a(20), a(101))), None);
        assert_eq!(split(&format!("{}/", a(100))), None);
        assert_eq!(
            split(&format!("x/{}/{}/", a(90), a(9))),
            Some((format!("x/{}", a(90)).as_str(), "aaaaaaaaa/"))
        );
    }

    #[test]
    fn the_length_of_a_pax_record_counts_its_own_digits() {
        for n in [1, 90, 91, 92, 93, 900, 985, 986, 987, 988, 989, 990, 991, 992, 9_990] {
            let (mut pax, value) = (Vec::new(), "v".repeat(n));
            record(&mut pax, "path", &value);
            assert!(pax.starts_with(format!("{} path=", pax.len()).as_bytes()), "{n}");
            assert_eq!(Pax::parse(&pax).unwrap().path, Some(value.into_bytes()));
        }
    }

    #[test]
    fn malformed_pax_records_are_refused() {
        for (records, want) in [
            ("x", "malformed"),
            ("9 path=a", "malformed"),
            ("9 path=a\n9 path=b\n", "twice"),
            ("8 path=a\n", "malformed"),
            ("99 path=a\n", "malformed"),
            ("+9 path=a\n", "malformed"),
            ("0 ", "malformed"),
            ("18446744073709551616 a=b\n", "malformed"),
            ("9 patha\n\n", "malformed"),
            ("11 size=+1\n", "no number"),
            ("28 size=99999999999999999999\n", "malformed"),
            ("29 size=99999999999999999999\n", "no number"),
            ("22 GNU.sparse.major=1\n", "sparse"),
        ] {
            let error = Pax::parse(records.as_bytes()).err().unwrap_or_default();
            assert!(error.contains(want), "{records:?}: {error}");
        }
        assert_eq!(Pax::parse(b"13 comment=x\n13 comment=x\n").unwrap().path, None);
    }

    #[test]
    fn sizes_are_octal_or_base_256_and_nothing_else() {
        let mut base256 = [0; 12];
        base256[0] = 0x80;
        base256[7..].copy_from_slice(&[1, 0, 0, 0, 0]);
        assert_eq!(number(&base256), Some(1 << 32));
        assert_eq!(number(b"00000001000\0"), Some(512));
        assert_eq!(number(b"      1000 \0"), Some(512));
        assert_eq!(number(b"777777777777"), Some((1 << 36) - 1));
        assert_eq!(number(&[0; 12]), Some(0));
        for bad in [b"-0000000001\0", b"+0000000001\0", b"00000000008\0", b"0x000000000\0", &[0xff; 12]] {
            assert_eq!(number(bad), None, "{bad:?}");
        }
        base256[3] = 1;
        assert_eq!(number(&base256), None);
    }

    #[test]
    fn a_large_size_travels_in_a_pax_header() {
        let plain = build("backup/a", OCTAL_LIMIT - 1, 7).unwrap();
        assert_eq!(plain.len(), BLOCK);
        assert_eq!(parse(plain.as_slice().try_into().unwrap()).unwrap().size, Some(OCTAL_LIMIT - 1));
        let large = build("backup/a", OCTAL_LIMIT, 7).unwrap();
        assert_eq!(large.len(), 3 * BLOCK);
        assert_eq!(Pax::parse(&large[512..512 + 19]).unwrap().size, Some(OCTAL_LIMIT));
    }
}
