//! What cannot be done is refused: with an exit code, a message that a person understands, and a hint if there is one. The
//! destination does not change.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use crate::support::archive::{Entry, dump, entries, load, pack};
use crate::support::port::Port;
use crate::support::programs::{Finished, path, program, program_for, run, run_with, spawn};
use crate::support::server::{LATEST, Server, binary};
use crate::support::{api, equality, fixtures};
use anyhow::{Context, Result};
use chatto_pipes::jetstream::private_server::{Authorization, Options};
use serde_json::{Value as Json, json};

/// It ended with `code` and said each of `words`; the essence, not the sentence.
#[track_caller]
fn refused(finished: &Finished, code: i32, words: &[&str]) {
    assert_eq!(finished.code, Some(code), "{}", finished.stderr);
    for words in words {
        assert!(finished.stderr.contains(words), "no \"{words}\" in:\n{}", finished.stderr);
    }
    assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
    let program = finished.stderr.split(':').next().unwrap_or_default();
    assert!(matches!(program, "chatto-dump" | "chatto-load"), "who speaks?\n{}", finished.stderr);
}

/// Everything that a server says of its streams and consumers.
async fn state(server: &Server) -> Result<Vec<Json>> {
    let client = server.client().await?;
    let mut all = Vec::new();
    for name in api::stream_names(&client).await? {
        let mut info = api::stream_info(&client, &name).await?;
        info["ts"].take();
        all.push(info);
        for mut consumer in api::list(&client, &format!("CONSUMER.LIST.{name}"), "consumers").await? {
            consumer["ts"].take();
            consumer["pause_remaining"].take();
            all.push(consumer);
        }
    }
    all.sort_by_key(|info| info["config"]["name"].to_string());
    Ok(all)
}

/// A server that holds a small Chatto, and a dump of it.
async fn source() -> Result<(Server, Vec<u8>)> {
    let server = Server::start(LATEST);
    fixtures::v0_4(&server.client().await?, server.version(), 6, 100).await?;
    let backup = dump(&server, &[]);
    Ok((server, backup))
}

/// Both programs with these arguments and nothing else to find a server by. The loader gets a sound
/// archive.
fn both(arguments: &[&str], backup: &[u8]) -> Result<[Finished; 2]> {
    let directory = tempfile::tempdir()?;
    Ok(["chatto-dump", "chatto-load"].map(|name| {
        let mut command = program(name);
        command.current_dir(directory.path()).args(arguments);
        run_with(command, backup)
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there() -> Result<()> {
    let backup = source().await?.1;
    let port = Port::keep();
    let url = format!("nats://127.0.0.1:{}", port.number());
    for finished in both(&["-s", &url], &backup)? {
        refused(&finished, 7, &[&format!("cannot reach {url}"), "refused", "hint: is the server running"]);
        assert_eq!(finished.stdout, b"");
    }
    for finished in both(&["-s", "nats://no.such.host.invalid:4222"], &backup)? {
        refused(&finished, 7, &["cannot reach nats://no.such.host.invalid:4222", "hint: "]);
    }
    for finished in both(&[], &backup)? {
        refused(
            &finished,
            2,
            &["no NATS server is configured", "hint: ", "-s URL", "CHATTO_NATS_CLIENT_URL"],
        );
    }
    Ok(())
}

/// Something listens that is no NATS server: it must not take forever to find out.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_another_kind() -> Result<()> {
    let backup = source().await?.1;
    let mute = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("nats://{}", mute.local_addr()?);
    for finished in both(&["-s", &url, "--timeout", "0.5"], &backup)? {
        refused(&finished, 7, &[&format!("cannot reach {url}"), "hint: "]);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_and_a_wrong_password() -> Result<()> {
    const SECRET: &str = "wrong-but-secret-all-the-same";
    let (server, backup) = source().await?;
    let before = state(&server).await?;
    let directory = tempfile::tempdir()?;
    let secret = directory.path().join("secret");
    fs::write(&secret, format!("{SECRET}\n"))?;
    let secret = secret.to_str().context("a path")?;
    let url = server.url();
    let in_url = url.replace("nats://", &format!("nats://somebody:{SECRET}@"));
    for arguments in [
        &["-v", "-s", &url, "--token-file", secret][..],
        &["-v", "-s", &url, "--user", "somebody", "--password-file", secret],
        &["-v", "-s", &in_url],
        &["-v", "-s", &url],
    ] {
        for finished in both(arguments, &backup)? {
            refused(&finished, 7, &[&format!("{url} refuses us"), "hint: ", "--token-file"]);
            assert!(!finished.stderr.contains(SECRET), "{}", finished.stderr);
        }
    }
    assert_eq!(state(&server).await?, before);
    Ok(())
}

/// Nor do secrets that are right get into what is said, however much that is.
#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_never_said() -> Result<()> {
    let (server, backup) = source().await?;
    let destination = Server::start(LATEST);
    let mut command = program_for("chatto-dump", &server);
    command.arg("-v");
    let dumped = run(command).expect_code(0);
    let loaded = load(&destination, &["-v"], &backup).expect_code(0);
    for (said, token) in [(dumped.stderr, server.token()), (loaded.stderr, destination.token())] {
        assert!(!token.is_empty() && !said.is_empty() && !said.contains(token), "{said}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_without_jetstream() -> Result<()> {
    let backup = source().await?.1;
    let extra = "accounts { WITH { jetstream: enabled, users: [{ user: with, password: pw }] },
                            WITHOUT { users: [{ user: without, password: pw }] } }";
    let options = Options { access: Authorization::Open, extra: extra.into(), ..Options::default() };
    let server = Server::start_with(LATEST, options);
    let url = server.url().replace("nats://", "nats://without:pw@");
    for finished in both(&["-s", &url], &backup)? {
        refused(&finished, 7, &["has no JetStream", "hint: ", "JetStream"]);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::zombie_processes)] // a test that fails before its end may leave one
async fn a_server_without_jetstream() -> Result<()> {
    let backup = source().await?.1;
    for release in ["2.11.11", LATEST] {
        let mut command = Command::new(binary(release));
        let mut server = spawn(command.args(["-a", "127.0.0.1", "-p", "-1"]).stdin(Stdio::null()));
        // Held to the end: a server whose log nobody reads dies of it.
        let mut log = BufReader::new(server.stderr.take().unwrap()).lines().map_while(Result::ok);
        let address = log.find_map(|line| line.split("client connections on ").nth(1).map(str::to_owned));
        let finished = address.map(|address| both(&["-s", &format!("nats://{address}")], &backup));
        let _ = server.kill();
        let _ = server.wait();
        for finished in finished.context("it does not listen")?? {
            refused(&finished, 7, &["has no JetStream", "hint: start nats-server with JetStream (-js)"]);
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_is_no_archive() -> Result<()> {
    let destination = Server::start(LATEST);
    let text = "Dear diary,\ntoday I backed up nothing.\n".repeat(100);
    let tar_of_something =
        pack(&[Entry::new("etc/", ""), Entry::new("etc/passwd", "root:x:0:0::/:/bin/sh")])?;
    for (input, words) in [
        (&b""[..], "empty"),
        (text.as_bytes(), "not an archive"),
        (b"x", "not an archive"),
        (&[0; 4096], "not an archive"),
        (&tar_of_something, "not an archive"),
        (b"%PDF-1.7 and so on, for longer than one block of a tar would be", "not an archive"),
    ] {
        refused(&load(&destination, &[], input), 4, &[words]);
    }
    let missing = load(&destination, &["no-such-file.tar"], b"");
    refused(&missing, 2, &["no-such-file.tar", "No such file"]);
    assert_eq!(state(&destination).await?, Vec::<Json>::new());
    Ok(())
}

/// Where an archive ends too early, what came whole before that stands; the rest is not there at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_archive() -> Result<()> {
    let (source, backup) = source().await?;
    let source = source.client().await?;
    let end_of = |path: &str| -> Result<usize> {
        for entry in tar::Archive::new(backup.as_slice()).entries()? {
            let entry = entry?;
            if *entry.path_bytes() == *path.as_bytes() {
                return Ok(usize::try_from(entry.raw_file_position() + entry.size())?);
            }
        }
        anyhow::bail!("no {path}")
    };
    let index = end_of("backup/index.json")?;
    let described = end_of("backup/streams/EVT/backup.json")?;
    let first = end_of("backup/streams/EVT/stream.tar.s2")?;
    let manifest = end_of("backup/manifest.json")?;
    let sums = end_of("backup/SHA256SUMS")?;
    let last_block = sums.next_multiple_of(512) + 512;
    assert_eq!(last_block + 512, backup.len());

    for (length, streams) in [
        (100, 0),
        (512, 0),
        (index - 1, 0),
        (index.next_multiple_of(512), 0),
        (described, 0),
        (first - 1000, 0),
        (first - 1, 0),
        (first.next_multiple_of(512) + 100, 1),
        (manifest - 1, 6),
        (manifest.next_multiple_of(512), 6),
        (sums - 1, 6),
        (sums.next_multiple_of(512), 6),
        (last_block, 6),
    ] {
        let destination = Server::start(LATEST);
        let finished = load(&destination, &[], &backup[..length]);
        refused(&finished, 4, &[if length < 512 { "it has only 100 bytes" } else { "cut short" }]);
        let client = destination.client().await?;
        let names = api::stream_names(&client).await?;
        // A stream may wait for its end to be seen; it must not be half there.
        assert!(names.len() <= streams, "cut after {length}: {names:?}");
        assert_eq!(names.is_empty(), streams == 0, "cut after {length}: {names:?}");
        let there = |name: &str| names.iter().any(|there| there == name);
        let found = equality::differences(&source, &client, there).await?;
        assert_eq!(found, Vec::<String>::new(), "cut after {length}");
        for name in &names {
            assert!(finished.stderr.contains(name.as_str()), "{name} stands, unsaid:\n{}", finished.stderr);
        }
        if names.is_empty() {
            assert!(finished.stderr.contains("nothing was restored"), "{}", finished.stderr);
        }
    }
    Ok(())
}

/// The same for an archive on its way through gzip.
#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_envelope() -> Result<()> {
    let backup = source().await?.1;
    let destination = Server::start(LATEST);
    let gzipped = run_with(Command::new("gzip"), &backup).expect_code(0).stdout;
    refused(&load(&destination, &[], &gzipped[..2000]), 4, &["gzip"]);
    assert_eq!(state(&destination).await?, Vec::<Json>::new());
    refused(&load(&destination, &[], &gzipped[..gzipped.len() - 4]), 4, &["gzip"]);
    Ok(())
}

/// One flipped bit inside a snapshot: that stream is not restored, whatever else is.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_snapshot() -> Result<()> {
    let (_source, backup) = source().await?;
    let destination = Server::start(LATEST);
    let mut entries = entries(&backup)?;
    let evt = entries.iter_mut().find(|e| e.path.ends_with("EVT/stream.tar.s2")).context("EVT")?;
    let middle = evt.data.len() / 2;
    evt.data[middle] ^= 1;
    let finished = load(&destination, &[], &pack(&entries)?);
    refused(&finished, 4, &["EVT"]);
    assert!(!api::stream_names(&destination.client().await?).await?.contains(&"EVT".into()));
    Ok(())
}

#[test]
fn a_misspelt_option() {
    let wrong = run({
        let mut load = program("chatto-load");
        load.args(["--conflict", "ask"]);
        load
    });
    refused(&wrong, 2, &["chatto-load: error: ", "'ask'", "error, skip, overwrite"]);
    for (line, words) in [
        ("chatto-load --replicas 7", "7 is not in 1..=5"),
        ("chatto-dump --buffer 1K", "less than 8.0 MiB"),
        ("chatto-dump --buffer lots", "not a size"),
        ("chatto-dump -j 0", "0 is not in 1..=256"),
        ("chatto-dump --timeout never", "not a number of seconds"),
        ("chatto-dump -q -v", "cannot be used with"),
        ("chatto-dump backup.tar", "unexpected argument 'backup.tar'"),
        ("chatto-dump --spool-dir /no/such/directory", "/no/such/directory: no such directory"),
        ("chatto-dump --password-file x", "--user <NAME>"),
        ("chatto-dump --token-file /no/such/file", "cannot read /no/such/file: No such file"),
    ] {
        let mut words_of_line = line.split(' ');
        let mut command = program(words_of_line.next().unwrap());
        command.args(words_of_line);
        refused(&run(command), 2, &[words]);
    }
}

/// Whatever a file is for, one that is not there is a mistake in the command line.
#[test]
fn a_file_that_is_not_there() {
    for line in [
        "chatto-load -s nats://127.0.0.1:1 /no/such/file",
        "chatto-dump -s nats://127.0.0.1:1 --creds /no/such/file",
        "chatto-dump -s nats://127.0.0.1:1 --tls-ca /no/such/file",
        "chatto-dump -c /no/such/file",
        "chatto-keys import -s nats://127.0.0.1:1 /no/such/file",
        "chatto-keys export -s nats://127.0.0.1:1 -R /no/such/file",
        "chatto-keys open /no/such/file",
        "chatto-keys seal --passphrase-file /no/such/file Cargo.toml",
        "chatto-manifest verify /no/such/file",
        "chatto-manifest diff /no/such/file Cargo.toml",
    ] {
        let mut words = line.split(' ');
        let mut command = program(words.next().unwrap());
        command.args(words).current_dir(env!("CARGO_MANIFEST_DIR"));
        let finished = run(command);
        assert_eq!(finished.code, Some(2), "{line}: {}", finished.stderr);
        assert!(finished.stderr.contains("/no/such/file: No such file"), "{line}: {}", finished.stderr);
    }
}

#[test]
fn slips_of_the_keyboard() {
    for (line, words) in [
        ("chatto-keys", "\nCommands:\n"),
        ("chatto-keys exprot", "a similar subcommand exists: 'export'"),
        ("chatto-manifest verfy", "a similar subcommand exists: 'verify'"),
        ("chatto-manifest lst backup.tar", "a similar subcommand exists: 'list'"),
        ("chatto-dump -o backup.tar", "chatto-dump: hint: stdout is the output: chatto-dump > FILE"),
        ("chatto-keys export --output keys", "hint: stdout is the output"),
    ] {
        let mut words_of_line = line.split(' ');
        let mut command = program(words_of_line.next().unwrap());
        command.args(words_of_line);
        let finished = run(command);
        assert_eq!(finished.code, Some(2), "{line}: {}", finished.stderr);
        assert!(finished.stderr.contains(words), "{line}: {}", finished.stderr);
    }
    let bare = run(program("chatto-keys"));
    assert!(!bare.stderr.contains("error"), "{}", bare.stderr);
}

/// A limit of the system ends a program with a message, wherever it strikes.
#[test]
fn too_few_files_and_too_little_memory() {
    let dump = path("chatto-dump");
    for limit in ["-n 4", "-n 7", "-n 8", "-n 9", "-n 12", "-n 20"] {
        let mut sh = Command::new("sh");
        sh.arg("-c").arg(format!("ulimit {limit}; exec \"$0\" -s nats://127.0.0.1:1")).arg(&dump);
        let finished = run(sh);
        refused(
            &finished,
            1,
            &["chatto-dump: error: cannot have 24 more files open", "hint: raise the limit"],
        );
    }
}

/// A terminal is refused before a connection is tried: there is no server here at all.
#[test]
fn binary_data_and_terminals() {
    let on_a_terminal = |shell_command: String| {
        let mut script = Command::new("script");
        script.args(["-qec", &shell_command, "/dev/null"]).env("SHELL", "/bin/sh").stdin(Stdio::null());
        run(script)
    };
    let dump = path("chatto-dump");
    let finished = on_a_terminal(format!("{} -s nats://127.0.0.1:1", dump.display()));
    let said = String::from_utf8_lossy(&finished.stdout).into_owned();
    assert_eq!(finished.code, Some(2), "{said}");
    assert!(
        said.contains("stdout is a terminal") && said.contains("hint: ") && said.contains("> backup.tar"),
        "{said}"
    );

    let load = path("chatto-load");
    for file in ["", "-"] {
        let finished = on_a_terminal(format!("{} -s nats://127.0.0.1:1 {file}", load.display()));
        let said = String::from_utf8_lossy(&finished.stdout).into_owned();
        assert_eq!(finished.code, Some(2), "{said}");
        assert!(said.contains("stdin is a terminal") && said.contains("hint: "), "{said}");
    }
}

#[test]
fn a_configuration_that_cannot_be_read() -> Result<()> {
    const SECRET: &str = "a-token-that-stays-untold";
    let directory = tempfile::tempdir()?;
    for name in ["chatto-dump", "chatto-load"] {
        let with_file = |text: Option<&str>| -> Result<Finished> {
            if let Some(text) = text {
                fs::write(directory.path().join("chatto.toml"), text)?;
            }
            let mut command = program(name);
            command.current_dir(directory.path()).args(["-v", "-c", "chatto.toml"]);
            Ok(run(command))
        };
        let _ = fs::remove_file(directory.path().join("chatto.toml"));
        refused(&with_file(None)?, 2, &["cannot read chatto.toml", "No such file"]);

        let broken =
            format!("[nats.client]\nurl = \"nats://127.0.0.1:1\"\ntoken = \"{SECRET}\nauth_method = 7\n");
        let broken = with_file(Some(&broken))?;
        refused(&broken, 2, &["chatto.toml: line 3"]);
        assert!(!broken.stderr.contains(SECRET), "{}", broken.stderr);

        let wrong_type = with_file(Some("[nats.client]\nurl = 4222\n"))?;
        refused(&wrong_type, 2, &["chatto.toml: line 2", "expected a string"]);

        let method =
            with_file(Some("[nats.client]\nurl = \"nats://127.0.0.1:1\"\nauth_method = \"magic\"\n"))?;
        refused(&method, 2, &["nats.client.auth_method", "magic", "token, userpass"]);

        let replicas =
            with_file(Some("[nats]\nreplicas = 2\n[nats.client]\nurl = \"nats://127.0.0.1:1\"\n"))?;
        refused(&replicas, 2, &["nats.replicas", "1, 3 or 5"]);

        let embedded = with_file(Some("[nats.embedded]\nenabled = true\n"))?;
        refused(&embedded, 2, &["listens on no port", "hint: ", "nats.embedded.port", "bind_address"]);
    }
    Ok(())
}

/// A destination that has one of the archive's streams already, and one of its own.
async fn occupied() -> Result<Server> {
    let server = Server::start(LATEST);
    let client = server.client().await?;
    for (name, subject) in [("NOTIFICATIONS", "notify.>"), ("OWN", "own")] {
        api::call(&client, &format!("STREAM.CREATE.{name}"), json!({ "name": name, "subjects": [subject] }))
            .await?;
    }
    let mut publisher = crate::support::publish::Publisher::new(&client).await?;
    publisher.send("notify.me", &[], "I was here first").await?;
    publisher.send("own", &[], "mine").await?;
    publisher.settle().await?;
    Ok(server)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_by_default_changes_nothing() -> Result<()> {
    let backup = source().await?.1;
    let destination = occupied().await?;
    let before = state(&destination).await?;
    for arguments in [&[][..], &["--conflict", "error"], &["--dry-run"]] {
        let finished = load(&destination, arguments, &backup);
        let hints = ["NOTIFICATIONS", "exists", "hint: ", "--conflict skip", "--conflict overwrite"];
        refused(&finished, 5, &hints);
        assert!(!finished.stderr.contains("OWN"), "{}", finished.stderr);
        assert_eq!(state(&destination).await?, before);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_with_skip_leaves_the_old_stream_alone() -> Result<()> {
    let (source, backup) = source().await?;
    let destination = occupied().await?;
    let before = state(&destination).await?;
    load(&destination, &["--conflict", "skip"], &backup).expect_code(0);
    let after = state(&destination).await?;
    assert!(before.iter().all(|old| after.contains(old)), "{after:#?}");
    let found = differing(&source, &destination).await?;
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["NOTIFICATIONS", "OWN"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_with_overwrite_replaces_the_old_stream() -> Result<()> {
    let (source, backup) = source().await?;
    let destination = occupied().await?;
    let own = state(&destination).await?.into_iter().find(|info| info["config"]["name"] == "OWN");
    let rescue = tempfile::tempdir()?;
    let rescue_dir = rescue.path().to_str().context("a path")?;
    load(&destination, &["--conflict", "overwrite", "--rescue-dir", rescue_dir], &backup).expect_code(0);
    assert_eq!(fs::read_dir(rescue.path())?.count(), 0, "all is well, and nothing is kept");
    let found = differing(&source, &destination).await?;
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["OWN"]);
    assert!(state(&destination).await?.contains(&own.context("OWN")?));
    Ok(())
}

/// The streams that differ between the servers, of all that a dump holds or the destination has.
async fn differing(source: &Server, destination: &Server) -> Result<std::collections::BTreeSet<String>> {
    let kept = |name: &str| !fixtures::EXCLUDED.contains(&name);
    let compared = equality::compare(&source.client().await?, &destination.client().await?, kept).await?;
    Ok(compared.into_iter().filter(|c| !c.differences.is_empty()).map(|c| c.stream).collect())
}

/// An archive that says itself that a stream is missing: the rest is restored, and the status tells.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_records_a_failed_stream() -> Result<()> {
    let (source, backup) = source().await?;
    let destination = Server::start(LATEST);
    let mut entries = entries(&backup)?;
    entries.retain(|entry| !entry.path.contains("/KV_RUNTIME_STATE/"));
    for entry in entries.iter_mut().filter(|entry| entry.path == "backup/manifest.json") {
        let mut manifest: Json = serde_json::from_slice(&entry.data)?;
        let streams = manifest["streams"].as_array_mut().context("streams")?;
        let failed = streams.iter_mut().find(|stream| stream["name"] == "KV_RUNTIME_STATE");
        *failed.context("the stream")? = json!({
            "name": "KV_RUNTIME_STATE", "type": "kv", "messages": 0, "bytes": 0, "error": "the disk caught fire",
        });
        entry.data = serde_json::to_vec(&manifest)?;
    }
    let backup = crate::support::archive::with_sums(entries)?;

    let finished = load(&destination, &[], &backup);
    refused(&finished, 3, &["KV_RUNTIME_STATE", "the disk caught fire"]);
    let found = differing(&source, &destination).await?;
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["KV_RUNTIME_STATE"]);
    Ok(())
}
