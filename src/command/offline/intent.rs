//! What a program does with the directory of a stopped Chatto: read, change or create it.

/// What a program wants with a stopped Chatto's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::command) enum Intent {
    /// Read the streams that are there.
    Read,
    /// Add to the streams that are there.
    Change,
    /// Make streams; the directory need not be there.
    Create,
}
