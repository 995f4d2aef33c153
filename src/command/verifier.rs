//! The verifier: a thread that checks a snapshot while it flows. It reads the same bytes as the pipe or the server, to their
//! end, and gives a verdict. If a snapshot is too short to be worth a thread, it is checked without one. Does not know where
//! the bytes come from.

use std::io;

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::pieces::{Feed, feed};
use crate::names::StreamName;
use crate::settings::Config;
use crate::snapshot::{self, Contents, InspectOptions, OwnConfig, ReportedState};

/// Up to so many bytes are checked by whoever asks for the verdict: to wake a thread and be woken by it costs
/// more than such a check. Few enough for the worst that can be compressed into them, some 3 GB, not to hold
/// anybody up for long.
const ON_THE_SPOT: usize = 16 << 10;

/// A verifier at work. The caller counts the bytes that it feeds, and so bounds the memory.
pub(super) struct Verifier {
    snapshot: Feed,
    fed: usize,
    check: Check,
}

/// Whether the content keeps the reported state.
type Agree = fn(&Contents, &ReportedState) -> Result<(), snapshot::Shortfall>;

type Verdict = Result<Contents, NotProven>;

enum Check {
    /// Not begun: all that has been fed waits.
    Waiting(Box<dyn FnOnce() -> Verdict + Send>),
    Running(JoinHandle<Verdict>),
    /// For as long as it takes to begin.
    Beginning,
}

/// The verified content of a snapshot.
#[derive(Debug, Clone)]
pub(super) struct Proven {
    pub contents: Contents,
    /// The snapshot's length as it travels, in bytes.
    pub bytes: u64,
}

/// Why a snapshot is not accepted.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotProven {
    #[error(transparent)]
    Fault(#[from] snapshot::Fault),
    #[error(transparent)]
    Short(#[from] snapshot::Shortfall),
    #[error(transparent)]
    ConfigMismatch(#[from] snapshot::ConfigMismatch),
    #[error("the check broke off: {0}")]
    Broken(String),
}

impl Verifier {
    /// Begins to check a snapshot of `stream` against what the server promised.
    pub fn begin(stream: &StreamName, reported: &ReportedState, wanted: InspectOptions) -> Verifier {
        Verifier::begin_with(stream, reported, wanted, None, Contents::agrees_with)
    }

    /// The same, and against the configuration that the archive has of it.
    pub fn begin_described(
        stream: &StreamName,
        reported: &ReportedState,
        config: &Config,
        wanted: InspectOptions,
    ) -> Verifier {
        Verifier::begin_with(stream, reported, wanted, Some(config.clone()), Contents::agrees_with)
    }

    /// Without holding it against the reported state: for whoever knows better what must be in it.
    pub fn begin_uncompared(
        stream: &StreamName,
        reported: &ReportedState,
        wanted: InspectOptions,
    ) -> Verifier {
        Verifier::begin_with(stream, reported, wanted, None, |_, _| Ok(()))
    }

    fn begin_with(
        stream: &StreamName,
        reported: &ReportedState,
        mut wanted: InspectOptions,
        config: Option<Config>,
        agree: Agree,
    ) -> Verifier {
        let own = OwnConfig::default();
        if config.is_some() {
            wanted.own = Some(own.clone());
        }
        let (snapshot, mut input) = feed();
        let stream = stream.clone();
        let reported = reported.clone();
        let check = Check::Waiting(Box::new(move || {
            let contents = snapshot::inspect_with(&stream, &reported, wanted, &mut input)?;
            agree(&contents, &reported)?;
            if let (Some(config), Some(own)) = (&config, own.get()) {
                snapshot::agrees(own, config)?;
            }
            // What follows the snapshot's logical end belongs to it all the same.
            io::copy(&mut input, &mut io::sink()).map_err(|e| NotProven::Broken(e.to_string()))?;
            Ok(contents)
        }));
        Verifier { snapshot, fed: 0, check }
    }

    /// Feeds the next bytes. `false` when the check has ended early: [`Verifier::verdict`] says why.
    pub fn feed(&mut self, bytes: Bytes) -> bool {
        self.fed = self.fed.saturating_add(bytes.len());
        let taken = self.snapshot.bytes(bytes);
        if self.fed > ON_THE_SPOT {
            self.check = match std::mem::replace(&mut self.check, Check::Beginning) {
                Check::Waiting(check) => Check::Running(tokio::task::spawn_blocking(check)),
                running => running,
            };
        }
        taken
    }

    /// Feeds the next bytes, and goes on. An error when the check has ended early.
    pub async fn fed(mut self, bytes: Bytes) -> Result<Verifier, NotProven> {
        if self.feed(bytes) { Ok(self) } else { Err(self.verdict_against().await) }
    }

    /// Whether the check has ended, for better or worse.
    pub fn has_ended(&self) -> bool {
        matches!(&self.check, Check::Running(verdict) if verdict.is_finished())
    }

    /// What a check found that has ended although bytes still come.
    pub async fn verdict_against(self) -> NotProven {
        let early = || NotProven::Broken("it ended before the snapshot did".into());
        self.verdict().await.err().unwrap_or_else(early)
    }

    /// No more bytes will come; gives the verdict.
    pub async fn verdict(self) -> Result<Proven, NotProven> {
        self.snapshot.end();
        let contents = match self.check {
            Check::Waiting(check) => check(),
            Check::Running(verdict) => verdict.await.map_err(|e| NotProven::Broken(e.to_string()))?,
            Check::Beginning => Err(NotProven::Broken("it did not begin".into())),
        };
        Ok(Proven { contents: contents?, bytes: self.fed as u64 })
    }
}
