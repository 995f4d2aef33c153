//! The programs in a pipeline: a reader that goes away, and how many messages there are.

use std::process::{Command, Stdio};

use crate::support::archive::{dump, load};
use crate::support::programs::{Finished, path, pipeline, program_for, run};
use crate::support::server::{LATEST, Server};
use crate::support::{api, fixtures};
use anyhow::Result;

async fn source() -> Result<Server> {
    let server = Server::start(LATEST);
    fixtures::v0_4(&server.client().await?, server.version(), 10, 100).await?;
    Ok(server)
}

fn head(arguments: &[&str]) -> Command {
    let mut head = Command::new("head");
    head.args(arguments);
    head
}

/// The archive is larger than a pipe holds, so its writer learns that nobody reads.
#[tokio::test(flavor = "multi_thread")]
async fn a_dump_whose_reader_goes_away_fails() -> Result<()> {
    let server = source().await?;
    for arguments in [&[][..], &["-j", "1"]] {
        let mut dumping = program_for("chatto-dump", &server);
        dumping.args(arguments);
        let [dumped, head] = &pipeline([dumping, head(&["-c", "100"])])[..] else { panic!("two programs") };
        assert_eq!((head.code, head.stdout.len()), (Some(0), 100));
        assert_eq!((dumped.code, dumped.signal), (Some(1), None), "{}", dumped.stderr);
        for words in [
            "chatto-dump: error: cannot write the archive: Broken pipe",
            "chatto-dump: hint: the program that reads",
        ] {
            assert!(dumped.stderr.contains(words), "{}", dumped.stderr);
        }
        assert_eq!(dumped.stderr.lines().count(), 2, "{}", dumped.stderr);
    }
    Ok(())
}

/// A list has been read when its reader has seen enough.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_whose_reader_goes_away_is_fine() -> Result<()> {
    let server = Server::start(LATEST);
    let client = server.client().await?;
    // So many that the list is larger than a pipe holds.
    let mut created = 0;
    while created < 300 {
        let name = format!("{created:0>250}");
        let config = serde_json::json!({ "name": name, "subjects": [format!("s.{created}")] });
        api::call(&client, &format!("STREAM.CREATE.{name}"), config).await?;
        created += 1;
    }
    let mut list = program_for("chatto-dump", &server);
    list.arg("-n");
    let finished = pipeline([list, head(&["-n", "1"])]);
    for finished in &finished {
        assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
    }
    let line = String::from_utf8_lossy(&finished[1].stdout).into_owned();
    assert_eq!(line, format!("{:0>250}\tstream\t0\t0\n", 0));
    Ok(())
}

/// stdout and stderr on a full disk: an error, and no archive that looks whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_fails() -> Result<()> {
    let server = source().await?;
    let full = std::fs::File::options().write(true).open("/dev/full")?;
    let mut dumping = program_for("chatto-dump", &server);
    let output = dumping.stdout(full).stderr(Stdio::piped()).output()?;
    let said = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot write the archive: No space left on device"), "{said}");
    assert!(said.contains("hint: is the disk of the archive full?"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn success_is_silent_unless_asked_for_words() -> Result<()> {
    let server = source().await?;
    let backup = dump(&server, &[]);
    let said = |mut command: Command, flag: &str| {
        command.arg(flag);
        run(command).expect_code(0).stderr
    };
    let verbose = said(program_for("chatto-dump", &server), "-v");
    assert!(verbose.contains("stream EVT: 91 messages, 6 consumers"), "{verbose}");
    assert!(verbose.lines().all(|line| line.starts_with("chatto-dump: ")), "{verbose}");
    let last = verbose.lines().last().unwrap_or_default();
    assert!(last.contains("5 streams, ") && last.contains("9 left out, 0 failed"), "{verbose}");
    assert_eq!(said(program_for("chatto-dump", &server), "-q"), "");

    let loading = |flag| load(&Server::start(LATEST), &[flag], &backup).expect_code(0);
    let verbose = loading("-v").stderr;
    assert!(verbose.contains("stream EVT: 91 messages, 6 consumers"), "{verbose}");
    assert!(verbose.lines().all(|line| line.starts_with("chatto-load: ")), "{verbose}");
    let last = verbose.lines().last().unwrap_or_default();
    assert!(last.contains("5 streams restored, ") && last.contains("0 failed"), "{verbose}");
    for flag in ["--conflict=error", "-q"] {
        let finished = loading(flag);
        assert_eq!((finished.stderr.as_str(), finished.stdout.as_slice()), ("", &b""[..]));
    }
    Ok(())
}

/// `-q` is about success; what went wrong is always said.
#[tokio::test(flavor = "multi_thread")]
async fn quiet_programs_still_say_what_went_wrong() -> Result<()> {
    let server = source().await?;
    let backup = dump(&server, &[]);
    let finished = load(&server, &["-q"], &backup).expect_code(5);
    assert!(finished.stderr.contains("chatto-load: error: exists at the destination already"));
    Ok(())
}

/// Who looks on gets one closing line of each program.
#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_there_is_a_closing_line() -> Result<()> {
    let (source, destination) = (source().await?, Server::start(LATEST));
    let on_a_terminal = |command: String, server: &Server| -> Finished {
        let mut script = Command::new("script");
        script.args(["-qec", &command, "/dev/null"]).stdin(Stdio::null());
        script.envs([
            ("CHATTO_NATS_CLIENT_URL", server.url().as_str()),
            ("CHATTO_NATS_CLIENT_AUTH_METHOD", "token"),
            ("CHATTO_NATS_CLIENT_TOKEN", server.token()),
        ]);
        run(script).expect_code(0)
    };
    let directory = tempfile::tempdir()?;
    let backup = directory.path().join("backup.tar");
    let (dump, load) = (path("chatto-dump"), path("chatto-load"));
    for (arguments, lines) in [("", 1), ("-q", 0)] {
        let command = format!("{} {arguments} > {}", dump.display(), backup.display());
        let said = on_a_terminal(command, &source).stdout;
        let said = String::from_utf8_lossy(&said).into_owned();
        assert_eq!(said.lines().count(), lines, "{said}");
        assert_eq!(said.contains("5 streams, "), lines == 1, "{said}");
    }
    let command = format!("{} {}", load.display(), backup.display());
    let said = String::from_utf8(on_a_terminal(command, &destination).stdout)?;
    assert!(said.lines().count() == 1 && said.contains("chatto-load: 5 streams restored, "), "{said}");
    Ok(())
}
