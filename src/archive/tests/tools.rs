//! The tools of every system read what the writer writes, as chatto-archive(5) says they do.

use super::*;

#[test]
fn tar_lists_an_archive_in_the_order_of_the_manual() {
    let directory = tempfile::tempdir().unwrap();
    let listing = shell(directory.path(), "tar tvf - --numeric-owner --utc", &sample("EVT", "KV_A"));
    let listing = String::from_utf8(listing).unwrap();
    let lines: Vec<Vec<&str>> = listing.lines().map(|line| line.split_whitespace().collect()).collect();
    let paths: Vec<&str> = lines.iter().map(|line| line[5]).collect();
    assert_eq!(
        paths,
        [
            "backup/",
            "backup/index.json",
            "backup/streams/",
            "backup/streams/EVT/",
            "backup/streams/EVT/attempt-1/",
            "backup/streams/EVT/attempt-1/backup.json",
            "backup/streams/EVT/attempt-1/part-000001",
            "backup/streams/EVT/attempt-1/abandoned.json",
            "backup/streams/EVT/attempt-2/",
            "backup/streams/EVT/attempt-2/backup.json",
            "backup/streams/EVT/attempt-2/part-000001",
            "backup/streams/EVT/attempt-2/part-000002",
            "backup/streams/KV_A/",
            "backup/streams/KV_A/backup.json",
            "backup/streams/KV_A/stream.tar.s2",
            "backup/manifest.json",
            "backup/SHA256SUMS",
        ]
    );
    for line in lines {
        let mode = if line[5].ends_with('/') { "drwx------" } else { "-rw-------" };
        assert_eq!((line[0], line[1], line[3], line[4]), (mode, "0/0", "2023-11-14", "22:13"), "{line:?}");
    }
}

#[test]
fn sha256sum_and_jq_read_what_tar_extracts() {
    let directory = tempfile::tempdir().unwrap();
    let script = "tar xf -; cd backup; sha256sum --quiet --strict -c SHA256SUMS
                  jq -r '.streams[].name' manifest.json; cat streams/EVT/attempt-2/part-*";
    let output = shell(directory.path(), script, &sample("EVT", "KV_A"));
    assert_eq!(String::from_utf8(output).unwrap(), format!("EVT\nKV_A\n{}second", "x".repeat(512)));
}

#[test]
fn sums_cover_every_file_but_their_own() {
    let directory = tempfile::tempdir().unwrap();
    let script = "tar xf -; cd backup; find . -type f ! -name SHA256SUMS -printf '%P\n' | sort >../found
                  cut -c67- SHA256SUMS | sort | diff ../found - && wc -l <../found";
    assert_eq!(shell(directory.path(), script, &sample("EVT", "KV_A")), b"10\n");
}

#[test]
fn names_of_any_length_go_through_tar_and_back() {
    // Around the limits of ustar's name and prefix fields, and the longest; in one byte and in several.
    for length in [83, 84, 85, 98, 99, 100, 130, 131, 139, 140, 141, 142, 254, 255] {
        let wide = format!("{}{}", "é".repeat(length / 2), "W".repeat(length % 2));
        for (parts, whole) in [("P".repeat(length), "W".repeat(length)), (wide, "KV_A".into())] {
            let mut writer = Writer::new(Vec::new(), START as u64);
            writer.index(&index(&[&parts, &whole])).unwrap();
            writer.attempt(&name(&parts), 1, b"{}").unwrap();
            writer.part(&[Bytes::from("one")]).unwrap();
            writer.part(&[Bytes::from("two")]).unwrap();
            writer.whole(&name(&whole), b"{}", &mut &b"snapshot"[..], 8).unwrap();
            let archive = writer.finish(&manifest(&[&parts, &whole])).unwrap();
            let (mut want, _) = read(archive.as_slice()).unwrap();
            want.sort();
            for format in ["gnu", "posix"] {
                let directory = tempfile::tempdir().unwrap();
                // Sorted, because a directory has no order, but the parts of a snapshot have one.
                let script = format!(
                    "tar xf -; (cd backup; sha256sum --quiet --strict -c SHA256SUMS)
                     tar cf - --format={format} --sort=name backup"
                );
                let again = shell(directory.path(), &script, &archive);
                let (mut lines, ended) = read(again.as_slice()).unwrap();
                lines.sort();
                assert_eq!(lines, want, "{format} {length}");
                assert_eq!((ended.layout, ended.sums), (Layout::Chatto, true));
            }
        }
    }
}

#[test]
fn a_snapshot_of_8_gib_is_announced_as_such() {
    let size: u64 = (8 << 30) + 5;
    struct Nothing;
    impl Read for Nothing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("enough"))
        }
    }
    let mut written = Vec::new();
    let mut writer = Writer::new(&mut written, START as u64);
    writer.index(&index(&["EVT"])).unwrap();
    writer.whole(&name("EVT"), b"{}", &mut Nothing, size).unwrap_err();
    let mut reader = Reader::new(written.as_slice());
    let mut announced = None;
    while announced.is_none() {
        if let Some(Entry::Snapshot { size, .. }) = reader.next().unwrap() {
            announced = Some(size);
        }
    }
    assert_eq!(announced, Some(size));
    let directory = tempfile::tempdir().unwrap();
    let listing = shell(directory.path(), "tar tvf - 2>/dev/null || true", &written);
    assert!(String::from_utf8(listing).unwrap().contains(&format!(" {size} ")));
}

#[test]
fn the_examples_of_the_manual_are_true() {
    // A long line of an example goes on in the next; `\e` is how mdoc writes the backslash.
    let page = include_str!("../../../man/chatto-archive.5").replace("\\e\n", "");
    let commands: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
    assert_eq!(commands.len(), 9);
    let mut writer = Writer::new(Vec::new(), START as u64);
    writer.index(&index(&["EVT"])).unwrap();
    writer.attempt(&name("EVT"), 1, b"{}").unwrap();
    writer.part(&[Bytes::from("one")]).unwrap();
    writer.part(&[Bytes::from("two")]).unwrap();
    let mut manifest = manifest(&["EVT"]);
    manifest.streams[0].attempt = Some(1);
    manifest.streams[0].parts_sha256 = writer.parts_digest();
    assert!(manifest.streams[0].is_counted());
    let archive = writer.finish(&manifest).unwrap();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("backup.tar"), archive).unwrap();
    let output = shell(directory.path(), &commands.join("\n"), b"");
    assert_eq!(String::from_utf8(output).unwrap(), "EVT\n{\n  \"name\": \"EVT\",\n  \"messages\": 0\n}\n");
    let again = std::fs::read(directory.path().join("again.tar")).unwrap();
    assert!(read(again.as_slice()).unwrap().1.sums);
    assert_eq!(std::fs::read(directory.path().join("EVT.tar.s2")).unwrap(), b"onetwo");
}
