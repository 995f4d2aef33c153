//! The secrets that a user gives: in files, through descriptors, as the text of an option, or at the terminal. Does not know
//! what they open.

use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use age::secrecy::ExposeSecret;
use zeroize::Zeroizing;

use super::error::{Error, Locked, SecretError};
use super::limits::PASSPHRASE_MAX;
use super::open::open;
use super::secrets::{
    Identity, Passphrase, Secrets, checked, is_stdin, printable, read_at_most, read_secret,
};
use crate::names::Printable;
use crate::terminal::prompt;

/// The longest identity file, in bytes, also one that is encrypted itself.
const IDENTITY_FILE_MAX: u64 = 256 << 10;

/// How often the terminal is asked for the passphrase of one layer.
const ATTEMPTS: u32 = 3;

/// How messages call a passphrase that no file held.
const OPTION: &str = "given by the options";
const TYPED: &str = "typed at the terminal";

/// The secrets that a user gave with options. If they gave none, the program asks at the terminal.
pub struct GivenSecrets {
    passphrase: PassphraseSource,
    identities: Vec<PathBuf>,
    warn: Box<dyn FnMut(&str) + Send>,
}

enum PassphraseSource {
    File(PathBuf),
    Text(Passphrase),
    Terminal,
}

impl GivenSecrets {
    /// A `passphrase_file` goes before a `passphrase`; a program refuses both at once. `-` is stdin, here
    /// and among the `identities`. `warn` is told, as a sentence, what the user should do differently.
    pub fn new(
        passphrase_file: Option<PathBuf>,
        passphrase: Option<Passphrase>,
        identities: Vec<PathBuf>,
        mut warn: impl FnMut(&str) + Send + 'static,
    ) -> Self {
        if passphrase.is_some() {
            warn("other users can see --passphrase in the list of processes: use --passphrase-file");
        }
        let passphrase = match (passphrase_file, passphrase) {
            (Some(file), _) => PassphraseSource::File(file),
            (None, Some(text)) => PassphraseSource::Text(text),
            (None, None) => PassphraseSource::Terminal,
        };
        GivenSecrets { passphrase, identities, warn: Box::new(warn) }
    }

    /// How many of the secrets are to come from stdin, which can be one thing only.
    pub fn stdin_uses(&self) -> usize {
        let file = match &self.passphrase {
            PassphraseSource::File(file) => Some(file),
            _ => None,
        };
        file.into_iter().chain(&self.identities).filter(|file| is_stdin(file)).count()
    }

    /// A passphrase to seal with: the terminal is asked twice, and what no prompt could take back is refused.
    pub fn new_passphrase(&mut self) -> Result<Passphrase, SecretError> {
        let origin = match &self.passphrase {
            PassphraseSource::File(file) => printable(file),
            PassphraseSource::Text(_) => Printable::new(OPTION),
            PassphraseSource::Terminal => Printable::new(TYPED),
        };
        let passphrase = match self.given()? {
            Some(passphrase) => passphrase,
            None => prompt::ask_twice("new passphrase: ", |line| checked(line, TYPED))?,
        };
        if passphrase.expose_secret().chars().any(char::is_control) {
            return Err(SecretError::NotTypable(origin));
        }
        Ok(passphrase)
    }

    /// The passphrase of the options, read once: a descriptor gives it only once.
    fn given(&mut self) -> Result<Option<Passphrase>, SecretError> {
        let passphrase = match &self.passphrase {
            PassphraseSource::Terminal => return Ok(None),
            PassphraseSource::Text(passphrase) => checked(passphrase.expose_secret().as_bytes(), OPTION)?,
            PassphraseSource::File(file) => {
                let passphrase = passphrase_of_file(file, &mut self.warn)?;
                self.passphrase = PassphraseSource::Text(passphrase.clone());
                passphrase
            }
        };
        Ok(Some(passphrase))
    }
}

impl Secrets for GivenSecrets {
    fn passphrase(&mut self, attempt: u32) -> Result<Option<Passphrase>, SecretError> {
        match self.given()? {
            Some(passphrase) => Ok((attempt == 1).then_some(passphrase)),
            None => at_terminal("passphrase: ", attempt),
        }
    }

    fn identities(&mut self) -> Result<Vec<Identity>, SecretError> {
        let mut identities = Vec::new();
        for file in &self.identities {
            identities.extend(identities_of_file(file)?);
        }
        Ok(identities)
    }
}

fn at_terminal(prompt: &str, attempt: u32) -> Result<Option<Passphrase>, SecretError> {
    if attempt > 1 {
        prompt::tell("wrong passphrase")?;
    }
    if attempt > ATTEMPTS {
        return Ok(None);
    }
    checked(&prompt::ask(prompt)?, TYPED).map(Some)
}

fn passphrase_of_file(file: &Path, warn: &mut dyn FnMut(&str)) -> Result<Passphrase, SecretError> {
    let line = read_secret(file, "the passphrase file", PASSPHRASE_MAX as u64 + 1)?;
    if let Ok(about) = std::fs::metadata(file)
        && about.is_file()
        && about.mode() & 0o044 != 0
    {
        warn(&format!("others can read the passphrase file {0}: chmod 600 {0}", printable(file)));
    }
    let line = line.strip_suffix(b"\n").unwrap_or(&line);
    checked(line, &format!("in {}", printable(file)))
}

fn identities_of_file(file: &Path) -> Result<Vec<Identity>, SecretError> {
    let content = read_secret(file, "the identity file", IDENTITY_FILE_MAX)?;
    let wrapped = |error: Error| SecretError::Identity(printable(file), Box::new(error));
    let opened = open(Box::new(WipedReader(io::Cursor::new(content))), &mut IdentityFileSecrets(file))
        .map_err(wrapped)?;
    let content = read_at_most(opened, IDENTITY_FILE_MAX).map_err(|e| wrapped(Error::reading(e)))?;
    if content.starts_with(b"-----BEGIN ") { ssh_key(&content, file) } else { age_identities(&content, file) }
}

/// Reads a secret as an input, and wipes it afterwards.
struct WipedReader(io::Cursor<Zeroizing<Vec<u8>>>);

impl Read for WipedReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let from = usize::try_from(self.0.position()).unwrap_or(usize::MAX);
        let n = self.0.get_ref().get(from..).unwrap_or_default().read(buf)?;
        self.0.set_position(self.0.position().saturating_add(n as u64));
        Ok(n)
    }
}

/// The secrets for an identity file that is itself encrypted: the terminal alone, as with age(1).
struct IdentityFileSecrets<'a>(&'a Path);

impl IdentityFileSecrets<'_> {
    fn prompt(&self) -> String {
        format!("passphrase of {}: ", printable(self.0))
    }
}

impl Secrets for IdentityFileSecrets<'_> {
    fn passphrase(&mut self, attempt: u32) -> Result<Option<Passphrase>, SecretError> {
        at_terminal(&self.prompt(), attempt)
    }

    fn identities(&mut self) -> Result<Vec<Identity>, SecretError> {
        Ok(Vec::new())
    }
}

fn age_identities(content: &[u8], file: &Path) -> Result<Vec<Identity>, SecretError> {
    let mut identities: Vec<Identity> = Vec::new();
    for (line, text) in content.split(|&byte| byte == b'\n').enumerate() {
        let text = text.trim_ascii();
        if text.is_empty() || text.starts_with(b"#") {
            continue;
        }
        let identity =
            std::str::from_utf8(text).ok().and_then(|text| text.parse::<age::x25519::Identity>().ok());
        let bad = || SecretError::NotAnIdentity { file: printable(file), line: line.saturating_add(1) };
        identities.push(Box::new(identity.ok_or_else(bad)?));
    }
    if identities.is_empty() { Err(SecretError::NoIdentities(printable(file))) } else { Ok(identities) }
}

fn ssh_key(content: &[u8], file: &Path) -> Result<Vec<Identity>, SecretError> {
    use age::ssh::Identity as Key;
    let bad = || SecretError::SshKey(printable(file));
    let key = match Key::from_buffer(content, None).map_err(|_| bad())? {
        Key::Encrypted(key) => {
            let mut attempt = 1;
            loop {
                let passphrase = IdentityFileSecrets(file).passphrase(attempt)?.ok_or_else(|| {
                    let wrong = Error::Locked(Locked::Passphrase);
                    SecretError::Identity(printable(file), Box::new(wrong))
                })?;
                match key.decrypt(passphrase) {
                    Ok(key) => break Key::Unencrypted(key),
                    Err(_) => attempt = attempt.saturating_add(1),
                }
            }
        }
        key @ Key::Unencrypted(_) => key,
        Key::Unsupported(_) => return Err(bad()),
    };
    Ok(vec![Box::new(key)])
}
