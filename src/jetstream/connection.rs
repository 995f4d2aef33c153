//! The data that a connection needs: addresses, credentials and certificates. Does not know where they came from.

use std::fmt;

use secrecy::SecretString;

use crate::names::Printable;

/// The data of a connection to the server.
#[derive(Debug, Clone, Default)]
pub struct Connection {
    /// Every server of the list, as given, without credentials.
    pub urls: Vec<String>,
    /// How to be let in.
    pub auth: Auth,
    /// Whom to trust, and how to be known.
    pub tls: Tls,
    /// The JetStream domain to address, where it is not the one of the server itself.
    pub js_domain: Option<String>,
    /// The beginning of the subjects for answers. Without it, this is `_INBOX`.
    pub inbox_prefix: Option<String>,
}

/// How a user shows who it is.
#[derive(Debug, Clone, Default)]
pub enum Auth {
    /// No credentials.
    #[default]
    None,
    /// A token.
    Token(SecretString),
    /// A user name and a password.
    UserPass(String, SecretString),
    /// The content of a `.creds` file: a user's JWT and its seed.
    Credentials(SourcedText),
    /// An nkey seed (`SU…`).
    NKey(SecretString),
}

/// How a connection is encrypted, beyond what the server and the URL's scheme ask for.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// PEM of the only certificate authorities to trust; implies TLS.
    pub ca: Option<SourcedText>,
    /// PEM of a client's certificate with its chain, and of its private key; implies TLS.
    pub client: Option<(SourcedText, SourcedText)>,
    /// Begin with the handshake, before the server has said a word.
    pub first: bool,
}

/// A text that may be secret, and where it comes from, for messages.
#[derive(Debug, Clone)]
pub struct SourcedText {
    /// A path, or a key of the configuration.
    pub from: String,
    /// The text.
    pub text: SecretString,
}

/// Scheme, host and port of a URL, for messages: behind them there may be a secret.
pub fn address(bare: &str) -> Printable {
    let (scheme, rest) = match bare.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), bare),
    };
    let host = &rest[..end_of_authority(rest)];
    let host = match host.rsplit_once(':') {
        // What is no port may be anything.
        Some((host, port)) if !port.ends_with(']') && !port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => host,
    };
    Printable::new(&format!("{scheme}{host}"))
}

/// Where the host and the port of a URL end that has no scheme any more.
pub fn end_of_authority(rest: &str) -> usize {
    rest.find(['/', '?', '#']).unwrap_or(rest.len())
}

impl fmt::Display for Connection {
    /// The servers, for messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<String> = self.urls.iter().map(|url| address(url).to_string()).collect();
        f.pad(&addresses.join(", "))
    }
}
