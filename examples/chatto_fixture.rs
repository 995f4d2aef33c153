//! A small Chatto to try the tools on: serve an empty nats-server, fill it, compare two of them.
//!
//! ```text
//! chatto_fixture serve NATS-SERVER TOKEN-FILE   a private server until SIGTERM, SIGINT or SIGHUP;
//!                                               its URL goes to stdout, its token into the file
//! chatto_fixture fill URL TOKEN-FILE            users, rooms, messages, reactions, avatars
//! chatto_fixture compare URL TOKEN-FILE URL TOKEN-FILE
//!                                               status 0 when the second holds what it ought to
//! ```
//!
//! `scripts/demo` uses it. It shares its fixtures and its judge with the tests.

// A program for people: it prints. The shared modules hold more than this needs.
#![allow(clippy::print_stdout, dead_code)]

#[path = "../tests/it/support/api.rs"]
mod api;
#[path = "../tests/it/support/builder.rs"]
mod builder;
#[path = "../tests/it/support/equality.rs"]
mod equality;
#[path = "../tests/it/support/fixtures.rs"]
mod fixtures;
#[path = "../tests/it/support/publish.rs"]
mod publish;
#[path = "../tests/it/support/random.rs"]
mod random;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use async_nats::Client;
use chatto_pipes::jetstream::private_server::{Options, PrivateServer};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["serve", binary, token_file] => serve(binary, token_file).await,
        ["fill", url, token_file] => fill(&connect(url, token_file).await?).await,
        ["compare", source, source_token, destination, destination_token] => {
            compare(&connect(source, source_token).await?, &connect(destination, destination_token).await?)
                .await
        }
        _ => bail!("usage: chatto_fixture serve|fill|compare … (see examples/chatto_fixture.rs)"),
    }
}

async fn connect(url: &str, token_file: &str) -> Result<Client> {
    let token = std::fs::read_to_string(token_file).with_context(|| format!("cannot read {token_file}"))?;
    api::connect(url, Some(token.trim())).await
}

async fn serve(binary: &str, token_file: &str) -> Result<ExitCode> {
    // Listened for before there is anything to clean up.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hang_up = signal(SignalKind::hangup())?;
    let server = PrivateServer::start(Path::new(binary), &Options::default())?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(token_file)?;
    writeln!(file, "{}", server.token().context("the server asks for no token")?)?;
    println!("{}", server.url());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = hang_up.recv() => {}
    }
    server.stop()?;
    Ok(ExitCode::SUCCESS)
}

async fn fill(client: &Client) -> Result<ExitCode> {
    let version = client.server_info().version.parse().map_err(|()| anyhow!("the server has no version"))?;
    let built = fixtures::v0_4(client, version, 42, 500).await?;
    println!(
        "{} streams, {} of them not for a backup",
        built.kept.len() + built.excluded.len(),
        built.excluded.len()
    );
    Ok(ExitCode::SUCCESS)
}

async fn compare(source: &Client, destination: &Client) -> Result<ExitCode> {
    let is_kept = |name: &str| !fixtures::EXCLUDED.contains(&name);
    let compared = equality::compare(source, destination, is_kept).await?;
    println!("{:<26} {:>8} {:>10} {:>11}  verdict", "stream", "messages", "bytes", "sequences");
    for stream in &compared {
        let state = &stream.state;
        let sequences = format!("{}-{}", state["first_seq"], state["last_seq"]);
        let verdict = if stream.differences.is_empty() { "equal" } else { "DIFFERENT" };
        let [messages, bytes] = ["messages", "bytes"].map(|field| state[field].to_string());
        println!("{:<26} {messages:>8} {bytes:>10} {sequences:>11}  {verdict}", stream.stream);
    }
    for name in api::stream_names(source).await?.iter().filter(|name| !is_kept(name)) {
        println!("{name:<26} {:>8} {:>10} {:>11}  left out on purpose", "", "", "");
    }
    let differences: Vec<String> = compared
        .iter()
        .flat_map(|stream| stream.differences.iter().map(move |text| format!("{}: {text}", stream.stream)))
        .collect();
    for difference in &differences {
        println!("{difference}");
    }
    Ok(if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
