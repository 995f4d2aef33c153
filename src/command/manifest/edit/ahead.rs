//! Reads the archive a second time, one snapshot ahead of the edit. So the edit knows what will be left of a snapshot
//! before it writes it. Writes nothing.

use std::io::Read;

use super::failure::failure;
use crate::archive::{Entry, Reader};
use crate::description::Description;
use crate::names::StreamName;
use crate::snapshot::{self, Edit, EditError, Survey};

pub(super) struct ReadAhead<R: Read> {
    archive: Reader<R>,
}

impl<R: Read> ReadAhead<R> {
    pub fn new(archive: Reader<R>) -> Self {
        ReadAhead { archive }
    }

    /// What `edit` leaves of the next snapshot of `stream`, or of this `attempt`.
    pub fn survey(
        &mut self,
        stream: &StreamName,
        attempt: Option<u32>,
        source: &Description,
        edit: &Edit,
    ) -> anyhow::Result<Survey> {
        while let Some(entry) = self.archive.next()? {
            let comes = match &entry {
                Entry::Snapshot { stream, .. } => (stream, None),
                Entry::Part { stream, attempt, .. } => (stream, Some(*attempt)),
                _ => continue,
            };
            if comes == (stream, attempt) {
                drop(entry);
                let Description { config, reported, .. } = source;
                let survey = snapshot::survey(stream, config, reported, edit, self.archive.joined());
                return survey.map_err(|error| failure(stream, error));
            }
        }
        Err(failure(stream, EditError::Changed))
    }
}
