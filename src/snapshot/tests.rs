//! Tests of the whole module, with captures of real servers, and with snapshots that are made and broken here.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::content::Content;
use super::test_snapshots::*;
use super::*;
use crate::description::Description;
use crate::names::StreamName;
use crate::settings::MAX_VALUES;

/// Captures of real servers: stream, reported state, bytes.
pub(super) fn captures() -> Vec<(PathBuf, StreamName, ReportedState, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/snapshots");
    let mut found = Vec::new();
    let dirs = |path: &Path| -> Vec<PathBuf> {
        fs::read_dir(path).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect()
    };
    for dir in dirs(&root).iter().flat_map(|version| dirs(version)) {
        let stream = StreamName::new(dir.file_name().unwrap().to_str().unwrap()).unwrap();
        let reported = Description::from_json(&fs::read(dir.join("backup.json")).unwrap()).unwrap().reported;
        let bytes = fs::read(dir.join("stream.tar.s2")).unwrap();
        found.push((dir, stream, reported, bytes));
    }
    assert_eq!(found.len(), 18, "six servers, three streams each");
    found
}

fn capture(path: &str) -> (StreamName, ReportedState, Vec<u8>) {
    let found = captures().into_iter().find(|(dir, ..)| dir.ends_with(path)).unwrap();
    (found.1, found.2, found.3)
}

/// A reader that hands out 1 to `most` bytes at a time.
struct Short<'a>(&'a [u8], usize, usize);

impl Read for Short<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.2 = self.2 % self.1 + 1;
        let n = self.2.min(to.len()).min(self.0.len());
        let (now, later) = self.0.split_at(n);
        to[..n].copy_from_slice(now);
        self.0 = later;
        Ok(n)
    }
}

pub(super) fn decoded(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut content = Content::new(bytes);
    let mut out = Vec::new();
    loop {
        let piece = content.fill().ok()?;
        if piece.is_empty() {
            return Some(out);
        }
        out.extend_from_slice(piece);
        let len = piece.len();
        content.consume(len);
    }
}

fn s() -> StreamName {
    StreamName::new("S").unwrap()
}

/// Inspects content of stream `S` in frames of 100 bytes; nothing is promised.
fn visitor(content: &[u8]) -> Result<Contents, Fault> {
    inspect(&s(), &ReportedState::default(), s2(content, 100).as_slice())
}

fn what(result: Result<Contents, Fault>) -> String {
    match result {
        Err(Fault::Damaged { what, .. }) => what.to_owned(),
        Err(Fault::Unsupported { what, .. }) => format!("unsupported: {what}"),
        Err(Fault::Cut(_)) => "cut".to_owned(),
        Err(Fault::Reported(text)) => format!("reported: {text}"),
        other => panic!("{other:?}"),
    }
}

fn files(snapshot: &[(&str, Vec<u8>)]) -> Vec<(String, Vec<u8>)> {
    snapshot.iter().map(|(path, data)| ((*path).to_owned(), data.clone())).collect()
}

fn messages(number: u32, sequences: impl IntoIterator<Item = u64>) -> Vec<u8> {
    sequences.into_iter().flat_map(|seq| record(number, seq, "x", None, b"text")).collect()
}

#[test]
fn what_real_servers_promise_is_what_their_snapshots_hold() {
    for (dir, stream, reported, bytes) in captures() {
        for most in [1, 7, bytes.len()] {
            let held = inspect(&stream, &reported, Short(&bytes, most, 0)).unwrap();
            let expected = Contents {
                format: if dir.to_str().unwrap().contains("2.15") { Format::NatsArc1 } else { Format::Tar },
                messages: reported.messages,
                first_seq: reported.first_seq,
                last_seq: reported.last_seq,
                deleted: reported.num_deleted,
                consumers: reported.consumer_count,
                ..held.clone()
            };
            assert_eq!(held, expected, "{}", dir.display());
            assert_eq!(held.bytes, decoded(&bytes).unwrap().len() as u64);
            assert_eq!(held.agrees_with(&reported), Ok(()));
        }
    }
}

#[test]
fn counting_does_not_lean_on_the_promise_in_a_quiet_stream() {
    for (dir, stream, reported, bytes) in captures() {
        let held = inspect(&stream, &reported, bytes.as_slice()).unwrap();
        let more = ReportedState {
            messages: reported.messages + 1000,
            last_seq: reported.last_seq + 1000,
            ..reported
        };
        let shortfall = inspect(&stream, &more, bytes.as_slice()).unwrap().agrees_with(&more);
        assert!(shortfall.is_err(), "{}: {held:?}", dir.display());
    }
}

#[test]
fn every_cut_is_noticed() {
    for path in ["2.14.5/EVT", "2.9.25/KV_ROOMS", "2.10.26/EMPTY", "2.15.1/EVT", "2.15.1/EMPTY"] {
        let (stream, reported, bytes) = capture(path);
        for len in 0..bytes.len() {
            let fault = inspect(&stream, &reported, &bytes[..len]).unwrap_err();
            assert!(matches!(fault, Fault::Cut(_)), "{path} cut to {len}: {fault}");
        }
    }
}

/// Of a frame of data every bit counts, unless the block decodes to the same data all the same.
#[test]
fn every_flipped_bit_is_noticed_or_means_nothing() {
    for path in ["2.15.1/EVT", "2.12.8/EMPTY"] {
        let (stream, reported, mut bytes) = capture(path);
        let content = decoded(&bytes).unwrap();
        let mut harmless = 0;
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            if inspect(&stream, &reported, bytes.as_slice()).is_ok() {
                assert_eq!(decoded(&bytes).as_ref(), Some(&content), "{path}, bit {bit}");
                harmless += 1;
            }
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        // Long runs of zeros in a tar can be copied from many places.
        assert!(harmless < bytes.len() * 8 / 40, "{path}: {harmless} flips of {} bytes", bytes.len());
    }
}

/// With the checksums of the frames made right again, what remains is what the formats check.
#[test]
fn broken_content_in_sound_frames_never_panics_and_hashes_cover_the_blocks() {
    for path in ["2.14.5/KV_ROOMS", "2.11.11/EVT", "2.15.1/EVT"] {
        let (stream, reported, bytes) = capture(path);
        let content = decoded(&bytes).unwrap();
        let mut random = 1u64;
        let mut accepted = 0;
        for _ in 0..600 {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let mut broken = content.clone();
            let at = (random >> 20) as usize % broken.len();
            broken[at] ^= (random >> 12) as u8 | 1;
            accepted += usize::from(inspect(&stream, &reported, s2(&broken, 1000).as_slice()).is_ok());
        }
        // In the tar only `o.dat` is without a checksum, and the times in extended headers. In NATSARC1
        // that is most of the bytes.
        let most = if path.contains("2.15") { 600 } else { 60 };
        assert!(accepted <= most, "{path}: {accepted}");
    }
}

#[test]
fn a_tar_snapshot_made_by_hand_is_counted() {
    let first = [messages(1, 1..=3), record(1, 4, "with", Some("NATS/1.0\r\n\r\n"), &[9; 300])].concat();
    let second =
        [messages(2, [5, 7]), record(2, 3 | 1 << 62, "", None, b""), record(2, 8 | 1 << 63, "", None, b"")];
    let blocks = [("msgs/1.blk", first), ("msgs/2.blk", second.concat())];
    let index = index([4, 2, 8], &[(2, 4, &[3]), (5, 8, &[6, 8])]);
    let snapshot = tarball(&[&blocks[..], &[("msgs/index.db", index)]].concat());
    let reported =
        ReportedState { messages: 4, first_seq: 2, last_seq: 8, num_deleted: 3, ..ReportedState::default() };
    let held = inspect(&s(), &reported, s2(&snapshot, 64).as_slice()).unwrap();
    let expected = Contents {
        format: Format::Tar,
        messages: 4,
        records: 5,
        first_seq: 2,
        last_seq: 8,
        deleted: 3,
        consumers: 0,
        within_batch: false,
        ahead: Vec::new(),
        names: None,
        // The record of a deleted message is among those that were read.
        sum: None,
        bytes: snapshot.len() as u64,
        ..Contents::default()
    };
    assert_eq!(held, expected);
}

#[test]
fn the_same_messages_have_the_same_sum_in_both_formats() {
    let tar = |text: &[u8]| {
        let block = [record(1, 3, "a.b", Some("h: 1"), text), record(1, 7, "x", None, b"")].concat();
        let index = index([2, 3, 7], &[(3, 7, &[4, 5, 6])]);
        let reported = ReportedState { messages: 2, first_seq: 3, last_seq: 7, ..ReportedState::default() };
        let snapshot = tarball(&[("msgs/1.blk", block), ("msgs/index.db", index)]);
        inspect(&s(), &reported, s2(&snapshot, 64).as_slice()).unwrap().sum
    };
    // The time of a record made here, as a zigzag number.
    let time = 2 * u64::from_le_bytes([7; 8]);
    let messages = [entry("a.b", time, 3, b"h: 1", b"text"), entry("x", time, 7, b"", b"")].concat();
    let archive = visitor(&natsarc("{}", &[messages, entry("", 0, 0, b"", b"")])).unwrap();
    assert!(archive.sum.is_some());
    assert_eq!(tar(b"text"), archive.sum);
    assert_ne!(tar(b"texT"), archive.sum);
}

#[test]
fn a_stream_that_grew_holds_more_and_a_trimmed_one_still_has_what_was_promised() {
    let blocks = ("msgs/1.blk", messages(1, 1..=10));
    let reported = ReportedState { messages: 6, first_seq: 3, last_seq: 8, ..ReportedState::default() };
    // The index was written later: 1 to 7 were trimmed by then, and 11 to 20 are not captured.
    let later = index([13, 8, 20], &[(8, 20, &[])]);
    let snapshot = tarball(&[blocks.clone(), ("msgs/index.db", later)]);
    let held = inspect(&s(), &reported, s2(&snapshot, 64).as_slice()).unwrap();
    assert_eq!((held.messages, held.records, held.last_seq), (6, 10, 10));
    assert_eq!(held.agrees_with(&reported), Ok(()));

    let grown = index([20, 1, 20], &[(1, 20, &[])]);
    let snapshot = tarball(&[blocks, ("msgs/index.db", grown)]);
    let held = inspect(&s(), &reported, s2(&snapshot, 64).as_slice()).unwrap();
    assert_eq!((held.messages, held.first_seq, held.last_seq), (10, 1, 10));
}

#[test]
fn without_an_index_records_and_promise_decide() {
    let block = [messages(1, 1..=6), record(1, 2 | 1 << 62, "", None, b"")].concat();
    let snapshot = s2(&tarball(&[("msgs/1.blk", block)]), 100);
    let reported =
        |messages, last_seq| ReportedState { messages, first_seq: 1, last_seq, ..ReportedState::default() };
    let held = |reported| inspect(&s(), &reported, snapshot.as_slice()).unwrap().messages;
    assert_eq!(held(reported(4, 6)), 4, "one removed by a limit leaves no trace");
    assert_eq!(held(reported(9, 9)), 5, "six records and a tombstone");
    assert_eq!(held(reported(0, 4)), 2, "two are newer than the reported state");
}

#[test]
fn blocks_that_overlap_in_an_index_are_not_counted_twice() {
    let index = index([6, 1, 3], &[(1, 3, &[]), (1, 3, &[])]);
    let snapshot = tarball(&[("msgs/1.blk", messages(1, 1..=3)), ("msgs/index.db", index)]);
    let reported = ReportedState { messages: 6, first_seq: 1, last_seq: 3, ..ReportedState::default() };
    let held = inspect(&s(), &reported, s2(&snapshot, 100).as_slice()).unwrap();
    assert_eq!(held.messages, 3);
    assert!(held.agrees_with(&reported).is_err());
}

/// As 2.12.8 leaves it: message 2 deleted, the rest purged up to it, messages 3 and 4 stored.
#[test]
fn a_block_that_begins_before_the_stream_does_adds_no_messages() {
    let index = index([2, 3, 4], &[(2, 4, &[])]);
    let snapshot = tarball(&[("msgs/1.blk", messages(1, 1..=4)), ("msgs/index.db", index)]);
    let reported = ReportedState { messages: 2, first_seq: 3, last_seq: 4, ..ReportedState::default() };
    let held = inspect(&s(), &reported, s2(&snapshot, 100).as_slice()).unwrap();
    assert_eq!((held.messages, held.first_seq, held.last_seq, held.deleted), (2, 3, 4, 0));
}

#[test]
fn what_the_index_lists_and_the_blocks_lack_is_damage() {
    let index = index([5, 1, 5], &[(1, 5, &[])]);
    let snapshot = tarball(&[("msgs/1.blk", messages(1, [1, 2, 3, 5])), ("msgs/index.db", index)]);
    let fault = visitor(&snapshot).unwrap_err();
    let Fault::Damaged { what, place } = &fault else { panic!("{fault}") };
    assert_eq!(*what, "a message that the server's index lists is missing");
    assert_eq!(place.sequence, Some(4));
    assert!(fault.to_string().ends_with("in \"msgs/index.db\", message 4"), "{fault}");
}

#[test]
fn a_block_index_of_2_9_is_held_against_its_block() {
    let numbers = |values: &[u64]| values.iter().flat_map(|v| uvarint(*v)).collect::<Vec<u8>>();
    let idx = |last| [vec![22, 1], numbers(&[3, 9, 2, 0, last, 0, 1]), vec![0; 8], numbers(&[2])].concat();
    let files = |last| {
        let block = messages(1, [1, 2, 3, 4, 5]);
        tarball(&[("msgs/1.idx", idx(last)), ("msgs/1.fss", vec![1, 2]), ("msgs/1.blk", block)])
    };
    let reported =
        ReportedState { messages: 3, first_seq: 2, last_seq: 5, num_deleted: 1, ..ReportedState::default() };
    let held = inspect(&s(), &reported, s2(&files(5), 100).as_slice()).unwrap();
    assert_eq!((held.messages, held.first_seq, held.last_seq, held.deleted), (3, 2, 5, 1));
    let alone = tarball(&[("msgs/1.idx", idx(5))]);
    assert_eq!(what(visitor(&alone)), "an index is without its block");
}

#[test]
fn a_tar_snapshot_must_be_complete_in_order_and_its_own() {
    let consumer = meta("obs/C/", "S/C", r#"{"name":"C"}"#);
    let [inf, sum] = consumer.each_ref().map(|(path, data)| (path.as_str(), data.clone()));
    let state = ("obs/C/o.dat", vec![1, 2, 3]);
    let whole = tarball(&[inf.clone(), sum.clone(), state.clone()]);
    assert_eq!(visitor(&whole).unwrap().consumers, 1);
    for (files, expected) in [
        (vec![inf.clone()], "its last files are missing"),
        (vec![inf.clone(), sum.clone()], "its last files are missing"),
        (vec![inf.clone(), state.clone()], "a file is out of order"),
        (
            vec![inf.clone(), ("obs/C/meta.sum", b"0123456789abcdef".to_vec())],
            "a config's checksum does not match",
        ),
        (vec![inf.clone(), ("obs/D/meta.sum", sum.1.clone())], "a file is out of order"),
        (vec![("meta.inf", b"{}".to_vec())], "a file is out of order"),
        (vec![("msgs/2.blk", vec![]), ("msgs/1.blk", vec![])], "a block is out of order"),
        (vec![("msgs/1.blk", vec![]), ("msgs/1.blk", vec![])], "a block is out of order"),
        (vec![("msgs/x.blk", vec![])], "unsupported: a file that no known server writes"),
        (vec![("../x", vec![])], "unsupported: a file that no known server writes"),
        (vec![("errors.txt", b"Could not\x1b".to_vec())], "reported: Could not\\u{1b}"),
        (vec![("msgs/index.db", vec![0; 40])], "unsupported: an index of an unknown version"),
        (vec![("msgs/1.blk", messages(2, [1]))], "a record's checksum does not match"),
        (vec![("msgs/1.blk", messages(1, [1])[..20].to_vec())], "a block ends within a record"),
        (vec![("msgs/1.blk", messages(1, [1])[..34].to_vec())], "a record's length"),
    ] {
        assert_eq!(what(visitor(&tarball(&files))), expected, "{:?}", self::files(&files));
    }
    let other =
        inspect(&StreamName::new("T").unwrap(), &ReportedState::default(), s2(&whole, 100).as_slice());
    assert_eq!(what(other), "it is of another stream");
    assert_eq!(what(visitor(&tar(&[]))), "its last files are missing");
}

#[test]
fn a_tar_ends_with_two_blocks_of_zeros_and_only_zeros_follow() {
    let snapshot = tarball(&[]);
    assert!(visitor(&snapshot).is_ok());
    assert!(visitor(&[&snapshot[..], &[0; 8192]].concat()).is_ok());
    assert_eq!(what(visitor(&[&snapshot[..], &[0, 1]].concat())), "something follows its end");
    assert_eq!(what(visitor(&snapshot[..snapshot.len() - 512])), "cut");
    assert_eq!(what(visitor(&snapshot[..snapshot.len() - 1024])), "cut");
    let mut lone = snapshot.clone();
    lone[snapshot.len() - 1] = 1;
    assert_eq!(what(visitor(&lone)), "a lone block of zeros");
    for kind in [b'1', b'2', b'5', b'L', b'g'] {
        assert_eq!(what(visitor(&tar_header("meta.inf", 0, kind))), "an entry is not a file");
    }
    assert_eq!(what(visitor(&tar_header("x", 1 << 30, b'x'))), "an extended tar header is too long");
}

#[test]
fn natsarc_must_be_complete_and_in_order() {
    let end = entry("", 0, 0, b"", b"");
    let message = |sequence| entry("a.b", 9, sequence, b"NATS/1.0\r\n\r\n", b"text");
    let consumer = entry("consumers/C", 5, 0, b"", br#"{"config":{},"state":{}}"#);
    let state = r#"{"messages":2,"first_seq":3,"last_seq":9,"consumer_count":1}"#;
    let held = visitor(&natsarc(state, &[consumer.clone(), message(3), message(7), end.clone()])).unwrap();
    let expected = Contents {
        format: Format::NatsArc1,
        messages: 2,
        records: 2,
        first_seq: 3,
        last_seq: 9,
        deleted: 5,
        consumers: 1,
        within_batch: false,
        ahead: Vec::new(),
        names: None,
        sum: held.sum,
        bytes: held.bytes,
        ..Contents::default()
    };
    assert_eq!(held, expected);
    for (entries, expected) in [
        (vec![consumer.clone(), message(3)], "cut"),
        (vec![consumer.clone(), message(3), message(3), end.clone()], "messages are out of order"),
        (vec![message(3), end.clone()], "consumers are missing"),
        (vec![consumer.clone(), consumer.clone(), end.clone()], "an entry is neither message nor end"),
        (vec![consumer.clone(), end.clone(), end.clone()], "something follows its end"),
        (vec![consumer.clone(), end.clone(), vec![0]], "something follows its end"),
        (vec![entry("consumers/C", 5, 0, b"", b"{}"), end.clone()], "a consumer is not what servers write"),
        (vec![consumer.clone(), vec![0xff; 11]], "a number is too long"),
        (vec![consumer.clone(), [uvarint(1 << 40), vec![0; 4]].concat()], "an entry's name is too long"),
        (vec![consumer.clone(), [vec![0, 2, 1], uvarint(u64::MAX), vec![0]].concat()], "cut"),
    ] {
        assert_eq!(what(visitor(&natsarc(state, &entries))), expected);
    }
    assert_eq!(what(visitor(b"NATSARC2")), "it is in no known format");
    let no_state = [b"NATSARC1".to_vec(), message(1)].concat();
    assert_eq!(what(visitor(&no_state)), "it does not begin with the stream's state");
}

#[test]
fn a_config_with_too_many_values_is_refused_in_both_formats() {
    let config = |values: usize| format!(r#"{{"name":"S","new":[0{}]}}"#, ",0".repeat(values));
    let many = config(MAX_VALUES);
    let own = |config: &str| {
        let meta = meta("", "S", config);
        tar(&meta.each_ref().map(|(path, data)| (path.as_str(), data.clone())))
    };
    let consumer = |config: &str| {
        let meta = meta("obs/C/", "S/C", config);
        let [inf, sum] = meta.each_ref().map(|(path, data)| (path.as_str(), data.clone()));
        tarball(&[inf, sum, ("obs/C/o.dat", vec![1, 2, 3])])
    };
    let in_natsarc = |config: &str| {
        let json = format!(r#"{{"config":{config},"state":{{}}}}"#);
        let consumer = entry("consumers/C", 5, 0, b"", json.as_bytes());
        natsarc(r#"{"consumer_count":1}"#, &[consumer, entry("", 0, 0, b"", b"")])
    };
    for (what_it_is, snapshot) in
        [("stream", &own as &dyn Fn(&str) -> Vec<u8>), ("consumer", &consumer), ("NATSARC1", &in_natsarc)]
    {
        assert!(visitor(&snapshot(&config(MAX_VALUES - 10))).is_ok(), "{what_it_is}");
        let refused = what(visitor(&snapshot(&many)));
        assert_eq!(refused, "unsupported: a config has too many values", "{what_it_is}");
    }
}

#[test]
fn frames_that_mean_nothing_may_come_anywhere_and_others_nowhere() {
    let content = tarball(&[]);
    let data = &s2(&content, content.len())[START.len()..];
    let with = |before: &[u8], after: &[u8]| {
        inspect(&s(), &ReportedState::default(), [before, data, after].concat().as_slice())
    };
    let nothing = [PADDING.repeat(60_000), frame(0x99, b"index"), frame(0x80, &[7; 70_000])].concat();
    assert!(with(&[START, &nothing, START].concat(), &nothing).is_ok());
    let much = frame(0x80, &[7; 600_000]);
    assert!(with(&[START, &much].concat(), &much).is_ok());
    assert_eq!(what(with(START, &much.repeat(2))), "unsupported: it has too much padding");

    assert_eq!(what(with(&[&PADDING, START].concat(), b"")), "it does not begin as an S2 stream");
    assert_eq!(what(with(b"", b"")), "it does not begin as an S2 stream");
    for kind in [0x02, 0x7f] {
        assert_eq!(what(with(&[START, &frame(kind, b"")].concat(), b"")), "a frame is of an unknown type");
    }
    assert_eq!(what(with(b"\xff\x06\0\0sNaPpY", b"")), "a stream identifier is not that of S2");
    assert_eq!(what(with(START, &frame(0, b"abc"))), "a frame is too short for its checksum");
    assert_eq!(what(with(START, &frame(1, b"abcd!"))), "a frame's checksum does not match");
    assert_eq!(what(with(START, &frame(0, b"abcd\xff\xff\xff\x07"))), "a block is larger than S2 allows");
    assert_eq!(what(with(START, &frame(0, b"abcd\xff"))), "a block does not tell its length");
    assert_eq!(what(with(START, &frame(0, b"abcd\x05\x01"))), "a block does not decompress");
    assert_eq!(what(with(START, b"\x01\xff\xff\xff")), "a frame is larger than S2 allows");
    assert_eq!(what(with(START, b"\xfe\x01\0\0")), "cut");
    assert_eq!(what(with(START, b"\xfe\x01")), "cut");
}

#[test]
fn a_reader_that_fails_is_not_the_snapshot_s_fault() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::from(io::ErrorKind::ConnectionReset))
        }
    }
    let bytes = s2(&tarball(&[]), 100);
    for len in [0, 12, bytes.len()] {
        match inspect(&s(), &ReportedState::default(), bytes[..len].chain(Broken)) {
            Err(Fault::Io(e)) => assert_eq!(e.kind(), io::ErrorKind::ConnectionReset),
            other => panic!("{other:?}"),
        }
    }
}

/// What a loader with a stalled input relies on: a server that was sent the safe bytes, and padding
/// after them, is still reading.
#[test]
fn safe_bytes_never_hold_the_whole_content() {
    for content in [tarball(&[]), natsarc("{}", &[entry("", 0, 0, b"", b"")])] {
        let bytes = [s2(&content, 50), PADDING.to_vec()].concat();
        let mut frames = Frames::new();
        for byte in &bytes {
            frames.push(std::slice::from_ref(byte));
            let safe = usize::try_from(frames.safe()).unwrap();
            let padded = [&bytes[..safe], &PADDING].concat();
            if safe > 0 {
                assert!(decoded(&padded).unwrap().len() < content.len());
            }
        }
        assert!(bytes.len() as u64 - frames.safe() < 100, "only the last frames are held back");
    }
}

#[test]
fn the_first_bytes_tell_the_format() {
    for (dir, stream, reported, bytes) in captures() {
        let format = inspect(&stream, &reported, bytes.as_slice()).unwrap().format;
        assert_eq!(format_of(&bytes[..64]), Some(format), "{}", dir.display());
        for cut in 0..bytes.len().min(64) {
            assert!([None, Some(format)].contains(&format_of(&bytes[..cut])), "{} to {cut}", dir.display());
        }
    }
    assert_eq!(format_of(b"\x1f\x8b\x08\x00, something else, and long enough for the rest"), None);
}

/// An index costs what it is long, whatever lies in the snapshot. It took hours when each block was held
/// against the records of all.
#[test]
fn many_blocks_of_far_sequences_are_held_as_fast_as_near_ones() {
    const BLOCKS: u64 = 100_000;
    let sequences: Vec<u64> = (1..=BLOCKS).map(|n| n << 20).collect();
    let blocks: Vec<_> = sequences.iter().map(|seq| (*seq, *seq, &[][..])).collect();
    let index = index([BLOCKS, 1 << 20, BLOCKS << 20], &blocks);
    let records = messages(1, sequences.iter().copied());
    let content = tarball(&[("msgs/1.blk", records), ("msgs/index.db", index)]);
    let contents = inspect(&s(), &ReportedState::default(), s2(&content, 1 << 16).as_slice()).unwrap();
    assert_eq!((contents.messages, contents.last_seq), (BLOCKS, BLOCKS << 20));
}

/// `o.dat` and its like in JSON of a consumer that has come to sequence 9.
#[test]
fn half_a_batch_and_a_consumer_that_is_ahead_are_seen_in_both_formats() {
    const MEMBER: &str = "NATS/1.0\r\nNats-Batch-Id: b\r\nNats-Batch-Sequence: 1\r\n\r\n";
    const COMMIT: &str =
        "NATS/1.0\r\nNats-Batch-Id: b\r\nNats-Batch-Sequence: 2\r\nNats-Batch-Commit: 1\r\n\r\n";
    let wanted = || InspectOptions { names: true, ..InspectOptions::default() };
    let tar = |messages: &[(u64, &str)]| {
        let block: Vec<u8> =
            messages.iter().flat_map(|(seq, headers)| record(1, *seq, "x", Some(headers), b"text")).collect();
        let [inf, sum] = meta("obs/C/", "S/C", r#"{"name":"C"}"#);
        let state = vec![22, 2, 4, 8, 5, 9, 0, 0];
        let files = [("msgs/1.blk", block), (&inf.0, inf.1), (&sum.0, sum.1), ("obs/C/o.dat", state)];
        let reported = ReportedState { messages: 1, first_seq: 1, last_seq: 1, ..ReportedState::default() };
        inspect_with(&s(), &reported, wanted(), s2(&tarball(&files), 64).as_slice()).unwrap()
    };
    let archive = |messages: &[(u64, &str)]| {
        let state = r#"{"messages":1,"first_seq":1,"last_seq":1,"consumer_count":1}"#;
        let consumer = br#"{"config":{},"state":{"delivered":{"consumer_seq":5,"stream_seq":9},"ack_floor":{"stream_seq":8},"pending":null}}"#;
        let messages: Vec<u8> = messages
            .iter()
            .flat_map(|(seq, headers)| entry("x", 2, *seq, headers.as_bytes(), b"text"))
            .collect();
        let entries = [entry("consumers/C", 5, 0, b"", consumer), messages, entry("", 0, 0, b"", b"")];
        let content = natsarc(state, &entries);
        inspect_with(&s(), &ReportedState::default(), wanted(), s2(&content, 64).as_slice()).unwrap()
    };
    for inspect in [&tar as &dyn Fn(&[(u64, &str)]) -> Contents, &archive] {
        let half = inspect(&[(1, ""), (7, MEMBER)]);
        assert!(half.within_batch);
        assert_eq!((half.ahead, half.names), (vec!["C".to_owned()], Some(vec!["C".to_owned()])));
        let whole = inspect(&[(7, MEMBER), (9, COMMIT)]);
        assert!(!whole.within_batch);
        assert_eq!(whole.ahead, [""; 0]);
    }
}
