//! The errors of an envelope, and the hints for them. No error holds a passphrase, an identity or content.

use std::error::Error as StdError;
use std::io;

use super::limits::{
    LAYERS_MAX, PASSPHRASE_MAX, SCRYPT_WORK_FACTOR_MAX, ZSTD_WINDOW_LOG_MAX, ZSTD_WINDOW_LOG_NESTED,
};
use super::recognise::{Foreign, LayerKind};
use crate::exit::Exit;
use crate::names::{Printable, Size};
use crate::terminal::prompt::PromptError;

/// A layer that is cut or altered. Found as the inner error of the [`io::Error`] that reading gave.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{format} layer is {kind} after {} of its content{}", Size(*.after), Reason(.reason))]
pub struct Damaged {
    /// The layer.
    pub format: LayerKind,
    /// Whether it ended too early or held what it should not.
    pub kind: DamageKind,
    /// How many bytes of its content were read before.
    pub after: u64,
    /// What the decoder said; may be empty.
    pub reason: String,
}

/// How a layer is [`Damaged`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DamageKind {
    /// Its end is missing.
    Cut,
    /// It holds wrong bytes. With age, it may also be cut, because age cannot always tell these apart.
    Altered,
}

impl std::fmt::Display for DamageKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            DamageKind::Cut => "cut off",
            DamageKind::Altered => "damaged",
        })
    }
}

struct Reason<'a>(&'a str);

impl std::fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ": {}", Printable::new(self.0)) }
    }
}

impl Damaged {
    /// The damage in `error` or in one of its causes, also inside an [`io::Error`] that other code has wrapped.
    pub fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Damaged> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(damaged) = error.downcast_ref::<Damaged>() {
                return Some(damaged);
            }
            // An io::Error's source is the source *of its inner error*, so look at that one first.
            let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            next = match inner {
                Some(inner) => Some(inner),
                None => error.source(),
            };
        }
        None
    }

    pub(super) fn into_io(self) -> io::Error {
        let kind = match self.kind {
            DamageKind::Cut => io::ErrorKind::UnexpectedEof,
            DamageKind::Altered => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, self)
    }
}

/// Why an envelope could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The input could not be read. This is no fault of the envelope.
    #[error("cannot read the input")]
    Read(#[source] io::Error),
    /// The envelope could not be written.
    #[error("cannot write")]
    Write(#[source] io::Error),
    /// A layer is cut or altered.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// The given secrets do not open an age layer.
    #[error(transparent)]
    Locked(#[from] Locked),
    /// Wrapped by something that is not opened here.
    #[error("the input is wrapped in {}, which is not opened here", .0.name)]
    Foreign(Foreign),
    /// More than [`LAYERS_MAX`] layers.
    #[error("the input is wrapped more than {LAYERS_MAX} times")]
    TooDeep,
    /// The input should be decrypted, but is not encrypted.
    #[error("the input is not encrypted with age")]
    NotSealed,
    /// A zstd layer that needs more memory than an input may ask for.
    #[error(
        "the zstd layer needs a window of more than {}, or of more than {} inside another zstd layer",
        Size(1 << ZSTD_WINDOW_LOG_MAX),
        Size(1 << ZSTD_WINDOW_LOG_NESTED)
    )]
    Window,
    /// A passphrase is stretched in memory, which the system does not give.
    #[error("a passphrase takes {} of memory, which the system does not give", Size(*.0))]
    Memory(u64),
    /// age of a version that does not exist yet.
    #[error("the age layer is of a version that is not known here")]
    Version,
    /// A given secret cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

/// Why an age layer stays closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Locked {
    /// The passphrase is another one.
    #[error("wrong passphrase")]
    Passphrase,
    /// Sealed to recipients, and no identity was given.
    #[error("the age layer is sealed to recipients, and no identity was given")]
    NoIdentity,
    /// Sealed to recipients, and none of the identities given is one of theirs.
    #[error("none of the identities given opens the age layer")]
    Identity,
    /// The passphrase is stretched so long that trying it is an attack on memory and time.
    #[error(
        "the age layer demands scrypt work factor {0}, more than the {SCRYPT_WORK_FACTOR_MAX} that is accepted"
    )]
    Work(u8),
}

/// Why a given passphrase, identity or recipient cannot be used. The error names its source, never the secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// A file that cannot be read.
    #[error("cannot read {what} {file}")]
    Unreadable {
        /// Its purpose.
        what: &'static str,
        /// Its name.
        file: Printable,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// A passphrase of no bytes.
    #[error("the passphrase is empty ({0})")]
    Empty(Printable),
    /// A passphrase of more than [`PASSPHRASE_MAX`] bytes; somebody named the wrong file.
    #[error("the passphrase is longer than {PASSPHRASE_MAX} bytes ({0})")]
    Long(Printable),
    /// A passphrase that is not UTF-8, which age requires.
    #[error("the passphrase is not UTF-8 text ({0})")]
    NotText(Printable),
    /// A new passphrase with a line break or another control character: no prompt could take it back.
    #[error("the passphrase holds a line break or control character, which cannot be typed ({0})")]
    NotTypable(Printable),
    /// Typed twice, differently.
    #[error("the passphrases differ")]
    Differ,
    /// A passphrase is needed, none was given, and nobody can be asked.
    #[error("a passphrase is needed, and there is no terminal to ask at")]
    NoTerminal(#[source] io::Error),
    /// The terminal failed while it was asked.
    #[error("cannot ask at the terminal")]
    Terminal(#[source] io::Error),
    /// A line of an identity file.
    #[error("{file} is not an identity file: line {line} is no age identity")]
    NotAnIdentity {
        /// Its name.
        file: Printable,
        /// Counted from 1.
        line: usize,
    },
    /// An identity file without an identity.
    #[error("{0} holds no identity")]
    NoIdentities(Printable),
    /// An SSH key that cannot be used, or is damaged.
    #[error("{0} is not an SSH key that age can use: ssh-ed25519 or ssh-rsa is")]
    SshKey(Printable),
    /// An identity file that is itself encrypted, and could not be opened.
    #[error("cannot open the identity file {0}")]
    Identity(Printable, #[source] Box<Error>),
    /// A recipient that is none.
    #[error("\"{0}\" is not an age recipient")]
    NotARecipient(Printable),
    /// Given as a recipient, and now in the list of processes.
    #[error("this is a secret key, and no recipient")]
    IsIdentity,
    /// A line of a recipients file.
    #[error("{file} is not a recipients file: line {line} is no age recipient")]
    NotARecipientLine {
        /// Its name.
        file: Printable,
        /// Counted from 1.
        line: usize,
    },
    /// A recipients file without a recipient.
    #[error("{0} holds no recipient")]
    NoRecipients(Printable),
    /// Recipients that age does not put into one file, such as post-quantum with classic ones.
    #[error("these recipients cannot be used together")]
    Incompatible,
}

impl From<PromptError> for SecretError {
    fn from(error: PromptError) -> Self {
        match error {
            PromptError::NoTerminal(error) => SecretError::NoTerminal(error),
            PromptError::Terminal(error) => SecretError::Terminal(error),
            PromptError::Differ => SecretError::Differ,
        }
    }
}

impl Error {
    /// How a program that could not open its input for this reason ends.
    pub fn exit(&self) -> Exit {
        match self {
            Error::Read(_) | Error::Write(_) | Error::Memory(_) => Exit::Failed,
            Error::Damaged(_) | Error::Foreign(_) | Error::TooDeep | Error::NotSealed | Error::Window => {
                Exit::Damaged
            }
            Error::Locked(_) | Error::Version => Exit::Locked,
            Error::Secret(error) => match error {
                SecretError::NoTerminal(_) => Exit::Locked,
                SecretError::Identity(_, error) => error.exit(),
                // Another file has to be named, as for every file that an argument names.
                SecretError::Unreadable { .. } => Exit::Usage,
                _ => Exit::Failed,
            },
        }
    }

    /// What the user of `program` can do about it.
    pub fn hint(&self, program: &str) -> Option<String> {
        let unwrap = |command: &str| format!("unwrap it first: {command} FILE | {program}");
        Some(match self {
            Error::Foreign(foreign) => unwrap(foreign.command),
            Error::TooDeep => "unwrap some of it first, with gzip -dc, zstd -dc or age -d".to_string(),
            Error::Window => unwrap("zstd -dc --long=31"),
            Error::Memory(_) => "free some, raise the limit (ulimit -v), or use recipients: -r".to_string(),
            Error::Version => unwrap("age -d"),
            Error::Locked(Locked::NoIdentity) => "name the identity file: -i FILE".to_string(),
            Error::Locked(Locked::Work(_)) => {
                format!("if you trust where it comes from: age -d FILE | {program}")
            }
            Error::Secret(SecretError::NoTerminal(_)) => {
                "give the passphrase in a file: --passphrase-file FILE".to_string()
            }
            Error::Secret(SecretError::IsIdentity) => {
                "give its public key, which age-keygen -y FILE writes".to_string()
            }
            Error::Damaged(_) => "get another copy; this one is not what was written".to_string(),
            _ => return None,
        })
    }
}
