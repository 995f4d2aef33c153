//! `SHA256SUMS`: one line a file, as sha256sum(1) writes and checks them. Computes no sums.
//!
//! A line is 64 hexadecimal digits, two spaces (or a space and `*`), the path below the top-level
//! directory, and a newline. It lists every file but itself.

use std::io::{self, BufRead, BufReader, Read, Write};

use super::ledger::Ledger;
use super::name::Name;
use super::{Digest, Error, MAX_PATH};

/// The longest line that is looked at, in bytes.
const MAX_LINE: u64 = 64 + 2 + MAX_PATH + 1;

/// The size of what [`write()`] writes, in bytes.
pub(super) fn size(ledger: &Ledger) -> u64 {
    let line = |(name, _): (Name, Digest)| {
        let path = u64::try_from(name.to_string().len()).unwrap_or(u64::MAX);
        path.saturating_add(64 + 2 + 1)
    };
    ledger.digests().map(line).fold(0, u64::saturating_add)
}

/// Writes a line for every file that came.
pub(super) fn write(ledger: &Ledger, to: &mut impl Write) -> io::Result<()> {
    let mut to = io::BufWriter::new(to);
    for (name, digest) in ledger.digests() {
        writeln!(to, "{digest}  {name}")?;
    }
    to.flush()
}

/// Reads all lines and compares them with what came. Returns how many there are. What is wrong with one
/// line goes to `fault`, which decides whether that ends the reading.
pub(super) fn read(
    from: impl Read,
    ledger: &mut Ledger,
    mut fault: impl FnMut(Error) -> Result<(), Error>,
) -> Result<u64, Error> {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    let mut lines = 0u64;
    loop {
        line.clear();
        if from.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(lines);
        }
        lines = lines.saturating_add(1);
        if let Err(error) = compare(&line, lines, ledger) {
            fault(error)?;
        }
    }
}

fn compare(line: &[u8], number: u64, ledger: &mut Ledger) -> Result<(), Error> {
    let (digest, path) = parse(line).ok_or_else(|| {
        Error::damaged(Name::Sums, format!("line {number} is not one that sha256sum(1) writes"))
    })?;
    let name = Name::parse(path, false).map_err(|what| Error::damaged(path, what))?;
    if name == Name::Sums {
        return Err(Error::damaged(Name::Sums, format!("line {number} lists SHA256SUMS itself")));
    }
    ledger.listed(&name, digest).map_err(|fault| Error::damaged(path, fault))
}

fn parse(line: &[u8]) -> Option<(Digest, &str)> {
    let line = str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
    let (digest, path) = line.split_once(' ')?;
    let path = path.strip_prefix([' ', '*'])?;
    // `find . -type f -exec sha256sum {} +` puts this before every path.
    let path = path.strip_prefix("./").unwrap_or(path);
    let sound = |part: &str| !matches!(part, "" | "." | "..");
    path.split('/').all(sound).then_some(())?;
    Some((digest.parse().ok()?, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_sha256sum() {
        let abc = Digest::of(b"abc");
        assert_eq!(parse(format!("{abc}  a/b\n").as_bytes()), Some((abc, "a/b")));
        assert_eq!(parse(format!("{abc} *./a/b\n").as_bytes()), Some((abc, "a/b")));
        for bad in [
            format!("{abc}  a/b"),
            format!("{abc} a/b\n"),
            format!("{abc}  /a\n"),
            format!("{abc}  a/../b\n"),
            format!("{abc}  \n"),
            format!("\\{abc}  a\n"),
            "\n".into(),
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
