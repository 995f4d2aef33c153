//! Reads the tar inside a snapshot strictly: headers, names and the end. Does not know what the files mean.
//!
//! This is our own reader, because it must notice every cut and bound every length. The tar crate accepts an archive without
//! an end, and reads extended headers of any size into memory.
//!
//! Every header is one of POSIX with the magic `ustar`, of a file or an extended header for the next file; servers
//! write no others. [`tar_header`] has its bytes.
//!
//! Data is padded with zeros to 512 bytes; two blocks of zeros end the archive. In an extended header `path` and
//! `size` count, times do not. Servers write one for every file (Go's `archive/tar`, PAX format).

use std::io::Read;

use tar::EntryType;

use super::content::Content;
use super::fault::Fault;
use crate::names::Printable;
use crate::tar_header::{self, BLOCK, Fields, Pax};

/// The longest extended header that is read: a path of a stream's or consumer's name and a few times.
const MAX_EXTENDED: u64 = 16 << 10;

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
        let parsed = tar_header::parse(&header).filter(|fields| fields.ustar);
        let Some(Fields { kind, size: here, path: name, .. }) = parsed else {
            return Err(content.damaged("a tar header's checksum does not match"));
        };
        let here = here.ok_or_else(|| content.damaged("a tar header's size"))?;
        match kind {
            EntryType::XHeader => {
                if here > MAX_EXTENDED {
                    return Err(content.damaged("an extended tar header is too long"));
                }
                let mut text = vec![0; here as usize];
                content.exact(&mut text)?;
                padding(content, here)?;
                let pax = Pax::parse(&text).map_err(|_| content.damaged("an extended tar header"))?;
                path = pax.path.or(path);
                size = pax.size.or(size);
            }
            EntryType::Regular => {
                let bytes = path.unwrap_or(name);
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
    content.pass(tar_header::padding(size) as u64, |bytes| zeros &= bytes.iter().all(|byte| *byte == 0))?;
    if zeros { Ok(()) } else { Err(content.damaged("the padding of an entry is not zeros")) }
}

fn header<R: Read>(content: &mut Content<R>) -> Result<[u8; BLOCK], Fault> {
    let mut header = [0; BLOCK];
    content.exact(&mut header)?;
    Ok(header)
}
