//! Critical sections: a signal waits until the run has left them. After a stream is deleted, and until its replacement
//! exists, only this run knows what is there. The same is true while a server works on a commit. Knows no stream.

use std::sync::Arc;

use tokio::sync::watch;

/// How many critical sections are entered now. They may be nested.
#[derive(Clone, Default)]
pub(super) struct CriticalSections(Arc<watch::Sender<usize>>);

/// A critical section; dropping this leaves it.
pub(super) struct CriticalSection(CriticalSections);

impl CriticalSections {
    /// Enters a critical section.
    pub fn begin(&self) -> CriticalSection {
        self.0.send_modify(|entered| *entered = entered.saturating_add(1));
        CriticalSection(self.clone())
    }

    /// Waits until no critical section is entered.
    pub async fn done(&self) {
        // The sender is ours, so this ends well.
        let _ = self.0.subscribe().wait_for(|entered| *entered == 0).await;
    }
}

impl Drop for CriticalSection {
    fn drop(&mut self) {
        self.0.0.send_modify(|entered| *entered = entered.saturating_sub(1));
    }
}
