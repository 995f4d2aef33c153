//! Where Chatto's NATS is and how to be let in: `chatto.toml`, the environment and the options, in
//! rising order of precedence. Only the `[nats]` table is read; the rest of the file is none of our
//! business. Opens no connection.

use std::fmt;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

/// The file that is read when none is named; it may be missing.
pub const DEFAULT_FILE: &str = "chatto.toml";

/// What it takes to reach the server.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Every server of the list, as given, without credentials.
    pub urls: Vec<String>,
    /// How to be let in.
    pub auth: Auth,
    /// PEM text of the only certificate authority to trust; implies TLS.
    pub ca_pem: Option<String>,
    /// `nats.replicas`, where it is set.
    pub replicas: Option<u32>,
}

/// The authentication methods that Chatto knows.
#[derive(Debug, Clone)]
pub enum Auth {
    /// No credentials.
    None,
    /// A token.
    Token(SecretString),
    /// A user name and a password.
    UserPass(String, SecretString),
    /// The path of a `.creds` file.
    Credentials(PathBuf),
    /// An nkey seed (`SU…`).
    NKey(SecretString),
}

/// What options say; each overrides the environment and the file.
#[derive(Debug, Default)]
pub struct Overrides {
    /// `-c FILE`.
    pub file: Option<PathBuf>,
    /// `-s URL`.
    pub url: Option<String>,
    /// `--user`.
    pub user: Option<String>,
    /// The content of `--password-file`.
    pub password: Option<SecretString>,
    /// The content of `--token-file`.
    pub token: Option<SecretString>,
}

/// A configuration that leads nowhere. Nothing has been attempted yet.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {cause}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// The file is not TOML, or a key has the wrong type. The text of the file is never quoted: it
    /// holds secrets.
    #[error("{}: line {line}: {what}", path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// What the parser says.
        what: String,
    },
    /// One value makes no sense.
    #[error("{key}: {what}")]
    Value {
        /// The key as in `chatto.toml`, or the option.
        key: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// Chatto runs NATS inside itself and opens no port.
    #[error("NATS is embedded in Chatto and listens on no port")]
    Embedded,
    /// Nothing names a server.
    #[error("no NATS server is configured")]
    Nowhere,
}

impl ConfigError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            ConfigError::Embedded => Some(
                "set nats.embedded.port and nats.embedded.bind_address in chatto.toml and restart Chatto, or stop \
                 Chatto and give --offline"
                    .into(),
            ),
            ConfigError::Nowhere => Some(format!(
                "give -s URL, set CHATTO_NATS_CLIENT_URL, or name Chatto's {DEFAULT_FILE} with -c FILE"
            )),
            _ => None,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct File {
    nats: Nats,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Nats {
    replicas: Option<u32>,
    client: Client,
    embedded: Embedded,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Client {
    url: Option<String>,
    auth_method: Option<String>,
    token: Option<SecretString>,
    username: Option<String>,
    password: Option<SecretString>,
    credentials_file: Option<PathBuf>,
    nkey_seed: Option<SecretString>,
    ca_cert: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Embedded {
    enabled: bool,
    port: u16,
    bind_address: Option<String>,
    auth_token: Option<SecretString>,
    data_dir: Option<PathBuf>,
}

/// What there is to know of a Chatto that is stopped.
#[derive(Debug)]
pub struct Stopped {
    /// `nats.embedded.data_dir`, where the server inside Chatto is enabled and this is set.
    pub data_dir: Option<PathBuf>,
    /// Where a server would answer if Chatto were not stopped; without credentials.
    pub urls: Vec<String>,
}

/// Reads the file, lays `env` over it, and gives what matters when nothing is to be connected to.
pub fn stopped(file: Option<&Path>, env: impl Fn(&str) -> Option<String>) -> Result<Stopped, ConfigError> {
    let mut nats = read(file)?.nats;
    apply_environment(&mut nats, env)?;
    let listed = non_empty(&nats.client.url).map(String::from).or_else(|| embedded_url(&nats.embedded).ok());
    let urls = listed.iter().flat_map(|list| list.split(',')).map(|url| split_userinfo(url.trim()).0);
    let urls = urls.filter(|url| !url.is_empty()).collect();
    let data_dir = nats.embedded.data_dir.filter(|dir| nats.embedded.enabled && !dir.as_os_str().is_empty());
    Ok(Stopped { data_dir, urls })
}

/// Reads the file, lays `env` over it and `overrides` over both.
pub fn resolve(
    overrides: &Overrides,
    env: impl Fn(&str) -> Option<String>,
) -> Result<Connection, ConfigError> {
    let mut nats = read(overrides.file.as_deref())?.nats;
    apply_environment(&mut nats, env)?;

    let urls = match overrides.url.as_deref().or(non_empty(&nats.client.url)) {
        Some(list) => list.split(',').map(str::trim).filter(|u| !u.is_empty()).map(String::from).collect(),
        None => vec![embedded_url(&nats.embedded)?],
    };
    let mut servers = Vec::new();
    let mut in_url = None;
    for url in urls {
        let (bare, userinfo) = split_userinfo(&url);
        in_url = in_url.or(userinfo);
        servers.push(bare);
    }
    if servers.is_empty() {
        return Err(ConfigError::Nowhere);
    }
    let auth = match (option_auth(overrides)?, in_url) {
        (Some(auth), _) => auth,
        (None, Some(auth)) => auth,
        (None, None) => configured_auth(&nats)?,
    };
    let replicas = nats.replicas.filter(|n| *n != 0);
    if let Some(n) = replicas.filter(|n| !matches!(n, 1 | 3 | 5)) {
        return Err(ConfigError::Value { key: "nats.replicas", what: format!("{n} is not 1, 3 or 5") });
    }
    let ca_pem = nats.client.ca_cert.filter(|pem| !pem.trim().is_empty());
    Ok(Connection { urls: servers, auth, ca_pem, replicas })
}

fn read(named: Option<&Path>) -> Result<File, ConfigError> {
    let path = named.unwrap_or(Path::new(DEFAULT_FILE));
    let text = match std::fs::read_to_string(path) {
        Ok(text) => zeroize::Zeroizing::new(text),
        Err(e) if named.is_none() && e.kind() == std::io::ErrorKind::NotFound => return Ok(File::default()),
        Err(cause) => return Err(ConfigError::Unreadable { path: path.into(), cause }),
    };
    toml::from_str(&text).map_err(|e| {
        let offset = e.span().map_or(0, |span| span.start);
        let line = text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1;
        ConfigError::Invalid { path: path.into(), line, what: without_values(e.message()) }
    })
}

/// The part of the parser's message that cannot hold a value of the file: a token given as a number
/// would be quoted in `invalid type: integer ..., expected a string`.
fn without_values(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    match line.find("expected") {
        Some(at) => line[at..].to_string(),
        None => "not valid TOML".to_string(),
    }
}

fn apply_environment(nats: &mut Nats, env: impl Fn(&str) -> Option<String>) -> Result<(), ConfigError> {
    // An empty variable is as good as an unset one, as in Chatto's unit files and compose files.
    let env = |name: &str| env(&format!("CHATTO_NATS_{name}")).filter(|value| !value.is_empty());
    let text = |slot: &mut Option<String>, name: &str| {
        if let Some(value) = env(name) {
            *slot = Some(value);
        }
    };
    let secret = |slot: &mut Option<SecretString>, name: &str| {
        if let Some(value) = env(name) {
            *slot = Some(value.into());
        }
    };
    text(&mut nats.client.url, "CLIENT_URL");
    text(&mut nats.client.auth_method, "CLIENT_AUTH_METHOD");
    secret(&mut nats.client.token, "CLIENT_TOKEN");
    text(&mut nats.client.username, "CLIENT_USERNAME");
    secret(&mut nats.client.password, "CLIENT_PASSWORD");
    secret(&mut nats.client.nkey_seed, "CLIENT_NKEY_SEED");
    text(&mut nats.client.ca_cert, "CLIENT_CA_CERT");
    text(&mut nats.embedded.bind_address, "EMBEDDED_BIND_ADDRESS");
    secret(&mut nats.embedded.auth_token, "EMBEDDED_AUTH_TOKEN");
    if let Some(path) = env("EMBEDDED_DATA_DIR") {
        nats.embedded.data_dir = Some(path.into());
    }
    if let Some(path) = env("CLIENT_CREDENTIALS_FILE") {
        nats.client.credentials_file = Some(path.into());
    }
    let bad = |key, value: &str, wanted: &str| ConfigError::Value {
        key,
        what: format!("\"{}\" is not {wanted}", crate::names::Printable::new(value)),
    };
    if let Some(value) = env("EMBEDDED_ENABLED") {
        nats.embedded.enabled = match value.to_ascii_lowercase().as_str() {
            "1" | "t" | "true" => true,
            "0" | "f" | "false" => false,
            _ => return Err(bad("CHATTO_NATS_EMBEDDED_ENABLED", &value, "true or false")),
        };
    }
    if let Some(value) = env("EMBEDDED_PORT") {
        nats.embedded.port =
            value.parse().map_err(|_| bad("CHATTO_NATS_EMBEDDED_PORT", &value, "a port number"))?;
    }
    if let Some(value) = env("REPLICAS") {
        nats.replicas =
            Some(value.parse().map_err(|_| bad("CHATTO_NATS_REPLICAS", &value, "a number of replicas"))?);
    }
    Ok(())
}

fn embedded_url(embedded: &Embedded) -> Result<String, ConfigError> {
    match (embedded.enabled, embedded.port) {
        (false, _) => Err(ConfigError::Nowhere),
        (true, 0) => Err(ConfigError::Embedded),
        (true, port) => {
            // A wildcard address is where a server listens, not where a client can go.
            let host = match embedded.bind_address.as_deref().unwrap_or("") {
                "" | "0.0.0.0" | "::" | "[::]" => "127.0.0.1".to_string(),
                v6 if v6.contains(':') && !v6.starts_with('[') => format!("[{v6}]"),
                host => host.to_string(),
            };
            Ok(format!("nats://{host}:{port}"))
        }
    }
}

fn option_auth(overrides: &Overrides) -> Result<Option<Auth>, ConfigError> {
    match (&overrides.token, &overrides.user, &overrides.password) {
        (Some(token), None, None) => Ok(Some(Auth::Token(token.clone()))),
        (None, Some(user), password) => {
            Ok(Some(Auth::UserPass(user.clone(), password.clone().unwrap_or_default())))
        }
        (None, None, None) => Ok(None),
        (None, None, Some(_)) => {
            Err(ConfigError::Value { key: "--password-file", what: "needs --user".into() })
        }
        (Some(_), _, _) => {
            Err(ConfigError::Value { key: "--token-file", what: "cannot go with --user".into() })
        }
    }
}

fn configured_auth(nats: &Nats) -> Result<Auth, ConfigError> {
    let client = &nats.client;
    let token = || client.token.clone().filter(is_set).or(nats.embedded.auth_token.clone().filter(is_set));
    let derived = if nats.embedded.auth_token.as_ref().is_some_and(is_set) { "token" } else { "none" };
    let missing = |key| ConfigError::Value { key, what: "is required by nats.client.auth_method".into() };
    match non_empty(&client.auth_method).unwrap_or(derived) {
        "none" => Ok(Auth::None),
        "token" => Ok(Auth::Token(token().ok_or_else(|| missing("nats.client.token"))?)),
        "userpass" => Ok(Auth::UserPass(
            non_empty(&client.username).ok_or_else(|| missing("nats.client.username"))?.to_string(),
            client.password.clone().unwrap_or_default(),
        )),
        "credentials" => Ok(Auth::Credentials(
            client.credentials_file.clone().ok_or_else(|| missing("nats.client.credentials_file"))?,
        )),
        "nkey" => Ok(Auth::NKey(
            client.nkey_seed.clone().filter(is_set).ok_or_else(|| missing("nats.client.nkey_seed"))?,
        )),
        other => Err(ConfigError::Value {
            key: "nats.client.auth_method",
            what: format!(
                "\"{}\" is not none, token, userpass, credentials or nkey",
                crate::names::Printable::new(other)
            ),
        }),
    }
}

/// Takes `user:password@` or `token@` off a URL: the client library ignores them there, and a URL
/// without them can be shown in messages.
fn split_userinfo(url: &str) -> (String, Option<Auth>) {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), url),
    };
    let authority_end = rest.find('/').unwrap_or(rest.len());
    let Some(at) = rest[..authority_end].rfind('@') else {
        return (url.to_string(), None);
    };
    let auth = match rest[..at].split_once(':') {
        Some((user, password)) => Auth::UserPass(percent_decoded(user), percent_decoded(password).into()),
        None => Auth::Token(percent_decoded(&rest[..at]).into()),
    };
    (format!("{scheme}{}", &rest[at + 1..]), Some(auth))
}

fn percent_decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn non_empty(text: &Option<String>) -> Option<&str> {
    text.as_deref().map(str::trim).filter(|t| !t.is_empty())
}

fn is_set(secret: &SecretString) -> bool {
    !secret.expose_secret().is_empty()
}

impl fmt::Display for Connection {
    /// The servers, for messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::names::Printable::new(&self.urls.join(", ")).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn resolved(toml: &str, env: &[(&str, &str)], options: Overrides) -> Result<Connection, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), toml).unwrap();
        let env: HashMap<_, _> = env.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        resolve(&Overrides { file: Some(file.path().into()), ..options }, |name| env.get(name).cloned())
    }

    fn token(auth: &Auth) -> &str {
        match auth {
            Auth::Token(token) => token.expose_secret(),
            other => panic!("{other:?}"),
        }
    }

    const EMBEDDED: &str = "[nats.embedded]\nenabled = true\nport = 4333\nauth_token = \"t0\"\n";

    #[test]
    fn the_embedded_listener_is_derived() {
        let found = resolved(EMBEDDED, &[], Overrides::default()).unwrap();
        assert_eq!(found.urls, ["nats://127.0.0.1:4333"]);
        assert_eq!(token(&found.auth), "t0");
        let env = [("CHATTO_NATS_EMBEDDED_BIND_ADDRESS", "::1")];
        assert_eq!(resolved(EMBEDDED, &env, Overrides::default()).unwrap().urls, ["nats://[::1]:4333"]);
    }

    #[test]
    fn options_override_the_environment_and_that_the_file() {
        let toml = "[nats.client]\nurl = \"nats://file:1\"\nauth_method = \"token\"\ntoken = \"f\"";
        let env = [("CHATTO_NATS_CLIENT_URL", "nats://env:2"), ("CHATTO_NATS_CLIENT_TOKEN", "e")];
        assert_eq!(resolved(toml, &[], Overrides::default()).unwrap().urls, ["nats://file:1"]);
        let found = resolved(toml, &env, Overrides::default()).unwrap();
        assert_eq!((found.urls[0].as_str(), token(&found.auth)), ("nats://env:2", "e"));
        let options = Overrides {
            url: Some("nats://a:3, tls://b:4".into()),
            token: Some("o".to_string().into()),
            ..Overrides::default()
        };
        let found = resolved(toml, &env, options).unwrap();
        assert_eq!(found.urls, ["nats://a:3", "tls://b:4"]);
        assert_eq!(token(&found.auth), "o");
    }

    #[test]
    fn credentials_in_a_url_are_taken_off_it() {
        let options = Overrides { url: Some("nats://u%40x:p:w@h:4222".into()), ..Overrides::default() };
        let found = resolved("", &[], options).unwrap();
        assert_eq!(found.to_string(), "nats://h:4222");
        match found.auth {
            Auth::UserPass(user, password) => {
                assert_eq!((user.as_str(), password.expose_secret()), ("u@x", "p:w"))
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_configuration_that_leads_nowhere_says_so() {
        let err = |toml| resolved(toml, &[], Overrides::default()).unwrap_err();
        assert!(matches!(err(""), ConfigError::Nowhere));
        assert!(matches!(err("[nats.embedded]\nenabled = true"), ConfigError::Embedded));
        assert!(matches!(
            err("[nats.client]\nurl=\"n\"\nauth_method=\"token\""),
            ConfigError::Value { key: "nats.client.token", .. }
        ));
        assert!(matches!(err("[nats]\nreplicas = 2\n[nats.client]\nurl=\"n\""), ConfigError::Value { .. }));
    }

    #[test]
    fn a_broken_file_is_named_by_line_and_never_quoted() {
        let toml = "[nats.client]\ntoken = \"hunter2\nurl = 7\n";
        let text = resolved(toml, &[], Overrides::default()).unwrap_err().to_string();
        assert!(text.contains("line 2"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
        let toml = "[nats.client]\ntoken = 271828\n";
        let text = resolved(toml, &[], Overrides::default()).unwrap_err().to_string();
        assert!(text.contains("expected a string"), "{text}");
        assert!(!text.contains("271828"), "{text}");
    }

    #[test]
    fn secrets_are_not_in_debug_output() {
        let found = resolved(EMBEDDED, &[], Overrides::default()).unwrap();
        assert!(!format!("{found:?}").contains("t0"));
    }
}
