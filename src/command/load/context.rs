//! What all parts of a load share: the destination, the options, and the state of the run. Does nothing itself.

use std::cell::{Cell, RefCell};

use super::critical_sections::CriticalSections;
use super::newer_settings::Destination;
use super::options::LoadOptions;
use super::outcomes::{Outcomes, UnconfirmedStream};
use super::replacing::Replacing;
use crate::command::Failure;
use crate::exit::Exit;
use crate::jetstream::{RestoreMarker, Server};
use crate::names::StreamName;
use crate::release::{self, Version};
use crate::snapshot::Format;
use crate::terminal::Messages;
use crate::terminal::progress::Progress;

/// The destination, the options, and what is known so far.
pub(super) struct Context {
    pub server: Server,
    pub options: LoadOptions,
    pub messages: Messages,
    pub progress: Progress,
    pub critical: CriticalSections,
    pub replacing: Replacing,
    pub outcomes: RefCell<Outcomes>,
    /// The restored streams whose copies in the cluster have to be waited for.
    pub unconfirmed: RefCell<Vec<UnconfirmedStream>>,
    /// This run's marker on its restores.
    pub marker: RestoreMarker,
    /// The release that made the archive's snapshots, if the archive says so.
    pub source: Cell<Option<Version>>,
    /// Whether the server is gone: it did not come back, or answers nothing.
    pub gone: Cell<bool>,
}

impl Context {
    /// The destination as far as settings go.
    pub fn destination(&self) -> Destination<'_> {
        Destination { version: self.server.version(), dropped: &self.options.dropped }
    }

    /// Fails unless the server can restore snapshots in this format.
    pub fn can_take(&self, format: Format) -> Result<(), Failure> {
        let Some(version) = self.server.version() else { return Ok(()) };
        let needs = release::reads(format);
        if version >= needs {
            return Ok(());
        }
        let what = match format {
            Format::Tar => "the archive needs",
            Format::NatsArc1 => "a restore of streams in memory needs",
        };
        let what =
            format!("{what} nats-server {}.{} or later, and this server is {version}", needs.0, needs.1);
        Err(Failure::new(Exit::Failed, what)
            .hint(format!("restore into a server of version {needs} or later")))
    }

    /// Whether the server reads the index in the archive's snapshots.
    pub fn reads_index(&self) -> bool {
        self.server.version().is_none_or(|version| release::reads_index(version, self.source.get()))
    }

    /// Notes a failure of `stream`.
    pub fn fail(&self, stream: &StreamName, exit: Exit, text: &str) {
        self.outcomes.borrow_mut().fail(stream, exit, text);
    }

    /// Prints a hint once.
    pub fn hint(&self, hint: Option<String>) {
        self.outcomes.borrow_mut().hint(hint);
    }

    /// Puts the old stream back if its place is empty.
    pub async fn put_back(&self, stream: &StreamName) {
        self.replacing.put_back(stream, self.gone.get()).await;
    }
}
