//! The paths in an archive, below the top-level directory, as a type. Knows nothing of tar.
//!
//! | path below `backup/` | what |
//! |---|---|
//! | `index.json` | [`Name::Index`] |
//! | `streams/NAME/backup.json` | [`Name::Backup`] of a snapshot in one piece |
//! | `streams/NAME/stream.tar.s2`, `streams/NAME/stream.arc.s2` | [`Name::Snapshot`] |
//! | `streams/NAME/attempt-N/backup.json` | [`Name::Backup`] of a snapshot in parts; N counts from 1 |
//! | `streams/NAME/attempt-N/part-NNNNNN` | [`Name::Part`]; six digits, from 000001 |
//! | `streams/NAME/attempt-N/part-xNNNNNNNNN` | parts after 999999: `x` and nine digits sort behind six digits |
//! | `streams/NAME/attempt-N/abandoned.json` | [`Name::Abandoned`] |
//! | `manifest.json` | [`Name::Manifest`] |
//! | `SHA256SUMS` | [`Name::Sums`] |
//!
//! Anything else is [`Name::Other`], which readers ignore.

use std::fmt;

use crate::names::StreamName;

/// The top-level directory that we write. A reader takes any.
pub(super) const TOP: &str = "backup";

/// What a stream's description is called.
const BACKUP: &str = "backup.json";

/// What a snapshot in one piece is called. We write the first; tools of NATS call one in NATSARC1 by the second.
pub(super) const SNAPSHOTS: [&str; 2] = ["stream.tar.s2", "stream.arc.s2"];

/// The last part whose name has six digits.
const SIX_DIGITS: u32 = 999_999;
/// The last part that has a name at all.
const NINE_DIGITS: u32 = 999_999_999;

/// One path below the top-level directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Index,
    Manifest,
    Sums,
    Backup {
        stream: StreamName,
        attempt: Option<u32>,
    },
    Snapshot {
        stream: StreamName,
        /// One of [`SNAPSHOTS`].
        file: &'static str,
    },
    Part {
        stream: StreamName,
        attempt: u32,
        number: u32,
    },
    Abandoned {
        stream: StreamName,
        attempt: u32,
    },
    Other(String),
    StreamDirectory(StreamName),
    AttemptDirectory(StreamName, u32),
    /// The top-level directory itself (the empty path), `streams`, and foreign ones.
    Directory(String),
}

impl Name {
    /// Reads `path`, which has neither a leading nor a trailing slash and no `.`, `..` or empty parts.
    ///
    /// # Errors
    /// Says why a path that looks like one of ours is invalid.
    pub fn parse(path: &str, directory: bool) -> Result<Self, String> {
        let other = || if directory { Name::Directory(path.into()) } else { Name::Other(path.into()) };
        let Some((name, rest)) = path.strip_prefix("streams/").map(|below| match below.split_once('/') {
            Some((name, rest)) => (name, Some(rest)),
            None => (below, None),
        }) else {
            return Ok(match path {
                "index.json" if !directory => Name::Index,
                "manifest.json" if !directory => Name::Manifest,
                "SHA256SUMS" if !directory => Name::Sums,
                _ => other(),
            });
        };
        if rest.is_none() && !directory {
            return Ok(other());
        }
        let stream = StreamName::new(name).map_err(|error| error.to_string())?;
        let Some(rest) = rest else { return Ok(Name::StreamDirectory(stream)) };
        if let Some(file) = snapshot(rest).filter(|_| !directory) {
            return Ok(Name::Snapshot { stream, file });
        }
        let (attempt, file) = match rest.split_once('/') {
            Some((attempt, file)) => (parse_attempt(attempt), Some(file)),
            None => (parse_attempt(rest), None),
        };
        Ok(match (attempt, file, directory) {
            (None, None, false) if rest == BACKUP => Name::Backup { stream, attempt: None },
            (Some(attempt), None, true) => Name::AttemptDirectory(stream, attempt),
            (Some(attempt), Some(BACKUP), false) => Name::Backup { stream, attempt: Some(attempt) },
            (Some(attempt), Some("abandoned.json"), false) => Name::Abandoned { stream, attempt },
            (Some(attempt), Some(file), false) if file.starts_with("part-") => {
                let number = parse_part(file).ok_or("not the name of a part: part-000001 is the first")?;
                Name::Part { stream, attempt, number }
            }
            _ => other(),
        })
    }

    /// The stream that it belongs to.
    pub fn stream(&self) -> Option<&StreamName> {
        match self {
            Name::Backup { stream, .. } | Name::Snapshot { stream, .. } | Name::Part { stream, .. } => {
                Some(stream)
            }
            Name::Abandoned { stream, .. } => Some(stream),
            Name::StreamDirectory(stream) | Name::AttemptDirectory(stream, _) => Some(stream),
            Name::Index | Name::Manifest | Name::Sums | Name::Other(_) | Name::Directory(_) => None,
        }
    }

    /// The stream and the file name, for a file of a stream in one piece.
    pub fn of_whole(&self) -> Option<(&StreamName, &'static str)> {
        match self {
            Name::Backup { stream, attempt: None } => Some((stream, BACKUP)),
            Name::Snapshot { stream, file } => Some((stream, file)),
            _ => None,
        }
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self, Name::StreamDirectory(_) | Name::AttemptDirectory(..) | Name::Directory(_))
    }
}

/// The path, raw: for headers and sums. On its way to a terminal it goes through `Printable`.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Index => f.write_str("index.json"),
            Name::Manifest => f.write_str("manifest.json"),
            Name::Sums => f.write_str("SHA256SUMS"),
            Name::Backup { stream, attempt: None } => write!(f, "streams/{}/backup.json", stream.as_str()),
            Name::Backup { stream, attempt: Some(n) } => {
                write!(f, "streams/{}/attempt-{n}/backup.json", stream.as_str())
            }
            Name::Snapshot { stream, file } => write!(f, "streams/{}/{file}", stream.as_str()),
            Name::Part { stream, attempt, number } => {
                write!(f, "streams/{}/attempt-{attempt}/part-", stream.as_str())?;
                if *number <= SIX_DIGITS { write!(f, "{number:06}") } else { write!(f, "x{number:09}") }
            }
            Name::Abandoned { stream, attempt } => {
                write!(f, "streams/{}/attempt-{attempt}/abandoned.json", stream.as_str())
            }
            Name::StreamDirectory(stream) => write!(f, "streams/{}", stream.as_str()),
            Name::AttemptDirectory(stream, n) => write!(f, "streams/{}/attempt-{n}", stream.as_str()),
            Name::Other(path) | Name::Directory(path) => f.write_str(path),
        }
    }
}

/// Whether a snapshot in one piece is called so.
pub(super) fn snapshot(file: &str) -> Option<&'static str> {
    SNAPSHOTS.into_iter().find(|name| *name == file)
}

/// `attempt-N`, N from 1 and without leading zeros.
fn parse_attempt(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("attempt-")?;
    digits.starts_with(|c| matches!(c, '1'..='9')).then_some(())?;
    digits.bytes().all(|c| c.is_ascii_digit()).then_some(())?;
    digits.parse().ok()
}

/// `part-NNNNNN` or `part-xNNNNNNNNN`.
fn parse_part(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("part-")?;
    let (digits, length, range) = match digits.strip_prefix('x') {
        Some(digits) => (digits, 9, SIX_DIGITS.saturating_add(1)..=NINE_DIGITS),
        None => (digits, 6, 1..=SIX_DIGITS),
    };
    (digits.len() == length && digits.bytes().all(|c| c.is_ascii_digit())).then_some(())?;
    digits.parse().ok().filter(|number| range.contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back_from_its_path() {
        let stream = StreamName::new("EVT").unwrap();
        let part = |number| Name::Part { stream: stream.clone(), attempt: 12, number };
        for (name, path) in [
            (Name::Index, "index.json"),
            (Name::Manifest, "manifest.json"),
            (Name::Sums, "SHA256SUMS"),
            (Name::Backup { stream: stream.clone(), attempt: None }, "streams/EVT/backup.json"),
            (Name::Backup { stream: stream.clone(), attempt: Some(1) }, "streams/EVT/attempt-1/backup.json"),
            (Name::Snapshot { stream: stream.clone(), file: SNAPSHOTS[0] }, "streams/EVT/stream.tar.s2"),
            (Name::Snapshot { stream: stream.clone(), file: SNAPSHOTS[1] }, "streams/EVT/stream.arc.s2"),
            (part(1), "streams/EVT/attempt-12/part-000001"),
            (part(999_999), "streams/EVT/attempt-12/part-999999"),
            (part(1_000_000), "streams/EVT/attempt-12/part-x001000000"),
            (part(999_999_999), "streams/EVT/attempt-12/part-x999999999"),
            (Name::Abandoned { stream: stream.clone(), attempt: 2 }, "streams/EVT/attempt-2/abandoned.json"),
            (Name::Other("keys.json".into()), "keys.json"),
            (Name::Other("streams/.DS_Store".into()), "streams/.DS_Store"),
            (Name::Other("streams/EVT/attempt-01/part-1".into()), "streams/EVT/attempt-01/part-1"),
            (Name::Other("streams/EVT/attempt-1".into()), "streams/EVT/attempt-1"),
            (Name::StreamDirectory(stream.clone()), "streams/EVT"),
            (Name::AttemptDirectory(stream.clone(), 7), "streams/EVT/attempt-7"),
            (Name::Directory("streams".into()), "streams"),
            (Name::Directory("index.json".into()), "index.json"),
            (Name::Directory(String::new()), ""),
        ] {
            assert_eq!(Name::parse(path, name.is_directory()), Ok(name.clone()), "{path}");
            assert_eq!(name.to_string(), path);
        }
    }

    #[test]
    fn a_path_that_is_almost_ours_is_refused_not_ignored() {
        for (path, directory) in [
            ("streams/a.b/backup.json", false),
            ("streams/a b", true),
            ("streams/EVT/attempt-1/part-1", false),
            ("streams/EVT/attempt-1/part-000000", false),
            ("streams/EVT/attempt-1/part-+00001", false),
            ("streams/EVT/attempt-1/part-1000000", false),
            ("streams/EVT/attempt-1/part-x000000001", false),
        ] {
            assert!(Name::parse(path, directory).is_err(), "{path}");
        }
    }

    #[test]
    fn parts_sort_in_the_order_in_which_they_are_joined() {
        let path =
            |number| Name::Part { stream: StreamName::new("EVT").unwrap(), attempt: 1, number }.to_string();
        let numbers =
            [1, 2, 9, 10, 999_998, 999_999, 1_000_000, 1_000_001, 9_999_999, 10_000_000, 999_999_999];
        let paths: Vec<_> = numbers.into_iter().map(path).collect();
        assert!(paths.is_sorted(), "{paths:?}");
    }
}
