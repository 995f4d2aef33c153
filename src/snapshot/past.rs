//! What a snapshot still shows of its stream at a moment in the past: whether messages from before that moment are missing,
//! and whether something was stored since. An edit that rewinds a stream names what it cannot bring back. Knows no format.

/// What is known of a stream at a moment in the past.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PastState {
    /// Whether messages from before it are missing.
    pub missing: bool,
    /// Whether something was stored since.
    pub stored_since: bool,
}

/// Finds out the [`PastState`] while the items of a snapshot come.
#[derive(Debug)]
pub(super) struct LookBack {
    /// The moment, in ns since 1970. None where no moment is asked for.
    moment: Option<i64>,
    /// The sequence that comes next where nothing from before the moment is missing.
    expected: u64,
    /// Whether a message since the moment has come.
    is_over: bool,
    state: PastState,
}

impl LookBack {
    pub fn new(moment: Option<i64>) -> Self {
        LookBack { moment, expected: 1, is_over: false, state: PastState::default() }
    }

    /// Something was stored at `time`.
    pub fn stored(&mut self, time: i64) {
        self.state.stored_since |= self.is_since(time);
    }

    /// The next message comes.
    pub fn message(&mut self, sequence: u64, time: i64) {
        self.stored(time);
        if self.is_over {
            return;
        }
        // What lies between the last message from before and the first one since may be of either.
        self.state.missing |= sequence > self.expected;
        self.is_over = self.is_since(time);
        if !self.is_over {
            self.expected = sequence.saturating_add(1);
        }
    }

    /// There is no message with this sequence, or none any more.
    pub fn deleted(&mut self, sequence: u64, time: i64) {
        self.stored(time);
        self.state.missing |= sequence < self.expected;
    }

    /// What is known now that the snapshot has ended, whose last sequence is `last`.
    pub fn ended(&self, last: u64) -> PastState {
        let PastState { missing, stored_since } = self.state;
        PastState { missing: missing || !self.is_over && last >= self.expected, stored_since }
    }

    fn is_since(&self, time: i64) -> bool {
        self.moment.is_some_and(|moment| time >= moment)
    }
}
