//! Archives that are broken, or made to break a reader, each with the message that refuses it.

use super::*;

#[track_caller]
fn refused(cases: Vec<(Vec<u8>, &str)>) {
    for (tar, want) in cases {
        let refusal = refusal(&tar);
        assert!(refusal.contains(want), "{refusal}, not: {want}");
        assert_eq!(read(Trickle(&tar, 0)).unwrap_err().to_string(), refusal);
    }
}

#[test]
fn what_is_no_tar_is_told_by_its_beginning() {
    let block = |start: &[u8]| [start, &[7; 600]].concat();
    refused(vec![
        (vec![], "not an archive: it is empty"),
        (b"hello\n".to_vec(), "it looks like text"),
        (b"{\"version\":1}".to_vec(), "it looks like JSON, as a key export does"),
        (block(b"\x1f\x8b\x08"), "it is compressed with gzip"),
        (block(b"\x28\xb5\x2f\xfd"), "it is compressed with zstd"),
        (block(b"\xfd7zXZ\0"), "it is compressed with xz"),
        (block(b"age-encryption.org/v1\n"), "it is encrypted with age"),
        (block(b"-----BEGIN AGE ENCRYPTED FILE-----"), "it is encrypted with age"),
        (block(b"\xff\x06\x00\x00S2sTwO"), "it is a snapshot alone"),
        (block(b"\x7fELF"), "it is not a tar"),
        (vec![0; 511], "it has only 511 bytes"),
        (vec![0; 1024], "it is a tar without files"),
        (Tar(vec![]).directory("backup/").end(), "it is a tar without files"),
        (Tar(vec![]).file("backup/x", "").end(), "it is a tar, but not of a backup"),
        (
            Tar(vec![]).file("EVT/notes", "").file("EVT/backup.json", "{}").end(),
            "it is a tar of a directory of nats backup account or nats backup stream",
        ),
    ]);
}

#[test]
fn paths_that_lead_outside_are_refused() {
    let path = |path: &str| Tar::chatto().file(path, "").end();
    let pax = |records: &str| {
        let size = records.len() as u64;
        Tar::chatto().entry(EntryType::XHeader, b"p", size, records.as_bytes()).file("backup/x", "").end()
    };
    refused(vec![
        (path("/backup/x"), "/backup/x: its path is not a plain relative one"),
        (path("backup/../x"), "its path is not a plain relative one"),
        (path("../backup/x"), "its path is not a plain relative one"),
        (path("//backup/x"), "//backup/x: its path is not a plain relative one"),
        (path("./../backup/x"), "its path is not a plain relative one"),
        (path("backup//../x"), "its path is not a plain relative one"),
        (path("backup/x/.."), "its path is not a plain relative one"),
        (path("backup/x/."), "its path is not a plain relative one"),
        (path("."), "its path is not a plain relative one"),
        (path(""), "its path is not a plain relative one"),
        (Tar::chatto().directory("/").end(), "its path is not a plain relative one"),
        (Tar::chatto().directory("//").end(), "its path is not a plain relative one"),
        (path("x"), "x: a file outside of the one top-level directory"),
        (path("other/x"), "other/x: a second top-level directory"),
        (Tar::chatto().directory("other/").end(), "a second top-level directory"),
        (Tar::chatto().entry(EntryType::Regular, b"backup/\xff", 0, b"").end(), "its path is not UTF-8"),
        (pax("18 path=backup/\0x\n"), "its path holds NUL"),
        (pax("15 path=/abs/x\n"), "/abs/x: its path is not a plain relative one"),
        (path("backup/streams/a b/backup.json"), "stream name \"a b\" holds ' '"),
        (path("backup/streams/a.b/stream.tar.s2"), "stream name \"a.b\" holds '.'"),
        (Tar::chatto().directory("backup/streams/.x/").end(), "stream name \".x\" holds '.'"),
    ]);
}

#[test]
fn names_from_outside_do_not_reach_a_terminal_raw() {
    let refusal = refusal(&Tar::chatto().file("\u{1b}[2J\u{202e}/x", "").end());
    assert!(refusal.contains("\\u{1b}[2J\\u{202e}/x: a second top-level directory"), "{refusal}");
}

#[test]
fn only_files_and_directories_are_taken() {
    let kind = |kind: u8| Tar::chatto().entry(EntryType::new(kind), b"backup/x", 0, b"").end();
    refused(vec![
        (kind(b'1'), "backup/x: a hard link"),
        (kind(b'2'), "backup/x: a symbolic link"),
        (kind(b'3'), "backup/x: a device"),
        (kind(b'4'), "backup/x: a device"),
        (kind(b'6'), "backup/x: a named pipe"),
        (kind(b'7'), "an entry of type '7'"),
        (kind(b'K'), "a hard link"),
        (kind(b'M'), "an entry of type 'M'"),
        (kind(b'S'), "backup/x: a sparse file"),
        (kind(b'V'), "an entry of type 'V'"),
        (Tar::chatto().entry(EntryType::Directory, b"backup/x", 1, b"x").end(), "a directory with content"),
        (Tar::chatto().entry(EntryType::Regular, b"backup/x/", 1, b"x").end(), "a directory with content"),
    ]);
}

#[test]
fn extended_headers_are_bounded_and_may_not_contradict() {
    let x = |records: &str| {
        Tar::chatto().entry(EntryType::XHeader, b"p", records.len() as u64, records.as_bytes())
    };
    let l =
        |name: &str| Tar::chatto().entry(EntryType::GNULongName, b"l", name.len() as u64, name.as_bytes());
    let g = |records: &str| {
        Tar::chatto().entry(EntryType::XGlobalHeader, b"g", records.len() as u64, records.as_bytes())
    };
    let again = |tar: Tar, kind| tar.entry(kind, b"p", 0, b"").file("backup/x", "").end();
    refused(vec![
        (
            Tar::chatto().entry(EntryType::XHeader, b"p", MAX_PAX + 1, b"").end(),
            "an extended header of 65537 bytes",
        ),
        (Tar::chatto().entry(EntryType::XHeader, b"p", u64::MAX, b"").end(), "an extended header of 1844"),
        (Tar::chatto().entry(EntryType::GNULongName, b"p", MAX_PATH + 1, b"").end(), "of 8193 bytes"),
        (x(&"0".repeat(90)).end(), "a PAX record is malformed"),
        (x("22 GNU.sparse.major=1\n").end(), "a sparse file"),
        (x("15 path=bac/x/y\n15 path=bac/x/y\n").end(), "malformed"),
        (x("17 path=backup/x\n17 path=backup/x\n").end(), "gives its path or size twice"),
        (again(x("17 path=backup/y\n"), EntryType::XHeader), "two extended headers of a kind"),
        (again(l("backup/y"), EntryType::GNULongName), "two extended headers of a kind"),
        (
            x("17 path=backup/y\n").entry(EntryType::GNULongName, b"l", 2, b"z\0").file("b", "").end(),
            "disagree",
        ),
        (g("17 path=backup/y\n").end(), "a global PAX header gives a path or a size"),
        (g("9 size=4\n").end(), "a global PAX header gives a path or a size"),
        (g("8 size=4\n").end(), "a PAX record is malformed"),
        (x("17 path=backup/x\n").end(), "an extended header is followed by nothing"),
        (x("17 path=backup/x\n").0, "cut short after"),
    ]);
}

#[test]
fn headers_and_sizes_that_lie_are_refused() {
    let mut flipped = Tar::chatto().file("backup/x", "");
    let at = flipped.0.len() - 512;
    flipped.0[at] ^= 1;
    let minus = |mut tar: Tar| {
        let at = tar.0.len() - 512;
        let header = &mut tar.0[at..];
        header[124..136].copy_from_slice(b"-0000000001\0");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        tar
    };
    let large = |path: &[u8], size| Tar::ours().entry(EntryType::Regular, path, size, b"").end();
    refused(vec![
        (flipped.end(), "after backup/streams/EVT/stream.tar.s2: the next header's checksum is wrong"),
        (minus(Tar::chatto().file("backup/x", "")).end(), "backup/x: its size is no number"),
        (large(b"backup/x", MAX_ENTRY + 1), "68719476737 bytes, more than the 68719476736 that one entry"),
        (large(b"backup/x", u64::MAX), "18446744073709551615 bytes, more than"),
        (large(b"backup/x", MAX_ENTRY), "cut short inside backup/x, after 1024 of 68719476736 bytes"),
        (large(b"backup/manifest.json", MAX_LIST_JSON + 1), "16777217 bytes of JSON, more than 16777216"),
        (large(b"backup/streams/A/backup.json", MAX_BACKUP_JSON + 1), "bytes of JSON, more than 4194304"),
        (Tar::chatto().raw(&[0; 512]).0, "cut short after backup/streams/EVT/stream.tar.s2"),
        (Tar::chatto().raw(&[0; 512]).file("backup/x", "").end(), "other than zeros follows the end"),
        (Tar::chatto().raw(&[0; 1024]).raw(b"more").0, "other than zeros follows the end"),
        ([Tar::chatto().end(), Tar::chatto().end()].concat(), "other than zeros follows the end"),
    ]);
}

#[test]
fn nothing_comes_twice() {
    refused(vec![
        (Tar::chatto().file("backup/manifest.json", MANIFEST).end(), "backup/manifest.json: comes twice"),
        (Tar::chatto().file("backup/streams/EVT/backup.json", "{}").end(), "EVT/backup.json: comes twice"),
        (Tar::chatto().file("backup/streams/EVT/stream.tar.s2", "").end(), "EVT/stream.tar.s2: comes twice"),
        (
            Tar::chatto().file("./backup/streams/EVT/stream.tar.s2", "").end(),
            "EVT/stream.tar.s2: comes twice",
        ),
        (Tar::chatto().file("backup//streams/./EVT//stream.tar.s2", "").end(), "stream.tar.s2: comes twice"),
        (Tar(vec![]).directory("./").directory(".//").end(), "./: comes twice"),
        (Tar::chatto().directory("backup//").end(), "backup: comes twice"),
        (Tar::chatto().directory("backup").end(), "backup: comes twice"),
        (Tar::chatto().directory("backup/streams/EVT").end(), "backup/streams/EVT: comes twice"),
        (Tar::chatto().file("backup/x", "").file("backup/x", "").end(), "backup/x: comes twice"),
        (Tar::ours().file("backup/index.json", INDEX).end(), "backup/index.json: comes twice"),
        (
            Tar::chatto().file("backup/streams/EVT/stream.arc.s2", "").end(),
            "backup/streams/EVT/stream.arc.s2: comes beside stream.tar.s2, and a stream has one snapshot",
        ),
    ]);
}

#[test]
fn json_that_is_not_what_it_should_be_is_refused() {
    let index = |json: &str| Tar(vec![]).file("backup/index.json", json).end();
    let twice =
        INDEX.replace("[]", &format!("[{0},{0}]", r#"{"name":"A","type":"kv","messages":0,"bytes":0}"#));
    refused(vec![
        (
            index(&INDEX.replace("\"version\":1", "\"version\":2")),
            "index.json is of version 2: the archive was made by",
        ),
        (index(&INDEX.replace("\"version\":1", "\"version\":0")), "index.json: no version 0 exists"),
        (
            index(&INDEX.replace("\"gen", "\"created_at\":1,\"gen")),
            "index.json: duplicate field `created_at`",
        ),
        (index(&INDEX.replace("2026-08-01T", "yesterday")), "index.json: "),
        (index(&twice), "index.json: names stream A twice"),
        (
            index(&INDEX.replace("[]", &format!("[],\"new\":[{}0]", "0,".repeat(MAX_LIST_VALUES)))),
            "index.json: has more than",
        ),
        (index(&"[".repeat(100_000)), "index.json: "),
        (Tar(vec![]).file("b/manifest.json", "{}").end(), "manifest.json: missing field `version`"),
        (
            Tar(vec![]).file("b/manifest.json", "{\"version\":1,\"version\":1}").end(),
            "duplicate field `version`",
        ),
        (
            Tar::ours()
                .file("backup/streams/A/attempt-1/backup.json", "")
                .file("backup/streams/A/attempt-1/abandoned.json", "{}")
                .end(),
            "streams/A/attempt-1/abandoned.json: missing field `reason`",
        ),
    ]);
}

#[test]
fn parts_come_in_order_or_not_at_all() {
    let attempt = |n: u32| Tar::ours().file(&format!("backup/streams/A/attempt-{n}/backup.json"), "{}");
    let part = |tar: Tar, n: u32| tar.file(&format!("backup/streams/A/attempt-1/part-{n:06}"), "x");
    let abandon = |tar: Tar| tar.file("backup/streams/A/attempt-1/abandoned.json", "{\"reason\":\"r\"}");
    refused(vec![
        (part(attempt(1), 2).end(), "attempt-1/part-000002: comes where part 1 should"),
        (part(part(attempt(1), 1), 3).end(), "part-000003: comes where part 2 should"),
        (part(part(attempt(1), 1), 1).end(), "part-000001: comes where part 2 should"),
        (part(Tar::ours(), 1).end(), "part-000001: belongs to an attempt that is not open"),
        (part(abandon(part(attempt(1), 1)), 2).end(), "part-000002: belongs to an attempt that is not open"),
        (abandon(abandon(attempt(1))).end(), "abandoned.json: belongs to an attempt that is not open"),
        (part(part(attempt(1), 1).file("backup/streams/B/backup.json", "{}"), 2).end(), "that is not open"),
        (part(attempt(1), 1).file("backup/streams/A/attempt-1/part-2", "").end(), "not the name of a part"),
        (attempt(2).end(), "attempt-2/backup.json: comes where attempt-1 should"),
        (
            attempt(1).file("backup/streams/A/attempt-2/backup.json", "{}").end(),
            "neither finished nor abandoned",
        ),
        (attempt(1).file("backup/streams/A/stream.tar.s2", "").end(), "in one piece and in parts"),
        (
            Tar::ours()
                .file("backup/streams/A/backup.json", "")
                .file("backup/streams/A/attempt-1/backup.json", "")
                .end(),
            "in one piece and in parts",
        ),
    ]);
}

#[test]
fn the_end_record_must_agree_with_what_came() {
    let line = |path: &str, content: &str| format!("{}  {path}\n", Digest::of(content.as_bytes()));
    let index = line("index.json", INDEX);
    let manifest = line("manifest.json", MANIFEST);
    let ours = || Tar::ours().file("backup/manifest.json", MANIFEST);
    let with = |sums: &str| ours().file("backup/SHA256SUMS", sums).end();
    assert!(read(with(&format!("{index}{manifest}")).as_slice()).unwrap().1.sums);
    assert!(read(with(&format!("{manifest}{index}")).as_slice()).unwrap().1.sums);
    refused(vec![
        (ours().end(), "cut short after backup/manifest.json: SHA256SUMS, the end record, is missing"),
        (with(""), "index.json: SHA256SUMS does not list it"),
        (with(&index), "manifest.json: SHA256SUMS does not list it"),
        (with(&format!("{index}{manifest}{}", line("x", ""))), "x: SHA256SUMS lists it, but it did not come"),
        (
            with(&format!("{index}{}", line("manifest.json", ""))),
            "manifest.json: its bytes do not match SHA256SUMS",
        ),
        (with(&format!("{index}{index}{manifest}")), "index.json: SHA256SUMS lists it twice"),
        (with(&format!("{index}{manifest}x")), "SHA256SUMS: line 3 is not one that sha256sum(1) writes"),
        (with(&"0".repeat(100_000)), "SHA256SUMS: line 1 is not one"),
        (with(&line("SHA256SUMS", "")), "SHA256SUMS: line 1 lists SHA256SUMS itself"),
        (with(&line("../x", "")), "SHA256SUMS: line 1 is not one"),
        (
            Tar::chatto().file("backup/SHA256SUMS", &line("streams/EVT/stream.arc.s2", "snapshot")).end(),
            "streams/EVT/stream.arc.s2: comes beside stream.tar.s2",
        ),
        (with(&line("streams/a.b/backup.json", "")), "stream name \"a.b\" holds '.'"),
        (with(&line("streams/A/attempt-1/part-x999999999", "")), "SHA256SUMS lists its parts out of order"),
        (Tar::ours().file("backup/SHA256SUMS", &index).end(), "manifest.json: is missing"),
        (
            ours().file("backup/SHA256SUMS", &format!("{index}{manifest}")).file("backup/x", "").end(),
            "x: SHA256SUMS does not list it",
        ),
    ]);
}

/// The sums fit, and the manifest is of other snapshots: whether it comes before them or behind them.
#[test]
fn a_digest_in_the_manifest_is_that_of_the_snapshot() {
    let parts = Digest::of(format!("{}\n{}\n", Digest::of(b"one"), Digest::of(b"two")).as_bytes());
    let manifest = |whole: Digest, parts: Digest, more: &str| {
        let streams = format!(
            r#"[{{"name":"A","type":"stream","sha256":"{whole}"}},
                {{"name":"P","type":"stream","attempt":2,"parts_sha256":"{parts}"{more}}}]"#
        );
        MANIFEST.replace("[]", &streams)
    };
    let snapshots = |tar: Tar| {
        tar.file("b/streams/A/stream.tar.s2", "snapshot")
            .file("b/streams/P/attempt-1/backup.json", "{}")
            .file("b/streams/P/attempt-1/part-000001", "none")
            .file("b/streams/P/attempt-1/abandoned.json", "{\"reason\":\"r\"}")
            .file("b/streams/P/attempt-2/backup.json", "{}")
            .file("b/streams/P/attempt-2/part-000001", "one")
            .file("b/streams/P/attempt-2/part-000002", "two")
    };
    let both = |manifest: &str| {
        let before = snapshots(Tar(vec![]).file("b/manifest.json", manifest)).end();
        [before, snapshots(Tar(vec![])).file("b/manifest.json", manifest).end()]
    };
    let (whole, other) = (Digest::of(b"snapshot"), Digest::of(b"onetwo"));
    // Of the joined parts, as builds before the first release wrote it.
    let old = format!(",\"sha256\":\"{other}\"");
    for sound in [manifest(whole, parts, ""), manifest(whole, parts, &old)] {
        both(&sound).iter().for_each(|tar| drop(read(tar.as_slice()).unwrap()));
    }
    for (manifest, stream) in [(manifest(other, parts, ""), "A"), (manifest(whole, other, ""), "P")] {
        let want = format!("manifest.json: has another digest for stream {stream} than its snapshot");
        refused(both(&manifest).map(|tar| (tar, want.as_str())).into());
    }
}

#[test]
fn a_sum_may_come_before_its_file() {
    let sums = |content: &str| format!("{}  streams/A/stream.tar.s2\n", Digest::of(content.as_bytes()));
    let tar = |sums: &str| {
        let tar = Tar(vec![]).file("b/SHA256SUMS", sums).file("b/manifest.json", MANIFEST);
        tar.file("b/streams/A/stream.tar.s2", "right").end()
    };
    assert!(read(tar(&sums("right")).as_slice()).unwrap().1.sums);
    refused(vec![
        (tar(&sums("wrong")), "streams/A/stream.tar.s2: its bytes do not match SHA256SUMS"),
        (
            tar(&sums("right").replace("/A/", "/B/")),
            "streams/B/stream.tar.s2: SHA256SUMS lists it, but it did not",
        ),
    ]);
}

#[test]
fn a_foreign_archive_has_no_more_entries_than_chatto_takes() {
    let mut tar = Tar::chatto();
    for n in 6..MAX_FOREIGN_ENTRIES {
        tar = tar.directory(&format!("backup/{n}"));
    }
    let bytes = tar.0.len();
    assert_eq!(read([&tar.0[..], &[0; 1024]].concat().as_slice()).unwrap().1.entries, MAX_FOREIGN_ENTRIES);
    let tar = tar.directory("backup/more").end();
    assert!(tar.len() > bytes);
    let refusal = refusal(&tar);
    assert!(refusal.contains("backup/more: one entry too many: an archive has at most 100000"), "{refusal}");
}

#[test]
fn an_audit_gathers_no_more_faults_than_a_person_reads() {
    let sums = format!("{}  x\n", Digest::of(b"")).repeat(MAX_FAULTS + 2);
    let tar = Tar::chatto().file("backup/SHA256SUMS", &sums).end();
    let mut reader = Reader::audit(tar.as_slice());
    let error = loop {
        match reader.next() {
            Ok(entry) => assert!(entry.is_some(), "too many faults were no error"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.to_string(), "the archive is damaged: x: SHA256SUMS lists it twice");
    assert_eq!(reader.take_faults().len(), MAX_FAULTS);
}
