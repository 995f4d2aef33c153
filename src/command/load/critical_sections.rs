//! CriticalSections that a signal waits for. Between a stream's deletion and the moment when another stands in its
//! place, or while a server makes up its mind about a commit, leaving at once would leave nobody who
//! knows what is there.

use std::sync::Arc;

use tokio::sync::watch;

/// How many such steps are under way; they may be inside of one another.
#[derive(Clone, Default)]
pub(super) struct CriticalSections(Arc<watch::Sender<usize>>);

/// One step, over when this is dropped.
pub(super) struct CriticalSection(CriticalSections);

impl CriticalSections {
    /// Begins a step.
    pub fn begin(&self) -> CriticalSection {
        self.0.send_modify(|steps| *steps = steps.saturating_add(1));
        CriticalSection(self.clone())
    }

    /// Waits until no step is under way.
    pub async fn done(&self) {
        // The sender is ours, so this ends well.
        let _ = self.0.subscribe().wait_for(|steps| *steps == 0).await;
    }
}

impl Drop for CriticalSection {
    fn drop(&mut self) {
        self.0.0.send_modify(|steps| *steps = steps.saturating_sub(1));
    }
}
