//! Everything that depends on the release of nats-server. No other file knows it: a new release, setting, API level or
//! snapshot format is a line here. Asks no server.
//!
//! | fact | source in nats-server |
//! |---|---|
//! | [`writes`], [`reads`] | `server/stream_backup.go` (2.15); which release takes which format was tried on 2.9.10 to 2.15.1 |
//! | [`is_paced_by_chunk`] | `server/jetstream_api.go`, `streamSnapshot`: `window_size` is honoured, and the limit for an ack is 5 s |
//! | [`restores_at_once`] | `RestoreStream`, `tieredReservation`, `subjectsOverlap` in `server/stream.go` and `server/jetstream_api.go`, read at each tag v2.10.0 to v2.14.5, and 2.15.1; 2.12.8, 2.14.5 and 2.15.1 with Go's race detector |
//! | [`of_level`] | `server/jetstream_versioning.go`, `JSApiLevel` at each release's tag |
//! | [`of_index`] | `server/filestore.go`, `fullStateVersion`; 2.15.1 by experiment |
//! | [`STREAM_SETTINGS`], [`CONSUMER_SETTINGS`] | the JSON names of `StreamConfig`, `StreamSource` and `ConsumerConfig` (`server/stream.go`, `server/consumer.go`), compared between the tags v2.10.0 to v2.14.5 and the main branch of August 2026 |
//!
//! Servers before 2.10 are not supported, so the settings that came with 2.10 are not listed.

use std::fmt;
use std::str::FromStr;

/// A nats-server version. What follows the patch number (`-beta.1`) does not take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl FromStr for Version {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let core = text.trim_start_matches('v').split(['-', '+']).next().unwrap_or_default();
        let mut numbers = core.split('.').map(|n| n.parse().map_err(|_| ()));
        let mut next = || numbers.next().unwrap_or(Err(()));
        Ok(Version(next()?, next()?, next()?))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// The format of a snapshot. Displayed as the manifest names it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// Of servers before 2.15.
    #[default]
    Tar,
    /// Of servers from 2.15 on.
    NatsArc1,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Format::Tar => "tar",
            Format::NatsArc1 => "natsarc1",
        })
    }
}

const V2_10: Version = Version(2, 10, 0);
const V2_11: Version = Version(2, 11, 0);
const V2_12: Version = Version(2, 12, 0);
const V2_12_5: Version = Version(2, 12, 5);
const V2_12_12: Version = Version(2, 12, 12);
const V2_14: Version = Version(2, 14, 0);
const V2_14_3: Version = Version(2, 14, 3);
const V2_15: Version = Version(2, 15, 0);

/// What is newer than everything known here asks for at least this.
pub const LATER: Version = Version(2, 16, 0);

/// The first release with each API level, from level 0 on.
const LEVELS: [Version; 6] = [V2_10, V2_11, V2_12, V2_12_5, V2_14, V2_15];

/// The first release that writes each version of `index.db`; there is no version 0.
const INDEXES: [Version; 5] = [V2_10, V2_10, V2_11, V2_12, V2_14];

/// The format of the snapshots that a server of this version makes.
pub fn writes(version: Version) -> Format {
    if version >= V2_15 { Format::NatsArc1 } else { Format::Tar }
}

/// The first release that restores snapshots of this format. 2.9 answers success to a tar of a later server and
/// has lost state.
pub fn reads(format: Format) -> Version {
    match format {
        Format::Tar => V2_10,
        Format::NatsArc1 => V2_15,
    }
}

/// Whether a server of this version honours `window_size`, waits 5 s for an ack and counts chunks one by one.
/// Before 2.12.5 it waits 2 s for the bytes on the way to fall below a fixed window of 8 MiB.
pub fn is_paced_by_chunk(version: Version) -> bool {
    version >= V2_12_5
}

/// How much of several restores a server may be asked for at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtOnce {
    /// Nothing: one stream after another.
    Nothing,
    /// All but the commits.
    Opening,
    /// Everything, if no restore is committed before all are open.
    Everything,
}

/// How much of several restores a server of this version may be asked for at once.
///
/// Before 2.12.12 and 2.14.3, a commit reads the configurations of other streams without their lock, while another
/// commit writes its own. Before 2.12.6 it also reads the list of streams without a lock. Nobody knows yet what
/// releases after 2.15 do.
pub fn restores_at_once(version: Version) -> AtOnce {
    let locks = (V2_12_12..V2_14).contains(&version) || version >= V2_14_3;
    match locks {
        _ if version >= LATER => AtOnce::Nothing,
        true => AtOnce::Everything,
        false => AtOnce::Opening,
    }
}

/// The first release with this API level.
pub fn of_level(level: usize) -> Version {
    LEVELS.get(level).copied().unwrap_or(LATER)
}

/// The first release that writes this version of `index.db`.
pub fn of_index(version: u8) -> Version {
    INDEXES.get(usize::from(version)).copied().unwrap_or(LATER)
}

/// Whether a server reads the `index.db` in the snapshots of a `source`. One that does not makes it anew from the blocks, and
/// messages that a limit had removed are there again (seen on 2.10.26, 2.11.11 and 2.12.8, with snapshots of the next
/// releases). A source that is not known may be any.
pub fn reads_index(server: Version, source: Option<Version>) -> bool {
    let written = |version| INDEXES.iter().filter(|since| **since <= version).count();
    written(server) >= source.map_or(INDEXES.len(), written)
}

/// A setting of a stream or a consumer that not every supported release knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The path of its JSON names; a list on the way stands for each of its items. After `=` comes the one value
    /// that asks for `since`, where others are older.
    pub name: &'static str,
    /// The first release that knows it.
    pub since: Version,
}

const fn setting(name: &'static str, since: Version) -> Setting {
    Setting { name, since }
}

/// Streams' settings that came after 2.10.
pub const STREAM_SETTINGS: [Setting; 9] = [
    setting("allow_msg_ttl", V2_11),
    setting("subject_delete_marker_ttl", V2_11),
    setting("allow_atomic", V2_12),
    setting("allow_msg_counter", V2_12),
    setting("allow_msg_schedules", V2_12),
    setting("persist_mode", V2_12),
    setting("allow_batched", V2_14),
    setting("mirror.consumer", V2_14),
    setting("sources.consumer", V2_14),
];

/// Consumers' settings that came after 2.10, and values of older ones.
pub const CONSUMER_SETTINGS: [Setting; 7] = [
    setting("pause_until", V2_11),
    setting("priority_groups", V2_11),
    setting("priority_policy", V2_11),
    setting("priority_timeout", V2_11),
    setting("priority_policy=prioritized", V2_12),
    setting("sourcing", V2_14),
    setting("ack_policy=flow_control", V2_14),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!("2.9.25".parse::<Version>().unwrap() < "2.10.0".parse().unwrap());
        assert_eq!("v2.15.1-RC.1".parse(), Ok(Version(2, 15, 1)));
        assert!("dev".parse::<Version>().is_err());
        assert!("2.x.1".parse::<Version>().is_err());
    }

    #[test]
    fn what_is_newer_than_all_that_is_known_asks_for_a_later_release() {
        assert_eq!((of_level(0), of_level(3), of_level(5)), (V2_10, V2_12_5, V2_15));
        assert_eq!((of_index(1), of_index(4)), (V2_10, V2_14));
        assert_eq!((of_level(6), of_index(5)), (LATER, LATER));
        assert!(LEVELS.iter().all(|version| *version < LATER));
    }

    #[test]
    fn a_server_reads_the_indexes_of_its_own_release_and_of_earlier_ones() {
        for (server, source, reads) in [
            ("2.10.26", Some("2.10.1"), true),
            ("2.10.26", Some("2.11.0"), false),
            ("2.12.8", Some("2.12.3"), true),
            ("2.12.8", Some("2.14.5"), false),
            ("2.15.1", Some("2.12.8"), true),
            ("2.14.5", Some("2.15.1"), true),
            ("2.12.8", None, false),
            ("2.14.0", None, true),
        ] {
            let version = |text: &str| text.parse::<Version>().unwrap();
            assert_eq!(reads_index(version(server), source.map(version)), reads, "{server} {source:?}");
        }
    }

    #[test]
    fn commits_go_at_once_only_where_the_server_locks_what_they_read() {
        let at_once = |text: &str| restores_at_once(text.parse().unwrap());
        for version in ["2.10.26", "2.11.11", "2.12.3", "2.12.8", "2.12.11", "2.14.0", "2.14.2"] {
            assert_eq!(at_once(version), AtOnce::Opening, "{version}");
        }
        for version in ["2.12.12", "2.12.15", "2.14.3", "2.14.5", "2.15.1"] {
            assert_eq!(at_once(version), AtOnce::Everything, "{version}");
        }
        assert_eq!(at_once("2.16.0"), AtOnce::Nothing);
    }

    #[test]
    fn every_release_reads_what_it_writes() {
        for version in LEVELS {
            assert!(reads(writes(version)) <= version, "{version}");
        }
    }
}
