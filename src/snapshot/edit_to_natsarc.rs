//! Writes an edited snapshot in NATSARC1. In this format the stream's state and its consumers come before the messages, and
//! both depend on all messages. So the same snapshot is read twice, and a [`Survey`] of the first pass says what is left.
//! Knows no archive.

use std::io::{Read, Write};

use super::content::Content;
use super::edit::{Edit, EditError, EditResult, Survey};
use super::inspect_items;
use super::items::Item;
use super::natsarc_writer::NatsArcWriter;
use super::reported_state::ReportedState;
use crate::names::StreamName;

/// Writes the snapshot in `bytes`, whose `survey` was made with the same `edit`, to `out` in NATSARC1.
///
/// # Errors
/// [`EditError`]. Then the output is not a whole snapshot.
pub fn edit_to_natsarc1<R: Read>(
    stream: &StreamName,
    reported: &ReportedState,
    edit: &Edit,
    survey: Survey,
    bytes: impl Into<Content<R>>,
    out: impl Write,
) -> Result<EditResult, EditError> {
    let Survey { edited, state, consumers, kept } = survey;
    let mut writer = NatsArcWriter::begin_with(out, state, &consumers)?.compressed_in_background();
    drop(consumers);
    let mut written = 0_u64;
    inspect_items(stream, reported, bytes, |item| {
        let Item::Message(record) = item else { return Ok::<_, EditError>(()) };
        if !kept.contains(record.sequence) {
            return Ok(());
        }
        written = written.saturating_add(1);
        Ok(edit.rename.record(&record, |renamed, _| writer.message(renamed))?)
    })?;
    if written != state.messages {
        return Err(EditError::Changed);
    }
    writer.finish()?;
    Ok(edited)
}
