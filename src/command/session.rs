//! What all network programs do before their own work: they read the configuration, connect, and start the async runtime.
//! Knows nothing of the work.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Failure, address_space, freed_memory};
use crate::chatto::config::{NatsConfig, Overrides, resolve};
use crate::cli;
use crate::exit::Exit;
use crate::jetstream::{self, Server};
use crate::terminal::{self, prompt};

/// How many files a run may have to open at once beside those that it was given, with room to spare: the
/// runtime's own, a connection, a private server's pipes. The runtime panics where it can open none.
const DESCRIPTORS: usize = 24;

/// Runs `work` to its end on a runtime of its own.
pub(super) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    require_descriptors()?;
    address_space::require()?;
    if !address_space::is_limited() {
        freed_memory::keep();
    }
    // The client library and what takes its messages share one thread: a message that goes from one thread to another
    // costs a switch, and its memory is freed where it was not taken. What sums, checks and converts has its own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the program's threads")?;
    let result = runtime.block_on(work);
    // A thread may be stuck in a pipe that nobody reads, or at a prompt; nothing waits for it.
    runtime.shutdown_background();
    prompt::echo_again();
    result
}

/// Fails where the system lets us open too few files.
fn require_descriptors() -> anyhow::Result<()> {
    let room: Result<Vec<_>, _> = (0..DESCRIPTORS).map(|_| rustix::io::dup(std::io::stderr())).collect();
    room.map(drop).map_err(|e| {
        Failure::new(Exit::Failed, format!("cannot have {DESCRIPTORS} more files open: {e}"))
            .hint("raise the limit: ulimit -n 256")
            .into()
    })
}

/// Options, environment and file, as one.
pub(super) fn configuration(options: &cli::ConnectionOptions) -> anyhow::Result<NatsConfig> {
    let overrides = Overrides {
        file: options.config.clone(),
        url: options.server.clone(),
        user: options.user.clone(),
        password_file: options.password_file.clone(),
        token_file: options.token_file.clone(),
        creds: options.creds.clone(),
        nkey: options.nkey.clone(),
        tls_ca: options.tls_ca.clone(),
        tls_cert: options.tls_cert.clone(),
        tls_key: options.tls_key.clone(),
        js_domain: options.js_domain.clone(),
        context: options.context.clone(),
    };
    Ok(resolve(&overrides, |name| std::env::var(name).ok())?)
}

/// Connects to where `config` leads.
pub(super) async fn connect(
    config: &NatsConfig,
    options: &cli::ConnectionOptions,
    program: &str,
) -> anyhow::Result<Server> {
    jetstream::connect(&config.connection, options.timeout, program).await.map_err(|error| match error {
        jetstream::Error::Unreachable { .. } if config.embedded => {
            Failure::new(Exit::Unreachable, error.to_string())
                .hint("the server is part of Chatto: start Chatto, or, while it is stopped, give --offline")
                .into()
        }
        error => error.into(),
    })
}

/// Whether a program takes care of the signals that ask it to end.
static WATCHED: AtomicBool = AtomicBool::new(false);

/// Whether somebody has begun to watch for them.
pub(super) fn signals_are_watched() -> bool {
    WATCHED.load(Ordering::SeqCst)
}

/// The signals that ask a program to end, for one that has to leave a server clean first.
pub(super) struct EndSignals {
    interrupt: Signal,
    terminate: Signal,
    /// None where `nohup` or its like has the program ignore it.
    hangup: Option<Signal>,
}

impl EndSignals {
    /// Begins to watch. From here on the signals do nothing by themselves.
    pub fn watch() -> anyhow::Result<Self> {
        let watch = |kind| signal(kind).context("cannot watch for signals");
        let hangup = if terminal::ignores(SIGHUP) { None } else { Some(watch(SignalKind::hangup())?) };
        let (interrupt, terminate) = (watch(SignalKind::interrupt())?, watch(SignalKind::terminate())?);
        WATCHED.store(true, Ordering::SeqCst);
        let handled = [Some(SIGINT), Some(SIGTERM), hangup.as_ref().map(|_| SIGHUP)];
        // Last: a signal that came before somebody watches for it would be lost.
        prompt::signals_are_handled(&handled.into_iter().flatten().collect::<Vec<_>>());
        Ok(EndSignals { interrupt, terminate, hangup })
    }

    /// Waits for the next of them.
    pub async fn next(&mut self) -> SignalKind {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = hangup => SignalKind::hangup(),
        }
    }
}
