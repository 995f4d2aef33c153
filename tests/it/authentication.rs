//! Every kind of credentials that Chatto knows, right and wrong, given by option, environment and `chatto.toml`. Tokens and
//! passwords are in `configuration.rs`. Here are credentials files and nkeys, and the rules for all kinds.

use std::fs;

use crate::support::api;
use crate::support::jwt::{Operator, now};
use crate::support::programs::{Finished, program, refused, run};
use crate::support::server::{LATEST, Server};
use anyhow::{Context, Result};
use chatto_pipes::jetstream::private_server::{Authorization, Options};
use nkeys::KeyPair;
use serde_json::json;
use tempfile::TempDir;

/// `chatto-dump -n` in `directory`, with options and environment variables.
fn list(directory: &TempDir, arguments: &[&str], environment: &[(&str, &str)]) -> Finished {
    let mut command = program("chatto-dump");
    command.arg("-n").args(arguments).current_dir(directory.path());
    command.envs(environment.iter().map(|(key, value)| (format!("CHATTO_NATS_CLIENT_{key}"), value)));
    run(command)
}

/// It was let in, by the account whose only stream says so.
#[track_caller]
fn let_in(finished: Finished) {
    let finished = finished.expect_code(0);
    assert_eq!(String::from_utf8_lossy(&finished.stdout), "REACHED\tstream\t0\t0\n");
}

async fn mark(options: async_nats::ConnectOptions, server: &Server) -> Result<()> {
    let client = api::connect_with(options, &server.url()).await?;
    let config = json!({ "name": "REACHED", "subjects": ["reached"] });
    api::call(&client, "STREAM.CREATE.REACHED", config).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credentials_file() -> Result<()> {
    let operator = Operator::new();
    let (user, revoked) = (operator.user(now() + 3600), operator.user(0));
    let server = Server::start_with(LATEST, operator.server(Some(&revoked)));
    mark(async_nats::ConnectOptions::with_credentials(&user.creds)?, &server).await?;
    let url = server.url();
    let here = tempfile::tempdir()?;
    let write = |name: &str, text: &str| fs::write(here.path().join(name), text);
    write("user.creds", &user.creds)?;

    let_in(list(&here, &["-s", &url, "--creds", "user.creds"], &[]));
    let environment =
        [("URL", url.as_str()), ("AUTH_METHOD", "credentials"), ("CREDENTIALS_FILE", "user.creds")];
    let_in(list(&here, &[], &environment));
    let table = format!("[nats.client]\nurl = \"{url}\"\nauth_method = \"credentials\"\n");
    write("chatto.toml", &format!("{table}credentials_file = \"user.creds\"\n"))?;
    let_in(list(&here, &[], &[]));

    // What is wrong with a user, the server does not say; the credentials themselves may.
    let is_refused = format!("{url} refuses us: ");
    write("revoked.creds", &revoked.creds)?;
    refused(
        list(&here, &["--creds", "revoked.creds"], &[]),
        7,
        &[&is_refused, "hint: check the credentials", "revoked"],
    );
    write("expired.creds", &operator.user(now() - 60).creds)?;
    refused(
        list(&here, &["--creds", "expired.creds"], &[]),
        7,
        &[&is_refused, "the user JWT in expired.creds expired at 20", "hint: "],
    );
    write("stranger.creds", &Operator::new().user(0).creds)?;
    refused(list(&here, &[], &[("CREDENTIALS_FILE", "stranger.creds")]), 7, &[&is_refused]);

    // These never get as far as the server.
    write("garbage.creds", "not credentials at all\n")?;
    refused(list(&here, &["--creds", "garbage.creds"], &[]), 2, &["garbage.creds holds no NATS credentials"]);
    refused(list(&here, &["--creds", "absent.creds"], &[]), 2, &["cannot read absent.creds"]);
    refused(list(&here, &[], &[("CREDENTIALS_FILE", "absent.creds")]), 2, &["cannot read absent.creds"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_nkey() -> Result<()> {
    let user = KeyPair::new_user();
    let seed = user.seed()?;
    let extra =
        format!("accounts {{ A {{ jetstream: enabled, users: [{{ nkey: {} }}] }} }}", user.public_key());
    let server =
        Server::start_with(LATEST, Options { access: Authorization::Open, extra, ..Options::default() });
    mark(async_nats::ConnectOptions::with_nkey(seed.clone()), &server).await?;
    let url = server.url();
    let here = tempfile::tempdir()?;
    let write = |name: &str, text: &str| fs::write(here.path().join(name), text);

    for (name, text) in [
        ("bare.nk", seed.clone()),
        ("line.nk", format!("{seed}\r\n")),
        ("decorated.nk", format!("-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n")),
    ] {
        write(name, &text)?;
        let_in(list(&here, &["-s", &url, "--nkey", name], &[]));
    }
    let environment = [("URL", url.as_str()), ("AUTH_METHOD", "nkey"), ("NKEY_SEED", seed.as_str())];
    let_in(list(&here, &[], &environment));
    let table = format!("[nats.client]\nurl = \"{url}\"\nauth_method = \"nkey\"\n");
    write("chatto.toml", &format!("{table}nkey_seed = \"{seed}\"\n"))?;
    let_in(list(&here, &[], &[]));

    let other = KeyPair::new_user().seed()?;
    write("other.nk", &other)?;
    let finished = list(&here, &["--nkey", "other.nk"], &[]);
    assert!(!finished.stderr.contains(&other), "{}", finished.stderr);
    refused(finished, 7, &["refuses us: ", "hint: check the nkey"]);
    let damaged = seed.replacen(&seed[20..24], "AAAA", 1);
    write("damaged.nk", &damaged)?;
    refused(list(&here, &["--nkey", "damaged.nk"], &[]), 2, &["the nkey's seed is malformed"]);
    write("public.nk", &user.public_key())?;
    refused(list(&here, &["--nkey", "public.nk"], &[]), 2, &["public.nk", "no seed of a user's nkey"]);
    Ok(())
}

/// The hint is for the method that failed.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_refused_is_told_what_to_check() -> Result<()> {
    let server = Server::start(LATEST);
    let here = tempfile::tempdir()?;
    fs::write(here.path().join("secret"), "wrong")?;
    let url = server.url();
    for (arguments, hint) in [
        (&["-s", &url][..], "hint: give credentials (--creds, --nkey, --user, --token-file,"),
        (&["-s", &url, "--token-file", "secret"], "hint: check the token ("),
        (&["-s", &url, "--user", "u", "--password-file", "secret"], "hint: check the user and password ("),
    ] {
        refused(list(&here, arguments, &[]), 7, &["refuses us: ", hint]);
    }
    Ok(())
}

/// Two answers to one question are refused before either is tried, or a file is read.
#[test]
fn options_that_contradict_one_another() -> Result<()> {
    let here = tempfile::tempdir()?;
    let ways = [&["--creds", "c"][..], &["--nkey", "n"], &["--token-file", "t"], &["--user", "u"]];
    for (n, one) in ways.iter().enumerate() {
        for other in &ways[n + 1..] {
            let arguments = [&["-s", "nats://127.0.0.1:1"], *one, *other].concat();
            refused(list(&here, &arguments, &[]), 2, &["cannot be used with"]);
        }
    }
    refused(list(&here, &["--tls-cert", "c"], &[]), 2, &["--tls-key"]);
    refused(list(&here, &["--tls-key", "k"], &[]), 2, &["--tls-cert"]);
    refused(list(&here, &["--password-file", "p"], &[]), 2, &["--user"]);
    for option in ["--creds", "--nkey", "--token-file", "--tls-ca", "--context", "--js-domain"] {
        let mut rehearse = program("chatto-load");
        rehearse.args(["--rehearse", option, "x", "absent.tar"]).current_dir(here.path());
        refused(run(rehearse), 2, &["cannot be used with"]);
    }
    Ok(())
}

/// A refusal that has nothing to do with credentials does not lead anybody to look at them.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_full() -> Result<()> {
    let extra =
        "accounts { A { jetstream: enabled, users: [{ user: u, password: p }] } }\nmax_connections: 1";
    let options = Options { access: Authorization::Open, extra: extra.into(), ..Options::default() };
    let server = Server::start_with(LATEST, options);
    let held = async_nats::ConnectOptions::new().user_and_password("u".into(), "p".into());
    // For the server, the connection by which it was found to be ready may not be over yet.
    let held = api::connect_with(held.retry_on_initial_connect(), &server.url()).await?;
    api::call(&held, "INFO", json!(null)).await?;
    let in_url = server.url().replace("//", "//u:p@");
    let finished = list(&tempfile::tempdir()?, &["-s", &in_url], &[]);
    assert!(!finished.stderr.contains("hint: "), "{}", finished.stderr);
    refused(finished, 7, &["refuses us: maximum connections exceeded"]);
    held.flush().await.context("the connection that is in the way")?;
    Ok(())
}
