//! `chatto-load`: restore a Chatto server from an archive.
//!
//! Reads the archive once, as it comes. If the index (or a manifest that comes first) shows a conflict, the program ends
//! before it changes anything. It sends each stream to the server while the verifier checks it, and commits the stream only
//! when the verifier has read all of it. Then it compares the state that the server reports with the content. It removes
//! the streams that it began and could not finish.
//!
//! | file | what it does |
//! |---|---|
//! | `input` | reads the archive on a thread of its own |
//! | `pairing` | pairs descriptions with snapshots |
//! | `streams` | the loop: what comes next, and which stream it is for |
//! | `refusals`, `existing`, `limits`, `newer_settings` | reasons to refuse the load before anything changes |
//! | `job` | one stream, from its description to the end of its restore |
//! | `restoring` | sends its bytes to the server |
//! | `batch` | small streams that are restored at once |
//! | `confirm`, `compare_state`, `read_back` | compares the server's stream with the verified snapshot |
//! | `replacing`, `rescue` | the old stream: archived, deleted, put back |
//! | `outcomes`, `conclusion`, `left_alone`, `replicas` | the outcome of every stream, and the exit code |

mod active_consumers;
mod announced;
mod batch;
mod compare_state;
mod conclusion;
mod confirm;
mod context;
mod critical_sections;
mod existing;
mod input;
mod job;
mod left_alone;
mod limits;
mod newer_settings;
mod options;
mod outcomes;
mod pairing;
mod read_back;
mod refusals;
mod replacing;
mod replicas;
mod rescue;
mod restoring;
mod streams;
mod target;

use std::fs::File;
use std::pin::pin;

use anyhow::Context;
use futures_util::future::LocalBoxFuture;
use tokio::signal::unix::SignalKind;

use self::existing::Existing;
use self::input::Events;
use self::options::LoadOptions;
use self::rescue::Rescue;
use self::streams::Loading;
use super::Failure;
use super::offline::{self, Endpoint, Intent, Signals};
use super::secrets;
use super::session::EndSignals;
use crate::cli::{self, Conflict, StreamSelection};
use crate::envelope::GivenSecrets;
use crate::exit::Exit;
use crate::jetstream::{Account, AccountLock, LockError, Server};
use crate::terminal::Messages;
use crate::terminal::progress::{Progress, Verbs};

const PROGRAM: &str = "chatto-load";

/// Runs the program.
pub fn run(options: cli::Load) -> anyhow::Result<Exit> {
    let messages = Messages::new(PROGRAM, options.say.verbosity()).showing(options.showing.style());
    let doing = Verbs { streams: if options.dry_run { "checked" } else { "restored" }, archive: "read" };
    let (progress, shown) = Progress::shown(doing, messages);
    let file = options.file.as_deref();
    let archive = secrets::input(file)?;
    let secrets = secrets::unlock(options.secrets, file, messages)?;
    let access = match options.rehearse {
        true => Endpoint::throwaway(options.offline.nats_server.as_deref())?,
        false => Endpoint::find(&options.offline, &options.connect, Intent::Create)?,
    };
    let replicas = options.replicas.or(access.replicas());
    let alone = access.is_private();
    let shared = !alone && !options.force;
    let ended = access.run(&options.connect, messages, Signals::AreWatched, async |mut reached| {
        let mut endings = reached.endings()?;
        let account = reached.server.account().await.context("cannot ask for the account's limits")?;
        let _lock = match alone || options.dry_run {
            true => None,
            false => lock_account(&reached.server, &account, &messages).await?,
        };
        let listing = reached.streams().await?;
        if shared {
            active_consumers::refuse(&reached.server, &listing).await?;
        }
        let existing = Existing::new(listing);
        let single = reached.server.cluster().is_none();
        let rescue = (options.conflict == Conflict::Overwrite && !options.no_rescue)
            .then(|| Rescue::new(options.rescue_dir.as_deref(), restore_rescued));
        let options = LoadOptions {
            conflict: options.conflict,
            select: options.select,
            dry_run: options.dry_run,
            jobs: usize::from(options.jobs),
            account: Some(account),
            replicas: replicas.or(single.then_some(1)),
            read_back: options.rehearse,
            placement: !options.no_placement,
            dropped: options.drop_setting,
        };
        let mut loading = Loading::new(reached.server, existing, options, rescue, messages, progress.clone());
        let events = input::events(archive, secrets, progress);
        run_until_signal(&mut loading, events, &mut endings).await
    });
    drop(shown);
    offline::ended(ended?.and_then(|ended| ended))
}

/// Restores what `events` bring. Gives the signal if one has ended that early.
async fn run_until_signal(
    loading: &mut Loading,
    events: Events,
    endings: &mut EndSignals,
) -> anyhow::Result<Result<Exit, SignalKind>> {
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
}

/// Sees to it that no other load restores into the account meanwhile.
async fn lock_account(
    server: &Server,
    account: &Account,
    messages: &Messages,
) -> anyhow::Result<Option<AccountLock>> {
    match server.lock_account(account.domain.as_deref()).await {
        Ok(lock) => Ok(Some(lock)),
        Err(taken @ LockError::Taken) => Err(Failure::new(Exit::Failed, taken.to_string())
            .hint("wait until the other chatto-load has ended, or end it")
            .into()),
        Err(LockError::Unknown(e)) => {
            messages.detail(&format!("whether another chatto-load is restoring here cannot be seen: {e}"));
            Ok(None)
        }
    }
}

/// Restores a rescue archive as it is: the stream was there a moment ago.
fn restore_rescued(
    server: Server,
    archive: File,
    messages: Messages,
) -> LocalBoxFuture<'static, anyhow::Result<Exit>> {
    let options = LoadOptions {
        conflict: Conflict::Error,
        select: StreamSelection::default(),
        dry_run: false,
        jobs: 1,
        account: None,
        replicas: None,
        read_back: false,
        placement: true,
        dropped: Vec::new(),
    };
    Box::pin(async move {
        let progress = Progress::new(Verbs { streams: "restored", archive: "read" });
        let events =
            input::events(archive, GivenSecrets::new(None, None, Vec::new(), |_| {}), progress.clone());
        let mut loading = Loading::new(server, Existing::default(), options, None, messages, progress);
        loading.run(events).await
    })
}
