//! Archives of other programs: of `chatto backup`, and of many tar programs.

use super::*;

#[test]
fn an_archive_of_chatto_backup_is_read() {
    let (lines, ended) = read(Trickle(&Tar::chatto().end(), 0)).unwrap();
    assert_eq!(lines, ["manifest 0", "backup EVT None {}", "snapshot EVT 8 snapshot"]);
    assert_eq!((ended.layout, ended.sums, ended.entries), (Layout::Chatto, false, 6));
}

#[test]
fn doubled_slashes_and_dots_mean_nothing() {
    // `chatto backup` from v0.4.10 on, before it, and where the name of its output is not ASCII; then what others make
    // of a directory.
    let pax = "19 path=täglich//\n";
    let pax = Tar(Vec::new()).entry(EntryType::XHeader, b"PaxHeaders.0/t", pax.len() as u64, pax.as_bytes());
    for (tar, top) in [
        (Tar(Vec::new()).directory("backup//"), "backup"),
        (Tar(Vec::new()).directory("2026-11-25T20-51-21Z//"), "2026-11-25T20-51-21Z"),
        (pax.directory("taglich//"), "täglich"),
        (Tar(Vec::new()).directory(".//").directory("././/backup///"), "./backup"),
        (Tar(Vec::new()).directory(".").directory("backup/."), "backup//./"),
    ] {
        let tar = tar
            .file(&format!("{top}//manifest.json"), MANIFEST)
            .directory(&format!("{top}/./streams//"))
            .file(&format!("{top}/streams//EVT/./backup.json"), "{}")
            .file(&format!("./{top}/streams/EVT/stream.tar.s2"), "snapshot");
        let (lines, ended) = read(tar.end().as_slice()).unwrap();
        assert_eq!(lines, ["manifest 0", "backup EVT None {}", "snapshot EVT 8 snapshot"], "{top}");
        assert_eq!(ended.layout, Layout::Chatto);
    }
}

#[test]
fn a_snapshot_may_be_called_by_its_other_name() {
    let path = "streams/EVT/stream.arc.s2";
    let sums = format!("{}  {path}\n", Digest::of(b"snapshot"));
    let tar = |sums: &str| {
        let tar = Tar(Vec::new()).file("b/manifest.json", MANIFEST).file("b/streams/EVT/backup.json", "{}");
        tar.file(&format!("b/{path}"), "snapshot").file("b/SHA256SUMS", sums).end()
    };
    let (lines, ended) = read(tar(&sums).as_slice()).unwrap();
    assert_eq!(lines, ["manifest 0", "backup EVT None {}", "snapshot EVT 8 snapshot", "sums 1"]);
    assert!(ended.sums);
    let refusal = refusal(&tar(&sums.replace(&sums[..4], "0000")));
    assert!(refusal.ends_with("streams/EVT/stream.arc.s2: its bytes do not match SHA256SUMS"), "{refusal}");
}

#[test]
fn the_order_and_the_name_of_the_directory_do_not_matter() {
    let tar = Tar(Vec::new())
        .file("x/streams/EVT/stream.tar.s2", "snapshot")
        .file("x/notes.txt", "hello")
        .file("x/streams/EVT/backup.json", "{}")
        .file("x/streams/EVT/.later", "")
        .file("x/manifest.json", MANIFEST)
        .end();
    assert_eq!(
        read(tar.as_slice()).unwrap().0,
        [
            "snapshot EVT 8 snapshot",
            "other notes.txt 5 hello",
            "backup EVT None {}",
            "other streams/EVT/.later 0 ",
            "manifest 0",
        ]
    );
}

#[test]
fn old_and_odd_but_sound_headers_are_read() {
    // A directory of the seventh edition (a slash, no type), padding that is not zeros, zeros after the end.
    let mut tar = Tar(Vec::new()).entry(EntryType::new(0), b"b/", 0, b"").file("b/manifest.json", MANIFEST);
    let last = tar.0.len() - 1;
    tar.0[last] = b'!';
    let tar = tar.raw(&[0; 10_240]).end();
    assert_eq!(read(tar.as_slice()).unwrap().0, ["manifest 0"]);
}

#[test]
fn gnu_tar_in_all_its_formats() {
    let directory = tempfile::tempdir().unwrap();
    let long = "N".repeat(255);
    for format in ["v7", "oldgnu", "gnu", "ustar", "posix"] {
        for path in ["backup", "./backup", "-C . backup", "--no-recursion backup/manifest.json"] {
            // Only two of them have room for a long name.
            let name = if matches!(format, "gnu" | "posix") { &long } else { "EVT" };
            let script = format!(
                "rm -rf backup; mkdir -p backup/streams/{name}; cd backup; cat >manifest.json
                 echo '{{}}' >streams/{name}/backup.json; echo s >streams/{name}/stream.tar.s2; cd ..
                 tar cf - --format={format} {path}"
            );
            let tar = shell(directory.path(), &script, MANIFEST.as_bytes());
            let (mut lines, _) =
                read(tar.as_slice()).unwrap_or_else(|error| panic!("{format} {path}: {error}"));
            lines.sort();
            let mut want = vec!["manifest 0".to_owned()];
            if !path.contains("no-recursion") {
                want.insert(0, format!("backup {name} None {{}}\n"));
                want.push(format!("snapshot {name} 2 s\n"));
            }
            assert_eq!(lines, want, "{format} {path}");
        }
    }
}

#[test]
fn bsdtar_go_and_python() {
    // Made by the script beside them, with a stream name of 255 bytes; bsdtar's with a `./` before all.
    let name = "N".repeat(255);
    for (tool, tar) in [
        ("bsdtar", &include_bytes!("../../../tests/data/archives/bsdtar.tar")[..]),
        ("bsdtar --format gnutar", include_bytes!("../../../tests/data/archives/bsdtar-gnu.tar")),
        ("go", include_bytes!("../../../tests/data/archives/go.tar")),
        ("python, GNU", include_bytes!("../../../tests/data/archives/python-gnu.tar")),
        ("python, PAX with a global header", include_bytes!("../../../tests/data/archives/python-pax.tar")),
    ] {
        let (mut lines, ended) = read(tar).unwrap_or_else(|error| panic!("{tool}: {error}"));
        lines.sort();
        let want = [
            format!("backup {name} None {{}}\n"),
            "manifest 1".into(),
            format!("snapshot {name} 9 snapshot\n"),
        ];
        assert_eq!(lines, want, "{tool}");
        assert_eq!(ended.layout, Layout::Chatto);
    }
}
