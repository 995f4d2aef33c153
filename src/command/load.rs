//! `chatto-load`: restore a Chatto server from an archive.
//!
//! Reads the archive once, as it comes. Whatever the index (or a manifest that comes first) shows to be
//! in the way is known before anything changes. Each stream flows into the server while its content is
//! checked, and becomes real only when it is proven; then the server's own account of it is compared
//! with what was read. What this run began and could not finish, it removes.

mod announced;
mod input;
mod judge;
mod limits;
mod rescue;
mod restoring;
mod steps;
mod streams;
mod target;

use std::path::Path;
use std::pin::pin;

use anyhow::Context;
use secrecy::SecretString;

use self::rescue::Rescue;
use self::streams::{Loading, Wishes};
use super::session::Endings;
use super::{Failure, secrets, session};
use crate::chatto::config::{Auth, Connection};
use crate::cli::{self, Conflict};
use crate::exit::Exit;
use crate::jetstream::private_server::{self, PrivateServer};
use crate::names::StreamName;
use crate::terminal::Messages;
use crate::terminal::progress::{Doing, Progress};

const PROGRAM: &str = "chatto-load";

/// Runs the program.
pub fn run(options: cli::Load) -> anyhow::Result<Exit> {
    let messages = Messages::new(PROGRAM, options.say.verbosity()).showing(options.showing.style());
    let doing = Doing { streams: if options.dry_run { "checked" } else { "restored" }, archive: "read" };
    let (progress, shown) = Progress::shown(doing, messages);
    let file = options.file.as_deref();
    let archive = secrets::input(file)?;
    let secrets = secrets::unlock(options.secrets, file, messages)?;
    let private = if options.rehearse { Some(private_server(options.nats_server.as_deref())?) } else { None };
    let connection = match &private {
        Some(server) => connection_to(server),
        None => session::configuration(&options.connect)?,
    };
    let interrupted = session::block_on(async {
        let server = session::connect(&connection, &options.connect, PROGRAM).await?;
        let mut endings = Endings::watch()?;
        let listing = server.streams().await.context("cannot list the streams")?;
        let described = listing.streams.into_iter().map(|stream| (stream.name.clone(), Some(stream)));
        let others = listing.unavailable.into_iter().filter_map(|stream| StreamName::new(stream.name).ok());
        let existing = described.chain(others.map(|name| (name, None))).collect();
        let single = server.cluster().is_none();
        let wishes = Wishes {
            conflict: options.conflict,
            select: options.select,
            dry_run: options.dry_run,
            account: Some(server.account().await.context("cannot ask for the account's limits")?),
            replicas: options.replicas.or(connection.replicas).or(single.then_some(1)),
            placement: !options.no_placement,
            rescue: (options.conflict == Conflict::Overwrite && !options.no_rescue)
                .then(|| Rescue::new(options.rescue_dir.as_deref())),
        };
        let mut loading = Loading::new(server, existing, wishes, messages, progress.clone());
        let events = input::events(archive, secrets, progress);
        let steps = loading.steps();
        let signal = {
            let mut run = pin!(loading.run(events));
            let signal = tokio::select! {
                exit = &mut run => return exit.map(Ok),
                signal = endings.next() => signal,
            };
            // A second signal is for whoever cannot wait.
            tokio::select! {
                _ = &mut run => {}
                () = steps.done() => {}
                _ = endings.next() => {}
            }
            signal
        };
        loading.interrupted().await;
        Ok(Err(signal))
    });
    // Gone before the program is, however that ends.
    drop((private, shown));
    match interrupted? {
        Ok(exit) => Ok(exit),
        Err(signal) => {
            signal_hook::low_level::emulate_default_handler(signal.as_raw_value())
                .context("cannot end as the signal would have it")?;
            Ok(Exit::Failed)
        }
    }
}

/// `--rehearse`: a server that nobody else knows, gone afterwards.
fn private_server(binary: Option<&Path>) -> anyhow::Result<PrivateServer> {
    let failed = |e: private_server::Error| Failure::new(Exit::Failed, e.to_string());
    let binary = private_server::find_binary(binary).map_err(|e| {
        failed(e).hint("name one with --nats-server PATH, set NATS_SERVER, or put nats-server on PATH")
    })?;
    Ok(PrivateServer::start(&binary, &private_server::Options::default()).map_err(failed)?)
}

fn connection_to(server: &PrivateServer) -> Connection {
    let auth = match server.token() {
        Some(token) => Auth::Token(SecretString::from(token)),
        None => Auth::None,
    };
    Connection { urls: vec![server.url()], auth, ..Connection::default() }
}
