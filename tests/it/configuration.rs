//! The server and the credentials come from `chatto.toml`, the environment and the options. Each of these takes precedence
//! over the one before. Every test lists the streams of a server that accepts no other credentials.

use std::fs;

use crate::support::api;
use crate::support::programs::{Finished, program, run, run_with};
use crate::support::server::{LATEST, Server};
use anyhow::{Context, Result};
use chatto_pipes::jetstream::private_server::{Authorization, Options};
use serde_json::json;
use tempfile::TempDir;

const NOWHERE: &str = "nats://127.0.0.1:1";

/// A server with one stream, whose name says that it was reached.
async fn server() -> Result<Server> {
    let server = Server::start(LATEST);
    let config = json!({ "name": "REACHED", "subjects": ["reached"] });
    api::call(&server.client().await?, "STREAM.CREATE.REACHED", config).await?;
    Ok(server)
}

fn port(server: &Server) -> String {
    server.url().rsplit(':').next().unwrap_or_default().to_owned()
}

/// A directory with a `chatto.toml` and perhaps other files.
fn directory(chatto_toml: &str) -> Result<TempDir> {
    let directory = tempfile::tempdir()?;
    // What `chatto init` writes besides, none of which is ours to read.
    let others = "[webserver]\nport = 4000\ncookie_signing_secret = \"c0ffee\"\n[core]\nsecret_key = 7\n";
    fs::write(directory.path().join("chatto.toml"), format!("{chatto_toml}\n{others}"))?;
    Ok(directory)
}

/// `chatto-dump -n` in `directory`.
fn list(directory: &TempDir, arguments: &[&str], environment: &[(&str, &str)]) -> Finished {
    let mut command = program("chatto-dump");
    command.arg("-n").args(arguments).current_dir(directory.path());
    command.envs(environment.iter().map(|(key, value)| (format!("CHATTO_NATS_{key}"), value)));
    run(command)
}

#[track_caller]
fn reached(finished: Finished) {
    let finished = finished.expect_code(0);
    assert_eq!(String::from_utf8_lossy(&finished.stdout), "REACHED\tstream\t0\t0\n");
}

fn client(url: &str, token: &str) -> String {
    format!("[nats.client]\nurl = \"{url}\"\nauth_method = \"token\"\ntoken = \"{token}\"\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn chatto_toml_is_found_by_itself_or_by_name() -> Result<()> {
    let server = server().await?;
    let here = directory(&client(&server.url(), server.token()))?;
    reached(list(&here, &[], &[]));

    fs::rename(here.path().join("chatto.toml"), here.path().join("other.toml"))?;
    reached(list(&here, &["-c", "other.toml"], &[]));
    list(&here, &[], &[]).expect_code(2);
    Ok(())
}

/// Both programs read it the same way.
#[tokio::test(flavor = "multi_thread")]
async fn from_file_to_file() -> Result<()> {
    let (source, destination) = (server().await?, Server::start(LATEST));
    let (from, to) = (
        directory(&client(&source.url(), source.token()))?,
        directory(&client(&destination.url(), destination.token()))?,
    );
    let mut dump = program("chatto-dump");
    dump.arg("-c").arg(from.path().join("chatto.toml"));
    let mut load = program("chatto-load");
    load.arg("-c").arg(to.path().join("chatto.toml"));
    run_with(load, run(dump).expect_code(0).stdout).expect_code(0);
    assert_eq!(api::stream_names(&destination.client().await?).await?, ["REACHED"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_overrides_the_file() -> Result<()> {
    let server = server().await?;
    let (url, token) = (server.url(), server.token());
    let wrong = directory(&client(NOWHERE, "wrong"))?;
    reached(list(&wrong, &[], &[("CLIENT_URL", &url), ("CLIENT_TOKEN", token)]));
    // Variable by variable; an empty one is as good as none.
    let half = directory(&client(&url, "wrong"))?;
    reached(list(&half, &[], &[("CLIENT_URL", ""), ("CLIENT_TOKEN", token)]));
    list(&half, &[], &[]).expect_code(7);

    let nothing = tempfile::tempdir()?;
    let all = [("CLIENT_URL", url.as_str()), ("CLIENT_AUTH_METHOD", "token"), ("CLIENT_TOKEN", token)];
    reached(list(&nothing, &[], &all));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn options_override_both() -> Result<()> {
    let server = server().await?;
    let wrong = directory(&client(NOWHERE, "wrong"))?;
    fs::write(wrong.path().join("token"), server.token())?;
    let environment = [("CLIENT_URL", NOWHERE), ("CLIENT_TOKEN", "wrong too")];
    reached(list(&wrong, &["-s", &server.url(), "--token-file", "token"], &environment));
    // One newline at the end of a secret's file is the editor's.
    fs::write(wrong.path().join("token"), format!("{}\n", server.token()))?;
    reached(list(&wrong, &["-s", &server.url(), "--token-file", "token"], &environment));

    let finished = list(&wrong, &["-s", "nats://127.0.0.1:2"], &environment).expect_code(7);
    assert!(finished.stderr.contains("cannot reach nats://127.0.0.1:2"), "{}", finished.stderr);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_and_a_password() -> Result<()> {
    let extra = "accounts { A { jetstream: enabled, users: [{ user: chatto, password: \"p:w/d@%\" }] } }";
    let options = Options { access: Authorization::Open, extra: extra.into(), ..Options::default() };
    let server = Server::start_with(LATEST, options);
    let connect = async_nats::ConnectOptions::new().user_and_password("chatto".into(), "p:w/d@%".into());
    let client = api::connect_with(connect, &server.url()).await?;
    let config = json!({ "name": "REACHED", "subjects": ["reached"] });
    api::call(&client, "STREAM.CREATE.REACHED", config).await?;
    let url = server.url();

    let with = |password: &str| {
        format!(
            "[nats.client]\nurl = \"{url}\"\nauth_method = \"userpass\"\nusername = \"chatto\"\npassword = \"{password}\"\n"
        )
    };
    reached(list(&directory(&with("p:w/d@%"))?, &[], &[]));
    let wrong = directory(&with("wrong"))?;
    list(&wrong, &[], &[]).expect_code(7);
    reached(list(&wrong, &[], &[("CLIENT_PASSWORD", "p:w/d@%")]));
    let all = [
        ("CLIENT_URL", url.as_str()),
        ("CLIENT_AUTH_METHOD", "userpass"),
        ("CLIENT_USERNAME", "chatto"),
        ("CLIENT_PASSWORD", "p:w/d@%"),
    ];
    reached(list(&tempfile::tempdir()?, &[], &all));
    fs::write(wrong.path().join("password"), "p:w/d@%\n")?;
    reached(list(&wrong, &["--user", "chatto", "--password-file", "password"], &[]));
    reached(list(&wrong, &["-s", &url.replace("//", "//chatto:p%3Aw%2Fd%40%25@")], &[]));
    Ok(())
}

/// The URL's scheme and the token are derived from how Chatto's own NATS listens.
#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_listener() -> Result<()> {
    let server = server().await?;
    let (port, token) = (port(&server), server.token());
    for bind_address in
        ["", "bind_address = \"127.0.0.1\"", "bind_address = \"0.0.0.0\"", "bind_address = \"::\""]
    {
        let here = directory(&format!(
            "[nats]\nreplicas = 1\n[nats.embedded]\nenabled = true\nport = {port}\n{bind_address}\nauth_token = \"{token}\"\ndata_dir = \"./data\"\n"
        ))?;
        reached(list(&here, &[], &[]));
    }
    let environment =
        [("EMBEDDED_ENABLED", "true"), ("EMBEDDED_PORT", &port), ("EMBEDDED_AUTH_TOKEN", token)];
    reached(list(&tempfile::tempdir()?, &[], &environment));

    // A client's URL is the one that counts.
    let both = format!("{}[nats.embedded]\nenabled = true\nport = 1\n", client(&server.url(), token));
    reached(list(&directory(&both)?, &[], &[]));
    Ok(())
}

/// Chatto's own default: nothing listens while it runs, and the user is told what to change.
#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_server_without_a_port() -> Result<()> {
    let here = directory("[nats.embedded]\nenabled = true\ndata_dir = \"./data\"\n")?;
    let finished = list(&here, &[], &[]).expect_code(2);
    for words in ["listens on no port", "nats.embedded.port", "nats.embedded.bind_address"] {
        assert!(finished.stderr.contains(words), "{}", finished.stderr);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_servers() -> Result<()> {
    let server = server().await?;
    let list_of_urls = format!("{NOWHERE}, {}", server.url());
    reached(list(&directory(&client(&list_of_urls, server.token()))?, &[], &[]));
    let userinfo = server.url().replace("//", &format!("//{}@", server.token()));
    reached(list(&tempfile::tempdir()?, &["-s", &format!("{userinfo},{NOWHERE}")], &[]));
    Ok(())
}

/// Without a scheme, as nats-server's own tools take it.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_without_a_scheme() -> Result<()> {
    let server = server().await?;
    let here = directory(&client("nats://nowhere.invalid", server.token()))?;
    reached(list(&here, &["-s", server.url().strip_prefix("nats://").context("a scheme")?], &[]));
    Ok(())
}

#[test]
fn help_needs_no_server() {
    for name in ["chatto-dump", "chatto-load"] {
        for (flag, words) in [("--help", "Exit status:"), ("--version", name)] {
            let mut command = program(name);
            command.arg(flag);
            let finished = run(command).expect_code(0);
            assert!(String::from_utf8_lossy(&finished.stdout).contains(words));
        }
    }
}
