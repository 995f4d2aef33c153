//! A program takes at most 96 MiB of memory, whatever comes in, and in pieces of any size. An input that exceeds a limit is
//! refused, and the message names the limit.

use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write};
use std::net::TcpStream;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::support::captures;
use crate::support::faults;
use crate::support::impostor::{self, Connection};
use crate::support::measure::{Used, measured};
use crate::support::programs::{Finished, finish, program, program_for, refused, run, spawn};
use crate::support::server::{LATEST, Server};
use anyhow::Result;
use chatto_pipes::snapshot::{NatsArcWriter, Record, State};
use tar::{EntryType, Header};

/// The promise, in KiB.
const MEMORY: u64 = 96 << 10;

/// How a program ended, within its memory. What it said is without the measurement.
#[track_caller]
fn bounded(what: &str, mut finished: Finished) -> Finished {
    let (used, said) = Used::of(&finished.stderr).unwrap();
    assert!(used.memory < MEMORY, "{what}: {} KiB; {said}", used.memory);
    finished.stderr = said.to_owned();
    finished
}

/// Starts `command`, measured, and feeds it what `feed` writes; one that has seen enough reads no more.
fn fed(command: &Command, feed: impl FnOnce(&mut ChildStdin) -> io::Result<()> + Send) -> Finished {
    let mut child = spawn(measured(command).stdin(Stdio::piped()).stdout(Stdio::null()));
    let mut stdin = child.stdin.take().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || feed(&mut stdin));
        finish(child)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_in_pieces_of_any_size() -> Result<()> {
    // So much that all of it is held before the restore begins.
    let (_source, archive) = faults::source(LATEST, 7).await?;
    for piece in [1448, 512] {
        let destination = Server::start(LATEST);
        let load = fed(&program_for("chatto-load", &destination), |stdin| {
            for piece in archive.chunks(piece) {
                // One piece at a time: the next when this one has been read.
                while rustix::io::ioctl_fionread(&*stdin)? > 0 {
                    thread::yield_now();
                }
                stdin.write_all(piece)?;
            }
            Ok(())
        });
        bounded(&format!("pieces of {piece}"), load).expect_code(0);
    }
    Ok(())
}

/// Writes the header of an entry of `size` bytes.
fn header(to: &mut impl Write, path: &str, size: u64) -> io::Result<()> {
    let mut header = Header::new_ustar();
    header.set_path(path)?;
    header.set_entry_type(if path.ends_with('/') { EntryType::Directory } else { EntryType::Regular });
    header.set_size(size);
    header.set_cksum();
    to.write_all(header.as_bytes())
}

/// Writes `size` bytes of `byte`.
fn repeated(to: &mut impl Write, byte: u8, size: u64) -> io::Result<()> {
    io::copy(&mut io::repeat(byte).take(size), to).map(drop)
}

/// Writes a file whose content is known.
fn file(to: &mut impl Write, path: &str, content: &[u8]) -> io::Result<()> {
    header(to, path, content.len() as u64)?;
    to.write_all(content)?;
    repeated(to, 0, (content.len().next_multiple_of(512) - content.len()) as u64)
}

/// `index.json` of `streams` streams, with `name` to name each.
fn index(streams: usize, name: impl Fn(usize) -> String) -> String {
    let list: Vec<_> = (0..streams)
        .map(|n| format!(r#"{{"name":"{}","type":"stream","messages":0,"bytes":0}}"#, name(n)))
        .collect();
    format!(
        r#"{{"version":1,"created_at":"2026-11-22T08:00:00Z","generator":"x","include_keys":false,"streams":[{}]}}"#,
        list.join(",")
    )
}

/// Something that an archive may be made of, without end or nearly.
type Hostile = fn(&mut BufWriter<&mut ChildStdin>) -> io::Result<()>;

/// The largest list that is read, filled with `byte`.
fn list_of(to: &mut impl Write, path: &str, byte: u8) -> io::Result<()> {
    let json = index(0, |_| String::new());
    let (begin, end) = json.split_once("\"generator\":\"x").unwrap();
    let (begin, end) = match byte {
        b' ' => (begin.to_owned(), format!("\"generator\":\"x{end}")),
        _ => (format!("{begin}\"generator\":\""), end.to_owned()),
    };
    let size = 16 << 20;
    header(to, path, size)?;
    to.write_all(begin.as_bytes())?;
    repeated(to, byte, size - (begin.len() + end.len()) as u64)?;
    to.write_all(end.as_bytes())
}

fn long_name(n: usize) -> String {
    format!("{n:0>255}")
}

/// An archive's beginning: an index of no streams.
fn begin(to: &mut impl Write) -> io::Result<()> {
    file(to, "backup/index.json", index(0, |_| String::new()).as_bytes())
}

const HOSTILE: [(&str, Hostile); 13] = [
    ("cut short inside backup/index.json, after 0 of", |to| header(to, "backup/index.json", 16 << 20)),
    ("26214400 bytes of JSON, more than 16777216", |to| {
        header(to, "backup/index.json", 25 << 20)?;
        repeated(to, b' ', 25 << 20)
    }),
    ("cut short after backup/index.json", |to| list_of(to, "backup/index.json", b' ')),
    ("cut short after backup/manifest.json", |to| {
        list_of(to, "backup/index.json", b'x')?;
        list_of(to, "backup/manifest.json", b'x')
    }),
    ("a list of at most 32768", |to| {
        file(to, "backup/index.json", index(100_000, |n| n.to_string()).as_bytes())
    }),
    ("cut short after backup/manifest.json", |to| {
        file(to, "backup/index.json", index(32_768, long_name).as_bytes())?;
        file(to, "backup/manifest.json", index(32_768, long_name).as_bytes())
    }),
    ("is one stream too many: an archive has at most 32768", |to| {
        begin(to)?;
        (0..100_000).try_for_each(|n| header(to, &format!("backup/streams/{n}/"), 0))
    }),
    ("is one attempt too many: an archive has at most 32768", |to| {
        begin(to)?;
        (0..100_000).try_for_each(|n| header(to, &format!("backup/streams/{}/attempt-{}/", n / 5, n + 1), 0))
    }),
    ("is one too many of the files that do not belong here", |to| {
        begin(to)?;
        (0..200_000).try_for_each(|n| header(to, &format!("backup/{n}"), 0))
    }),
    ("the paths of files that do not belong here", |to| {
        begin(to)?;
        (0..100_000).try_for_each(|n| header(to, &format!("backup/{n:0>90}"), 0))
    }),
    ("1/backup.json: 5242880 bytes of JSON, more than 4194304", |to| {
        begin(to)?;
        header(to, "backup/streams/1/backup.json", 5 << 20)?;
        repeated(to, b' ', 5 << 20)
    }),
    ("SHA256SUMS: 1073741824 bytes of sums, more than 268435456", |to| {
        begin(to)?;
        header(to, "backup/SHA256SUMS", 1 << 30)?;
        repeated(to, b'x', 1 << 30)
    }),
    ("is one stream too many: an archive has at most 32768", |to| {
        begin(to)?;
        header(to, "backup/SHA256SUMS", 100 << 20)?;
        (0..900_000).try_for_each(|n| writeln!(to, "{:064x}  streams/{n}/backup.json", 0))
    }),
];

#[test]
fn an_archive_that_is_made_of_too_much() {
    for (said, hostile) in HOSTILE {
        let mut command = program("chatto-manifest");
        command.arg("list");
        let finished = fed(&command, |stdin| {
            let mut to = BufWriter::with_capacity(1 << 20, stdin);
            hostile(&mut to)?;
            to.flush()
        });
        refused(bounded(said, finished), 4, &[said]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_as_large_as_they_may_be_before_a_restore() -> Result<()> {
    let server = Server::start(LATEST);
    let load = fed(&program_for("chatto-load", &server), |stdin| {
        let mut to = BufWriter::with_capacity(1 << 20, stdin);
        file(&mut to, "backup/index.json", index(32_768, long_name).as_bytes())?;
        file(&mut to, "backup/manifest.json", index(32_768, long_name).as_bytes())?;
        to.flush()
    });
    refused(bounded("lists", load), 4, &["cut short after backup/manifest.json"]);
    Ok(())
}

#[test]
fn an_archive_of_as_many_streams_as_a_server_may_have() {
    const STREAMS: usize = 10_000;
    let (backup, snapshot) = captures::capture(LATEST, "EMPTY");
    let backup = String::from_utf8(backup).unwrap();
    let name = |n: usize| format!("OBJ_SPACE_{n:012}_ASSETS");
    let verify = fed(program("chatto-manifest").arg("verify"), |stdin| {
        let mut to = BufWriter::with_capacity(1 << 20, stdin);
        // As `chatto backup` writes it: the manifest first, and no sums.
        let bytes = format!("\"bytes\":{}", snapshot.len());
        let manifest = index(STREAMS, name).replace("\"bytes\":0", &bytes);
        file(&mut to, "backup/manifest.json", manifest.as_bytes())?;
        for n in 0..STREAMS {
            let directory = format!("backup/streams/{}", name(n));
            let backup = backup.replace("\"EMPTY\"", &format!("\"{}\"", name(n)));
            header(&mut to, &format!("{directory}/"), 0)?;
            file(&mut to, &format!("{directory}/backup.json"), backup.as_bytes())?;
            file(&mut to, &format!("{directory}/stream.tar.s2"), &snapshot)?;
        }
        to.write_all(&[0; 1024])?;
        to.flush()
    });
    bounded("10,000 streams", verify).expect_code(0);
}

/// Writes an archive of streams as `chatto backup` does: the manifest first, and no sums.
fn chatto_backup(to: impl Write, streams: &[(String, String, &[u8])]) -> io::Result<()> {
    let mut to = BufWriter::with_capacity(1 << 20, to);
    let mut manifest = index(streams.len(), |n| streams[n].0.clone());
    if let [(_, _, snapshot)] = streams {
        manifest = manifest.replace("\"bytes\":0", &format!("\"bytes\":{}", snapshot.len()));
    }
    file(&mut to, "backup/manifest.json", manifest.as_bytes())?;
    for (name, backup, snapshot) in streams {
        header(&mut to, &format!("backup/streams/{name}/"), 0)?;
        file(&mut to, &format!("backup/streams/{name}/backup.json"), backup.as_bytes())?;
        file(&mut to, &format!("backup/streams/{name}/stream.tar.s2"), snapshot)?;
    }
    to.write_all(&[0; 1024])?;
    to.flush()
}

/// As many subjects as --last-per-subject takes, and then twice as many messages.
#[test]
fn an_edit_of_a_million_subjects() -> Result<()> {
    const SUBJECTS: u64 = 1 << 20;
    const MESSAGES: u64 = 2 * SUBJECTS - 10;
    let state = State { messages: MESSAGES, first_seq: 1, last_seq: MESSAGES, ..State::default() };
    let mut snapshot = NatsArcWriter::begin(Vec::new(), state)?;
    for sequence in 1..=MESSAGES {
        let subject = format!("s.{}", sequence % SUBJECTS);
        let (subject, payload) = (subject.as_bytes(), b"0123456789");
        snapshot.message(&Record { sequence, time: 7, subject, headers: b"", payload })?;
    }
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("backup.tar");
    let state = format!(r#"{{"messages":{MESSAGES},"first_seq":1,"last_seq":{MESSAGES}}}"#);
    let backup = format!(r#"{{"config":{{"name":"S","storage":"file"}},"state":{state}}}"#);
    chatto_backup(File::create(&path)?, &[("S".to_owned(), backup, &snapshot.finish()?)])?;
    let edit = |format: &str| {
        let mut edit = program("chatto-manifest");
        edit.args(["edit", format, "--last-per-subject", "--drop-subject", "s.5"]).arg(&path);
        let output = dir.path().join(format);
        let mut child = spawn(measured(&edit).stdout(File::create(&output).unwrap()));
        drop(child.stdin.take());
        bounded(format, finish(child)).expect_code(0);
        let mut show = program("chatto-manifest");
        show.arg(&output);
        let shown = run(show).expect_code(0).stdout;
        let manifest: serde_json::Value = serde_json::from_slice(&shown).unwrap();
        assert_eq!(manifest["streams"][0]["messages"], SUBJECTS - 1, "{format}");
    };
    thread::scope(|scope| {
        scope.spawn(|| edit("--rsyncable"));
        scope.spawn(|| edit("--format=natsarc1"));
    });
    Ok(())
}

/// As many descriptions as are compared, all of which differ.
#[test]
fn two_archives_of_as_many_descriptions_as_are_compared() -> Result<()> {
    let (backup, snapshot) = captures::capture(LATEST, "EMPTY");
    let backup = String::from_utf8(backup)?;
    let subjects: Vec<String> = (0..60).map(|n| format!("\"subject.of.some.length.{n}\"")).collect();
    let dir = tempfile::tempdir()?;
    let mut diff = program("chatto-manifest");
    diff.arg("diff");
    for description in ["before", "after"] {
        let name = |n: usize| format!("OBJ_SPACE_{n:012}_ASSETS");
        let described = |n: usize| {
            let more = format!(
                "\"name\":\"{}\",\"description\":\"{description}\",\"subject_list\":[{}]",
                name(n),
                subjects.join(",")
            );
            backup.replacen("\"name\": \"EMPTY\"", &more, 1)
        };
        let streams = (24 << 20) / described(0).len();
        let all: Vec<_> = (0..streams).map(|n| (name(n), described(n), snapshot.as_slice())).collect();
        assert!(all[0].1.contains(description), "{}", all[0].1);
        let path = dir.path().join(description);
        chatto_backup(File::create(&path)?, &all)?;
        diff.arg(path);
    }
    let differences = bounded("diff", fed(&diff, |_| Ok(())));
    differences.expect_code(1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_export_that_is_longer_than_any() -> Result<()> {
    let server = Server::start(LATEST);
    let key = r#"{"key_ref":"user.a","user_id":"a","key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="},"#;
    type Export<'a> = &'a (dyn Fn(&mut BufWriter<&mut ChildStdin>) -> io::Result<()> + Sync);
    let cases: [(&str, Export); 3] = [
        ("longer than 32.0 MiB: not a key export", &|to| repeated(to, b' ', 1 << 30)),
        ("longer than 32.0 MiB: not a key export", &|to| {
            let mut zstd = zstd::Encoder::new(to, 1)?;
            repeated(&mut zstd, 0, 1 << 30)?;
            zstd.finish().map(drop)
        }),
        ("the key export holds more than 150000 keys", &|to| {
            to.write_all(br#"{"version":3,"keys":["#)?;
            to.write_all(key.repeat(200_000).trim_end_matches(',').as_bytes())?;
            to.write_all(b"]}")
        }),
    ];
    for (said, export) in cases {
        let mut command = program_for("chatto-keys", &server);
        command.arg("import");
        let finished = fed(&command, |stdin| {
            let mut to = BufWriter::with_capacity(1 << 20, stdin);
            export(&mut to)?;
            to.flush()
        });
        refused(bounded(said, finished), 4, &[said]);
    }
    Ok(())
}

const STREAM: &str = r#""config":{"name":"S","storage":"file","num_replicas":1},"state":{"messages":1,"bytes":1,"first_seq":1,"last_seq":1}"#;

/// Answers what a dump asks before it comes to what a test is about: there is one stream.
fn usual(to: &mut Connection, subject: &str, reply: &str) -> io::Result<()> {
    let answer = match subject {
        "$JS.API.STREAM.LIST" => format!(r#"{{"total":1,"streams":[{{{STREAM}}}]}}"#),
        "$JS.API.STREAM.NAMES" => r#"{"total":1,"streams":["S"]}"#.into(),
        "$JS.API.STREAM.SNAPSHOT.S" => format!("{{{STREAM}}}"),
        "$JS.API.INFO" => "{}".into(),
        // The ack of a chunk, or something that nobody waits for.
        _ => return Ok(()),
    };
    to.send(reply, "", answer.as_bytes())
}

/// Where the chunks of a snapshot go.
fn inbox(body: &str) -> String {
    let request: serde_json::Value = serde_json::from_str(body).unwrap();
    request["deliver_subject"].as_str().unwrap().to_owned()
}

/// A dump of a server that answers with `handler`.
fn dump_of(
    timeout: &str,
    info: fn(&mut TcpStream) -> io::Result<()>,
    handler: impl Fn(&mut Connection, &str, &str, &str) -> io::Result<()> + Send + Sync + 'static,
) -> Finished {
    let url = impostor::serve(info, Arc::new(handler)).unwrap();
    let mut dump = program("chatto-dump");
    dump.args(["-s", &url, "--timeout", timeout, "--retries", "0"]);
    fed(&dump, |_| Ok(()))
}

#[test]
fn a_server_that_sends_more_than_it_can_have_to_say() {
    const ENDLESS: u64 = 1 << 40;
    let dump = dump_of(
        "60",
        |to| {
            to.write_all(b"INFO {")?;
            repeated(to, b' ', ENDLESS)
        },
        |_, _, _, _| Ok(()),
    );
    refused(bounded("INFO", dump), 1, &["something that the server sends is larger than 16.0 MiB"]);

    let dump = dump_of("60", impostor::info, |to, subject, reply, _| match subject {
        "$JS.API.STREAM.LIST" => repeated(to.announce(reply, "", ENDLESS)?, b' ', ENDLESS),
        _ => usual(to, subject, reply),
    });
    refused(bounded("an answer", dump), 1, &["something that the server sends is larger than 16.0 MiB"]);

    let dump = dump_of("60", impostor::info, |to, subject, reply, body| {
        usual(to, subject, reply)?;
        match subject {
            "$JS.API.STREAM.SNAPSHOT.S" => {
                let to = to.announce(&inbox(body), "$JS.SNAPSHOT.ACK.S.x.9.1", ENDLESS)?;
                repeated(to, b'x', ENDLESS)
            }
            _ => Ok(()),
        }
    });
    let said = ["stream S: something that the server sends is larger than 16.0 MiB"];
    refused(bounded("a chunk without end", dump), 3, &said);

    let dump = dump_of("60", impostor::info, |to, subject, reply, body| {
        usual(to, subject, reply)?;
        match subject {
            "$JS.API.STREAM.SNAPSHOT.S" => {
                to.send(&inbox(body), "$JS.SNAPSHOT.ACK.S.x.9.1", &vec![b'x'; 2 << 20])
            }
            _ => Ok(()),
        }
    });
    refused(bounded("a chunk", dump), 3, &["stream S: a chunk of the snapshot is larger than 1.0 MiB"]);

    let dump = dump_of("60", impostor::info, |to, subject, reply, _| match subject {
        "$JS.API.STREAM.SNAPSHOT.S" => {
            let description = "x".repeat(5 << 20);
            let large = STREAM.replace("\"file\"", &format!("\"file\",\"description\":\"{description}\""));
            to.send(reply, "", format!("{{{large}}}").as_bytes())
        }
        _ => usual(to, subject, reply),
    });
    let said = ["stream S: the description of stream S is larger than 4.0 MiB"];
    refused(bounded("a description", dump), 3, &said);
}

#[test]
fn a_list_that_has_no_end() {
    for list in ["LIST", "NAMES"] {
        let dump = dump_of("60", impostor::info, move |to, subject, reply, body| {
            if subject != format!("$JS.API.STREAM.{list}") {
                return usual(to, subject, reply);
            }
            // The same page again and again, of a list that grows meanwhile.
            let request: serde_json::Value = serde_json::from_str(body).unwrap();
            let total = request["offset"].as_u64().unwrap() + 10_000;
            let item = if list == "LIST" { format!("{{{STREAM}}}") } else { "\"S\"".into() };
            let page = vec![item; 5_000].join(",");
            to.send(reply, "", format!(r#"{{"total":{total},"streams":[{page}]}}"#).as_bytes())
        });
        let said = format!("the answer to STREAM.{list} lists more than 200000 items");
        refused(bounded(list, dump), 1, &[&said]);
    }
}

#[test]
fn a_snapshot_that_comes_byte_by_byte_is_given_up() {
    let dump = dump_of("3", impostor::info, |to, subject, reply, body| {
        usual(to, subject, reply)?;
        if subject == "$JS.API.STREAM.SNAPSHOT.S" {
            let inbox = inbox(body);
            for index in 1.. {
                thread::sleep(Duration::from_millis(100));
                to.send(&inbox, &format!("$JS.SNAPSHOT.ACK.S.x.1.{index}"), b"\xff")?;
            }
        }
        Ok(())
    });
    refused(
        bounded("drops", dump),
        3,
        &["stream S: the server sent only ", " bytes of the snapshot in 15 s"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limited_address_space() -> Result<()> {
    let source = Server::start(LATEST);
    let client = source.client().await?;
    faults::large_stream(&client, source.version(), "LARGE", 40, 1).await?;
    for n in 0..12 {
        faults::large_stream(&client, source.version(), &format!("S{n}"), 2, n).await?;
    }
    let limited = |limit: u64| {
        let dump = program_for("chatto-dump", &source);
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -v {limit}; exec \"$0\"")]).arg(dump.get_program());
        shell.envs(dump.get_envs().filter_map(|(name, value)| Some((name, value?))));
        run(shell)
    };
    for _ in 0..3 {
        limited(300_000).expect_code(0);
    }
    refused(limited(150_000), 1, &["the address space is limited to ", "hint: raise the limit"]);
    Ok(())
}
