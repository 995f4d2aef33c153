//! Reads a context of the `nats` program: a JSON file with a server and its credentials. Opens no connection.
//!
//! The format is that of `natscontext/context.go` in nats-io/jsm.go:
//!
//! | field | what it says | here |
//! |---|---|---|
//! | `url` | servers, separated by commas; `nats://127.0.0.1:4222` if empty | read |
//! | `user`, `password`; `token`; `creds`, `nkey` (paths) | credentials | one of them is read |
//! | `ca`, `cert`, `key` (paths), `tls_first` | TLS | read |
//! | `jetstream_domain`, `inbox_prefix` | subjects | read |
//! | `description`, `name`, `color_scheme`, `jetstream_event_prefix` | nothing that matters here | passed over |
//! | anything else, such as `nsc`, `user_jwt`, `socks_proxy`, `windows_cert_store` | | refused unless it is empty |
//!
//! A context with any other setting is refused. Without that setting, the program would connect to another server, or in a
//! way that the owner of the context did not choose.

use std::collections::BTreeMap;
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};
use serde_json::value::RawValue;

use super::error::ConfigError;
use super::secret;
use crate::jetstream::connection::{Auth, Tls};
use crate::names::Printable;

/// The largest context, in bytes.
const CONTEXT_MAX: usize = 64 << 10;

/// Where the `nats` program connects to when a context names no server.
const DEFAULT_URL: &str = "nats://127.0.0.1:4222";

/// Fields without a meaning for us.
const PASSED_OVER: [&str; 4] = ["description", "name", "color_scheme", "jetstream_event_prefix"];

/// What a context says.
pub(super) struct Context {
    pub url: String,
    pub auth: Auth,
    pub tls: Tls,
    pub js_domain: Option<String>,
    pub inbox_prefix: Option<String>,
}

/// Reads the context `name` from where the `nats` program keeps it.
pub(super) fn read(name: &str, env: impl Fn(&str) -> Option<String>) -> Result<Context, ConfigError> {
    let refused = |what: String| ConfigError::Context { name: Printable::new(name), what };
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', '\0']) {
        return Err(refused("this is no name of a context".into()));
    }
    let home = env("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let config = env("XDG_CONFIG_HOME").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let config = config.or_else(|| home.as_ref().map(|home| home.join(".config")));
    let config = config.ok_or_else(|| refused("neither XDG_CONFIG_HOME nor HOME is set".into()))?;
    let path = config.join("nats/context").join(format!("{name}.json"));
    let text = secret::read(&path, CONTEXT_MAX).map_err(|e| refused(e.to_string()))?;
    // Without the parser's own words, which quote the text.
    let invalid = |e: serde_json::Error| refused(format!("line {} is not the JSON of a context", e.line()));
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(&text).map_err(invalid)?;
    Fields { fields, home, refused: &refused }.context()
}

struct Fields<'a> {
    fields: BTreeMap<String, &'a RawValue>,
    home: Option<PathBuf>,
    refused: &'a dyn Fn(String) -> ConfigError,
}

impl Fields<'_> {
    fn context(mut self) -> Result<Context, ConfigError> {
        for name in PASSED_OVER {
            self.fields.remove(name);
        }
        let url = self.text("url")?.unwrap_or_else(|| DEFAULT_URL.into());
        let auth = self.auth()?;
        let tls = self.tls()?;
        let (js_domain, inbox_prefix) = (self.text("jetstream_domain")?, self.text("inbox_prefix")?);
        let other = self.fields.iter().find(|(_, value)| !is_empty(value));
        match other {
            Some((field, _)) => {
                Err((self.refused)(format!("{} is not supported here", Printable::new(field))))
            }
            None => Ok(Context { url, auth, tls, js_domain, inbox_prefix }),
        }
    }

    fn auth(&mut self) -> Result<Auth, ConfigError> {
        let (user, password) = (self.text("user")?, self.secret("password")?);
        let (token, creds, nkey) = (self.secret("token")?, self.path("creds")?, self.path("nkey")?);
        match (user, token, creds, nkey) {
            (None, None, None, None) => Ok(Auth::None),
            (Some(user), None, None, None) => Ok(Auth::UserPass(user, password.unwrap_or_default())),
            (None, Some(token), None, None) => Ok(Auth::Token(token)),
            (None, None, Some(creds), None) => Ok(Auth::Credentials(secret::whole(&creds)?)),
            (None, None, None, Some(nkey)) => Ok(Auth::NKey(secret::seed(&nkey)?)),
            _ => Err((self.refused)("it holds more than one of user, token, creds and nkey".into())),
        }
    }

    fn tls(&mut self) -> Result<Tls, ConfigError> {
        let ca = self.path("ca")?.as_deref().map(secret::whole).transpose()?;
        let client = match (self.path("cert")?, self.path("key")?) {
            (Some(cert), Some(key)) => Some((secret::whole(&cert)?, secret::whole(&key)?)),
            (None, None) => None,
            _ => return Err((self.refused)("it holds one of cert and key without the other".into())),
        };
        let first = self.fields.remove("tls_first").is_some_and(|value| value.get() == "true");
        Ok(Tls { ca, client, first })
    }

    /// A string; an empty one is none.
    fn secret(&mut self, field: &str) -> Result<Option<SecretString>, ConfigError> {
        let Some(value) = self.fields.remove(field).filter(|value| !is_empty(value)) else { return Ok(None) };
        let text: SecretString = serde_json::from_str(value.get())
            .map_err(|_| (self.refused)(format!("{field} is not a string")))?;
        // These stand for something that the `nats` program fetches.
        let references = ["op://", "nsc://", "env://", "data:"];
        match references.iter().find(|scheme| text.expose_secret().starts_with(**scheme)) {
            Some(scheme) => Err((self.refused)(format!("{field}: {scheme} is not supported here"))),
            None => Ok(Some(text)),
        }
    }

    fn text(&mut self, field: &str) -> Result<Option<String>, ConfigError> {
        Ok(self.secret(field)?.map(|text| text.expose_secret().to_string()))
    }

    fn path(&mut self, field: &str) -> Result<Option<PathBuf>, ConfigError> {
        let Some(text) = self.text(field)? else { return Ok(None) };
        let text = text.strip_prefix("file://").unwrap_or(&text);
        if text.contains('$') {
            return Err((self.refused)(format!("{field}: variables in paths are not supported here")));
        }
        match (text.strip_prefix("~/"), &self.home) {
            (Some(below), Some(home)) => Ok(Some(home.join(below))),
            _ => Ok(Some(text.into())),
        }
    }
}

/// Whether a value is what the `nats` program writes for a field that is not set.
fn is_empty(value: &RawValue) -> bool {
    matches!(value.get(), "\"\"" | "null" | "false" | "[]" | "0")
}
