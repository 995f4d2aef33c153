//! The progress of a dump or a load: lines on a terminal that do not disturb a prompt, JSON lines for programs, an answer to
//! SIGUSR1, and otherwise nothing.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use crate::support::faults::{self, Fed, UNDER_WAY};
use crate::support::programs::{Finished, finish, program, program_for, run, run_with, spawn};
use crate::support::server::{LATEST, Server};
use crate::support::terminal::expect_for;
use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;

async fn source() -> Result<Server> {
    let server = Server::start(LATEST);
    let client = server.client().await?;
    faults::large_stream(&client, server.version(), "LARGE", 16, 3).await?;
    faults::small_bucket(&client, server.version(), "SMALL", 4).await?;
    Ok(server)
}

fn json_lines(stderr: &str) -> Result<Vec<Json>> {
    stderr.lines().map(|line| serde_json::from_str(line).context(line.to_owned())).collect()
}

/// The events that tell of one stream, in order.
fn of_stream<'a>(events: &'a [Json], stream: &str) -> Vec<&'a str> {
    events
        .iter()
        .filter(|event| event["stream"] == stream)
        .filter_map(|event| event["event"].as_str())
        .collect()
}

/// Asks the program how far it is, and reads its answer.
fn asked(child: &mut Child) -> Result<String> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a process number")?;
    kill_process(pid, Signal::USR1)?;
    let mut answer = String::new();
    // Nothing else is said, so nothing else is lost with the buffer.
    BufReader::new(child.stderr.as_mut().context("stderr is captured")?).read_line(&mut answer)?;
    Ok(answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_said_without_a_terminal() -> Result<()> {
    let (source, destination) = (source().await?, Server::start(LATEST));
    let dump = run(program_for("chatto-dump", &source)).expect_code(0);
    assert_eq!(dump.stderr, "");
    let load = run_with(program_for("chatto-load", &destination), &dump.stdout).expect_code(0);
    assert_eq!(load.stderr, "");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_read_events_as_json_lines() -> Result<()> {
    let (source, destination) = (source().await?, Server::start(LATEST));
    let mut dump = program_for("chatto-dump", &source);
    dump.args(["--progress", "json"]);
    let dump = run(dump).expect_code(0);
    let load = |code| -> Result<Vec<Json>> {
        let mut load = program_for("chatto-load", &destination);
        load.args(["--progress", "json"]);
        json_lines(&run_with(load, &dump.stdout).expect_code(code).stderr)
    };
    for events in [json_lines(&dump.stderr)?, load(0)?] {
        assert_eq!((&events[0]["event"], &events[0]["streams"]), (&"expect".into(), &2.into()));
        assert!(events[0]["bytes"].as_u64() > Some(15 << 20), "{}", events[0]);
        for stream in ["LARGE", "KV_SMALL"] {
            assert_eq!(of_stream(&events, stream), ["begin", "done"]);
        }
    }
    // What went wrong comes the same way.
    let refused = load(5)?;
    let messages: Vec<_> = refused.iter().filter(|event| event["event"] == "message").collect();
    assert_eq!(messages[0]["kind"], "error");
    assert_eq!(messages[0]["text"], "exists at the destination already: KV_SMALL, LARGE");
    assert_eq!(messages[1]["kind"], "hint");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_a_stalled_dump_tells_how_far_it_is() -> Result<()> {
    let source = source().await?;
    let mut dump = program_for("chatto-dump", &source);
    dump.args(["--progress", "json", "--buffer", "8M"]).stdout(Stdio::piped());
    let mut dump = spawn(&mut dump);
    let begin = faults::take(&mut dump, 3 << 20);
    // What is being written counts when it is: at most a piece of a snapshot.
    let written = Some(begin.len() as u64 - (64 << 10));
    // Reports come every second, the first of them perhaps too early; nobody reads on, so that each is like
    // the one before in the end. A dump that is stalled holds out for half a minute.
    let mut lines = BufReader::new(dump.stderr.take().context("stderr is captured")?).lines();
    let report = loop {
        let event: Json = serde_json::from_str(&lines.next().context("an event")??)?;
        ensure!(event["event"] != "broken_off", "no report of a stalled dump came before {event}");
        let read = event["in_flight"][0]["bytes_read"].as_u64();
        if event["event"] == "progress" && event["archive_bytes"].as_u64() >= written && read > Some(0) {
            break event;
        }
    };
    assert_eq!((&report["streams"], &report["streams_failed"]), (&2.into(), &0.into()), "{report}");
    assert_eq!(report["streams_done"], 1, "{report}");
    let [flying] = &report["in_flight"].as_array().context("a list")?[..] else { panic!("{report}") };
    assert_eq!(flying["stream"], "LARGE");
    assert!(flying["bytes"].as_u64() > Some(15 << 20), "{report}");
    dump.kill()?;
    dump.wait()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_is_answered_with_one_line() -> Result<()> {
    let (source, destination) = (source().await?, Server::start(LATEST));
    // Also by a program that was told to be quiet: somebody asks.
    for arguments in [&[][..], &["-q"]] {
        let mut dump = spawn(&mut faults::dump(&source, arguments));
        let begin = faults::take(&mut dump, 3 << 20);
        let answer = asked(&mut dump)?;
        assert!(answer.starts_with("chatto-dump: 1 of 2 streams captured, "), "{answer}");
        assert!(answer.contains(" MiB written, "), "{answer}");
        let Finished { stderr, .. } = faults::finish(dump, begin).expect_code(0);
        assert_eq!(stderr, "");
    }
    let archive = faults::archive_of(&source);
    let mut load = Fed::spawn(program_for("chatto-load", &destination));
    load.feed(&archive[..UNDER_WAY]);
    let answer = asked(&mut load.0)?;
    assert!(answer.starts_with("chatto-load: 1 of 2 streams restored, "), "{answer}");
    assert!(answer.contains(" MiB read, "), "{answer}");
    load.finish(&archive[UNDER_WAY..]).expect_code(0);
    Ok(())
}

/// The programs that need no server tell how much they have read.
#[tokio::test(flavor = "multi_thread")]
async fn programs_without_a_server_answer_too() -> Result<()> {
    let archive = faults::archive_of(&source().await?);
    let made = run(Command::new("age-keygen")).expect_code(0);
    let recipient = made.stderr.trim().strip_prefix("Public key: ").context("a recipient")?.to_owned();
    for (name, arguments) in
        [("chatto-manifest", &["verify"][..]), ("chatto-keys", &["seal", "-r", &recipient])]
    {
        let mut child = program(name);
        child.args(arguments);
        let mut child = Fed::spawn(child);
        child.feed(&archive[..UNDER_WAY]);
        let answer = asked(&mut child.0)?;
        assert!(answer.starts_with(&format!("{name}: ")) && answer.contains(" MiB read, "), "{answer}");
        child.finish(&archive[UNDER_WAY..]).expect_code(0);
    }
    Ok(())
}

/// The reader takes some and waits for a key; what is shown meanwhile is gone at the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_shows_the_streams_in_flight_and_the_whole() -> Result<()> {
    let (source, dir) = (source().await?, tempfile::tempdir()?);
    let finished = expect_for(
        &source,
        &dir,
        r#"
        shell "$dump --buffer 8M | (head -c 3000000; read line < /dev/tty; cat) > archive.tar"
        want "LARGE"
        want "1 of 2 streams captured"
        send "\r"
        want "chatto-dump: 2 streams, "
        end"#,
    );
    let shown = String::from_utf8(finished.stdout)?;
    assert_eq!(finished.code, Some(0), "{shown}");
    let (before, after) = shown.rsplit_once("chatto-dump: 2 streams, ").context("the closing line")?;
    assert!(before.ends_with("\x1b[J"), "what was shown is taken away: {before:?}");
    assert_eq!(after.lines().count(), 1, "{after:?}");
    Ok(())
}

/// A program downstream asks for a passphrase on the same terminal: it has turned the echo off, and
/// reads nothing before it has its answer, or has read some already.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_drawn_over_a_prompt() -> Result<()> {
    let (source, dir) = (source().await?, tempfile::tempdir()?);
    for taken in [500_000, 3_000_000] {
        // Whoever types takes a second.
        let script = r#"
            shell "stty -echo; $dump --buffer 8M | (head -c TAKEN; echo prompt: > /dev/tty; read line < /dev/tty; cat) > archive.tar"
            want "prompt:"
            sleep 1
            send "\r"
            want "chatto-dump: 2 streams, "
            end"#;
        let finished = expect_for(&source, &dir, &script.replace("TAKEN", &taken.to_string()));
        let shown = String::from_utf8(finished.stdout)?;
        assert_eq!(finished.code, Some(0), "{shown}");
        assert!(!shown.contains('\x1b') && !shown.contains("captured"), "{shown:?}");
    }
    Ok(())
}

/// A terminal that cannot erase what stands on it gets words only, and one without UTF-8 gets ASCII.
#[tokio::test(flavor = "multi_thread")]
async fn a_simple_terminal_gets_simple_words() -> Result<()> {
    let server = Server::start(LATEST);
    let name = format!("LARGE_{}", "N".repeat(60));
    faults::large_stream(&server.client().await?, server.version(), &name, 16, 3).await?;
    let dir = tempfile::tempdir()?;
    for (environment, draws) in [("TERM=dumb", false), ("-u TERM", false), ("LC_ALL=C", true)] {
        let script = r#"
            shell "env ENVIRONMENT $dump --buffer 8M | (head -c 3000000; echo taken > /dev/tty; read line < /dev/tty; cat) > archive.tar"
            want "taken"
            DRAWN
            send "\r"
            want "chatto-dump: 1 stream, "
            end"#;
        let drawn = if draws { "want \"0 of 1 stream captured\"" } else { "sleep 1" };
        let script = script.replace("ENVIRONMENT", environment).replace("DRAWN", drawn);
        let finished = expect_for(&server, &dir, &script);
        let shown = String::from_utf8(finished.stdout)?;
        assert_eq!(finished.code, Some(0), "{environment}: {shown}");
        assert!(shown.is_ascii(), "{environment}: {shown:?}");
        assert_eq!(shown.contains('\x1b'), draws, "{environment}: {shown:?}");
    }
    Ok(())
}

/// A program that reads JSON gets nothing else, whatever goes wrong, and one event says how it ended.
#[tokio::test(flavor = "multi_thread")]
async fn everything_is_json_to_the_end() -> Result<()> {
    for (line, code) in [
        ("chatto-dump --progress json --no-such-option", 2),
        ("chatto-dump --no-such-option --progress=json", 2),
        ("chatto-dump --progress json -c /no/such/file", 2),
        ("chatto-load --progress json -s nats://127.0.0.1:1 /no/such/file", 2),
        ("chatto-load --progress json -q -s nats://127.0.0.1:1 Cargo.toml", 7),
    ] {
        let mut words = line.split(' ');
        let mut command = program(words.next().context("a program")?);
        command.args(words).current_dir(env!("CARGO_MANIFEST_DIR"));
        let events = json_lines(&run(command).expect_code(code).stderr)?;
        assert!(events.iter().any(|event| event["kind"] == "error"), "{line}: {events:?}");
        let last = events.last().context(line)?;
        assert_eq!((&last["event"], &last["status"]), (&"summary".into(), &code.into()), "{line}");
    }
    let source = source().await?;
    let mut dump = program_for("chatto-dump", &source);
    dump.args(["--progress", "json"]);
    let events = json_lines(&run(dump).expect_code(0).stderr)?;
    let last = events.last().context("events")?;
    assert_eq!((&last["event"], &last["status"]), (&"summary".into(), &0.into()));
    assert_eq!((&last["streams_done"], &last["streams_failed"]), (&2.into(), &0.into()));
    assert!(last["archive_bytes"].as_u64() > Some(15 << 20), "{last}");
    Ok(())
}

/// It opens its configuration before it does anything else, and waits there for somebody who writes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_question_may_come_before_the_work_begins() -> Result<()> {
    let (source, dir) = (source().await?, tempfile::tempdir()?);
    let fifo = dir.path().join("chatto.toml");
    let mut mkfifo = Command::new("mkfifo");
    mkfifo.arg(&fifo);
    run(mkfifo).expect_code(0);
    let mut dump = program_for("chatto-dump", &source);
    let dump = spawn(dump.arg("-c").arg(&fifo).stdout(Stdio::null()));
    let pid = i32::try_from(dump.id()).ok().and_then(Pid::from_raw);
    // Opening it for writing returns when the program has opened it for reading.
    let asked = std::fs::OpenOptions::new().write(true).open(&fifo).map(|configuration| {
        let asked = pid.map(|pid| kill_process(pid, Signal::USR1));
        drop(configuration);
        asked
    });
    finish(dump).expect_code(0);
    assert_eq!(asked?, Some(Ok(())));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_can_be_turned_off() -> Result<()> {
    let (source, dir) = (source().await?, tempfile::tempdir()?);
    for option in ["--progress none", "-q"] {
        let script = r#"
            shell "$dump OPTION --buffer 8M | (head -c 3000000; echo taken > /dev/tty; read line < /dev/tty; cat) > archive.tar"
            want "taken"
            sleep 1
            send "\r"
            end"#;
        let finished = expect_for(&source, &dir, &script.replace("OPTION", option));
        let shown = String::from_utf8(finished.stdout)?;
        assert_eq!(finished.code, Some(0), "{shown}");
        assert!(!shown.contains("captured"), "{shown:?}");
    }
    Ok(())
}
