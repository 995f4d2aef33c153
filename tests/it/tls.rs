//! TLS: which servers the programs trust, how they identify themselves, and their messages when it fails.

use std::fs;
use std::path::Path;

use crate::support::api;
use crate::support::certificates::{Authority, Certificate, argument};
use crate::support::programs::{Finished, program, program_for, refused, run, run_with};
use crate::support::server::{LATEST, Server};
use anyhow::{Context, Result};
use chatto_pipes::jetstream::private_server::Options;
use serde_json::json;

fn start(tls: &str) -> Server {
    Server::start_with(LATEST, Options { extra: tls.into(), ..Options::default() })
}

/// An address that is only one everywhere. `localhost` can be `::1` too, where nobody listens, and of a name
/// with several addresses we are told only what went wrong with the last.
const HERE: &str = "127.0.0.1";

/// The server by the scheme `tls` and a name that its certificate may hold.
fn url(server: &Server, host: &str) -> String {
    server.url().replace("nats://", "tls://").replace(HERE, host)
}

/// `chatto-dump -n`; the token is right, so that only TLS decides. The system trusts `system` alone.
fn list(server: &Server, url: &str, system: &Path, arguments: &[&str]) -> Finished {
    let mut command = program_for("chatto-dump", server);
    command.args(["-n", "-s", url]).args(arguments).env("SSL_CERT_FILE", system).env_remove("SSL_CERT_DIR");
    run(command)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_is_trusted_alone_by_option_environment_or_file() -> Result<()> {
    let (ours, other) = (Authority::new(), Authority::new());
    let server = start(&ours.issue(&["localhost", HERE]).tls_block(""));
    let (good, bad) = (ours.file(), other.file());
    let [good_file, bad_file] = [&good, &bad].map(|file| argument(file));
    let plain = server.url();
    for url in [url(&server, "localhost"), url(&server, HERE), plain.clone()] {
        // The system's authorities are the last resort; one that is named is the only one.
        list(&server, &url, &good, &[]).expect_code(0);
        list(&server, &url, &bad, &["--tls-ca", good_file]).expect_code(0);
    }
    for url in [url(&server, HERE), plain.clone()] {
        let untrusted = [
            &format!("no secure connection to {url}: ")[..],
            "not signed by an authority",
            "hint: ",
            "--tls-ca",
        ];
        refused(list(&server, &url, &bad, &[]), 7, &untrusted);
        refused(list(&server, &url, &good, &["--tls-ca", bad_file]), 7, &untrusted);
    }

    // As text, which is how Chatto has it.
    let here = tempfile::tempdir()?;
    let with = |name: &str, pem: &str| {
        let toml = format!(
            "[nats.client]\nurl = \"{plain}\"\nauth_method = \"token\"\ntoken = \"{}\"\nca_cert = \"\"\"\n{pem}\"\"\"\n",
            server.token()
        );
        fs::write(here.path().join(name), toml)
    };
    with("good.toml", &ours.pem)?;
    with("bad.toml", &other.pem)?;
    with("both.toml", &format!("{}{}", other.pem, ours.pem))?;
    with("none.toml", "no certificate")?;
    let configured = |file: &str, ca: Option<&str>, arguments: &[&str]| {
        let mut command = program("chatto-dump");
        command.args(["-n", "-c", file]).args(arguments).current_dir(here.path()).env("SSL_CERT_FILE", &bad);
        if let Some(pem) = ca {
            command.env("CHATTO_NATS_CLIENT_CA_CERT", pem);
        }
        run(command)
    };
    configured("good.toml", None, &[]).expect_code(0);
    configured("both.toml", None, &[]).expect_code(0);
    configured("bad.toml", Some(&ours.pem), &[]).expect_code(0);
    configured("bad.toml", None, &["--tls-ca", good_file]).expect_code(0);
    refused(configured("bad.toml", None, &[]), 7, &["not signed by an authority"]);
    refused(configured("good.toml", Some(&other.pem), &[]), 7, &["not signed by an authority"]);
    refused(configured("none.toml", None, &[]), 2, &["nats.client.ca_cert: holds no certificate in PEM"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_another_name_or_another_time() -> Result<()> {
    let authority = Authority::new();
    let ca = authority.file();
    let server = start(&authority.issue(&["nats.example.org", "localhost"]).tls_block(""));
    list(&server, &url(&server, "localhost"), &ca, &[]).expect_code(0);
    refused(
        list(&server, &url(&server, HERE), &ca, &["--tls-ca", argument(&ca)]),
        7,
        &["its certificate is for", "nats.example.org", "hint: connect by a name"],
    );
    let server = start(&authority.issue_expired(&[HERE]).tls_block(""));
    refused(
        list(&server, &url(&server, HERE), &ca, &["--tls-ca", argument(&ca)]),
        7,
        &["its certificate has expired", "hint: renew"],
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate() -> Result<()> {
    let (ours, other) = (Authority::new(), Authority::new());
    let ca = ours.file();
    let verify = format!("ca_file: {ca:?}, verify: true");
    let server = start(&ours.issue(&[HERE]).tls_block(&verify));
    let url = url(&server, HERE);
    let [client, stranger] = [&ours, &other].map(|authority| authority.issue(&["backup"]));
    let with = |certificate: &Certificate, more: &[&str]| {
        let pair = ["--tls-cert", argument(&certificate.cert), "--tls-key", argument(&certificate.key)];
        list(&server, &url, &ca, &[&pair, more].concat())
    };
    // With the system's authorities, and with one that is named.
    with(&client, &[]).expect_code(0);
    with(&client, &["--tls-ca", argument(&ca)]).expect_code(0);
    let words = ["it does not accept our certificate", "hint: ", "--tls-cert FILE with --tls-key FILE"];
    refused(with(&stranger, &[]), 7, &words);
    refused(list(&server, &url, &ca, &[]), 7, &words);

    let mixed = Certificate { cert: client.cert.clone(), key: stranger.key.clone() };
    refused(with(&mixed, &[]), 2, &["is not the private key of the certificate in"]);
    let swapped = Certificate { cert: client.key.clone(), key: client.cert.clone() };
    refused(with(&swapped, &[]), 2, &["holds no certificate in PEM"]);
    let halved = Certificate { cert: client.cert.clone(), key: client.cert.clone() };
    refused(with(&halved, &[]), 2, &["holds no private key in PEM"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_speak_tls() -> Result<()> {
    let server = Server::start(LATEST);
    let authority = Authority::new();
    let ca = authority.file();
    let words = ["no secure connection to", "it does not speak TLS", "hint: leave the certificate options"];
    refused(list(&server, &url(&server, HERE), &ca, &[]), 7, &words);
    refused(list(&server, &server.url(), &ca, &["--tls-ca", argument(&ca)]), 7, &words);
    Ok(())
}

/// A minimal container: no authorities on the system, or a broken setting for them.
#[tokio::test(flavor = "multi_thread")]
async fn a_system_without_authorities() -> Result<()> {
    let authority = Authority::new();
    let ca = authority.file();
    let block = authority.issue(&[HERE]).tls_block(&format!("ca_file: {ca:?}, verify: true"));
    let (server, verifying) = (start(&authority.issue(&[HERE]).tls_block("")), start(&block));
    let client = authority.issue(&["backup"]);
    let pair = ["--tls-cert", argument(&client.cert), "--tls-key", argument(&client.key)];
    let empty = tempfile::tempdir()?;
    let nothing = empty.path().join("nothing");
    let on = |server: &Server, file: &Path, dir: Option<&Path>, arguments: &[&str]| {
        let mut command = program_for("chatto-dump", server);
        command.args(["-n", "-s", &url(server, HERE)]).args(arguments);
        command.env("SSL_CERT_FILE", file).env_remove("SSL_CERT_DIR");
        command.envs(dir.map(|dir| ("SSL_CERT_DIR", dir)));
        run(command)
    };
    let words = [
        "no secure connection to",
        "the certificate authorities of this system cannot be read",
        "nothing",
        "hint: ",
        "--tls-ca FILE",
    ];
    for (file, dir) in [(&nothing, None), (&nothing, Some(&*nothing)), (&ca, Some(&*nothing))] {
        on(&server, file, dir, &["--tls-ca", argument(&ca)]).expect_code(0);
        refused(on(&server, file, dir, &[]), 7, &words);
        refused(on(&verifying, file, dir, &pair), 7, &words);
    }
    // One that is named is still the only one.
    let other = Authority::new();
    let untrusted = on(&server, &nothing, None, &["--tls-ca", argument(&other.file())]);
    refused(untrusted, 7, &["not signed by an authority"]);
    // As the hint says.
    let both = [&pair[..], &["--tls-ca", argument(&ca)]].concat();
    refused(on(&verifying, &nothing, None, &both), 7, &["SSL_CERT_FILE to the same file"]);
    on(&verifying, &ca, None, &both).expect_code(0);
    Ok(())
}

/// Over websockets, with and without TLS; a dump goes one way and a load the other.
#[tokio::test(flavor = "multi_thread")]
async fn websockets() -> Result<()> {
    let (authority, other) = (Authority::new(), Authority::new());
    let listening = |how: &str| {
        let server =
            start(&format!("websocket {{ listen: \"{HERE}:-1\", handshake_timeout: \"60s\", {how} }}"));
        let log = server.log();
        let port = log.split_once("Listening for websocket clients on ").map(|(_, rest)| rest);
        let port = port.and_then(|rest| rest.lines().next()?.rsplit(':').next()?.parse::<u16>().ok());
        (port.unwrap_or_else(|| panic!("no port in the log:{log}")), server)
    };
    let (plain, open) = listening("no_tls: true");
    let (secure, tls) = listening(&authority.issue(&[HERE]).tls_block(""));
    let (ws, wss) = (format!("ws://{HERE}:{plain}"), format!("wss://{HERE}:{secure}"));

    let client = open.client().await?;
    api::call(&client, "STREAM.CREATE.EVT", json!({ "name": "EVT", "subjects": ["evt.>"] })).await?;
    let mut dump = program_for("chatto-dump", &open);
    dump.args(["-s", &ws]);
    let archive = run(dump).expect_code(0).stdout;
    let mut load = program_for("chatto-load", &tls);
    load.args(["-s", &wss, "--tls-ca", argument(&authority.file())]);
    run_with(load, &archive).expect_code(0);
    assert_eq!(api::stream_names(&tls.client().await?).await?, ["EVT"]);

    let untrusted = list(&tls, &wss, &other.file(), &[]);
    refused(untrusted, 7, &["no secure connection to wss://", "not signed by an authority"]);
    let wrong = wss.replace("wss://", "ws://");
    refused(list(&tls, &wrong, &authority.file(), &["--timeout", "5"]), 7, &["cannot reach ws://"]);
    refused(list(&open, &format!("{ws},nats://h"), &authority.file(), &[]), 2, &["cannot be mixed"]);
    refused(list(&open, "https://h", &authority.file(), &[]), 2, &["begins with none of nats, tls, ws, wss"]);
    Ok(())
}

/// A whole backup and restore through TLS, with everything that goes with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_dump_and_a_load() -> Result<()> {
    let authority = Authority::new();
    let ca = authority.file();
    let verify = format!("ca_file: {ca:?}, verify: true");
    let block = authority.issue(&["localhost"]).tls_block(&verify);
    let (source, destination) = (start(&block), start(&block));
    let client = authority.issue(&["backup"]);
    let options = |name: &str, server: &Server| {
        let mut command = program_for(name, server);
        command.args(["-s", &url(server, "localhost"), "--tls-ca", argument(&ca)]);
        command.args(["--tls-cert", argument(&client.cert), "--tls-key", argument(&client.key)]);
        command
    };
    let plain = Server::start(LATEST);
    let with = plain.client().await?;
    crate::support::faults::large_stream(&with, plain.version(), "LARGE", 10, 1).await?;
    let archive = crate::support::faults::archive_of(&plain);
    run_with(options("chatto-load", &source), &archive).expect_code(0);
    let again = run(options("chatto-dump", &source)).expect_code(0).stdout;
    run_with(options("chatto-load", &destination), &again).expect_code(0);
    let third = run(options("chatto-dump", &destination)).expect_code(0).stdout;
    let sums = |archive: &[u8]| {
        crate::support::archive::Archive::read(archive).in_manifest("LARGE")["messages"].take()
    };
    assert_eq!(sums(&third), sums(&archive));
    assert!(sums(&third).as_u64().context("a number")? > 0);
    Ok(())
}
