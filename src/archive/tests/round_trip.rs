//! The reader reads all of what the writer writes.

use super::*;

#[test]
fn what_was_written_is_read() {
    let archive = sample("EVT", "KV_A");
    let (lines, ended) = read(archive.as_slice()).unwrap();
    let x = "x".repeat(512);
    assert_eq!(
        lines,
        [
            "index 2",
            "backup EVT Some(1) {\"config\":1}",
            "part EVT 1 1 9 first try",
            "abandoned EVT 1 408 \u{1b}[2J",
            "backup EVT Some(2) {\"config\":2}",
            &format!("part EVT 2 1 512 {x}"),
            "part EVT 2 2 6 second",
            "backup KV_A None {}",
            "snapshot KV_A 8 snapshot",
            "manifest 2",
            "sums 10",
        ]
    );
    assert_eq!((ended.layout, ended.sums, ended.entries), (Layout::Ours, true, 17));
    assert_eq!(read(Trickle(&archive, 0)).unwrap(), (lines, ended));
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    assert_eq!(sample("EVT", "KV_A"), sample("EVT", "KV_A"));
}

#[test]
fn the_index_and_the_manifest_come_back_as_they_were() {
    let archive = sample("EVT", "KV_A");
    let mut reader = Reader::new(archive.as_slice());
    let Some(Entry::Index(first)) = reader.next().unwrap() else { panic!("no index") };
    assert_eq!(first, index(&["EVT", "KV_A"]));
    loop {
        match reader.next().unwrap() {
            Some(Entry::Manifest(last)) => break assert_eq!(last, manifest(&["EVT", "KV_A"])),
            Some(_) => {}
            None => panic!("no manifest"),
        }
    }
    assert!(reader.finish().unwrap().sums);
}

#[test]
fn bodies_that_nobody_reads_are_checked_all_the_same() {
    let mut archive = sample("EVT", "KV_A");
    assert!(Reader::new(archive.as_slice()).finish().unwrap().sums);
    let at = archive.windows(8).position(|bytes| bytes == b"snapshot").unwrap();
    archive[at] = b'S';
    let error = Reader::new(archive.as_slice()).finish().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the archive is damaged: streams/KV_A/stream.tar.s2: its bytes do not match SHA256SUMS"
    );
}

#[test]
fn every_cut_is_noticed() {
    let archive = sample("EVT", "KV_A");
    for cut in 0..archive.len() {
        match read(&archive[..cut]) {
            Err(Error::NotAnArchive { .. }) if cut < 512 => {}
            Err(Error::Truncated { .. }) => {}
            other => panic!("cut at {cut} of {}: {other:?}", archive.len()),
        }
    }
}

#[test]
fn every_damaged_byte_is_noticed() {
    let archive = sample("EVT", "KV_A");
    for at in 0..archive.len() {
        let mut damaged = archive.clone();
        // Not the bits that make a zero a space, which is the same number in a header's checksum field.
        damaged[at] ^= 1 << (at % 4);
        assert!(read(damaged.as_slice()).is_err(), "at {at} of {}", archive.len());
    }
}

#[test]
fn a_cut_says_what_was_seen_last() {
    let archive = sample("EVT", "KV_A");
    let at = archive.windows(8).position(|bytes| bytes == b"snapshot").unwrap();
    let refusal = |cut| super::refusal(&archive[..cut]);
    assert_eq!(
        refusal(at + 3),
        "the archive is cut short inside backup/streams/KV_A/stream.tar.s2, after 3 of 8 bytes"
    );
    assert_eq!(refusal(at - 512), "the archive is cut short after backup/streams/KV_A/backup.json");
    assert_eq!(refusal(archive.len() - 1), "the archive is cut short after backup/SHA256SUMS");
}

#[test]
fn a_cut_body_is_never_a_clean_end_for_its_reader() {
    let archive = sample("EVT", "KV_A");
    let at = archive.windows(8).position(|bytes| bytes == b"snapshot").unwrap();
    let mut reader = Reader::new(&archive[..at + 3]);
    while let Some(entry) = reader.next().unwrap() {
        if let Entry::Snapshot { mut body, .. } = entry {
            let error = body.read_to_end(&mut Vec::new()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
            assert!(matches!(Error::from(error), Error::Truncated { .. }));
            break;
        }
    }
    assert!(reader.next().is_err(), "a reader that failed goes on");
}

#[test]
fn an_input_that_fails_is_not_an_archive_that_is_cut() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is on fire"))
        }
    }
    let archive = sample("EVT", "KV_A");
    for cut in [0, 600, 5_000] {
        match read(archive[..cut].chain(Broken)) {
            Err(Error::Io { source, .. }) => assert_eq!(source.to_string(), "the disk is on fire"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_writer_that_is_dropped_leaves_a_visible_cut() {
    let mut written = Vec::new();
    let mut writer = Writer::new(&mut written, 0);
    writer.index(&index(&["EVT"])).unwrap();
    writer.whole(&name("EVT"), b"{}", &mut &b"x"[..], 1).unwrap();
    drop(writer);
    assert_eq!(refusal(&written), "the archive is cut short after backup/streams/EVT/stream.tar.s2");
}

#[test]
fn a_snapshot_must_have_the_size_that_was_announced() {
    for (content, want) in [("abc", "ended 2 bytes before the 5"), ("abcdef", "has more than the 5 bytes")] {
        let mut writer = Writer::new(Vec::new(), 0);
        writer.index(&index(&["EVT"])).unwrap();
        let mut content = Trickle(content.as_bytes(), 0);
        let error = writer.whole(&name("EVT"), b"{}", &mut content, 5).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
        let error = writer.finish(&manifest(&["EVT"])).unwrap_err().to_string();
        assert_eq!(error, "the archive failed before");
    }
}

#[test]
fn calls_out_of_order_are_refused() {
    type Call = fn(&mut Writer<Vec<u8>>) -> io::Result<()>;
    let begin: Call = |w| w.index(&index(&["EVT"]));
    let whole: Call = |w| w.whole(&name("EVT"), b"{}", &mut &b"x"[..], 1).map(drop);
    let attempt: Call = |w| w.attempt(&name("EVT"), 1, b"{}");
    let second: Call = |w| w.attempt(&name("EVT"), 2, b"{}");
    let part: Call = |w| w.part(&[Bytes::from("x")]).map(drop);
    let abandon: Call = |w| w.abandon("why");
    let other: Call = |w| w.whole(&name("KV_A"), b"{}", &mut &b""[..], 0).map(drop);
    let huge: Call = |w| w.whole(&name("KV_A"), b"{}", &mut io::repeat(0), MAX_ENTRY + 1).map(drop);
    for (calls, want) in [
        (vec![whole], "an archive begins with its index"),
        (vec![begin, begin], "an archive has one index"),
        (vec![begin, whole, whole], "streams/EVT/backup.json: comes twice"),
        (vec![begin, part], "no attempt is open"),
        (vec![begin, abandon], "no attempt is open"),
        (vec![begin, attempt, abandon, part], "no attempt is open"),
        (vec![begin, attempt, other, part], "no attempt is open"),
        (vec![begin, attempt, attempt], "comes twice"),
        (vec![begin, attempt, second], "begins although attempt-1 was neither finished nor abandoned"),
        (vec![begin, second], "comes where attempt-1 should"),
        (vec![begin, attempt, part, whole], "both in one piece and in parts"),
        (vec![begin, whole, attempt], "both in one piece and in parts"),
        (vec![begin, huge], "it must go in parts"),
    ] {
        let mut writer = Writer::new(Vec::new(), 0);
        let (last, before) = calls.split_last().unwrap();
        before.iter().for_each(|call| call(&mut writer).unwrap());
        let error = last(&mut writer).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains(want), "{error}, not {want}");
    }
    let mut writer = Writer::new(Vec::new(), 0);
    [begin, attempt, part, abandon, whole].iter().for_each(|call| call(&mut writer).unwrap());
    assert!(read(writer.finish(&manifest(&["EVT"])).unwrap().as_slice()).is_ok());
}

#[test]
fn a_reader_that_goes_away_is_a_broken_pipe() {
    struct Closed(usize);
    impl io::Write for Closed {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut writer = Writer::new(Closed(4_000), 0);
    writer.index(&index(&["EVT"])).unwrap();
    let mut zeros = io::repeat(0).take(9_000);
    let error = writer.whole(&name("EVT"), b"{}", &mut zeros, 9_000).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn a_long_reason_does_not_fail_the_archive() {
    let mut writer = Writer::new(Vec::new(), 0);
    writer.index(&index(&["EVT"])).unwrap();
    writer.attempt(&name("EVT"), 1, b"{}").unwrap();
    writer.abandon(&"ä".repeat(1 << 20)).unwrap();
    let archive = writer.finish(&manifest(&["EVT"])).unwrap();
    let (lines, _) = read(archive.as_slice()).unwrap();
    assert_eq!(lines[2], format!("abandoned EVT 1 {}", "ä".repeat(1_000)));
}

#[test]
fn an_archive_without_streams_is_one() {
    let mut writer = Writer::new(Vec::new(), 0);
    writer.index(&index(&[])).unwrap();
    let archive = writer.finish(&manifest(&[])).unwrap();
    assert_eq!(read(archive.as_slice()).unwrap().0, ["index 0", "manifest 0", "sums 2"]);
}

#[test]
fn keys_come_in_a_tar_of_their_own() {
    for json in ["{\"keys\":[]}\n".to_owned(), "k".repeat(512)] {
        let tar = write_keys(Vec::new(), START as u64, json.as_bytes()).unwrap();
        let (lines, ended) = read(tar.as_slice()).unwrap();
        assert_eq!(lines, [format!("other keys.json {} {json}", json.len())]);
        assert_eq!((ended.layout, ended.sums), (Layout::Keys, false));
        assert!((0..tar.len()).all(|cut| read(&tar[..cut]).is_err()));
    }
}

#[test]
fn a_snapshot_in_parts_is_read_as_one() {
    let archive = sample("EVT", "KV_A");
    let mut reader = Reader::new(Trickle(&archive, 0));
    let mut snapshots = Vec::new();
    loop {
        match reader.next().unwrap() {
            Some(Entry::Snapshot { .. } | Entry::Part { .. }) => {
                let mut snapshot = String::new();
                reader.joined().read_to_string(&mut snapshot).unwrap();
                snapshots.push(snapshot);
            }
            Some(Entry::Abandoned { attempt, .. }) => snapshots.push(format!("abandoned {attempt}")),
            Some(_) => {}
            None => break,
        }
    }
    let second = format!("{}second", "x".repeat(512));
    assert_eq!(snapshots, ["first try", "abandoned 1", &second, "snapshot"]);
    assert!(reader.finish().unwrap().sums);
}

#[test]
fn a_joined_snapshot_that_nobody_reads_to_its_end_is_checked_all_the_same() {
    let archive = sample("EVT", "KV_A");
    let mut reader = Reader::new(archive.as_slice());
    let mut lines = Vec::new();
    while let Some(entry) = reader.next().unwrap() {
        lines.push(format!("{entry:?}").split([' ', '(']).next().unwrap().to_owned());
        if lines.last().unwrap() == "Part" {
            let mut byte = [0; 1];
            reader.joined().read_exact(&mut byte).unwrap();
        }
    }
    let want = "Index Backup Part Abandoned Backup Part Part Backup Snapshot Manifest Sums";
    assert_eq!(lines.join(" "), want);
}

#[test]
fn an_audit_reads_on_and_gathers_all_that_is_wrong() {
    let mut archive = sample("EVT", "KV_A");
    for content in [&b"first try"[..], b"snapshot", b"\"stats\""] {
        let at = archive.windows(content.len()).position(|bytes| bytes == content).unwrap();
        archive[at] ^= 1;
    }
    let mut reader = Reader::audit(archive.as_slice());
    while reader.next().unwrap().is_some() {}
    let faults: Vec<_> = reader.take_faults().iter().map(Error::to_string).collect();
    let joined = faults.join("\n");
    assert_eq!(faults.len(), 4, "{joined}");
    for want in
        ["manifest.json: ", "manifest.json: its bytes", "part-000001: its bytes", "stream.tar.s2: its bytes"]
    {
        assert!(joined.contains(want), "{want} in {joined}");
    }
    assert!(reader.finish().unwrap().sums);
}

#[test]
fn what_is_copied_raw_makes_the_same_archive() {
    let archive = sample("EVT", "KV_A");
    let mut reader = Reader::new(archive.as_slice());
    let mut writer = Writer::new(Vec::new(), START as u64);
    let mut manifest = Vec::new();
    let mut backup = Vec::new();
    while let Some(entry) = reader.next().unwrap() {
        match entry {
            Entry::Index(_) => writer.index_json(&reader.take_json()).unwrap(),
            Entry::Manifest(_) => manifest = reader.take_json(),
            Entry::Backup { stream, attempt: Some(n), json } => writer.attempt(&stream, n, &json).unwrap(),
            Entry::Backup { json, .. } => backup = json,
            Entry::Part { mut body, size, .. } => writer.copy_part(&mut body, size).unwrap(),
            Entry::Abandoned { reason, .. } => writer.abandon(&reason).unwrap(),
            Entry::Snapshot { stream, mut body, size, .. } => {
                writer.copy_whole(&stream, &backup, &mut body, size).unwrap()
            }
            Entry::Empty { .. } | Entry::Other { .. } | Entry::Sums { .. } => {}
        }
    }
    assert!(writer.finish_json(&manifest).unwrap() == archive);
}
