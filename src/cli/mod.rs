//! The options of every program, as data. Does no I/O, so that tests and the checks of the documentation can import it.

// A text on a group of options that is flattened would replace the group's own.
#![allow(missing_docs)]

mod dump;
mod keys;
mod load;
mod manifest;
mod offline;
mod options;
mod program;

pub use dump::Dump;
pub use keys::{
    Action as KeysAction, EncryptionOptions, Export, Import, Keys, List, Open, Seal, Verify as VerifyKeys,
};
pub use load::{Conflict, Load};
pub use manifest::{
    Action as ManifestAction, ArchiveInput, Diff, EditStreams, ImportTar, Join, ListStreams, Manifest,
    SelectStreams, Show, SnapshotFormat, Verify,
};
pub use offline::OfflineOptions;
pub use options::{ConnectionOptions, DecryptionOptions, MessageOptions, ProgressOptions, StreamSelection};
pub use program::Program;
