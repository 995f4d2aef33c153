//! `chatto-load`: restore a Chatto server from an archive.
//!
//! Reads the archive once, as it comes. Whatever the index (or a manifest that comes first) shows to be
//! in the way is known before anything changes. Each stream flows into the server while its content is
//! checked, and becomes real only when it is proven; then the server's own account of it is compared
//! with what was read. What this run began and could not finish, it removes.

mod active_consumers;
mod announced;
mod compare_state;
mod critical_sections;
mod existing;
mod input;
mod limits;
mod newer;
mod read_back;
mod rescue;
mod restoring;
mod streams;
mod target;

use std::pin::pin;

use anyhow::Context;

use self::existing::Existing;
use self::rescue::Rescue;
use self::streams::{LoadOptions, Loading};
use super::Failure;
use super::offline::{self, Access, Intent, Signals};
use super::secrets;
use crate::cli::{self, Conflict};
use crate::exit::Exit;
use crate::jetstream::{Account, Claim, NoClaim, Server};
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
    let access = match options.rehearse {
        true => Access::throwaway(options.offline.nats_server.as_deref())?,
        false => Access::find(&options.offline, &options.connect, Intent::Create)?,
    };
    let replicas = options.replicas.or(access.replicas());
    let alone = access.is_private();
    let shared = !alone && !options.force;
    let ended = access.run(&options.connect, messages, Signals::AreWatched, async |mut reached| {
        let mut endings = reached.endings()?;
        let account = reached.server.account().await.context("cannot ask for the account's limits")?;
        let _claim = match alone || options.dry_run {
            true => None,
            false => claim(&reached.server, &account, &messages).await?,
        };
        let listing = reached.streams().await?;
        if shared {
            active_consumers::refuse(&reached.server, &listing).await?;
        }
        let existing = Existing::new(listing);
        let single = reached.server.cluster().is_none();
        let options = LoadOptions {
            conflict: options.conflict,
            select: options.select,
            dry_run: options.dry_run,
            account: Some(account),
            replicas: replicas.or(single.then_some(1)),
            read_back: options.rehearse,
            placement: !options.no_placement,
            dropped: options.drop_setting,
            rescue: (options.conflict == Conflict::Overwrite && !options.no_rescue)
                .then(|| Rescue::new(options.rescue_dir.as_deref())),
        };
        let mut loading = Loading::new(reached.server, existing, options, messages, progress.clone());
        let events = input::events(archive, secrets, progress);
        let critical = loading.critical_sections();
        let (signal, concluded) = {
            let mut run = pin!(loading.run(events));
            let signal = tokio::select! {
                exit = &mut run => return exit.map(Ok),
                signal = endings.next() => signal,
            };
            // A second signal is for whoever cannot wait.
            let concluded = tokio::select! {
                // Ctrl-C ends the program that writes the archive too: what came of that has been said.
                _ = &mut run => true,
                () = critical.done() => false,
                _ = endings.next() => false,
            };
            (signal, concluded)
        };
        if !concluded {
            loading.interrupted().await;
        }
        Ok(Err(signal))
    });
    drop(shown);
    offline::ended(ended?.and_then(|ended| ended))
}

/// Sees to it that no other load restores into the account meanwhile.
async fn claim(server: &Server, account: &Account, messages: &Messages) -> anyhow::Result<Option<Claim>> {
    match server.claim(account.domain.as_deref()).await {
        Ok(claim) => Ok(Some(claim)),
        Err(taken @ NoClaim::Taken) => Err(Failure::new(Exit::Failed, taken.to_string())
            .hint("wait until the other chatto-load has ended, or end it")
            .into()),
        Err(NoClaim::Unknown(e)) => {
            messages.detail(&format!("whether another chatto-load is restoring here cannot be seen: {e}"));
            Ok(None)
        }
    }
}
