//! Finds Chatto's NATS server and the credentials for it: in `chatto.toml`, the environment, a context of the `nats`
//! program, and the options. Each of these takes precedence over the one before. It reads only the `[nats]` table of the
//! file. Opens no connection.

mod context;
mod error;
mod secret;
mod servers;

use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

pub use error::{ConfigError, DEFAULT_FILE};

use crate::jetstream::connection::{Auth, Connection, SourcedText, Tls};
use crate::names::Printable;

/// What the configuration comes to.
#[derive(Debug, Clone, Default)]
pub struct NatsConfig {
    /// Where the server is, and how to be let in.
    pub connection: Connection,
    /// `nats.replicas`, where it is set.
    pub replicas: Option<u32>,
    /// Whether this leads to the server inside Chatto, which runs only while Chatto does.
    pub embedded: bool,
    /// Files with a secret in them that others can read.
    pub exposed: Vec<PathBuf>,
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
    /// `--password-file`.
    pub password_file: Option<PathBuf>,
    /// `--token-file`.
    pub token_file: Option<PathBuf>,
    /// `--creds`.
    pub creds: Option<PathBuf>,
    /// `--nkey`.
    pub nkey: Option<PathBuf>,
    /// `--tls-ca`.
    pub tls_ca: Option<PathBuf>,
    /// `--tls-cert`, which goes with `--tls-key`.
    pub tls_cert: Option<PathBuf>,
    /// `--tls-key`.
    pub tls_key: Option<PathBuf>,
    /// `--js-domain`.
    pub js_domain: Option<String>,
    /// `--context`.
    pub context: Option<String>,
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

/// What the configuration says of a stopped Chatto.
#[derive(Debug)]
pub struct StoppedChatto {
    /// `nats.embedded.data_dir`, if it is set and the server inside Chatto is enabled.
    pub data_dir: Option<PathBuf>,
    /// The addresses where Chatto's server would answer if it ran, without credentials.
    pub urls: Vec<String>,
}

/// Reads the file and then `env`, which takes precedence. Gives only what a stopped Chatto needs.
pub fn stopped_chatto(
    file: Option<&Path>,
    env: impl Fn(&str) -> Option<String>,
) -> Result<StoppedChatto, ConfigError> {
    let mut nats = read(file)?.nats;
    apply_environment(&mut nats, env)?;
    let listed = non_empty(&nats.client.url).map(String::from).or_else(|| embedded_url(&nats.embedded).ok());
    // An invalid list has no server that could answer.
    let urls = listed.and_then(|list| servers::of(&list).ok()).map_or_else(Vec::new, |(urls, _)| urls);
    let data_dir = nats.embedded.data_dir.filter(|dir| nats.embedded.enabled && !dir.as_os_str().is_empty());
    Ok(StoppedChatto { data_dir, urls })
}

/// Reads the file, lays `env` over it, the context over that, and `overrides` over all.
///
/// A context is a whole: where one is named, what the environment and the file say of servers,
/// credentials and certificates counts for nothing.
pub fn resolve(
    overrides: &Overrides,
    env: impl Fn(&str) -> Option<String>,
) -> Result<NatsConfig, ConfigError> {
    let chosen = option_auth(overrides)?;
    let mut nats = read(overrides.file.as_deref())?.nats;
    let mut exposed = exposed(overrides, &nats);
    apply_environment(&mut nats, &env)?;
    let replicas = nats.replicas.filter(|n| *n != 0);
    if let Some(n) = replicas.filter(|n| !matches!(n, 1 | 3 | 5)) {
        return Err(ConfigError::Value { key: "nats.replicas", what: format!("{n} is not 1, 3 or 5") });
    }
    let context = overrides.context.as_deref().map(|name| context::read(name, &env)).transpose()?;

    let (list, embedded) = match (&overrides.url, &context) {
        (Some(list), _) => (list.clone(), false),
        (None, Some(context)) => (context.url.clone(), false),
        (None, None) => match non_empty(&nats.client.url) {
            Some(list) => (list.to_string(), nats.embedded.enabled),
            None => (embedded_url(&nats.embedded)?, true),
        },
    };
    if context.is_some() {
        exposed.retain(|file| Some(file) != overrides.file.as_ref() && file != Path::new(DEFAULT_FILE));
    }
    let (urls, in_url) = servers::of(&list)?;
    let (auth, tls, js_domain, inbox_prefix) = match context {
        Some(context) => {
            let auth = chosen.or(in_url).unwrap_or(context.auth);
            (auth, context.tls, context.js_domain, context.inbox_prefix)
        }
        None => {
            let auth = chosen.or(in_url).map_or_else(|| configured_auth(&nats), Ok)?;
            let ca = nats.client.ca_cert.filter(|pem| !pem.trim().is_empty());
            let ca = ca.map(|pem| SourcedText { from: "nats.client.ca_cert".into(), text: pem.into() });
            (auth, Tls { ca, ..Tls::default() }, None, None)
        }
    };
    let tls = option_tls(overrides, tls)?;
    let js_domain = overrides.js_domain.clone().or(js_domain);
    if let Some(domain) = js_domain.as_deref().filter(|domain| !is_token(domain)) {
        let what = format!("\"{}\" is no name of a domain", Printable::new(domain));
        return Err(ConfigError::Value { key: "--js-domain", what });
    }
    let connection = Connection { urls, auth, tls, js_domain, inbox_prefix };
    Ok(NatsConfig { connection, replicas, embedded, exposed })
}

/// The files of these options that hold a secret and that others can read.
fn exposed(overrides: &Overrides, nats: &Nats) -> Vec<PathBuf> {
    let Overrides { file, password_file, token_file, creds, nkey, tls_key, .. } = overrides;
    let (client, embedded) = (&nats.client, &nats.embedded);
    let secrets = [&client.token, &client.password, &client.nkey_seed, &embedded.auth_token];
    let configured = secrets.into_iter().flatten().any(is_set);
    let default = || PathBuf::from(DEFAULT_FILE);
    let configuration = configured.then(|| file.clone().unwrap_or_else(default));
    let credentials = client.credentials_file.clone();
    let given = [password_file, token_file, creds, nkey, tls_key].into_iter().flatten().cloned();
    given.chain(configuration).chain(credentials).filter(|file| secret::is_exposed(file)).collect()
}

/// Whether this is one part of a subject, with nothing in it that NATS gives a meaning to.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && !text.contains(|c: char| matches!(c, '.' | '*' | '>') || c.is_whitespace() || c.is_control())
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
        what: format!("\"{}\" is not {wanted}", Printable::new(value)),
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
    let Overrides { user, password_file, token_file, creds, nkey, .. } = overrides;
    match (user, token_file, creds, nkey) {
        (None, None, None, None) if password_file.is_some() => {
            Err(ConfigError::Value { key: "--password-file", what: "needs --user".into() })
        }
        (None, None, None, None) => Ok(None),
        (Some(user), None, None, None) => {
            let password = password_file.as_deref().map(secret::line).transpose()?;
            Ok(Some(Auth::UserPass(user.clone(), password.unwrap_or_default())))
        }
        (None, Some(file), None, None) => Ok(Some(Auth::Token(secret::line(file)?))),
        (None, None, Some(file), None) => Ok(Some(Auth::Credentials(secret::whole(file)?))),
        (None, None, None, Some(file)) => Ok(Some(Auth::NKey(secret::seed(file)?))),
        _ => Err(ConfigError::Value {
            key: "--user, --token-file, --creds, --nkey",
            what: "only one of them can be used".into(),
        }),
    }
}

/// `below`, and the options over it.
fn option_tls(overrides: &Overrides, below: Tls) -> Result<Tls, ConfigError> {
    let ca = overrides.tls_ca.as_deref().map(secret::whole).transpose()?;
    let client = match (&overrides.tls_cert, &overrides.tls_key) {
        (Some(cert), Some(key)) => Some((secret::whole(cert)?, secret::whole(key)?)),
        (None, None) => None,
        _ => {
            return Err(ConfigError::Value {
                key: "--tls-cert, --tls-key",
                what: "neither can be used without the other".into(),
            });
        }
    };
    Ok(Tls { ca: ca.or(below.ca), client: client.or(below.client), first: below.first })
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
        "credentials" => Ok(Auth::Credentials(secret::whole(
            &client.credentials_file.clone().ok_or_else(|| missing("nats.client.credentials_file"))?,
        )?)),
        "nkey" => Ok(Auth::NKey(
            client.nkey_seed.clone().filter(is_set).ok_or_else(|| missing("nats.client.nkey_seed"))?,
        )),
        other => Err(ConfigError::Value {
            key: "nats.client.auth_method",
            what: format!("\"{}\" is not none, token, userpass, credentials or nkey", Printable::new(other)),
        }),
    }
}

fn non_empty(text: &Option<String>) -> Option<&str> {
    text.as_deref().map(str::trim).filter(|t| !t.is_empty())
}

fn is_set(secret: &SecretString) -> bool {
    !secret.expose_secret().is_empty()
}

#[cfg(test)]
mod tests;
