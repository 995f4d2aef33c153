//! Encrypts: writes an age file that age(1) opens. If it is encrypted with a passphrase, Chatto's own restore opens it too.
//! Does not know the content.

use std::io::{self, Write};
use std::path::Path;

use age::stream::StreamWriter;
use age::{EncryptError, Encryptor, Recipient};

use super::error::{Error, SecretError};
use super::limits::SCRYPT_WORK_FACTOR;
use super::secrets::{Passphrase, printable, read_secret};
use super::unlock::room_to_stretch;
use crate::names::Printable;

/// The longest recipients file, in bytes.
const RECIPIENTS_FILE_MAX: u64 = 1 << 20;

/// The passphrase or the recipients to encrypt with.
pub enum Encryption {
    /// A passphrase, and the scrypt work factor it is stretched with, as a power of two:
    /// [`SCRYPT_WORK_FACTOR`], except in tests, which cannot wait.
    Passphrase(Passphrase, u8),
    /// The identity of any one of these.
    Recipients(Vec<Box<dyn Recipient>>),
}

impl Encryption {
    /// A passphrase, stretched with [`SCRYPT_WORK_FACTOR`].
    pub fn passphrase(passphrase: Passphrase) -> Encryption {
        Encryption::Passphrase(passphrase, SCRYPT_WORK_FACTOR)
    }
}

/// A seal that is being written. Without [`Sealed::finish`] it is a truncated one, which nobody will
/// mistake for a whole one: so after an error just drop it.
pub struct Sealed<W: Write>(StreamWriter<W>);

/// Writes the head of an age file into `output`; what is then written to [`Sealed`] is its content.
///
/// # Errors
/// [`Error::Memory`] when a passphrase cannot be stretched, [`Error::Write`] when `output` fails, [`SecretError::Incompatible`] when age does not allow the
/// recipients together.
pub fn seal<W: Write>(output: W, encryption: &Encryption) -> Result<Sealed<W>, Error> {
    let encryptor = match encryption {
        Encryption::Passphrase(passphrase, work_factor) => {
            room_to_stretch(*work_factor)?;
            let mut recipient = age::scrypt::Recipient::new(passphrase.clone());
            // The crate panics outside of what scrypt can do at all.
            recipient.set_work_factor((*work_factor).clamp(1, 63));
            Encryptor::with_recipients(std::iter::once(&recipient as &dyn Recipient))
        }
        Encryption::Recipients(recipients) => Encryptor::with_recipients(recipients.iter().map(|r| &**r)),
    };
    let encryptor = encryptor.map_err(|error| match error {
        EncryptError::Io(error) => Error::Write(error),
        EncryptError::MissingRecipients => SecretError::NoRecipients(Printable::new("the list")).into(),
        _ => SecretError::Incompatible.into(),
    })?;
    encryptor.wrap_output(output).map(Sealed).map_err(Error::Write)
}

impl<W: Write> Sealed<W> {
    /// Writes the end and gives `output` back, not flushed.
    pub fn finish(self) -> io::Result<W> {
        self.0.finish()
    }
}

impl<W: Write> Write for Sealed<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The recipient that `text` names: `age1…`, or an SSH public key.
pub fn recipient(text: &str) -> Result<Box<dyn Recipient>, SecretError> {
    if text.trim().to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
        return Err(SecretError::IsIdentity);
    }
    parse(text.trim()).ok_or_else(|| SecretError::NotARecipient(Printable::new(text)))
}

/// The recipients of a file, one a line, with `#` comments and empty lines; `-` is stdin.
pub fn recipients_of_file(file: &Path) -> Result<Vec<Box<dyn Recipient>>, SecretError> {
    let content = read_secret(file, "the recipients file", RECIPIENTS_FILE_MAX)?;
    let mut recipients = Vec::new();
    for (line, text) in content.split(|&byte| byte == b'\n').enumerate() {
        let text = text.trim_ascii();
        if text.is_empty() || text.starts_with(b"#") {
            continue;
        }
        let recipient = std::str::from_utf8(text).ok().and_then(parse);
        let bad = || SecretError::NotARecipientLine { file: printable(file), line: line.saturating_add(1) };
        recipients.push(recipient.ok_or_else(bad)?);
    }
    if recipients.is_empty() { Err(SecretError::NoRecipients(printable(file))) } else { Ok(recipients) }
}

fn parse(text: &str) -> Option<Box<dyn Recipient>> {
    fn boxed<R: Recipient + 'static>(recipient: R) -> Box<dyn Recipient> {
        Box::new(recipient)
    }
    let x25519 = text.parse::<age::x25519::Recipient>().ok().map(boxed);
    let ssh = || text.parse::<age::ssh::Recipient>().ok().map(boxed);
    let tag = || text.parse::<age::tag::Recipient>().ok().map(boxed);
    let tagpq = || text.parse::<age::tagpq::Recipient>().ok().map(boxed);
    x25519.or_else(ssh).or_else(tag).or_else(tagpq)
}
