//! Only one `chatto-load` at a time restores into an account, and a killed one leaves no lock behind.

use crate::support::archive::Archive;
use crate::support::faults::{self, Fed, News, UNDER_WAY};
use crate::support::programs::{Finished, program, program_for, refused, run_with, spawn};
use crate::support::server::{LATEST, Server};
use crate::support::{api, equality};
use anyhow::Result;
use chatto_pipes::jetstream::private_server::{Authorization, Options};
use futures_util::StreamExt as _;

const TAKEN: &str = "error: another restore into this account is under way";

fn load(destination: &Server, archive: &[u8], arguments: &[&str]) -> Finished {
    let mut load = program_for("chatto-load", destination);
    load.args(arguments);
    run_with(load, archive)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_one_changes_nothing_until_the_first_is_gone() -> Result<()> {
    for release in ["2.11.11", LATEST] {
        let (source, archive) = faults::source(release, 14).await?;
        let destination = Server::start(release);
        let (client, source) = (destination.client().await?, source.client().await?);
        let large = Archive::read(&archive).entry("streams/LARGE/attempt-1/backup.json").header_at;
        // One that listens on everything does not look like a load.
        let mut everything = client.subscribe(">").await?;
        for killed in [true, false] {
            let mut begun = News::of(&client, "RESTORE_CREATE.LARGE").await?;
            let mut first = Fed::spawn(program_for("chatto-load", &destination));
            first.feed(&archive[..large + UNDER_WAY]);
            begun.happened().await?;
            for mode in ["error", "skip", "overwrite"] {
                let second = load(&destination, &archive, &["--force", "--conflict", mode]);
                refused(second, 1, &[TAKEN, "hint: wait until the other chatto-load has ended"]);
            }
            load(&destination, &archive, &["-n", "--conflict", "skip"]).expect_code(0);
            if killed {
                first.0.kill()?;
                first.finish(&[]);
                api::call(&client, "STREAM.DELETE.KV_SMALL", serde_json::Value::Null).await?;
            } else {
                first.finish(&archive[large + UNDER_WAY..]).expect_code(0);
            }
        }
        assert_eq!(equality::differences(&source, &client, |_| true).await?, [""; 0]);
        assert!(everything.next().await.is_some());
    }
    Ok(())
}

/// However they meet, one of them does it, and the others have done nothing.
#[tokio::test(flavor = "multi_thread")]
async fn of_several_that_begin_at_once_one_restores() -> Result<()> {
    let (source, archive) = faults::source(LATEST, 2).await?;
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), &archive)?;
    let source = source.client().await?;
    for _ in 0..4 {
        let destination = Server::start(LATEST);
        let loads: Vec<_> = (0..4)
            .map(|_| {
                let mut load = program_for("chatto-load", &destination);
                spawn(load.arg(file.path()))
            })
            .collect();
        let ended: Vec<Finished> = loads.into_iter().map(crate::support::programs::finish).collect();
        let done = ended.iter().filter(|load| load.code == Some(0)).count();
        assert_eq!(done, 1, "{ended:#?}");
        // Who came late found everything there.
        assert!(ended.iter().all(|load| matches!(load.code, Some(0 | 1 | 5))), "{ended:#?}");
        let client = destination.client().await?;
        assert_eq!(equality::differences(&source, &client, |_| true).await?, [""; 0]);
    }
    Ok(())
}

/// Whoever may not ask goes on without.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_not_ask_restores_all_the_same() -> Result<()> {
    let (_source, archive) = faults::source(LATEST, 2).await?;
    let extra = "authorization { timeout: 60, users: [ { user: u, password: p, permissions: { \
                 publish: { deny: \"_INBOX.chatto-pipes.>\" } } } ] }";
    let options = Options { access: Authorization::Open, extra: extra.into(), ..Options::default() };
    let destination = Server::start_with(LATEST, options);
    let mut load = program("chatto-load");
    load.args(["-v", "-s", &destination.url(), "--user", "u", "--password-file", "/dev/fd/0"]);
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), &archive)?;
    load.arg(file.path());
    let load = run_with(load, "p").expect_code(0);
    assert!(
        load.stderr.contains("whether another chatto-load is restoring here cannot be seen"),
        "{}",
        load.stderr
    );
    Ok(())
}
