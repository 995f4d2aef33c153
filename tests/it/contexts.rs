//! Contexts of the `nats` program: their settings are used, the options that take precedence are those of the manual, and a
//! context with an unknown setting is refused.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::api;
use crate::support::certificates::Authority;
use crate::support::jwt::Operator;
use crate::support::programs::{Finished, program, refused, run, spawn};
use crate::support::server::{LATEST, Server, binary};
use anyhow::{Context, Result};
use chatto_pipes::jetstream::private_server::{Authorization, Options};
use nkeys::KeyPair;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

/// A home directory that holds the context `prod`, with every field that the `nats` program writes.
fn home(fields: Json) -> Result<TempDir> {
    let home = tempfile::tempdir()?;
    write(&home.path().join(".config"), fields)?;
    Ok(home)
}

fn write(config: &Path, fields: Json) -> Result<()> {
    let mut all = json!({
        "description": "where Chatto lives", "url": "", "socks_proxy": "", "token": "", "user": "", "password": "",
        "creds": "", "nkey": "", "cert": "", "key": "", "ca": "", "nsc": "", "jetstream_domain": "",
        "jetstream_api_prefix": "", "jetstream_event_prefix": "", "inbox_prefix": "", "user_jwt": "",
        "user_seed": "", "color_scheme": "", "tls_first": false, "windows_cert_store": "",
        "windows_cert_match_by": "", "windows_cert_match": "", "windows_ca_certs_match": null,
    });
    for (field, value) in fields.as_object().context("fields")? {
        all[field] = value.clone();
    }
    fs::create_dir_all(config.join("nats/context"))?;
    fs::write(config.join("nats/context/prod.json"), all.to_string())?;
    Ok(())
}

fn list(home: &TempDir, arguments: &[&str], environment: &[(&str, &str)]) -> Finished {
    let mut command = program("chatto-dump");
    command.arg("-n").args(["--context", "prod"]).args(arguments).current_dir(home.path());
    command.env_remove("XDG_CONFIG_HOME").env("HOME", home.path()).envs(environment.iter().copied());
    run(command)
}

#[track_caller]
fn reached(finished: Finished) {
    let finished = finished.expect_code(0);
    assert_eq!(String::from_utf8_lossy(&finished.stdout), "REACHED\tstream\t0\t0\n");
}

async fn mark(client: &async_nats::Client) -> Result<()> {
    api::call(client, "STREAM.CREATE.REACHED", json!({ "name": "REACHED", "subjects": ["reached"] })).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_with_a_token_a_user_an_nkey_or_credentials() -> Result<()> {
    let server = Server::start(LATEST);
    mark(&server.client().await?).await?;
    reached(list(&home(json!({ "url": server.url(), "token": server.token() }))?, &[], &[]));
    let in_url = server.url().replace("//", &format!("//{}@", server.token()));
    reached(list(&home(json!({ "url": format!("nats://127.0.0.1:1,{in_url}") }))?, &[], &[]));

    let key = KeyPair::new_user();
    let users = format!("{{ user: u, password: \"p$1\" }}, {{ nkey: {} }}", key.public_key());
    let extra = format!("accounts {{ A {{ jetstream: enabled, users: [{users}] }} }}");
    let server =
        Server::start_with(LATEST, Options { access: Authorization::Open, extra, ..Options::default() });
    let connect = async_nats::ConnectOptions::new().user_and_password("u".into(), "p$1".into());
    mark(&api::connect_with(connect, &server.url()).await?).await?;
    let here = home(json!({ "url": server.url(), "user": "u", "password": "p$1" }))?;
    reached(list(&here, &[], &[]));
    let here = home(json!({ "url": server.url(), "nkey": "~/user.nk" }))?;
    fs::write(here.path().join("user.nk"), key.seed()?)?;
    reached(list(&here, &[], &[]));

    let operator = Operator::new();
    let user = operator.user(0);
    let server = Server::start_with(LATEST, operator.server(None));
    let connect = async_nats::ConnectOptions::with_credentials(&user.creds)?;
    mark(&api::connect_with(connect, &server.url()).await?).await?;
    let creds = tempfile::NamedTempFile::new()?;
    fs::write(creds.path(), &user.creds)?;
    for path in [creds.path().display().to_string(), format!("file://{}", creds.path().display())] {
        reached(list(&home(json!({ "url": server.url(), "creds": path }))?, &[], &[]));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_a_domain_and_an_inbox() -> Result<()> {
    let authority = Authority::new();
    let ca = authority.file();
    let more = format!("ca_file: {ca:?}, verify: true, timeout: 60");
    let users = "users: [{ user: u, password: p, permissions: { subscribe: \"_PRIVATE.>\" } }, { user: a, password: a }]";
    let extra = format!(
        "jetstream {{ domain: hub }}\n{}\naccounts {{ A {{ jetstream: enabled, {users} }} }}",
        authority.issue(&["127.0.0.1"]).tls_block(&more)
    );
    let server =
        Server::start_with(LATEST, Options { access: Authorization::Open, extra, ..Options::default() });
    let url = server.url();
    let client = authority.issue(&["backup"]);
    let connect = async_nats::ConnectOptions::new().user_and_password("a".into(), "a".into());
    let connect = connect.add_root_certificates(ca.clone());
    let connect = connect.add_client_certificate(client.cert.clone(), client.key.clone());
    mark(&api::connect_with(connect, &url).await?).await?;

    let fields = json!({
        "url": url, "user": "u", "password": "p", "ca": ca, "cert": client.cert, "key": client.key,
        "jetstream_domain": "hub", "inbox_prefix": "_PRIVATE.backup",
    });
    reached(list(&home(fields.clone())?, &[], &[]));
    // Each of them counts.
    for (field, value, code, words) in [
        ("ca", json!(authority.issue(&["x"]).cert), 7, "not signed by an authority"),
        ("cert", json!(""), 2, "one of cert and key without the other"),
        ("jetstream_domain", json!("other"), 7, "has no JetStream"),
        ("inbox_prefix", json!(""), 7, "subscribe to \"_INBOX."),
    ] {
        let mut changed = fields.clone();
        changed[field] = value;
        refused(list(&home(changed)?, &[], &[]), code, &[words]);
    }
    let none = json!({ "cert": "", "key": "" });
    let mut changed = fields.clone();
    none.as_object().context("fields")?.iter().for_each(|(field, value)| changed[field] = value.clone());
    refused(list(&home(changed)?, &[], &[]), 7, &["does not accept our certificate"]);
    // An option goes over its field.
    reached(list(&home(fields.clone())?, &["--js-domain", "hub"], &[]));
    refused(list(&home(fields)?, &["--js-domain", "other"], &[]), 7, &["JetStream", "domain other"]);
    Ok(())
}

/// A server that says nothing before the handshake is reached by a context that says so, and by no other.
#[test]
#[allow(clippy::zombie_processes)] // a test that fails before its end may leave one
fn a_handshake_before_everything_else() -> Result<()> {
    let authority = Authority::new();
    let here = home(json!({}))?;
    let tls = authority.issue(&["127.0.0.1"]).tls_block("handshake_first: true, timeout: 60");
    let config = here.path().join("server.conf");
    fs::write(
        &config,
        format!("listen: \"127.0.0.1:-1\"\njetstream {{ store_dir: {:?} }}\n{tls}", here.path()),
    )?;
    let mut server = spawn(Command::new(binary(LATEST)).arg("-c").arg(config).stdin(Stdio::null()));
    // Held to the end: a server whose log nobody reads dies of it.
    let mut log = BufReader::new(server.stderr.take().unwrap()).lines().map_while(Result::ok);
    let address = log.find_map(|line| line.split("client connections on ").nth(1).map(str::to_owned));
    let both = [true, false].map(|first| {
        let url = format!("nats://{}", address.as_deref().unwrap_or_default());
        write(
            &here.path().join(".config"),
            json!({ "url": url, "ca": authority.file(), "tls_first": first }),
        )?;
        // That nothing is said is known only by waiting for it.
        let arguments = if first { &[][..] } else { &["--timeout", "3"] };
        anyhow::Ok(list(&here, arguments, &[]))
    });
    server.kill()?;
    server.wait()?;
    let [first, not_first] = both;
    first?.expect_code(0);
    not_first?.expect_code(7);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn options_go_over_it_and_it_goes_over_the_rest() -> Result<()> {
    let server = Server::start(LATEST);
    mark(&server.client().await?).await?;
    let (url, token) = (server.url(), server.token());
    let right = home(json!({ "url": url, "token": token }))?;
    let elsewhere = [("CHATTO_NATS_CLIENT_URL", "nats://127.0.0.1:1"), ("CHATTO_NATS_CLIENT_TOKEN", "wrong")];
    reached(list(&right, &[], &elsewhere));
    refused(list(&right, &["-s", "nats://127.0.0.1:2"], &[]), 7, &["cannot reach nats://127.0.0.1:2"]);

    let wrong = home(json!({ "url": "nats://127.0.0.1:1", "token": "wrong" }))?;
    fs::write(wrong.path().join("token"), token)?;
    reached(list(&wrong, &["-s", &url, "--token-file", "token"], &[]));
    // What belongs to Chatto's server is not sent to another one.
    let bare = home(json!({ "url": url }))?;
    let chatto = [("CHATTO_NATS_CLIENT_AUTH_METHOD", "token"), ("CHATTO_NATS_CLIENT_TOKEN", token)];
    refused(list(&bare, &[], &chatto), 7, &["refuses us", "hint: give credentials"]);
    // Where the nats program looks.
    let xdg = tempfile::tempdir()?;
    write(xdg.path(), json!({ "url": url, "token": token }))?;
    reached(list(&wrong, &[], &[("XDG_CONFIG_HOME", xdg.path().to_str().context("a path")?)]));
    Ok(())
}

#[test]
fn what_is_not_understood_is_refused() -> Result<()> {
    let url = "nats://127.0.0.1:1";
    for (fields, words) in [
        (json!({ "socks_proxy": "socks5://p" }), "socks_proxy is not supported"),
        (json!({ "nsc": "nsc://op/acc/user" }), "nsc is not supported"),
        (json!({ "user_jwt": "eyJ0", "user_seed": "SU" }), "user_jwt is not supported"),
        (json!({ "windows_cert_store": "user" }), "windows_cert_store is not supported"),
        (json!({ "jetstream_api_prefix": "JS.x" }), "jetstream_api_prefix is not supported"),
        (json!({ "from_the_future": 7 }), "from_the_future is not supported"),
        (json!({ "password": "op://vault/nats", "user": "u" }), "password: op:// is not supported"),
        (json!({ "creds": "$HOME/x.creds" }), "creds: variables in paths"),
        (json!({ "user": "u", "token": "t" }), "more than one of user, token"),
        (json!({ "token": 271828 }), "token is not a string"),
    ] {
        let mut fields = fields;
        fields["url"] = json!(url);
        let finished = list(&home(fields)?, &[], &[]);
        assert!(!finished.stderr.contains("271828"), "{}", finished.stderr);
        refused(finished, 2, &["context prod: ", words]);
    }
    let home = home(json!({}))?;
    fs::write(home.path().join(".config/nats/context/prod.json"), "{\n\"token\": \"hunter2\",\n")?;
    let finished = list(&home, &[], &[]);
    assert!(!finished.stderr.contains("hunter2"), "{}", finished.stderr);
    refused(finished, 2, &["context prod: line 3 is not the JSON of a context"]);
    fs::remove_file(home.path().join(".config/nats/context/prod.json"))?;
    refused(list(&home, &[], &[]), 2, &["context prod: cannot read ", "hint: nats context ls"]);
    let mut escaping = program("chatto-dump");
    escaping.args(["-n", "--context", "../../x"]).env("HOME", home.path());
    refused(run(escaping), 2, &["this is no name of a context"]);
    Ok(())
}
