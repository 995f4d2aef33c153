//! Reads the tar around an archive, one member at a time: headers, extensions, bodies, the end. Does not know what the paths
//! mean.
//!
//! It accepts what GNU tar, bsdtar, Go and Python write: plain files and directories under safe relative paths, and nothing
//! else. It notices a cut at every place. Every body is read to its full length, and the end must be two blocks of zeros.
//! After these, only zeros may follow, up to the end of the input. They are read too, so that the program that writes them
//! gets no broken pipe.

use std::io::{self, Read};

use tar::EntryType;

use super::{Error, MAX_PATH, MAX_PAX};
use crate::names::Printable;
use crate::tar_header::{self, BLOCK, Fields, Pax};

/// How many bytes are skipped at a time.
const SKIP: usize = 64 << 10;

/// The header of a file or a directory.
pub(super) struct Member {
    /// Safe: relative, UTF-8, without `.`, `..`, empty parts and slashes at the ends. Empty for `./`. Two members
    /// with the same path are the same file, however a tar spells it.
    pub path: String,
    pub directory: bool,
    pub size: u64,
}

/// The members of a tar.
pub(super) struct Members<R> {
    input: R,
    /// The path of the member that came last; none before the first.
    last: Option<Printable>,
    /// Its size, how much of its body has not been read, and the padding that follows.
    size: u64,
    left: u64,
    padding: usize,
    /// Whether padding was anything but zeros, which POSIX does not forbid.
    odd_padding: bool,
}

impl<R: Read> Members<R> {
    pub fn new(input: R) -> Self {
        Members { input, last: None, size: 0, left: 0, padding: 0, odd_padding: false }
    }

    /// How many bytes of the body are left to [`read`](Self::read).
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Whether any padding was not zeros since this was asked last.
    pub fn odd_padding(&mut self) -> bool {
        std::mem::take(&mut self.odd_padding)
    }

    /// The next member, or none at a sound end, the input having been read to its own end. The body of the one
    /// before must have been read.
    pub fn next(&mut self) -> Result<Option<Member>, Error> {
        let mut long_name = None;
        let mut pax = None;
        self.padding()?;
        loop {
            let block = self.block()?;
            if block == [0; BLOCK] {
                if pax.is_some() || long_name.is_some() {
                    return Err(self.damaged("an extended header is followed by nothing"));
                }
                return self.end().map(|()| None);
            }
            let Some(fields) = tar_header::parse(&block) else {
                return Err(match &self.last {
                    Some(last) => {
                        Error::damaged(format!("after {last}"), "the next header's checksum is wrong")
                    }
                    None => no_tar(&block),
                });
            };
            let name = String::from_utf8_lossy(&fields.path).into_owned();
            let Some(size) = fields.size else { return Err(Error::damaged(name, "its size is no number")) };
            match fields.kind {
                EntryType::Regular | EntryType::Directory => {
                    return self.member(fields, size, long_name, pax).map(Some);
                }
                EntryType::XHeader if pax.is_none() => {
                    let records = self.extension(size, MAX_PAX)?;
                    pax = Some(Pax::parse(&records).map_err(|what| Error::not_safe(&name, what))?);
                }
                EntryType::XGlobalHeader => {
                    let records = self.extension(size, MAX_PAX)?;
                    let global = Pax::parse(&records).map_err(|what| Error::not_safe(&name, what))?;
                    if global.path.is_some() || global.size.is_some() {
                        return Err(Error::not_safe(name, "a global PAX header gives a path or a size"));
                    }
                }
                EntryType::GNULongName if long_name.is_none() => {
                    let mut path = self.extension(size, MAX_PATH)?;
                    path.truncate(path.iter().position(|c| *c == 0).unwrap_or(path.len()));
                    long_name = Some(path);
                }
                EntryType::XHeader | EntryType::GNULongName => {
                    return Err(Error::not_safe(name, "two extended headers of a kind for one entry"));
                }
                kind => return Err(Error::not_safe(name, unwanted(kind))),
            }
        }
    }

    fn member(
        &mut self,
        fields: Fields,
        size: u64,
        long_name: Option<Vec<u8>>,
        pax: Option<Pax>,
    ) -> Result<Member, Error> {
        let pax = pax.unwrap_or_default();
        let raw = match (pax.path, long_name) {
            (Some(path), Some(long)) if path != long => {
                return Err(Error::not_safe(
                    String::from_utf8_lossy(&path),
                    "two extended headers disagree on its path",
                ));
            }
            (Some(path), _) | (None, Some(path)) => path,
            (None, None) => fields.path,
        };
        let text = String::from_utf8_lossy(&raw).into_owned();
        // Old tars mark a directory by the slash alone.
        let directory = fields.kind == EntryType::Directory || raw.ends_with(b"/");
        let path = safe(&raw, directory).map_err(|what| Error::not_safe(&text, what))?;
        let size = pax.size.unwrap_or(size);
        if directory && size > 0 {
            return Err(Error::not_safe(text, "a directory with content"));
        }
        (self.size, self.left, self.padding) = (size, size, tar_header::padding(size));
        self.last = Some(Printable::new(&path));
        Ok(Member { path, directory, size })
    }

    /// Reads from the body: nothing only at its end.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(buffer) = buffer.get_mut(..most).filter(|buffer| !buffer.is_empty()) else { return Ok(0) };
        match self.some(buffer)? {
            0 => Err(Error::Truncated { place: self.place() }),
            got => {
                self.left = self.left.saturating_sub(u64::try_from(got).unwrap_or(u64::MAX));
                Ok(got)
            }
        }
    }

    /// Where the input is, for a message.
    pub fn place(&self) -> String {
        match &self.last {
            None => "at its beginning".into(),
            Some(last) if self.left == 0 => format!("after {last}"),
            Some(last) => {
                format!("inside {last}, after {} of {} bytes", self.size.saturating_sub(self.left), self.size)
            }
        }
    }

    /// The body of an extended header.
    fn extension(&mut self, size: u64, limit: u64) -> Result<Vec<u8>, Error> {
        let length = usize::try_from(size).unwrap_or(usize::MAX);
        if size > limit {
            return Err(
                self.damaged(format!("an extended header of {size} bytes follows, more than {limit}"))
            );
        }
        let mut body = vec![0; length];
        self.fill(&mut body)?;
        self.padding = tar_header::padding(size);
        self.padding()?;
        Ok(body)
    }

    fn padding(&mut self) -> Result<(), Error> {
        let mut padding = [0; BLOCK];
        let length = std::mem::take(&mut self.padding);
        self.fill(padding.get_mut(..length).unwrap_or_default())?;
        self.odd_padding |= padding != [0; BLOCK];
        Ok(())
    }

    fn block(&mut self) -> Result<[u8; BLOCK], Error> {
        let mut block = [0; BLOCK];
        if self.last.is_none() {
            let got = self.fill_some(&mut block)?;
            if got < BLOCK {
                let seen = block.get(..got).unwrap_or_default();
                return Err(no_tar(seen));
            }
        } else {
            self.fill(&mut block)?;
        }
        Ok(block)
    }

    /// The second block of zeros, and that nothing else follows.
    fn end(&mut self) -> Result<(), Error> {
        let mut block = [0; BLOCK];
        self.fill(&mut block)?;
        let mut clean = block == [0; BLOCK];
        let mut buffer = vec![0; SKIP];
        loop {
            match self.some(&mut buffer)? {
                0 if clean => return Ok(()),
                0 => return Err(self.damaged("something other than zeros follows the end of the tar")),
                got => clean &= buffer.iter().take(got).all(|byte| *byte == 0),
            }
        }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        if self.fill_some(buffer)? == buffer.len() {
            return Ok(());
        }
        Err(Error::Truncated { place: self.place() })
    }

    /// Fills `buffer` as far as the input goes.
    fn fill_some(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut filled = 0usize;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.some(rest)? {
                0 => break,
                got => filled = filled.saturating_add(got),
            }
        }
        Ok(filled)
    }

    fn some(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        loop {
            match self.input.read(buffer) {
                Ok(got) => return Ok(got),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::Io { place: self.place(), source }),
            }
        }
    }

    fn damaged(&self, what: impl ToString) -> Error {
        Error::damaged(self.place(), what)
    }
}

/// The path in its plain form. Doubled slashes and `./` mean nothing, and tars of a directory have both: chatto
/// names the root of its archives `backup//`, and GNU tar begins with `./` where it is told `.`.
fn safe(raw: &[u8], directory: bool) -> Result<String, &'static str> {
    const NOT_PLAIN: &str = "its path is not a plain relative one";
    let path = str::from_utf8(raw).map_err(|_| "its path is not UTF-8")?;
    if path.contains('\0') {
        return Err("its path holds NUL");
    }
    if u64::try_from(path.len()).unwrap_or(u64::MAX) > MAX_PATH {
        return Err("its path is too long");
    }
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Err(NOT_PLAIN);
    }
    // `.` at the end is a directory, and no file has an empty path.
    if !directory && matches!(path.rsplit('/').next(), None | Some("" | ".")) {
        return Err(NOT_PLAIN);
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    Ok(parts.join("/"))
}

fn unwanted(kind: EntryType) -> String {
    match kind {
        EntryType::Link | EntryType::GNULongLink => "a hard link".into(),
        EntryType::Symlink => "a symbolic link".into(),
        EntryType::Char | EntryType::Block => "a device".into(),
        EntryType::Fifo => "a named pipe".into(),
        EntryType::GNUSparse => "a sparse file".into(),
        other => format!("an entry of type {:?}", char::from(other.as_byte())),
    }
}

/// The error for a first block that is no tar header.
fn no_tar(block: &[u8]) -> Error {
    const IN_A_KEY_EXPORT: &[u8] = b"\"key_count\"";
    let is_export =
        block.starts_with(b"{") && block.windows(IN_A_KEY_EXPORT.len()).any(|w| w == IN_A_KEY_EXPORT);
    if is_export { Error::Keys } else { Error::not_an_archive(looks_like(block)) }
}

/// What a first block that is no tar header may be.
fn looks_like(block: &[u8]) -> String {
    const MAGIC: [(&[u8], &str); 9] = [
        (b"\x1f\x8b", "it is compressed with gzip"),
        (b"\x28\xb5\x2f\xfd", "it is compressed with zstd"),
        (b"\xfd7zXZ\0", "it is compressed with xz"),
        (b"BZh", "it is compressed with bzip2"),
        (b"\x04\x22\x4d\x18", "it is compressed with lz4"),
        (b"PK\x03\x04", "it is a zip file"),
        (b"age-encryption.org/", "it is encrypted with age"),
        (b"-----BEGIN AGE", "it is encrypted with age"),
        (b"\xff\x06\x00\x00S2sTwO", "it is a snapshot alone, without the archive around it"),
    ];
    if let Some((_, what)) = MAGIC.iter().find(|(magic, _)| block.starts_with(magic)) {
        return what.to_string();
    }
    let text = |byte: &u8| !byte.is_ascii_control() || byte.is_ascii_whitespace();
    match block {
        [] => "it is empty".into(),
        [b'{' | b'[', ..] => "it looks like JSON, as a key export does, not like a tar".into(),
        block if block.iter().all(text) => "it looks like text, not like a tar".into(),
        block if block.len() < BLOCK => format!("it has only {} bytes", block.len()),
        _ => "it is not a tar".into(),
    }
}
