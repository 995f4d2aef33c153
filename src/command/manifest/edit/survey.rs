//! Finds the newest messages of each subject, for every stream. This is known only when the whole archive has been read.
//! A damaged snapshot is no error here, because its attempt may be abandoned later. If it is not, the edit itself reports
//! it. Writes nothing.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::changes::Changes;
use super::failure::failure;
use crate::archive::{self, Entry, Reader};
use crate::description::Description;
use crate::names::StreamName;
use crate::snapshot::{self, ConvertError, EditError, Fault, MessageFilter, Sequences};

/// The deleted messages of each stream that is filtered.
pub(super) type Deleted = BTreeMap<StreamName, Sequences>;

pub(super) fn deleted<R: Read>(archive: &mut Reader<R>, changes: &Changes) -> anyhow::Result<Deleted> {
    let mut all = Deleted::new();
    each(archive, changes, |stream, description, bytes| {
        let deleted = snapshot::deleted(stream, &description.reported, bytes)?;
        all.insert(stream.clone(), deleted);
        Ok(())
    })?;
    Ok(all)
}

/// Tells `changes` the newest `n` messages of each subject.
pub(super) fn newest<R: Read>(
    archive: &mut Reader<R>,
    changes: &mut Changes,
    deleted: &Deleted,
    n: usize,
) -> anyhow::Result<()> {
    let mut all = Vec::new();
    let none = Sequences::default();
    each(archive, changes, |stream, description, bytes| {
        let keep = changes.of(stream).map_or_else(MessageFilter::default, |edit| edit.keep);
        let deleted = deleted.get(stream).unwrap_or(&none);
        let newest = snapshot::newest(stream, &description.reported, bytes, &keep, deleted, n)?;
        all.push((stream.clone(), newest));
        Ok(())
    })?;
    all.into_iter().for_each(|(stream, newest)| changes.set_newest(stream, newest));
    Ok(())
}

/// Shows every snapshot that is filtered, with its description.
fn each<R: Read>(
    archive: &mut Reader<R>,
    changes: &Changes,
    mut see: impl FnMut(&StreamName, &Description, &mut dyn Read) -> Result<(), EditError>,
) -> anyhow::Result<()> {
    let mut described = None;
    while let Some(entry) = archive.next()? {
        let stream = match entry {
            Entry::Backup { stream, json, .. } => {
                described = Description::from_json(&json).ok().map(|description| (stream, description));
                continue;
            }
            Entry::Snapshot { stream, .. } | Entry::Part { stream, .. } => stream,
            _ => continue,
        };
        let Some((_, description)) = described.take_if(|(of, _)| *of == stream && changes.filters(&stream))
        else {
            continue;
        };
        let mut body = archive.joined();
        match see(&stream, &description, &mut body) {
            Err(EditError::Convert(ConvertError::Fault(Fault::Io(error)))) => {
                return Err(archive::Error::from(error).into());
            }
            Err(error @ (EditError::Subjects | EditError::TooScattered)) => {
                return Err(failure(&stream, error));
            }
            Err(_) | Ok(()) => {}
        }
        io::copy(&mut body, &mut io::sink()).map_err(archive::Error::from)?;
    }
    Ok(())
}
