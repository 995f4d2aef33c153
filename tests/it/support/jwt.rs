//! Users of a server in operator mode: an operator, one account with JetStream, and users whose JWTs it
//! signs. The format is that of nats-io/jwt, version 2: three parts in base64url, signed with ed25519.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use chatto_pipes::jetstream::private_server::{Authorization, Options};
use nkeys::KeyPair;
use serde_json::{Value as Json, json};

/// An operator and its account.
pub struct Operator {
    operator: KeyPair,
    account: KeyPair,
}

/// A user of the account.
pub struct User {
    /// The content of its credentials file.
    pub creds: String,
    public_key: String,
}

impl Operator {
    pub fn new() -> Operator {
        Operator { operator: KeyPair::new_operator(), account: KeyPair::new_account() }
    }

    /// A user whose credentials hold until `expires`, in seconds since 1970; 0 is for ever.
    pub fn user(&self, expires: u64) -> User {
        let user = KeyPair::new_user();
        let mut claims = json!({
            "sub": user.public_key(), "name": "backup", "iat": now(),
            "nats": { "subs": -1, "data": -1, "payload": -1, "pub": {}, "sub": {}, "type": "user", "version": 2 },
        });
        if expires > 0 {
            claims["exp"] = json!(expires);
        }
        let jwt = signed(&self.account, claims);
        let seed = user.seed().unwrap();
        let creds = format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        User { creds, public_key: user.public_key() }
    }

    /// A server for these users, except for the one that is revoked.
    pub fn server(&self, revoked: Option<&User>) -> Options {
        let revocations: Json =
            revoked.map(|user| (user.public_key.clone(), json!(now()))).into_iter().collect();
        let account = |key: &KeyPair, name: &str, revocations: &Json| {
            let storage = if key.public_key() == self.account.public_key() { -1 } else { 0 };
            let claims = json!({
                "sub": key.public_key(), "name": name, "iat": now(),
                "nats": {
                    "limits": {
                        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
                        "conn": -1, "leaf": -1,
                        "mem_storage": storage, "disk_storage": storage, "streams": -1, "consumer": -1,
                    },
                    "revocations": revocations, "type": "account", "version": 2,
                },
            });
            format!("{}: {}", key.public_key(), signed(&self.operator, claims))
        };
        let system = KeyPair::new_account();
        let operator = json!({
            "sub": self.operator.public_key(), "name": "tests", "iat": now(),
            "nats": { "type": "operator", "version": 2 },
        });
        let extra = format!(
            "operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{\n{}\n{}\n}}",
            signed(&self.operator, operator),
            system.public_key(),
            account(&system, "system", &json!({})),
            account(&self.account, "chatto", &revocations),
        );
        Options { access: Authorization::Open, extra, ..Options::default() }
    }
}

fn signed(by: &KeyPair, mut claims: Json) -> String {
    claims["iss"] = json!(by.public_key());
    claims["jti"] = json!("tests");
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let [header, claims] = [header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()));
    let text = format!("{header}.{claims}");
    let signature = BASE64_URL_SAFE_NO_PAD.encode(by.sign(text.as_bytes()).unwrap());
    format!("{text}.{signature}")
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}
