//! The message, the hint and the exit code for an edit that cannot be done.

use crate::archive;
use crate::command::Failure;
use crate::command::manifest::input::PROGRAM;
use crate::command::manifest::output::copy_failure;
use crate::exit::Exit;
use crate::names::StreamName;
use crate::snapshot::{ConvertError, EditError, Fault, WriteError};

pub(super) fn failure(stream: &StreamName, error: EditError) -> anyhow::Error {
    let exit = match error {
        EditError::Convert(ConvertError::Write(WriteError::Io(error))) => return copy_failure(error),
        EditError::Convert(ConvertError::Fault(Fault::Io(error))) => {
            return archive::Error::from(error).into();
        }
        EditError::Convert(ConvertError::Fault(Fault::Unsupported { .. }))
        | EditError::Convert(ConvertError::Write(_))
        | EditError::Consumers
        | EditError::Subjects
        | EditError::Changed
        | EditError::TooScattered => Exit::Failed,
        EditError::Convert(ConvertError::Fault(_)) | EditError::Short(_) => Exit::Damaged,
    };
    let hint = match (&error, exit) {
        (EditError::Changed, _) => "let nobody write to the input while it is read".into(),
        (EditError::Consumers, _) => {
            format!("leave them out: --no-consumers; or let it pass as it is: --exclude {stream}")
        }
        (_, Exit::Failed) => format!("let it pass as it is: --exclude {stream}"),
        _ => format!("see what is damaged: {PROGRAM} verify"),
    };
    Failure::new(exit, format!("stream {stream}: {error}")).hint(hint).into()
}
