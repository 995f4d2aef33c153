//! The reader of archives, to the end.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | what follows the head: a tar as it is, a tar whose checksums are put right, or the files of one |
//! | 4 | sizes of the pieces that it arrives in |
//! | 2 | where it is cut |
//! | … | the tar, or the files |

#![no_main]

use std::fmt::Debug;
use std::io::Read;

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use chatto_pipes::archive::{
    ArchiveEnd, Entry, Error, Layout, NatsBackupFile, NatsBackupTar, Reader, Writer,
};
use chatto_pipes::names::StreamName;
use chatto_pipes_fuzz::files::{self, File};
use chatto_pipes_fuzz::{Pieces, repair};
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|data: &[u8]| -> Corpus {
    let Some(([form, sizes @ .., cut_low, cut_high], body)) = data.split_first_chunk::<7>() else {
        return Corpus::Reject;
    };
    let tar = match form % 3 {
        2 => match Vec::<File>::arbitrary_take_rest(Unstructured::new(body)) {
            Ok(files) => files::tar(&files),
            Err(_) => return Corpus::Reject,
        },
        form => {
            let mut tar = body.to_vec();
            if form == 1 {
                repair::tar(&mut tar);
            }
            tar
        }
    };
    let seen = read(tar.as_slice(), true);

    // How the bytes arrive, and how many of them anybody wants, changes nothing.
    assert_eq!(read(Pieces::new(&tar, sizes), true), seen);
    let skimmed = read(tar.as_slice(), false);
    assert_eq!(skimmed.ended, seen.ended);
    let names = |seen: &Seen| seen.entries.iter().map(|entry| entry.what.clone()).collect::<Vec<_>>();
    assert!(names(&seen).starts_with(&names(&skimmed)) || names(&skimmed).starts_with(&names(&seen)));
    assert_eq!(nats_backup(tar.as_slice()), nats_backup(Pieces::new(&tar, sizes)));

    let (whole, ended) = joined(&tar);
    assert_eq!(ended, seen.ended);
    assert!(seen.snapshots().starts_with(&whole));

    let audit = audited(&tar);
    let Ok(ended) = seen.ended else {
        assert_eq!(audit, None, "an audit passes what is refused");
        return Corpus::Keep;
    };
    assert_eq!(audit, Some(ended));
    assert_eq!(seen.snapshots(), whole);

    // No part of it passes for an archive. What a cut may take away is zeros behind the tar's end.
    let cut = usize::from(u16::from_le_bytes([*cut_low, *cut_high])) % (tar.len() + 1);
    if let Ok(part) = read(&tar[..cut], false).ended {
        assert_eq!(part, ended);
        assert!(tar[cut..].iter().all(|byte| *byte == 0));
    }

    // What is read can be written, and reads the same.
    if ended.layout == Layout::Ours
        && let Some(copy) = copied(&tar)
    {
        let again = read(copy.as_slice(), true);
        assert!(again.ended.is_ok(), "{:?}", again.ended);
        assert_eq!(again.snapshots(), seen.snapshots());
    }
    Corpus::Keep
});

/// What a reader gave.
#[derive(PartialEq, Debug)]
struct Seen {
    entries: Vec<Seeing>,
    ended: Result<ArchiveEnd, String>,
}

#[derive(PartialEq, Debug)]
struct Seeing {
    /// The entry without its body.
    what: String,
    /// Of a snapshot, or the part of one: whose, and which attempt's.
    snapshot: Option<(StreamName, Option<u32>)>,
    body: Vec<u8>,
}

impl Seen {
    /// The snapshots, those in parts put together.
    fn snapshots(&self) -> Vec<Vec<u8>> {
        let of_snapshots = self.entries.iter().filter(|entry| entry.snapshot.is_some());
        let of_snapshots: Vec<_> = of_snapshots.collect();
        of_snapshots
            .chunk_by(|a, b| a.snapshot == b.snapshot)
            .map(|parts| parts.iter().flat_map(|part| part.body.iter().copied()).collect())
            .collect()
    }
}

fn read(tar: impl Read + Debug, bodies: bool) -> Seen {
    let mut reader = Reader::new(tar);
    let mut entries = Vec::new();
    let ended = loop {
        match next(&mut reader, bodies) {
            Ok(Some(entry)) => entries.push(entry),
            Ok(None) => break reader.finish(),
            Err(error) => break Err(error),
        }
    };
    Seen { entries, ended: ended.map_err(|error| error.to_string()) }
}

fn next(reader: &mut Reader<impl Read + Debug>, bodies: bool) -> Result<Option<Seeing>, Error> {
    let Some(mut entry) = reader.next()? else { return Ok(None) };
    let what = format!("{entry:?}");
    let snapshot = match &entry {
        Entry::Snapshot { stream, .. } => Some((stream.clone(), None)),
        Entry::Part { stream, attempt, .. } => Some((stream.clone(), Some(*attempt))),
        _ => None,
    };
    let mut read = Vec::new();
    if bodies
        && let Entry::Snapshot { body, size, .. }
        | Entry::Part { body, size, .. }
        | Entry::Other { body, size, .. } = &mut entry
    {
        body.read_to_end(&mut read)?;
        assert_eq!(read.len() as u64, *size);
    }
    Ok(Some(Seeing { what, snapshot, body: read }))
}

/// Every snapshot, read as one. One that fails is left out.
fn joined(tar: &[u8]) -> (Vec<Vec<u8>>, Result<ArchiveEnd, String>) {
    let mut reader = Reader::new(tar);
    let mut snapshots = Vec::new();
    let ended = loop {
        let begins = match reader.next() {
            Ok(Some(entry)) => matches!(entry, Entry::Snapshot { .. } | Entry::Part { .. }),
            Ok(None) => break reader.finish(),
            Err(error) => break Err(error),
        };
        if begins {
            let mut bytes = Vec::new();
            match reader.joined().read_to_end(&mut bytes) {
                Ok(_) => snapshots.push(bytes),
                Err(error) => break Err(error.into()),
            }
        }
    };
    (snapshots, ended.map_err(|error| error.to_string()))
}

/// What an audit says of a sound archive; none if it finds any fault.
fn audited(tar: &[u8]) -> Option<ArchiveEnd> {
    let mut reader = Reader::audit(tar);
    while reader.next().ok()?.is_some() {}
    let faults = reader.take_faults();
    reader.finish().ok().filter(|_| faults.is_empty())
}

/// The files of `nats backup account` in it.
fn nats_backup(tar: impl Read) -> (Vec<(String, Vec<u8>)>, Option<String>) {
    let mut reader = NatsBackupTar::new(tar);
    let mut found = Vec::new();
    loop {
        let next = reader.next().and_then(|file| {
            Ok(match file {
                None => None,
                Some(NatsBackupFile::Backup { directory, json }) => Some((directory, json)),
                Some(NatsBackupFile::Snapshot { directory, mut body, .. }) => {
                    let mut bytes = Vec::new();
                    body.read_to_end(&mut bytes)?;
                    Some((directory, bytes))
                }
            })
        });
        match next {
            Ok(Some(file)) => found.push(file),
            Ok(None) => return (found, None),
            Err(error) => return (found, Some(error.to_string())),
        }
    }
}

/// An archive of ours written again, entry by entry; none for one that a writer has no calls for: with files
/// that are not ours, or with a description that has no snapshot.
fn copied(tar: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader::new(tar);
    let mut writer = Writer::new(Vec::new(), 0);
    let mut described = None;
    let mut manifest = Vec::new();
    loop {
        let mut is_index = false;
        let mut is_manifest = false;
        match reader.next().unwrap() {
            None => break,
            Some(Entry::Index(_)) => is_index = true,
            Some(Entry::Manifest(_)) => is_manifest = true,
            Some(Entry::Sums { .. }) => {}
            Some(Entry::Other { .. } | Entry::Empty { .. }) => return None,
            Some(Entry::Backup { stream, attempt: None, json }) => {
                if described.replace((stream, json)).is_some() {
                    return None;
                }
            }
            Some(Entry::Snapshot { stream, size, mut body, .. }) => {
                let (of, json) = described.take().filter(|(of, _)| *of == stream)?;
                writer.whole(&of, &json, &mut body, size).unwrap();
            }
            Some(Entry::Backup { stream, attempt: Some(attempt), json }) => {
                writer.attempt(&stream, attempt, &json).unwrap();
            }
            Some(Entry::Part { mut body, .. }) => {
                let mut bytes = Vec::new();
                body.read_to_end(&mut bytes).unwrap();
                writer.part(&[Bytes::from(bytes)]).unwrap();
            }
            Some(Entry::Abandoned { reason, .. }) => writer.abandon(&reason).unwrap(),
        }
        if is_index {
            writer.index_json(&reader.take_json()).unwrap();
        }
        if is_manifest {
            manifest = reader.take_json();
        }
    }
    if described.is_some() {
        return None;
    }
    Some(writer.finish_json(&manifest).unwrap())
}
