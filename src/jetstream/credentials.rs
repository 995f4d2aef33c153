//! Finds out why a server may have refused a user's credentials. The server says only "Authorization Violation" for every
//! reason, but the user's own JWT says when it expires. Verifies no signature.
//!
//! A credentials file holds, between lines of dashes, the JWT (three parts in base64url, the second of
//! them JSON with `exp` in seconds since 1970, RFC 7519) and then the seed.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde::Deserialize;

use super::connection::Auth;

#[derive(Deserialize)]
struct Claims {
    exp: Option<i64>,
}

/// That these credentials have expired, in words; `None` where they have not, or do not say.
pub(super) fn expiry(auth: &Auth) -> Option<String> {
    let Auth::Credentials(creds) = auth else { return None };
    let expired = Timestamp::from_second(of_jwt(creds.text.expose_secret())?).ok()?;
    (expired <= Timestamp::now()).then(|| format!("the user JWT in {} expired at {expired}", creds.from))
}

fn of_jwt(text: &str) -> Option<i64> {
    let jwt = text.lines().map(str::trim).find(|line| line.starts_with("ey"))?;
    let claims = BASE64_URL_SAFE_NO_PAD.decode(jwt.split('.').nth(1)?).ok()?;
    serde_json::from_slice::<Claims>(&claims).ok()?.exp.filter(|exp| *exp > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_in_the_jwts_second_part() {
        let claims = BASE64_URL_SAFE_NO_PAD.encode(r#"{"jti":"x","exp":1700000000,"nats":{}}"#);
        let text =
            format!("-----BEGIN NATS USER JWT-----\neyJ0.{claims}.sig\n------END NATS USER JWT------\n");
        assert_eq!(of_jwt(&text), Some(1_700_000_000));
        assert_eq!(of_jwt("eyJ0.e30.sig"), None);
        assert_eq!(of_jwt("eyJ0"), None);
    }
}
