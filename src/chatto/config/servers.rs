//! Parses a list of servers as people write it: separated by commas, with or without a scheme, with or without
//! credentials. Opens no connection.

use async_nats::ServerAddr;
use secrecy::SecretString;

use super::error::ConfigError;
use crate::jetstream::connection::{Auth, address, end_of_authority};

/// The schemes of a server's URL.
const SCHEMES: [&str; 4] = ["nats", "tls", "ws", "wss"];

/// The servers of `list`, without credentials, and the first credentials in it.
pub(super) fn of(list: &str) -> Result<(Vec<String>, Option<Auth>), ConfigError> {
    let bad = |what: String| ConfigError::Value { key: "server URL", what };
    let mut servers = Vec::new();
    let mut auth = None;
    let mut websockets = 0;
    for url in list.split(',').map(str::trim).filter(|url| !url.is_empty()) {
        // Of what cannot be taken apart for certain, nothing is shown: any part may be the password's.
        let Some((bare, userinfo)) = split_userinfo(url) else {
            return Err(bad(
                "it has an @ behind a /, ? or #; in a user name, password or token write them as \
                            %2F, %3F and %23"
                    .into(),
            ));
        };
        let scheme = bare.split_once("://").map_or("nats", |(scheme, _)| scheme);
        if !SCHEMES.contains(&scheme.to_ascii_lowercase().as_str()) {
            return Err(bad(format!("{} begins with none of {}", address(&bare), SCHEMES.join(", "))));
        }
        if bare.parse::<ServerAddr>().is_err() {
            return Err(bad(format!("{} is not the address of a server", address(&bare))));
        }
        websockets += usize::from(scheme.to_ascii_lowercase().starts_with("ws"));
        auth = auth.or(userinfo);
        servers.push(bare);
    }
    match servers.len() {
        0 => Err(ConfigError::Nowhere),
        n if websockets == 0 || websockets == n => Ok((servers, auth)),
        _ => Err(bad("ws and wss cannot be mixed with other schemes".into())),
    }
}

/// Takes `user:password@` or `token@` off a URL: the client library ignores them there, and a URL
/// without them can be shown in messages. `None` where it is not certain what they are.
fn split_userinfo(url: &str) -> Option<(String, Option<Auth>)> {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), url),
    };
    let authority_end = end_of_authority(rest);
    if rest[authority_end..].contains('@') {
        return None;
    }
    let Some(at) = rest[..authority_end].rfind('@') else {
        return Some((url.to_string(), None));
    };
    let auth = match rest[..at].split_once(':') {
        Some((user, password)) => Auth::UserPass(percent_decoded(user), percent_decoded(password).into()),
        None => Auth::Token(SecretString::from(percent_decoded(&rest[..at]))),
    };
    Some((format!("{scheme}{}", &rest[at + 1..]), Some(auth)))
}

fn percent_decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}
