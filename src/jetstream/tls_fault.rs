//! The errors of TLS, as messages. Pure.

use std::fmt;

/// Why the two ends of a TLS connection do not agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsFault {
    /// No authority that we trust has signed the server's certificate.
    Untrusted,
    /// It is another server's; for which ones it holds, as far as it says.
    OtherName(String),
    /// Its time is over, or has not come yet.
    OutOfTime,
    /// The server wants a certificate of ours, or another one.
    WantsCertificate(String),
    /// What answers does not speak TLS.
    NotTls,
    /// The system's own authorities, which count where none are named, cannot be read.
    NoSystem(String),
    /// Something else.
    Other(String),
}

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsFault::Untrusted => write!(f, "its certificate is not signed by an authority that is trusted"),
            TlsFault::OtherName(names) if names.is_empty() => {
                write!(f, "its certificate is for another name")
            }
            TlsFault::OtherName(names) => write!(f, "its certificate is for {names} only"),
            TlsFault::OutOfTime => write!(f, "its certificate has expired, or does not hold yet"),
            TlsFault::WantsCertificate(what) => write!(f, "it does not accept our certificate ({what})"),
            TlsFault::NotTls => write!(f, "it does not speak TLS"),
            TlsFault::NoSystem(what) => {
                write!(f, "the certificate authorities of this system cannot be read: {what}")
            }
            TlsFault::Other(what) => write!(f, "{what}"),
        }
    }
}
