//! `--report`: after every end of a run there is one JSON object. A whole new report replaces that of an earlier run, or the
//! earlier one stays.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::archive::sha256;
use crate::support::faults::{self, Fed, UNDER_WAY};
use crate::support::processes::End;
use crate::support::programs::{Finished, program, program_for, refused, run, run_with, spawn};
use crate::support::server::{LATEST, Server};
use crate::support::{api, fixtures};
use anyhow::{Context as _, Result};
use rustix::process::Signal;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

/// A directory for reports.
struct Reports(TempDir);

impl Reports {
    fn new() -> Result<Reports> {
        Ok(Reports(tempfile::tempdir()?))
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("report.json")
    }

    /// The option for `command`.
    fn of(&self, mut command: Command) -> Command {
        command.arg("--report").arg(self.path());
        command
    }

    /// The report that a run has left, with nothing beside it.
    fn take(&self) -> Result<Json> {
        let report = self.read()?;
        fs::remove_file(self.path())?;
        assert_eq!(fs::read_dir(self.0.path())?.count(), 0, "nothing else is left");
        Ok(report)
    }

    fn read(&self) -> Result<Json> {
        parse(&fs::read_to_string(self.path())?)
    }
}

/// One line that is a report.
fn parse(text: &str) -> Result<Json> {
    assert_eq!(text.lines().count(), 1, "{text}");
    let report: Json = serde_json::from_str(text).with_context(|| text.to_owned())?;
    let time = |name: &str| report[name].as_str().unwrap().parse::<jiff::Timestamp>();
    assert!(time("started")? <= time("finished")?, "{report}");
    assert!(report["seconds"].as_f64().unwrap() >= 0.0, "{report}");
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    Ok(report)
}

/// What a report says of how the run ended.
fn ending(report: &Json) -> Json {
    json!([report["program"], report["command"], report["outcome"], report["exit_status"]])
}

fn stream<'a>(report: &'a Json, name: &str) -> &'a Json {
    let mut streams = report["streams"].as_array().unwrap().iter();
    streams.find(|stream| stream["name"] == name).unwrap_or_else(|| panic!("no {name} in {report}"))
}

/// Whether something of this kind was said that contains `text`.
fn logged(report: &Json, kind: &str, text: &str) -> bool {
    let mut log = report["log"].as_array().unwrap().iter();
    log.any(|said| said["kind"] == kind && said["text"].as_str().unwrap().contains(text))
}

fn manifest(action: &str) -> Command {
    let mut command = program("chatto-manifest");
    command.arg(action);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_succeeds() -> Result<()> {
    let reports = Reports::new()?;
    let (source, destination) = (Server::start(LATEST), Server::start(LATEST));
    fixtures::v0_4(&source.client().await?, source.version(), 5, 100).await?;

    let dump = run(reports.of(program_for("chatto-dump", &source))).expect_code(0);
    assert_eq!(dump.stderr, "");
    assert_eq!(fs::metadata(reports.path())?.permissions().mode() & 0o777, 0o666 & !umask()?);
    let archive = json!({"bytes": dump.stdout.len(), "sha256": sha256(&dump.stdout)});
    let report = reports.take()?;
    assert_eq!(ending(&report), json!(["chatto-dump", "dump", "done", 0]));
    assert_eq!((&report["archive"], &report["dry_run"]), (&archive, &json!(false)));
    assert_eq!((&report["log"], &report["keys"]), (&json!([]), &Json::Null));
    let (evt, keys) = (stream(&report, "EVT"), stream(&report, "KV_ENCRYPTION_KEYS"));
    assert_eq!((&evt["outcome"], &evt["reason"]), (&json!("done"), &Json::Null));
    assert!(evt["messages"].as_u64().unwrap() > 0 && evt["bytes"].as_u64().unwrap() > 0, "{evt}");
    assert_eq!((&keys["outcome"], &keys["messages"]), (&json!("skipped"), &Json::Null));
    let done = report["streams"].as_array().unwrap().iter().filter(|stream| stream["outcome"] == "done");
    assert_eq!(report["progress"]["streams_done"], done.count());

    // What is read is the same, whatever it was wrapped in.
    let mut gzip = Command::new("gzip");
    let zipped = run_with(
        {
            gzip.arg("-c");
            gzip
        },
        &dump.stdout,
    )
    .expect_code(0)
    .stdout;
    for (command, input, ended) in [
        (manifest("verify"), &dump.stdout, json!(["chatto-manifest", "verify", "done", 0])),
        (manifest("verify"), &zipped, json!(["chatto-manifest", "verify", "done", 0])),
        (program_for("chatto-load", &destination), &zipped, json!(["chatto-load", "load", "done", 0])),
    ] {
        run_with(reports.of(command), input).expect_code(0);
        let report = reports.take()?;
        assert_eq!((ending(&report), &report["archive"]), (ended, &archive));
        let read = stream(&report, "EVT");
        assert_eq!((&read["outcome"], &read["messages"]), (&evt["outcome"], &evt["messages"]));
    }
    let mut skip = program_for("chatto-load", &destination);
    skip.args(["--conflict", "skip"]);
    run_with(reports.of(skip), &zipped).expect_code(0);
    let skipped = reports.take()?;
    assert_eq!(stream(&skipped, "EVT")["outcome"], "skipped");
    assert_eq!(skipped["progress"]["streams_done"], 0);

    // Of a smaller archive, what is written.
    let mut select = manifest("select");
    select.args(["--stream", "EVT"]);
    let selected = run_with(reports.of(select), &zipped).expect_code(0).stdout;
    let report = reports.take()?;
    assert_eq!(report["archive"], json!({"bytes": selected.len(), "sha256": sha256(&selected)}));
    assert_eq!(stream(&report, "NOTIFICATIONS")["outcome"], "skipped");

    // Keys are counted, and not named.
    let mut export = program_for("chatto-keys", &source);
    export.arg("export");
    let export = run(reports.of(export)).expect_code(0).stdout;
    let archive = json!({"bytes": export.len(), "sha256": sha256(&export)});
    let report = reports.take()?;
    assert_eq!(
        (ending(&report), &report["archive"]),
        (json!(["chatto-keys", "export", "done", 0]), &archive)
    );
    let held = report["keys"]["done"].as_u64().unwrap();
    assert!(held > 0, "{report}");
    for (imported, there) in [(held, 0), (0, held)] {
        let mut import = program_for("chatto-keys", &destination);
        import.arg("import");
        run_with(reports.of(import), &export).expect_code(0);
        let report = reports.take()?;
        assert_eq!(report["archive"], archive);
        assert_eq!(report["keys"], json!({"done": imported, "there": there, "skipped": 0, "failed": 0}));
    }
    Ok(())
}

fn umask() -> Result<u32> {
    let mut sh = Command::new("sh");
    let said = run({
        sh.args(["-c", "umask"]);
        sh
    })
    .expect_code(0)
    .stdout;
    Ok(u32::from_str_radix(String::from_utf8(said)?.trim(), 8)?)
}

/// Some streams failed (3): the server is killed while the last one is on its way.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_lacks_streams() -> Result<()> {
    let reports = Reports::new()?;
    let mut server = Server::start(LATEST);
    let client = server.client().await?;
    faults::small_bucket(&client, server.version(), "SMALL", 1).await?;
    faults::large_stream(&client, server.version(), "LARGE", 24, 1).await?;
    let mut dump = spawn(&mut reports.of(faults::dump(&server, &["--timeout", "5"])));
    let begin = faults::take(&mut dump, 3 << 20);
    server.kill();
    let dump = faults::finish(dump, begin).expect_code(3);
    let report = reports.take()?;
    assert_eq!(ending(&report), json!(["chatto-dump", "dump", "partial", 3]));
    assert_eq!(report["archive"]["sha256"], sha256(&dump.stdout));
    assert_eq!(stream(&report, "KV_SMALL")["outcome"], "done");
    let failed = stream(&report, "LARGE");
    assert_eq!(failed["outcome"], "failed");
    let reason = failed["reason"].as_str().unwrap();
    assert!(logged(&report, "error", &format!("stream LARGE: {reason}")), "{report}");
    assert!(dump.stderr.contains(reason), "{}", dump.stderr);
    assert_eq!(report["progress"]["streams_failed"], 1);

    run_with(reports.of(manifest("verify")), &dump.stdout).expect_code(3);
    let verified = reports.take()?;
    assert_eq!(ending(&verified), json!(["chatto-manifest", "verify", "partial", 3]));
    assert_eq!(stream(&verified, "LARGE")["reason"], reason);

    // Cut short (4), and nobody there (7).
    run_with(reports.of(manifest("verify")), &dump.stdout[..dump.stdout.len() - 2048]).expect_code(4);
    let damaged = reports.take()?;
    assert_eq!(ending(&damaged), json!(["chatto-manifest", "verify", "damaged", 4]));
    assert!(logged(&damaged, "error", "the archive is damaged"), "{damaged}");
    let finished = run(reports.of(faults::dump(&server, &["--timeout", "5"]))).expect_code(7);
    let gone = reports.take()?;
    assert_eq!(ending(&gone), json!(["chatto-dump", "dump", "unreachable", 7]));
    let said = finished.stderr.lines().next().context("an error")?;
    assert!(logged(&gone, "error", said.strip_prefix("chatto-dump: error: ").context("an error")?), "{gone}");
    assert!(gone["archive"].is_null() && !finished.stderr.contains(server.token()), "{gone}");
    Ok(())
}

#[test]
fn a_usage_error_is_reported_and_a_help_text_is_not() -> Result<()> {
    let reports = Reports::new()?;
    let mut dump = program("chatto-dump");
    dump.arg("--nothing");
    refused(run(reports.of(dump)), 2, &["unexpected argument"]);
    let report = reports.take()?;
    assert_eq!(ending(&report), json!(["chatto-dump", null, "usage", 2]));
    assert!(logged(&report, "error", "unexpected argument '--nothing'"), "{report}");
    let mut dump = program("chatto-dump");
    dump.args(["-n", "--timeout", "5", "-s", "nats://127.0.0.1:1"]);
    run(reports.of(dump)).expect_code(7);
    assert_eq!(reports.take()?["dry_run"], true);
    let mut help = program("chatto-dump");
    help.arg("--help");
    run(reports.of(help)).expect_code(0);
    assert!(!reports.path().exists());
    // Where the answer is the exit status, it is a word too.
    let dir = tempfile::tempdir()?;
    let empty = dir.path().join("a");
    fs::write(&empty, "")?;
    let mut diff = manifest("diff");
    diff.args([&empty, &empty]);
    let code = run(reports.of(diff)).code;
    let report = reports.take()?;
    assert_eq!(
        (report["exit_status"].as_i64(), &report["outcome"]),
        (code.map(i64::from), &json!("damaged"))
    );
    Ok(())
}

/// A file is looked at before anything is done.
#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_cannot_be_written_is_refused_first() -> Result<()> {
    let server = Server::start(LATEST);
    faults::small_bucket(&server.client().await?, server.version(), "SMALL", 1).await?;
    let archive = faults::archive_of(&server);
    let destination = Server::start(LATEST);
    let dir = tempfile::tempdir()?;
    let (backup, none) = (dir.path().join("backup.tar"), dir.path().join("none/report.json"));
    fs::write(&backup, &archive)?;
    let load = |report: &Path| {
        let mut load = program_for("chatto-load", &destination);
        run_with(
            {
                load.arg("--report").arg(report);
                load
            },
            &archive,
        )
    };
    refused(load(&backup), 2, &["backup.tar: the file is no report, and is not replaced", "hint: "]);
    refused(load(&none), 2, &["No such file or directory", "hint: nothing was done"]);
    refused(load(dir.path()), 2, &["is a directory"]);
    assert_eq!(fs::read(&backup)?, archive);
    // A file that the shell has just made for the archive.
    let out = dir.path().join("out.tar");
    let mut dump = program_for("chatto-dump", &server);
    dump.arg("--report").arg(&out).stdout(fs::File::create(&out)?);
    refused(
        crate::support::programs::finish(spawn(&mut dump)),
        2,
        &["writes its output or its messages there"],
    );
    // A disk without room: no file may be larger than 4 KiB.
    let mut load = Command::new("sh");
    load.args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$@\"", "sh"]);
    let report = dir.path().join("report.json");
    let mut full = program_for("chatto-load", &destination);
    full.arg("--report").arg(&report);
    load.arg(full.get_program()).args(full.get_args());
    for (name, value) in full.get_envs() {
        load.env(name, value.unwrap_or_default());
    }
    refused(run_with(load, &archive), 2, &["cannot write the report"]);
    assert!(!report.exists());
    assert!(faults::state_of(&destination.client().await?, "KV_SMALL").await?.is_none(), "nothing was done");
    Ok(())
}

/// A disk that has become full meanwhile: what was done is done, and it is said that the report is not there.
#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_cannot_be_written_at_the_end_is_a_failure() -> Result<()> {
    let server = Server::start(LATEST);
    faults::small_bucket(&server.client().await?, server.version(), "SMALL", 1).await?;
    let mut dump = program_for("chatto-dump", &server);
    let dump = run({
        dump.args(["--report", "/dev/full"]);
        dump
    })
    .expect_code(1);
    assert!(dump.stderr.contains("error: cannot write the report: No space left"), "{}", dump.stderr);
    run_with(manifest("verify"), &dump.stdout).expect_code(0);
    // A status that says more stays.
    let mut gone = program("chatto-dump");
    gone.args(["-s", "nats://127.0.0.1:1", "--timeout", "5", "--report", "/dev/full"]);
    run(gone).expect_code(7);
    // 0 and 1 are answers here.
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("a.tar");
    fs::write(&file, &dump.stdout)?;
    let mut diff = manifest("diff");
    diff.args([&file, &file]);
    diff.args(["--report", "/dev/full"]);
    run(diff).expect_code(2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_on_stderr_comes_last() -> Result<()> {
    let server = Server::start(LATEST);
    faults::small_bucket(&server.client().await?, server.version(), "SMALL", 1).await?;
    let dump = |arguments: &[&str]| run(faults::dump(&server, arguments)).expect_code(0).stderr;
    let report = parse(&dump(&["--report", "-"]))?;
    assert_eq!(ending(&report), json!(["chatto-dump", "dump", "done", 0]));
    let events = dump(&["--report=-", "--progress", "json"]);
    let events: Vec<Json> = events.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let [.., report, summary] = &events[..] else { panic!("{events:?}") };
    assert_eq!((&report["event"], &summary["event"]), (&json!("report"), &json!("summary")));
    assert_eq!((&report["exit_status"], &summary["status"]), (&json!(0), &json!(0)));
    for total in ["streams", "streams_done", "streams_failed", "bytes", "bytes_done", "archive_bytes"] {
        assert_eq!(report["progress"][total], summary[total], "{total}");
    }
    Ok(())
}

/// Signals that a program can see end it as before, and leave a report; one that it cannot see leaves the old.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_ended_by_a_signal() -> Result<()> {
    let reports = Reports::new()?;
    let (source, archive) = faults::source(LATEST, 24).await?;
    // TERM alone: what is started in the background of a shell ignores INT.
    let dumped = |signal: Signal| {
        let mut dump = spawn(&mut reports.of(faults::dump(&source, &[])));
        let begin = faults::take(&mut dump, 3 << 20);
        // Nobody reads meanwhile, so it cannot have written all before it hears the signal.
        let end = End::of(dump.id());
        faults::signal(&dump, signal);
        end.wait();
        faults::finish(dump, begin)
    };
    let assert_ended = |finished: Finished, signal: i32, program: &str, command: &str| -> Result<Json> {
        assert_eq!((finished.code, finished.signal), (None, Some(signal)), "{}", finished.stderr);
        let report = reports.read()?;
        assert_eq!(ending(&report), json!([program, command, "interrupted", 128 + signal]));
        assert_eq!(report["signal"], signal);
        Ok(report)
    };
    let report = assert_ended(dumped(Signal::TERM), 15, "chatto-dump", "dump")?;
    assert_eq!(stream(&report, "KV_SMALL")["outcome"], "done");
    assert_eq!(dumped(Signal::KILL).signal, Some(9));
    assert_eq!(reports.take()?["signal"], 15, "the old report stays");

    // A load leaves the server clean first.
    let destination = Server::start(LATEST);
    let mut load = program_for("chatto-load", &destination);
    load.args(["--timeout", "60"]);
    let mut fed = Fed::spawn(reports.of(load));
    fed.feed(&archive[..UNDER_WAY]);
    faults::signal(&fed.0, Signal::TERM);
    let report = assert_ended(fed.ended(), 15, "chatto-load", "load")?;
    assert!(logged(&report, "error", "interrupted"), "{report}");
    assert!(faults::state_of(&destination.client().await?, "LARGE").await?.is_none());
    let listed = api::call(&destination.client().await?, "STREAM.NAMES", Json::Null).await?;
    assert_eq!(listed["streams"], json!(["KV_SMALL"]), "{listed}");
    reports.take()?;

    // And one that has no server.
    let mut verify = reports.of(manifest("verify"));
    let mut fed = Fed(spawn(verify.stdin(Stdio::piped()).stdout(Stdio::null())));
    fed.feed(&archive[..UNDER_WAY]);
    faults::signal(&fed.0, Signal::TERM);
    assert_ended(fed.ended(), 15, "chatto-manifest", "verify")?;
    reports.take()?;
    Ok(())
}
