//! Opens an age layer. It checks first how much work the header asks for, and then asks for the secret that the recipients
//! need. Does not know the content.

use std::cell::{Cell, RefCell};
use std::io::{self, BufRead, BufReader, Cursor, ErrorKind, Read};

use age::{DecryptError, Decryptor};
use age_core::format::{FileKey, Stanza};

use super::error::{DamageKind, Damaged, Error, Locked};
use super::layer::refuse;
use super::limits::SCRYPT_WORK_FACTOR_MAX;
use super::recognise::LayerKind;
use super::secrets::Secrets;

/// The longest age header that is read, in bytes. A recipient takes about 100 (X25519) to 1,700 (post-quantum).
const HEADER_MAX: u64 = 128 << 10;

/// The first line of every age file that is known here.
const VERSION: &[u8] = b"age-encryption.org/v1\n";

/// The last line of a header: `---`, a space, 32 bytes in unpadded base64, a line feed.
const MAC_LINE: usize = 4 + 43 + 1;

/// The longest run of bytes without a line break in an armored file; its lines have 64.
const ARMOR_LINE_MAX: usize = 1 << 10;

/// The content of an age file.
pub(super) fn open<R: BufRead>(mut input: R, secrets: &mut dyn Secrets) -> Result<impl Read + use<R>, Error> {
    let header = header(&mut input).map_err(|error| refuse(LayerKind::Age, error))?;
    if !header.starts_with(VERSION) {
        return Err(Error::Version);
    }
    let decryptor = Decryptor::new_buffered(Cursor::new(header).chain(input)).map_err(invalid)?;
    let ask = AskingIdentity { secrets: RefCell::new(secrets), error: Cell::new(None) };
    decryptor
        .decrypt(std::iter::once(&ask as &dyn age::Identity))
        .map_err(|error| ask.error.take().unwrap_or_else(|| invalid(error)))
}

/// Reads a header, whose end is the line of its MAC: the crate would read one of any length into memory.
fn header(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut header = Vec::new();
    let mut input = input.take(HEADER_MAX);
    loop {
        let start = header.len();
        if input.read_until(b'\n', &mut header)? == 0 {
            return Err(match input.limit() {
                0 => io::Error::new(ErrorKind::InvalidData, "its header is too long"),
                _ => ErrorKind::UnexpectedEof.into(),
            });
        }
        let line = header.get(start..).unwrap_or_default();
        if !line.ends_with(b"\n") && input.limit() > 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if line.starts_with(b"---") && line.len() != MAC_LINE {
            return Err(io::Error::new(ErrorKind::InvalidData, "its header is invalid"));
        }
        // Another version may end differently; it is refused anyway.
        if line.starts_with(b"---") || (start == 0 && line != VERSION) {
            return Ok(header);
        }
    }
}

fn invalid(error: DecryptError) -> Error {
    let altered = |reason: &str| {
        let (kind, reason) = (DamageKind::Altered, reason.to_string());
        Error::Damaged(Damaged { format: LayerKind::Age, kind, after: 0, reason })
    };
    match error {
        DecryptError::Io(error) => refuse(LayerKind::Age, error),
        DecryptError::InvalidMac => altered("its header was changed"),
        DecryptError::ExcessiveWork { required, .. } => Error::Locked(Locked::Work(required)),
        DecryptError::NoMatchingKeys | DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed => {
            Error::Locked(Locked::Identity)
        }
        _ => altered("its header is invalid"),
    }
}

/// Meets the crate as one identity that opens anything, and asks for the right secret once it is known
/// what kind of recipient the file has. The crate's error type has no room for ours, so an error is put
/// aside here.
struct AskingIdentity<'a> {
    secrets: RefCell<&'a mut dyn Secrets>,
    error: Cell<Option<Error>>,
}

impl age::Identity for AskingIdentity<'_> {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        self.unwrap_stanzas(std::slice::from_ref(stanza))
    }

    fn unwrap_stanzas(&self, stanzas: &[Stanza]) -> Option<Result<FileKey, DecryptError>> {
        // The crate has checked that a passphrase stands alone.
        let unwrapped = match stanzas {
            [stanza] if stanza.tag == "scrypt" => self.passphrase(stanza),
            _ => self.identities(stanzas),
        };
        match unwrapped {
            Ok(unwrapped) => Some(unwrapped),
            Err(error) => {
                self.error.set(Some(error));
                Some(Err(DecryptError::NoMatchingKeys))
            }
        }
    }
}

impl AskingIdentity<'_> {
    fn passphrase(&self, stanza: &Stanza) -> Result<Result<FileKey, DecryptError>, Error> {
        // Before anybody is asked to type.
        let work = stanza.args.get(1).map(String::as_str).unwrap_or_default();
        if work.is_empty() || !work.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(invalid(DecryptError::InvalidHeader));
        }
        let work = work.parse().unwrap_or(u8::MAX);
        if work > SCRYPT_WORK_FACTOR_MAX {
            return Err(Locked::Work(work).into());
        }
        room_to_stretch(work)?;
        let mut secrets = self.secrets.borrow_mut();
        for attempt in 1.. {
            let Some(passphrase) = secrets.passphrase(attempt)? else { break };
            let mut identity = age::scrypt::Identity::new(passphrase);
            identity.set_max_work_factor(SCRYPT_WORK_FACTOR_MAX);
            match age::Identity::unwrap_stanza(&identity, stanza) {
                Some(Err(DecryptError::DecryptionFailed)) => {}
                Some(unwrapped) => return Ok(unwrapped),
                None => break,
            }
        }
        Err(Locked::Passphrase.into())
    }

    fn identities(&self, stanzas: &[Stanza]) -> Result<Result<FileKey, DecryptError>, Error> {
        let identities = self.secrets.borrow_mut().identities()?;
        if identities.is_empty() {
            return Err(Locked::NoIdentity.into());
        }
        identities
            .iter()
            .find_map(|identity| identity.unwrap_stanzas(stanzas))
            .ok_or_else(|| Locked::Identity.into())
    }
}

/// Makes sure that there is the memory to stretch a passphrase: the crate ends the process where there is not.
pub(super) fn room_to_stretch(work_factor: u8) -> Result<(), Error> {
    // 128 bytes times the block size of 8 that age has.
    let bytes = 1usize.checked_shl(u32::from(work_factor).saturating_add(10)).unwrap_or(usize::MAX);
    match Vec::<u8>::new().try_reserve_exact(bytes) {
        Ok(()) => Ok(()),
        Err(_) => Err(Error::Memory(bytes as u64)),
    }
}

/// The binary age file inside an armored one.
pub(super) fn armored<R: Read>(input: R) -> impl BufRead + use<R> {
    BufReader::new(age::armor::ArmoredReader::new(LineLimit { input, run: 0 }))
}

/// Refuses lines without end, which the crate would read into memory.
struct LineLimit<R> {
    input: R,
    run: usize,
}

impl<R: Read> Read for LineLimit<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buf)?;
        for byte in buf.iter().take(n) {
            self.run = if *byte == b'\n' { 0 } else { self.run.saturating_add(1) };
            if self.run > ARMOR_LINE_MAX {
                return Err(io::Error::new(ErrorKind::InvalidData, "its armor has a line without end"));
            }
        }
        Ok(n)
    }
}
