//! Checks a tar of directories of `nats backup account` or `nats backup stream`. It compares every snapshot with its
//! description, whichever of the two comes first.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use super::super::nats_backup::{BACKUP, UNDESCRIBED, described, place, second};
use super::{CheckedSnapshot, ConfigSource, FoundSnapshot, Verifying};
use crate::archive::{self, NatsBackupFile, NatsBackupTar};
use crate::names::StreamName;

/// The files of one directory that have come.
#[derive(Default)]
struct Directory {
    /// The stream that its description names. The inner value is none if the description is invalid.
    described: Option<Option<StreamName>>,
    /// The file name of its snapshot, if it has come.
    snapshot: Option<&'static str>,
    /// A snapshot that came before its description, and the stream that it names itself.
    early: Option<(Option<StreamName>, FoundSnapshot)>,
}

impl Verifying {
    pub(super) fn nats_backup<R: Read>(
        &mut self,
        input: &mut NatsBackupTar<R>,
    ) -> Result<(), archive::Error> {
        let mut directories: BTreeMap<String, Directory> = BTreeMap::new();
        let mut names = BTreeSet::new();
        while let Some(found) = input.next()? {
            match found {
                NatsBackupFile::Backup { directory: path, json } => {
                    let directory = directories.entry(path.clone()).or_default();
                    let place = place(&path, BACKUP);
                    let described = match described(&place, &json).map(|(name, _)| name) {
                        Ok(name) if names.insert(name.clone()) => Some(name),
                        Ok(name) => {
                            self.fault(place.clone(), format!("describes stream {name}, as another does"));
                            None
                        }
                        Err(failure) => {
                            self.fault(place.clone(), failure.what);
                            None
                        }
                    };
                    if directory.described.replace(described.clone()).is_some() {
                        self.fault(place.clone(), "comes twice".into());
                    }
                    let Some(name) = described else { continue };
                    if let Some((own_name, found)) = directory.early.take() {
                        if own_name.is_some_and(|own_name| own_name != name) {
                            self.fault(place.clone(), "describes another stream than its snapshot".into());
                        }
                        self.found.insert(name.clone(), found);
                    }
                    self.describe(name, place, &json);
                }
                NatsBackupFile::Snapshot { directory: path, file, body, .. } => {
                    let directory = directories.entry(path.clone()).or_default();
                    let name = directory.described.clone().flatten();
                    let CheckedSnapshot { own_name, found, fault, own } =
                        self.check(name.as_ref(), None, body)?;
                    if let (Some(stream), Some(own)) = (name.as_ref().or(own_name.as_ref()), own) {
                        self.compare_configs(stream, place(&path, BACKUP), ConfigSource::OwnConfig(own));
                    }
                    if let Some(what) = fault {
                        self.fault(place(&path, file), what);
                    }
                    if let Some(other) = directory.snapshot.replace(file) {
                        self.fault(place(&path, file), second(other, file));
                    }
                    match name {
                        Some(name) => drop(self.found.insert(name, found)),
                        None => directory.early = Some((own_name, found)),
                    }
                }
            }
        }
        for (path, directory) in directories {
            if directory.described.is_none() {
                self.fault(place(&path, BACKUP), UNDESCRIBED.into());
            }
            if directory.snapshot.is_none() {
                self.fault(place(&path, "stream.tar.s2"), "is missing".into());
            }
        }
        Ok(())
    }
}
