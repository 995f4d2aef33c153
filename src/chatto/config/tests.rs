//! The order of precedence, and what is refused before any I/O on the network.

use super::*;
use std::collections::HashMap;

fn resolved(toml: &str, env: &[(&str, &str)], options: Overrides) -> Result<Connection, ConfigError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), toml).unwrap();
    let env: HashMap<_, _> = env.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let found =
        resolve(&Overrides { file: Some(file.path().into()), ..options }, |name| env.get(name).cloned());
    found.map(|found| found.connection)
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
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "o\n").unwrap();
    let options = Overrides {
        url: Some("nats://a:3, tls://b:4".into()),
        token_file: Some(file.path().into()),
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

#[test]
fn a_list_of_servers_is_one_of_known_and_equal_schemes() {
    let err = |url: &str| {
        let options = Overrides { url: Some(url.into()), ..Overrides::default() };
        resolved("", &[], options).unwrap_err().to_string()
    };
    assert!(err("http://u:hunter2@h").contains("http://h begins with none of"), "{}", err("http://u:p@h"));
    assert!(err("ws://a,nats://b").contains("cannot be mixed"));
    let options = Overrides { url: Some("wss://a,WS://b".into()), ..Overrides::default() };
    assert_eq!(resolved("", &[], options).unwrap().urls, ["wss://a", "WS://b"]);
}

#[test]
fn a_domain_is_one_token() {
    for domain in ["", "a.b", "*", ">", "a b", "a\n"] {
        let options =
            Overrides { url: Some("h".into()), js_domain: Some(domain.into()), ..Overrides::default() };
        assert!(matches!(resolved("", &[], options), Err(ConfigError::Value { key: "--js-domain", .. })));
    }
}
