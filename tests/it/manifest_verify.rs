//! `chatto-manifest verify` finds every flipped bit and every cut, and says where it is.

// A failed expectation in a helper is a failed test.
use std::fs;

use crate::support::archive::{self, pack};
use crate::support::captures::{CAPTURED, Shape, archive, capture};
use crate::support::programs::{program, run, run_with};
use crate::support::random::Random;
use chatto_pipes::command::manifest::verify::{Verdict, VerifyReport, verify};
use chatto_pipes::names::StreamName;
use chatto_pipes::snapshot::{self, NatsArcWriter, Record, ReportedState, State};

/// The unit of a tar.
const BLOCK: usize = 512;

fn report(archive: &[u8]) -> VerifyReport {
    verify(archive).unwrap()
}

/// A file of an archive: its path below `backup/`, and where its header and its body begin.
struct Entry {
    path: String,
    header: usize,
    body: usize,
    size: usize,
}

/// The files and directories of an archive, in order.
fn entries(archive: &[u8]) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut at = 0;
    while archive[at] != 0 {
        let text = |from: usize, len: usize| {
            let field = &archive[at + from..at + from + len];
            String::from_utf8(field.split(|byte| *byte == 0).next().unwrap().to_vec()).unwrap()
        };
        let size = usize::from_str_radix(&text(124, 12), 8).unwrap();
        let path = text(0, 100).trim_start_matches("backup/").to_owned();
        entries.push(Entry { path, header: at, body: at + BLOCK, size });
        at += BLOCK + size.next_multiple_of(BLOCK);
    }
    entries
}

/// Every archive that the flips and cuts are made in.
fn archives() -> Vec<(String, Vec<u8>)> {
    let shapes = [(Shape::Whole, "whole"), (Shape::Parts, "parts")];
    CAPTURED
        .iter()
        .flat_map(|release| {
            shapes.map(|(shape, word)| (format!("{release} {word}"), archive(release, shape)))
        })
        .collect()
}

#[test]
fn an_archive_of_every_release_is_sound() {
    for (name, archive) in archives() {
        let report = report(&archive);
        assert_eq!(report.faults, [], "{name}");
        assert_eq!((report.verdict, report.end_record, report.streams), (Verdict::Sound, true, 3), "{name}");
        assert!(report.messages > 50, "{name}: {report}");
    }
}

#[test]
fn of_a_thousand_flipped_bits_none_that_matters_is_missed() {
    let archives = archives();
    let mut random = Random::new(41);
    let mut harmless = 0;
    for n in 0..1_000 {
        let (name, archive) = &archives[n % archives.len()];
        let (at, bit) = (random.below(archive.len()), random.below(8));
        let mut flipped = archive.clone();
        flipped[at] ^= 1 << bit;
        let report = report(&flipped);
        let entries = entries(archive);
        let within = entries.iter().rposition(|entry| entry.header <= at).unwrap();
        let entry = &entries[within];
        if report.verdict == Verdict::Sound {
            // A space, a NUL and a leading zero are the same in the checksum of a header, and so are a and A in a
            // digest.
            let checksum = (entry.header + 148..entry.header + 156).contains(&at);
            let letter = entry.path == "SHA256SUMS" && bit == 5 && archive[at].is_ascii_hexdigit();
            assert!(checksum || letter, "{name}: bit {bit} of byte {at}, in {}", entry.path);
            harmless += 1;
            continue;
        }
        assert_eq!(report.verdict, Verdict::Damaged);
        // The place is the entry, for its parts also their attempt; for a header that cannot be believed and for
        // padding it may be the entry before or after.
        let inside = (entry.body..entry.body + entry.size).contains(&at);
        let near = if inside {
            &entries[within..=within]
        } else {
            &entries[within.saturating_sub(1)..entries.len().min(within + 2)]
        };
        let told = |entry: &&Entry| {
            let path = entry.path.trim_end_matches('/');
            // Of a line of SHA256SUMS that was changed, the file that it lists is the place.
            report.faults.iter().any(|fault| fault.place.contains(path) || fault.what.contains(path))
        };
        let ends = within + 1 == entries.len() || within == 0;
        assert!(
            near.iter().any(|entry| told(&entry)) || (ends && !inside),
            "{name}: byte {at}, in {}: {report}",
            entry.path
        );
    }
    assert!(harmless < 20, "{harmless} flips went unnoticed");
}

#[test]
fn of_a_thousand_cuts_none_passes() {
    let archives = archives();
    let mut random = Random::new(42);
    for n in 0..1_000 {
        let (name, archive) = &archives[n % archives.len()];
        // Half of them between two blocks, where no entry is torn.
        let cut = match n % 2 {
            0 => random.below(archive.len()),
            _ => random.below(archive.len() / BLOCK) * BLOCK,
        };
        let report = report(&archive[..cut]);
        assert_eq!(report.verdict, Verdict::Damaged, "{name}: cut at {cut} of {}", archive.len());
        assert!(!report.end_record);
    }
}

#[test]
fn all_faults_are_found_not_only_the_first() {
    let mut archive = archive("2.14.5", Shape::Parts);
    for entry in entries(&archive) {
        if ["streams/KV_ROOMS/stream.tar.s2", "streams/EVT/attempt-2/part-000002"].contains(&&*entry.path) {
            archive[entry.body + entry.size / 2] ^= 4;
        }
    }
    let text = report(&archive).to_string();
    let (faults, verdict) = text.trim_end().rsplit_once('\n').unwrap();
    let mut places: Vec<_> = faults.lines().map(|line| line.split(": ").nth(1).unwrap()).collect();
    places.sort();
    assert_eq!(
        places,
        [
            "manifest.json",
            "manifest.json",
            "streams/EVT/attempt-2",
            "streams/EVT/attempt-2/part-000002",
            "streams/KV_ROOMS/stream.tar.s2",
            "streams/KV_ROOMS/stream.tar.s2"
        ],
        "{text}"
    );
    assert!(verdict.starts_with("damaged: 1 whole stream, 0 messages"), "{verdict}");
}

/// A large snapshot is decoded on a thread of its own, and a small one is not.
#[test]
fn a_fault_far_into_a_large_snapshot_is_found_where_it_is() {
    let stream = StreamName::new("EVT").unwrap();
    let mut random = Random::new(3);
    let mut writer = NatsArcWriter::begin(Vec::new(), State { first_seq: 1, ..State::default() }).unwrap();
    for sequence in 1..=200 {
        let payload = random.bytes(60_000);
        let record = Record { sequence, time: 7, subject: b"evt.x", headers: b"", payload: &payload };
        writer.message(&record).unwrap();
    }
    let bytes = writer.finish().unwrap();
    let state = r#"{"messages":200,"bytes":1,"first_seq":1,"last_seq":200,"consumer_count":0}"#;
    let description = format!(r#"{{"config":{{"name":"EVT"}},"state":{state}}}"#);
    let faults = |snapshot: Vec<u8>| {
        let files = [
            archive::Entry::new("EVT/backup.json", description.clone()),
            archive::Entry::new("EVT/stream.arc.s2", snapshot),
        ];
        let faults = report(&pack(&files).unwrap()).faults;
        faults.into_iter().map(|fault| (fault.place, fault.what)).collect::<Vec<_>>()
    };
    assert_eq!(faults(bytes.clone()), []);

    let damages: [fn(&mut Vec<u8>); 3] =
        [|bytes| bytes[11_000_000] ^= 1, |bytes| bytes.truncate(11_000_000), |bytes| bytes.extend(b"more")];
    for damage in damages {
        let mut damaged = bytes.clone();
        damage(&mut damaged);
        let fault = snapshot::inspect(&stream, &ReportedState::default(), damaged.as_slice()).unwrap_err();
        assert_eq!(faults(damaged), [("EVT/stream.arc.s2".to_owned(), fault.to_string())]);
    }
}

/// `verify` as a program: its words, its JSON and its status.
#[test]
fn the_status_says_whether_the_archive_is_sound() {
    let sound = archive("2.15.1", Shape::Parts);
    let verify = |arguments: &[&str], archive: &[u8]| {
        let mut verify = program("chatto-manifest");
        verify.arg("verify").args(arguments);
        run_with(verify, archive)
    };
    let finished = verify(&[], &sound).expect_code(0);
    assert_eq!(finished.stderr, "");
    let verdict = String::from_utf8(finished.stdout).unwrap();
    assert!(verdict.starts_with("sound: 3 whole streams, "), "{verdict}");

    let json = |archive: &[u8], code| {
        let finished = verify(&["--json"], archive).expect_code(code);
        serde_json::from_slice::<serde_json::Value>(&finished.stdout).unwrap()
    };
    let report = json(&sound, 0);
    assert_eq!((&report["verdict"], &report["end_record"]), (&"sound".into(), &true.into()), "{report}");
    let report = json(&sound[..sound.len() / 2], 4);
    assert_eq!(report["verdict"], "damaged");
    assert_eq!(report["faults"][0]["what"], "the archive is cut short", "{report}");

    verify(&[], b"no archive").expect_code(4);
    verify(&[], b"").expect_code(4);
}

#[test]
fn an_archive_that_records_failed_streams_is_sound_and_incomplete() {
    let dir = tempfile::tempdir().unwrap();
    let (evt, (_, snapshot)) = (dir.path().join("x/EVT"), capture("2.14.5", "EVT"));
    let (kv, (rooms, rooms_snapshot)) = (dir.path().join("x/KV_ROOMS"), capture("2.14.5", "KV_ROOMS"));
    let evt_json = capture("2.14.5", "EVT").0;
    for (stream, json, snapshot) in [(&evt, evt_json, &snapshot[..300]), (&kv, rooms, &rooms_snapshot[..])] {
        fs::create_dir_all(stream).unwrap();
        fs::write(stream.join("backup.json"), json).unwrap();
        fs::write(stream.join("stream.tar.s2"), snapshot).unwrap();
    }
    let tar = dir.path().join("x.tar");
    let mut command = std::process::Command::new("tar");
    run({
        command.arg("-cf").arg(&tar).arg("-C").arg(dir.path()).arg("x");
        command
    })
    .expect_code(0);
    let mut import = program("chatto-manifest");
    import.arg("import").arg(&tar);
    let imported = run(import).expect_code(3);
    assert!(imported.stderr.contains("stream EVT: the snapshot is cut off"), "{}", imported.stderr);
    let mut verify = program("chatto-manifest");
    verify.arg("verify");
    let verified = run_with(verify, imported.stdout).expect_code(3);
    let text = String::from_utf8(verified.stdout).unwrap();
    assert!(text.starts_with("failed: EVT: the snapshot is cut off"), "{text}");
    assert!(text.contains("\nincomplete: 1 whole stream, "), "{text}");
}
